// LockControl connection: the home's end of a participant's control connection (server/lock_home.h): takes its one
// request to join, and asks it the home's questions.
//
// Threads:   confined to the scheduler's.
// Ownership: owns its link; borrows scheduler, port and delegate.

#ifndef ACRE_SERVER_LOCK_CONTROL_H_
#define ACRE_SERVER_LOCK_CONTROL_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kvs/lock_wire.h"
#include "lock/lock_words.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/bootstrap_peer.h"
#include "transport/completion_sink.h"
#include "transport/port.h"
#include "transport/rpc.h"

namespace acre::server {

class LockControlConnection final : private transport::RpcHandler,
                                    private transport::CompletionSink,
                                    private Poller {
 public:
  using Join = std::function<absl::StatusOr<kvs::JoinAnswer>(LockControlConnection* connection,
                                                             const kvs::JoinRequest& request)>;
  // `on_broken`: called once, from the scheduler's loop, when the connection has broken: not to destroy it there.
  LockControlConnection(transport::Port* port, transport::Link link, uint64_t view, Join join,
                        std::function<void()> on_broken);
  ~LockControlConnection() override;

  // What it joined as. 0: it has not.
  uint32_t lock_id() const { return lock_id_; }
  uint64_t made_ns() const { return made_ns_; }
  bool is_broken() const { return is_broken_; }
  // Errors: Unavailable - the connection broke, or what it said makes no sense.
  Task<absl::StatusOr<bool>> Ask(kvs::LockControl question, RemoteWord word, RemoteWord other,
                                 std::vector<uint32_t> dead);

 private:
  Task<absl::Status> Handle(transport::RpcContext* context) override;
  void OnCompletion(const transport::Completion& completion) override;
  bool Poll() override;

  Scheduler* const scheduler_;
  transport::Port* const port_;
  const uint64_t view_;
  const Join join_;
  const std::function<void()> on_broken_;
  const uint64_t made_ns_;
  uint32_t lock_id_ = 0;
  bool is_broken_ = false;
  transport::Link link_;
  transport::RpcPeer rpc_;  // Goes first: it cancels handlers and borrows the channel.
};

}  // namespace acre::server

#endif  // ACRE_SERVER_LOCK_CONTROL_H_
