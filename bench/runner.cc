#include "bench/runner.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/record.h"
#include "glog/logging.h"

namespace acre::bench {
namespace {

constexpr double kSliceSeconds = 1;
// How long the main thread sleeps between two looks whether a slice is over.
constexpr std::chrono::milliseconds kLook{5};

class Runner {
 public:
  Runner(const RunOptions& options, Crew* crew)
      : options_(options), crew_(*crew), operations_most_(options.crew.paths.size()) {}

  absl::StatusOr<std::vector<Row>> Run() {
    absl::StatusOr<std::vector<PickedPath>> picked = crew_.Connect();
    if (!picked.ok()) return picked.status();
    picked_ = *std::move(picked);
    const uint64_t threads = uint64_t{options_.processes} * options_.crew.threads;
    for (size_t i = 0; i < picked_.size(); ++i) {
      std::fprintf(stderr, "%s over %s, %llu thread%s\n", Name(i).c_str(),
                   picked_[i].fabric.c_str(), static_cast<unsigned long long>(threads),
                   threads == 1 ? "" : "s");
    }
    std::vector<double> targets = options_.targets;
    if (targets.empty()) targets.push_back(0);
    absl::Status status = StartLoad(targets.front());
    if (status.ok()) status = RunRounds("warm-up", options_.warmup_seconds);
    std::vector<Row> rows;
    for (size_t i = 0; i < targets.size() && status.ok(); ++i) {
      status = StartLoad(targets[i]);
      if (status.ok()) status = RunRounds("run", options_.seconds);
      if (status.ok()) status = AddRows(targets[i], &rows);
    }
    if (!status.ok()) return status;
    return rows;
  }

 private:
  std::string Name(size_t path_index) const {
    return NameOf(picked_[path_index].path, options_.crew.paths[path_index].put_path);
  }

  absl::Status StartLoad(double target) {
    if (target > 0) std::fprintf(stderr, "%.0f operations/s are to begin\n", target);
    std::fill(operations_most_.begin(), operations_most_.end(), 0);
    return crew_.StartLoad(target);
  }

  absl::Status AddRows(double target, std::vector<Row>* rows) {
    absl::StatusOr<std::vector<PathTotal>> totals = crew_.Results();
    if (!totals.ok()) return totals.status();
    CHECK_EQ(totals->size(), picked_.size());
    for (size_t i = 0; i < picked_.size(); ++i) {
      rows->push_back({.path = picked_[i].path,
                       .put_path = options_.crew.paths[i].put_path,
                       .fabric = picked_[i].fabric,
                       .target_per_second = target,
                       .operations_per_second = (*totals)[i].operations_per_second,
                       .result = std::move((*totals)[i].result)});
    }
    return absl::OkStatus();
  }

  // Slices of all paths in turn, till each had `seconds` or its share of operations.
  absl::Status RunRounds(const char* name, double seconds) {
    const int slices = static_cast<int>(std::ceil(seconds / kSliceSeconds));
    for (int slice = 0; slice < slices; ++slice) {
      bool any = false;
      for (size_t i = 0; i < picked_.size() && errors_ < ErrorLog::kErrorsMax; ++i) {
        if (OperationsLeft(i) == 0) continue;
        any = true;
        const absl::Status status = RunSlice(name, slice, i, seconds / slices);
        if (!status.ok()) return status;
      }
      if (!any) break;
    }
    return absl::OkStatus();
  }

  // Of each thread, on a path.
  uint64_t OperationsLeft(size_t path_index) const {
    if (options_.operations_max == 0) return UINT64_MAX;
    const uint64_t threads = uint64_t{options_.processes} * options_.crew.threads;
    const uint64_t share = (options_.operations_max + threads - 1) / threads;
    const uint64_t done = operations_most_[path_index];
    return share > done ? share - done : 0;
  }

  absl::Status RunSlice(const char* name, int slice, size_t path_index, double seconds) {
    const uint64_t begin_ns = clock_.NowNs();
    const absl::Status begun = crew_.BeginSlice(path_index, OperationsLeft(path_index));
    if (!begun.ok()) return begun;
    const auto slice_ns = static_cast<uint64_t>(seconds * 1e9);
    while (clock_.NowNs() - begin_ns < slice_ns && !crew_.SliceIsOver()) {
      std::this_thread::sleep_for(kLook);
    }
    const absl::StatusOr<SliceEnd> end = crew_.EndSlice();
    if (!end.ok()) return end.status();
    operations_most_[path_index] = end->operations_most;
    errors_ = end->errors;
    const double elapsed = static_cast<double>(clock_.NowNs() - begin_ns) * 1e-9;
    std::fprintf(stderr, "%7s %3d s  %-9s %12.0f operations/s  %llu errors\n", name, slice + 1,
                 Name(path_index).c_str(), static_cast<double>(end->operations) / elapsed,
                 static_cast<unsigned long long>(end->errors));
    return absl::OkStatus();
  }

  const RunOptions& options_;
  Crew& crew_;
  RealClock clock_;
  std::vector<PickedPath> picked_;
  std::vector<uint64_t> operations_most_;  // That one thread has done, on each path.
  uint64_t errors_ = 0;
};

}  // namespace

bool IsSaturated(const Row& row) {
  const auto backlog = static_cast<double>(row.result.backlog);
  return row.result.backlog > kSaturatedMin &&
         backlog > kSaturatedShare * (backlog + static_cast<double>(row.result.operations));
}

absl::Status CheckLoaded(const CrewOptions& options) {
  ClientOptions client_options = options.driver.client;
  client_options.path = options.paths.front().path;
  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(client_options);
  if (!client.ok()) return client.status();
  KeyWriter key(options.driver.key_bytes);
  // The first and the last record are there, told once instead of by a flood of errors.
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

absl::StatusOr<std::vector<Row>> RunWorkload(const RunOptions& options, Crew* crew) {
  CHECK_EQ(options.crew.open_loop, !options.targets.empty());
  return Runner(options, crew).Run();
}

}  // namespace acre::bench
