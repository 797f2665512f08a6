// RingSender: the sending end of a ring, without the network. Whoever owns it posts what it
// gathered.
//
// Frames are encoded into a staging ring in our memory, at the offsets that they will have in the
// peer's ring: adjacent frames leave as one WRITE, and a WRITE's source stays where it is until it
// is confirmed.
//
// Positions count words since the ring was made and only rise; a position's place is its remainder
// by the ring's length.
// Invariants:
//   head_ <= posted_, confirmed_ <= posted_ <= tail_, tail_ - min(head_, confirmed_) <= ring words.
//   head_:      up to here the peer has consumed and zeroed its ring (by its own word, judged).
//   confirmed_: up to here the WRITEs have completed, so their staging words may be overwritten.
// A stale head_ or confirmed_ only underestimates the room.
//   free words >= WordsReservedAt(tail_): the room that is set aside is there ("Reserved room" in
//   docs/rings.md).
//
// Threads:   confined to the channel's.
// Ownership: borrows the staging ring.
// Limits:    nothing allocates or blocks.

#ifndef ACRE_TRANSPORT_RING_SENDER_H_
#define ACRE_TRANSPORT_RING_SENDER_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "runtime/shared_word.h"
#include "transport/ring_frame.h"

namespace acre::transport {

class RingSender {
 public:
  // `staging`: ring_words words, a power of two within kRingBytesMin and kRingBytesMax (CHECKed).
  RingSender(SharedWord* staging, uint32_t ring_words, uint64_t random_seed);

  // Appends a frame, behind a wrap marker if need be. False: no room, nothing happened.
  // `payload` is padded with zero bytes to whole words; at most InlineBytesMax() (CHECKed).
  [[nodiscard]] bool Append(uint8_t type, FrameFlags flags, uint64_t view, const uint64_t* payload,
                            uint32_t payload_bytes);
  // Whether an Append() of that size has room, beside what is set aside.
  bool HasRoom(uint32_t payload_bytes) const;

  // Sets room aside for one frame of up to kReservedPayloadBytes: AppendReserved() uses it up,
  // Unreserve() gives it back. False: none now, or as much is set aside as may be.
  [[nodiscard]] bool Reserve();
  void Unreserve();
  // Appends an inline frame into room that was set aside. Requires: such room, at most
  // kReservedPayloadBytes (CHECKed).
  void AppendReserved(uint8_t type, uint64_t view, const uint64_t* payload, uint32_t payload_bytes);
  // False: as much is set aside as may be, credits or not.
  bool MayReserve() const;

  // Words that were appended and not posted: same place in the staging ring and in the peer's.
  struct Segment {
    uint32_t offset_words;
    uint32_t words;
  };
  // Fills in what is to be posted, in this order; returns how many segments, 0 to 2.
  size_t Pending(Segment segments[2]) const;
  // All of Pending() was posted.
  void OnPosted() { posted_ = tail_; }

  // The position up to which everything was posted: hand it to OnConfirmed() when the WRITE
  // completes.
  uint64_t posted() const { return posted_; }
  uint64_t confirmed() const { return confirmed_; }
  // Behind the last frame.
  uint64_t tail() const { return tail_; }
  void OnConfirmed(uint64_t posted_position);

  // Takes the peer's report. Returns why it makes no sense, or nullopt.
  [[nodiscard]] absl::optional<absl::string_view> OnCredit(uint64_t head_words);

  uint32_t ring_words() const { return ring_words_; }
  uint64_t escape() const { return encoder_.escape(); }

 private:
  struct Need {
    uint32_t frame_words;
    // From tail_ to the ring's end, marker included; 0 if the frame fits there.
    uint32_t skipped_words;
  };
  Need NeedOf(uint32_t payload_bytes) const;
  bool HasRoom(const Need& need) const;
  // Behind a wrap marker if need be. Requires: room.
  void AppendAt(const Need& need, uint8_t type, FrameFlags flags, uint64_t view,
                const uint64_t* payload, uint32_t payload_bytes);
  // The most that the reserved frames can take if the first begins at `position`.
  uint64_t WordsReservedAt(uint64_t position) const;
  uint64_t free_words() const;
  uint32_t OffsetOf(uint64_t position) const {
    return static_cast<uint32_t>(position) & (ring_words_ - 1);
  }

  SharedWord* const staging_;
  const uint32_t ring_words_;
  FrameEncoder encoder_;
  uint64_t head_ = 0;
  uint64_t confirmed_ = 0;
  uint64_t posted_ = 0;
  uint64_t tail_ = 0;
  // Behind the last wrap marker; more than posted_ only while the marker waits to be posted.
  uint64_t marker_end_ = 0;
  uint32_t reserved_frames_ = 0;
};

// The area that holds payloads until the peer has READ them: a circular buffer of contiguous
// pieces. A piece that does not fit before the area's end starts at offset 0; both ends derive
// positions from that.
//
// Positions count bytes since the area was made, skipped ones included. Invariant: head_ <= tail_
// <= head_ + area_bytes.
class PayloadArea {
 public:
  explicit PayloadArea(uint64_t area_bytes) : area_bytes_(area_bytes) {}

  // Sets aside whole words for `bytes` bytes. Returns their offset, or nullopt: no room now.
  [[nodiscard]] absl::optional<uint64_t> Allocate(uint64_t bytes);

  // Takes the peer's report. Returns why it makes no sense, or nullopt.
  [[nodiscard]] absl::optional<absl::string_view> OnCredit(uint64_t head_bytes);

 private:
  const uint64_t area_bytes_;
  uint64_t head_ = 0;
  uint64_t tail_ = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_RING_SENDER_H_
