// The blocking Client as an open loop. One thread: an operation begins at its time, or when the one before
// it is done; of the reads that are late by then, up to `batch` go together. Each is timed: between two of
// them the clock must be read anyway.

#include <time.h>

#include <algorithm>
#include <utility>

#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "bench/driver.h"

namespace acre::bench {
namespace {

// The thread sleeps only while the next start is further away than this, and spins the rest: to be woken
// takes the kernel tens of microseconds, which would count as the store's.
constexpr uint64_t kSpinNs = 300'000;
// At most, so that the end of the slice is noticed.
constexpr uint64_t kSleepNsMax = 5'000'000;

class PacedBlockingDriver : public Driver {
 public:
  PacedBlockingDriver(const DriverOptions& options, const ThreadContext& context)
      : options_(options),
        context_(context),
        pacer_(*context.pacer),
        key_(options.key_bytes),
        written_(options.value_bytes, '\0'),
        keys_(options.batch, KeyWriter(options.key_bytes)),
        views_(options.batch),
        records_(options.batch),
        intended_ticks_(options.batch),
        values_(options.batch),
        statuses_(options.batch) {}

  absl::Status Connect() override {
    absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(options_.client);
    if (!client.ok()) return client.status();
    client_ = *std::move(client);
    return absl::OkStatus();
  }

  void RunSlice(uint64_t operations_max, Result* result) override {
    const kvs::ReaderStats before = client_->reader_stats();
    result->verbs -= client_->verbs();
    {
      SliceRecorder recorder(options_, context_, operations_max, result);
      Run(&recorder);
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
  void Run(SliceRecorder* recorder) {
    // The next operation is drawn before its time: else drawing would count as the store's.
    Draw();
    while (WaitTillDue(recorder) && recorder->MayBegin()) {
      if (drawn_->kind == OperationKind::kRead) {
        Read(recorder);
      } else {
        Change(recorder);
      }
      if (!drawn_.has_value()) Draw();
    }
    // An insert that does not happen now would hold up all that come after it.
    if (drawn_->kind == OperationKind::kInsert) {
      context_.source->records()->Finish(drawn_->record, /*inserted=*/false);
    }
    drawn_.reset();
  }

  void Draw() { drawn_ = context_.source->Next(); }

  // False: the slice is over.
  bool WaitTillDue(SliceRecorder* recorder) {
    while (true) {
      const uint64_t now_ticks = recorder->Ticks();
      if (context_.stop->Load(std::memory_order_relaxed) != 0) return false;
      if (pacer_.IsDue(now_ticks)) return true;
      const double left_ns =
          static_cast<double>(pacer_.next_ticks() - now_ticks) * recorder->ns_per_tick();
      if (options_.client.poll == PollMode::kAdaptive && left_ns > 2.0 * kSpinNs) {
        const auto sleep_ns = std::min(static_cast<uint64_t>(left_ns) - kSpinNs, kSleepNsMax);
        const timespec sleep = {.tv_sec = 0, .tv_nsec = static_cast<int64_t>(sleep_ns)};
        nanosleep(&sleep, nullptr);
      } else {
        _mm_pause();
      }
    }
  }

  // Takes the reads that are due, one at least, and does them.
  void Read(SliceRecorder* recorder) {
    size_t count = 0;
    do {
      records_[count] = drawn_->record;
      views_[count] = keys_[count].Write(drawn_->record);
      intended_ticks_[count] = pacer_.next_ticks();
      ++count;
      pacer_.Advance();
      drawn_.reset();
      if (count == options_.batch || !pacer_.IsDue(recorder->Ticks())) break;
      Draw();
    } while (drawn_->kind == OperationKind::kRead && recorder->MayBegin());
    if (count == 1) {
      statuses_[0] = client_->Get(views_[0], &values_[0]);
    } else {
      client_->MultiGet(absl::MakeSpan(views_).first(count), absl::MakeSpan(values_).first(count),
                        absl::MakeSpan(statuses_).first(count));
    }
    const uint64_t end_ticks = recorder->OrderedTicks();
    for (size_t i = 0; i < count; ++i) {
      recorder->AddTimed(intended_ticks_[i], end_ticks);
      recorder->JudgeRead(records_[i], statuses_[i], values_[i]);
    }
    recorder->AddDone(count);
  }

  void Change(SliceRecorder* recorder) {
    const Operation operation = *std::exchange(drawn_, {});
    const uint64_t intended_ticks = pacer_.next_ticks();
    pacer_.Advance();
    const absl::string_view key = key_.Write(operation.record);
    if (operation.kind == OperationKind::kReadModifyWrite) {
      const absl::Status status = client_->Get(key, &values_[0]);
      recorder->JudgeRead(operation.record, status, values_[0]);
    }
    WriteValue(operation.record, context_.source->NextSequence(), written_.data(), written_.size());
    const absl::Status status = client_->Put(key, written_);
    recorder->AddTimed(intended_ticks, recorder->Ticks());
    recorder->JudgeWrite(operation, status);
    recorder->AddDone();
  }

  const DriverOptions options_;
  const ThreadContext context_;
  Pacer& pacer_;
  std::unique_ptr<Client> client_;
  absl::optional<Operation> drawn_;  // The next operation; none only between two of them.
  KeyWriter key_;
  std::string written_;
  // Of the reads that go together.
  std::vector<KeyWriter> keys_;
  std::vector<absl::string_view> views_;
  std::vector<uint64_t> records_;
  std::vector<uint64_t> intended_ticks_;
  std::vector<std::string> values_;
  std::vector<absl::Status> statuses_;
};

}  // namespace

std::unique_ptr<Driver> MakePacedBlockingDriver(const DriverOptions& options,
                                                const ThreadContext& context) {
  return std::make_unique<PacedBlockingDriver>(options, context);
}

}  // namespace acre::bench
