// VerbsQueuePair: a connection between two processes through a card, or between two cards: a lane of one of the
// card's queue pairs (card_queue_pair.h), alone on it or with those of other threads.
//
// The card does the work; this class keeps the contract of fabric.h where a card alone does not:
//  - What the target would refuse is judged here first, from the key, so that the caller learns what was
//    wrong; the target's card enforces it all the same. Such a mistake ends this lane and no other.
//  - A request waits here, and all behind it on this lane, in order ("held"), while: the peer is not ready to
//    receive (the side that accepts is ready for callers a moment earlier); it is fenced, READs or atomics are
//    under way, and the card's own fence does not work; it is a WRITE_WITH_IMM and the lane has no credit
//    left (verbs_wire.h); it will be refused, and what was posted before it has not completed.
//  - A held request that waits for earlier ones which were posted unsignaled sends a mark behind them, a
//    WRITE of no bytes: its completion says that they are done.
//
// Fairness: each lane has as many places in the card's queues as a queue pair of its own would, whether the others
// use theirs or not. Whose places are used up gets ResourceExhausted, or waits, alone.
//
// Its end: the peer closes it or breaks; a request of its own fails; or the card's queue pair breaks, by whatever
// any lane's requests met at the peer, and all lanes with it.
//
// Destroying a ready one waits for what was posted, and is not held, to be acknowledged: at most kLingerMsMax, as a
// card that loses its queue pair forgets what it had not sent yet. Beside other lanes it waits till the card says
// that it was or never will be, kSharedLingerMsMax at most; then memory that is still in use takes the queue pair
// along, all lanes of it. Where there are other lanes, the side that connected also waits for the peer to
// confirm, again kLingerMsMax at most: its memory may go then, and no WRITE of the peer finds it gone and breaks
// what the others use. The other side does not wait for peers.
//
// Ownership:  borrows the completion queue.
// Threads:    that of its completion queue; what the card's queue pair calls is called by any thread of the
//             group. All state is under the group's mutex; but state_ is stored under it and loaded by anybody,
//             and what peer_private_data() shows is written before state_ becomes kReady, and never again.
// Invariants: outstanding_ <= sends_max_. held_ is empty, or its first request waits for something that
//             GoOn() will be called after.
// Limits:     Post() of a request that is not held allocates nothing and makes no system call, but to wait for
//             the group's mutex.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_QUEUE_PAIR_H_
#define ACRE_TRANSPORT_VERBS_VERBS_QUEUE_PAIR_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "transport/fabric.h"
#include "transport/verbs/card_queue_pair.h"
#include "transport/verbs/lane_arrivals.h"
#include "transport/verbs/verbs_completion_queue.h"
#include "transport/verbs/verbs_context.h"
#include "transport/verbs/verbs_group.h"

namespace acre::transport {

constexpr uint64_t kLingerMsMax = 200;
// Beside other lanes: longer than it takes a card to give up.
constexpr uint64_t kSharedLingerMsMax = kMissedAfterMs + 600;

class VerbsQueuePair final : public QueuePair {
 public:
  // Starts to connect: on a queue pair of the card that leads to `endpoint` already, or on a new one.
  // Unavailable: there is no way to `target` from this card.
  static absl::StatusOr<std::unique_ptr<VerbsQueuePair>> Connect(
      VerbsCompletionQueue* completion_queue, const CmAddress& target, absl::string_view endpoint,
      absl::string_view private_data);
  // Answers a request that rdma_cm brought. Ready when returned.
  static absl::StatusOr<std::unique_ptr<VerbsQueuePair>> Accept(
      VerbsCompletionQueue* completion_queue, CmRequest request,
      std::shared_ptr<LaneArrivals> arrivals, absl::string_view private_data);
  // The same for one that came on a queue pair of the card. InvalidArgument: on another group's.
  static absl::StatusOr<std::unique_ptr<VerbsQueuePair>> AcceptLane(
      VerbsCompletionQueue* completion_queue, const LaneArrival& arrival,
      absl::string_view private_data);
  ~VerbsQueuePair() override;

  absl::Status DoPost(absl::Span<const WorkRequest> batch) override;
  absl::StatusOr<RemoteKey> Grant(const MemoryRegion& region, uint32_t rights) override;
  absl::StatusOr<MappedRegion> Map(RemoteKey key) override;
  // With one lane: both sides have the same number, so the peer destroys the card's queue pair with
  // its own, and its card then refuses what comes, unacknowledged. What the card had acknowledged it
  // had sent to memory; the answer to the command that destroyed the queue pair came behind that on
  // the same bus (nobody registers memory with relaxed ordering). Soft-RoCE stores before it
  // acknowledges. With more lanes the card's queue pair lives on and takes what is late.
  bool ack_is_placement() const override { return has_own_card_queue_pair_; }
  QueuePairState state() const override { return state_.load(std::memory_order_acquire); }
  absl::Status status() const override;
  absl::string_view peer_private_data() const override { return peer_private_data_; }
  int peer_pid() const override { return 0; }

