// SimSide: one side of a connection, as the network has it: what a card knows of a queue pair.
//
// A SimQueuePair is what its process holds of it. The side belongs to the network and outlives process
// and handle, so that what is on its way always finds whom it comes from and whom it goes to.
//
// As requester (sim_side_requester.cc) it sends requests in order: each leaves when nothing holds it back
// (a fence, max_rd_atomic), arrives, starts when those before it let it (F2), and its answer, taken in
// order, becomes a completion. As responder (sim_side_responder.cc) it executes the requests of its peer
// at its own memory. Times are drawn one by one; what contradicts the contract is made to wait.
//
// Breaking: connecting -> ready -> broken. Both sides break on their own: the peer's when a notice
// reaches it, or when it hears nothing for too long. A broken or dead side answers nothing.
//
// Threads:    the World's; called from events and from the process's own threads. No function of it is a
//             scheduling point.
// Invariants: outstanding_ is in the order of Post. What is on to_send_ comes behind what is on
//             to_start_. At most one WRITE or atomic of a side executes (effect_); nothing of the side
//             starts meanwhile, so it sees that one's effect (F2, F3).

#ifndef ACRE_TRANSPORT_SIM_SIM_SIDE_H_
#define ACRE_TRANSPORT_SIM_SIM_SIDE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "transport/fabric.h"
#include "transport/sim/sim_network.h"
#include "transport/sim/sim_request.h"
#include "transport/wake_flag.h"

namespace acre::transport {

class SimCompletionQueue;
class SimQueuePair;

// What a connection of shared memory brings along: WRITE_WITH_IMMs on their way to this side. Written by
// the peer's CPU, but for the head, as shared memory is.
struct SimMailbox {
  SharedWord tail;  // Entries ever written.
  SharedWord reserved0[7];
  SharedWord head;  // Entries ever consumed, reported lazily.
  SharedWord reserved1[7];
  std::vector<SharedWord> entries;  // Length in the high half, immediate in the low one.
};

class SimSide {
 public:
  // A region that this side granted to its peer.
  struct GrantMade {
    RemoteKey key;
    uint32_t rights;
    SimMemory* memory;
  };

  SimSide(SimContext* context, uint64_t number);
  ~SimSide();
  SimSide(const SimSide&) = delete;
  SimSide& operator=(const SimSide&) = delete;

  // --- The life of a connection (sim_side.cc).

  // The handle that reports through `queue`. Once, at the beginning.
  void Attach(SimQueuePair* handle, SimCompletionQueue* queue);
  // The handle goes: says goodbye, behind what was sent.
  void Close();
  // Asks the listener of that number, on a machine that may be another's, to connect.
  void StartConnecting(uint64_t listener, std::string private_data);
  // The listener's owner accepts: this side is new and ready, `client` becomes so when it hears of it.
  void Accept(SimSide* client, std::string private_data);
  // The listener's owner does not want it. May be called for a side that has gone.
  void Reject();

  // Breaks it: what is outstanding completes, the first request with `first`, the others with kFlushed,
  // then kDisconnected is reported. `tells_peer`: a notice goes out.
  void Break(CompletionStatus first, std::string why, bool tells_peer);
  // Its process died and its machine's kernel clears away, or its machine has crashed.
  void Die(bool at_once);

  // --- Requests (sim_side_requester.cc).

  // `ready_ns`: when the card may see it. `inline_words`: the bytes of an inline WRITE, else null.
  void Post(const WorkRequest& work, SimMemory* local, uint64_t local_index,
            const uint64_t* inline_words, uint64_t ready_ns);
  // Its owner polled a kReceive.
  void OnReceivePolled();

  // --- For SimRequest, SimNetwork.

  void Execute(SimRequest* request);
  void OnAnswer(SimRequest* request);
  // Links have changed.
  void OnLinks();
  // Before the network goes.
  void Forget();
  // A WRITE that was acknowledged lands now.
  void LandAll(SimRequest* request);
  // Silence: if nothing changes, the connection breaks in a while.
  void StartTimeout();

  // --- For the queue pair.

  SimContext* context() const { return context_; }
  SimSide* peer() const { return peer_; }
  uint64_t number() const { return number_; }
  QueuePairState state() const { return state_; }
  bool is_dead() const { return is_dead_; }
  const std::string& why() const { return why_; }
  const std::string& peer_private_data() const { return peer_private_data_; }
  // The key with which the peer uses `memory` from now on: the same for the same rights.
  RemoteKey Grant(SimMemory* memory, uint32_t rights);
  // What the key names, or null.
  const GrantMade* FindGrant(RemoteKey key) const;
  SimMailbox* mailbox() { return &mailbox_; }
  // Shared memory: the peer is gone, and the owner has not polled since.
  const std::string& hang_up() const { return hang_up_; }
  SimCompletionQueue* queue() const { return queue_; }
  // Of its completion queue, which the peer looks at.
  const WakePage* wake_page() const { return wake_page_; }
  sim::Machine* machine() const;
  void AddUnsignaled() { ++unsignaled_; }
  // Reports a request's completion to the owner.
  void Report(const WorkRequest& work, CompletionStatus status);

