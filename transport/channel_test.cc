// Channels, both ends driven step by step by the test.

#include "transport/channel.h"

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "transport/channel_test_util.h"

namespace acre::transport {
namespace {

using ::testing::HasSubstr;

constexpr size_t kManyMessages = 1000;

struct Message {
  uint8_t type;
  uint64_t view;
  std::string payload;
};

class Inbox : public Channel::Receiver {
 public:
  absl::Status OnMessage(uint8_t type, uint64_t view, absl::string_view payload) override {
    messages.push_back({type, view, std::string(payload)});
    return verdict;
  }
  absl::Status verdict;
  std::deque<Message> messages;
};

class ChannelTest : public ::testing::Test {
 protected:
  void JoinNodes(const ChannelOptions& options_a = {}, const ChannelOptions& options_b = {}) {
    ASSERT_NO_FATAL_FAILURE(Join(&clock_, &a_, &b_, options_a, options_b));
  }
  void Step(TestNode* node, Inbox* inbox) {
    node->PollCompletions();
    node->channel->Poll(inbox, kManyMessages);
    node->channel->Flush();
  }
  void StepBoth() {
    Step(&a_, &inbox_a_);
    Step(&b_, &inbox_b_);
  }
  template <class IsDone>
  void StepTill(const IsDone& is_done) {
    ASSERT_TRUE(StepUntil(&clock_, is_done, [this] { StepBoth(); }));
  }
  void StepTillMessages(const Inbox& inbox, size_t count) {
    StepTill([&] { return inbox.messages.size() >= count; });
  }
  absl::Status SendFromA(const std::string& payload) { return a_.channel->Send(1, 0, {payload}); }

  RealClock clock_;
  TestNode a_;
  TestNode b_;
  Inbox inbox_a_;
  Inbox inbox_b_;
};

std::string PatternOf(size_t bytes, uint64_t seed) {
  // A quarter of the bytes are 0. Two numbers make eight of them.
  std::mt19937_64 random(seed);
  std::string payload(bytes, '\0');
  for (size_t i = 0; i < bytes; i += 8) {
    uint64_t word = random();
    const uint64_t fates = random();
    for (size_t b = i; b < std::min(i + 8, bytes); ++b, word >>= 8) {
      if ((fates >> 2 * (b - i)) % 4 != 0) payload[b] = static_cast<char>(word);
    }
  }
  return payload;
}

TEST_F(ChannelTest, MessagesOfManyPartsArriveInOrder) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  ASSERT_TRUE(a_.channel->Send(1, 9, {"one ", "", "two ", "three"}).ok());
  ASSERT_TRUE(a_.channel->Send(2, 0, {}).ok());
  EXPECT_TRUE(inbox_b_.messages.empty());
  a_.channel->Flush();
  StepTillMessages(inbox_b_, 2);
  ASSERT_EQ(inbox_b_.messages.size(), 2u);
  EXPECT_EQ(inbox_b_.messages[0].payload, "one two three");
  EXPECT_EQ(inbox_b_.messages[0].type, 1);
  EXPECT_EQ(inbox_b_.messages[0].view, 9u);
  EXPECT_EQ(inbox_b_.messages[1].payload, "");
  EXPECT_EQ(inbox_b_.messages[1].type, 2);
}

// Goal: all sizes around the limits of inline and whole words, up to the largest, arrive both ways.
TEST_F(ChannelTest, PayloadsUpToTheLargestArriveInBothDirections) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  for (const size_t bytes :
       {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{4095}, size_t{kInlineBytesMax},
        size_t{kInlineBytesMax + 1}, size_t{kInlineBytesMax * 2 + 3}, size_t{1} << 20,
        size_t{kPayloadBytesMax - 1}, size_t{kPayloadBytesMax}}) {
    const std::string from_a = PatternOf(bytes, bytes);
    const std::string from_b = PatternOf(bytes, bytes + 1);
    ASSERT_TRUE(
        a_.channel->Send(1, 0, {from_a.substr(0, bytes / 3), from_a.substr(bytes / 3)}).ok());
    ASSERT_TRUE(b_.channel->Send(1, 0, {from_b}).ok());
    // The small ones wait behind the large.
    ASSERT_TRUE(a_.channel->Send(2, 0, {"behind"}).ok());
    StepTill([&] {
      return (inbox_a_.messages.size() >= 1 && inbox_b_.messages.size() >= 2) ||
             !a_.channel->ok() || !b_.channel->ok();
    });
    ASSERT_EQ(inbox_b_.messages.size(), 2u) << b_.channel->status();
    EXPECT_EQ(inbox_b_.messages[0].payload, from_a);
    EXPECT_EQ(inbox_b_.messages[1].payload, "behind");
    ASSERT_EQ(inbox_a_.messages.size(), 1u) << a_.channel->status();
    EXPECT_EQ(inbox_a_.messages[0].payload, from_b);
    inbox_a_.messages.clear();
    inbox_b_.messages.clear();
  }
}

