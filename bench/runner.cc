#include "bench/runner.h"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::bench {
namespace {

constexpr double kSliceSeconds = 1;

// What the main thread and the workers share. Fields without a note are written by the main thread
// while the workers wait at a barrier, and read by them between barriers; or the other way round.
struct Shared {
  explicit Shared(const RunOptions& run_options)
      : options(run_options),
        records(run_options.records_count),
        meeting(static_cast<std::ptrdiff_t>(run_options.threads) + 1) {}

  const RunOptions& options;
  RealClock clock;
  InsertedRecords records;
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
        source_(shared->options.workload, shared->options.records_count, &shared->records, seed),
        context_{.clock = &shared->clock,
                 .source = &source_,
                 .errors = &shared->errors,
                 .stop = &shared->stop},
        results_(shared->options.paths.size()),
        thread_([this] { Run(); }) {}

  void Join() { thread_.join(); }
  const absl::Status& status() const { return status_; }
  Result& result(size_t path_index) { return results_[path_index]; }
  const Driver& driver(size_t path_index) const { return *drivers_[path_index]; }

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
    for (const Path path : shared_->options.paths) {
      DriverOptions options = shared_->options.driver;
      options.client.path = path;
      drivers_.push_back(MakeDriver(options, context_));
      const absl::Status status = drivers_.back()->Connect();
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  Shared* const shared_;
  OperationSource source_;
  const ThreadContext context_;
  std::vector<std::unique_ptr<Driver>> drivers_;
  std::vector<Result> results_;
  absl::Status status_;
  std::thread thread_;
};

class Runner {
 public:
  explicit Runner(const RunOptions& options) : options_(options), shared_(options) {
    for (uint32_t i = 0; i < options.threads; ++i) {
      workers_.push_back(std::make_unique<Worker>(&shared_, options.seed * 1'000'003 + i));
    }
    shared_.meeting.arrive_and_wait();
  }
  ~Runner() {
    shared_.finished = true;
    shared_.meeting.arrive_and_wait();
    for (const std::unique_ptr<Worker>& worker : workers_) worker->Join();
  }

  absl::Status status() const {
    for (const std::unique_ptr<Worker>& worker : workers_) {
      if (!worker->status().ok()) return worker->status();
    }
    return absl::OkStatus();
  }

  void RunAll() {
    for (size_t i = 0; i < options_.paths.size(); ++i) {
      const Driver& driver = workers_[0]->driver(i);
      std::fprintf(stderr, "%s over %s, %u thread%s\n", PathName(driver.path()),
                   driver.fabric().c_str(), options_.threads, options_.threads == 1 ? "" : "s");
    }
    RunRounds("warm-up", options_.warmup_seconds);
    for (const std::unique_ptr<Worker>& worker : workers_) {
      for (size_t i = 0; i < options_.paths.size(); ++i) worker->result(i) = Result();
    }
    RunRounds("run", options_.seconds);
  }

  std::vector<Row> Rows() const {
    std::vector<Row> rows;
    for (size_t i = 0; i < options_.paths.size(); ++i) {
      Row row = {};
      row.path = workers_[0]->driver(i).path();
      row.fabric = workers_[0]->driver(i).fabric();
      for (const std::unique_ptr<Worker>& worker : workers_) {
        const Result& result = worker->result(i);
        if (result.run_ns > 0) {
          row.operations_per_second +=
              static_cast<double>(result.operations) / (static_cast<double>(result.run_ns) * 1e-9);
        }
        Add(result, &row.result);
      }
      rows.push_back(std::move(row));
    }
    return rows;
  }

 private:
  static void Add(const Result& result, Result* sum) {
    sum->operations += result.operations;
    sum->errors += result.errors;
    sum->run_ns += result.run_ns;
    sum->reader.gets += result.reader.gets;
    sum->reader.reads += result.reader.reads;
    sum->reader.retries += result.reader.retries;
    sum->reader.misses += result.reader.misses;
    sum->latency_ns.Merge(result.latency_ns);
  }

  // Slices of all paths in turn, till each had `seconds` or its share of operations.
  void RunRounds(const char* name, double seconds) {
    const int slices = static_cast<int>(std::ceil(seconds / kSliceSeconds));
    for (int slice = 0; slice < slices; ++slice) {
      bool any = false;
      for (size_t i = 0; i < options_.paths.size() && !shared_.errors.too_many(); ++i) {
        if (OperationsLeft(i) == 0) continue;
        any = true;
        RunSlice(name, slice, i, seconds / slices);
      }
      if (!any) return;
    }
  }

  // Of each worker, on a path.
  uint64_t OperationsLeft(size_t path_index) const {
    if (options_.operations_max == 0) return UINT64_MAX;
    const uint64_t share = (options_.operations_max + options_.threads - 1) / options_.threads;
    uint64_t done = 0;
    for (const std::unique_ptr<Worker>& worker : workers_) {
      done = std::max(done, worker->result(path_index).operations);
    }
    return share > done ? share - done : 0;
  }

  void RunSlice(const char* name, int slice, size_t path_index, double seconds) {
    const uint64_t before = OperationsDone(path_index);
    shared_.path_index = path_index;
    shared_.operations_max = OperationsLeft(path_index);
    shared_.stop.Store(0, std::memory_order_relaxed);
    shared_.workers_active.Store(options_.threads, std::memory_order_relaxed);
    shared_.meeting.arrive_and_wait();
    const uint64_t begin_ns = shared_.clock.NowNs();
    const auto slice_ns = static_cast<uint64_t>(seconds * 1e9);
    while (shared_.clock.NowNs() - begin_ns < slice_ns &&
           shared_.workers_active.Load(std::memory_order_acquire) > 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    shared_.stop.Store(1, std::memory_order_relaxed);
    shared_.meeting.arrive_and_wait();
    const double elapsed = static_cast<double>(shared_.clock.NowNs() - begin_ns) * 1e-9;
    std::fprintf(stderr, "%7s %3d s  %-9s %12.0f operations/s  %llu errors\n", name, slice + 1,
                 PathName(workers_[0]->driver(path_index).path()),
                 static_cast<double>(OperationsDone(path_index) - before) / elapsed,
                 static_cast<unsigned long long>(shared_.errors.count()));
  }

  uint64_t OperationsDone(size_t path_index) const {
    uint64_t done = 0;
    for (const std::unique_ptr<Worker>& worker : workers_) {
      done += worker->result(path_index).operations;
    }
    return done;
  }

  const RunOptions& options_;
  Shared shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

// The first and the last record are there, told once instead of by a flood of errors.
absl::Status CheckLoaded(const RunOptions& options) {
  ClientOptions client_options = options.driver.client;
  client_options.path = options.paths.front();
  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(client_options);
  if (!client.ok()) return client.status();
  KeyWriter key(options.driver.key_bytes);
  for (const uint64_t record : {uint64_t{0}, options.records_count - 1}) {
    std::string value;
    const absl::Status status = (*client)->Get(key.Write(record), &value);
    if (absl::IsNotFound(status)) {
      return absl::NotFoundError(absl::StrCat(
          "the server has no record \"", key.Write(record),
          "\": run this command with --load first, with the same --records and --key_bytes"));
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Row>> RunWorkload(const RunOptions& options) {
  CHECK(!options.paths.empty() && options.records_count > 0 && options.threads > 0);
  absl::Status status = CheckLoaded(options);
  if (!status.ok()) return status;
  Runner runner(options);
  status = runner.status();
  if (!status.ok()) return status;
  runner.RunAll();
  return runner.Rows();
}

}  // namespace acre::bench
