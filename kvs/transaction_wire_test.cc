#include "kvs/transaction_wire.h"

#include <functional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kvs/limits.h"
#include "transport/wire_bytes.h"

namespace acre::kvs {
namespace {

using Answer = TransactionVote::Answer;
using Expect = TransactionWrite::Expect;
using Kind = TransactionWrite::Kind;

const TransactionId kId = {{11, 12, 13}, 14};

bool IsSame(const ReadMark& a, const ReadMark& b) { return a.word == b.word && a.bits == b.bits; }

// One of everything.
std::string SomeTransaction() {
  const std::vector<TransactionParticipant> participants = {{1, 100}, {3, 300}};
  const std::vector<ReadMark> misses = {{GlobalAddress(1, 64), 2}};
  const std::vector<ReadMark> reads = {{GlobalAddress(2, 128), 4}, {GlobalAddress(2, 192), 6}};
  std::vector<TransactionWrite> writes(3);
  writes[0] = {Kind::kPut, Expect::kFound, {GlobalAddress(1, 256), 8}, "key", "value"};
  writes[1] = {Kind::kDelete, Expect::kAbsent, {GlobalAddress(1, 320), 10}, "gone", ""};
  writes[2] = {Kind::kPut, Expect::kNothing, {}, absl::string_view("\0", 1), ""};
  std::string request = "rubbish that is replaced";
  EXPECT_TRUE(EncodeTransaction(kId, 9, 77, participants, misses, reads, writes, &request));
  return request;
}

TEST(TransactionWireTest, NoticesComeBack) {
  const std::string bytes = EncodeNotice(kId, 5);
  const auto parsed = ParseNotice(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->id, kId);
  EXPECT_EQ(parsed->finished_below, 5u);
  EXPECT_TRUE(absl::IsInvalidArgument(ParseNotice("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseNotice(bytes.substr(1)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseNotice(bytes + "x").status()));
  EXPECT_FALSE(ParseNotice(std::string(32, '\0')).ok()) << "no process";
}

TEST(TransactionWireTest, TransactionsComeBack) {
  const std::string bytes = SomeTransaction();
  TransactionRequest parsed;
  parsed.writes.resize(9);
  parsed.misses.resize(9);
  ASSERT_TRUE(ParseTransaction(bytes, &parsed).ok()) << ParseTransaction(bytes, &parsed);
  EXPECT_EQ(parsed.id, kId);
  EXPECT_EQ(parsed.finished_below, 9u);
  EXPECT_EQ(parsed.hold, absl::optional<uint64_t>(77));
  EXPECT_EQ(parsed.participants, (std::vector<TransactionParticipant>{{1, 100}, {3, 300}}));
  ASSERT_EQ(parsed.misses.size(), 1u);
  EXPECT_TRUE(IsSame(parsed.misses[0], {GlobalAddress(1, 64), 2}));
  ASSERT_EQ(parsed.reads.size(), 2u);
  EXPECT_TRUE(IsSame(parsed.reads[1], {GlobalAddress(2, 192), 6}));
  ASSERT_EQ(parsed.writes.size(), 3u);
  EXPECT_EQ(parsed.writes[0].kind, Kind::kPut);
  EXPECT_EQ(parsed.writes[0].expect, Expect::kFound);
  EXPECT_TRUE(IsSame(parsed.writes[0].mark, {GlobalAddress(1, 256), 8}));
  EXPECT_EQ(parsed.writes[0].key, "key");
  EXPECT_EQ(parsed.writes[0].value, "value");
  EXPECT_EQ(parsed.writes[1].kind, Kind::kDelete);
  EXPECT_EQ(parsed.writes[1].expect, Expect::kAbsent);
  EXPECT_EQ(parsed.writes[2].expect, Expect::kNothing);
  EXPECT_EQ(parsed.writes[2].key, absl::string_view("\0", 1));
}

TEST(TransactionWireTest, EveryCutOfATransactionIsRefused) {
  const std::string bytes = SomeTransaction();
  TransactionRequest parsed;
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseTransaction(bytes.substr(0, size), &parsed))) << size;
  }
  EXPECT_FALSE(ParseTransaction(bytes + "x", &parsed).ok());
}

// What is changed in a transaction's header, or in its last write, which is blind, and what then is wrong.
TEST(TransactionWireTest, WrongFieldsOfATransactionAreRefused) {
  TransactionRequest parsed;
  const auto refuses = [&](size_t offset, uint8_t byte) {
    std::string bytes = SomeTransaction();
    bytes[offset] = static_cast<char>(byte);
    return absl::IsInvalidArgument(ParseTransaction(bytes, &parsed));
  };
  EXPECT_TRUE(refuses(offsetof(TransactionIdWire, process_id), 0));
  EXPECT_TRUE(refuses(offsetof(TransactionHeader, writes_count), 0));
  EXPECT_TRUE(refuses(offsetof(TransactionHeader, writes_count), 255));
  EXPECT_TRUE(refuses(offsetof(TransactionHeader, participants_count), 65));
  EXPECT_TRUE(refuses(offsetof(TransactionHeader, misses_count) + 1, 255));
  EXPECT_TRUE(refuses(offsetof(TransactionHeader, reads_count) + 1, 255));
  EXPECT_TRUE(
      refuses(sizeof(TransactionHeader) + offsetof(TransactionParticipantWire, reserved0), 1));
  const size_t last_write = SomeTransaction().size() - sizeof(TransactionWriteWire) - 1;
  EXPECT_TRUE(refuses(last_write + offsetof(TransactionWriteWire, kind), 2));
  EXPECT_TRUE(refuses(last_write + offsetof(TransactionWriteWire, expect), 3));
  EXPECT_TRUE(refuses(last_write + offsetof(ReadMarkWire, bits), 1)) << "a mark of a blind write";
  EXPECT_TRUE(refuses(last_write + offsetof(TransactionWriteWire, value_bytes) + 3, 255));
  EXPECT_TRUE(refuses(last_write + offsetof(TransactionWriteWire, key_bytes) + 1, 255));
}

TEST(TransactionWireTest, ADeleteHasNoValue) {
  std::vector<TransactionWrite> writes(1);
  writes[0] = {Kind::kDelete, Expect::kNothing, {}, "key", "value"};
  std::string bytes;
  ASSERT_TRUE(EncodeTransaction(kId, 0, absl::nullopt, {}, {}, {}, writes, &bytes));
  TransactionRequest parsed;
  EXPECT_TRUE(absl::IsInvalidArgument(ParseTransaction(bytes, &parsed)));
  writes[0].value = "";
  ASSERT_TRUE(EncodeTransaction(kId, 0, absl::nullopt, {}, {}, {}, writes, &bytes));
  EXPECT_TRUE(ParseTransaction(bytes, &parsed).ok());
  EXPECT_FALSE(parsed.hold.has_value());
}

TEST(TransactionWireTest, WhatIsTooLongForACallIsNotEncoded) {
  const std::string value(kValueBytesMax, 'v');
  std::vector<TransactionWrite> writes(1);
  writes[0] = {Kind::kPut, Expect::kNothing, {}, "key", value};
  std::string bytes;
  ASSERT_TRUE(EncodeTransaction(kId, 0, absl::nullopt, {}, {}, {}, writes, &bytes));
  EXPECT_EQ(bytes.size(), sizeof(TransactionHeader) + TransactionWriteBytes("key", value));
  EXPECT_LE(bytes.size(), transport::kRpcBytesMax);
  writes.push_back({Kind::kPut, Expect::kNothing, {}, "other", value});
  const std::string before = bytes;
  EXPECT_FALSE(EncodeTransaction(kId, 0, absl::nullopt, {}, {}, {}, writes, &bytes));
  EXPECT_EQ(bytes, before);
}

TransactionVote VoteOf(Answer answer, size_t index, absl::Status status) {
  TransactionVote vote;
  vote.answer = answer;
  vote.index = index;
  vote.status = std::move(status);
  return vote;
}

TEST(TransactionWireTest, VotesComeBack) {
  std::string bytes;
  EncodeVote(TransactionVote(), &bytes);
  auto parsed = ParseVote(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(parsed->is_yes());

  TransactionVote locked = VoteOf(Answer::kLocked, 7, absl::OkStatus());
  locked.winner = kId;
  EncodeVote(locked, &bytes);
  parsed = ParseVote(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->answer, Answer::kLocked);
  EXPECT_EQ(parsed->index, 7u);
  EXPECT_EQ(parsed->winner, absl::optional<TransactionId>(kId));

  for (const Answer answer : {Answer::kNoMemory, Answer::kInvalid}) {
    EncodeVote(VoteOf(answer, 1, absl::OutOfRangeError("why not")), &bytes);
    parsed = ParseVote(bytes);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->answer, answer);
    EXPECT_EQ(parsed->status, absl::OutOfRangeError("why not"));
  }
  // Of the others the answer says it all.
  for (const Answer answer : {Answer::kChanged, Answer::kOver}) {
    EncodeVote(VoteOf(answer, 1, absl::AbortedError("long words")), &bytes);
    EXPECT_EQ(bytes.size(), sizeof(TransactionVoteWire));
    parsed = ParseVote(bytes);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->answer, answer);
    EXPECT_TRUE(parsed->status.ok());
    EXPECT_FALSE(parsed->winner.has_value());
  }
}

TEST(TransactionWireTest, TheTextOfAVoteIsBounded) {
  std::string bytes;
  EncodeVote(VoteOf(Answer::kInvalid, 0, absl::DataLossError(std::string(5000, 'x'))), &bytes);
  const auto parsed = ParseVote(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->status, absl::DataLossError(std::string(1024, 'x')));
  EXPECT_FALSE(ParseVote(bytes + "x").ok());
}

TEST(TransactionWireTest, VotesThatMakeNoSenseAreRefused) {
  const auto refuses = [](const std::function<void(TransactionVoteWire*)>& change,
                          absl::string_view text = "") {
    TransactionVoteWire wire = {};
    change(&wire);
    std::string bytes;
    transport::AppendWire(&bytes, wire);
    bytes.append(text.data(), text.size());
    return absl::IsInvalidArgument(ParseVote(bytes).status());
  };
  EXPECT_FALSE(refuses([](auto*) {})) << "a yes";
  EXPECT_FALSE(ParseVote(std::string(39, '\0')).ok());
  EXPECT_TRUE(refuses([](auto*) {}, "text"));
  EXPECT_TRUE(refuses([](auto* vote) { vote->answer = 6; }));
  EXPECT_TRUE(refuses([](auto* vote) { vote->index = 1u << 20; }));
  EXPECT_TRUE(refuses([](auto* vote) { vote->status_code = 3; })) << "a yes with a status";
  EXPECT_TRUE(refuses([](auto* vote) { vote->answer = 4; })) << "invalid without one";
  EXPECT_TRUE(refuses([](auto* vote) {
    vote->answer = 4;
    vote->status_code = 17;
  }));
  EXPECT_TRUE(refuses([](auto* vote) { vote->winner.process_id = 1; }));
  const auto with_winner = [](uint32_t answer, uint32_t has_winner, uint32_t process_id) {
    return [=](TransactionVoteWire* vote) {
      vote->answer = answer;
      vote->has_winner = has_winner;
      vote->winner.process_id = process_id;
    };
  };
  EXPECT_FALSE(refuses(with_winner(1, 1, 1)));
  EXPECT_TRUE(refuses(with_winner(1, 2, 1)));
  EXPECT_TRUE(refuses(with_winner(1, 1, 0)));
  EXPECT_TRUE(refuses(with_winner(2, 1, 1))) << "only who finds a lock loses to somebody";
}

TEST(TransactionWireTest, HoldsComeBack) {
  std::string bytes;
  EncodeHold(kId.coordinator, 5, 1000, {"first", "second"}, &bytes);
  const auto parsed = ParseHold(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->thread, kId.coordinator);
  EXPECT_EQ(parsed->number, 5u);
  EXPECT_EQ(parsed->wait_ns, 1000u);
  EXPECT_EQ(parsed->keys, (std::vector<absl::string_view>{"first", "second"}));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseHold(bytes.substr(0, size)).status())) << size;
  }
  EXPECT_FALSE(ParseHold(bytes + "x").ok());
  const auto refuses = [&](size_t offset, uint8_t byte) {
    std::string wrong = bytes;
    wrong[offset] = static_cast<char>(byte);
    return absl::IsInvalidArgument(ParseHold(wrong).status());
  };
  EXPECT_TRUE(refuses(offsetof(TransactionIdWire, process_id), 0));
  EXPECT_TRUE(refuses(offsetof(TransactionIdWire, sequence), 0));
  EXPECT_TRUE(refuses(offsetof(TransactionHoldHeader, keys_count), 0));
  EXPECT_TRUE(refuses(offsetof(TransactionHoldHeader, keys_count) + 1, 2));
  EXPECT_TRUE(refuses(offsetof(TransactionHoldHeader, reserved0), 1));
}

