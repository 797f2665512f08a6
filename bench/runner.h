// Runs a workload along several paths: each thread has a driver for each path, and all threads
// change from path to path together, in slices of a second, so that what the machine does meanwhile
// hits all paths alike and their ratios are fair.

#ifndef ACRE_BENCH_RUNNER_H_
#define ACRE_BENCH_RUNNER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/driver.h"
#include "bench/workload.h"

namespace acre::bench {

struct RunOptions {
  Workload workload;
  uint64_t records_count = 0;
  std::vector<Path> paths;
  uint32_t threads = 1;
  double warmup_seconds = 0;  // Of each path, as is `seconds`.
  double seconds = 10;
  uint64_t operations_max = 0;  // A path ends after so many. 0: no limit.
  uint64_t seed = 1;
  DriverOptions driver;  // driver.client.path is set for each path.
};

// What came of one path, all threads together.
struct Row {
  Path path;
  std::string fabric;
  double operations_per_second = 0;
  Result result;
};

// Connects, runs, and prints a line of progress for each slice on stderr. Errors: what kept a
// client from connecting; NotFound - no records are loaded. What fails during the run is counted in
// the rows.
absl::StatusOr<std::vector<Row>> RunWorkload(const RunOptions& options);

}  // namespace acre::bench

#endif  // ACRE_BENCH_RUNNER_H_
