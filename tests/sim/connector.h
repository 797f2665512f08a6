// Connector: the connection of a simulated client to the server, made anew when it breaks.
//
// It stands for client/client_core.h, whose fabric and handshake are a real machine's.
//
// Threads:   the scheduler's.
// Ownership: borrows all; operations end before it goes.

#ifndef ACRE_TESTS_SIM_CONNECTOR_H_
#define ACRE_TESTS_SIM_CONNECTOR_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "client/fabric_backend.h"
#include "runtime/scheduler.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "tests/sim/door.h"
#include "transport/port.h"
#include "transport/server_place.h"
#include "transport/sim/sim_fabric.h"

namespace acre::simulation {

class Connector {
 public:
  struct Options {
    Path path = Path::kRpc;
    uint32_t ring_bytes = 0;
    uint64_t timeout_ns = 0;            // Of an operation.
    transport::ServerPlace place = {};  // The server's.
    uint32_t first_region_id = 1;       // Those from here on are this connector's.
    uint32_t claimed_id = 0;            // Not 0: it says that it is this process, which it is not.
  };
  Connector(const Options& options, Door* door, sim::Process* process, sim::Machine* server,
            Scheduler* scheduler, transport::SimFabric* fabric, transport::Port* port);
  ~Connector();
  Connector(const Connector&) = delete;
  Connector& operator=(const Connector&) = delete;

  // The connection; null when there is none by `deadline_ns`, or the attempt failed.
  Task<std::shared_ptr<FabricBackend>> Connection(uint64_t deadline_ns);
  bool is_connected() const { return backend_ != nullptr && backend_->status().ok(); }
  // The connection that there is; null: none.
  std::shared_ptr<FabricBackend> Now() const { return is_connected() ? backend_ : nullptr; }
  // Of the server that the last connection was made to.
  uint64_t generation() const { return generation_; }
  // Forgets the connection; operations under way keep it till they have ended.
  void Drop();
  // Of all connections that were dropped.
  const kvs::ReaderStats& stats() const { return stats_; }
  const absl::Status& last_attempt() const { return last_attempt_; }

 private:
  Task<void> Attempt();
  Task<void> AttemptOver();
  Task<absl::StatusOr<std::shared_ptr<FabricBackend>>> MakeBackend(uint64_t deadline_ns);
  // Steps of the handshake.
  Task<absl::Status> AwaitGreeting(std::shared_ptr<Call> call, uint64_t deadline_ns);
  Task<absl::StatusOr<transport::Link>> OpenLink(std::shared_ptr<Call> call, uint64_t deadline_ns);
  Task<absl::Status> AwaitSetup(std::shared_ptr<Call> call, uint64_t deadline_ns);

  const Options options_;
  Door* const door_;
  sim::Process* const process_;
  sim::Machine* const server_;
  Scheduler* const scheduler_;
  transport::SimFabric* const fabric_;
  transport::Port* const port_;
  uint32_t next_region_id_;
  uint64_t generation_ = 0;
  std::shared_ptr<FabricBackend> backend_;
  kvs::ReaderStats stats_;
  SpawnHandle attempt_;
  absl::Status last_attempt_;
  WaitQueue attempt_over_;
  uint64_t backoff_ns_ = 0;
};

}  // namespace acre::simulation

#endif  // ACRE_TESTS_SIM_CONNECTOR_H_