TEST(TransactionWireTest, IdsAndOutcomesComeBack) {
  const std::string bytes = EncodeId(kId);
  EXPECT_EQ(ParseId(bytes).value(), kId);
  EXPECT_TRUE(absl::IsInvalidArgument(ParseId(bytes + "x").status()));
  EXPECT_FALSE(ParseId(bytes.substr(1)).ok());
  EXPECT_FALSE(ParseId(std::string(24, '\0')).ok()) << "no process";
  for (const TransactionOutcome outcome :
       {TransactionOutcome::kUnknown, TransactionOutcome::kCommitted, TransactionOutcome::kAborted,
        TransactionOutcome::kPromised}) {
    EXPECT_EQ(ParseOutcome(EncodeOutcome(outcome)).value(), outcome);
  }
  EXPECT_FALSE(ParseOutcome(std::string("\3\0\0\0\0\0\0\0", 8)).ok()) << "locked is no answer";
  EXPECT_FALSE(ParseOutcome(std::string("\5\0\0\0\0\0\0\0", 8)).ok());
  EXPECT_FALSE(ParseOutcome(std::string("\1\0\0\0\1\0\0\0", 8)).ok());
  EXPECT_FALSE(ParseOutcome("").ok());
}

TEST(TransactionWireTest, NamesComeBack) {
  EXPECT_EQ(ParseTransactionName(kId.ToString()), absl::optional<TransactionId>(kId));
  EXPECT_EQ(ParseTransactionName("11.12.13.14"), absl::optional<TransactionId>(kId));
  for (const char* name : {"", "transaction", "11.12.13", "11.12.13.14.15", "11.12.13.x",
                           "11.0.13.14", "11.4294967296.13.14", "-1.12.13.14"}) {
    EXPECT_FALSE(ParseTransactionName(name).has_value()) << name;
  }
}

TEST(TransactionWireTest, DecisionsComeBack) {
  for (const bool commit : {false, true}) {
    const std::string bytes = EncodeResolve({kId, commit});
    const auto parsed = ParseResolve(bytes);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->id, kId);
    EXPECT_EQ(parsed->commit, commit);
    EXPECT_FALSE(ParseResolve(bytes + "x").ok());
    EXPECT_FALSE(ParseResolve(bytes.substr(1)).ok());
    std::string wrong = bytes;
    wrong[offsetof(TransactionResolveWire, commit)] = 2;
    EXPECT_FALSE(ParseResolve(wrong).ok());
  }
  EXPECT_FALSE(ParseResolve(std::string(32, '\0')).ok()) << "no process";
}

}  // namespace
}  // namespace acre::kvs
