#include "bench/crew.h"

#include <algorithm>
#include <barrier>
#include <cstddef>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::bench {

std::string NameOf(Path path, PutPath put_path) {
  std::string name = PathName(path);
  if (put_path != PutPath::kAuto) absl::StrAppend(&name, "/", PutPathName(put_path));
  return name;
}

namespace {

// What the main thread and the workers share. Fields without a note are written by the main thread
// while the workers wait at a barrier, and read by them between barriers; or the other way round.
struct Shared {
  Shared(const CrewOptions& crew_options, InsertedRecords* inserted_records)
      : options(crew_options),
        records(inserted_records),
        meeting(static_cast<std::ptrdiff_t>(crew_options.threads) + 1) {}

  const CrewOptions options;
  RealClock clock;
  InsertedRecords* const records;
  ErrorLog errors;
  std::barrier<> meeting;  // All workers and the main thread: before and after each step.

  SharedWord stop;            // Ends the slice. The workers load it at each operation.
  SharedWord workers_active;  // Workers that are still in the slice.
  bool finished = false;
  size_t path_index = 0;
  uint64_t operations_max = UINT64_MAX;  // Of each worker in this slice.
};

// One thread of the load generator.
class Worker {
 public:
  Worker(Shared* shared, uint64_t seed)
      : shared_(shared),
        source_(shared->options.workload, shared->options.records_count, shared->records, seed),
        results_(shared->options.paths.size()) {
    for (size_t i = 0; i < results_.size() && shared->options.open_loop; ++i) {
      pacers_.push_back(std::make_unique<Pacer>(seed + (i + 1) * 0x9e3779b97f4a7c15));
    }
    thread_ = std::thread([this] { Run(); });
  }

  void Join() { thread_.join(); }
  const absl::Status& status() const { return status_; }
  const Result& result(size_t path_index) const { return results_[path_index]; }
  const Driver& driver(size_t path_index) const { return *drivers_[path_index]; }

  // Requires: the thread waits at the barrier.
  void StartLoad(double operations_per_second) {
    for (Result& result : results_) result = Result();
    for (const std::unique_ptr<Pacer>& pacer : pacers_) {
      pacer->Start(operations_per_second, shared_->clock.ticks_per_ns() * 1e9);
    }
  }

 private:
  void Run() {
    status_ = Connect();
    shared_->meeting.arrive_and_wait();
    while (true) {
      shared_->meeting.arrive_and_wait();
      if (shared_->finished) break;
      const size_t index = shared_->path_index;
      drivers_[index]->RunSlice(shared_->operations_max, &results_[index]);
      // Release: the main thread, when it sees 0, comes to the meeting and reads the results.
      static_cast<void>(shared_->workers_active.FetchAdd(UINT64_MAX, std::memory_order_acq_rel));
      shared_->meeting.arrive_and_wait();
    }
    drivers_.clear();
  }

  absl::Status Connect() {
    for (size_t i = 0; i < results_.size(); ++i) {
      DriverOptions options = shared_->options.driver;
      options.client.path = shared_->options.paths[i].path;
      options.client.put_path = shared_->options.paths[i].put_path;
      const ThreadContext context = {.clock = &shared_->clock,
                                     .source = &source_,
                                     .errors = &shared_->errors,
                                     .stop = &shared_->stop,
                                     .pacer = pacers_.empty() ? nullptr : pacers_[i].get()};
      drivers_.push_back(MakeDriver(options, context));
      const absl::Status status = drivers_.back()->Connect();
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  Shared* const shared_;
  OperationSource source_;
  std::vector<Result> results_;                 // Of each path, as are the two below.
  std::vector<std::unique_ptr<Pacer>> pacers_;  // None: closed loop.
  std::vector<std::unique_ptr<Driver>> drivers_;
  absl::Status status_;
  std::thread thread_;
};

class LocalCrew : public Crew {
 public:
  LocalCrew(const CrewOptions& options, InsertedRecords* records) : shared_(options, records) {
    CHECK(!options.paths.empty() && options.records_count > 0 && options.threads > 0);
  }
  ~LocalCrew() override {
    if (workers_.empty()) return;
    if (in_slice_) EndSlice().IgnoreError();
    shared_.finished = true;
    shared_.meeting.arrive_and_wait();
    for (const std::unique_ptr<Worker>& worker : workers_) worker->Join();
  }

  absl::StatusOr<std::vector<PickedPath>> Connect() override {
    CHECK(workers_.empty());
    for (uint32_t i = 0; i < shared_.options.threads; ++i) {
      workers_.push_back(std::make_unique<Worker>(&shared_, shared_.options.seed * 1'000'003 + i));
    }
    shared_.meeting.arrive_and_wait();
    for (const std::unique_ptr<Worker>& worker : workers_) {
      if (!worker->status().ok()) return worker->status();
    }
    std::vector<PickedPath> picked;
    for (size_t i = 0; i < shared_.options.paths.size(); ++i) {
      const Driver& driver = workers_[0]->driver(i);
      picked.push_back({driver.path(), driver.fabric()});
    }
    return picked;
  }

  absl::Status StartLoad(double operations_per_second) override {
    for (const std::unique_ptr<Worker>& worker : workers_) {
      worker->StartLoad(operations_per_second / shared_.options.threads);
    }
    return absl::OkStatus();
  }

  absl::Status BeginSlice(size_t path_index, uint64_t operations_max) override {
    CHECK(!std::exchange(in_slice_, true));
    shared_.path_index = path_index;
    shared_.operations_max = operations_max;
    operations_before_ = OperationsDone();
    shared_.stop.Store(0, std::memory_order_relaxed);
    shared_.workers_active.Store(shared_.options.threads, std::memory_order_relaxed);
    shared_.meeting.arrive_and_wait();
    return absl::OkStatus();
  }

  bool SliceIsOver() override {
    return shared_.workers_active.Load(std::memory_order_acquire) == 0;
  }

  absl::StatusOr<SliceEnd> EndSlice() override {
    CHECK(std::exchange(in_slice_, false));
    shared_.stop.Store(1, std::memory_order_relaxed);
    shared_.meeting.arrive_and_wait();
    SliceEnd end = {.operations = OperationsDone() - operations_before_,
                    .operations_most = 0,
                    .errors = shared_.errors.count()};
    for (const std::unique_ptr<Worker>& worker : workers_) {
      end.operations_most =
          std::max(end.operations_most, worker->result(shared_.path_index).operations);
    }
    return end;
  }

  absl::StatusOr<std::vector<PathTotal>> Results() override {
    std::vector<PathTotal> totals(shared_.options.paths.size());
    for (size_t i = 0; i < totals.size(); ++i) {
      for (const std::unique_ptr<Worker>& worker : workers_) {
        const Result& result = worker->result(i);
        totals[i].result.Add(result);
        if (result.run_ns == 0) continue;
        totals[i].operations_per_second +=
            static_cast<double>(result.operations) / (static_cast<double>(result.run_ns) * 1e-9);
      }
    }
    return totals;
  }

 private:
  // On the slice's path.
  uint64_t OperationsDone() const {
    uint64_t done = 0;
    for (const std::unique_ptr<Worker>& worker : workers_) {
      done += worker->result(shared_.path_index).operations;
    }
    return done;
  }

  Shared shared_;
  bool in_slice_ = false;
  uint64_t operations_before_ = 0;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace

std::unique_ptr<Crew> MakeLocalCrew(const CrewOptions& options, InsertedRecords* records) {
  return std::make_unique<LocalCrew>(options, records);
}

}  // namespace acre::bench
