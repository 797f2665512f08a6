// The two ends of a ring without a network: the test is the network, and lands words as it likes.

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "transport/ring_frame.h"
#include "transport/ring_receiver.h"
#include "transport/ring_sender.h"

namespace acre::transport {
namespace {

using ::testing::HasSubstr;
using Step = RingReceiver::Step;

constexpr uint32_t kRingWords = kRingBytesMin / kWordBytes;
constexpr uint8_t kType = 7;
constexpr uint64_t kView = 0;

// A word of memory that lies on its way.
struct Flying {
  uint32_t offset_words;
  uint64_t value;
};

// Two ends, a staging ring, a ring, and guard words around the latter.
class Ring {
 public:
  explicit Ring(uint32_t ring_words = kRingWords)
      : staging_(new SharedWord[ring_words]()),
        memory_(new SharedWord[ring_words + 2 * kGuardWords]()),
        sender(staging_.get(), ring_words, /*random_seed=*/1),
        receiver(memory_.get() + kGuardWords, ring_words),
        ring_words_(ring_words) {
    for (uint32_t i = 0; i < kGuardWords; ++i) {
      memory_[i].Store(kGuard, std::memory_order_relaxed);
      memory_[kGuardWords + ring_words + i].Store(kGuard, std::memory_order_relaxed);
    }
  }
  ~Ring() {
    for (uint32_t i = 0; i < kGuardWords; ++i) {
      EXPECT_EQ(memory_[i].Load(std::memory_order_relaxed), kGuard);
      EXPECT_EQ(memory_[kGuardWords + ring_words_ + i].Load(std::memory_order_relaxed), kGuard);
    }
  }

  SharedWord* words() { return memory_.get() + kGuardWords; }

  bool Send(const std::string& payload, uint8_t type = kType, uint64_t view = kView) {
    std::vector<uint64_t> words((payload.size() + kWordBytes - 1) / kWordBytes + 1);
    std::memcpy(words.data(), payload.data(), payload.size());  // Private memory.
    return sender.Append(type, kFrameInline, view, words.data(),
                         static_cast<uint32_t>(payload.size()));
  }

  // Posts what is pending, as words in ascending order.
  std::vector<Flying> Post() {
    RingSender::Segment segments[2];
    std::vector<Flying> flying;
    const size_t count = sender.Pending(segments);
    for (size_t i = 0; i < count; ++i) {
      for (uint32_t w = 0; w < segments[i].words; ++w) {
        const uint32_t offset = segments[i].offset_words + w;
        flying.push_back({offset, staging_[offset].Load(std::memory_order_relaxed)});
      }
    }
    sender.OnPosted();
    return flying;
  }
  void Land(const Flying& word) {
    ASSERT_NE(word.value, 0u) << "a zero word on its way";
    ASSERT_EQ(words()[word.offset_words].Load(std::memory_order_relaxed), 0u)
        << "lands on what was not consumed";
    words()[word.offset_words].Store(word.value, std::memory_order_release);
  }
  void LandAll() {
    for (const Flying& word : Post()) Land(word);
  }
  // Sender and network learn of all that has happened.
  void Settle() {
    sender.OnConfirmed(sender.posted());
    EXPECT_EQ(sender.OnCredit(receiver.head()), absl::nullopt);
  }
  absl::optional<std::string> Receive() {
    RingReceiver::Frame frame;
    const Step step = receiver.Next(&frame);
    EXPECT_NE(step, Step::kInvalid) << receiver.why_invalid();
    if (step != Step::kFrame) return absl::nullopt;
    return std::string(frame.payload);
  }

 private:
  static constexpr uint32_t kGuardWords = 64;
  static constexpr uint64_t kGuard = 0x5afe5afe5afe5afe;

  std::unique_ptr<SharedWord[]> staging_;
  std::unique_ptr<SharedWord[]> memory_;

 public:
  RingSender sender;
  RingReceiver receiver;

