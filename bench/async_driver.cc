// AsyncClient: many calls of one thread under way at once, each in a coroutine of its own.

#include <memory>
#include <utility>
#include <vector>

#include "bench/driver.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"

namespace acre::bench {
namespace {

class AsyncDriver : public Driver {
 public:
  AsyncDriver(const DriverOptions& options, const ThreadContext& context)
      : options_(options),
        context_(context),
        scheduler_({.clock = context.clock, .poll_mode = options.client.poll, .name = "ycsb"}) {}

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
    SliceRecorder recorder(options_, context_, operations_max, result);
    scheduler_.RunUntilDone(RunAll(&recorder));
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
    KeyWriter key_writer(options_.key_bytes);
    std::string value;
    std::string written(options_.value_bytes, '\0');
    while (recorder->MayBegin()) {
      const Operation operation = context_.source->Next();
      const absl::string_view key = key_writer.Write(operation.record);
      const uint64_t begin_ticks = recorder->Ticks();
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

  const DriverOptions options_;
  const ThreadContext context_;
  Scheduler scheduler_;
  std::vector<std::unique_ptr<AsyncClient>> clients_;
};

}  // namespace

std::unique_ptr<Driver> MakeAsyncDriver(const DriverOptions& options,
                                        const ThreadContext& context) {
  return std::make_unique<AsyncDriver>(options, context);
}

}  // namespace acre::bench
