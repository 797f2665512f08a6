// The lanes of a queue pair of the card: how they come and go, and what the two sides tell each other of that.

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/verbs/card_queue_pair.h"
#include "transport/verbs/verbs_completion_queue.h"
#include "transport/verbs/verbs_queue_pair.h"

namespace acre::transport {

bool CardQueuePair::HasRoomForLane() const {
  if (!has_connected() || lanes_.size() == 1 || state_ == QueuePairState::kBroken) return false;
  // Behind one that the peer does not answer there is only waiting.
  const auto hangs = [](const Lane& lane) {
    return lane.phase == Phase::kOpening && lane.ticks > 1;
  };
  const auto is_free = [](const Lane& lane) { return lane.phase == Phase::kFree; };
  return std::none_of(lanes_.begin(), lanes_.end(), hangs) &&
         std::any_of(lanes_.begin(), lanes_.end(), is_free);
}

uint8_t CardQueuePair::NextLane() const {
  const auto lane = std::find_if(lanes_.begin(), lanes_.end(), [](const Lane& candidate) {
    return candidate.phase == Phase::kFree;
  });
  CHECK(lane != lanes_.end());
  return static_cast<uint8_t>(lane - lanes_.begin());
}

void CardQueuePair::OpenLane(uint8_t number, VerbsQueuePair* object,
                             absl::string_view private_data) {
  Lane& lane = lanes_[number];
  lane.object = object;
  lane.phase = Phase::kWanted;
  lane.private_data = std::string(private_data);
  OpenNext();
}

void CardQueuePair::OpenNext() {
  if (state_ != QueuePairState::kReady || !has_connected()) return;
  const auto is_opening = [](const Lane& lane) { return lane.phase == Phase::kOpening; };
  if (std::any_of(lanes_.begin(), lanes_.end(), is_opening)) return;
  for (size_t number = 0; number < lanes_.size(); ++number) {
    Lane& lane = lanes_[number];
    if (lane.phase != Phase::kWanted) continue;
    const VerbsMessage open = {.kind = VerbsMessageKind::kOpen,
                               .lane = static_cast<uint8_t>(number)};
    if (!SendMessage(open, lane.private_data)) {
      is_owing_ = true;
      return;
    }
    lane.phase = Phase::kOpening;
    return;
  }
}

void CardQueuePair::AcceptLane(uint8_t number, VerbsQueuePair* object,
                               absl::string_view private_data) {
  Lane& lane = lanes_[number];
  CHECK(state_ == QueuePairState::kReady && lane.phase == Phase::kOpening && !lane.owes_answer);
  lane.object = object;
  lane.phase = Phase::kOpen;
  lane.owes_answer = lane.is_accepted = true;
  lane.private_data = std::string(private_data);
  SendOwed();
}

void CardQueuePair::RejectLane(uint8_t number) {
  Lane& lane = lanes_[number];
  if (state_ != QueuePairState::kReady || lane.phase != Phase::kOpening) return;
  lane.owes_answer = true;
  lane.is_accepted = false;
  SendOwed();
}

void CardQueuePair::CloseLane(uint8_t number) {
  Lane& lane = lanes_[number];
  if (state_ != QueuePairState::kReady) return;
  if (lane.phase == Phase::kOpen) {
    lane.phase = Phase::kClosing;
    lane.owes_closed = true;
  } else if (lane.phase == Phase::kLeaving) {
    lane.owes_confirm = true;
  }
  SendOwed();
}

void CardQueuePair::ForgetLane(uint8_t number) {
  Lane& lane = lanes_[number];
  lane.object = nullptr;
  if (lane.phase == Phase::kWanted) Free(number);
}

bool CardQueuePair::IsLaneOver(uint8_t number) const {
  return state_ == QueuePairState::kBroken || lanes_[number].phase == Phase::kFree;
}

bool CardQueuePair::HasLanes() const {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [](const Lane& lane) { return lane.object != nullptr; });
}

