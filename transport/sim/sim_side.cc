// The life of a connection: connecting, notices, breaking, death. Requests: sim_side_requester.cc,
// sim_side_responder.cc.

#include "transport/sim/sim_side.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "transport/sim/sim_completion_queue.h"
#include "transport/sim/sim_costs.h"
#include "transport/sim/sim_listener.h"
#include "transport/sim/sim_queue_pair.h"

namespace acre::transport {
namespace {

// How often a connecting side knocks again where nobody hears it.
constexpr uint64_t kKnockAgainNs = 500'000;
// Keys: salt, number of the grant, rights.
constexpr uint32_t kKeySaltBits = 40;
constexpr uint32_t kKeyRightsBits = 8;

}  // namespace

SimSide::SimSide(SimContext* context, uint64_t number)
    : context_(context), network_(context->network), number_(number), pump_(this), timeout_(this) {
  if (context->kind == SimDevice::kSharedMemory) {
    mailbox_.entries = std::vector<SharedWord>(context->device.receive_queue_depth);
  }
}

SimSide::~SimSide() = default;

sim::Machine* SimSide::machine() const { return context_->process->machine(); }

void SimSide::Attach(SimQueuePair* handle, SimCompletionQueue* queue) {
  handle_ = handle;
  queue_ = queue;
  wake_page_ = queue->wake_page();
}

uint64_t SimSide::NoticeNs() {
  if (context_->kind == SimDevice::kSharedMemory) return network_->Vary(kPacketNs);
  return network_->WireNs(machine(), peer_->machine());
}

bool SimSide::CanHear() const { return network_->IsOpen(peer_->machine(), machine()); }
bool SimSide::CanTell() const { return network_->IsOpen(machine(), peer_->machine()); }

void SimSide::StartConnecting(uint64_t listener, std::string private_data) {
  own_private_data_ = std::move(private_data);
  network_->After(network_->Vary(kWireNs), [this, listener] { Knock(listener); });
}

void SimSide::Knock(uint64_t listener) {
  if (state_ != QueuePairState::kConnecting || is_dead_) return;
  SimListener* const found = network_->FindListener(listener);
  if (found == nullptr) return Break(CompletionStatus::kFlushed, "nobody listens there", false);
  sim::Machine* const there = found->context()->process->machine();
  if (!network_->IsOpen(machine(), there) || found->context()->process->is_dead()) {
    StartTimeout();
    network_->After(network_->Vary(kKnockAgainNs), [this, listener] { Knock(listener); });
    return;
  }
  network_->Cancel(&timeout_);
  found->Add(this, own_private_data_);
}

void SimSide::Accept(SimSide* client, std::string private_data) {
  peer_ = client;
  client->peer_ = this;
  own_private_data_ = std::move(private_data);
  peer_private_data_ = client->own_private_data_;
  state_ = QueuePairState::kReady;
  network_->Trace("accept", client->number_, number_);
  if (client->state_ == QueuePairState::kBroken) {
    // Its goodbye found nobody; another one follows it.
    client->TellPeer(0);
    return;
  }
  const uint64_t delay_ns = NoticeNs();
  // What we send comes behind our greeting.
  arrival_ns_ = network_->NowNs() + delay_ns;
  network_->After(delay_ns, [client] { client->Greet(); });
}

void SimSide::Greet() {
  if (state_ != QueuePairState::kConnecting || is_dead_) return;
  if (!CanHear()) {
    StartTimeout();
    network_->After(network_->Vary(kKnockAgainNs), [this] { Greet(); });
    return;
  }
  network_->Cancel(&timeout_);
  state_ = QueuePairState::kReady;
  peer_private_data_ = peer_->own_private_data_;
  network_->Trace("connected", number_, peer_->number_);
  if (handle_ != nullptr) {
    queue_->Push({.kind = CompletionKind::kConnected, .queue_pair = handle_}, 0);
  }
  peer_->PumpAt(network_->NowNs());
}

void SimSide::Reject() {
  network_->After(network_->Vary(kWireNs), [this] {
    if (state_ == QueuePairState::kConnecting) OnNotice("the peer rejected the connection");
  });
}

void SimSide::TellPeer(uint64_t at_least_ns) {
  if (peer_ == nullptr) return;
  const uint64_t now_ns = network_->NowNs();
  const uint64_t at_ns = std::max(now_ns + NoticeNs(), at_least_ns + 1);
  SimSide* const peer = peer_;
  network_->After(at_ns - now_ns, [this, peer] {
    const char* const why = "the peer closed the connection or died";
    if (CanTell()) return peer->OnNotice(why);
    // It finds out by itself: a card asks now and then whether its peer is there.
    const SimFaults& faults = network_->faults();
    const uint64_t silence_ns = faults.retry_ns_min + network_->DrawNs(faults.retry_ns_max);
    network_->After(silence_ns, [peer, why] { peer->OnNotice(why); });
  });
}

void SimSide::OnNotice(std::string why) {
  if (state_ == QueuePairState::kBroken || is_dead_) return;
  if (context_->kind == SimDevice::kSharedMemory && state_ == QueuePairState::kReady) {
    // The socket's hang-up: the owner's next Poll() looks at it.
    hang_up_ = std::move(why);
    if (queue_ != nullptr) queue_->Ring();
    return;
  }
  Break(CompletionStatus::kFlushed, std::move(why), /*tells_peer=*/false);
}

void SimSide::Break(CompletionStatus first, std::string why, bool tells_peer) {
  if (state_ == QueuePairState::kBroken) return;
  LandAcknowledged();
  state_ = QueuePairState::kBroken;
  why_ = std::move(why);
  network_->Trace("break", number_, static_cast<uint64_t>(first));
  network_->Cancel(&timeout_);
  AbandonRequests(network_->Draw(network_->faults().late_execution));
  CompletionStatus status = first;
  while (!outstanding_.empty()) {
    SimRequest* const request = outstanding_.PopFront();
    if (request->is_executed) ++network_->counts().executed_with_error;
    Report(request->work, status);
    status = CompletionStatus::kFlushed;
    network_->Cancel(&request->respond_);
    MaybeGive(request);
  }
  if (handle_ != nullptr) {
    queue_->Push({.kind = CompletionKind::kDisconnected, .queue_pair = handle_}, 0);
    queue_->Ring();
  }
  if (tells_peer) TellPeer(0);
}

void SimSide::Close() {
  handle_ = nullptr;
  queue_ = nullptr;
  if (is_dead_) return;
  if (state_ != QueuePairState::kBroken) {
    LandAcknowledged();
    const bool was_ready = state_ == QueuePairState::kReady;
    state_ = QueuePairState::kBroken;
    network_->Trace("close", number_);
    network_->Cancel(&timeout_);
    // What was sent arrives, and our goodbye behind it.
    AbandonRequests(/*may_arrive=*/true);
    if (was_ready) TellPeer(arrival_ns_);
  }
  ForgetOutstanding();
}

void SimSide::Die(bool at_once) {
  if (is_dead_) return;
  if (!at_once) LandAcknowledged();
  is_dead_ = true;
  handle_ = nullptr;
  queue_ = nullptr;
  network_->Cancel(&timeout_);
  const bool was_broken = std::exchange(state_, QueuePairState::kBroken) == QueuePairState::kBroken;
  const SimFaults& faults = network_->faults();
  if (effect_ != nullptr && !effect_->is_acknowledged && network_->Draw(faults.torn_write)) {
    if (effect_->is_write() && effect_->pieces.piece + effect_->pieces.word > 0) {
      ++network_->counts().torn_writes;
    }
    Stop(effect_);
  }
  AbandonRequests(network_->Draw(faults.late_execution));
  ForgetOutstanding();
  if (was_broken || peer_ == nullptr) return;
  const bool is_silent = at_once || (!IsOneMachine() && network_->Draw(faults.timed_out_death));
  if (!is_silent) return TellPeer(0);
  SimSide* const peer = peer_;
  const uint64_t silence_ns =
      faults.retry_ns_min + network_->DrawNs(faults.retry_ns_max - faults.retry_ns_min);
  network_->After(silence_ns, [peer] { peer->OnNotice("the peer does not answer"); });
}

void SimSide::AbandonRequests(bool may_arrive) {
  while (!to_send_.empty()) MaybeGive(to_send_.PopFront());
  if (may_arrive) {
    IntrusiveList<SimRequest, SimStageTag> all;
    all.TakeAll(&to_start_);
    // A doorbell that waits behind stores in a store buffer has not been heard: nothing was sent.
    while (!all.empty() && all.front()->ready_ns <= network_->NowNs()) {
      SimRequest* const request = all.PopFront();
      Capture(request);
      to_start_.PushBack(request);
    }
    while (!all.empty()) MaybeGive(all.PopFront());
    return;
  }
  while (!to_start_.empty()) MaybeGive(to_start_.PopFront());
}

void SimSide::ForgetOutstanding() {
  while (!outstanding_.empty()) {
    SimRequest* const request = outstanding_.PopFront();
    network_->Cancel(&request->respond_);
    MaybeGive(request);
  }
}

RemoteKey SimSide::Grant(SimMemory* memory, uint32_t rights) {
  for (const GrantMade& grant : grants_) {
    if (grant.memory == memory && grant.rights == rights) return grant.key;
  }
  // The upper bits differ from connection to connection, and so from incarnation to incarnation.
  const uint64_t salt = network_->random().Next() >> (64 - kKeySaltBits);
  const RemoteKey key{salt << (64 - kKeySaltBits) | (grants_.size() + 1) << kKeyRightsBits |
                      rights};
  grants_.push_back({.key = key, .rights = rights, .memory = memory});
  return key;
}

const SimSide::GrantMade* SimSide::FindGrant(RemoteKey key) const {
  // Of a key that nobody made it wraps around to an index out of every range.
  const uint64_t index = (key.bits << kKeySaltBits >> (kKeySaltBits + kKeyRightsBits)) - 1;
  if (index >= grants_.size() || grants_[index].key != key) return nullptr;
  return &grants_[index];
}

void SimSide::LandAcknowledged() {
  if (peer_ == nullptr || peer_->effect_ == nullptr) return;
  if (peer_->effect_->is_acknowledged) peer_->LandAll(peer_->effect_);
}

void SimSide::Forget() {
  network_->Cancel(&pump_);
  network_->Cancel(&timeout_);
  while (!to_send_.empty()) to_send_.PopFront();
  while (!to_start_.empty()) to_start_.PopFront();
  while (!outstanding_.empty()) outstanding_.PopFront();
}

void SimSide::Report(const WorkRequest& work, CompletionStatus status) {
  const uint32_t slots = std::exchange(unsignaled_, 0) + 1;
  if (handle_ == nullptr) return;
  const bool is_atomic = work.opcode == Opcode::kCompareSwap || work.opcode == Opcode::kFetchAdd;
  queue_->Push({.kind = CompletionKind::kSend,
                .status = status,
                .opcode = work.opcode,
                .length_bytes = is_atomic ? static_cast<uint32_t>(kWordBytes) : work.length_bytes,
                .id = work.id,
                .queue_pair = handle_},
               slots);
}

}  // namespace acre::transport
