// The format of a message in a ring, and how it is written. Argument and pictures: docs/rings.md.
//
// A frame is a run of words, none of which is zero:
//
//   word 0   tag (32 bits) | flags (8) | type (8) | length of the frame in words (16)
//   word 1   the escape value: not zero, and equal to none of the words that it stands for below
//   word 2   view id        \.
//   word 3   payload bytes   > words that are zero travel as the escape value
//   word 4.. payload        /  (the last word padded with zero bytes)
//
// A ring is zero where no frame lies. So a frame has landed as soon as none of its words is zero,
// in whatever order the words of the WRITE came: no checksum, no trailer, no second WRITE.
//
// A frame never crosses the ring's end: when the next one does not fit before it, one word
// (kFrameWrap, length 1) sends the receiver back to the ring's first word. A payload over the
// inline limit stays with its sender: the frame carries a PayloadReference (kFrameReference), and
// the receiver READs the payload.

#ifndef ACRE_TRANSPORT_RING_FRAME_H_
#define ACRE_TRANSPORT_RING_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "runtime/shared_word.h"

namespace acre::transport {

// Longer payloads are READ by the receiver. 4 KiB, and what calls and records put before it.
constexpr uint32_t kInlineBytesMax = 4096 + 512;
constexpr uint32_t kPayloadBytesMax = (1 << 20) + 8192;  // A record of the largest size fits.

constexpr uint32_t kFrameTag = 0x4d524641;  // "AFRM". Changes with the format.
constexpr uint32_t kFrameHeaderWords = 4;
constexpr uint32_t kFrameWordsMax = kFrameHeaderWords + kInlineBytesMax / kWordBytes;
static_assert(kFrameWordsMax <= UINT16_MAX);

// Bounds of a ring. A frame takes at most a quarter of it, see "Room" in docs/rings.md.
constexpr uint32_t kRingBytesMin = 1024;
constexpr uint32_t kRingBytesMax = 1 << 24;

// The longest frame of a ring, and the longest payload that travels inside one.
constexpr uint32_t FrameWordsMax(uint32_t ring_words) {
  return ring_words / 4 < kFrameWordsMax ? ring_words / 4 : kFrameWordsMax;
}
constexpr uint32_t InlineBytesMax(uint32_t ring_words) {
  return (FrameWordsMax(ring_words) - kFrameHeaderWords) * uint32_t{kWordBytes};
}

// Words of a frame that carries this payload.
constexpr uint64_t FrameWords(uint64_t payload_bytes) {
  return kFrameHeaderWords + (payload_bytes + kWordBytes - 1) / kWordBytes;
}

// What fits into room that is set aside in a ring: 64 bytes, and what calls put before them.
constexpr uint32_t kReservedPayloadBytes = 72;
constexpr uint32_t kReservedFrameWords = static_cast<uint32_t>(FrameWords(kReservedPayloadBytes));
static_assert(kReservedPayloadBytes <= InlineBytesMax(kRingBytesMin / kWordBytes));

// Numbers are never reused. Flags exclude one another.
enum FrameFlags : uint8_t {
  kFrameInline = 0,
  kFrameWrap = 1,
  kFrameReference = 2,
};

// Word 0, taken apart.
struct FrameHead {
  uint16_t words = 0;  // Of the whole frame.
  uint8_t type = 0;    // Of the message, for the upper layer. Never 0, but in a wrap marker.
  uint8_t flags = kFrameInline;
};

constexpr uint64_t PackFrameHead(FrameHead head) {
  return uint64_t{kFrameTag} << 32 | uint64_t{head.flags} << 24 | uint64_t{head.type} << 16 |
         head.words;
}
constexpr uint64_t kWrapMarker = PackFrameHead({.words = 1, .type = 0, .flags = kFrameWrap});

// Takes word 0 of a peer's frame apart. `words_to_end`: from here to the ring's end.
// Returns why it cannot be one, naming the field, or nullopt: then *head is set and within bounds.
absl::optional<absl::string_view> WhyInvalid(uint64_t word0, uint32_t words_to_end,
                                             uint32_t frame_words_max, FrameHead* head);

// Checksums go chunk by chunk, so that a payload is copied and summed in one walk.
constexpr uint32_t kChecksumChunkBytes = kInlineBytesMax;

// The payload of a frame that carries no payload.
struct PayloadReference {
  uint64_t offset_bytes;  // In the sender's payload area. A multiple of 8.
  uint64_t length_bytes;  // Of the message. In the area it is padded to whole words.
  uint64_t checksum;  // XXH3 of the first chunk, that the seed of XXH3 of the second, and so on.
};
static_assert(sizeof(PayloadReference) == 24);
static_assert(std::has_unique_object_representations_v<PayloadReference>);

// Why a peer's reference must be refused, or nullopt. `area_bytes`: the peer's payload area.
absl::optional<absl::string_view> WhyInvalid(const PayloadReference& reference,
                                             uint64_t area_bytes);

// Writes frames. Keeps an escape value until a payload contains it.
//
// Threads: confined to the sender's.
class FrameEncoder {
 public:
  explicit FrameEncoder(uint64_t random_seed) : random_state_(random_seed) { ChangeEscape(); }

  // Writes a whole frame at `to`, FrameWords(payload_bytes) words long. `payload` is padded with
  // zero bytes to whole words. Nobody reads `to` before the caller posts it.
  void Encode(uint8_t type, FrameFlags flags, uint64_t view, const uint64_t* payload,
              uint32_t payload_bytes, SharedWord* to);

  // What the next frame will carry, if its payload allows: for tests that try to hit it.
  uint64_t escape() const { return escape_; }

 private:
  // Values never repeat within 2^64 - 1 changes, so that a payload of n words forces at most n of
  // them.
  void ChangeEscape();
  // False if the escape value occurs among the words.
  bool EncodeWords(uint64_t view, const uint64_t* payload, uint32_t payload_bytes, SharedWord* to);

  uint64_t random_state_;
  uint64_t escape_ = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_RING_FRAME_H_
