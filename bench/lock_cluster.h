// LockCluster: the processes of a load (lock_load.h), connected, as the experiment (lock_rounds.h) sees them: real ones
// (lock_processes.h), or those of a simulated world (lock_simulation.h).
//
// Threads: confined to one.

#ifndef ACRE_BENCH_LOCK_CLUSTER_H_
#define ACRE_BENCH_LOCK_CLUSTER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/lock_load.h"

namespace acre::bench {

// Of all locks that holders count, in the order of LockIndex().
struct LockCounts {
  std::vector<uint64_t> taken;    // By the threads.
  std::vector<uint64_t> counted;  // By what the locks guard.
};

class LockCluster {
 public:
  virtual ~LockCluster() = default;

  // All threads do that for so long; what each of them did, in the order of their numbers.
  // Errors: Unavailable - a process has gone, the message says which; what a process tells. After one nothing but the
  // destructor works.
  virtual absl::StatusOr<std::vector<LockTotal>> Run(const LockTask& task, uint64_t run_ns) = 0;

  // Between two runs. Errors: as above; Internal - a lock is not free.
  virtual absl::StatusOr<LockCounts> Count() = 0;

  // All processes end. Errors: as above.
  virtual absl::Status Finish() = 0;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_LOCK_CLUSTER_H_
