// AwaitAll: several tasks side by side.

#ifndef ACRE_RUNTIME_AWAIT_ALL_H_
#define ACRE_RUNTIME_AWAIT_ALL_H_

#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"

namespace acre {

// Done when all of them are. Destroyed before: all of them are, too. One alone is awaited as it is.
inline Task<void> AwaitAll(Scheduler* scheduler, std::vector<Task<void>> tasks) {
  if (tasks.size() == 1) {
    co_await std::move(tasks[0]);
    co_return;
  }
  std::vector<SpawnHandle> under_way;
  under_way.reserve(tasks.size());
  for (Task<void>& task : tasks) under_way.push_back(scheduler->Spawn(std::move(task)));
  // They may use what their caller's frame holds: none of them outlives it.
  const auto cancel = absl::MakeCleanup([&under_way] {
    for (SpawnHandle& handle : under_way) handle.Cancel();
  });
  for (SpawnHandle& handle : under_way) co_await handle.Join();
}

}  // namespace acre

#endif  // ACRE_RUNTIME_AWAIT_ALL_H_
