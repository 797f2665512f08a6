// Router: the client of a cluster: which server a key belongs to, and a ClientCore for each server that it has
// had to do with. docs/cluster.md.
//
// It goes by a map, the list of servers of one view, which the first of the caller's servers that answers gave
// it. A server of another view refuses what the client asks (OutOfRange): then all servers that are known are
// asked for their map. One that is still of the old view: the servers disagree, and the caller is told so. None:
// what was refused is done by the new map. When no server of the map is connected any more, a failed operation
// also asks: all of them may have been started anew with another list.
//
// No operation is ever answered by a server that goes by another map than the one by which it was sent there.
//
// Threads:   the scheduler's.
// Ownership: borrows the scheduler; the operations end before it goes. Owns the fabrics of all its connections
//            (client/fabric_set.h): who keeps one of cores() lets go of it before the router goes.

#ifndef ACRE_CLIENT_ROUTER_H_
#define ACRE_CLIENT_ROUTER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/client_core.h"
#include "client/fabric_set.h"
#include "kvs/cluster.h"
#include "kvs/coordinator.h"
#include "kvs/transaction_attempts.h"
#include "kvs/transaction_link.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/secret_proof.h"
#include "transport/socket.h"

namespace acre {

class Router final : public AsyncClient, private kvs::TransactionHomes {
 public:
  // Asks all servers of the options, and gets on with those that answer. Errors: those of ClientCore when none
  // answers; InvalidArgument - no server, or no HOST:PORT; FailedPrecondition - they are not of one cluster.
  static Task<absl::StatusOr<std::unique_ptr<Router>>> Connect(Scheduler* scheduler,
                                                               ClientOptions options);
  ~Router() override;

  Task<absl::Status> Get(absl::string_view key, std::string* value) override;
  Task<absl::Status> Put(absl::string_view key, absl::string_view value) override;
  Task<absl::Status> Delete(absl::string_view key) override;
  Task<void> MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses) override;
  Task<absl::StatusOr<NamedLock>> Lock(absl::string_view name, int64_t timeout_ms) override;
  Task<absl::StatusOr<absl::optional<NamedLock>>> TryLock(absl::string_view name) override;
  Task<absl::Status> Unlock(const NamedLock& lock) override;
  Task<absl::StatusOr<std::string>> Locks(std::string server) override;
  Task<absl::Status> ForceUnlock(absl::string_view name, uint64_t token) override;
  Task<absl::StatusOr<std::string>> Transactions(std::string server) override;
  Task<absl::Status> EndTransaction(std::string id, bool commit) override;
  Task<absl::StatusOr<std::string>> ServerStats(std::string server) override;
  std::unique_ptr<AsyncTransaction> Begin() override;
  Task<absl::Status> RunTransaction(const AsyncTransactionFunction& function,
                                    RunOptions options) override;
  TransactionStats transaction_stats() const override;
  std::vector<std::string> Servers() const override;
  Path path() const override { return path_; }
  std::string fabric() const override { return fabric_; }
  kvs::ReaderStats reader_stats() const override;
  kvs::WriterStats writer_stats() const override;
  transport::VerbCounters verbs() const override;

  // For calls past the coroutines: the cores by the index of their servers, null where there was nothing to do
  // yet. They change only while the scheduler runs.
  absl::Span<const std::shared_ptr<ClientCore>> cores() const { return cores_; }
  uint64_t operation_timeout_ns() const { return operation_timeout_ns_; }
  // RunTransaction() in steps, for who does not run the function as a task.
  std::unique_ptr<kvs::TransactionAttempts> StartAttempts(const RunOptions& options) {
    return std::make_unique<kvs::TransactionAttempts>(&coordinator_, options);
  }

 private:
  // A server that was asked, and what it said.
  struct Asked {
    std::shared_ptr<ClientCore> core;
    kvs::ClusterAnswer answer;
  };
  // The keys of a MultiGet that one server has.
  struct Part;

  Router(Scheduler* scheduler, ClientOptions options, std::vector<transport::HostPort> seeds,
         transport::Credentials credentials, std::unique_ptr<FabricSet> fabrics);

