// WithDeadline: a task that ends by a given time, one way or the other.

#ifndef ACRE_RUNTIME_DEADLINE_H_
#define ACRE_RUNTIME_DEADLINE_H_

#include <coroutine>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"

namespace acre {
namespace task_internal {

// What WithDeadline gives for a Task<T>: T itself if it can carry a status, else StatusOr<T>.
template <class T>
struct DeadlineResult {
  using type = absl::StatusOr<T>;
};
template <class T>
struct DeadlineResult<absl::StatusOr<T>> {
  using type = absl::StatusOr<T>;
};
template <>
struct DeadlineResult<absl::Status> {
  using type = absl::Status;
};
template <>
struct DeadlineResult<void> {
  using type = absl::Status;
};

// Awaits a task and a timer, whichever comes first. Gives true when the task is done.
template <class T>
class DeadlineAwaiter {
 public:
  DeadlineAwaiter(Scheduler* scheduler, uint64_t deadline_ns, Task<T> task)
      : deadline_ns_(deadline_ns), timer_(scheduler), task_(task.Release()) {}

  bool await_ready() const { return false; }
  template <TaskPromise P>
  void await_suspend(std::coroutine_handle<P> handle) {
    timer_.Bind(handle);
    timer_.Start(deadline_ns_);
    task_.await_suspend(handle);
  }
  // Only one of the two may resume the coroutine, also when the deadline passed in the same pass of
  // the loop in which the task ended.
  bool await_resume() {
    timer_.Stop();
    return task_.done();
  }

  T TakeValue() { return task_.await_resume(); }
  void Cancel() { task_.Reset(); }

 private:
  const uint64_t deadline_ns_;
  TimerWaiter timer_;
  TaskAwaiter<T> task_;
};

}  // namespace task_internal

// Runs `task` till `deadline_ns` (the scheduler's time). A task that is not done by then is
// destroyed, with all that it awaits, and the result is DeadlineExceeded. A task that never
// suspends always gives its own result, also when the deadline had passed before it began.
//
// Task<T> gives StatusOr<T>; Task<Status>, Task<StatusOr<T>> give the same type; Task<void> gives
// Status. The scheduler must be the one that runs the caller.
template <class T>
Task<typename task_internal::DeadlineResult<T>::type> WithDeadline(Scheduler& scheduler,
                                                                   uint64_t deadline_ns,
                                                                   Task<T> task) {
  CHECK(task) << "this Task is empty: it was awaited or moved from before";
  task_internal::DeadlineAwaiter<T> awaiter(&scheduler, deadline_ns, std::move(task));
  const bool done = co_await awaiter;
  if (!done) {
    awaiter.Cancel();
    co_return absl::DeadlineExceededError("the deadline passed before the operation was done");
  }
  if constexpr (std::is_void_v<T>) {
    co_return absl::OkStatus();
  } else {
    co_return awaiter.TakeValue();
  }
}

}  // namespace acre

#endif  // ACRE_RUNTIME_DEADLINE_H_
