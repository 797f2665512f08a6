#include "kvs/lock_wire.h"

#include <string>

#include "gtest/gtest.h"
#include "transport/wire_bytes.h"

namespace acre::kvs {
namespace {

TEST(LockWireTest, JoinsComeBack) {
  const std::string bytes = EncodeJoin({256, "tcp:10.0.0.7:4000"});
  const auto parsed = ParseJoin(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->descriptors_count, 256u);
  EXPECT_EQ(parsed->endpoint, "tcp:10.0.0.7:4000");
  EXPECT_FALSE(ParseJoin("").ok());
  EXPECT_FALSE(ParseJoin(bytes.substr(0, sizeof(JoinHeader))).ok()) << "no endpoint";
  EXPECT_FALSE(ParseJoin(EncodeJoin({0, "x"})).ok());
  EXPECT_FALSE(ParseJoin(EncodeJoin({kLockDescriptorsMax + 1, "x"})).ok());
  EXPECT_FALSE(ParseJoin(EncodeJoin({1, std::string(kLockEndpointBytesMax + 1, 'x')})).ok());
  std::string reserved = bytes;
  reserved[offsetof(JoinHeader, reserved0)] = 1;
  EXPECT_FALSE(ParseJoin(reserved).ok());
}

TEST(LockWireTest, AnswersToJoinsAreJudged) {
  JoinAnswer answer{77, 0, {1, 2, 3}};
  const auto bytes_of = [](const JoinAnswer& of) {
    std::string bytes;
    transport::AppendWire(&bytes, of);
    return bytes;
  };
  const auto parsed = ParseJoinAnswer(bytes_of(answer));
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->lock_id, 77u);
  EXPECT_EQ(parsed->ticket, answer.ticket);
  EXPECT_FALSE(ParseJoinAnswer(bytes_of(answer) + "x").ok());
  answer.lock_id = 0;
  EXPECT_FALSE(ParseJoinAnswer(bytes_of(answer)).ok());
}

TEST(LockWireTest, QuestionsComeBack) {
  const RemoteWord word(5, 6, 7);
  const RemoteWord other(8, 9, 10);
  const std::string bytes = EncodeLockQuestion(word, other, {11, 12});
  const auto parsed = ParseLockQuestion(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->word, word);
  EXPECT_EQ(parsed->other, other);
  EXPECT_EQ(parsed->dead, (std::vector<uint32_t>{11, 12}));
  EXPECT_FALSE(ParseLockQuestion(bytes.substr(0, bytes.size() - 1)).ok());
  EXPECT_FALSE(ParseLockQuestion(bytes + "1234").ok()) << "more dead than it says";
  std::string many = bytes;
  many[offsetof(LockQuestionHeader, dead_count) + 2] = 1;
  EXPECT_FALSE(ParseLockQuestion(many).ok());
  EXPECT_TRUE(ParseLockQuestionAnswer(std::string("\1\0\0\0\0\0\0\0", 8)).value());
  EXPECT_FALSE(ParseLockQuestionAnswer(std::string(8, '\0')).value());
  EXPECT_FALSE(ParseLockQuestionAnswer(std::string("\2\0\0\0\0\0\0\0", 8)).ok());
  EXPECT_FALSE(ParseLockQuestionAnswer("").ok());
}

TEST(LockWireTest, KeysComeBack) {
  std::string intents;
  transport::AppendWire(&intents, LockIntentsAnswer{123});
  EXPECT_EQ(ParseLockIntents(intents).value().bits, 123u);
  EXPECT_FALSE(ParseLockIntents(intents + "x").ok());
  EXPECT_FALSE(ParseLockIntents(std::string(8, '\0')).ok()) << "key 0 is none";
  const LockRegionKeys regions = {{1, {456}}, {2, {789}}};
  const std::string bytes = EncodeLockRegions(regions);
  const auto parsed = ParseLockRegions(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed, regions);
  EXPECT_FALSE(ParseLockRegions("").ok());
  EXPECT_FALSE(ParseLockRegions(bytes.substr(0, bytes.size() - 1)).ok());
  EXPECT_FALSE(ParseLockRegions(bytes + "x").ok());
  EXPECT_FALSE(ParseLockRegions(EncodeLockRegions({{0, {1}}})).ok());
  EXPECT_FALSE(ParseLockRegions(EncodeLockRegions({{1, {0}}})).ok());
}

TEST(LockWireTest, ParticipantsAreNamed) {
  std::string bytes;
  transport::AppendWire(&bytes, LockPeerRequest{9, 0});
  EXPECT_EQ(ParseLockPeer(bytes).value(), 9u);
  EXPECT_FALSE(ParseLockPeer(bytes + "x").ok());
  EXPECT_FALSE(ParseLockPeer(std::string(8, '\0')).ok());
}

}  // namespace
}  // namespace acre::kvs
