#include "bench/loader.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/record.h"
#include "glog/logging.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/shared_word.h"
#include "runtime/task.h"

namespace acre::bench {
namespace {

// One thread: loads the records from `begin` to `end`.
class LoadThread {
 public:
  LoadThread(const LoadOptions& options, Clock* clock, uint64_t begin, uint64_t end)
      : options_(options), clock_(clock), next_(begin), end_(end), thread_([this] { Run(); }) {}

  void Join() { thread_.join(); }
  // Acquire: who sees true sees status() too.
  bool ended() const { return ended_.Load(std::memory_order_acquire) != 0; }
  uint64_t done_count() const { return done_.Load(std::memory_order_relaxed); }
  // Requires: ended.
  const absl::Status& status() const { return status_; }

 private:
  void Run() {
    Scheduler scheduler({.clock = clock_, .poll_mode = options_.client.poll, .name = "load"});
    status_ = scheduler.RunUntilDone(Load(&scheduler));
    ended_.Store(1, std::memory_order_release);
  }

  Task<absl::Status> Load(Scheduler* scheduler) {
    absl::StatusOr<std::unique_ptr<AsyncClient>> client =
        co_await AsyncClient::Connect(scheduler, options_.client);
    if (!client.ok()) co_return client.status();
    absl::Status status;
    std::vector<SpawnHandle> loops;
    for (uint32_t i = 0; i < options_.outstanding; ++i) {
      loops.push_back(scheduler->Spawn(PutLoop(client->get(), &status)));
    }
    for (SpawnHandle& loop : loops) co_await loop.Join();
    co_return status;
  }

  Task<void> PutLoop(AsyncClient* client, absl::Status* first_error) {
    KeyWriter key(options_.key_bytes);
    std::string value(options_.value_bytes, '\0');
    while (next_ < end_ && first_error->ok()) {
      const uint64_t record = next_++;
      WriteValue(record, 0, value.data(), value.size());
      const absl::string_view key_view = key.Write(record);
      absl::Status status = co_await client->Put(key_view, value);
      if (!status.ok()) {
        if (first_error->ok()) *first_error = status;
        co_return;
      }
      // Only this thread writes it.
      done_.Store(done_.Load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
  }

  const LoadOptions& options_;
  Clock* const clock_;
  uint64_t next_;
  const uint64_t end_;
  absl::Status status_;  // Written before ended_.
  SharedWord ended_;
  SharedWord done_;  // Records put so far, for the progress.
  std::thread thread_;
};

}  // namespace

absl::Status LoadRecords(const LoadOptions& options) {
  CHECK(options.threads > 0 && options.outstanding > 0);
  RealClock clock;
  std::vector<std::unique_ptr<LoadThread>> threads;
  for (uint64_t i = 0; i < options.threads; ++i) {
    const uint64_t begin = options.records_count * i / options.threads;
    const uint64_t end = options.records_count * (i + 1) / options.threads;
    threads.push_back(std::make_unique<LoadThread>(options, &clock, begin, end));
  }
  const uint64_t begin_ns = clock.NowNs();
  uint64_t told_ns = begin_ns;
  uint64_t told_count = 0;
  const auto done_count = [&threads] {
    uint64_t done = 0;
    for (const auto& thread : threads) done += thread->done_count();
    return done;
  };
  while (!std::all_of(threads.begin(), threads.end(), [](const auto& t) { return t->ended(); })) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const uint64_t now_ns = clock.NowNs();
    if (now_ns - told_ns < 1'000'000'000) continue;
    const uint64_t done = done_count();
    std::fprintf(
        stderr, "loaded %llu of %llu records, %.0f records/s\n",
        static_cast<unsigned long long>(done),
        static_cast<unsigned long long>(options.records_count),
        static_cast<double>(done - told_count) / static_cast<double>(now_ns - told_ns) * 1e9);
    told_ns = now_ns;
    told_count = done;
  }
  absl::Status status;
  for (const auto& thread : threads) {
    thread->Join();
    if (status.ok()) status = thread->status();
  }
  const uint64_t done = done_count();
  if (!status.ok()) {
    return absl::Status(status.code(), absl::StrCat(status.message(), "; ", done, " of ",
                                                    options.records_count, " records are loaded"));
  }
  const double seconds = static_cast<double>(clock.NowNs() - begin_ns) * 1e-9;
  std::fprintf(stderr, "loaded %llu records in %.1f s, %.0f records/s\n",
               static_cast<unsigned long long>(done), seconds, static_cast<double>(done) / seconds);
  return absl::OkStatus();
}

}  // namespace acre::bench
