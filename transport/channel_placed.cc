// Messages of which both sides know where they stand: sending them, and taking them without a peer.

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/planted_bug.h"
#include "transport/channel.h"

namespace acre::transport {
namespace {

uint32_t BytesOf(absl::Span<const absl::string_view> parts) {
  size_t bytes = 0;
  for (const absl::string_view part : parts) bytes += part.size();
  CHECK_LE(bytes, kInlineBytesMax);
  return static_cast<uint32_t>(bytes);
}

}  // namespace

// ---- Sending.

absl::Status Channel::SendPlaced(uint8_t type, uint64_t view,
                                 absl::Span<const absl::string_view> parts, uint64_t* position) {
  CHECK_NE(type, 0);
  if (!usable()) return WhyUnusable();
  const uint32_t bytes = BytesOf(parts);
  CHECK_LE(bytes, InlineBytesMax(ring_words_));
  absl::Status sent = SendInline(type, view, parts, bytes);
  if (!sent.ok()) return sent;
  *position = wanted_placed_ = sender_->tail();
  return absl::OkStatus();
}

absl::Status Channel::SendReserved(uint8_t type, uint64_t view,
                                   absl::Span<const absl::string_view> parts, uint64_t* position) {
  CHECK_NE(type, 0);
  if (!usable()) return WhyUnusable();
  const uint32_t bytes = BytesOf(parts);
  CHECK_LE(bytes, kReservedPayloadBytes);
  Gather(parts, bytes);
  sender_->AppendReserved(type, view, gathered_.data(), bytes);
  *position = wanted_placed_ = sender_->tail();
  return absl::OkStatus();
}

absl::Status Channel::ReserveRoom() {
  if (!usable()) return WhyUnusable();
  if (sender_->Reserve()) return absl::OkStatus();
  if (!sender_->MayReserve()) return no_room_;
  if (!TakeCredits()) return WhyUnusable();
  return sender_->Reserve() ? absl::OkStatus() : no_room_;
}

void Channel::UnreserveRoom() { sender_->Unreserve(); }

// ---- The peer's gate.
//
// Why OK means that the peer's Drain() finds the message. The sender stores (or WRITEs) the frame,
// then looks at the gate; the receiver closes the gate, then looks at the ring. Both have a full
// fence between the two: LookForPlaced(), or F3 behind the WRITE; CloseGate(). So if the sender
// finds the gate open, its look comes before the close, and the frame before the receiver's look
// (Dekker). Where there is no look the end of the receiver's queue pair stands in for the gate
// (QueuePair::ack_is_placement).

WorkRequest Channel::GateRead(uint64_t later) const {
  return RequestFor(Opcode::kRead, NextScratchLine(later), kWordBytes,
                    peer_.words_offset_bytes + kGateOffsetBytes);
}

void Channel::OnGateRead(uint64_t request) {
  const uint64_t bit = uint64_t{1} << request % kRequestsMax;
  if ((gate_reads_ & bit) == 0) return;
  gate_reads_ &= ~bit;
  // The line that the READ had: requests are counted from 1, lines from 0. Landed before its
  // completion (F8); a peer that writes here deceives nobody but itself.
  const SharedWord* const line =
      words_at(scratch_offset_bytes_ + (request - 1) % kRequestsMax * kLineBytes);
  if (line[0].Load(std::memory_order_relaxed) != 0) return BreakByGate();
  placed_ = ring_position_of_request_[request % kRequestsMax];
}

void Channel::LookForPlaced() {
  // kRead: what it brought is looked at when it completes.
  if (gate_look_ == GateLook::kRead || sender_->confirmed() <= placed_) return;
  if (gate_look_ == GateLook::kMapped) {
    // Our stores of the frames, made when they were posted, are visible before this load samples the
    // gate. The peer stores the gate once, then a fence, then loads the ring: CloseGate().
    // (Polling the WRITE's completion was a fence already, by what shared memory does for F8; F8 does
    // not promise it.)
    StoreLoadBarrier();
    if (peer_gate_->Load(std::memory_order_acquire) != 0) return BreakByGate();
  }
  placed_ = sender_->confirmed();
}

void Channel::BreakByGate() {
  Break(absl::UnavailableError(absl::StrCat("peer ", peer_name_, " has given us up")));
}

// ---- Our gate.

void Channel::CloseGate() {
  if (is_gate_closed_) return;
  is_gate_closed_ = true;
  // Loaded by the peer's CPU where it has our region mapped, sampled by its READs elsewhere. The fence:
  // visible to both before Drain() loads the ring.
  words_at(offer_.words_offset_bytes + kGateOffsetBytes)->Store(1, std::memory_order_release);
  if (!IsPlanted(PlantedBug::kGateWithoutFence)) StoreLoadBarrier();
}

size_t Channel::Drain(Receiver* receiver) {
  CHECK(is_gate_closed_) << "drained while the peer may think that it is heard";
  Break(absl::UnavailableError(absl::StrCat("peer ", peer_name_, " was given up")));
  if (!attached_) return 0;
  // An honest peer has no more than a ring in front of it. Another one could go on for ever, where it
  // need not wait for our reports.
  const uint64_t end = receiver_->head() + ring_words_;
  size_t delivered = 0;
  if (is_deferred_ && DeliverDeferred(receiver)) ++delivered;
  while (!is_deferred_ && !heard_garbage_ && receiver_->head() < end) {
    RingReceiver::Frame frame;
    // Zeroes what it takes, which harms nobody: no room is reported any more.
    const RingReceiver::Step step = receiver_->Next(&frame);
    if (step == RingReceiver::Step::kNothing) break;
    if (step == RingReceiver::Step::kInvalid) {
      BreakByFrame(receiver_->why_invalid());
    } else if (!frame.reference && DeliverInline(receiver, frame)) {
      ++delivered;
    }
  }
  return delivered;
}

}  // namespace acre::transport
