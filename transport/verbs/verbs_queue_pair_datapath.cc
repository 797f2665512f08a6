// Requests and receives of a verbs queue pair: everything that runs once per operation.

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <typeinfo>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/provider_rules.h"
#include "transport/verbs/verbs_key.h"
#include "transport/verbs/verbs_queue_pair.h"
#include "transport/verbs/verbs_region.h"

namespace acre::transport {
namespace {

CompletionStatus StatusOf(ibv_wc_status status) {
  switch (status) {
    case IBV_WC_SUCCESS:
      return CompletionStatus::kOk;
    case IBV_WC_WR_FLUSH_ERR:
      return CompletionStatus::kFlushed;
    case IBV_WC_RETRY_EXC_ERR:
    case IBV_WC_RNR_RETRY_EXC_ERR:
    case IBV_WC_RESP_TIMEOUT_ERR:
      return CompletionStatus::kRetryExceeded;
    // Bounds and rights were judged before it was sent, so the target does not know the key (any more).
    case IBV_WC_REM_ACCESS_ERR:
    case IBV_WC_REM_OP_ERR:
      return CompletionStatus::kBadKey;
    case IBV_WC_REM_INV_REQ_ERR:
    case IBV_WC_REM_ABORT_ERR:
      return CompletionStatus::kAccess;
    default:
      return CompletionStatus::kLocalError;
  }
}

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

bool IsReadOrAtomic(const WorkRequest& request) {
  return IsAtomic(request.opcode) || (request.opcode == Opcode::kRead && request.length_bytes > 0);
}

// Whether `sequence` comes before `other`, both of them within one send queue of each other.
bool IsBefore(uint32_t sequence, uint32_t other) {
  return static_cast<int32_t>(sequence - other) < 0;
}

}  // namespace

absl::Status VerbsQueuePair::DoPost(absl::Span<const WorkRequest> batch) {
  CHECK(!batch.empty());
  if (state_ == QueuePairState::kConnecting) {
    return absl::FailedPreconditionError("still connecting: wait for kConnected");
  }
  if (batch.size() > context_->device.send_queue_depth_max - outstanding_) {
    return absl::ResourceExhaustedError("the send queue is full: poll completions first");
  }
  outstanding_ += static_cast<uint32_t>(batch.size());
  for (const WorkRequest& request : batch) {
    CheckLocalBuffer(request, context_->device);
    if (is_reported_) [[unlikely]] {
      ReportFailed(request, CompletionStatus::kFlushed);
      continue;
    }
    const CompletionStatus verdict = Judge(request);
    if (state_ == QueuePairState::kReady && held_.empty() && verdict == CompletionStatus::kOk &&
        CanStart(request)) [[likely]] {
      Stage(request, nullptr);
    } else {
      Hold(request, verdict);
    }
  }
  RingDoorbell();
  if (!held_.empty()) [[unlikely]]
    StartHeld();
  return absl::OkStatus();
}

inline CompletionStatus VerbsQueuePair::Judge(const WorkRequest& request) const {
  const uint32_t length_bytes = LengthOf(request);
  if (length_bytes == 0) return CompletionStatus::kOk;
  const absl::optional<VerbsKey> key = DecodeVerbsKey(request.remote_key);
  if (!key.has_value()) return CompletionStatus::kBadKey;
  if (IsAtomic(request.opcode) && key->takes_no_atomics) return CompletionStatus::kAtomicDomain;
  if ((key->rights & RightFor(request.opcode)) == 0) return CompletionStatus::kAccess;
  if (!IsInBounds(request.remote_offset_bytes, length_bytes, key->size_bytes)) {
    return CompletionStatus::kBounds;
  }
  if (length_bytes > context_->card->message_bytes_max()) return CompletionStatus::kLocalError;
  return CompletionStatus::kOk;
}

inline bool VerbsQueuePair::CanStart(const WorkRequest& request) const {
  if (!is_established_) return false;
  if (request.opcode == Opcode::kWriteWithImm && credits_ == 0) return false;
  return !request.fence || context_->fences_on_card || !IsBefore(sent_first_, reads_end_);
}

// Adds it to the requests that the next doorbell tells the card of. `inline_words`: its bytes, if they
// are no longer where it says.
inline void VerbsQueuePair::Stage(const WorkRequest& request, const uint64_t* inline_words) {
  VerbsCompletionQueue::Scratch& scratch = *completion_queue_->scratch();
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
    send.imm_data = htonl(request.immediate);
    --credits_;
  }
  sent(sent_end_) = {.id = request.id,
                     .length_bytes = length_bytes,
                     .opcode = request.opcode,
                     .is_signaled = request.signaled,
                     .is_control = false};
  ++sent_end_;
  ++staged_;
  if (IsReadOrAtomic(request)) reads_end_ = sent_end_;
}

