// ServerProcess: kv_server as a simulated process: the product's table, writers, handlers and connections,
// on simulated threads and memory, behind a Door in place of a socket.
//
// What server/server.cc and server/worker.cc do with OS threads, sockets and files is done here, in the same
// order: memory, workers, waiting out a dead one's lease, the door; and the stop.
//
// Threads:   its process's, but for RequestStop() and what judges call between the World's steps.
// Ownership: its main thread's; borrows the cluster. Of a killed process it leaks.

#ifndef ACRE_TESTS_SIM_SERVER_PROCESS_H_
#define ACRE_TESTS_SIM_SERVER_PROCESS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kvs/table.h"
#include "runtime/scheduler.h"
#include "runtime/sim/world.h"
#include "transport/sim/sim_fabric.h"

namespace acre::simulation {

class Cluster;

class ServerProcess {
 public:
  ServerProcess(Cluster* cluster, sim::Process* process, uint64_t generation);
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  // The body of the main thread, which is the service thread. Returns when it has stopped.
  void Run();
  void RequestStop() { is_stop_requested_ = true; }

  // --- For judges, outside of threads.

  const kvs::Table& table() const { return *table_; }
  uint64_t connections_open() const;
  // The memory that was taken so that little was left.
  void GiveBackBallast();

 private:
  class Worker;
  struct Ballast {
    kvs::Segment* segment;
    uint64_t offset;
    size_t bytes;
  };

  void MakeMemory();
  void TakeBallast();
  void StartWorkers();
  void WaitOutLease();
  void OpenDoor();
  void OnListener();
  void Stop();

  Cluster* const cluster_;
  sim::Process* const process_;
  const uint64_t generation_;
  Scheduler scheduler_;
  bool is_stop_requested_ = false;  // Set between steps, read by the service thread.
  std::unique_ptr<transport::SimFabric> fabric_;
  std::vector<std::unique_ptr<transport::MemoryRegion>> regions_;
  std::vector<transport::MemoryRegion*> borrowed_regions_;
  std::unique_ptr<kvs::Table> table_;
  std::vector<Ballast> ballast_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<transport::Listener> listener_;
  size_t peers_ = 0;
  uint32_t region_ids_ = 0;
};

}  // namespace acre::simulation

#endif  // ACRE_TESTS_SIM_SERVER_PROCESS_H_
