// CardQueuePair: a queue pair of the card, and its lanes: the queue pairs that threads have of it
// (verbs_queue_pair.h). What all lanes have in common is here: connecting, the card's queues, the messages
// between the two sides (verbs_wire.h), and the end.
//
// The life of one: connecting -> ready -> broken. A connection is made, and ends, by rdma_cm. When it
// breaks, the card is told to give up what it has (the "error" state of its queue pair) and the peer that
// we go; what was outstanding is reported, then kDisconnected on every lane. A peer that vanishes without a word is
// missed by requests that nobody acknowledges: a caller's, or after one or two ticks of silence a WRITE
// of no bytes of our own. So it takes at most two ticks and kMissedAfterMs.
//
// Lanes come and go while it is ready. The side that connected gives them their numbers. A number is in use from
// the moment it is wanted till both sides have nothing under way on it and have said so; its phase says where
// between that is. The side that connected lets go of the whole queue pair with its last lane; the other side
// when that has happened.
//
// What a peer says that makes no sense breaks the queue pair, all lanes of it: the peer is one process.
//
// Ownership:  its group owns it, and it owns the rdma_cm id, and the card's queue pair with it.
// Threads:    any that holds the group's mutex.
// Invariants: a lane that has requests at the card has its number. controls_ <= depths().controls_max().

#ifndef ACRE_TRANSPORT_VERBS_CARD_QUEUE_PAIR_H_
#define ACRE_TRANSPORT_VERBS_CARD_QUEUE_PAIR_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "transport/fabric.h"
#include "transport/verbs/lane_arrivals.h"
#include "transport/verbs/verbs_context.h"
#include "transport/verbs/verbs_group.h"
#include "transport/verbs/verbs_wire.h"

namespace acre::transport {

class VerbsQueuePair;

// How long a card waits for an acknowledgement, 4.096 us * 2^this (268 ms), and how often it then repeats
// the request. (Not 7: Soft-RoCE takes that for "for ever".) Cards may take up to four times as long.
constexpr uint8_t kAckTimeoutExponent = 16;
constexpr uint8_t kRetriesMax = 6;
constexpr uint64_t kMissedAfterMs = 1'900;
// Each step of connecting.
constexpr int kResolveMsMax = 2'000;
constexpr uint32_t kConnectTicksMax = 5;
// That a peer may keep a queue pair without a lane.
constexpr uint32_t kIdleTicksMax = 2;

// What an rdma_cm event said, once it was acknowledged.
struct CmNews {
  rdma_cm_event_type event = RDMA_CM_EVENT_CONNECT_ERROR;
  int status = 0;
  std::string private_data;  // RDMA_CM_EVENT_ESTABLISHED, on the side that connects.
};

// A request for a connection, as rdma_cm brought it.
struct CmRequest {
  CmId id;
  VerbsPeer peer;
  // As the peer said, from our side.
  uint8_t initiated_reads_max = 0;
  uint8_t answered_reads_max = 0;
};

class CardQueuePair {
 public:
  // Starts to connect; its first lane, number 0, is `lane`. Unavailable: there is no way to `target` from this
  // card.
  static absl::StatusOr<CardQueuePair*> Connect(VerbsGroup* group, const CmAddress& target,
                                                absl::string_view endpoint, VerbsQueuePair* lane,
                                                absl::string_view private_data);
  // Answers a request. Ready when returned. `arrivals`: where further lanes are asked for.
  static absl::StatusOr<CardQueuePair*> Accept(VerbsGroup* group, CmRequest request,
                                               std::shared_ptr<LaneArrivals> arrivals,
                                               VerbsQueuePair* lane,
                                               absl::string_view private_data);
  // Disconnects. Requires: no lane.
  ~CardQueuePair();

  // Where it was connected to. "": the peer connected.
  const std::string& endpoint() const { return endpoint_; }
  QueuePairState state() const { return state_; }
  bool is_established() const { return is_established_; }
  const absl::Status& status() const { return status_; }
  const CardQueueDepths& depths() const { return depths_; }
  // Immediates that a lane may send before it was given some back.
  uint32_t peer_lane_receives() const { return peer_receives_ / depths_.lanes; }
  // A lane holds requests, or waits for its end: it is told of what happens.
  void CallBack() { is_waited_for_ = true; }

