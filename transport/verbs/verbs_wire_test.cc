// What can be judged of the provider without a card: its words, and bytes of peers.

#include "transport/verbs/verbs_wire.h"

#include <string>

#include "gtest/gtest.h"
#include "transport/verbs/verbs_key.h"

namespace acre::transport {
namespace {

TEST(VerbsKeyTest, SaysWhatItWasMadeOf) {
  for (const uint64_t size_bytes : {uint64_t{4096}, uint64_t{1} << 21, kRegionBytesMax}) {
    for (uint32_t rights = 1; rights <= kRightsAll; ++rights) {
      for (const bool takes_no_atomics : {false, true}) {
        const RemoteKey key = EncodeVerbsKey({.card_key = 0xfedc'ba98,
                                              .rights = rights,
                                              .size_bytes = size_bytes,
                                              .takes_no_atomics = takes_no_atomics});
        const auto decoded = DecodeVerbsKey(key);
        ASSERT_TRUE(decoded.has_value());
        EXPECT_EQ(decoded->card_key, 0xfedc'ba98);
        EXPECT_EQ(decoded->rights, rights);
        EXPECT_EQ(decoded->size_bytes, size_bytes);
        EXPECT_EQ(decoded->takes_no_atomics, takes_no_atomics);
      }
    }
  }
}

TEST(VerbsKeyTest, NullAndItsNeighboursAreNoKeys) {
  const RemoteKey key = EncodeVerbsKey({.card_key = 7, .rights = kRightRead, .size_bytes = 4096});
  EXPECT_FALSE(DecodeVerbsKey(RemoteKey()).has_value());
  EXPECT_FALSE(DecodeVerbsKey(RemoteKey{~uint64_t{0}}).has_value());
  EXPECT_FALSE(DecodeVerbsKey(RemoteKey{key.bits + 1}).has_value());
}

TEST(WorkIdTest, ComesBackAsItWent) {
  const WorkId id = {.connection = 0x7fff'ffff, .is_receive = true, .sequence = ~uint32_t{0}};
  const WorkId back = WorkId::FromBits(id.bits());
  EXPECT_EQ(back.connection, id.connection);
  EXPECT_TRUE(back.is_receive);
  EXPECT_EQ(back.sequence, id.sequence);
}

TEST(VerbsHelloTest, ArrivesThroughThePaddingOfRdmaCm) {
  for (const size_t bytes : {size_t{0}, size_t{1}, kPrivateDataBytesMax}) {
    const std::string data(bytes, '\0');
    std::string hello = EncodeVerbsHello(256, 4, data);
    hello.resize(196);
    const auto peer = JudgeVerbsHello(hello);
    ASSERT_TRUE(peer.ok()) << peer.status();
    EXPECT_EQ(peer->receive_queue_depth, 256u);
    EXPECT_EQ(peer->private_data, data);
  }
}

TEST(VerbsHelloTest, WhatDoesNotFitIsRefused) {
  const std::string good = EncodeVerbsHello(16, 2, "abc");
  ASSERT_TRUE(JudgeVerbsHello(good).ok());
  for (size_t bytes = 0; bytes < good.size(); ++bytes) {
    EXPECT_FALSE(JudgeVerbsHello(good.substr(0, bytes)).ok()) << bytes;
  }
  const auto with_byte = [&](size_t index, char value) {
    std::string bad = good;
    bad[index] = value;
    return JudgeVerbsHello(bad).status().code();
  };
  EXPECT_EQ(with_byte(0, 'x'), absl::StatusCode::kInvalidArgument);  // Magic.
  EXPECT_EQ(with_byte(4, 1), absl::StatusCode::kInvalidArgument);    // A depth of 1.
  EXPECT_EQ(with_byte(5, '\xff'), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(with_byte(6, kPrivateDataBytesMax + 1), absl::StatusCode::kInvalidArgument);
  // No lanes; more than there may be; so many that one has less than two receives.
  for (const char lanes : {'\0', '\x21', '\x09'}) {
    EXPECT_EQ(with_byte(7, lanes), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(with_byte(7, 8), absl::StatusCode::kOk);
}

TEST(VerbsMessageTest, SaysWhatItWasMadeOf) {
  for (uint8_t kind = 1; kind <= 6; ++kind) {
    VerbsMessage message = {.kind = static_cast<VerbsMessageKind>(kind), .lane = 63};
    if (message.kind == VerbsMessageKind::kCredits) message.credits = 0xffff;
    const auto decoded = DecodeVerbsMessage(EncodeVerbsMessage(message));
    ASSERT_TRUE(decoded.has_value()) << int{kind};
    EXPECT_EQ(decoded->kind, message.kind);
    EXPECT_EQ(decoded->lane, 63);
    EXPECT_EQ(decoded->credits, message.credits);
  }
}

TEST(VerbsMessageTest, WhatIsNoneIsRefused) {
  EXPECT_FALSE(DecodeVerbsMessage(0).has_value());
  EXPECT_FALSE(DecodeVerbsMessage(7u << 24).has_value());
  EXPECT_FALSE(DecodeVerbsMessage(1u << 24).has_value()) << "no credits";
  EXPECT_FALSE(DecodeVerbsMessage(2u << 24 | 1).has_value()) << "credits with something else";
}

TEST(LaneImmediateTest, KeepsLaneAndImmediateApart) {
  const uint32_t bits = EncodeLaneImmediate(63, kImmediateMax);
  EXPECT_EQ(LaneOfImmediate(bits), 63);
  EXPECT_EQ(bits & kImmediateMax, kImmediateMax);
}

}  // namespace
}  // namespace acre::transport