void VerbsQueuePair::StageControl(ibv_wr_opcode opcode, uint32_t immediate) {
  CHECK_LT(controls_, kControlSends);
  ibv_send_wr& send = completion_queue_->scratch()->requests[staged_];
  send = {};
  send.wr_id = WorkId{.connection = place_.connection, .sequence = sent_end_}.bits();
  send.opcode = opcode;
  send.send_flags = IBV_SEND_SIGNALED;
  send.imm_data = htonl(immediate);
  sent(sent_end_) = {.id = 0,
                     .length_bytes = 0,
                     .opcode = Opcode::kWrite,
                     .is_signaled = true,
                     .is_control = true};
  ++sent_end_;
  ++staged_;
  ++controls_;
}

void VerbsQueuePair::RingDoorbell() {
  if (staged_ == 0) return;
  std::vector<ibv_send_wr>& requests = completion_queue_->scratch()->requests;
  for (uint32_t i = 0; i + 1 < staged_; ++i) requests[i].next = &requests[i + 1];
  requests[staged_ - 1].next = nullptr;
  const uint32_t first = sent_end_ - std::exchange(staged_, 0);
  ibv_send_wr* refused = nullptr;
  const int error = ibv_post_send(card(), requests.data(), &refused);
  if (error == 0) [[likely]]
    return;
  // The card's driver took what came before `refused`. The rest fails here and now.
  const uint32_t taken_end = first + static_cast<uint32_t>(refused - requests.data());
  Break(absl::InternalError(absl::StrCat("the card takes no requests: ", strerror(error))));
  while (sent_end_ != taken_end) {
    const Sent& last = sent(--sent_end_);
    if (last.is_control) {
      --controls_;
      continue;
    }
    WorkRequest request;
    request.id = last.id;
    request.opcode = last.opcode;
    request.length_bytes = last.length_bytes;
    held_.push_front({request, CompletionStatus::kFlushed, {}});
  }
  ReportIfDrained();
}

void VerbsQueuePair::Hold(const WorkRequest& request, CompletionStatus verdict) {
  Held held = {request, verdict, {}};
  if (request.inline_data && request.length_bytes > 0) {
    const auto* words = reinterpret_cast<const uint64_t*>(request.local);
    held.inline_words.assign(words, words + request.length_bytes / kWordBytes);
  }
  held_.push_back(std::move(held));
}

void VerbsQueuePair::StartHeld() {
  while (!held_.empty() && state_ == QueuePairState::kReady) {
    const Held& held = held_.front();
    if (held.verdict != CompletionStatus::kOk) {
      if (!is_all_sent_done()) break;
      const WorkRequest request = held.request;
      const CompletionStatus verdict = held.verdict;
      held_.pop_front();
      ReportFailed(request, verdict);
      return Break(absl::UnavailableError(
          absl::StrCat("request ", request.id, " failed: ", CompletionStatusName(verdict))));
    }
    if (!CanStart(held.request)) break;
    Stage(held.request, held.inline_words.empty() ? nullptr : held.inline_words.data());
    // Inline bytes are taken by the doorbell, and go with `held`.
    if (!held.inline_words.empty() || staged_ == completion_queue_->scratch()->requests.size()) {
      RingDoorbell();
      if (state_ != QueuePairState::kReady) return;
    }
    held_.pop_front();
  }
  RingDoorbell();
  MarkIfHeldNeedsIt();
}

void VerbsQueuePair::MarkIfHeldNeedsIt() {
  if (held_.empty() || state_ != QueuePairState::kReady || is_all_sent_done()) return;
  const Held& held = held_.front();
  const bool waits_for_sent =
      held.verdict != CompletionStatus::kOk || (held.request.fence && !context_->fences_on_card);
  // With no room left, the completion of one of ours brings us here again.
  if (!waits_for_sent || !ends_unheard() || !has_room_for_control()) return;
  StageControl(IBV_WR_RDMA_WRITE, 0);
  RingDoorbell();
}

