// RingReceiver: the receiving end of a ring, without the network. Finds, judges and consumes
// frames.
//
// The ring's memory belongs to us and is written by the peer, honest or not, at any moment. Each of
// its words is read once, into private memory, and only the private copy is judged and handed on. A
// frame that has partly landed is continued where the first zero word was met.
//
// Position: head() counts words consumed since the ring was made. Invariant: an honest peer finds
// every word outside of [head, its tail) zero, since a frame is zeroed before head() moves past it.
//
// Threads:   confined to the channel's, but for the peer's WRITEs.
// Ownership: borrows the ring.
// Limits:    nothing allocates or blocks, but for the message of the one error.

#ifndef ACRE_TRANSPORT_RING_RECEIVER_H_
#define ACRE_TRANSPORT_RING_RECEIVER_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/shared_word.h"
#include "transport/ring_frame.h"

namespace acre::transport {

class RingReceiver {
 public:
  struct Frame {
    uint8_t type = 0;
    bool reference =
        false;  // The payload is a PayloadReference, of the right size but not yet judged.
    uint64_t view = 0;
    absl::string_view payload;  // 8-byte aligned private memory, good until the next Next().
  };
  enum class Step : uint8_t { kNothing, kFrame, kInvalid };

  // `ring`: ring_words words, a power of two, zero.
  RingReceiver(SharedWord* ring, uint32_t ring_words);

  // Takes the next frame if all of it has landed. After kInvalid, whatever comes is kInvalid.
  Step Next(Frame* frame);

  // What was wrong: where, which field.
  const std::string& why_invalid() const { return why_invalid_; }
  uint64_t head() const { return head_; }

 private:
  // True when word 0 of the next frame is there and makes sense; follows wrap markers.
  Step TakeHead();
  // True when all words of the frame have landed in frame_.
  bool TakeWords();
  Step Invalid(absl::string_view why);
  uint32_t offset() const { return static_cast<uint32_t>(head_) & (ring_words_ - 1); }

  SharedWord* const ring_;
  const uint32_t ring_words_;
  const uint32_t frame_words_max_;
  uint64_t head_ = 0;
  // The frame at head_, as far as it was read: its words, zeros restored. frame_[0] is unused.
  FrameHead frame_head_;
  uint32_t words_taken_ = 0;
  std::array<uint64_t, kFrameWordsMax> frame_;
  std::string why_invalid_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_RING_RECEIVER_H_
