// RunOn: a coroutine of one scheduler has a function run on the thread of another one, and goes on with what it gave.

#ifndef ACRE_SERVER_RUN_ON_H_
#define ACRE_SERVER_RUN_ON_H_

#include <functional>
#include <memory>
#include <utility>

#include "absl/types/optional.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"

namespace acre::server {

// `here`: the scheduler that runs the task. The function runs in the loop of `there`, outside of tasks and pollers; it may
// be the same scheduler. Both outlive what was posted to them.
// A task that is destroyed while it waits leaves the function to run all the same. One whose `there` has stopped waits
// for good.
template <class T>
Task<T> RunOn(Scheduler* here, Scheduler* there, std::function<T()> function) {
  struct State {
    explicit State(Scheduler* scheduler) : done(scheduler) {}
    absl::optional<T> result;  // There, until it is posted back; then here.
    Event done;                // Here.
  };
  const auto state = std::make_shared<State>(here);
  there->Post([here, state, function = std::move(function)] {
    state->result.emplace(function());
    here->Post([state] { state->done.Set(); });
  });
  co_await state->done.Wait();
  co_return *std::move(state->result);
}

}  // namespace acre::server

#endif  // ACRE_SERVER_RUN_ON_H_