 private:
  // Whether this side executes requests of its peer.
  bool Serves() const { return state_ == QueuePairState::kReady && !is_dead_; }
  bool IsOneMachine() const { return machine() == peer_->machine(); }
  uint64_t NoticeNs();
  bool CanHear() const;  // The link from the peer to here is open.
  bool CanTell() const;

  // Connecting, breaking.
  void Knock(uint64_t listener);
  void Greet();
  // Sends a notice, which arrives not before `at_least_ns`.
  void TellPeer(uint64_t at_least_ns);
  void OnNotice(std::string why);
  // What was not sent never is; what was may arrive in spite of all, if `may_arrive`.
  void AbandonRequests(bool may_arrive);
  void ForgetOutstanding();
  // As responder: what it acknowledged to its peer lands.
  void LandAcknowledged();

  // Requester.
  void SendMore();
  void Send(SimRequest* request);
  void Pump();
  bool CanStart(SimRequest* request);
  // What is to start finds no way, now or for ever. False.
  bool FailToArrive();
  void Start(SimRequest* request);
  void PumpAt(uint64_t at_ns);
  void Capture(SimRequest* request);
  void Retire();
  void AnswerAt(SimRequest* request, uint64_t at_ns);
  // What it brought is stored here. False: not all of it yet.
  bool LandAnswer(SimRequest* request);
  void OnTimeout();
  void MaybeGive(SimRequest* request);
  void PlanPieces(SimRequest* request, uint64_t first_index, double split_rate);

  // Responder; called on the requester's side.
  CompletionStatus Judge(SimRequest* request) const;
  void Answer(SimRequest* request, CompletionStatus status);
  void Refuse(SimRequest* request, CompletionStatus status);
  void StartRead(SimRequest* request);
  void StartWrite(SimRequest* request);
  void StartAtomic(SimRequest* request);
  void StoreAtomic(SimRequest* request);
  // Does one step of the pieces. Returns the delay until the next, if there is one.
  uint64_t Step(SimRequest* request, SimMemory* memory, uint64_t first_index, bool samples);
  void FinishRead(SimRequest* request);
  void FinishWrite(SimRequest* request);
  // It stops half done, and is never answered.
  void Stop(SimRequest* request);
  // It will never do anything at the target any more.
  void EndExecution(SimRequest* request);
  // WRITEs whose completion may have been polled are visible to what starts now (F8).
  void FlushAcknowledged(SimCard* card);

  SimContext* const context_;
  SimNetwork* const network_;
  const uint64_t number_;  // In the trace.
  SimSide* peer_ = nullptr;
  SimQueuePair* handle_ = nullptr;  // Null: gone.
  SimCompletionQueue* queue_ = nullptr;
  QueuePairState state_ = QueuePairState::kConnecting;
  bool is_dead_ = false;
  std::string why_;
  std::string own_private_data_;
  std::string peer_private_data_;
  std::string hang_up_;
  std::vector<GrantMade> grants_;

  IntrusiveList<SimRequest, SimOutstandingTag> outstanding_;
  IntrusiveList<SimRequest, SimStageTag> to_send_;
  IntrusiveList<SimRequest, SimStageTag> to_start_;
  SimRequest* effect_ = nullptr;  // The WRITE or atomic that executes.
  uint32_t reads_under_way_ = 0;  // READs and atomics that were sent and are outstanding.
  uint32_t reads_executing_ = 0;  // READs that have not sampled everything.
  uint32_t unsignaled_ = 0;       // Done since the last completion.
  uint64_t sent_ns_ = 0;          // When the last request left,
  uint64_t arrival_ns_ = 0;       // arrived,
  uint64_t answer_ns_ = 0;        // and the last answer does.
  bool waits_for_receive_ = false;
  bool is_cut_off_ = false;  // Nothing that is sent arrives any more (E7).
  uint64_t pump_ns_ = 0;
  SimEvent<SimSide, &SimSide::Pump> pump_;
  SimEvent<SimSide, &SimSide::OnTimeout> timeout_;

  uint32_t receives_ = 0;  // Of the peer's immediates that were not polled.

  // Shared memory only.
  SimMailbox mailbox_;
  const WakePage* wake_page_ = nullptr;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_SIDE_H_