bool CardQueuePair::IsLastLane(uint8_t number) const {
  for (size_t other = 0; other < lanes_.size(); ++other) {
    if (other != number && lanes_[other].object != nullptr) return false;
  }
  return true;
}

void CardQueuePair::EndIfUnused() {
  if (IsUnused()) group_->DestroyLater(this);
}

void CardQueuePair::TickLanes() {
  // A queue pair that the peer keeps and has no use for is not counted as anybody's: it goes.
  const auto is_free = [](const Lane& lane) { return lane.phase == Phase::kFree; };
  const bool is_idle = std::all_of(lanes_.begin(), lanes_.end(), is_free);
  idle_ticks_ = is_idle && !has_connected() ? idle_ticks_ + 1 : 0;
  if (idle_ticks_ > kIdleTicksMax)
    return Break(absl::UnavailableError("the peer has no use for it"));
  for (size_t number = 0; number < lanes_.size(); ++number) {
    Lane& lane = lanes_[number];
    if (!has_connected() || (lane.phase != Phase::kWanted && lane.phase != Phase::kOpening)) {
      continue;
    }
    if (++lane.ticks <= kConnectTicksMax || lane.object == nullptr) continue;
    std::exchange(lane.object, nullptr)->OnUnanswered();
    if (lane.phase == Phase::kWanted) Free(static_cast<uint8_t>(number));
  }
  EndIfUnused();
}

void CardQueuePair::Free(uint8_t number) {
  Lane& lane = lanes_[number];
  CHECK(lane.object == nullptr) << "a lane's number is free only once it has gone";
  lane = Lane();
}

void CardQueuePair::SendOwed() {
  is_owing_ = true;
  if (state_ != QueuePairState::kReady || !is_established_) return;
  // By turns: where there is not room for all, the next time begins where this one ends.
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (!SendOwedOf(static_cast<uint8_t>(next_owed_))) return;
    next_owed_ = (next_owed_ + 1) % lanes_.size();
  }
  is_owing_ = false;
  OpenNext();
}

bool CardQueuePair::SendOwedOf(uint8_t number) {
  Lane& lane = lanes_[number];
  if (lane.owes_answer) {
    const auto kind = lane.is_accepted ? VerbsMessageKind::kAccepted : VerbsMessageKind::kRejected;
    const absl::string_view bytes = lane.is_accepted ? lane.private_data : absl::string_view();
    if (!SendMessage({.kind = kind, .lane = number}, bytes)) return false;
    lane.owes_answer = false;
    if (!lane.is_accepted) {
      Free(number);
      return true;
    }
  }
  if (lane.owes_closed) {
    if (!SendMessage({.kind = VerbsMessageKind::kClosed, .lane = number})) return false;
    lane.owes_closed = false;
  }
  if (lane.owes_confirm) {
    if (!SendMessage({.kind = VerbsMessageKind::kConfirmed, .lane = number})) return false;
    EndLane(number);
    return true;
  }
  if (lane.object == nullptr || lane.phase != Phase::kOpen) return true;
  const uint32_t credits = lane.object->owed_credits();
  if (credits == 0) return true;
  if (!has_room_for_control()) return false;
  PostReceives(credits);
  lane.object->OnCreditsSent();
  return SendMessage({.kind = VerbsMessageKind::kCredits,
                      .lane = number,
                      .credits = static_cast<uint16_t>(credits)});
}

bool CardQueuePair::SendMessage(const VerbsMessage& message, absl::string_view bytes) {
  if (state_ != QueuePairState::kReady || !has_room_for_control()) return false;
  if (!bytes.empty()) {
    CHECK_LE(bytes.size(), sizeof(mail_->out));
    memcpy(mail_->out.data(), bytes.data(), bytes.size());  // private memory
  }
  StageControl(IBV_WR_SEND_WITH_IMM, EncodeVerbsMessage(message), bytes.size());
  RingDoorbell();
  return state_ == QueuePairState::kReady;
}