 private:
  const uint32_t ring_words_;
};

std::string RandomPayload(std::mt19937_64& random, size_t bytes) {
  std::string payload(bytes, '\0');
  for (char& c : payload) c = random() % 4 == 0 ? '\0' : static_cast<char>(random());
  return payload;
}

std::string BytesOf(uint64_t word) {
  return std::string(reinterpret_cast<const char*>(&word), sizeof(word));
}

// Goal: every payload comes out as it went in, whatever its length and bytes.
TEST(RingTest, PayloadsOfEveryLengthRoundTrip) {
  std::mt19937_64 random(1);
  Ring ring(1 << 12);
  for (uint32_t bytes = 0; bytes <= kInlineBytesMax; bytes += bytes < 200 ? 1 : 61) {
    for (const std::string& payload :
         {RandomPayload(random, bytes), std::string(bytes, '\0'), std::string(bytes, '\xff')}) {
      ASSERT_TRUE(ring.Send(payload));
      ring.LandAll();
      const auto received = ring.Receive();
      ASSERT_TRUE(received.has_value());
      ASSERT_EQ(*received, payload);
      ring.Settle();
    }
  }
}

TEST(RingTest, TypeAndViewRoundTrip) {
  Ring ring;
  for (const uint64_t view : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}, ring.sender.escape()}) {
    for (const int type : {1, 128, 255}) {
      ASSERT_TRUE(ring.Send("x", static_cast<uint8_t>(type), view));
      ring.LandAll();
      RingReceiver::Frame frame;
      ASSERT_EQ(ring.receiver.Next(&frame), Step::kFrame);
      EXPECT_EQ(frame.type, type);
      EXPECT_EQ(frame.view, view);
      EXPECT_FALSE(frame.reference);
      ring.Settle();
    }
  }
}

// Goal: a payload that contains the escape value makes the sender choose another one.
TEST(RingTest, PayloadsThatContainTheEscapeValueRoundTrip) {
  Ring ring;
  for (int i = 0; i < 100; ++i) {
    const uint64_t escape = ring.sender.escape();
    std::string payload;
    for (const uint64_t word : {uint64_t{0}, escape, uint64_t{0}, escape ^ 1, escape}) {
      payload += BytesOf(word);
    }
    ASSERT_TRUE(ring.Send(payload));
    EXPECT_NE(ring.sender.escape(), escape);
    ring.LandAll();
    ASSERT_EQ(ring.Receive(), payload);
    ring.Settle();
  }
}

// Goal: in each of the 5040 orders in which the 7 words of a frame can land, it is delivered with
// the last word and not before.
TEST(RingTest, FrameIsDeliveredWithItsLastWordInEveryLandingOrder) {
  const std::string payload = BytesOf(0) + BytesOf(42) + "xyz";
  Ring ring;
  std::array<size_t, 7> order;
  std::iota(order.begin(), order.end(), 0);
  do {
    ASSERT_TRUE(ring.Send(payload));
    const std::vector<Flying> flying = ring.Post();
    const bool has_marker = flying.size() != order.size();
    if (has_marker) {  // It wrapped: the marker lands first, which is the uninteresting order.
      ring.Land(flying.front());
    }
    for (size_t i = 0; i < order.size(); ++i) {
      ASSERT_EQ(ring.Receive(), absl::nullopt);
      ring.Land(flying[order[i] + (has_marker ? 1 : 0)]);
    }
    ASSERT_EQ(ring.Receive(), payload);
    ring.Settle();
  } while (std::next_permutation(order.begin(), order.end()));
}

