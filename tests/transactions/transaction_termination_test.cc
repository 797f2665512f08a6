// What a home offers to who ends a dead coordinator's transactions, step by step ("Termination" in
// docs/transactions.md).

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "kvs/transaction_home.h"
#include "tests/transactions/home_scene.h"

namespace acre::kvs {
namespace {

using Answer = TransactionVote::Answer;
using Writes = std::vector<TransactionWrite>;
using Participants = std::vector<TransactionParticipant>;

const TransactionThread kDead = HomeScene::Id(0).coordinator;

class TransactionTerminationTest : public testing::Test, public HomeScene {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(Open()); }

  TransactionVote Lock(uint64_t sequence, const Writes& writes,
                       const Participants& participants = {}) {
    return home().Lock(Id(sequence), participants, writes, {});
  }
};

TEST_F(TransactionTerminationTest, APromiseIsKept) {
  const std::string key = KeysOf(5, 1)[0];
  Put(key, "old");
  // Before its LOCK.
  EXPECT_EQ(home().Promise(Id(1)), TransactionOutcome::kPromised);
  EXPECT_EQ(Lock(1, {BlindPut(key, "x")}).answer, Answer::kOver);
  EXPECT_FALSE(home().Resolve(Id(1), /*commit=*/true).ok());
  EXPECT_EQ(Seen(key), "old");
  ASSERT_TRUE(home().Resolve(Id(1), /*commit=*/false).ok());
  // Behind it: no outcome, the locks and marks stay.
  const std::vector<TransactionParticipant> participants = {{0, 17}, {3, 4}};
  for (const bool commits : {false, true}) {
    const uint64_t sequence = commits ? 3 : 2;
    const Writes writes = {BlindPut(key, "new")};
    ASSERT_TRUE(home().Lock(Id(sequence), participants, writes, {}).is_yes());
    EXPECT_EQ(home().Promise(Id(sequence)), TransactionOutcome::kPromised);
    EXPECT_FALSE(home().Commit(Id(sequence)).ok());
    EXPECT_EQ(home().Lock(Id(sequence), participants, writes, {}).answer, Answer::kOver);
    EXPECT_EQ(Seen(key), "(locked)");
    const std::vector<OpenTransaction> open = home().OpenOf(kDead);
    ASSERT_EQ(open.size(), 1u);
    EXPECT_EQ(open[0].id, Id(sequence));
    EXPECT_TRUE(open[0].promised);
    EXPECT_EQ(open[0].participants, participants);
    EXPECT_FALSE(home().ForgetThread(kDead).ok());
    for (int again = 0; again < 2; ++again) {
      ASSERT_TRUE(home().Resolve(Id(sequence), commits).ok());
      EXPECT_FALSE(home().Resolve(Id(sequence), !commits).ok());
    }
    EXPECT_EQ(Seen(key), commits ? "new" : "old");
    EXPECT_EQ(home().Promise(Id(sequence)),
              commits ? TransactionOutcome::kCommitted : TransactionOutcome::kAborted);
  }
  ASSERT_TRUE(home().ForgetThread(kDead).ok());
  EXPECT_EQ(home().kept_count(), 0u);
  model()[key] = "new";
  ExpectSound();
}

TEST_F(TransactionTerminationTest, AClosedThreadEndsWhatItHasAndBeginsNothing) {
  const std::vector<std::string> keys = KeysOf(5, 3);
  const std::string other_key = KeysOf(9, 1)[0];
  ASSERT_TRUE(Lock(1, {BlindPut(keys[0], "one")}).is_yes());
  ASSERT_TRUE(Lock(2, {BlindPut(other_key, "two")}).is_yes());
  const absl::string_view held = "held";
  ASSERT_TRUE(scheduler().RunUntilDone(home().Hold(kDead, 1, {&held, 1}, UINT64_MAX)).ok());
  for (int again = 0; again < 2; ++again) home().CloseThread(kDead);
  EXPECT_EQ(home().holds_count(), 0u);
  EXPECT_TRUE(
      absl::IsAborted(scheduler().RunUntilDone(home().Hold(kDead, 2, {&held, 1}, UINT64_MAX))));
  EXPECT_EQ(Lock(3, {BlindPut(held, "x")}).answer, Answer::kOver);
  EXPECT_EQ(home().CommitAtOnce(Id(4), {{BlindPut(held, "x")}}, {}, {}).answer, Answer::kOver);
  EXPECT_EQ(home().kept_count(), 2u);
  EXPECT_TRUE(Lock(1, {BlindPut(keys[0], "one")}).is_yes()) << "the vote that it got";
  ASSERT_TRUE(home().Commit(Id(1)).ok());
  ASSERT_TRUE(home().Abort(Id(2)).ok());
  EXPECT_EQ(Seen(keys[0]), "one");
  EXPECT_EQ(Seen(other_key), "(none)");
  // Another coordinator of the same process goes on.
  TransactionId sibling = Id(3);
  sibling.coordinator.thread = 99;
  EXPECT_TRUE(home().CommitAtOnce(sibling, {{BlindPut(keys[1], "sibling")}}, {}, {}).is_yes());
  ASSERT_TRUE(home().ForgetThread(kDead).ok());
  EXPECT_EQ(home().kept_count(), 1u);
  model()[keys[0]] = "one";
  model()[keys[1]] = "sibling";
  ExpectSound();
}

// Goal: a home that never saw the coordinator can promise whatever another home asks for: numbers far beyond the
// window of what came here.
TEST_F(TransactionTerminationTest, AClosedThreadHasPromisedAllThatItDoesNotKnow) {
  constexpr uint64_t kFar = uint64_t{1} << 40;
  EXPECT_EQ(home().Promise(Id(kFar)), TransactionOutcome::kUnknown);
  home().CloseThread(kDead);
  EXPECT_EQ(home().Promise(Id(kFar)), TransactionOutcome::kPromised);
  EXPECT_EQ(home().Query(Id(kFar)), TransactionOutcome::kPromised);
  EXPECT_EQ(Lock(kFar, {BlindPut("key", "x")}).answer, Answer::kOver);
  EXPECT_FALSE(home().Commit(Id(kFar)).ok());
  EXPECT_FALSE(home().Resolve(Id(kFar), /*commit=*/true).ok());
  EXPECT_TRUE(home().Resolve(Id(kFar), /*commit=*/false).ok());
  EXPECT_EQ(home().kept_count(), 0u);
  // What is over stays over.
  ASSERT_TRUE(home().Truncate(kDead, {}, 10).ok());
  EXPECT_EQ(home().Promise(Id(9)), TransactionOutcome::kUnknown);
  EXPECT_EQ(home().Promise(Id(10)), TransactionOutcome::kPromised);
  ASSERT_TRUE(home().ForgetThread(kDead).ok());
  EXPECT_EQ(home().Query(Id(10)), TransactionOutcome::kUnknown);
}

// Goal: a decision that comes late, of what its coordinator has told to be over everywhere, is no contradiction.
TEST_F(TransactionTerminationTest, WhatIsTruncatedContradictsNobody) {
  const std::string key = KeysOf(5, 1)[0];
  ASSERT_TRUE(Lock(1, {BlindPut(key, "committed")}).is_yes());
  ASSERT_TRUE(home().Commit(Id(1)).ok());
  ASSERT_TRUE(Lock(2, {BlindPut(key, "aborted")}).is_yes());
  ASSERT_TRUE(home().Abort(Id(2)).ok());
  for (const uint64_t sequence : {1, 2}) {
    const bool committed = sequence == 1;
    EXPECT_TRUE(home().Resolve(Id(sequence), committed).ok());
    EXPECT_FALSE(home().Resolve(Id(sequence), !committed).ok()) << "as long as it is known";
  }
  // By their numbers, and by the watermark.
  for (const uint64_t finished_below : {0, 3}) {
    ASSERT_TRUE(home().Truncate(kDead, {{1, 2}}, finished_below).ok());
    for (const uint64_t sequence : {1, 2}) {
      for (const bool commits : {false, true}) {
        EXPECT_TRUE(home().Resolve(Id(sequence), commits).ok()) << sequence;
        EXPECT_EQ(home().Query(Id(sequence)), TransactionOutcome::kUnknown);
      }
    }
  }
  EXPECT_FALSE(home().Resolve(Id(3), /*commit=*/true).ok()) << "that one never came";
  EXPECT_EQ(Seen(key), "committed");
  model()[key] = "committed";
  ExpectSound();
}

TEST_F(TransactionTerminationTest, ParticipantsAreKnownUntilTruncated) {
  const std::vector<std::string> keys = KeysOf(5, 2);
  ASSERT_TRUE(Lock(1, {BlindPut(keys[0], "x")}, {{0, 17}, {3, 4}}).is_yes());
  EXPECT_EQ(Lock(2, {BlindPut(keys[1], "x")}, {{0, 17}, {2, 5}}).answer, Answer::kLocked);
  EXPECT_EQ(home().ParticipantsOf(kDead), (Participants{{0, 17}, {2, 5}, {3, 4}}));
  ASSERT_TRUE(home().Commit(Id(1)).ok());
  ASSERT_TRUE(Lock(3, {BlindPut(keys[0], "x")}, {{0, 18}}).is_yes());
  ASSERT_TRUE(home().Abort(Id(3)).ok());
  EXPECT_EQ(home().ParticipantsOf(kDead), (Participants{{0, 17}, {0, 18}, {2, 5}, {3, 4}}));
  EXPECT_TRUE(home().OpenOf(kDead).empty());
  ASSERT_TRUE(home().Truncate(kDead, {}, 3).ok());
  EXPECT_EQ(home().ParticipantsOf(kDead), (Participants{{0, 18}}));
  EXPECT_TRUE(home().ParticipantsOf({.view = 1, .process_id = 9}).empty());
}

}  // namespace
}  // namespace acre::kvs
