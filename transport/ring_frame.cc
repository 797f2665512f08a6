#include "transport/ring_frame.h"

namespace acre::transport {

absl::optional<absl::string_view> WhyInvalid(uint64_t word0, uint32_t words_to_end,
                                             uint32_t frame_words_max, FrameHead* head) {
  if (word0 >> 32 != kFrameTag) return "tag: this is no frame";
  *head = {.words = static_cast<uint16_t>(word0),
           .type = static_cast<uint8_t>(word0 >> 16),
           .flags = static_cast<uint8_t>(word0 >> 24)};
  if (head->flags == kFrameWrap) {
    if (head->words != 1) return "length: of a wrap marker is not 1";
    if (head->type != 0) return "type: of a wrap marker is not 0";
    // Whatever a fair sender has to send fits otherwise. At offset 0 this also ends a chase in
    // circles.
    if (words_to_end >= frame_words_max) return "flags: a wrap marker where every frame fits";
    return absl::nullopt;
  }
  if (head->flags != kFrameInline && head->flags != kFrameReference) return "flags: unknown";
  if (head->type == 0) return "type: 0";
  if (head->words < kFrameHeaderWords) return "length: shorter than a header";
  if (head->words > frame_words_max) return "length: longer than the longest frame";
  if (head->words > words_to_end) return "length: beyond the ring's end";
  return absl::nullopt;
}

absl::optional<absl::string_view> WhyInvalid(const PayloadReference& reference,
                                             uint64_t area_bytes) {
  if (reference.length_bytes == 0) return "reference: length 0";
  if (reference.length_bytes > kPayloadBytesMax)
    return "reference: length over the largest payload";
  if (reference.offset_bytes % kWordBytes != 0) return "reference: offset not aligned";
  const uint64_t padded_bytes = (reference.length_bytes + kWordBytes - 1) / kWordBytes * kWordBytes;
  if (padded_bytes > area_bytes || reference.offset_bytes > area_bytes - padded_bytes) {
    return "reference: beyond the payload area";
  }
  return absl::nullopt;
}

void FrameEncoder::ChangeEscape() {
  do {  // splitmix64: a bijection of its counter.
    random_state_ += 0x9e3779b97f4a7c15;
    uint64_t mixed = random_state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    escape_ = mixed ^ (mixed >> 31);
  } while (escape_ == 0);
}

void FrameEncoder::Encode(uint8_t type, FrameFlags flags, uint64_t view, const uint64_t* payload,
                          uint32_t payload_bytes, SharedWord* to) {
  const FrameHead head = {.words = static_cast<uint16_t>(FrameWords(payload_bytes)),
                          .type = type,
                          .flags = static_cast<uint8_t>(flags)};
  // Relaxed: the staging ring is read by the fabric alone, after Post().
  to[0].Store(PackFrameHead(head), std::memory_order_relaxed);
  while (!EncodeWords(view, payload, payload_bytes, to)) ChangeEscape();
  to[1].Store(escape_, std::memory_order_relaxed);
}

bool FrameEncoder::EncodeWords(uint64_t view, const uint64_t* payload, uint32_t payload_bytes,
                               SharedWord* to) {
  const uint64_t escape = escape_;
  bool occurs = view == escape || payload_bytes == escape;
  to[2].Store(view == 0 ? escape : view, std::memory_order_relaxed);
  to[3].Store(payload_bytes == 0 ? escape : payload_bytes, std::memory_order_relaxed);
  const size_t words = FrameWords(payload_bytes) - kFrameHeaderWords;
  for (size_t i = 0; i < words; ++i) {
    const uint64_t word = payload[i];
    occurs |= word == escape;
    to[kFrameHeaderWords + i].Store(word == 0 ? escape : word, std::memory_order_relaxed);
  }
  return !occurs;
}

}  // namespace acre::transport
