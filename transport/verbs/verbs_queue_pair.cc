// How a lane begins and ends. Requests: verbs_queue_pair_datapath.cc.

#include "transport/verbs/verbs_queue_pair.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <typeinfo>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/provider_rules.h"
#include "transport/verbs/verbs_region.h"

namespace acre::transport {
namespace {

absl::Status JudgePrivateData(absl::string_view private_data) {
  if (private_data.size() <= kPrivateDataBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("private data of ", private_data.size(),
                                                 " bytes; at most ", kPrivateDataBytesMax));
}

}  // namespace

VerbsQueuePair::VerbsQueuePair(VerbsCompletionQueue* completion_queue)
    : group_(completion_queue->group()),
      context_(group_->context()),
      completion_queue_(completion_queue) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
}

absl::StatusOr<std::unique_ptr<VerbsQueuePair>> VerbsQueuePair::Connect(
    VerbsCompletionQueue* completion_queue, const CmAddress& target, absl::string_view endpoint,
    absl::string_view private_data) {
  if (absl::Status judged = JudgePrivateData(private_data); !judged.ok()) return judged;
  auto made = absl::WrapUnique(new VerbsQueuePair(completion_queue));
  MutexLock lock(made->group_->mutex());
  if (CardQueuePair* const card = made->group_->FindWithRoom(endpoint); card != nullptr) {
    made->Join(card, card->NextLane());
    card->OpenLane(made->lane_, made.get(), private_data);
    return made;
  }
  absl::StatusOr<CardQueuePair*> card =
      CardQueuePair::Connect(made->group_.get(), target, endpoint, made.get(), private_data);
  if (!card.ok()) return card.status();
  made->Join(*card, 0);
  return made;
}

absl::StatusOr<std::unique_ptr<VerbsQueuePair>> VerbsQueuePair::Accept(
    VerbsCompletionQueue* completion_queue, CmRequest request,
    std::shared_ptr<LaneArrivals> arrivals, absl::string_view private_data) {
  if (absl::Status judged = JudgePrivateData(private_data); !judged.ok()) return judged;
  auto made = absl::WrapUnique(new VerbsQueuePair(completion_queue));
  made->peer_private_data_ = request.peer.private_data;
  MutexLock lock(made->group_->mutex());
  absl::StatusOr<CardQueuePair*> card = CardQueuePair::Accept(
      made->group_.get(), std::move(request), std::move(arrivals), made.get(), private_data);
  if (!card.ok()) return card.status();
  made->Join(*card, 0);
  made->credits_ = made->credits_max_;
  made->state_.store(QueuePairState::kReady, std::memory_order_release);
  return made;
}

absl::StatusOr<std::unique_ptr<VerbsQueuePair>> VerbsQueuePair::AcceptLane(
    VerbsCompletionQueue* completion_queue, const LaneArrival& arrival,
    absl::string_view private_data) {
  if (absl::Status judged = JudgePrivateData(private_data); !judged.ok()) return judged;
  if (completion_queue->group() != arrival.group) {
    return absl::InvalidArgumentError(
        "accepted by a thread that does not share the queue pair that it came on");
  }
  auto made = absl::WrapUnique(new VerbsQueuePair(completion_queue));
  made->peer_private_data_ = arrival.private_data;
  MutexLock lock(made->group_->mutex());
  CardQueuePair* const card = made->group_->Find(arrival.connection);
  if (card == nullptr || card->state() != QueuePairState::kReady) {
    return absl::UnavailableError("the peer has gone");
  }
  made->Join(card, arrival.lane);
  made->credits_ = made->credits_max_;
  made->state_.store(QueuePairState::kReady, std::memory_order_release);
  card->AcceptLane(arrival.lane, made.get(), private_data);
  return made;
}

void VerbsQueuePair::Join(CardQueuePair* card, uint8_t lane) {
  card_ = card;
  lane_ = lane;
  has_joined_ = true;
  has_own_card_queue_pair_ = card->depths().lanes == 1;
  sends_max_ = card->depths().lane_sends;
  receives_max_ = card->depths().lane_receives;
  credits_max_ = card->peer_lane_receives();
  // Its requests, its receives, kConnected, kDisconnected.
  completions_max_ = sends_max_ + receives_max_ + kControlReceivesPerLane + 2;
  completion_queue_->Attach(completions_max_);
}

absl::Status VerbsQueuePair::status() const {
  MutexLock lock(group_->mutex());
  return status_;
}

void VerbsQueuePair::OnAccepted(absl::string_view private_data) {
  peer_private_data_ = std::string(private_data);
  credits_ = credits_max_ = card_->peer_lane_receives();
  state_.store(QueuePairState::kReady, std::memory_order_release);
  completion_queue_->Push({.kind = CompletionKind::kConnected, .queue_pair = this}, 0);
}

void VerbsQueuePair::OnRejected() {
  GiveUp("the peer rejected the connection, or nobody listens there");
}

void VerbsQueuePair::OnUnanswered() { GiveUp("the peer does not answer"); }

void VerbsQueuePair::GiveUp(absl::string_view why) {
  card_ = nullptr;
  state_.store(QueuePairState::kBroken, std::memory_order_release);
  status_ = absl::UnavailableError(why);
  Report();
}

void VerbsQueuePair::OnPeerClosed() {
  End(absl::UnavailableError("the peer closed the connection or died"));
}

