// The world that a program of bench/locks is built for: the real one (lock_world.cc, program `locks`), or a simulated one
// (sim/lock_world.cc, program `locks_sim`, in config sim). Everything else is the same in both, their flags too.

#ifndef ACRE_BENCH_LOCK_WORLD_H_
#define ACRE_BENCH_LOCK_WORLD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/lock_cluster.h"
#include "bench/lock_load.h"

namespace acre::bench {

// Becomes the program for the world of that fabric, with the same arguments, if this one is not; returns if it is.
// Errors: FailedPrecondition - there is no such program beside this one; InvalidArgument - this fabric is of neither.
absl::Status EnterWorldOf(const std::string& fabric, char** argv);

// What of a load this world does not do. Errors: InvalidArgument.
absl::Status JudgeLoad(const LockLoadOptions& load);

// Starts and connects the processes of a load. `arguments`: the program's own, for copies of it. Says on stdout what it has
// started. Errors: the cluster's.
absl::StatusOr<std::unique_ptr<LockCluster>> StartLockCluster(
    const LockLoadOptions& load, const std::vector<std::string>& arguments);

// Is one of the copies. Errors: see ServeLockProcess().
absl::Status ServeAsProcess(const LockLoadOptions& load, uint32_t number);

}  // namespace acre::bench

#endif  // ACRE_BENCH_LOCK_WORLD_H_
