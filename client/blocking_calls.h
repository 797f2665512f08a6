// BlockingCalls: how the blocking forms of the client drive its scheduler.

#ifndef ACRE_CLIENT_BLOCKING_CALLS_H_
#define ACRE_CLIENT_BLOCKING_CALLS_H_

#include <utility>

#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"

namespace acre {

class BlockingCalls {
 public:
  BlockingCalls(const BlockingCalls&) = delete;
  BlockingCalls& operator=(const BlockingCalls&) = delete;

  template <class T>
  T Run(Task<T> operation) {
    T result = scheduler_.RunUntilDone(std::move(operation));
    AfterRun();
    return result;
  }
  void Run(Task<void> operation) {
    scheduler_.RunUntilDone(std::move(operation));
    AfterRun();
  }

 protected:
  explicit BlockingCalls(PollMode poll)
      : scheduler_({.clock = &clock_, .poll_mode = poll, .name = "client"}) {}
  virtual ~BlockingCalls() = default;
  // The scheduler has run: connections may be others.
  virtual void AfterRun() = 0;

  RealClock clock_;
  Scheduler scheduler_;
};

}  // namespace acre

#endif  // ACRE_CLIENT_BLOCKING_CALLS_H_
