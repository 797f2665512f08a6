// SocketClient: Get, Put and Delete as coroutines over one connection of the socket baseline. What
// AsyncClient uses on Path::kTcp. Calls of many coroutines are pipelined: those that were made in
// one pass of the scheduler leave with one system call.
//
// Ownership:  borrows the scheduler, which outlives it. Calls may be destroyed (a deadline) and
//             leave nothing behind; calls under way when the client goes end with Unavailable.
// Threads:    confined to the scheduler's.
// Errors:     those of client/client.h. After Unavailable the connection is broken for good,
//             status() says why: connect again.

#ifndef ACRE_CLIENT_SOCKET_CLIENT_H_
#define ACRE_CLIENT_SOCKET_CLIENT_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/socket_connection.h"
#include "kvs/cluster.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/resolver.h"
#include "transport/secret_proof.h"

namespace acre {

class SocketClient : private Poller {
 public:
  // `server`: HOST:PORT. Gives up at deadline_ns (the scheduler's clock) with Unavailable. `resolver`: of
  // who connects again and again; it outlives the task. Null: one for this connection. With a
  // secret the two sides prove it first; errors: those of transport::ConnectProven().
  static Task<absl::StatusOr<std::unique_ptr<SocketClient>>> Connect(
      Scheduler* scheduler, std::string server, uint64_t deadline_ns,
      transport::Resolver* resolver = nullptr, transport::Credentials credentials = {});
  ~SocketClient() override;
  SocketClient(const SocketClient&) = delete;
  SocketClient& operator=(const SocketClient&) = delete;

  // Arguments outlive the task.
  Task<absl::Status> Get(absl::string_view key, std::string* value);
  Task<absl::Status> Put(absl::string_view key, absl::string_view value);
  Task<absl::Status> Delete(absl::string_view key);
  // The three spans have the same size and outlive the task.
  Task<void> MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses);
  Task<absl::StatusOr<std::string>> Stats();
  // What the server tells of its cluster. OutOfRange: it is of another view than `view`, which is not 0.
  Task<absl::StatusOr<kvs::ClusterAnswer>> Cluster(uint64_t view);

  // OK, or why the connection broke.
  const absl::Status& status() const { return connection_->status(); }

 private:
  class Call;

  SocketClient(Scheduler* scheduler, std::unique_ptr<SocketConnection> connection);
  static absl::StatusOr<std::unique_ptr<SocketClient>> Make(
      Scheduler* scheduler, std::unique_ptr<SocketConnection> connection);
  absl::Status Watch();
  bool Poll() override;
  void OnEvents(uint32_t events);
  void Deliver(const SocketResponse& response);
  void FailAll();

  Scheduler* const scheduler_;
  const std::unique_ptr<SocketConnection> connection_;
  bool flush_wanted_ = false;  // Requests were queued since the last Flush().
  bool failed_ = false;        // FailAll() ran.
  // The calls that wait for an answer, in the order of their requests; null: destroyed meanwhile.
  std::deque<Call*> calls_;
  uint64_t calls_first_ = 0;  // Number of calls_.front().
};

}  // namespace acre

#endif  // ACRE_CLIENT_SOCKET_CLIENT_H_