// Goal: batches of frames that wrap, landing in random order with polls in between, arrive once,
// whole and in order, each as soon as it and all before it have landed.
TEST(RingTest, BatchesLandingInRandomOrderArriveInOrder) {
  std::mt19937_64 random(2);
  Ring ring(256);
  uint64_t received = 0;
  for (int round = 0; round < 3000; ++round) {
    std::deque<std::string> expected;
    for (;;) {
      std::string payload = RandomPayload(random, random() % (InlineBytesMax(256) + 1));
      if (!ring.Send(payload)) break;
      expected.push_back(std::move(payload));
    }
    std::vector<Flying> flying = ring.Post();
    std::shuffle(flying.begin(), flying.end(), random);
    for (const Flying& word : flying) {
      ring.Land(word);
      while (auto payload = ring.Receive()) {
        ASSERT_FALSE(expected.empty());
        ASSERT_EQ(*payload, expected.front());
        expected.pop_front();
        ++received;
      }
    }
    ASSERT_TRUE(expected.empty()) << expected.size() << " frames did not arrive";
    ring.Settle();
  }
  EXPECT_GT(received, 3000u);
  for (uint32_t i = 0; i < 256; ++i) {
    ASSERT_EQ(ring.words()[i].Load(std::memory_order_relaxed), 0u) << "not zeroed: word " << i;
  }
}

// Goal: frames of every length meet the ring's end at every distance.
TEST(RingTest, WrapsAtEveryAlignment) {
  for (uint32_t start = 0; start < kRingWords; ++start) {
    for (uint32_t words = 0; words <= InlineBytesMax(kRingWords) / kWordBytes; ++words) {
      Ring ring;
      // Frames of 4 and 5 words reach any place from 12 on; before it the ring's end is far away.
      uint32_t place = 0;
      while (place < start && start - place >= 4) {
        const bool five = (start - place) % 4 != 0 && start - place != 4;
        ASSERT_TRUE(ring.Send(five ? "12345678" : ""));
        ring.LandAll();
        ASSERT_TRUE(ring.Receive().has_value());
        ring.Settle();
        place += five ? 5 : 4;
      }
      const std::string payload(words * kWordBytes, 'w');
      for (int i = 0; i < 2; ++i) {
        ASSERT_TRUE(ring.Send(payload)) << start << " " << words;
        ring.LandAll();
        ASSERT_EQ(ring.Receive(), payload) << start << " " << words;
        ring.Settle();
      }
    }
  }
}

// Goal: a full ring refuses, loses nothing, and takes more after the peer's report, but not before
// both the report and the completion of its own WRITEs.
TEST(RingTest, FullRingRefusesUntilConsumedAndConfirmed) {
  Ring ring;
  const std::string payload(5 * kWordBytes, 'f');
  int sent = 0;
  while (ring.Send(payload)) ++sent;
  EXPECT_GE(sent, 10);
  ring.LandAll();
  for (int i = 0; i < sent; ++i) ASSERT_EQ(ring.Receive(), payload);
  EXPECT_FALSE(ring.Send(payload));
  EXPECT_EQ(ring.sender.OnCredit(ring.receiver.head()), absl::nullopt);
  EXPECT_FALSE(ring.Send(payload)) << "the WRITE may still read the staging ring";
  ring.sender.OnConfirmed(ring.sender.posted());
  EXPECT_TRUE(ring.Send(payload));
}

// Goal: with reports and confirmations as lazy as a channel's, the largest frame always finds room.
TEST(RingTest, LazyReportsLeaveRoomForTheLargestFrame) {
  std::mt19937_64 random(3);
  Ring ring;
  uint64_t reported = 0;
  for (int i = 0; i < 20000; ++i) {
    const bool largest = random() % 2 == 0;
    const std::string payload(largest ? InlineBytesMax(kRingWords) : random() % 100, 'l');
    ASSERT_TRUE(ring.Send(payload)) << i;
    ring.LandAll();
    ASSERT_EQ(ring.Receive(), payload);
    ring.sender.OnConfirmed(ring.sender.posted());
    if (ring.receiver.head() - reported >= kRingWords / 4) {
      reported = ring.receiver.head();
      ASSERT_EQ(ring.sender.OnCredit(reported), absl::nullopt);
    }
  }
}