void VerbsQueuePair::End(absl::Status why) {
  state_.store(QueuePairState::kBroken, std::memory_order_release);
  status_ = std::move(why);
  is_ending_ = true;
  card_->CallBack();
  GiveReceivesBack();
  ReportEndIfDone();
}

void VerbsQueuePair::ReportEndIfDone() {
  if (!is_ending_ || card_ == nullptr) return;
  if (at_card_ > 0) {
    card_->CallBack();
    return card_->Mark();
  }
  Report();
  card_->CloseLane(lane_);
}

void VerbsQueuePair::Report() {
  if (std::exchange(is_reported_, true)) return;
  is_ending_ = false;
  for (const Held& held : held_) ReportFailed(held.request, CompletionStatus::kFlushed);
  held_.clear();
  completion_queue_->Push({.kind = CompletionKind::kDisconnected, .queue_pair = this}, 0);
}

void VerbsQueuePair::OnCardBroken(const absl::Status& why) {
  if (state_.load(std::memory_order_relaxed) == QueuePairState::kBroken) return;
  state_.store(QueuePairState::kBroken, std::memory_order_release);
  status_ = why;
}

void VerbsQueuePair::OnCardDrained() { Report(); }

// Whoever has the lane's number next finds them posted.
void VerbsQueuePair::GiveReceivesBack() {
  if (card_ == nullptr || card_->state() != QueuePairState::kReady) return;
  receives_taken_ = 0;
  card_->PostReceives(std::exchange(receives_used_, 0));
}

VerbsQueuePair::~VerbsQueuePair() {
  if (has_joined_) {
    WaitForAcknowledgements();
    if (Leave()) WaitForConfirmation();
    MutexLock lock(group_->mutex());
    if (card_ != nullptr) PartFromCard();
    completion_queue_->Detach(this, completions_max_);
  }
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

template <class Condition>
void VerbsQueuePair::WaitUntil(Condition is_done, uint64_t ms_max) {
  // Real time: the card knows no other.
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms_max);
  for (;;) {
    {
      MutexLock lock(group_->mutex());
      if (card_ != nullptr) card_->Drain();
      if (is_done()) return;
      // Nobody else need have said that the last ones are to be heard of.
      if (card_ != nullptr && at_card_ > 0) card_->Mark();
    }
    if (std::chrono::steady_clock::now() > until) return;
    sched_yield();
  }
}

bool VerbsQueuePair::GoesWithCard() const {
  return card_->IsLastLane(lane_) && (card_->has_connected() || card_->depths().lanes == 1 ||
                                      card_->state() != QueuePairState::kReady);
}

void VerbsQueuePair::WaitForAcknowledgements() {
  uint64_t ms_max = kLingerMsMax;
  {
    MutexLock lock(group_->mutex());
    held_.clear();
    if (card_ == nullptr || at_card_ == 0) return;
    // By then the card has them acknowledged, or has broken off.
    if (!GoesWithCard()) ms_max = kSharedLingerMsMax;
  }
  WaitUntil(
      [this] {
        return card_ == nullptr || at_card_ == 0 ||
               (card_->state() != QueuePairState::kReady && GoesWithCard());
      },
      ms_max);
}

bool VerbsQueuePair::Leave() {
  MutexLock lock(group_->mutex());
  if (card_ == nullptr) return false;
  SayThatItGoes();
  // Who has not been answered yet waits for nothing: the answer finds nobody.
  return card_ != nullptr && !GoesWithCard() && card_->has_connected() && is_reported_;
}

void VerbsQueuePair::WaitForConfirmation() {
  WaitUntil([this] { return card_ == nullptr || card_->IsLaneOver(lane_); }, kLingerMsMax);
}

void VerbsQueuePair::SayThatItGoes() {
  if (GoesWithCard()) return;
  if (at_card_ > 0) {
    // What the card may still read or write goes with us.
    card_->Break(absl::UnavailableError(
        "a thread that shared the queue pair went, and its requests were not acknowledged"));
    if (at_card_ > 0) card_->GiveUpDraining();
    return;
  }
  if (state_.load(std::memory_order_relaxed) != QueuePairState::kReady) return;
  GiveReceivesBack();
  state_.store(QueuePairState::kBroken, std::memory_order_release);
  is_reported_ = true;
  card_->CloseLane(lane_);
}

void VerbsQueuePair::PartFromCard() {
  // Again: others have come or gone since, or the peer has accepted.
  SayThatItGoes();
  if (card_ == nullptr) return;
  const bool goes_with_card = GoesWithCard();
  CardQueuePair* const card = std::exchange(card_, nullptr);
  card->ForgetLane(lane_);
  if (goes_with_card) group_->Destroy(card);
}

absl::StatusOr<RemoteKey> VerbsQueuePair::Grant(const MemoryRegion& region, uint32_t rights) {
  if (state() != QueuePairState::kReady) return ErrorNotReady(state(), status());
  CHECK(typeid(region) == typeid(VerbsRegion)) << "a region of another provider";
  const auto& verbs_region = static_cast<const VerbsRegion&>(region);
  const absl::Status judged = JudgeGrant(region, verbs_region.peer_rights(), rights);
  if (!judged.ok()) return judged;
  return verbs_region.KeyFor(rights);
}

absl::StatusOr<MappedRegion> VerbsQueuePair::Map(RemoteKey /*key*/) {
  if (state() != QueuePairState::kReady) return ErrorNotReady(state(), status());
  return absl::FailedPreconditionError("memory behind a card cannot be mapped");
}

}  // namespace acre::transport
