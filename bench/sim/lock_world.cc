#include "bench/lock_world.h"

#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/sim/lock_simulation.h"

namespace acre::bench {
namespace {

// Of a node: each has a bit in the model of the CPUs' caches, and so has the thread that accepts (CpuCaches).
constexpr uint32_t kThreadsMax = 62;

}  // namespace

absl::Status EnterWorldOf(const std::string& fabric, char** /*argv*/) {
  if (fabric == "sim") return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(fabric, ": this program knows fabric sim only; //bench:locks has the others"));
}

absl::Status JudgeLoad(const LockLoadOptions& load) {
  if (!load.devices.empty()) {
    return absl::InvalidArgumentError("--devices: a simulated machine has one card");
  }
  if (load.processes * load.threads > kThreadsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--processes and --threads: a simulated machine has ", kThreadsMax, " cores"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<LockCluster>> StartLockCluster(
    const LockLoadOptions& load, const std::vector<std::string>& /*arguments*/) {
  auto cluster = LockSimulation::Start(load);
  if (!cluster.ok()) return cluster.status();
  std::cout << "simulated: all times are virtual, seed " << load.seed << std::endl;
  return std::unique_ptr<LockCluster>(*std::move(cluster));
}

absl::Status ServeAsProcess(const LockLoadOptions& /*load*/, uint32_t /*number*/) {
  return absl::InvalidArgumentError("--process_index: there are no real processes here");
}

}  // namespace acre::bench
