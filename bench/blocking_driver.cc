// The blocking Client: paths whose reads need no server, one call at a time.

#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "bench/driver.h"

namespace acre::bench {
namespace {

// A read takes about as long as reading the clock twice does: only a sample of the reads is timed, each
// counted for all since the last. Primes, so that nothing that comes every so many calls is missed.
constexpr uint32_t kTimedEvery = 251;
constexpr uint32_t kTimedBatchesEvery = 7;
constexpr uint32_t kDrawnAhead = 64;

class BlockingDriver : public Driver {
 public:
  BlockingDriver(const DriverOptions& options, const ThreadContext& context)
      : options_(options),
        context_(context),
        key_(options.key_bytes),
        drawn_(kDrawnAhead, Drawn(options.key_bytes)),
        written_(options.value_bytes, '\0'),
        batch_keys_(options.batch, KeyWriter(options.key_bytes)),
        batch_views_(options.batch),
        batch_records_(options.batch),
        batch_values_(options.batch),
        batch_statuses_(options.batch) {}

  absl::Status Connect() override {
    absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(options_.client);
    if (!client.ok()) return client.status();
    client_ = *std::move(client);
    return absl::OkStatus();
  }

  void RunSlice(uint64_t operations_max, Result* result) override {
    const kvs::ReaderStats before = client_->reader_stats();
    result->verbs -= client_->verbs();
    // A result's first read is timed, so that also a short run has a latency.
    if (result->latency_ns.count() == 0) timed_in_ = timed_weight_ = 1;
    {
      SliceRecorder recorder(options_, context_, operations_max, result);
      if (options_.batch > 1) {
        RunBatches(&recorder);
      } else {
        RunSingly(&recorder);
      }
    }
    const kvs::ReaderStats after = client_->reader_stats();
    result->reader.gets += after.gets - before.gets;
    result->reader.reads += after.reads - before.reads;
    result->reader.retries += after.retries - before.retries;
    result->reader.misses += after.misses - before.misses;
    result->verbs += client_->verbs();
  }

  Path path() const override { return client_->path(); }
  std::string fabric() const override { return client_->fabric(); }

 private:
  // An operation that was drawn, and what came of it.
  struct Drawn {
    explicit Drawn(size_t key_bytes) : writer(key_bytes) {}
    KeyWriter writer;
    Operation operation{};
    absl::string_view key;
    std::string value;  // Its memory is reused.
    bool is_read = false;
  };

  // One call at a time. Operations are drawn some ahead and values judged some behind: a program that
  // measures reads of memory must not fill the CPU's window between two of them with its own work
  // (docs/lookup.md).
  void RunSingly(SliceRecorder* recorder) {
    while (true) {
      size_t count = 0;
      for (Drawn& drawn : drawn_) {
        if (!recorder->MayBegin()) break;
        drawn.operation = context_.source->Next();
        drawn.key = drawn.writer.Write(drawn.operation.record);
        ++count;
      }
      if (count == 0) return;
      const absl::Span<Drawn> begun = absl::MakeSpan(drawn_).first(count);
      for (Drawn& drawn : begun) {
        drawn.is_read = drawn.operation.kind == OperationKind::kRead;
        if (drawn.is_read) [[likely]] {
          Read(&drawn, recorder);
        } else {
          Change(drawn.operation, recorder);
        }
      }
      for (const Drawn& drawn : begun) {
        if (drawn.is_read) recorder->JudgeValue(drawn.operation.record, drawn.value);
      }
      recorder->AddDone(count);
    }
  }

  void Read(Drawn* drawn, SliceRecorder* recorder) {
    const bool timed = --timed_in_ == 0;
    const uint64_t begin_ticks = timed ? recorder->OrderedTicks() : 0;
    const absl::Status status = client_->Get(drawn->key, &drawn->value);
    if (timed) [[unlikely]] {
      recorder->AddTimed(begin_ticks, recorder->OrderedTicks(), timed_weight_);
      timed_in_ = timed_weight_ = kTimedEvery;
    }
    if (status.ok()) [[likely]]
      return;
    recorder->AddReadError(drawn->operation.record, status);
    drawn->is_read = false;
  }

  // Gathers reads; what changes a record is done at once.
  void RunBatches(SliceRecorder* recorder) {
    uint32_t gathered = 0;
    while (recorder->MayBegin()) {
      const Operation operation = context_.source->Next();
      if (operation.kind != OperationKind::kRead) {
        Change(operation, recorder);
        recorder->AddDone();
        continue;
      }
      batch_records_[gathered] = operation.record;
      batch_views_[gathered] = batch_keys_[gathered].Write(operation.record);
      if (++gathered < options_.batch) continue;
      gathered = 0;
      const bool timed = --timed_in_ == 0;
      const uint64_t begin_ticks = timed ? recorder->OrderedTicks() : 0;
      client_->MultiGet(batch_views_, absl::MakeSpan(batch_values_),
                        absl::MakeSpan(batch_statuses_));
      if (timed) {
        recorder->AddTimed(begin_ticks, recorder->OrderedTicks(),
                           uint64_t{timed_weight_} * options_.batch);
        timed_in_ = timed_weight_ = kTimedBatchesEvery;
      }
      for (uint32_t i = 0; i < options_.batch; ++i) {
        recorder->JudgeRead(batch_records_[i], batch_statuses_[i], batch_values_[i]);
      }
      recorder->AddDone(options_.batch);
    }
  }

  // These go through the server: each is timed.
  void Change(const Operation& operation, SliceRecorder* recorder) {
    const absl::string_view key = key_.Write(operation.record);
    const uint64_t begin_ticks = recorder->Ticks();
    if (operation.kind == OperationKind::kReadModifyWrite) {
      const absl::Status status = client_->Get(key, &value_);
      recorder->JudgeRead(operation.record, status, value_);
    }
    WriteValue(operation.record, context_.source->NextSequence(), written_.data(), written_.size());
    const absl::Status status = client_->Put(key, written_);
    recorder->AddTimed(begin_ticks, recorder->Ticks());
    recorder->JudgeWrite(operation, status);
  }

  const DriverOptions options_;
  const ThreadContext context_;
  std::unique_ptr<Client> client_;
  KeyWriter key_;
  std::vector<Drawn> drawn_;
  std::string value_;
  std::string written_;
  uint32_t timed_in_ = 1;      // Reads, or batches, till the next that is timed, it included.
  uint32_t timed_weight_ = 1;  // Those that one stands for.
  std::vector<KeyWriter> batch_keys_;
  std::vector<absl::string_view> batch_views_;
  std::vector<uint64_t> batch_records_;
  std::vector<std::string> batch_values_;
  std::vector<absl::Status> batch_statuses_;
};

}  // namespace

std::unique_ptr<Driver> MakeBlockingDriver(const DriverOptions& options,
                                           const ThreadContext& context) {
  return std::make_unique<BlockingDriver>(options, context);
}

}  // namespace acre::bench