// Goal: the same beside all the room that may be set aside, with rings of several sizes. Laziest of all: credit and
// confirmation come when a quarter of the ring is due, and no earlier.
TEST(RingTest, LazyReportsLeaveRoomBesideWhatIsReserved) {
  for (const uint32_t ring_words : {128u, 1024u, 1u << 15}) {
    std::mt19937_64 random(4);
    std::vector<SharedWord> staging(ring_words);
    RingSender sender(staging.data(), ring_words, 1);
    int reserved = 0;
    while (sender.Reserve()) ++reserved;
    EXPECT_GE(reserved, 1);
    EXPECT_FALSE(sender.MayReserve());
    const std::vector<uint64_t> payload(kInlineBytesMax / kWordBytes, 7);
    uint64_t confirmed = 0;
    uint64_t reported = 0;
    for (int i = 0; i < 20000; ++i) {
      const uint32_t longest = InlineBytesMax(ring_words);
      const uint32_t bytes =
          random() % 2 == 0 ? longest : static_cast<uint32_t>(random() % longest);
      ASSERT_TRUE(sender.Append(kType, kFrameInline, 0, payload.data(), bytes)) << i;
      sender.OnPosted();
      if (sender.tail() - confirmed >= ring_words / 4) {
        sender.OnConfirmed(confirmed = sender.posted());
      }
      if (sender.tail() - reported >= ring_words / 4) {
        ASSERT_EQ(sender.OnCredit(reported = sender.tail()), absl::nullopt);
      }
    }
  }
}

