// VerbsQueuePair: a connection between two processes through a card, or between two cards.
//
// The card does the work; this class keeps the contract of fabric.h where a card alone does not:
//  - What the target would refuse is judged here first, from the key, so that the caller learns what was
//    wrong; the target's card enforces it all the same.
//  - A request waits here, and all behind it, in order ("held"), while: the peer is not ready to receive
//    (the side that accepts is ready for callers a moment earlier); it is fenced, READs or atomics are
//    under way, and the card's own fence does not work; it is a WRITE_WITH_IMM and the peer has no receive
//    left (verbs_wire.h); it will be refused, and what was posted before it has not completed.
//  - A held request that waits for earlier ones which were posted unsignaled sends a mark behind them, a
//    WRITE of no bytes: its completion says that they are done.
//
// The life of one: connecting -> ready -> broken. A connection is made, and ends, by rdma_cm. When it
// breaks, the card is told to give up what it has (the "error" state of its queue pair) and the peer that
// we go; what was outstanding is reported, then kDisconnected. A peer that vanishes without a word is
// missed by requests that nobody acknowledges: the caller's, or after one or two ticks of silence a WRITE
// of no bytes of our own. So it takes at most two ticks and kMissedAfterMs.
//
// Destroying a ready queue pair waits for what was posted, and is not held, to be acknowledged: at most
// kLingerMsMax. A card that loses its queue pair forgets what it had not sent yet.
//
// Ownership:  owns the rdma_cm id, and the card's queue pair with it. Borrows the completion queue.
// Threads:    that of its completion queue.
// Invariants: outstanding_ <= send_queue_depth_max, controls_ <= kControlSends. held_ is empty, or its
//             first request waits for something that OnSent(), OnReceive() or OnCmNews() will tell of.
// Limits:     Post() of a request that is not held allocates nothing and makes no system call.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_QUEUE_PAIR_H_
#define ACRE_TRANSPORT_VERBS_VERBS_QUEUE_PAIR_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "transport/fabric.h"
#include "transport/verbs/verbs_completion_queue.h"
#include "transport/verbs/verbs_context.h"
#include "transport/verbs/verbs_wire.h"

namespace acre::transport {

// How long a card waits for an acknowledgement, 4.096 us * 2^this (268 ms), and how often it then repeats
// the request. (Not 7: Soft-RoCE takes that for "for ever".) Cards may take up to four times as long.
constexpr uint8_t kAckTimeoutExponent = 16;
constexpr uint8_t kRetriesMax = 6;
constexpr uint64_t kMissedAfterMs = 1'900;
// Each step of connecting.
constexpr int kResolveMsMax = 2'000;
constexpr uint32_t kConnectTicksMax = 5;
constexpr uint64_t kLingerMsMax = 200;

// What an rdma_cm event said, once it was acknowledged.
struct CmNews {
  rdma_cm_event_type event = RDMA_CM_EVENT_CONNECT_ERROR;
  int status = 0;
  std::string private_data;  // RDMA_CM_EVENT_ESTABLISHED, on the side that connects.
};

class VerbsQueuePair final : public QueuePair {
 public:
  // Starts to connect. Unavailable: there is no way to `target` from this card.
  static absl::StatusOr<std::unique_ptr<VerbsQueuePair>> Connect(
      VerbsContext* context, VerbsCompletionQueue* completion_queue, const CmAddress& target,
      absl::string_view private_data);
  // Answers the request that `id` was made for. Ready when returned. `initiated_reads_max` and
  // `answered_reads_max`: as the peer said, from our side.
  static absl::StatusOr<std::unique_ptr<VerbsQueuePair>> Accept(
      VerbsContext* context, VerbsCompletionQueue* completion_queue, CmId id, VerbsPeer peer,
      uint8_t initiated_reads_max, uint8_t answered_reads_max, absl::string_view private_data);
  ~VerbsQueuePair() override;

  absl::Status DoPost(absl::Span<const WorkRequest> batch) override;
  absl::StatusOr<RemoteKey> Grant(const MemoryRegion& region, uint32_t rights) override;
  absl::StatusOr<MappedRegion> Map(RemoteKey key) override;
  QueuePairState state() const override { return state_; }
  absl::Status status() const override { return status_; }
  absl::string_view peer_private_data() const override { return peer_.private_data; }
  int peer_pid() const override { return 0; }

