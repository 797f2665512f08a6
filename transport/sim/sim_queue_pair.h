// SimQueuePair: what a simulated process holds of a connection.
//
// Of a card (sim_queue_pair_datapath.cc): Post() hands requests to its side of the connection, where the
// network executes them (sim_side.h). What the card reports is believed when it is polled: state() changes
// in Poll() only.
//
// Of shared memory (sim_queue_pair_copies.cc): Post() executes requests itself, by loads, stores and locked
// instructions of the calling thread on the peer's memory. This follows transport/shm/
// shm_queue_pair_datapath.cc step by step, with its barriers, so that they are tried.
//
// Ownership:  borrows the completion queue and the side.
// Threads:    that of its completion queue.
// Invariants: outstanding_ <= send_queue_depth_max. Of shared memory: requests stall in order.

#ifndef ACRE_TRANSPORT_SIM_SIM_QUEUE_PAIR_H_
#define ACRE_TRANSPORT_SIM_SIM_QUEUE_PAIR_H_

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
#include "transport/sim/sim_completion_queue.h"
#include "transport/sim/sim_context.h"
#include "transport/sim/sim_memory.h"
#include "transport/sim/sim_side.h"
#include "transport/wake_flag.h"

namespace acre::transport {

class SimQueuePair final : public QueuePair {
 public:
  static absl::StatusOr<std::unique_ptr<QueuePair>> Connect(SimContext* context,
                                                            CompletionQueue* completion_queue,
                                                            uint64_t listener,
                                                            absl::string_view private_data);
  static absl::StatusOr<std::unique_ptr<QueuePair>> Accept(SimContext* context,
                                                           CompletionQueue* completion_queue,
                                                           SimSide* client,
                                                           absl::string_view private_data);
  ~SimQueuePair() override;

  absl::Status DoPost(absl::Span<const WorkRequest> batch) override;
  // Shared memory only.
  bool DoReadAtOnce(const WorkRequest& request, CompletionStatus* status) override;
  // Of shared memory as the shm provider: a grant only to read a region whose peer_rights let peers write
  // is refused.
  absl::StatusOr<RemoteKey> Grant(const MemoryRegion& region, uint32_t rights) override;
  absl::StatusOr<MappedRegion> Map(RemoteKey key) override;
  QueuePairState state() const override { return state_; }
  absl::Status status() const override { return status_; }
  absl::string_view peer_private_data() const override { return side_->peer_private_data(); }
  int peer_pid() const override;

  // --- For its completion queue.

  void OnPolled(const Completion& completion, uint32_t slots);
  // Shared memory: a hang-up of the peer, stalled requests.
  void ServeSharedMemory();
  size_t TakeReceives(absl::Span<Completion> completions);

 private:
  // A region that the peer granted and this side has mapped.
  struct Import {
    RemoteKey key;
    uint32_t rights;
    SimMemory* memory;
    RegionLease lease;
  };
  struct Stalled {
    WorkRequest request;
    std::vector<uint64_t> inline_words;
  };
  enum class Outcome : uint8_t { kDone, kNoRoom };

  SimQueuePair(SimContext* context, SimCompletionQueue* completion_queue);

  Import* FindImport(RemoteKey key);
  void LoadLocal(const WorkRequest& request);

  // Cards.
  void PostToCard(const WorkRequest& request);

  // Shared memory.
  void Start(const WorkRequest& request);
  void Stall(const WorkRequest& request);
  void RetryStalled();
  // `source`: the bytes of an inline WRITE that stalled, else null.
  Outcome Execute(const WorkRequest& request, const std::vector<uint64_t>* source);
  void StoreLocal(SharedWord* to, absl::Span<const uint64_t> values);
  CompletionStatus ExecuteRead(const WorkRequest& request);
  CompletionStatus ExecuteWrite(const WorkRequest& request, const std::vector<uint64_t>* source);
  CompletionStatus ExecuteAtomic(const WorkRequest& request);
  CompletionStatus Resolve(const WorkRequest& request, uint32_t length_bytes, uint32_t right,
                           Import** import);
  void Fail(const WorkRequest& request, CompletionStatus status);
  void BreakBy(const WorkRequest& request, CompletionStatus status);
  bool HasRoomForImmediate();
  void SendImmediate(const WorkRequest& request);
  void ReportReceived();
  void WakePeerIfArmed();
  void EndBatch();
  // Nothing is reported before ReportIfBroken(), which each entry point ends with.
  void Break(absl::Status why, bool tells_peer);
  void ReportIfBroken();

  SimContext* const context_;
  SimNetwork* const network_;
  SimCompletionQueue* const completion_queue_;
  SimSide* const side_;
  QueuePairState state_ = QueuePairState::kConnecting;
  absl::Status status_;
  uint32_t outstanding_ = 0;
  std::vector<Import> imports_;
  std::vector<uint64_t> words_;  // Of the request at hand.

  // Shared memory only.
  bool is_break_unreported_ = false;
  bool tells_peer_ = false;
  bool is_receiving_ = true;
  bool must_wake_peer_ = false;  // This batch sent an immediate.
  std::deque<Stalled> stalled_;
  uint64_t received_ = 0;  // Entries taken; the peer was told of `reported_`.
  uint64_t reported_ = 0;
  uint64_t sent_ = 0;  // The peer has taken `peer_taken_` of them, as far as we looked.
  uint64_t peer_taken_ = 0;
  WakeSender wake_sender_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_QUEUE_PAIR_H_
