// ShmQueuePair: a connection between two processes of one machine.
//
// A request is executed by Post() on the initiator's own CPU: a copy out of or into the peer's
// memory, which is mapped here, or an atomic on it. The peer's CPU takes no part, as with a card.
// See docs/shm.md.
//
// The life of one: connecting (only on the side that connects) -> ready -> broken. When it breaks,
// the socket closes, so the peer's side breaks too; what can still be received is, then stalled
// requests are flushed, then kDisconnected is reported.
//
// Ownership:  owns the socket and all mappings of the peer's memory. Borrows the completion queue.
// Threads:    that of its completion queue.
// Invariants: outstanding_ <= send_queue_depth_max. Requests stall in order: while one does, all
//             do.
// Limits:     Post() of a request that needs no stalling allocates nothing and makes no system call,
//             but the packet that wakes a sleeping peer.

#ifndef ACRE_TRANSPORT_SHM_SHM_QUEUE_PAIR_H_
#define ACRE_TRANSPORT_SHM_SHM_QUEUE_PAIR_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "transport/fabric.h"
#include "transport/region_lease.h"
#include "transport/shm/shm_completion_queue.h"
#include "transport/shm/shm_context.h"
#include "transport/shm/shm_handshake.h"
#include "transport/shm/shm_memory.h"
#include "transport/shm/shm_socket.h"
#include "transport/shm/shm_wire.h"
#include "transport/wake_flag.h"

namespace acre::transport {

class ShmQueuePair final : public QueuePair {
 public:
  // Says hello on a fresh socket; the answer comes through the completion queue.
  static absl::StatusOr<std::unique_ptr<ShmQueuePair>> Connect(ShmContext* context,
                                                               ShmCompletionQueue* completion_queue,
                                                               PacketSocket socket,
                                                               absl::string_view private_data);
  // Answers the hello that `peer` was made of. Ready when returned.
  static absl::StatusOr<std::unique_ptr<ShmQueuePair>> Accept(ShmContext* context,
                                                              ShmCompletionQueue* completion_queue,
                                                              PacketSocket socket, PeerSide peer,
                                                              absl::string_view private_data);
  ~ShmQueuePair() override;

  absl::Status DoPost(absl::Span<const WorkRequest> batch) override;
  bool DoReadAtOnce(const WorkRequest& request, CompletionStatus* status) override;
  // Besides what the contract says, the kernel must be able to enforce it, and it knows only
  // readable and writable regions. InvalidArgument: a grant only to read a region whose peer_rights
  // let peers write; a writable region on huge pages for another user's process (shm_memory.h).
  absl::StatusOr<RemoteKey> Grant(const MemoryRegion& region, uint32_t rights) override;
  absl::StatusOr<MappedRegion> Map(RemoteKey key) override;
  QueuePairState state() const override { return state_; }
  absl::Status status() const override { return status_; }
  absl::string_view peer_private_data() const override { return peer_.private_data; }
  int peer_pid() const override { return peer_.identity.pid; }

  // --- For its completion queue.

  void OnSocket();
  // Whether TakeReceives() has something to take. Looks at one line of the receive ring.
  bool HasReceives() const {
    // The peer stores it after entry and data; TakeReceives() loads it again, with acquire.
    return is_receiving_ && own_ring()->tail.Load(std::memory_order_relaxed) != received_;
  }
  size_t TakeReceives(absl::Span<Completion> completions);
  void RetryStalled();
  void FreeSlots(uint32_t slots) { outstanding_ -= slots; }
  size_t completions_max() const;

 private:
  // A region that the peer granted.
  struct Import {
    RemoteKey key;
    uint32_t rights;
    SharedWord* words;
    uint64_t size_bytes;
    uint64_t generation;
    RegionLease lease;
    ScopedMapping mapping;
  };
  struct GrantMade {
    uint32_t region_id;
    uint32_t rights;
  };
  // A packet that found the socket full.
  struct Unsent {
    std::string bytes;
    ScopedFd fd;  // Maybe none.
  };
  struct Stalled {
    WorkRequest request;
    std::vector<uint64_t> inline_words;
  };
  enum class Outcome : uint8_t { kDone, kNoRoom };

