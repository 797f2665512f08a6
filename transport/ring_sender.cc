#include "transport/ring_sender.h"

#include <algorithm>

#include "glog/logging.h"

namespace acre::transport {

RingSender::RingSender(SharedWord* staging, uint32_t ring_words, uint64_t random_seed)
    : staging_(staging), ring_words_(ring_words), encoder_(random_seed) {
  CHECK(std::has_single_bit(ring_words)) << ring_words;
  CHECK_GE(ring_words, kRingBytesMin / kWordBytes);
  CHECK_LE(ring_words, kRingBytesMax / kWordBytes);
}

RingSender::Need RingSender::NeedOf(uint32_t payload_bytes) const {
  const auto frame_words = static_cast<uint32_t>(FrameWords(payload_bytes));
  const uint32_t words_to_end = ring_words_ - OffsetOf(tail_);
  return {.frame_words = frame_words,
          .skipped_words = frame_words > words_to_end ? words_to_end : 0};
}

uint64_t RingSender::free_words() const {
  return ring_words_ - (tail_ - std::min(head_, confirmed_));
}

// As many as fit go before the ring's end, what is left there is skipped, the others go behind it:
// when all are of the largest size. Smaller ones take no more. Of them at least as many fit before the
// end, so at most as many lie behind it; and what lies before it, with what is skipped, ends at the
// ring's end either way. So room for this much is room for the next one, of whatever size, and for what
// this says of those left then. There is one end only, as all of it is less than a lap.
uint64_t RingSender::WordsReservedAt(uint64_t position) const {
  const uint64_t words_to_end = ring_words_ - OffsetOf(position);
  const uint64_t frames_to_end = words_to_end / kReservedFrameWords;
  if (reserved_frames_ <= frames_to_end) return uint64_t{reserved_frames_} * kReservedFrameWords;
  return words_to_end + (reserved_frames_ - frames_to_end) * kReservedFrameWords;
}

bool RingSender::HasRoom(const Need& need) const {
  const uint64_t words = need.frame_words + need.skipped_words;
  if (reserved_frames_ == 0) [[likely]]
    return words <= free_words();
  return words + WordsReservedAt(tail_ + words) <= free_words();
}

bool RingSender::HasRoom(uint32_t payload_bytes) const { return HasRoom(NeedOf(payload_bytes)); }

bool RingSender::MayReserve() const {
  // One more, and what may be skipped before it.
  return (reserved_frames_ + 2) * kReservedFrameWords - 1 <= ring_words_ / 4;
}

bool RingSender::Reserve() {
  if (!MayReserve()) return false;
  ++reserved_frames_;
  if (WordsReservedAt(tail_) <= free_words()) return true;
  --reserved_frames_;
  return false;
}

void RingSender::Unreserve() {
  CHECK_GT(reserved_frames_, 0u);
  --reserved_frames_;
}

void RingSender::AppendReserved(uint8_t type, uint64_t view, const uint64_t* payload,
                                uint32_t payload_bytes) {
  CHECK_LE(payload_bytes, kReservedPayloadBytes);
  Unreserve();
  const Need need = NeedOf(payload_bytes);
  CHECK(HasRoom(need)) << "reserved room is not there";
  AppendAt(need, type, kFrameInline, view, payload, payload_bytes);
}

bool RingSender::Append(uint8_t type, FrameFlags flags, uint64_t view, const uint64_t* payload,
                        uint32_t payload_bytes) {
  CHECK_LE(payload_bytes, InlineBytesMax(ring_words_));
  const Need need = NeedOf(payload_bytes);
  if (!HasRoom(need)) return false;
  AppendAt(need, type, flags, view, payload, payload_bytes);
  return true;
}

void RingSender::AppendAt(const Need& need, uint8_t type, FrameFlags flags, uint64_t view,
                          const uint64_t* payload, uint32_t payload_bytes) {
  if (need.skipped_words > 0) {
    // Relaxed: the staging ring is read by the fabric alone, after Post().
    staging_[OffsetOf(tail_)].Store(kWrapMarker, std::memory_order_relaxed);
    marker_end_ = tail_ + 1;
    tail_ += need.skipped_words;
  }
  encoder_.Encode(type, flags, view, payload, payload_bytes, staging_ + OffsetOf(tail_));
  tail_ += need.frame_words;
}

size_t RingSender::Pending(Segment segments[2]) const {
  if (posted_ == tail_) return 0;
  const uint64_t lap_end = (posted_ / ring_words_ + 1) * ring_words_;
  const uint64_t first_end =
      tail_ <= lap_end ? tail_ : (marker_end_ > posted_ ? marker_end_ : lap_end);
  segments[0] = {.offset_words = OffsetOf(posted_),
                 .words = static_cast<uint32_t>(first_end - posted_)};
  if (tail_ <= lap_end) return 1;
  segments[1] = {.offset_words = 0, .words = static_cast<uint32_t>(tail_ - lap_end)};
  return 2;
}

void RingSender::OnConfirmed(uint64_t posted_position) {
  CHECK_LE(posted_position, posted_);
  confirmed_ = std::max(confirmed_, posted_position);
}

absl::optional<absl::string_view> RingSender::OnCredit(uint64_t head_words) {
  if (head_words < head_) return "ring head: went back";
  if (head_words > posted_) return "ring head: beyond what was sent";
  head_ = head_words;
  return absl::nullopt;
}

absl::optional<uint64_t> PayloadArea::Allocate(uint64_t bytes) {
  const uint64_t padded_bytes = (bytes + kWordBytes - 1) / kWordBytes * kWordBytes;
  CHECK_LE(padded_bytes, area_bytes_);
  const uint64_t offset = tail_ % area_bytes_;
  const uint64_t to_end = area_bytes_ - offset;
  const uint64_t skipped_bytes = padded_bytes > to_end ? to_end : 0;
  if (tail_ + skipped_bytes + padded_bytes - head_ > area_bytes_) return absl::nullopt;
  tail_ += skipped_bytes + padded_bytes;
  return skipped_bytes > 0 ? 0 : offset;
}

absl::optional<absl::string_view> PayloadArea::OnCredit(uint64_t head_bytes) {
  if (head_bytes < head_) return "payload head: went back";
  if (head_bytes > tail_) return "payload head: beyond what was sent";
  head_ = head_bytes;
  return absl::nullopt;
}

}  // namespace acre::transport
