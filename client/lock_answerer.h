// LockAnswerer: a participant's half on the service thread (client/lock_service.h): its control connection to the
// home, which asks there; and the door where other participants connect to its descriptors.
//
// Threads:   confined to the service thread's.
// Ownership: owns connection and door. Borrows the fabric, and from Serve() on the descriptors.

#ifndef ACRE_CLIENT_LOCK_ANSWERER_H_
#define ACRE_CLIENT_LOCK_ANSWERER_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvs/lock_wire.h"
#include "lock/peer_door.h"
#include "lock/remote_descriptors.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/bootstrap_peer.h"
#include "transport/completion_sink.h"
#include "transport/fabric.h"
#include "transport/port.h"
#include "transport/rpc.h"
#include "transport/secret_proof.h"
#include "transport/socket.h"

namespace acre {

class LockAnswerer final : private transport::RpcHandler,
                           private transport::CompletionSink,
                           private Poller {
 public:
  // As many as a home has participants: one that finds no room here would be given up.
  static constexpr size_t kNeighboursMax = 1024;

  struct Options {
    transport::Fabric* fabric = nullptr;  // That of the descriptors.
    transport::HostPort server;
    transport::Credentials credentials;
    uint64_t view = 0;
    // What the other connection has: one process takes one id.
    uint32_t process_id = 0;
    uint64_t generation = 0;  // Of the server.
    uint32_t region_id = 0;   // Of the connection's channel.
    uint32_t descriptors_count = 0;
    uint64_t deadline_ns = 0;  // Of Join().
  };
  LockAnswerer(Scheduler* scheduler, Options options);
  ~LockAnswerer() override;

  // Connects, and joins the home's locks; `on_joined` gets the answer, or what went wrong: those of
  // transport::ConnectPeer and of Fabric's functions. Called from the scheduler's loop.
  void Join(std::function<void(absl::StatusOr<kvs::JoinAnswer>)> on_joined);
  // Others may come, and the home may ask, from now on. AlreadyExists: PeerDoor's.
  absl::Status Serve(RemoteDescriptors* descriptors, const kvs::LockTicket& ticket);

 private:
  Task<void> JoinNow(std::function<void(absl::StatusOr<kvs::JoinAnswer>)> on_joined);
  Task<absl::StatusOr<kvs::JoinAnswer>> Connect();
  Task<absl::Status> Handle(transport::RpcContext* context) override;
  // What the home is answered.
  absl::StatusOr<bool> Answer(kvs::LockControl method, const kvs::LockQuestion& question);
  void OnCompletion(const transport::Completion& completion) override;
  bool Poll() override;

  Scheduler* const scheduler_;
  const Options options_;
  std::unique_ptr<transport::CompletionQueue> completion_queue_;
  std::unique_ptr<transport::Port> port_;
  std::unique_ptr<PeerDoor> door_;
  transport::Link link_;
  std::unique_ptr<transport::RpcPeer> rpc_;
  RemoteDescriptors* descriptors_ = nullptr;
  bool has_failed_ = false;
  SpawnHandle joining_;
};

}  // namespace acre

#endif  // ACRE_CLIENT_LOCK_ANSWERER_H_