  ShmQueuePair(ShmContext* context, ShmCompletionQueue* completion_queue, PacketSocket socket,
               ScopedMapping receive_ring);

  // Setup (shm_queue_pair.cc).
  void BecomeReady(PeerSide peer);
  void DrainSocket(size_t packets_max);
  absl::Status OnPacket(const Packet& packet);
  absl::Status OnGrant(const Packet& packet);
  void SendOrQueue(absl::Span<const char> bytes, int fd);
  void FlushUnsent();
  // Breaks the queue pair. Nothing is reported before ReportIfBroken(), which each entry point ends
  // with.
  void Break(absl::Status why);
  void ReportIfBroken();
  // Wakes the peer, if it sleeps, for the stores that the completion queue has noted.
  void WakePeerIfArmed();

  // Datapath (shm_queue_pair_datapath.cc).
  void Prefetch(const WorkRequest& request) const;
  void Start(const WorkRequest& request);
  void Stall(const WorkRequest& request);
  Outcome Execute(const WorkRequest& request, const uint64_t* source);
  CompletionStatus ExecuteRead(const WorkRequest& request);
  CompletionStatus ExecuteWrite(const WorkRequest& request, const uint64_t* source);
  CompletionStatus ExecuteAtomic(const WorkRequest& request);
  CompletionStatus Resolve(const WorkRequest& request, uint32_t length_bytes, uint32_t right,
                           Import** import);
  Import* FindImport(RemoteKey key);
  // Reports a request as completed, together with the unsignaled ones before it.
  void Report(const WorkRequest& request, CompletionStatus status);
  // Reports one that failed, and breaks the queue pair.
  void Fail(const WorkRequest& request, CompletionStatus status);
  // Breaks the connection because the request failed.
  void BreakBy(const WorkRequest& request, CompletionStatus status);
  bool HasRoomForImmediate();
  void SendImmediate(const WorkRequest& request);
  void ReportReceived();
  void EndBatch();

  ReceiveRing* own_ring() const { return reinterpret_cast<ReceiveRing*>(own_ring_.words()); }
  ReceiveRing* peer_ring() const {
    return reinterpret_cast<ReceiveRing*>(peer_.receive_ring.words());
  }
  const WakePage& peer_wake_page() const {
    return *reinterpret_cast<const WakePage*>(peer_.wake_page.words());
  }

  ShmContext* context_;
  ShmCompletionQueue* completion_queue_;
  QueuePairState state_ = QueuePairState::kConnecting;
  bool is_break_unreported_ = false;
  bool is_attached_ = false;     // The completion queue knows us.
  bool is_receiving_ = false;    // The receive ring is believed in.
  bool must_wake_peer_ = false;  // This batch sent an immediate.
  uint32_t outstanding_ = 0;
  uint32_t unsignaled_ = 0;  // Done since the last completion.
  uint32_t send_queue_depth_;
  std::vector<Import> imports_;
  std::deque<Stalled> stalled_;

  // What we receive. `received_` entries were taken, the peer was told of `reported_`.
  ScopedMapping own_ring_;
  uint64_t own_ring_mask_;
  uint64_t received_ = 0;
  uint64_t reported_ = 0;
  // What we send. The peer has taken `peer_taken_` of `sent_`, as far as we looked.
  uint64_t sent_ = 0;
  uint64_t peer_taken_ = 0;
  WakeSender wake_sender_;

  PeerSide peer_;
  PacketSocket socket_;
  absl::Status status_;
  std::vector<GrantMade> grants_;
  std::deque<Unsent> unsent_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_SHM_QUEUE_PAIR_H_
