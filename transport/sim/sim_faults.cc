#include "transport/sim/sim_faults.h"

namespace acre::transport {
namespace {

// A quarter of all runs does without one kind of fault; the others have it at a rate of their own.
double DrawRate(Random* random) {
  switch (random->Uniform(8)) {
    case 0:
    case 1:
      return 0;
    case 2:
    case 3:
      return 0.02;
    case 4:
      return 0.1;
    case 5:
    case 6:
      return 0.5;
    default:
      return 1;
  }
}

// Of what is struck already: more often.
double DrawShare(Random* random) {
  static constexpr double kShares[] = {0, 0.1, 0.5, 1};
  return kShares[random->Uniform(4)];
}

// Windows are short in one half of the runs, and long enough for a whole operation of others in the other.
uint64_t DrawWindow(Random* random, uint64_t usual_ns) {
  return random->Uniform(2) == 0 ? 10 * usual_ns : usual_ns;
}

}  // namespace

SimFaults SimFaults::All() {
  SimFaults faults;
  faults.split_atomic = 0.5;
  faults.write_back = 0.5;
  faults.split_read = 0.5;
  faults.split_write = 0.5;
  faults.any_order = 0.7;
  faults.word_by_word = 0.1;
  faults.split_landing = 0.2;
  faults.early_ack = 0.5;
  faults.late_read = 0.3;
  faults.slow_queue_pair = 0.005;
  faults.lost_connection = 0.0002;
  faults.late_execution = 0.5;
  faults.torn_write = 0.5;
  faults.timed_out_death = 0.5;
  faults.slow_notification = 0.2;
  return faults;
}

SimFaults SimFaults::Draw(Random* random) {
  SimFaults faults;
  faults.split_atomic = DrawRate(random);
  faults.write_back = DrawRate(random);
  faults.split_read = DrawRate(random);
  faults.split_write = DrawRate(random);
  faults.any_order = DrawShare(random);
  faults.word_by_word = DrawRate(random) / 4;
  faults.split_landing = DrawRate(random) / 2;
  faults.early_ack = DrawRate(random);
  faults.late_read = DrawRate(random);
  faults.slow_queue_pair = DrawRate(random) / 100;
  // A connection that breaks for no reason ends most of what a run could show: seldom. (The longest
  // delay of a request, ten times the usual, is less than the patience of its sender.)
  faults.lost_connection = DrawRate(random) / 5'000;
  faults.late_execution = DrawRate(random);
  faults.torn_write = DrawRate(random);
  faults.timed_out_death = DrawRate(random);
  faults.slow_notification = DrawRate(random);
  faults.atomic_window_ns_max = DrawWindow(random, faults.atomic_window_ns_max);
  // A change of the table takes some us: at times it fits between two lines.
  faults.line_ns_max = DrawWindow(random, DrawWindow(random, faults.line_ns_max));
  faults.word_ns_max = DrawWindow(random, faults.word_ns_max);
  faults.visibility_ns_max = DrawWindow(random, faults.visibility_ns_max);
  faults.late_read_ns_max = DrawWindow(random, faults.late_read_ns_max);
  faults.slow_queue_pair_ns_max = DrawWindow(random, faults.slow_queue_pair_ns_max);
  return faults;
}

}  // namespace acre::transport
