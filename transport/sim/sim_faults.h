// What the simulated network does to its users, within the rules of transport/fabric.h.
//
// The fault model stands in prose in docs/simulator.md, section "Fabric"; E1 to E12 name the same things
// there. A rate of 0 switches a fault off. Whether a fault strikes is drawn each time it could.

#ifndef ACRE_TRANSPORT_SIM_SIM_FAULTS_H_
#define ACRE_TRANSPORT_SIM_SIM_FAULTS_H_

#include <cstdint>

#include "runtime/random.h"

namespace acre::transport {

struct SimFaults {
  // Rates, 0 to 1: of the requests that could be struck, unless said otherwise.
  double split_atomic = 0;     // E1: load and store of a card's atomic are two steps (kHca only).
  double write_back = 0;       // E12: of the COMPARE_SWAPs that fail, split or not.
  double split_read = 0;       // E2: a READ samples line by line.
  double split_write = 0;      // E3: a WRITE lands line by line.
  double any_order = 0;        // E2, E3: of the split ones: lines in any order, not ascending.
  double word_by_word = 0;     // E2, E3: of all READs and WRITEs: word by word, up or down.
  double split_landing = 0;    // What a READ brought is stored here piece by piece.
  double early_ack = 0;        // E4: a WRITE completes before it lands.
  double late_read = 0;        // E6: a READ samples when later requests have started.
  double slow_queue_pair = 0;  // E5: a request, and all behind it, is held up.
  double lost_connection = 0;  // E7: no answer ever comes, whether it was executed or not.
  double late_execution = 0;   // E7: of the breaks: what was on its way arrives after all.
  double torn_write = 0;       // E10: of the WRITEs under way when their process dies.
  // E10: of the connections to a process that died: no word of it comes, only silence tells. Without
  // it a notice comes at once.
  double timed_out_death = 0;
  double slow_notification = 0;  // Of the wake-ups of armed completion queues.

  // What is drawn is uniform below these.
  uint64_t atomic_window_ns_max = 400;
  uint64_t line_ns_max = 200;  // Between two lines.
  uint64_t word_ns_max = 30;   // Between two words.
  uint64_t visibility_ns_max = 3'000;
  uint64_t late_read_ns_max = 3'000;
  uint64_t slow_queue_pair_ns_max = 150'000;
  uint64_t retry_ns_min = 2'000'000;  // Silence that breaks a connection.
  uint64_t retry_ns_max = 20'000'000;
  uint64_t teardown_ns_max = 100'000;  // A dead process's card goes on for so long.
  uint64_t notification_ns_max = 20'000;

  // A network that misbehaves in no way: what can be split is one step. Delays still vary.
  static SimFaults None() { return {}; }
  // Everything, often.
  static SimFaults All();
  // What one run gets: some kinds never, some seldom, some always.
  static SimFaults Draw(Random* random);
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_FAULTS_H_