  // --- Lanes.

  bool HasRoomForLane() const;
  // On the side that connected: opens lane NextLane(), which is told how that goes. Requires: HasRoomForLane().
  uint8_t NextLane() const;
  void OpenLane(uint8_t number, VerbsQueuePair* lane, absl::string_view private_data);
  // On the other side, for one that the peer wants. Requires: ready, and neither of the two was called for it.
  void AcceptLane(uint8_t number, VerbsQueuePair* lane, absl::string_view private_data);
  void RejectLane(uint8_t number);
  // `lane` has nothing more under way: the peer is told, and asked to confirm; or answered, if it was the first.
  void CloseLane(uint8_t number);
  // The lane's object goes. Requires: it has nothing at the card, or the card has given up all; the lane is not open,
  // or the queue pair is about to go.
  void ForgetLane(uint8_t number);
  // Whether the peer has confirmed the end of a lane, or cannot any more.
  bool IsLaneOver(uint8_t number) const;
  bool IsLastLane(uint8_t number) const;
  // Whether requests of a lane may go to the card: the peer knows of it.
  bool IsLaneUsable(uint8_t number) const {
    return is_established_ && lanes_[number].phase == Phase::kOpen && !lanes_[number].owes_answer;
  }
  // Whether it is this side that connected.
  bool has_connected() const { return !endpoint_.empty(); }
  // Whether nothing keeps it: no lane, and none that the peer may open.
  bool IsUnused() const { return !HasLanes() && (has_connected() || is_reported_); }

  // --- Requests.

  // Adds one to those that the next doorbell tells the card of. `inline_words`: its bytes, if they are no
  // longer where it says.
  void Stage(uint8_t lane, const WorkRequest& request, const uint64_t* inline_words);
  void RingDoorbell();
  bool is_scratch_full() const { return staged_ == group_->scratch()->requests.size(); }
  bool is_all_sent_done() const { return sent_first_ == sent_end_; }
  // Has the end of what was sent last heard of.
  void Mark();
  void PostReceives(uint32_t count);
  // Messages that are owed, a lane's credits among them; what finds no room goes later.
  void SendOwed();

  // Breaks the queue pair. All is reported once the card has given up what it has.
  void Break(absl::Status why);
  // Takes the card's queue pair away, with whatever it holds on to.
  void GiveUpDraining();

  // --- For the group.

  // The card completed request `sequence`, or gave it up.
  void OnSent(uint32_t sequence, ibv_wc_status card_status);
  void OnReceive(const ibv_wc& received);
  void OnCmNews(const CmNews& news);
  void OnTick();
  void Drain() { group_->Drain(place_.cq); }

 private:
  // A request that the card has.
  struct Sent {
    uint64_t id;
    uint32_t length_bytes;
    Opcode opcode;
    uint8_t lane;
    bool is_signaled;
    bool is_control;  // Our own.
  };
  enum class Phase : uint8_t {
    kFree,
    kWanted,   // To be asked for.
    kOpening,  // Asked for, by either side, and not answered.
    kOpen,
    kClosing,  // We said closed, and wait for the peer to confirm.
    kLeaving,  // The peer said closed: we confirm once we have nothing more under way.
  };
  struct Lane {
    VerbsQueuePair* object = nullptr;  // Null: it has gone, or is not accepted yet.
    Phase phase = Phase::kFree;
    bool owes_answer = false;   // kAccepted or kRejected:
    bool is_accepted = false;   // which.
    bool owes_closed = false;   // In kClosing.
    bool owes_confirm = false;  // Then it is free.
    uint32_t ticks = 0;         // In kWanted and kOpening, on the side that connected.
    std::string private_data;   // To send with kOpen or kAccepted.
  };
  // Where messages with bytes come and go; of a queue pair that may have more than one lane.
  struct Mail {
    static constexpr size_t kWords = 8;
    std::array<uint64_t, kWords> in = {};
    std::array<uint64_t, kWords> out = {};
    Mr registration;
    ibv_sge in_place = {};
  };