  Task<absl::Status> Join(uint64_t deadline_ns);
  Task<absl::StatusOr<Asked>> Ask(transport::HostPort server, uint64_t deadline_ns);
  // Goes by what it said from now on.
  absl::Status Adopt(const Asked& asked);
  // Whether another of the caller's servers is of the same cluster; keeps the connection if it is.
  absl::Status Compare(const Asked& asked);
  // The server at `address`, as the list has it, is the one that answered there.
  absl::Status CheckAddress(const Asked& asked) const;

  std::shared_ptr<ClientCore> MakeCore(transport::HostPort server,
                                       absl::optional<transport::ServerPlace> place);
  std::shared_ptr<ClientCore> CoreAt(size_t index);
  std::shared_ptr<ClientCore> CoreOf(absl::string_view key);
  bool AnyConnected() const;

  // After an operation that began when maps_count_ was `map_number`: whether it is to be done again, by a map
  // that came since. Else *status is what the caller gets.
  Task<bool> LearnFrom(absl::Status* status, uint64_t map_number, bool is_read,
                       uint64_t deadline_ns);
  // Asks for the map, once for all operations that want to know; at most till deadline_ns.
  Task<void> Refresh(uint64_t deadline_ns) override;
  // kvs::TransactionHomes. In router_transactions.cc.
  uint64_t view() const override { return map_.view; }
  uint32_t process_id() const override { return name_.id; }
  uint32_t NewThreadNumber() override;
  size_t servers_count() const override { return cores_.size(); }
  std::shared_ptr<kvs::TransactionLink> LinkNow(size_t server) override;
  Task<absl::StatusOr<std::shared_ptr<kvs::TransactionLink>>> Link(size_t server,
                                                                   uint64_t deadline_ns) override;
  Task<void> RefreshOnce();
  Task<void> RefreshOver();
  Task<void> MultiGetPart(Part* part, uint64_t deadline_ns);
  // By the map that there is. The keys' own statuses, also those of an old map.
  Task<void> MultiGetOnce(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                          absl::Span<absl::Status> statuses, uint64_t deadline_ns);
  Task<void> MultiGetSpread(absl::Span<const absl::string_view> keys,
                            absl::Span<std::string> values, absl::Span<absl::Status> statuses,
                            uint64_t deadline_ns);
  // The same for the keys of a larger one whose indices are given.
  Task<void> MultiGetSome(const std::vector<size_t>* indices,
                          absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                          absl::Span<absl::Status> statuses, uint64_t deadline_ns);
  // The server at an address as Servers() has it; "": the only one.
  absl::StatusOr<std::shared_ptr<ClientCore>> CoreNamed(const std::string& server);
  // A token, 0: others had it all the time.
  Task<absl::StatusOr<NamedLock>> LockFor(absl::string_view name, uint64_t wait_ns);
  uint64_t OperationDeadlineNs() { return scheduler_->NowNs() + operation_timeout_ns_; }

  Scheduler* const scheduler_;
  const ClientOptions options_;
  const std::vector<transport::HostPort> seeds_;  // The caller's, no two alike.
  const transport::Credentials credentials_;      // Of all connections.
  const uint64_t operation_timeout_ns_;
  const std::unique_ptr<FabricSet> fabrics_;  // Before all that holds cores: it goes after them.
  ProcessName name_;
  Path path_ = Path::kAuto;
  std::string fabric_;

  kvs::ClusterMap map_;
  std::vector<std::shared_ptr<ClientCore>> cores_;  // One for each server of the map.
  uint64_t maps_count_ = 0;                         // That it has gone by, this one included.
  kvs::ReaderStats stats_before_;                   // Of cores of earlier maps.
  kvs::WriterStats written_before_;                 // Likewise.
  transport::VerbCounters verbs_before_;

  kvs::Coordinator coordinator_;  // Goes before the cores.
  uint64_t tickets_given_ = 0;    // Of locks by name.
  SpawnHandle refresh_;           // Under way, if any.
  uint64_t refreshes_begun_ = 0;
  uint64_t next_refresh_ns_ = 0;
  WaitQueue refresh_over_;
};

}  // namespace acre

#endif  // ACRE_CLIENT_ROUTER_H_
