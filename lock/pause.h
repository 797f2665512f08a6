// Pause: how whoever waits for a lock lets others run in between.
//
// In every pass of the loop it looks again, at first; then it sleeps in proportion to what it has waited: waiting
// costs a share of the time it takes, and a thread that waits long uses little CPU. Nobody wakes it: whoever hands
// a lock on does not know how its successor waits.
//
// Threads: confined to the scheduler's.

#ifndef ACRE_LOCK_PAUSE_H_
#define ACRE_LOCK_PAUSE_H_

#include <cstdint>

#include "runtime/scheduler.h"
#include "runtime/task.h"

namespace acre {

class Pause {
 public:
  // Starts anew.
  void Reset() {
    count_ = 0;
    since_ns_ = 0;
  }
  // Lets pollers, timers and other tasks have a pass or more: later ones up to 1 ms, never more than an eighth of
  // what was waited. The pause outlives the task.
  Task<void> Take(Scheduler* scheduler);

 private:
  uint32_t count_ = 0;
  uint64_t since_ns_ = 0;  // When it first slept.
};

}  // namespace acre

#endif  // ACRE_LOCK_PAUSE_H_
