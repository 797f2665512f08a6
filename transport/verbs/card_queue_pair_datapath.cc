// Requests and receives of a queue pair of the card: what runs once per operation, whichever lane it is of.

#include <arpa/inet.h>

#include <cstring>
#include <typeinfo>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/provider_rules.h"
#include "transport/verbs/card_queue_pair.h"
#include "transport/verbs/verbs_key.h"
#include "transport/verbs/verbs_queue_pair.h"
#include "transport/verbs/verbs_region.h"

namespace acre::transport {
namespace {

ibv_wr_opcode OpcodeOf(const WorkRequest& request) {
  switch (request.opcode) {
    case Opcode::kRead:
      // Of no bytes: the same as a WRITE of none, which every card takes.
      return request.length_bytes == 0 ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
    case Opcode::kWrite:
      return IBV_WR_RDMA_WRITE;
    case Opcode::kWriteWithImm:
      return IBV_WR_RDMA_WRITE_WITH_IMM;
    case Opcode::kCompareSwap:
      return IBV_WR_ATOMIC_CMP_AND_SWP;
    case Opcode::kFetchAdd:
      return IBV_WR_ATOMIC_FETCH_AND_ADD;
  }
  LOG(FATAL) << "an unknown opcode";
}

// Whether `sequence` comes before `other`, both of them within one send queue of each other.
bool IsBefore(uint32_t sequence, uint32_t other) {
  return static_cast<int32_t>(sequence - other) < 0;
}

}  // namespace

void CardQueuePair::Stage(uint8_t lane, const WorkRequest& request, const uint64_t* inline_words) {
  VerbsGroup::Scratch& scratch = *group_->scratch();
  ibv_send_wr& send = scratch.requests[staged_];
  ibv_sge& buffer = scratch.buffers[staged_];
  const uint32_t length_bytes = LengthOf(request);
  send = {};
  send.wr_id = WorkId{.connection = place_.connection, .sequence = sent_end_}.bits();
  send.opcode = OpcodeOf(request);
  send.send_flags = (request.signaled ? unsigned{IBV_SEND_SIGNALED} : 0u) |
                    (request.inline_data && length_bytes > 0 ? unsigned{IBV_SEND_INLINE} : 0u) |
                    (request.fence && context_->fences_on_card ? unsigned{IBV_SEND_FENCE} : 0u);
  if (length_bytes > 0) {
    buffer = {};
    buffer.addr = inline_words != nullptr ? reinterpret_cast<uintptr_t>(inline_words)
                                          : reinterpret_cast<uintptr_t>(request.local);
    buffer.length = length_bytes;
    if (!request.inline_data) {
      CHECK(typeid(*request.local_region) == typeid(VerbsRegion)) << "another provider's buffer";
      buffer.lkey = static_cast<const VerbsRegion*>(request.local_region)->local_key();
    }
    send.sg_list = &buffer;
    send.num_sge = 1;
    const auto card_key = static_cast<uint32_t>(request.remote_key.bits >> 32);
    if (IsAtomic(request.opcode)) {
      send.wr.atomic.remote_addr = request.remote_offset_bytes;
      send.wr.atomic.rkey = card_key;
      send.wr.atomic.compare_add =
          request.opcode == Opcode::kCompareSwap ? request.compare : request.swap_or_add;
      send.wr.atomic.swap = request.swap_or_add;
    } else {
      send.wr.rdma.remote_addr = request.remote_offset_bytes;
      send.wr.rdma.rkey = card_key;
    }
  }
  if (request.opcode == Opcode::kWriteWithImm) {
    send.imm_data = htonl(EncodeLaneImmediate(lane, request.immediate));
  }
  sent(sent_end_) = {.id = request.id,
                     .length_bytes = length_bytes,
                     .opcode = request.opcode,
                     .lane = lane,
                     .is_signaled = request.signaled,
                     .is_control = false};
  ++sent_end_;
  ++staged_;
}

void CardQueuePair::StageControl(ibv_wr_opcode opcode, uint32_t immediate, size_t bytes) {
  CHECK_LT(controls_, depths_.controls_max());
  ibv_send_wr& send = group_->scratch()->requests[staged_];
  ibv_sge& buffer = group_->scratch()->buffers[staged_];
  send = {};
  send.wr_id = WorkId{.connection = place_.connection, .sequence = sent_end_}.bits();
  send.opcode = opcode;
  send.send_flags = IBV_SEND_SIGNALED;
  send.imm_data = htonl(immediate);
  if (bytes > 0) {
    buffer = {.addr = reinterpret_cast<uintptr_t>(mail_->out.data()),
              .length = static_cast<uint32_t>(bytes),
              .lkey = mail_->registration->lkey};
    send.sg_list = &buffer;
    send.num_sge = 1;
  }
  sent(sent_end_) = {.id = 0,
                     .length_bytes = 0,
                     .opcode = Opcode::kWrite,
                     .lane = 0,
                     .is_signaled = true,
                     .is_control = true};
  ++sent_end_;
  ++staged_;
  ++controls_;
}

void CardQueuePair::RingDoorbell() {
  if (staged_ == 0) return;
  std::vector<ibv_send_wr>& requests = group_->scratch()->requests;
  for (uint32_t i = 0; i + 1 < staged_; ++i) requests[i].next = &requests[i + 1];
  requests[staged_ - 1].next = nullptr;
  const uint32_t first = sent_end_ - std::exchange(staged_, 0);
  ibv_send_wr* refused = nullptr;
  const int error = ibv_post_send(card(), requests.data(), &refused);
  if (error == 0) [[likely]]
    return;
  // The card's driver took what came before `refused`. The rest fails here and now.
  const uint32_t taken_end = first + static_cast<uint32_t>(refused - requests.data());
  while (sent_end_ != taken_end) {
    const Sent last = sent(--sent_end_);
    if (last.is_control) {
      --controls_;
    } else if (VerbsQueuePair* const lane = lanes_[last.lane].object; lane != nullptr) {
      lane->OnNotTaken(last.id, last.opcode, last.length_bytes);
    }
  }
  Break(absl::InternalError(absl::StrCat("the card takes no requests: ", strerror(error))));
}

void CardQueuePair::Mark() {
  // With no room left, the completion of one of ours brings us here again.
  if (!ends_unheard() || !has_room_for_control()) return;
  StageControl(IBV_WR_RDMA_WRITE, 0);
  RingDoorbell();
}

void CardQueuePair::Complete(const Sent& done, ibv_wc_status card_status) {
  if (done.is_control) {
    --controls_;
    return;
  }
  VerbsQueuePair* const lane = lanes_[done.lane].object;
  // Null: of one that went with the card's queue pair broken.
  if (lane == nullptr) return;
  lane->OnSent({.id = done.id,
                .opcode = done.opcode,
                .length_bytes = done.length_bytes,
                .is_signaled = done.is_signaled},
               card_status);
}

void CardQueuePair::OnSent(uint32_t sequence, ibv_wc_status card_status) {
  was_heard_ = true;
  CHECK(!IsBefore(sequence, sent_first_) && IsBefore(sequence, sent_end_));
  // Those before it completed silently.
  while (sent_first_ != sequence) Complete(sent(sent_first_++), IBV_WC_SUCCESS);
  const Sent done = sent(sent_first_++);
  Complete(done, card_status);
  if (card_status != IBV_WC_SUCCESS) [[unlikely]] {
    Break(absl::UnavailableError(
        done.is_control
            ? absl::StrCat("the peer is gone: ", ibv_wc_status_str(card_status))
            : absl::StrCat("request ", done.id, " failed: ", ibv_wc_status_str(card_status))));
  }
  if (state_ == QueuePairState::kBroken) [[unlikely]]
    return ReportIfDrained();
  GoOn();
}

void CardQueuePair::GoOn() {
  if (is_owing_) SendOwed();
  // Who still waits afterwards asks again.
  if (!std::exchange(is_waited_for_, false)) return;
  for (const Lane& lane : lanes_) {
    if (lane.object != nullptr) lane.object->GoOn();
    if (state_ != QueuePairState::kReady) return;
  }
}

void CardQueuePair::OnReceive(const ibv_wc& received) {
  was_heard_ = true;
  --receives_;
  if (received.status != IBV_WC_SUCCESS) [[unlikely]] {
    // The first one may be how we learn of it.
    Break(absl::UnavailableError(
        absl::StrCat("the peer's requests broke the connection, or it has ended: ",
                     ibv_wc_status_str(received.status))));
  } else if (received.opcode == IBV_WC_RECV_RDMA_WITH_IMM) {
    OnKnock(ntohl(received.imm_data), received.byte_len);
  } else if (state_ == QueuePairState::kReady) {
    const uint32_t bits = (received.wc_flags & IBV_WC_WITH_IMM) != 0 ? ntohl(received.imm_data) : 0;
    const absl::optional<VerbsMessage> message = DecodeVerbsMessage(bits);
    absl::string_view bytes;
    if (received.byte_len > 0 && mail_ != nullptr) {
      bytes = {reinterpret_cast<const char*>(mail_->in.data()), received.byte_len};
    }
    if (message.has_value()) {
      OnMessage(*message, bytes);
    } else {
      BreakByPeer("it sent what is no message");
    }
    // Messages give back their own receive.
    if (state_ == QueuePairState::kReady) PostReceives(1);
  }
  if (state_ == QueuePairState::kBroken) [[unlikely]]
    return ReportIfDrained();
  // Whoever sends can receive, whether rdma_cm has said so or not.
  is_established_ = true;
  GoOn();
}

void CardQueuePair::OnKnock(uint32_t bits, uint32_t length_bytes) {
  const uint8_t number = LaneOfImmediate(bits);
  if (number >= lanes_.size()) return BreakByPeer("it knocks at a lane that there is not");
  Lane& lane = lanes_[number];
  if (lane.phase == Phase::kClosing) {
    // The peer does not know yet.
    if (state_ == QueuePairState::kReady) PostReceives(1);
    return;
  }
  const bool is_open = lane.phase == Phase::kOpen && lane.object != nullptr;
  if (is_open && lane.object->OnKnock(bits & kImmediateMax, length_bytes)) return;
  BreakByPeer("it knocks where it may not");
}

void CardQueuePair::PostReceives(uint32_t count) {
  if (count == 0) return;
  VerbsGroup::Scratch& scratch = *group_->scratch();
  if (scratch.receives.size() < count) scratch.receives.resize(count);
  // Immediates bring their bytes to where they say; of messages, those with bytes come one at a time, and all
  // have the one place for them.
  for (uint32_t i = 0; i < count; ++i) {
    ibv_recv_wr& receive = scratch.receives[i];
    receive = {};
    receive.wr_id = WorkId{.connection = place_.connection, .is_receive = true}.bits();
    receive.next = i + 1 < count ? &scratch.receives[i + 1] : nullptr;
    if (mail_ != nullptr) {
      receive.sg_list = &mail_->in_place;
      receive.num_sge = 1;
    }
  }
  ibv_recv_wr* refused = nullptr;
  const int error = ibv_post_recv(card(), scratch.receives.data(), &refused);
  if (error == 0) [[likely]] {
    receives_ += count;
    return;
  }
  receives_ += static_cast<uint32_t>(refused - scratch.receives.data());
  Break(absl::InternalError(absl::StrCat("the card takes no receives: ", strerror(error))));
}

}  // namespace acre::transport