// Goal: a sender that keeps pushing meets ResourceExhausted, and nothing is lost, doubled or
// reordered. Goes through many laps of ring and payload area, with frames of all sizes.
TEST_F(ChannelTest, FullRingsAndAreasLoseNothing) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes({.ring_bytes = 1 << 15}, {.ring_bytes = 1 << 16}));
  std::mt19937_64 random(5);
  std::deque<std::string> expected;
  int refused = 0;
  int large = 0;
  for (int round = 0; round < 4000; ++round) {
    for (int i = 0; i < 12; ++i) {
      const bool is_large = random() % 100 == 0;
      const std::string payload =
          PatternOf(random() % (is_large ? kPayloadBytesMax : kInlineBytesMax + 1), random());
      const absl::Status sent = SendFromA(payload);
      if (!sent.ok()) {
        ASSERT_TRUE(absl::IsResourceExhausted(sent)) << sent;
        ++refused;
        break;
      }
      if (is_large) ++large;
      expected.push_back(payload);
    }
    StepBoth();
    while (!inbox_b_.messages.empty()) {
      ASSERT_FALSE(expected.empty());
      ASSERT_TRUE(inbox_b_.messages.front().payload == expected.front()) << round;
      inbox_b_.messages.pop_front();
      expected.pop_front();
    }
  }
  StepTillMessages(inbox_b_, expected.size());
  ASSERT_EQ(inbox_b_.messages.size(), expected.size()) << b_.channel->status();
  for (const Message& message : inbox_b_.messages) {
    ASSERT_TRUE(message.payload == expected.front());
    expected.pop_front();
  }
  EXPECT_GT(refused, 100);
  EXPECT_GT(large, 100);
}

TEST_F(ChannelTest, PeerWordsAreWritten) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  for (uint64_t value = 1; value < 500; ++value) {
    a_.channel->WritePeerWord(value % kPeerWords, value);
    const SharedWord& word = b_.channel->peer_words()[value % kPeerWords];
    StepTill([&] { return word.Load(std::memory_order_acquire) == value; });
  }
}

// Goal: a message is placed once the completion of its WRITE was polled, and not before.
TEST_F(ChannelTest, PlacedIsWhatHasCompleted) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  uint64_t first = 0;
  uint64_t second = 0;
  ASSERT_TRUE(a_.channel->SendPlaced(1, 0, {"first"}, &first).ok());
  a_.channel->Poll(&inbox_a_, kManyMessages);
  EXPECT_EQ(a_.channel->placed_position(), 0u);
  a_.channel->Flush();
  ASSERT_TRUE(a_.channel->SendPlaced(1, 0, {"second"}, &second).ok());
  EXPECT_LT(first, second);
  a_.channel->Poll(&inbox_a_, kManyMessages);
  EXPECT_EQ(a_.channel->placed_position(), 0u) << "nobody has polled a completion";
  ASSERT_TRUE(StepUntil(
      &clock_, [&] { return a_.channel->placed_position() >= first; },
      [this] {
        a_.PollCompletions();
        a_.channel->Poll(&inbox_a_, kManyMessages);
      }));
  EXPECT_LT(a_.channel->placed_position(), second);
  StepTill([&] { return a_.channel->placed_position() >= second; });
  StepTillMessages(inbox_b_, 2);
}

