// The experiment of bench/locks: kinds of lock take turns in short slices, several rounds over all tables and
// localities, on the same processes, threads and connections. What is told of rates is the median over the rounds, a
// ratio is the median of the ratios within rounds; latencies are those of all rounds together.

#ifndef ACRE_BENCH_LOCK_ROUNDS_H_
#define ACRE_BENCH_LOCK_ROUNDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/lock_cluster.h"
#include "bench/lock_load.h"
#include "nlohmann/json.hpp"

namespace acre::bench {

struct LockRoundsOptions {
  LockLoadOptions load;
  std::vector<TableLock> kinds;
  std::vector<uint64_t> locks;  // Tables, by their length.
  std::vector<uint64_t>
      locality_percent;  // How many of the locks a thread takes are its own node's.
  uint32_t rounds = 5;
  double seconds = 0.5;  // Of each row, in all rounds together.
};

// A kind of lock on a table with a locality, over all rounds.
struct LockRow {
  TableLock kind = TableLock::kALock;
  uint32_t locks = 0;
  uint32_t locality_percent = 0;
  std::vector<double> operations_per_second = {};  // One for each round.
  LockTotal total = {};                            // Of all threads.
  std::vector<uint64_t> operations = {};           // By thread.
};

// Runs it all, on a cluster of that load. `progress`: on stderr. Errors: the cluster's; Internal - a lock was not free at
// the end, or holders lost counts: it does not keep others away.
absl::StatusOr<std::vector<LockRow>> RunLockRounds(const LockRoundsOptions& options,
                                                   LockCluster* cluster, bool progress);

// A line for each row. `own` and `others`: what the fabric was asked for an operation on a lock of the own node, and of
// another one.
std::string FormatLockRows(const LockRoundsOptions& options, const std::vector<LockRow>& rows);
// An array: an object for each row.
nlohmann::json LockRowsToJson(const LockRoundsOptions& options, const std::vector<LockRow>& rows);

}  // namespace acre::bench

#endif  // ACRE_BENCH_LOCK_ROUNDS_H_
