#include "transport/ring_receiver.h"

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/planted_bug.h"

namespace acre::transport {

RingReceiver::RingReceiver(SharedWord* ring, uint32_t ring_words)
    : ring_(ring), ring_words_(ring_words), frame_words_max_(FrameWordsMax(ring_words)) {
  CHECK(std::has_single_bit(ring_words)) << ring_words;
  CHECK_GE(ring_words, kRingBytesMin / kWordBytes);
  CHECK_LE(ring_words, kRingBytesMax / kWordBytes);
}

RingReceiver::Step RingReceiver::Next(Frame* frame) {
  if (words_taken_ == 0) {
    const Step step = TakeHead();
    if (step != Step::kFrame) return step;
  }
  if (!TakeWords()) return Step::kNothing;

  const uint32_t words = frame_head_.words;
  const uint64_t payload_bytes = frame_[3];
  if (payload_bytes > kInlineBytesMax || FrameWords(payload_bytes) != words) {
    return Invalid("payload length: does not agree with the frame's");
  }
  const uint64_t tail_bytes = payload_bytes % kWordBytes;
  if (tail_bytes != 0 && frame_[words - 1] >> (8 * tail_bytes) != 0) {
    return Invalid("padding: not zero");
  }
  const bool reference = frame_head_.flags == kFrameReference;
  if (reference && payload_bytes != sizeof(PayloadReference)) {
    return Invalid("payload length: not that of a reference");
  }
  // Zeroed before head() tells anybody: the credit WRITE that carries head() is posted after these
  // stores, so an honest peer's next frame lands on zeros, and nothing of ours lands on that frame.
  if (!IsPlanted(PlantedBug::kHeadBeforeZeroing)) ZeroShared(ring_ + offset(), words);
  head_ += words;
  words_taken_ = 0;
  frame->type = frame_head_.type;
  frame->reference = reference;
  frame->view = frame_[2];
  frame->payload = absl::string_view(
      reinterpret_cast<const char*>(frame_.data() + kFrameHeaderWords), payload_bytes);
  return Step::kFrame;
}

RingReceiver::Step RingReceiver::TakeHead() {
  // Twice at most: a wrap marker leads to the ring's first word, where no further one is valid.
  for (;;) {
    if (!why_invalid_.empty()) return Step::kInvalid;
    // Acquire, here and below: what the peer did before it posted the frame is visible to who reads
    // it.
    const uint64_t word0 = ring_[offset()].Load(std::memory_order_acquire);
    if (word0 == 0) return Step::kNothing;
    const uint32_t words_to_end = ring_words_ - offset();
    const auto why = WhyInvalid(word0, words_to_end, frame_words_max_, &frame_head_);
    if (why) return Invalid(*why);
    if (frame_head_.flags != kFrameWrap) {
      words_taken_ = 1;
      return Step::kFrame;
    }
    // Relaxed: published with head(), like the zeroing in Next().
    ring_[offset()].Store(0, std::memory_order_relaxed);
    head_ += words_to_end;
  }
}

bool RingReceiver::TakeWords() {
  const SharedWord* const words = ring_ + offset();
  uint32_t taken = words_taken_;
  if (taken == 1) {
    frame_[1] = words[1].Load(std::memory_order_acquire);
    if (frame_[1] == 0) return false;
    taken = 2;
  }
  const uint64_t escape = frame_[1];
  for (; taken < frame_head_.words; ++taken) {
    const uint64_t word = words[taken].Load(std::memory_order_acquire);
    if (word == 0 && !IsPlanted(PlantedBug::kFrameTakenEarly)) break;
    frame_[taken] = word == escape ? 0 : word;
  }
  words_taken_ = taken;
  return taken == frame_head_.words;
}

RingReceiver::Step RingReceiver::Invalid(absl::string_view why) {
  words_taken_ = 0;
  why_invalid_ = absl::StrCat("frame at word ", head_, " of the ring: ", why);
  return Step::kInvalid;
}

}  // namespace acre::transport