// Goal: a closed gate takes what is on its way no more for placed, and what lies in the ring is drained after the
// queue pair has gone, by a channel that goes last.
TEST_F(ChannelTest, DrainNeedsNoQueuePair) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  uint64_t position = 0;
  ASSERT_TRUE(SendFromA("before").ok());
  ASSERT_TRUE(SendFromA(std::string(100'000, 'r')).ok());  // By reference.
  ASSERT_TRUE(a_.channel->SendPlaced(1, 0, {"placed"}, &position).ok());
  a_.channel->Flush();
  ASSERT_TRUE(StepUntil(
      &clock_, [&] { return a_.channel->placed_position() >= position; },
      [this] {
        a_.PollCompletions();
        a_.channel->Poll(&inbox_a_, kManyMessages);
      }));
  b_.channel->CloseGate();
  b_.channel->Break(absl::UnavailableError("given up"));
  b_.queue_pair.reset();
  EXPECT_EQ(b_.channel->Drain(&inbox_b_), 2u);
  ASSERT_EQ(inbox_b_.messages.size(), 2u);
  EXPECT_EQ(inbox_b_.messages[0].payload, "before");
  EXPECT_EQ(inbox_b_.messages[1].payload, "placed");
  EXPECT_EQ(b_.channel->Drain(&inbox_b_), 0u);
  b_.channel.reset();
}

TEST_F(ChannelTest, AttachRefusesOffersThatMakeNoSense) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  const ChannelOffer good = a_.channel->offer();
  const auto refusal = [&](auto spoil) {
    ASSERT_NO_FATAL_FAILURE(b_.Create({}));
    ChannelOffer offer = good;
    spoil(&offer);
    const absl::Status status = b_.channel->Attach(offer);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  };
  refusal([](ChannelOffer* offer) { offer->region_key = 0; });
  refusal([](ChannelOffer* offer) { offer->ring_bytes = 0; });
  refusal([](ChannelOffer* offer) { offer->ring_bytes += 64; });
  refusal([](ChannelOffer* offer) { offer->ring_bytes = uint64_t{1} << 40; });
  refusal([](ChannelOffer* offer) { offer->ring_offset_bytes = 0; });
  refusal([](ChannelOffer* offer) { offer->ring_offset_bytes += 4; });
  refusal([](ChannelOffer* offer) { offer->ring_offset_bytes = ~uint64_t{63}; });
  refusal([](ChannelOffer* offer) { offer->payload_bytes = 64; });
  refusal([](ChannelOffer* offer) { offer->payload_offset_bytes = ~uint64_t{63}; });
  refusal([](ChannelOffer* offer) { offer->credit_offset_bytes = 8; });
  refusal([](ChannelOffer* offer) { offer->words_offset_bytes = 1; });
  // The words would fit, the gate behind them would not.
  refusal([](ChannelOffer* offer) { offer->words_offset_bytes = kRegionBytesMax - kLineBytes; });
  refusal([](ChannelOffer* offer) { offer->busy_polling = 2; });
}

TEST_F(ChannelTest, CreateRefusesBadOptions) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  for (const ChannelOptions& options : {ChannelOptions{.region_id = 9, .ring_bytes = 1000},
                                        {.region_id = 9, .ring_bytes = 512},
                                        {.region_id = 9, .payload_area_bytes = 4096}}) {
    const auto created = Channel::Create(a_.fabric.get(), a_.queue_pair.get(), options);
    EXPECT_TRUE(absl::IsInvalidArgument(created.status())) << created.status();
  }
}

TEST_F(ChannelTest, PeerThatGoesBreaksTheChannel) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes({}, {.peer_name = "first"}));
  ASSERT_TRUE(SendFromA("on its way").ok());
  a_.channel->Flush();
  a_.Close();
  while (b_.channel->ok()) b_.PollCompletions();
  EXPECT_TRUE(absl::IsUnavailable(b_.channel->status())) << b_.channel->status();
  EXPECT_THAT(std::string(b_.channel->status().message()), HasSubstr("first"));
  EXPECT_EQ(b_.channel->Poll(&inbox_b_, kManyMessages), 0u);
  EXPECT_TRUE(absl::IsUnavailable(b_.channel->Send(1, 0, {"x"})));
  b_.channel->WritePeerWord(0, 1);
  b_.channel->Flush();
}

