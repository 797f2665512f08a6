// Pacer: when the operations of an open loop are meant to begin, one thread's share of them.
//
// An open loop has a rate of its own, as the world's users have: an operation that cannot begin at its
// time, because those before it take long, waits, and its latency counts from the time that it was meant
// to begin at. A closed loop would ask less often while the store is slow, and hardly any of its samples
// would see that (Gil Tene's "coordinated omission").
//
// Gaps between two starts are drawn from an exponential distribution. What many independent users ask for
// arrives like that, and so does the sum of the shares of several threads and processes, however many:
// each takes an equal part of the rate and none needs to know of the others. Constant gaps would add up to
// a pattern that depends on how the threads happened to start, and hide that requests come in bunches.
//
//   pacer.Start(rate, ticks_per_second);
//   pacer.Resume(now);                          // A slice begins.
//   while (!stop) {
//     wait till pacer.IsDue(now); intended = pacer.next_ticks(); pacer.Advance(); operate;
//   }
//   pacer.Pause(now);                           // Others have their turn: the schedule stands still.
//
// Threads:    confined to one; a thread that waits at a barrier meanwhile may have it Start()ed.
// Invariants: next_ticks() never goes back between Resume() and Pause().
// Limits:     about 20 ns for each operation.

#ifndef ACRE_BENCH_PACER_H_
#define ACRE_BENCH_PACER_H_

#include <cmath>
#include <cstdint>

#include "runtime/random.h"

namespace acre::bench {

class Pacer {
 public:
  explicit Pacer(uint64_t seed) : random_(seed) {}

  // The schedule begins anew, with the next Resume(). Requires: both are above 0; paused.
  void Start(double operations_per_second, double ticks_per_second);

  void Resume(uint64_t now_ticks);
  // No effect when it is paused.
  void Pause(uint64_t now_ticks);

  // When the next operation is meant to begin; in the past if it is late. Requires: resumed.
  uint64_t next_ticks() const { return next_ticks_; }
  bool IsDue(uint64_t now_ticks) const { return next_ticks_ <= now_ticks; }
  // That operation begins: on to the one behind it.
  void Advance() {
    offset_ticks_ += Gap();
    SetNext();
  }

  // How many operations were late at the last Pause(), and had not begun: exact for the first, from the
  // rate for those behind it.
  uint64_t backlog() const;

 private:
  // NextDouble() is below 1: the logarithm is finite.
  double Gap() { return -std::log(1 - random_.NextDouble()) * gap_ticks_; }
  void SetNext() {
    next_ticks_ = base_ticks_ + static_cast<uint64_t>(static_cast<int64_t>(offset_ticks_));
  }

  Random random_;
  double gap_ticks_ = 0;  // Mean.
  bool running_ = false;
  uint64_t base_ticks_ = 0;
  // From base_ticks_ to the next start; of a paused schedule, from the pause. Below 0 when that is late.
  double offset_ticks_ = 0;
  uint64_t next_ticks_ = 0;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_PACER_H_
