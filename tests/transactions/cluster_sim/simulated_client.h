// SimulatedClient: what a client has in a simulated process: a scheduler, a card, connections to all homes, made anew when
// they break, and the product's Coordinator over them.
//
// Threads:   the process's one, on whose stack it lives. It leaks when that is killed.
// Ownership: borrows the scene.

#ifndef ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_SIMULATED_CLIENT_H_
#define ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_SIMULATED_CLIENT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kvs/coordinator.h"
#include "runtime/scheduler.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"
#include "tests/sim/connector.h"
#include "transport/port.h"
#include "transport/sim/sim_fabric.h"

namespace acre::cluster_sim {

class Scene;

// How the coordinator finds homes: as client/router.h does, over simulated connections.
class SimulatedHomes final : public kvs::TransactionHomes {
 public:
  // `claimed_id`: says that it is of another process than it is; 0: it does not.
  SimulatedHomes(Scene* scene, sim::Process* process, Scheduler* scheduler,
                 transport::SimFabric* fabric, transport::Port* port, uint32_t claimed_id);

  uint64_t view() const override;
  uint32_t process_id() const override { return process_id_; }
  uint32_t NewThreadNumber() override;
  size_t servers_count() const override { return connectors_.size(); }
  std::shared_ptr<kvs::TransactionLink> LinkNow(size_t server) override;
  Task<absl::StatusOr<std::shared_ptr<kvs::TransactionLink>>> Link(size_t server,
                                                                   uint64_t deadline_ns) override;
  // The view never changes.
  Task<void> Refresh(uint64_t /*deadline_ns*/) override { co_return; }

  // Where numbers that are drawn from now on are written down, too.
  void set_numbers(std::vector<uint32_t>* numbers) { numbers_ = numbers; }

 private:
  const uint32_t process_id_;
  Scheduler* const scheduler_;
  std::vector<std::unique_ptr<simulation::Connector>> connectors_;
  std::vector<uint32_t>* numbers_ = nullptr;
};

class SimulatedClient {
 public:
  SimulatedClient(Scene* scene, sim::Process* process, uint64_t seed, uint32_t claimed_id = 0);
  ~SimulatedClient();
  SimulatedClient(const SimulatedClient&) = delete;
  SimulatedClient& operator=(const SimulatedClient&) = delete;

  Scheduler* scheduler() { return &scheduler_; }
  SimulatedHomes* homes() { return homes_.get(); }
  kvs::Coordinator* coordinator() { return coordinator_.get(); }

 private:
  Scheduler scheduler_;
  std::unique_ptr<transport::SimFabric> fabric_;
  std::unique_ptr<transport::CompletionQueue> queue_;
  std::unique_ptr<transport::Port> port_;
  std::unique_ptr<SimulatedHomes> homes_;
  std::unique_ptr<kvs::Coordinator> coordinator_;  // Goes first.
};

}  // namespace acre::cluster_sim

#endif  // ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_SIMULATED_CLIENT_H_