TEST_F(ChannelTest, MessageThatTheUpperLayerRefusesBreaksTheChannel) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes({}, {.peer_name = "second"}));
  inbox_b_.verdict = absl::DataLossError("type: 1");
  ASSERT_TRUE(SendFromA("1").ok());
  ASSERT_TRUE(SendFromA("2").ok());
  a_.channel->Flush();
  StepTill([this] { return !b_.channel->ok(); });
  EXPECT_EQ(inbox_b_.messages.size(), 1u);
  EXPECT_THAT(std::string(b_.channel->status().message()), HasSubstr("second"));
}

// ---- A hostile peer: node a's queue pair, and what it was granted, without a channel of its own.

class HostilePeerTest : public ChannelTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(JoinNodes({}, {.ring_bytes = kRingBytes, .peer_name = "hostile"}));
  }
  // WRITEs words into b's region.
  void Write(uint64_t offset_bytes, const std::vector<uint64_t>& words) {
    auto region = a_.fabric->CreateRegion(
        {.region_id = ++a_.regions_count, .size_bytes = 1 << 16, .name = "hostile"});
    ASSERT_TRUE(region.ok()) << region.status();
    SharedWord* const local = (*region)->words() + 64;
    CopyToShared(local, words.data(), words.size(), CopyOrder::kAscending);
    const WorkRequest request = {.opcode = Opcode::kWrite,
                                 .id = 1,
                                 .local = local,
                                 .local_region = region->get(),
                                 .length_bytes = static_cast<uint32_t>(words.size() * kWordBytes),
                                 .remote_key = {b_.channel->offer().region_key},
                                 .remote_offset_bytes = offset_bytes};
    Complete(&a_, request);
  }
  // Posts a request that is not the channel's, and polls both nodes till it has completed.
  void Complete(TestNode* node, const WorkRequest& request) {
    const uint64_t before = node->own_requests_completed;
    const auto poll_both = [this] {
      a_.PollCompletions();
      b_.PollCompletions();
    };
    ASSERT_TRUE(StepUntil(
        &clock_, [&] { return !absl::IsResourceExhausted(node->queue_pair->Post({request})); },
        poll_both));
    ASSERT_TRUE(StepUntil(
        &clock_, [&] { return node->own_requests_completed > before; }, poll_both));
  }
  // Till nothing of the channels is under way: a completion confirms all earlier requests.
  void Settle() {
    WorkRequest nothing;
    nothing.opcode = Opcode::kWrite;
    for (TestNode* const node : {&a_, &b_}) Complete(node, nothing);
  }
  void ExpectBroken(const std::string& field) {
    ASSERT_TRUE(StepUntil(
        &clock_, [this] { return !b_.channel->ok(); }, [this] { Step(&b_, &inbox_b_); }));
    EXPECT_TRUE(absl::IsDataLoss(b_.channel->status())) << field << ": " << b_.channel->status();
    EXPECT_THAT(std::string(b_.channel->status().message()), HasSubstr("hostile"));
    EXPECT_THAT(std::string(b_.channel->status().message()), HasSubstr(field));
    EXPECT_TRUE(inbox_b_.messages.empty());
    EXPECT_EQ(b_.channel->Poll(&inbox_b_, kManyMessages), 0u);
  }
  static uint64_t Head(uint64_t words, uint64_t flags) {
    return uint64_t{kFrameTag} << 32 | flags << 24 | 1 << 16 | words;
  }
  void WriteReference(uint64_t offset, uint64_t bytes, uint64_t checksum) {
    constexpr uint64_t kEscape = 0xe5c;
    const auto word = [](uint64_t value) { return value == 0 ? kEscape : value; };
    Write(b_.channel->offer().ring_offset_bytes, {Head(7, kFrameReference), kEscape, kEscape, 24,
                                                  word(offset), word(bytes), word(checksum)});
  }

  static constexpr uint32_t kRingBytes = 1 << 15;
};

