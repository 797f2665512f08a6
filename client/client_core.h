// ClientCore: a connection to a server that is made anew when it breaks. What both forms of the client
// stand on.
//
// A broken connection fails the operations under way with Unavailable; the next operation has a new one
// made. Attempts belong to the client: all operations that need one share it, each waits for it till its own
// deadline, and it goes on when they have gone. Attempts on a server that is gone keep a growing distance, at
// most 50 ms, and an operation fails only with an attempt that began to connect after the operation did. So a
// dead server costs little, and an operation that begins after the server is back finds it.
//
// Threads:   the scheduler's.
// Ownership: borrows the scheduler; the operations end before it goes.

#ifndef ACRE_CLIENT_CLIENT_CORE_H_
#define ACRE_CLIENT_CLIENT_CORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/backend.h"
#include "client/client.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/fabric.h"
#include "transport/port.h"
#include "transport/resolver.h"
#include "transport/socket.h"

namespace acre {

class ClientCore final : public AsyncClient {
 public:
  static Task<absl::StatusOr<std::unique_ptr<ClientCore>>> Connect(Scheduler* scheduler,
                                                                   ClientOptions options);
  ~ClientCore() override;

  Task<absl::Status> Get(absl::string_view key, std::string* value) override;
  Task<absl::Status> Put(absl::string_view key, absl::string_view value) override;
  Task<absl::Status> Delete(absl::string_view key) override;
  Task<void> MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses) override;
  Task<absl::StatusOr<std::string>> ServerStats() override;
  Path path() const override { return path_; }
  std::string fabric() const override { return fabric_name_; }
  kvs::ReaderStats reader_stats() const override;

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
  uint64_t operation_timeout_ns() const { return operation_timeout_ns_; }

 private:
  ClientCore(Scheduler* scheduler, ClientOptions options, transport::HostPort server);

  bool IsConnected() const { return backend_ != nullptr && backend_->status().ok(); }
  // What a connection goes over, if the server has it.
  struct OpenFabric {
    std::unique_ptr<transport::Fabric> fabric;
    std::unique_ptr<transport::CompletionQueue> completion_queue;
    std::unique_ptr<transport::Port> port;
  };

  absl::Status OpenFabrics();
  // The connection, made if need be. Unavailable, DeadlineExceeded, ... : explained.
  Task<absl::StatusOr<std::shared_ptr<Backend>>> Connection(uint64_t deadline_ns);
  // One attempt to connect, after the distance to the last one: a task of the client's own.
  Task<void> Attempt();
  Task<void> AttemptOver();
  Task<absl::StatusOr<std::shared_ptr<Backend>>> MakeBackend(uint64_t deadline_ns);
  Task<absl::StatusOr<std::shared_ptr<Backend>>> MakeFabricBackend(uint64_t deadline_ns);
  void Drop();
  void ScheduleNextAttempt(bool succeeded);
  uint64_t OperationDeadlineNs() { return scheduler_->NowNs() + operation_timeout_ns_; }

  Scheduler* const scheduler_;
  const ClientOptions options_;
  const transport::HostPort server_;
  const uint64_t operation_timeout_ns_;
  // Of the last connection; with `auto` the next one may have others.
  Path path_;
  std::string fabric_name_;
  transport::Resolver resolver_{
      scheduler_};  // One for all attempts: a name that hangs takes one thread.

  std::vector<OpenFabric> fabrics_;  // The best first.
  uint32_t next_region_id_ = 1;
  uint32_t process_id_ = 0;  // The server's gift, shown to it again.
  uint64_t process_id_generation_ = 0;

  std::shared_ptr<Backend> backend_;  // Null: none, or it broke.
  kvs::ReaderStats stats_before_;     // Of earlier connections.
  SpawnHandle attempt_;               // The one under way, if any.
  uint64_t connects_begun_ = 0;       // Attempts that got as far as to connect.
  absl::Status last_attempt_;         // What became of the last that has ended.
  WaitQueue attempt_over_;
  uint64_t backoff_ns_ = 0;
  uint64_t next_attempt_ns_ = 0;
};

}  // namespace acre

#endif  // ACRE_CLIENT_CLIENT_CORE_H_
