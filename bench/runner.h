// Runs a workload along several paths: each thread has a driver for each path, and all threads
// change from path to path together, in slices of a second, so that what the machine does meanwhile
// hits all paths alike and their ratios are fair. An open loop does so for one rate after another.

#ifndef ACRE_BENCH_RUNNER_H_
#define ACRE_BENCH_RUNNER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/crew.h"
#include "bench/driver.h"
#include "bench/workload.h"

namespace acre::bench {

struct RunOptions {
  CrewOptions crew;             // Of each process.
  uint32_t processes = 1;       // That generate load, each with crew.threads threads.
  double warmup_seconds = 0;    // Of each path, at the first rate.
  double seconds = 10;          // Of each path at each rate.
  uint64_t operations_max = 0;  // A path ends after so many. 0: no limit.
  // Open loop: operations per second that are meant to begin, all threads and processes together, one run
  // for each. Empty: one run as a closed loop. Requires: crew.open_loop says the same.
  std::vector<double> targets = {};
};

// What came of one path at one rate, all threads together.
struct Row {
  Path path;
  PutPath put_path = PutPath::kAuto;
  std::string fabric;
  double target_per_second = 0;  // 0: closed loop.
  double operations_per_second = 0;
  Result result;
};

// More than this share of what was due had not begun when the run ended, and more than so many: the path
// cannot do the rate, its latencies only say how long the run was.
constexpr double kSaturatedShare = 0.02;
constexpr uint64_t kSaturatedMin = 10;
bool IsSaturated(const Row& row);

// Errors: what kept a client from connecting; NotFound - no records are loaded.
absl::Status CheckLoaded(const CrewOptions& options);

// Connects, runs, and prints a line of progress for each slice on stderr. Errors: the crew's. What
// fails during the run is counted in the rows.
absl::StatusOr<std::vector<Row>> RunWorkload(const RunOptions& options, Crew* crew);

}  // namespace acre::bench

#endif  // ACRE_BENCH_RUNNER_H_
