// ClientCore: a connection to a server that is made anew when it breaks. What both forms of the client
// stand on: client/router.h has one for each server that it has to do with.
//
// It knows the server's place in its cluster, from whoever made it or from the first connection, and refuses a
// server that has another one by then: with OutOfRange if it is of another view, so that the keys may be
// anywhere, and FailedPrecondition if it is another server of this view.
//
// A broken connection fails the operations under way with Unavailable; the next operation has a new one
// made. Attempts belong to the client: all operations that need one share it, each waits for it till its own
// deadline, and it goes on when they have gone. Attempts on a server that is gone keep a growing distance, at
// most 50 ms, and an operation fails only with an attempt that began to connect after the operation did. So a
// dead server costs little, and an operation that begins after the server is back finds it.
//
// Threads:   the scheduler's.
// Ownership: borrows the scheduler and the fabrics; the operations end before it goes.

#ifndef ACRE_CLIENT_CLIENT_CORE_H_
#define ACRE_CLIENT_CLIENT_CORE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/backend.h"
#include "client/client.h"
#include "client/fabric_set.h"
#include "kvs/cluster.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/resolver.h"
#include "transport/secret_proof.h"
#include "transport/socket.h"

namespace acre {

// The client's name, shared by its connections: the first server's gift, shown to all.
struct ProcessName {
  uint32_t id = 0;
  uint64_t generation = 0;  // Of the server that gave it.
};

class ClientCore final {
 public:
  // `place`: of the server; nullopt: any. `name` and `fabrics` outlive the core; on Path::kTcp the latter are
  // not used. Connects to nobody yet: the first operation does. Of the options only path, poll mode and the
  // timeouts matter, which are at least 1 ms.
  ClientCore(Scheduler* scheduler, ClientOptions options, transport::HostPort server,
             absl::optional<transport::ServerPlace> place, transport::Credentials credentials,
             ProcessName* name, FabricSet* fabrics);
  ~ClientCore();

  // As AsyncClient's, but DeadlineExceeded at deadline_ns (the scheduler's clock), which is that of the caller's
  // whole operation. OutOfRange: the server is of another view by now, or the key is not its own. Nothing
  // happened then.
  Task<absl::Status> Get(absl::string_view key, std::string* value, uint64_t deadline_ns);
  Task<absl::Status> Put(absl::string_view key, absl::string_view value, uint64_t deadline_ns);
  Task<absl::Status> Delete(absl::string_view key, uint64_t deadline_ns);
  Task<void> MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses, uint64_t deadline_ns);
  Task<absl::StatusOr<std::string>> ServerStats(uint64_t deadline_ns);
  // As Backend's. Lock: connects by deadline_ns, and then waits for wait_ns.
  Task<absl::StatusOr<uint64_t>> Lock(absl::string_view name, uint64_t ticket, uint64_t wait_ns,
                                      uint64_t deadline_ns);
  Task<absl::Status> Unlock(uint64_t ticket, uint64_t deadline_ns);
  Task<absl::StatusOr<std::string>> Locks(uint64_t deadline_ns);
  Task<absl::Status> ForceUnlock(absl::string_view name, uint64_t token, uint64_t deadline_ns);
  // Backend::Call. The handler's own errors come with the server's name, but for NotFound, FailedPrecondition and
  // Aborted, which stay as they are.
  // `generation`: not 0: of the incarnation that is asked. OutOfRange: another one is there; it was not asked.
  Task<absl::Status> Call(kvs::Method method, absl::string_view request, std::string* response,
                          uint64_t deadline_ns, uint64_t generation = 0);
  // Connects if need be: which incarnation of the server it is. 0 on Path::kTcp.
  Task<absl::StatusOr<uint64_t>> Generation(uint64_t deadline_ns);
  // How transactions go there, as long as the connection lasts; made if need be. FailedPrecondition: the path reads
  // no memory of the server.
  Task<absl::StatusOr<std::shared_ptr<kvs::TransactionLink>>> Transactions(uint64_t deadline_ns);
  // The one that there is, or null.
  std::shared_ptr<kvs::TransactionLink> transactions_now() const;
  // Connects if need be, and asks. DeadlineExceeded at deadline_ns.
  Task<absl::StatusOr<kvs::ClusterAnswer>> Cluster(uint64_t deadline_ns);
  Path path() const { return path_; }
  std::string fabric() const { return fabric_name_; }
  kvs::ReaderStats reader_stats() const;
  kvs::WriterStats writer_stats() const;
  transport::VerbCounters verbs() const;
  const transport::HostPort& server() const { return server_; }
  bool is_connected() const { return IsConnected(); }

  // The readers of the connection that there is, or null: for calls past the coroutines. They are good
  // till the scheduler next runs. What such a call returns goes through Explain(), unless it is OK or
  // NotFound.
  kvs::MappedReader* mapped_reader() const {
    return IsConnected() ? backend_->mapped_reader() : nullptr;
  }
  kvs::RemoteReader* remote_reader() const {
    return IsConnected() ? backend_->remote_reader() : nullptr;
  }
  // Names the server and says what to do.
  absl::Status Explain(const absl::Status& status) const;

 private:
  bool IsConnected() const { return backend_ != nullptr && backend_->status().ok(); }
  // The connection, made if need be. Unavailable, DeadlineExceeded, ... : explained.
  Task<absl::StatusOr<std::shared_ptr<Backend>>> Connection(uint64_t deadline_ns);
  // One attempt to connect, after the distance to the last one: a task of the client's own.
  Task<void> Attempt();
  Task<void> AttemptOver();
  Task<absl::StatusOr<std::shared_ptr<Backend>>> MakeBackend(uint64_t deadline_ns);
  Task<absl::StatusOr<std::shared_ptr<Backend>>> MakeFabricBackend(uint64_t deadline_ns);
  // Whether a server that tells this place is the one that was meant. The first that is asked settles it.
  absl::Status JudgePlace(const transport::ServerPlace& told);
  void Drop();
  void ScheduleNextAttempt(bool succeeded);

  Scheduler* const scheduler_;
  const ClientOptions options_;
  const transport::HostPort server_;
  const uint64_t operation_timeout_ns_;
  const transport::Credentials credentials_;
  // Of the last connection; with `auto` the next one may have others.
  Path path_;
  std::string fabric_name_;
  transport::Resolver resolver_{
      scheduler_};  // One for all attempts: a name that hangs takes one thread.

  FabricSet* const fabrics_;
  ProcessName* const name_;
  absl::optional<transport::ServerPlace> place_;  // What it must be. None: not known yet.

  std::shared_ptr<Backend> backend_;  // Null: none, or it broke.
  kvs::ReaderStats stats_before_;     // Of earlier connections.
  kvs::WriterStats written_before_;   // Likewise.
  transport::VerbCounters verbs_before_;
  SpawnHandle attempt_;          // The one under way, if any.
  uint64_t connects_begun_ = 0;  // Attempts that got as far as to connect.
  absl::Status last_attempt_;    // What became of the last that has ended.
  WaitQueue attempt_over_;
  uint64_t backoff_ns_ = 0;
  uint64_t next_attempt_ns_ = 0;
};

}  // namespace acre

#endif  // ACRE_CLIENT_CLIENT_CORE_H_