// Goal: what was set aside is there, whatever else was sent, and however large the frames are that use it.
// (AppendReserved() CHECKs it.)
TEST(RingTest, ReservedRoomIsAlwaysThere) {
  constexpr uint32_t kWords = 512;
  std::mt19937_64 random(5);
  std::vector<SharedWord> staging(kWords);
  RingSender sender(staging.data(), kWords, 1);
  const std::vector<uint64_t> payload(kInlineBytesMax / kWordBytes, 7);
  int reserved = 0;
  int used = 0;
  int refused = 0;
  for (int i = 0; i < 200'000; ++i) {
    switch (random() % 8) {
      case 0:
      case 1:
        if (sender.Reserve()) ++reserved;
        break;
      case 2:
        if (reserved == 0 || random() % 4 != 0) break;
        sender.Unreserve();
        --reserved;
        break;
      case 3:
      case 4: {  // One, or all at once.
        const int count = random() % 8 == 0 ? reserved : std::min(reserved, 1);
        for (int n = 0; n < count; ++n) {
          const auto bytes = static_cast<uint32_t>(random() % (kReservedPayloadBytes + 1));
          sender.AppendReserved(kType, 0, payload.data(), bytes);
          --reserved;
          ++used;
        }
        break;
      }
      case 5:
      case 6: {
        const auto bytes = static_cast<uint32_t>(random() % (InlineBytesMax(kWords) + 1));
        if (!sender.Append(kType, kFrameInline, 0, payload.data(), bytes)) ++refused;
        break;
      }
      default:
        if (random() % 4 != 0) break;
        sender.OnPosted();
        sender.OnConfirmed(sender.posted());
        ASSERT_EQ(sender.OnCredit(sender.posted()), absl::nullopt);
    }
  }
  EXPECT_GT(used, 1'000);
  EXPECT_GT(refused, 1'000);
}

TEST(RingTest, SenderJudgesCredits) {
  Ring ring;
  ASSERT_TRUE(ring.Send("payload"));
  EXPECT_NE(ring.sender.OnCredit(1), absl::nullopt) << "nothing was posted yet";
  ring.LandAll();
  EXPECT_EQ(ring.sender.OnCredit(5), absl::nullopt);
  EXPECT_THAT(std::string(ring.sender.OnCredit(4).value()), HasSubstr("went back"));
  EXPECT_THAT(std::string(ring.sender.OnCredit(6).value()), HasSubstr("beyond"));
  EXPECT_NE(ring.sender.OnCredit(~uint64_t{0}), absl::nullopt);
  EXPECT_EQ(ring.sender.OnCredit(5), absl::nullopt);
}

// ---- Hostile frames.

struct BadFrame {
  const char* field;
  std::vector<uint64_t> words;
};

uint64_t Head(uint64_t words, uint64_t type = kType, uint64_t flags = kFrameInline) {
  return uint64_t{kFrameTag} << 32 | flags << 24 | type << 16 | words;
}

std::vector<BadFrame> BadFrames() {
  constexpr uint64_t kEscape = 0xe5c;
  return {
      {"tag", {1}},
      {"tag", {Head(4) ^ uint64_t{1} << 63}},
      {"type", {Head(4, 0)}},
      {"flags", {Head(4, kType, 4)}},
      {"flags", {Head(4, kType, kFrameWrap | kFrameReference)}},
      {"length", {Head(3)}},
      {"length", {Head(kRingWords / 4 + 1)}},
      {"length", {Head(0xffff)}},
      {"flags", {kWrapMarker}},
      {"length", {Head(2, 0, kFrameWrap)}},
      {"type", {Head(1, 1, kFrameWrap)}},
      {"payload length", {Head(4), kEscape, kEscape, 1}},
      {"payload length", {Head(5), kEscape, kEscape, 9, 1}},
      {"payload length", {Head(5), kEscape, kEscape, kEscape, 1}},
      {"payload length", {Head(4), kEscape, kEscape, ~uint64_t{0}}},
      {"padding", {Head(5), kEscape, kEscape, 7, ~uint64_t{0}}},
      {"payload length", {Head(5, kType, kFrameReference), kEscape, kEscape, 8, 1}},
  };
}

// Goal: each bad field is named, nothing is delivered then or later, and nothing else is touched.
TEST(RingTest, BadFramesAreNamedAndEndTheRing) {
  for (const BadFrame& bad : BadFrames()) {
    Ring ring;
    for (size_t i = 0; i < bad.words.size(); ++i) {
      ring.words()[i].Store(bad.words[i], std::memory_order_relaxed);
    }
    RingReceiver::Frame frame;
    ASSERT_EQ(ring.receiver.Next(&frame), Step::kInvalid) << bad.field;
    EXPECT_THAT(ring.receiver.why_invalid(), HasSubstr(bad.field));
    for (size_t i = 0; i < bad.words.size(); ++i) {
      EXPECT_EQ(ring.words()[i].Load(std::memory_order_relaxed), bad.words[i]);
    }
    EXPECT_EQ(ring.receiver.Next(&frame), Step::kInvalid);
    EXPECT_EQ(ring.receiver.head(), 0u);
  }
}

// Goal: a frame that would cross the ring's end is refused there.
TEST(RingTest, FrameBeyondTheEndIsRefused) {
  Ring ring;
  for (uint32_t i = 0; i < kRingWords / 4 - 1; ++i) {
    ASSERT_TRUE(ring.Send(""));
    ring.LandAll();
    ASSERT_EQ(ring.Receive(), "");
    ring.Settle();
  }
  ring.words()[kRingWords - 4].Store(Head(5), std::memory_order_relaxed);
  RingReceiver::Frame frame;
  ASSERT_EQ(ring.receiver.Next(&frame), Step::kInvalid);
  EXPECT_THAT(ring.receiver.why_invalid(), HasSubstr("end"));
}

// Goal: whatever words a peer stores while it is being polled, the receiver delivers only what the
// format allows and touches nothing outside of the ring (guards, asan).
TEST(RingTest, RandomCorruptionNeverHurtsTheReceiver) {
  std::mt19937_64 random(4);
  int invalid = 0;
  for (int round = 0; round < 3000; ++round) {
    Ring ring;
    for (int step = 0; step < 60; ++step) {
      if (random() % 3 != 0) {
        if (ring.Send(RandomPayload(random, random() % InlineBytesMax(kRingWords)))) {
          for (const Flying& word : ring.Post()) {
            ring.words()[word.offset_words].Store(word.value, std::memory_order_relaxed);
          }
        }
      }
      if (random() % 8 == 0) {
        SharedWord& word = ring.words()[random() % kRingWords];
        const uint64_t old = word.Load(std::memory_order_relaxed);
        const uint64_t values[] = {0, random(), old ^ uint64_t{1} << random() % 64,
                                   Head(random() % 40, random() % 3, random() % 4)};
        word.Store(values[random() % 4], std::memory_order_relaxed);
      }
      RingReceiver::Frame frame;
      const Step result = ring.receiver.Next(&frame);
      if (result == Step::kInvalid) {
        ++invalid;
        break;
      }
      if (result == Step::kFrame) {
        ASSERT_LE(frame.payload.size(), InlineBytesMax(kRingWords));
        ASSERT_NE(frame.type, 0);
      }
      ring.sender.OnConfirmed(ring.sender.posted());
      // The report may make no sense to a sender whose frames were overwritten: it says so, no
      // more.
      (void)ring.sender.OnCredit(ring.receiver.head());
    }
  }
  EXPECT_GT(invalid, 300);
}

// ---- Payload area.

TEST(PayloadAreaTest, PiecesAreContiguousAndReusedInOrder) {
  PayloadArea area(1024);
  EXPECT_EQ(area.Allocate(500).value(), 0u);  // Padded to 504.
  EXPECT_EQ(area.Allocate(400).value(), 504u);
  EXPECT_FALSE(area.Allocate(200).has_value());
  EXPECT_EQ(area.OnCredit(504), absl::nullopt);
  EXPECT_EQ(area.Allocate(504).value(), 0u) << "what does not fit before the end starts at 0";
  EXPECT_FALSE(area.Allocate(8).has_value());
  EXPECT_EQ(area.OnCredit(1024 + 504), absl::nullopt);
  EXPECT_EQ(area.Allocate(8).value(), 504u);
}

TEST(PayloadAreaTest, JudgesCredits) {
  PayloadArea area(1024);
  EXPECT_NE(area.OnCredit(8), absl::nullopt);
  ASSERT_TRUE(area.Allocate(100).has_value());
  EXPECT_EQ(area.OnCredit(104), absl::nullopt);
  EXPECT_NE(area.OnCredit(96), absl::nullopt);
  EXPECT_NE(area.OnCredit(105), absl::nullopt);
}

TEST(PayloadReferenceTest, BoundsAreJudged) {
  constexpr uint64_t kArea = kPayloadBytesMax * uint64_t{3};
  EXPECT_EQ(WhyInvalid({.offset_bytes = 0, .length_bytes = 1, .checksum = 0}, kArea),
            absl::nullopt);
  EXPECT_EQ(WhyInvalid({kArea - 8, 8, 0}, kArea), absl::nullopt);
  EXPECT_NE(WhyInvalid({0, 0, 0}, kArea), absl::nullopt);
  EXPECT_NE(WhyInvalid({0, kPayloadBytesMax + 1, 0}, kArea), absl::nullopt);
  EXPECT_NE(WhyInvalid({4, 8, 0}, kArea), absl::nullopt);
  EXPECT_NE(WhyInvalid({kArea - 8, 9, 0}, kArea), absl::nullopt);
  EXPECT_NE(WhyInvalid({kArea, 8, 0}, kArea), absl::nullopt);
  EXPECT_NE(WhyInvalid({~uint64_t{7}, 16, 0}, kArea), absl::nullopt);
}

}  // namespace
}  // namespace acre::transport