void VerbsQueuePair::OnSent(uint32_t sequence, ibv_wc_status card_status) {
  was_heard_ = true;
  CHECK(!IsBefore(sequence, sent_first_) && IsBefore(sequence, sent_end_));
  // Those before it completed silently.
  for (; sent_first_ != sequence; ++sent_first_) ++unsignaled_;
  const Sent done = sent(sent_first_++);
  // Keeps up, so that it never looks ahead of requests from 2^31 later.
  if (!IsBefore(sent_first_, reads_end_)) reads_end_ = sent_first_;
  const CompletionStatus status = StatusOf(card_status);
  if (done.is_control) {
    --controls_;
  } else if (status == CompletionStatus::kOk && !done.is_signaled) {
    ++unsignaled_;
  } else {
    completion_queue_->Push({.kind = CompletionKind::kSend,
                             .status = status,
                             .opcode = done.opcode,
                             .length_bytes = done.length_bytes,
                             .id = done.id,
                             .queue_pair = this},
                            std::exchange(unsignaled_, 0) + 1);
  }
  if (status != CompletionStatus::kOk) [[unlikely]] {
    Break(absl::UnavailableError(
        done.is_control
            ? absl::StrCat("the peer is gone: ", ibv_wc_status_str(card_status))
            : absl::StrCat("request ", done.id, " failed: ", ibv_wc_status_str(card_status))));
  }
  if (state_ == QueuePairState::kBroken) [[unlikely]]
    return ReportIfDrained();
  if (receives_taken_ > 0) [[unlikely]]
    ReturnCredits();
  if (!held_.empty()) [[unlikely]]
    StartHeld();
}

void VerbsQueuePair::OnReceive(const ibv_wc& received) {
  was_heard_ = true;
  --receives_;
  if (received.status != IBV_WC_SUCCESS) [[unlikely]] {
    // The first one may be how we learn of it.
    Break(absl::UnavailableError(
        absl::StrCat("the peer's requests broke the connection, or it has ended: ",
                     ibv_wc_status_str(received.status))));
  } else if (received.opcode == IBV_WC_RECV_RDMA_WITH_IMM) {
    completion_queue_->Push({.kind = CompletionKind::kReceive,
                             .opcode = Opcode::kWriteWithImm,
                             .immediate = ntohl(received.imm_data),
                             .length_bytes = received.byte_len,
                             .queue_pair = this},
                            0);
  } else {
    OnCredits((received.wc_flags & IBV_WC_WITH_IMM) != 0 ? ntohl(received.imm_data) : 0);
  }
  if (state_ == QueuePairState::kBroken) [[unlikely]]
    return ReportIfDrained();
  // Whoever sends can receive, whether rdma_cm has said so or not.
  is_established_ = true;
  if (!held_.empty()) [[unlikely]]
    StartHeld();
}

void VerbsQueuePair::OnCredits(uint32_t returned) {
  if (state_ == QueuePairState::kBroken) return;
  if (returned == 0 || returned > peer_.receive_queue_depth - credits_) {
    return Break(
        absl::UnavailableError("dropped the peer: it gave back credit that it never gave"));
  }
  credits_ += returned;
  PostReceives(1);
}

void VerbsQueuePair::OnReceiveTaken() {
  ++receives_taken_;
  ReturnCredits();
}

// Lazily: a sender stalls when it has no credit left, so half of it unreturned stalls nobody for good.
void VerbsQueuePair::ReturnCredits() {
  if (state_ != QueuePairState::kReady) return;
  if (receives_taken_ < (context_->device.receive_queue_depth + 1) / 2) return;
  if (!has_room_for_control()) return;  // The completion of one of ours brings us here again.
  const uint32_t returned = std::exchange(receives_taken_, 0);
  PostReceives(returned);
  if (state_ != QueuePairState::kReady) return;
  StageControl(IBV_WR_SEND_WITH_IMM, returned);
  RingDoorbell();
}

void VerbsQueuePair::PostReceives(uint32_t count) {
  std::vector<ibv_recv_wr>& receives = completion_queue_->scratch()->receives;
  // Immediates bring their bytes to where they say, credits have none: no buffers.
  for (uint32_t i = 0; i < count; ++i) {
    receives[i] = {};
    receives[i].wr_id = WorkId{.connection = place_.connection, .is_receive = true}.bits();
    receives[i].next = i + 1 < count ? &receives[i + 1] : nullptr;
  }
  ibv_recv_wr* refused = nullptr;
  const int error = ibv_post_recv(card(), receives.data(), &refused);
  if (error == 0) [[likely]] {
    receives_ += count;
    return;
  }
  receives_ += static_cast<uint32_t>(refused - receives.data());
  Break(absl::InternalError(absl::StrCat("the card takes no receives: ", strerror(error))));
}

void VerbsQueuePair::ReportFailed(const WorkRequest& request, CompletionStatus status) {
  completion_queue_->Push({.kind = CompletionKind::kSend,
                           .status = status,
                           .opcode = request.opcode,
                           .length_bytes = LengthOf(request),
                           .id = request.id,
                           .queue_pair = this},
                          std::exchange(unsignaled_, 0) + 1);
}

}  // namespace acre::transport
