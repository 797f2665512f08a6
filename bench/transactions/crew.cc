#include "bench/transactions/crew.h"

#include <barrier>
#include <cstddef>
#include <thread>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/types/optional.h"
#include "glog/logging.h"

namespace acre::bench {
namespace {

// What the main thread and the others share. Fields without a note are written by the main thread while the others wait
// at the barrier, and read by them between barriers.
struct Shared {
  Shared(const TxnCrewOptions& crew_options, const TxnWorkload* crew_workload)
      : options(crew_options),
        workload(crew_workload),
        meeting(static_cast<std::ptrdiff_t>(crew_options.threads_max) + 1) {}

  const TxnCrewOptions options;
  const TxnWorkload* const workload;
  RealClock clock;
  ErrorLog errors;                 // Any thread's.
  std::barrier<> meeting;          // Of all: before and after each step.
  absl::optional<TxnSlice> slice;  // None: the end.
};

class Worker {
 public:
  Worker(Shared* shared, uint32_t index)
      : shared_(shared), index_(index), thread_([this] { Run(); }) {}

  void Join() { thread_.join(); }
  // The rest is for the main thread while the worker waits.
  const absl::Status& status() const { return status_; }
  const TxnDriver& driver() const { return *driver_; }
  TxnTotals TakeTotals() { return std::move(totals_); }

 private:
  void Run() {
    TxnDriverOptions options = {.client = shared_->options.client,
                                .outstanding_max = shared_->options.outstanding_max,
                                .seed = shared_->options.seed * 1'009 + index_};
    TxnDriver driver(std::move(options), shared_->workload, &shared_->clock, &shared_->errors);
    driver_ = &driver;
    status_ = driver.Connect();
    shared_->meeting.arrive_and_wait();
    for (;;) {
      shared_->meeting.arrive_and_wait();
      if (!shared_->slice.has_value()) break;
      const TxnSlice& slice = *shared_->slice;
      if (index_ < slice.threads) totals_ = driver.RunSlice(slice.outstanding, slice.run_ns);
      shared_->meeting.arrive_and_wait();
    }
  }

  Shared* const shared_;
  const uint32_t index_;
  absl::Status status_;
  const TxnDriver* driver_ = nullptr;  // On the thread's stack.
  TxnTotals totals_;
  std::thread thread_;  // The last: it uses the others.
};

class ThreadCrew : public TxnCrew {
 public:
  ThreadCrew(const TxnCrewOptions& options, const TxnWorkload* workload)
      : shared_(options, workload) {}
  ~ThreadCrew() override {
    shared_.slice = absl::nullopt;
    shared_.meeting.arrive_and_wait();
    for (const auto& worker : workers_) worker->Join();
  }

  absl::Status Connect() {
    for (uint32_t i = 0; i < shared_.options.threads_max; ++i) {
      workers_.push_back(std::make_unique<Worker>(&shared_, i));
    }
    shared_.meeting.arrive_and_wait();
    for (const auto& worker : workers_) {
      if (!worker->status().ok()) return worker->status();
    }
    return absl::OkStatus();
  }

  std::vector<TxnTotals> Run(const TxnSlice& slice) override {
    CHECK_LE(slice.threads, workers_.size());
    shared_.slice = slice;
    shared_.meeting.arrive_and_wait();
    shared_.meeting.arrive_and_wait();
    std::vector<TxnTotals> totals;
    for (uint32_t i = 0; i < slice.threads; ++i) totals.push_back(workers_[i]->TakeTotals());
    return totals;
  }

  uint64_t errors() const override { return shared_.errors.count(); }
  Path path() const override { return workers_[0]->driver().path(); }
  std::string fabric() const override { return workers_[0]->driver().fabric(); }

 private:
  Shared shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TxnCrew>> TxnCrew::Start(const TxnCrewOptions& options,
                                                        const TxnWorkload* workload) {
  CHECK_GT(options.threads_max, 0u);
  auto crew = std::make_unique<ThreadCrew>(options, workload);
  const absl::Status connected = crew->Connect();
  if (!connected.ok()) return connected;
  return std::unique_ptr<TxnCrew>(std::move(crew));
}

}  // namespace acre::bench
