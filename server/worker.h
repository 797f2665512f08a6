// Worker: a thread of the server that serves clients. Each has its own scheduler, completion queue,
// table writer and socket server, and the connections that were given to it; what the workers share is
// the table.
//
// Ownership: owns its thread and its connections; borrows what WorkerContext names, which outlives it.
// Threads:   AddPeer, AddSocket and the counters on any thread; the rest on the one that made it.

#ifndef ACRE_SERVER_WORKER_H_
#define ACRE_SERVER_WORKER_H_

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kvs/table.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/shared_word.h"
#include "server/connection.h"
#include "server/kv_handler.h"
#include "server/lock_home.h"
#include "server/named_locks.h"
#include "server/networks.h"
#include "server/socket_server.h"
#include "server/transaction_service.h"
#include "server/worker_transactions.h"
#include "transport/bootstrap_peer.h"
#include "transport/bootstrap_server.h"
#include "transport/fabric.h"

namespace acre::server {

struct WorkerContext {
  Clock* clock = nullptr;
  std::vector<ServedFabric> fabrics;
  kvs::Table* table = nullptr;
  PollMode poll = PollMode::kAdaptive;
  std::vector<int> cpus;  // Of which its thread stays on one, by its index. Empty: on any.
  std::function<uint32_t()> next_region_id;  // Any thread. 0: there is none left.
  std::function<std::string()> stats;        // Any thread.
  ClusterFacts cluster;
  NamedLocks* named_locks = nullptr;
  LockHome* lock_home = nullptr;  // Null: clients do not write by themselves.
  TransactionService* transactions = nullptr;
};

struct WorkerCounters {
  OperationCounters operations;
  // Of clients on the fabric. Loaded by any thread, stored by the worker.
  SharedWord peers_accepted;
  SharedWord peers_failed;  // Sent away in the second half of the handshake.
  SharedWord peers_open;
  SharedWord peers_welcoming;  // In the second half of the handshake. Added to by any thread.
  VerbTotals verbs;
};

class Worker {
 public:
  // Starts the thread. `seed`: of its random numbers.
  static absl::StatusOr<std::unique_ptr<Worker>> Start(WorkerContext context, int index,
                                                       uint64_t seed);
  // Closes its connections.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Ends the thread; the connections stay. Of several workers stop all before any is destroyed: they look
  // at each other's counters.
  void StopThread();
  // After that: closes its connections, which cancels what they had under way, and undoes transactions that have no other
  // home. The table's other workers are still there: locks are handed on.
  void CloseConnections();
  // After that, of all workers, and at the end of the table: kvs::TableWriter.
  void ForgetAbandonedLocks();

  void AddPeer(transport::ArrivingPeer peer);
  // Whether that is one of its completion queues. Any thread.
  bool Polls(const transport::CompletionQueue* completion_queue) const;
  // A connection of the socket baseline, its preamble read.
  void AddSocket(ScopedFd fd);

  // Of the thread that Start() was called on, till others know of this worker; after that of its own.
  WorkerTransactions* transactions() { return transactions_.get(); }
  const WorkerCounters& counters() const { return counters_; }
  const SocketServerCounters& socket_counters() const { return socket_server_->counters(); }

 private:
  // What a worker has of each fabric. In the order of their making.
  struct Door {
    const ServedFabric* served;
    std::unique_ptr<transport::CompletionQueue> completion_queue;
    std::unique_ptr<transport::Port> port;
  };

  Worker(WorkerContext context, int index, uint64_t seed);
  absl::Status OpenDoors();
  absl::Status StartThread(int index);
  void MakeTransactions(int index);
  // Requires: the server offered it.
  Door& DoorOf(absl::string_view fabric);
  Task<void> Welcome(transport::ArrivingPeer peer);
  // Of a client with which we share memory that it may write: all rights, or none.
  static uint32_t RightsOfTrusted(const transport::QueuePair& queue_pair);

  const WorkerContext context_;
  WorkerCounters counters_;
  Scheduler scheduler_;
  // Made on the thread that starts the worker and handed over to it.
  std::vector<Door> doors_;
  std::unique_ptr<kvs::TableWriter> writer_;
  std::unique_ptr<LockThread> named_locks_;
  std::unique_ptr<WorkerTransactions> transactions_;
  std::unique_ptr<KvHandler> handler_;
  std::unique_ptr<SocketServer> socket_server_;
  std::unique_ptr<ConnectionSet> connections_;
  uint64_t connections_made_ = 0;
  std::list<SpawnHandle> welcoming_;  // Handshakes under way, and some that have ended.
  std::thread thread_;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_WORKER_H_
