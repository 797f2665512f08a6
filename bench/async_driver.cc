// AsyncClient: many calls of one thread under way at once, each in a coroutine of its own.

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "bench/driver.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"

namespace acre::bench {
namespace {

// Open loop: the scheduler may sleep only while the next start is further away than this. Sleeping and
// being woken takes tens of microseconds, which would count as the store's.
constexpr uint64_t kSpinNs = 300'000;
// At most, so that the end of the slice is noticed.
constexpr uint64_t kSleepNsMax = 5'000'000;

class AsyncDriver : public Driver {
 public:
  AsyncDriver(const DriverOptions& options, const ThreadContext& context)
      : options_(options),
        context_(context),
        scheduler_({.clock = context.clock, .poll_mode = options.client.poll, .name = "ycsb"}),
        turn_free_(&scheduler_) {}

  absl::Status Connect() override {
    const uint32_t clients_count = options_.client.path == Path::kTcp ? options_.connections : 1;
    for (uint32_t i = 0; i < clients_count; ++i) {
      absl::StatusOr<std::unique_ptr<AsyncClient>> client =
          scheduler_.RunUntilDone(AsyncClient::Connect(&scheduler_, options_.client));
      if (!client.ok()) return client.status();
      clients_.push_back(*std::move(client));
    }
    return absl::OkStatus();
  }

  void RunSlice(uint64_t operations_max, Result* result) override {
    for (const std::unique_ptr<AsyncClient>& client : clients_) result->verbs -= client->verbs();
    {
      SliceRecorder recorder(options_, context_, operations_max, result);
      scheduler_.RunUntilDone(RunAll(&recorder));
    }
    for (const std::unique_ptr<AsyncClient>& client : clients_) result->verbs += client->verbs();
  }

  Path path() const override { return clients_[0]->path(); }
  std::string fabric() const override { return clients_[0]->fabric(); }

 private:
  Task<void> RunAll(SliceRecorder* recorder) {
    std::vector<SpawnHandle> loops;
    for (const std::unique_ptr<AsyncClient>& client : clients_) {
      for (uint32_t i = 0; i < options_.batch; ++i) {
        loops.push_back(scheduler_.Spawn(RunLoop(client.get(), recorder)));
      }
    }
    for (SpawnHandle& loop : loops) co_await loop.Join();
  }

  Task<void> RunLoop(AsyncClient* client, SliceRecorder* recorder) {
    const bool paced = context_.pacer != nullptr;
    KeyWriter key_writer(options_.key_bytes);
    std::string value;
    std::string written(options_.value_bytes, '\0');
    while (true) {
      uint64_t intended_ticks = 0;
      if (paced) {
        const bool begins = co_await TakeStart(recorder, &intended_ticks);
        if (!begins) co_return;
      } else if (!recorder->MayBegin()) {
        co_return;
      }
      const Operation operation = context_.source->Next();
      const absl::string_view key = key_writer.Write(operation.record);
      const uint64_t begin_ticks = paced ? intended_ticks : recorder->Ticks();
      if (operation.kind == OperationKind::kRead ||
          operation.kind == OperationKind::kReadModifyWrite) {
        const absl::Status status = co_await client->Get(key, &value);
        recorder->JudgeRead(operation.record, status, value);
      }
      if (operation.kind != OperationKind::kRead) {
        WriteValue(operation.record, context_.source->NextSequence(), written.data(),
                   written.size());
        const absl::Status status = co_await client->Put(key, written);
        recorder->JudgeWrite(operation, status);
      }
      recorder->AddTimed(begin_ticks, recorder->Ticks());
      recorder->AddDone();
    }
  }

  // Open loop: waits for the next start and takes it; false: the slice is over. The loops that have
  // nothing under way take turns, so starts are in order, and at most `batch` operations are under way.
  Task<bool> TakeStart(SliceRecorder* recorder, uint64_t* intended_ticks) {
    while (turn_taken_) co_await turn_free_.Wait();
    turn_taken_ = true;
    co_await WaitTillDue(recorder);
    const bool begins = recorder->MayBegin();
    if (begins) {
      *intended_ticks = context_.pacer->next_ticks();
      context_.pacer->Advance();
    } else {
      recorder->PauseSchedule();
    }
    turn_taken_ = false;
    turn_free_.NotifyOne();
    co_return begins;
  }

  // Or till the slice is over.
  Task<void> WaitTillDue(SliceRecorder* recorder) {
    while (context_.stop->Load(std::memory_order_relaxed) == 0) {
      const uint64_t now_ticks = recorder->Ticks();
      if (context_.pacer->IsDue(now_ticks)) co_return;
      const double left_ns =
          static_cast<double>(context_.pacer->next_ticks() - now_ticks) * recorder->ns_per_tick();
      if (left_ns > 2.0 * kSpinNs) {
        const uint64_t sleep_ns = std::min(static_cast<uint64_t>(left_ns) - kSpinNs, kSleepNsMax);
        co_await scheduler_.SleepFor(sleep_ns);
      } else {
        co_await scheduler_.Yield();
      }
    }
  }

  const DriverOptions options_;
  const ThreadContext context_;
  Scheduler scheduler_;
  std::vector<std::unique_ptr<AsyncClient>> clients_;
  // Open loop: somebody waits for the next start.
  bool turn_taken_ = false;
  WaitQueue turn_free_;
};

}  // namespace

std::unique_ptr<Driver> MakeAsyncDriver(const DriverOptions& options,
                                        const ThreadContext& context) {
  return std::make_unique<AsyncDriver>(options, context);
}

}  // namespace acre::bench
