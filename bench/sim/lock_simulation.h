// LockSimulation: a cluster that does not exist: machines, their cards and the network between them, in virtual time
// (docs/simulator.md). What runs is the code that real processes run; what time it takes is a model's, runtime/sim/cpu_caches.h
// for the CPUs and transport/sim/sim_costs.h for the network, which misbehaves in no way. The same load with the same seed,
// given the same tasks, does the same to the nanosecond. In config sim only.

#ifndef ACRE_BENCH_SIM_LOCK_SIMULATION_H_
#define ACRE_BENCH_SIM_LOCK_SIMULATION_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/lock_cluster.h"
#include "bench/lock_load.h"

namespace acre::bench {

// Ownership: owns the world. Where it goes without Finish(), or after an error, it leaks: threads stand still in the midst of
//            things.
class LockSimulation final : public LockCluster {
 public:
  // Makes and connects it. The load's clock does not matter: each machine has its own.
  // Errors: the fabric's.
  static absl::StatusOr<std::unique_ptr<LockSimulation>> Start(const LockLoadOptions& load);
  ~LockSimulation() override;

  // Errors: also Internal - nobody gets on.
  absl::StatusOr<std::vector<LockTotal>> Run(const LockTask& task, uint64_t run_ns) override;
  absl::StatusOr<LockCounts> Count() override;
  absl::Status Finish() override;

 private:
  class World;

  explicit LockSimulation(std::unique_ptr<World> world);

  std::unique_ptr<World> world_;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_SIM_LOCK_SIMULATION_H_
