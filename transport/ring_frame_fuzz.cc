// Arbitrary bytes as a ring's memory and arbitrary credits: a hostile peer, as the two ends see it.
//
// An input is a list of steps, each a byte that says what, then its operands:
//   0 store a word in the ring (place 1 B, value 8 B)     3 a credit of the ring (8 B)
//   1 store a valid frame head (place 1 B, head 4 B)      4 a credit of the payload area (8 B)
//   2 poll                                                5 a reference to be judged (24 B)
//                                                         6 append a frame (length 1 B)

#include <cstdint>
#include <cstring>
#include <memory>

#include "glog/logging.h"
#include "transport/ring_frame.h"
#include "transport/ring_receiver.h"
#include "transport/ring_sender.h"

namespace acre::transport {
namespace {

constexpr uint32_t kRingWords = kRingBytesMin / kWordBytes;
constexpr uint64_t kAreaBytes = 4096;

class Input {
 public:
  Input(const uint8_t* data, size_t bytes) : data_(data), bytes_(bytes) {}
  bool empty() const { return bytes_ == 0; }
  // Zeros behind the end.
  template <class T>
  T Take() {
    T value = {};
    const size_t taken = sizeof(T) < bytes_ ? sizeof(T) : bytes_;
    if (taken > 0) std::memcpy(&value, data_, taken);  // Private memory.
    data_ += taken;
    bytes_ -= taken;
    return value;
  }

 private:
  const uint8_t* data_;
  size_t bytes_;
};

struct Peer {
  // Exact allocations: asan sees a step outside.
  std::unique_ptr<SharedWord[]> ring{new SharedWord[kRingWords]()};
  std::unique_ptr<SharedWord[]> staging{new SharedWord[kRingWords]()};
  RingReceiver receiver{ring.get(), kRingWords};
  RingSender sender{staging.get(), kRingWords, /*random_seed=*/1};
  PayloadArea area{kAreaBytes};

  void Poll() {
    RingReceiver::Frame frame;
    const RingReceiver::Step step = receiver.Next(&frame);
    if (step == RingReceiver::Step::kInvalid) CHECK(!receiver.why_invalid().empty());
    if (step != RingReceiver::Step::kFrame) return;
    CHECK_NE(frame.type, 0);
    CHECK_LE(frame.payload.size(), InlineBytesMax(kRingWords));
    uint8_t sum = 0;
    for (const char c : frame.payload) sum = static_cast<uint8_t>(sum + c);
    volatile uint8_t all_was_read = sum;
    (void)all_was_read;
  }

  void Append(uint32_t payload_bytes) {
    static constexpr uint64_t kPayload[kRingWords] = {};
    if (!sender.Append(1, kFrameInline, 0, kPayload,
                       payload_bytes % (InlineBytesMax(kRingWords) + 1))) {
      return;
    }
    RingSender::Segment segments[2];
    for (size_t i = 0, count = sender.Pending(segments); i < count; ++i) {
      CHECK_LE(segments[i].offset_words + segments[i].words, kRingWords);
    }
    sender.OnPosted();
    sender.OnConfirmed(sender.posted());
    if (const auto offset = area.Allocate(payload_bytes))
      CHECK_LE(*offset + payload_bytes, kAreaBytes);
  }
};

void RunOne(Input input) {
  Peer peer;
  while (!input.empty()) {
    switch (input.Take<uint8_t>() % 7) {
      case 0: {
        const auto place = input.Take<uint8_t>();
        peer.ring[place % kRingWords].Store(input.Take<uint64_t>(), std::memory_order_relaxed);
        break;
      }
      case 1: {
        const auto place = input.Take<uint8_t>();
        const auto head = uint64_t{kFrameTag} << 32 | input.Take<uint32_t>();
        peer.ring[place % kRingWords].Store(head, std::memory_order_relaxed);
        break;
      }
      case 2:
        peer.Poll();
        break;
      case 3:
        (void)peer.sender.OnCredit(input.Take<uint64_t>());
        break;
      case 4:
        (void)peer.area.OnCredit(input.Take<uint64_t>());
        break;
      case 5: {
        const auto reference = input.Take<PayloadReference>();
        if (!WhyInvalid(reference, kAreaBytes)) {
          CHECK_LE(reference.offset_bytes + reference.length_bytes, kAreaBytes);
        }
        break;
      }
      case 6:
        peer.Append(input.Take<uint8_t>());
        break;
    }
  }
}

}  // namespace
}  // namespace acre::transport

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  acre::transport::RunOne(acre::transport::Input(data, bytes));
  return 0;
}
