// Requests and receives of a lane: what runs once per operation.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "glog/logging.h"
#include "transport/provider_rules.h"
#include "transport/verbs/verbs_key.h"
#include "transport/verbs/verbs_queue_pair.h"

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

bool IsReadOrAtomic(Opcode opcode, uint32_t length_bytes) {
  return IsAtomic(opcode) || (opcode == Opcode::kRead && length_bytes > 0);
}

}  // namespace

absl::Status VerbsQueuePair::DoPost(absl::Span<const WorkRequest> batch) {
  CHECK(!batch.empty());
  if (state() == QueuePairState::kConnecting) {
    return absl::FailedPreconditionError("still connecting: wait for kConnected");
  }
  MutexLock lock(group_->mutex());
  if (batch.size() > sends_max_ - outstanding_) {
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
    if (held_.empty() && verdict == CompletionStatus::kOk && CanStart(request)) [[likely]] {
      Stage(request, nullptr);
    } else {
      Hold(request, verdict);
    }
  }
  if (card_ == nullptr) return absl::OkStatus();
  card_->RingDoorbell();
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
  if (state_.load(std::memory_order_relaxed) != QueuePairState::kReady) return false;
  if (!card_->IsLaneUsable(lane_)) return false;
  if (request.opcode == Opcode::kWriteWithImm && credits_ == 0) return false;
  return !request.fence || context_->fences_on_card || reads_at_card_ == 0;
}

inline void VerbsQueuePair::Stage(const WorkRequest& request, const uint64_t* inline_words) {
  if (request.opcode == Opcode::kWriteWithImm) --credits_;
  ++at_card_;
  if (IsReadOrAtomic(request.opcode, request.length_bytes)) ++reads_at_card_;
  card_->Stage(lane_, request, inline_words);
}

void VerbsQueuePair::Hold(const WorkRequest& request, CompletionStatus verdict) {
  Held held = {request, verdict, {}};
  if (request.inline_data && request.length_bytes > 0) {
    const auto* words = reinterpret_cast<const uint64_t*>(request.local);
    held.inline_words.assign(words, words + request.length_bytes / kWordBytes);
  }
  held_.push_back(std::move(held));
  if (card_ != nullptr) card_->CallBack();
}

void VerbsQueuePair::GoOnSlowly() {
  if (is_ending_) {
    ReportEndIfDone();
  } else {
    StartHeld();
  }
}

void VerbsQueuePair::StartHeld() {
  const auto is_ready = [this] {
    return state_.load(std::memory_order_relaxed) == QueuePairState::kReady;
  };
  while (!held_.empty() && is_ready()) {
    const Held& held = held_.front();
    if (held.verdict != CompletionStatus::kOk) {
      if (at_card_ > 0) break;
      const WorkRequest request = held.request;
      const CompletionStatus verdict = held.verdict;
      held_.pop_front();
      ReportFailed(request, verdict);
      const absl::Status why = absl::UnavailableError(
          absl::StrCat("request ", request.id, " failed: ", CompletionStatusName(verdict)));
      if (card_->depths().lanes == 1) return card_->Break(why);
      return End(why);
    }
    if (!CanStart(held.request)) break;
    // Out of the queue first: what the card refuses comes back there.
    const Held started = std::move(held_.front());
    held_.pop_front();
    const bool has_bytes = !started.inline_words.empty();
    Stage(started.request, has_bytes ? started.inline_words.data() : nullptr);
    // Inline bytes are taken by the doorbell, and go with `started`.
    if (has_bytes || card_->is_scratch_full()) card_->RingDoorbell();
  }
  if (card_ == nullptr) return;
  card_->RingDoorbell();
  if (held_.empty() || card_ == nullptr) return;
  card_->CallBack();
  MarkIfHeldNeedsIt();
}

void VerbsQueuePair::MarkIfHeldNeedsIt() {
  if (held_.empty() || at_card_ == 0) return;
  if (state_.load(std::memory_order_relaxed) != QueuePairState::kReady) return;
  const Held& held = held_.front();
  const bool waits_for_sent =
      held.verdict != CompletionStatus::kOk || (held.request.fence && !context_->fences_on_card);
  if (waits_for_sent) card_->Mark();
}

void VerbsQueuePair::OnSent(const Done& done, ibv_wc_status card_status) {
  --at_card_;
  if (IsReadOrAtomic(done.opcode, done.length_bytes)) --reads_at_card_;
  const CompletionStatus status = StatusOf(card_status);
  if (status == CompletionStatus::kOk && !done.is_signaled) {
    ++unsignaled_;
    return;
  }
  completion_queue_->Push({.kind = CompletionKind::kSend,
                           .status = status,
                           .opcode = done.opcode,
                           .length_bytes = done.length_bytes,
                           .id = done.id,
                           .queue_pair = this},
                          std::exchange(unsignaled_, 0) + 1);
}

void VerbsQueuePair::OnNotTaken(uint64_t id, Opcode opcode, uint32_t length_bytes) {
  --at_card_;
  if (IsReadOrAtomic(opcode, length_bytes)) --reads_at_card_;
  WorkRequest request;
  request.id = id;
  request.opcode = opcode;
  request.length_bytes = length_bytes;
  held_.push_front({request, CompletionStatus::kFlushed, {}});
}

bool VerbsQueuePair::OnKnock(uint32_t immediate, uint32_t length_bytes) {
  if (receives_used_ >= receives_max_ + kControlReceivesPerLane) return false;
  ++receives_used_;
  completion_queue_->Push({.kind = CompletionKind::kReceive,
                           .opcode = Opcode::kWriteWithImm,
                           .immediate = immediate,
                           .length_bytes = length_bytes,
                           .queue_pair = this},
                          0);
  return true;
}

bool VerbsQueuePair::OnCredits(uint32_t returned) {
  if (returned > credits_max_ - credits_) return false;
  credits_ += returned;
  return true;
}

void VerbsQueuePair::OnReceiveTaken() {
  if (receives_used_ == 0) return;  // They were all given back when it ended.
  ++receives_taken_;
  if (owed_credits() > 0) card_->SendOwed();
}

// Lazily: a sender stalls when it has no credit left, so half of it unreturned stalls nobody for good.
uint32_t VerbsQueuePair::owed_credits() const {
  if (card_ == nullptr || receives_taken_ < (receives_max_ + 1) / 2) return 0;
  return receives_taken_;
}

void VerbsQueuePair::OnCreditsSent() {
  receives_used_ -= receives_taken_;
  receives_taken_ = 0;
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