TEST_F(HostilePeerTest, BadFrameBreaksTheChannelAlone) {
  Write(b_.channel->offer().ring_offset_bytes, {Head(4, 9), 1, 1, 1});
  ExpectBroken("flags");
  EXPECT_EQ(b_.queue_pair->state(), QueuePairState::kReady) << "the queue pair is its owner's";
}

TEST_F(HostilePeerTest, ReferenceBeyondTheAreaIsRefused) {
  WriteReference(a_.channel->offer().payload_bytes - 8, 4096, 1);
  ExpectBroken("payload area");
}

TEST_F(HostilePeerTest, ReferenceThatIsTooLongIsRefused) {
  WriteReference(0, kPayloadBytesMax + 1, 1);
  ExpectBroken("largest payload");
}

TEST_F(HostilePeerTest, ReferenceOutOfOrderIsRefused) {
  WriteReference(64, 4096, 1);
  ExpectBroken("offset");
}

TEST_F(HostilePeerTest, ReferenceWithWrongChecksumIsRefused) {
  WriteReference(0, 8192, 12345);
  ExpectBroken("checksum");
}

TEST_F(HostilePeerTest, CreditBeyondWhatWasSentBreaksTheChannel) {
  Write(b_.channel->offer().credit_offset_bytes, {1, 0});
  // Credits are read when there is no room.
  absl::Status sent;
  ASSERT_TRUE(StepUntil(
      &clock_,
      [&] {
        sent = b_.channel->Send(1, 0, {std::string(1000, 'c')});
        return !sent.ok() && !absl::IsResourceExhausted(sent);
      },
      [this] { b_.PollCompletions(); }));
  EXPECT_TRUE(absl::IsUnavailable(sent)) << sent;
  ExpectBroken("ring head");
}

// Goal: whatever words a peer WRITEs anywhere in the channel's region, while it is in use, the
// other end delivers or breaks; no more (asan and ubsan watch).
TEST_F(HostilePeerTest, RandomWritesAnywhereNeverHurtTheReceiver) {
  std::mt19937_64 random(6);
  const int rounds = TestFabricRounds(300);
  int broken = 0;
  for (int round = 0; round < rounds; ++round) {
    const ChannelOptions options = {.ring_bytes = 4096, .peer_name = "hostile"};
    Settle();
    a_.channel.reset();
    b_.channel.reset();
    ASSERT_NO_FATAL_FAILURE(a_.Create(options));
    ASSERT_NO_FATAL_FAILURE(b_.Create(options));
    ASSERT_TRUE(a_.channel->Attach(b_.channel->offer()).ok());
    ASSERT_TRUE(b_.channel->Attach(a_.channel->offer()).ok());
    const ChannelOffer& offer = b_.channel->offer();
    for (int step = 0; step < 100 && b_.channel->ok(); ++step) {
      (void)SendFromA(PatternOf(random() % (random() % 8 == 0 ? 20000 : 900), random()));
      (void)b_.channel->Send(1, 0, {PatternOf(random() % 900, random())});
      a_.channel->Flush();
      if (random() % 4 == 0) {
        const uint64_t places[] = {offer.credit_offset_bytes + random() % 2 * 8,
                                   offer.ring_offset_bytes + random() % 512 * 8,
                                   offer.ring_offset_bytes + random() % 512 * 8,
                                   offer.payload_offset_bytes + random() % 100 * 8};
        const uint64_t values[] = {random(), random() % 600, 0, Head(random() % 140, random() % 4)};
        Write(places[random() % 4], {values[random() % 4]});
      }
      StepBoth();
      inbox_a_.messages.clear();
      inbox_b_.messages.clear();
    }
    if (!b_.channel->ok()) ++broken;
  }
  EXPECT_GT(broken, rounds / 2) << "most of what is written does harm";
}

}  // namespace
}  // namespace acre::transport