void CardQueuePair::OnMessage(const VerbsMessage& message, absl::string_view bytes) {
  if (message.lane >= lanes_.size()) return BreakByPeer("it speaks of a lane that there is not");
  if (lanes_.size() == 1 && message.kind != VerbsMessageKind::kCredits) {
    return BreakByPeer("it has only one lane, and would open or close another");
  }
  if (bytes.size() > kPrivateDataBytesMax) return BreakByPeer("its message is too long");
  switch (message.kind) {
    case VerbsMessageKind::kCredits: {
      VerbsQueuePair* const object = lanes_[message.lane].object;
      const Phase phase = lanes_[message.lane].phase;
      // Ours is going while the peer's still gives back.
      if (phase == Phase::kClosing) return;
      if (phase != Phase::kOpen || object == nullptr || !object->OnCredits(message.credits)) {
        BreakByPeer("it gave back credit that it never had");
      }
      return;
    }
    case VerbsMessageKind::kOpen:
      return OnOpen(message.lane, bytes);
    case VerbsMessageKind::kAccepted:
    case VerbsMessageKind::kRejected:
      if (!has_connected() || lanes_[message.lane].phase != Phase::kOpening) {
        return BreakByPeer("it answers what nobody asked");
      }
      return OnAnswer(message.lane, message.kind == VerbsMessageKind::kAccepted, bytes);
    case VerbsMessageKind::kClosed:
      return OnClosed(message.lane);
    case VerbsMessageKind::kConfirmed:
      return OnConfirmed(message.lane);
  }
}

void CardQueuePair::OnOpen(uint8_t number, absl::string_view private_data) {
  Lane& lane = lanes_[number];
  if (has_connected() || lane.phase != Phase::kFree) {
    return BreakByPeer("it opens a lane that it may not");
  }
  lane.phase = Phase::kOpening;
  LaneArrival arrival;
  arrival.group = group_->shared_from_this();
  arrival.connection = place_.connection;
  arrival.lane = number;
  arrival.private_data = std::string(private_data);
  arrival.peer = CmAddress::From(rdma_get_peer_addr(id_.get())).Host();
  arrival.home = group_->QuietestMember();
  if (!arrivals_->Push(std::move(arrival))) RejectLane(number);
}

void CardQueuePair::OnAnswer(uint8_t number, bool is_accepted, absl::string_view private_data) {
  Lane& lane = lanes_[number];
  VerbsQueuePair* const object = lane.object;
  if (!is_accepted) {
    lane.object = nullptr;
    Free(number);
    if (object != nullptr) object->OnRejected();
    EndIfUnused();
  } else {
    lane.phase = Phase::kOpen;
    if (object != nullptr) {
      object->OnAccepted(private_data);
    } else {
      CloseLane(number);  // Who wanted it has gone meanwhile.
    }
  }
  OpenNext();
}

void CardQueuePair::OnClosed(uint8_t number) {
  Lane& lane = lanes_[number];
  switch (lane.phase) {
    case Phase::kOpen:
      lane.phase = Phase::kLeaving;
      if (lane.object != nullptr) {
        lane.object->OnPeerClosed();
      } else {
        CloseLane(number);
      }
      return;
    case Phase::kClosing:
      // Both at once, and neither has anything under way. What each said is the other's confirmation.
      if (std::exchange(lane.owes_closed, false)) {
        lane.owes_confirm = true;
        return SendOwed();
      }
      return EndLane(number);
    default:
      return BreakByPeer("it closes a lane that is not open");
  }
}

void CardQueuePair::OnConfirmed(uint8_t number) {
  Lane& lane = lanes_[number];
  if (lane.phase != Phase::kClosing || lane.owes_closed) {
    return BreakByPeer("it confirms what nobody said");
  }
  EndLane(number);
}

void CardQueuePair::EndLane(uint8_t number) {
  VerbsQueuePair* const object = std::exchange(lanes_[number].object, nullptr);
  Free(number);
  if (object != nullptr) object->OnLaneOver();
  EndIfUnused();
  OpenNext();
}

}  // namespace acre::transport
