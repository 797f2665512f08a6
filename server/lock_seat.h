// LockSeat: what one connection asks in order to take buckets' locks by itself (kvs/lock_wire.h: kLockIntents,
// kLockRegions, kLockPeer, kLockPeerLost); all else goes on to the next handler. And the seat itself: it is left when this goes.
//
// Threads:   confined to the worker's.
// Ownership: borrows all that its context names. Goes after the connection's queue pair, so that nothing which came on it
//            takes effect any more when the home hears of it.

#ifndef ACRE_SERVER_LOCK_SEAT_H_
#define ACRE_SERVER_LOCK_SEAT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/task.h"
#include "server/lock_home.h"
#include "server/view_check.h"
#include "transport/fabric.h"
#include "transport/rpc.h"

namespace acre::server {

struct LockSeatContext {
  LockHome* home = nullptr;  // Null: the server trusts nobody with writing.
  // Of the table, as this connection's fabric sees them. Empty: it is not the fabric that made them.
  std::vector<const transport::MemoryRegion*> regions;
  LockHome::CloseConnection close;  // This connection.
  ViewCheck check_view;
};

class LockSeat final : public transport::RpcHandler {
 public:
  explicit LockSeat(const LockSeatContext& context) : context_(context) {}
  ~LockSeat() override;
  LockSeat(const LockSeat&) = delete;
  LockSeat& operator=(const LockSeat&) = delete;

  // Both live till the connection's calls have ended.
  void Attach(transport::QueuePair* queue_pair, transport::RpcHandler* next) {
    queue_pair_ = queue_pair;
    next_ = next;
  }

  // Errors: OutOfRange - a frame of another view. FailedPrecondition - no trust here, or not on this fabric. Those of
  // LockHome.
  Task<absl::Status> Handle(transport::RpcContext* context) override;

 private:
  absl::Status Intents(transport::RpcContext* context);
  absl::Status Regions(transport::RpcContext* context);
  absl::Status Peer(transport::RpcContext* context);
  absl::Status PeerLost(transport::RpcContext* context);
  absl::Status CheckSeat(const transport::RpcContext& context) const;

  const LockSeatContext context_;
  transport::QueuePair* queue_pair_ = nullptr;
  transport::RpcHandler* next_ = nullptr;
  uint32_t lock_id_ = 0;  // Where it sits. 0: nowhere.
};

}  // namespace acre::server

#endif  // ACRE_SERVER_LOCK_SEAT_H_