  // --- All of the rest: under the group's mutex.
  // For its completion queue.

  void OnReceiveTaken();  // By the caller.
  void FreeSlots(uint32_t slots) { outstanding_ -= slots; }

  // For the card's queue pair.

  // A request that the card had.
  struct Done {
    uint64_t id;
    Opcode opcode;
    uint32_t length_bytes;
    bool is_signaled;
  };
  void OnAccepted(absl::string_view private_data);
  void OnRejected();
  void OnUnanswered();
  void OnSent(const Done& done, ibv_wc_status card_status);
  // The driver refused it: it is flushed in its turn.
  void OnNotTaken(uint64_t id, Opcode opcode, uint32_t length_bytes);
  // False: more than its credit.
  bool OnKnock(uint32_t immediate, uint32_t length_bytes);
  // False: more than was ever used.
  bool OnCredits(uint32_t returned);
  // To give back to the peer now; 0: not yet.
  uint32_t owed_credits() const;
  void OnCreditsSent();
  void OnPeerClosed();
  // Neither side has anything under way any more: the lane's number is another's.
  void OnLaneOver() { card_ = nullptr; }
  void OnCardBroken(const absl::Status& why);
  // The card has given back all that it had.
  void OnCardDrained();
  // Something happened that held requests, or the end, may wait for.
  void GoOn() {
    if (!held_.empty() || is_ending_) [[unlikely]]
      GoOnSlowly();
  }

 private:
  struct Held {
    WorkRequest request;
    CompletionStatus verdict;  // What it will complete with at once; kOk: the card is asked.
    std::vector<uint64_t> inline_words;
  };

  explicit VerbsQueuePair(VerbsCompletionQueue* completion_queue);

  // Has its places counted, once there is a card's queue pair.
  void Join(CardQueuePair* card, uint8_t lane);
  CompletionStatus Judge(const WorkRequest& request) const;
  bool CanStart(const WorkRequest& request) const;
  void Stage(const WorkRequest& request, const uint64_t* inline_words);
  void Hold(const WorkRequest& request, CompletionStatus verdict);
  void GoOnSlowly();
  void StartHeld();
  // Sends a mark, if what is held waits for requests whose completion nobody would report.
  void MarkIfHeldNeedsIt();
  void ReportFailed(const WorkRequest& request, CompletionStatus status);
  // It was never opened.
  void GiveUp(absl::string_view why);
  // This lane ends, by our request or by the peer's. All is reported once what the card has is done.
  void End(absl::Status why);
  void ReportEndIfDone();
  void Report();
  void GiveReceivesBack();
  // The end, in the order of these. They take the mutex themselves, but for those that say otherwise.
  // Takes what the card has till `is_done` says so.
  template <class Condition>
  void WaitUntil(Condition is_done, uint64_t ms_max);
  void WaitForAcknowledgements();
  // Whether the peer is to confirm before our memory may go.
  bool Leave();
  void WaitForConfirmation();
  // Under the mutex. Requires: card_.
  void PartFromCard();
  // Closes the lane, unless the card's queue pair goes with it. Again does nothing. Under the mutex.
  void SayThatItGoes();
  // Whether the card's queue pair ends with this lane. Likewise.
  bool GoesWithCard() const;

  const std::shared_ptr<VerbsGroup> group_;
  VerbsContext* const context_;
  VerbsCompletionQueue* const completion_queue_;
  std::atomic<QueuePairState> state_ = QueuePairState::kConnecting;
  std::string peer_private_data_;

  // Under the group's mutex.
  CardQueuePair* card_ = nullptr;  // Null: not yet, or no more.
  uint8_t lane_ = 0;
  bool has_joined_ = false;
  bool is_ending_ = false;    // kBroken by ourselves or the peer, and not reported.
  bool is_reported_ = false;  // kDisconnected was.
  absl::Status status_;
  bool has_own_card_queue_pair_ = false;  // No other lane, ever. Set before it becomes ready.
  uint32_t sends_max_ = 0;
  uint32_t receives_max_ = 0;     // Of the peer's WRITE_WITH_IMMs.
  uint32_t completions_max_ = 0;  // That the completion queue keeps room for.

  uint32_t outstanding_ = 0;    // Places in use, by held requests and pending completions too.
  uint32_t at_card_ = 0;        // Requests that the card has.
  uint32_t reads_at_card_ = 0;  // Of them, READs and atomics.
  uint32_t unsignaled_ = 0;     // Done since the last completion.
  std::deque<Held> held_;

  uint32_t credits_max_ = 0;     // WRITE_WITH_IMMs that the peer takes.
  uint32_t credits_ = 0;         // Of them, that it has a receive for.
  uint32_t receives_used_ = 0;   // Ours, by the peer's, and not posted anew yet.
  uint32_t receives_taken_ = 0;  // Of them, that the caller has taken.
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_QUEUE_PAIR_H_