  CardQueuePair(VerbsGroup* group, const CardQueueDepths& depths, absl::string_view endpoint);

  absl::Status MakeCardQueuePair();
  absl::Status AttachToGroup();
  void StartRoute();
  void StartConnect();
  void BecomeReady(const CmNews& news);
  void ReportIfDrained();

  void StageControl(ibv_wr_opcode opcode, uint32_t immediate, size_t bytes = 0);
  // False: no room.
  bool SendMessage(const VerbsMessage& message, absl::string_view bytes = {});
  bool SendOwedOf(uint8_t number);
  // Asks for the next lane that is wanted, one at a time.
  void OpenNext();
  void OnMessage(const VerbsMessage& message, absl::string_view bytes);
  void OnOpen(uint8_t number, absl::string_view private_data);
  void OnAnswer(uint8_t number, bool is_accepted, absl::string_view private_data);
  void OnClosed(uint8_t number);
  void OnConfirmed(uint8_t number);
  void BreakByPeer(absl::string_view what);
  void Free(uint8_t number);
  // Neither side has anything under way on it.
  void EndLane(uint8_t number);
  // A request of `lane` has gone.
  void Complete(const Sent& done, ibv_wc_status card_status);
  // After something happened that requests, or messages, may wait for.
  void GoOn();
  void OnKnock(uint32_t bits, uint32_t length_bytes);
  void DestroyCardQueuePair();
  bool HasLanes() const;
  void EndIfUnused();
  // Gives up on lanes that the peer does not answer for.
  void TickLanes();

  bool has_room_for_control() const { return controls_ + 1 < depths_.controls_max(); }
  // Nobody would hear of the end of the last request that the card has: a mark must follow.
  bool ends_unheard() const { return !is_all_sent_done() && !sent(sent_end_ - 1).is_signaled; }
  Sent& sent(uint32_t sequence) { return sent_[sequence & (sent_.size() - 1)]; }
  const Sent& sent(uint32_t sequence) const { return sent_[sequence & (sent_.size() - 1)]; }
  ibv_qp* card() const { return id_ == nullptr ? nullptr : id_->qp; }

  VerbsGroup* const group_;
  VerbsContext* const context_;
  CardQueueDepths depths_;
  const std::string endpoint_;
  VerbsGroup::Place place_ = {};
  CmId id_;
  QueuePairState state_ = QueuePairState::kConnecting;
  bool is_attached_ = false;     // The group knows us.
  bool is_established_ = false;  // The peer's card takes requests.
  bool is_draining_ = false;     // Broken, and the card has not given back everything.
  bool is_reported_ = false;     // kDisconnected was.
  std::string hello_;            // Ours, till it is sent.
  uint32_t peer_receives_ = 0;   // Of all lanes.
  absl::Status status_;
  std::shared_ptr<LaneArrivals> arrivals_;  // Of the side that was connected to.
  std::unique_ptr<Mail> mail_;

  std::vector<Lane> lanes_;

  // Requests that the card has: sequence sent_first_ to sent_end_, in a circular queue.
  std::vector<Sent> sent_;
  uint32_t sent_first_ = 0;
  uint32_t sent_end_ = 0;
  uint32_t staged_ = 0;    // Of them, not told to the card yet: the last ones.
  uint32_t controls_ = 0;  // Of them, our own.
  uint32_t receives_ = 0;  // That the card has.

  bool is_owing_ = false;       // Messages wait to be sent, or may.
  size_t next_owed_ = 0;        // The lane whose turn it is.
  bool is_waited_for_ = false;  // CallBack() was called.

  uint32_t ticks_ = 0;       // In this state.
  uint32_t idle_ticks_ = 0;  // Of the side that was connected to: without a lane.
  bool was_heard_ = false;   // Since the last tick.
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_CARD_QUEUE_PAIR_H_
