// LockParticipant: what a connection has that writes records by itself: its part in the locks of the home's buckets,
// and the writer on top of them (docs/updates.md).
//
// Threads:   confined to the port's; its other half runs on the process's service thread (client/lock_answerer.h).
// Ownership: owns what it makes; borrows what Options names. Order at the end: tasks that use it; SayFarewell(); the
//            connection's queue pair (Port::Forget); then this. The fabric goes after it.

#ifndef ACRE_CLIENT_LOCK_PARTICIPANT_H_
#define ACRE_CLIENT_LOCK_PARTICIPANT_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/lock_answerer.h"
#include "client/lock_service.h"
#include "kvs/lock_wire.h"
#include "kvs/remote_directory.h"
#include "kvs/remote_writer.h"
#include "kvs/wire.h"
#include "lock/peer_links.h"
#include "lock/remote_cohort.h"
#include "lock/remote_descriptors.h"
#include "lock/remote_locker.h"
#include "runtime/shared_word.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/fabric.h"
#include "transport/port.h"
#include "transport/rpc.h"
#include "transport/secret_proof.h"
#include "transport/socket.h"

namespace acre {

class LockParticipant {
 public:
  // Region ids that it takes up.
  static constexpr uint32_t kRegionIds = 4;
  // Locks that are held or awaited at a time; further updates wait for none: they go by calls.
  static constexpr uint32_t kDescriptors = kvs::kLockDescriptorsMax;

  struct Options {
    transport::Fabric* fabric = nullptr;  // That of the connection.
    transport::Port* port = nullptr;
    transport::QueuePair* queue_pair = nullptr;  // The connection's,
    transport::RpcPeer* rpc = nullptr;           // and the calls on it.
    transport::HostPort server;
    transport::Credentials credentials;
    uint64_t view = 0;
    uint32_t process_id = 0;  // Of the connection, and who gave it: the incarnation of that server.
    uint64_t generation = 0;
    std::shared_ptr<const kvs::RemoteDirectory> directory;
    uint32_t region_id = 0;    // The first of kRegionIds.
    uint64_t deadline_ns = 0;  // Of Join().
  };
  // Errors: FailedPrecondition - the server lets nobody write, or not on this fabric. PermissionDenied - not this process.
  // Unavailable, DeadlineExceeded - the server is gone, or slow. ResourceExhausted - no thread, or no memory, or the
  // server has too many who write. DataLoss - it talks nonsense. Those of transport::ConnectPeer.
  static Task<absl::StatusOr<std::unique_ptr<LockParticipant>>> Join(Options options);
  ~LockParticipant();
  LockParticipant(const LockParticipant&) = delete;
  LockParticipant& operator=(const LockParticipant&) = delete;

  kvs::RemoteWriter* writer() { return writer_.get(); }
  // This thread executes no request for the home any more: it need not kill us to be sure of that. Nothing of this is
  // used after it, and no call on the connection is under way.
  void SayFarewell();

 private:
  struct Joined;

  explicit LockParticipant(Options options);
  Task<absl::Status> JoinNow();
  Task<absl::StatusOr<kvs::JoinAnswer>> JoinAtHome();
  Task<absl::Status> TakeIntents(uint32_t lock_id);
  Task<absl::Status> TakeRegions(uint32_t lock_id);
  // A call about our part. NotFound, which would be taken for an answer about a record, is Unavailable.
  Task<absl::Status> Ask(kvs::Method method, uint32_t lock_id, std::string* response);
  absl::Status MakeWriter(uint32_t lock_id);
  Task<absl::StatusOr<std::string>> FindPeer(uint32_t lock_id);
  Task<void> ReportPeer(uint32_t lock_id);

  const Options options_;
  Scheduler* const scheduler_;
  std::shared_ptr<LockService> service_;
  std::unique_ptr<LockAnswerer> answerer_;  // Of the service's thread.
  kvs::LockTicket ticket_ = {};
  SharedWord* farewell_ = nullptr;  // Where it is said; null: the home need not hear it.
  std::unique_ptr<RemoteDescriptors> descriptors_;
  RemoteHome home_;
  std::unique_ptr<PeerLinks> peers_;
  std::unique_ptr<RemoteLocker> locker_;
  std::unique_ptr<kvs::RemoteWriter> writer_;
};

}  // namespace acre

#endif  // ACRE_CLIENT_LOCK_PARTICIPANT_H_