  // --- For its completion queue.

  // The card completed request `sequence`, or gave it up.
  void OnSent(uint32_t sequence, ibv_wc_status card_status);
  void OnReceive(const ibv_wc& received);
  void OnReceiveTaken();  // By the caller.
  void OnCmNews(const CmNews& news);
  void OnTick();
  void FreeSlots(uint32_t slots) { outstanding_ -= slots; }

 private:
  // A request that the card has.
  struct Sent {
    uint64_t id;
    uint32_t length_bytes;
    Opcode opcode;
    bool is_signaled;
    bool is_control;  // Our own.
  };
  struct Held {
    WorkRequest request;
    CompletionStatus verdict;  // What it will complete with at once; kOk: the card is asked.
    std::vector<uint64_t> inline_words;
  };

  VerbsQueuePair(VerbsContext* context, VerbsCompletionQueue* completion_queue);

  // Setup (verbs_queue_pair.cc).
  absl::Status MakeCardQueuePair();
  void StartRoute();
  void StartConnect();
  void BecomeReady(const CmNews& news);
  // Breaks the queue pair. All is reported once the card has given up what it has.
  void Break(absl::Status why);
  void ReportIfDrained();
  void GiveUpDraining();
  void Linger();

  // Datapath (verbs_queue_pair_datapath.cc).
  CompletionStatus Judge(const WorkRequest& request) const;
  bool CanStart(const WorkRequest& request) const;
  void Stage(const WorkRequest& request, const uint64_t* inline_words);
  void StageControl(ibv_wr_opcode opcode, uint32_t immediate);
  void RingDoorbell();
  void Hold(const WorkRequest& request, CompletionStatus verdict);
  void StartHeld();
  // Sends a mark, if what is held waits for requests whose completion nobody would report.
  void MarkIfHeldNeedsIt();
  void PostReceives(uint32_t count);
  void OnCredits(uint32_t returned);
  void ReturnCredits();
  void ReportFailed(const WorkRequest& request, CompletionStatus status);

  bool has_room_for_control() const { return controls_ + 1 < kControlSends; }
  // Nobody would hear of the end of the last request that the card has: a mark must follow.
  bool ends_unheard() const { return !is_all_sent_done() && !sent(sent_end_ - 1).is_signaled; }
  bool is_all_sent_done() const { return sent_first_ == sent_end_; }
  Sent& sent(uint32_t sequence) { return sent_[sequence & (sent_.size() - 1)]; }
  const Sent& sent(uint32_t sequence) const { return sent_[sequence & (sent_.size() - 1)]; }
  ibv_qp* card() const { return id_ == nullptr ? nullptr : id_->qp; }

  VerbsContext* const context_;
  VerbsCompletionQueue* const completion_queue_;
  VerbsCompletionQueue::Place place_ = {};
  CmId id_;
  QueuePairState state_ = QueuePairState::kConnecting;
  bool is_attached_ = false;     // The completion queue knows us.
  bool is_established_ = false;  // The peer's card takes requests.
  bool is_draining_ = false;     // Broken, and the card has not given back everything.
  bool is_reported_ = false;     // kDisconnected was.
  std::string hello_;            // Ours, till it is sent.
  VerbsPeer peer_;
  absl::Status status_;

  // Requests that the card has: sequence sent_first_ to sent_end_, in a circular queue.
  std::vector<Sent> sent_;
  uint32_t sent_first_ = 0;
  uint32_t sent_end_ = 0;
  uint32_t reads_end_ = 0;  // Behind the last READ or atomic.
  uint32_t staged_ = 0;     // Of them, not told to the card yet: the last ones.
  uint32_t controls_ = 0;   // Of them, our own.
  uint32_t outstanding_ =
      0;  // The caller's places in use, held requests and pending completions too.
  uint32_t unsignaled_ = 0;  // The caller's, done since the last completion.
  std::deque<Held> held_;

  uint32_t credits_ = 0;         // WRITE_WITH_IMMs that the peer has a receive for.
  uint32_t receives_ = 0;        // That the card has.
  uint32_t receives_taken_ = 0;  // By the caller, and not posted anew yet.

  uint32_t ticks_ = 0;      // In this state.
  bool was_heard_ = false;  // Since the last tick.
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_QUEUE_PAIR_H_
