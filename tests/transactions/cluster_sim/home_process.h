// HomeProcess: a server as a simulated process, with all of the product's that serves transactions: workers with their
// connections, handlers, TransactionHomes, the service, and what ends lost coordinators' transactions.
//
// What server/server.cc and server/worker.cc do with OS threads and sockets is done here in the same order, behind a Door in
// place of a socket. It never stops: it is killed, or lives as long as the run.
//
// Threads:   its process's, but for what judges call between the World's steps.
// Ownership: its main thread's; borrows the scene. It leaks, as all does that killed processes had.

#ifndef ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_HOME_PROCESS_H_
#define ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_HOME_PROCESS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kvs/table.h"
#include "kvs/transaction_id.h"
#include "runtime/scheduler.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"
#include "server/local_workers.h"
#include "server/transaction_ends.h"
#include "server/transaction_service.h"
#include "tests/transactions/cluster_sim/other_homes.h"
#include "transport/port.h"
#include "transport/sim/sim_fabric.h"

namespace acre::cluster_sim {

class Scene;

class HomeProcess {
 public:
  HomeProcess(Scene* scene, sim::Process* process, size_t index, uint64_t generation);
  ~HomeProcess();
  HomeProcess(const HomeProcess&) = delete;
  HomeProcess& operator=(const HomeProcess&) = delete;

  // The body of the main thread, which is the service thread. Does not return.
  void Run();

  kvs::TransactionParticipant self() const;
  // The coordinator is bound to a connection here, or was, or is closed. From a simulated thread.
  bool Knows(const kvs::TransactionThread& thread) const;
  // From an event: a worker closes its connection of that client process, if it has one, as it does when it gives a
  // coordinator up.
  void GiveUp(uint32_t process_id);

  // ---- For judges, outside of threads.

  const kvs::Table& table() const { return *table_; }
  uint64_t connections_open() const;
  uint64_t open_count() const;
  uint64_t holds_count() const;
  uint64_t kept_count() const;
  const server::TransactionEnds& ends() const { return *ends_; }
  void Count() const;  // Into the scene.

 private:
  class Worker;

  void MakeMemory();
  void StartWorkers();
  void OpenDoor();
  void StartEnds();
  void OnListener();
  // An operator, when the scene says that it is time for one: aborts what no home can end, as a home that it names has
  // lost its memory.
  Task<void> Operate();

  Scene* const scene_;
  sim::Process* const process_;
  const size_t index_;
  const uint64_t generation_;
  Scheduler scheduler_;
  std::unique_ptr<transport::SimFabric> fabric_;
  std::unique_ptr<transport::MemoryRegion> region_;
  std::vector<transport::MemoryRegion*> regions_;  // That one.
  std::unique_ptr<kvs::Table> table_;
  std::unique_ptr<server::TransactionService> service_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<transport::Listener> listener_;
  size_t peers_ = 0;
  uint32_t region_ids_ = 0;
  // Of the service thread, to other homes.
  std::unique_ptr<transport::CompletionQueue> queue_;
  std::unique_ptr<transport::Port> port_;
  std::unique_ptr<server::LocalWorkers> local_;
  std::unique_ptr<SimulatedOtherHomes> others_;
  std::unique_ptr<server::TransactionEnds> ends_;
};

}  // namespace acre::cluster_sim

#endif  // ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_HOME_PROCESS_H_
