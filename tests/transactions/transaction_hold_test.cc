// Locks held ahead of LOCK, step by step ("Holds" in docs/transactions.md).

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "gtest/gtest.h"
#include "kvs/limits.h"
#include "kvs/transaction_home.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "tests/transactions/home_scene.h"

namespace acre::kvs {
namespace {

using Answer = TransactionVote::Answer;

// One of its homes has a clock that the test turns: the one that holds.
class TransactionHoldTest : public testing::Test, public HomeScene {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(Open());
    slow_home_ = std::make_unique<TransactionHome>(table(), &slow_, holders());
    keys_ = KeysOf(5, 3);
    Put(keys_[0], "old");
    far_ = KeysOf(20, 1)[0];
    Put(far_, "far");
  }

  // A hold that is under way.
  struct Pending {
    absl::optional<absl::Status> status;
    SpawnHandle task;
  };
  std::unique_ptr<Pending> Start(const TransactionThread& thread, uint64_t hold_id,
                                 const std::vector<absl::string_view>& keys,
                                 uint64_t wait_ns = 1'000'000) {
    auto pending = std::make_unique<Pending>();
    const auto run = [](Task<absl::Status> task, Pending* to) -> Task<void> {
      to->status = co_await std::move(task);
    };
    pending->task = slow_.Spawn(
        run(held().Hold(thread, hold_id, keys, clock_.NowNs() + wait_ns), pending.get()));
    Turn();
    return pending;
  }
  absl::Status Hold(const TransactionThread& thread, uint64_t hold_id,
                    const std::vector<absl::string_view>& keys) {
    const auto pending = Start(thread, hold_id, keys);
    EXPECT_TRUE(pending->status.has_value()) << "waits";
    if (!pending->status.has_value()) pending->task.Cancel();
    return pending->status.value_or(absl::UnknownError("waits"));
  }
  // Passes of the loop, and time.
  void Turn(uint64_t ns = 0) {
    for (int i = 0; i < 20; ++i) {
      clock_.AdvanceNs(ns / 20);
      slow_.RunOnce();
    }
  }
  TransactionVote LockElsewhere(const std::string& key) {
    return other().Lock(Id(++others_, 8), {}, {{BlindPut(key, "other")}}, {});
  }
  void ExpectFree(const std::string& key) {
    const TransactionVote vote = LockElsewhere(key);
    EXPECT_TRUE(vote.is_yes()) << vote.status;
    EXPECT_TRUE(other().Abort(Id(others_, 8)).ok());
  }
  void ExpectHeld(const std::string& key) {
    EXPECT_EQ(LockElsewhere(key).answer, Answer::kLocked) << key;
  }

  TransactionHome& held() { return *slow_home_; }
  static TransactionThread Holder(uint32_t thread = 2) {
    return {.view = 1, .process_id = 7, .thread = thread};
  }

  ManualClock clock_;
  Scheduler slow_{{.clock = &clock_, .never_sleep = true, .name = "slow"}};
  std::unique_ptr<TransactionHome> slow_home_;
  std::vector<std::string> keys_;  // Of one home; the first is there.
  std::string far_;
  uint64_t others_ = 0;
};

TEST_F(TransactionHoldTest, KeepsWritersOutAndReadersNot) {
  const MarkedRead hit = Read(keys_[0]);
  const MarkedRead miss = Read(keys_[1]);
  // The same bucket, twice; its neighbour with it.
  ASSERT_TRUE(Hold(Holder(), 1, {keys_[1], far_, keys_[0], keys_[0]}).ok());
  EXPECT_EQ(Seen(keys_[0]), "old");
  EXPECT_EQ(Seen(keys_[1]), "(none)");
  EXPECT_TRUE(IsStill(hit.mark));
  EXPECT_TRUE(IsStill(miss.mark));
  const TransactionVote vote = LockElsewhere(keys_[2]);
  EXPECT_EQ(vote.answer, Answer::kLocked);
  ASSERT_TRUE(vote.winner.has_value());
  EXPECT_EQ(*vote.winner, (TransactionId{Holder(), 0}));
  ExpectHeld(KeysOf(6, 1)[0]);
  ExpectFree(KeysOf(7, 1)[0]);
  ExpectFree(KeysOf(4, 1)[0]);
  absl::Status done = absl::InternalError("waits");
  const auto put = [this](absl::Status* status) -> Task<void> {
    *status = co_await writer().Put(keys_[0], "plain");
  };
  (void)scheduler().Spawn(put(&done));
  for (int i = 0; i < 100; ++i) scheduler().RunOnce();
  EXPECT_TRUE(absl::IsInternal(done));

  const TransactionVote own = held().Lock(
      Id(1), {}, {{After(hit, BlindPut(keys_[0], "new")), BlindPut(keys_[1], "new")}}, {}, 1);
  ASSERT_TRUE(own.is_yes()) << own.status;
  EXPECT_EQ(Seen(keys_[0]), "(locked)");
  ASSERT_TRUE(held().Commit(Id(1)).ok());
  EXPECT_EQ(held().holds_count(), 0u);
  ExpectFree(far_);
  while (!done.ok()) scheduler().RunOnce();
  model()[keys_[0]] = "plain";
  model()[keys_[1]] = "new";
  ExpectSound();
}

TEST_F(TransactionHoldTest, OutlivesANoAndAnAbort) {
  const MarkedRead stale = Read(keys_[0]);
  Put(keys_[0], "newer");
  ASSERT_TRUE(Hold(Holder(), 1, {keys_[0]}).ok());
  const TransactionWrite lost = After(stale, BlindPut(keys_[0], "lost"));
  EXPECT_EQ(held().Lock(Id(1), {}, {{lost}}, {}, 1).answer, Answer::kChanged);
  EXPECT_EQ(held().CommitAtOnce(Id(2), {{BlindPut(keys_[0], "x")}}, {}, {{stale.mark}}, 1).answer,
            Answer::kChanged);
  ASSERT_TRUE(held().Lock(Id(3), {}, {{BlindPut(keys_[0], "lost")}}, {}, 1).is_yes());
  ASSERT_TRUE(held().Abort(Id(3)).ok());
  EXPECT_EQ(Seen(keys_[0]), "newer");
  ExpectHeld(keys_[0]);
  // With a key that is not held, which LOCK takes as always.
  EXPECT_TRUE(held()
                  .CommitAtOnce(Id(4), {{BlindPut(keys_[0], "a"), BlindPut(far_, "b")}}, {}, {}, 1)
                  .is_yes());
  ExpectFree(keys_[0]);
  ExpectFree(far_);
  model()[keys_[0]] = "a";
  model()[far_] = "b";
  ExpectSound();
}

// Goal: no end of a hold takes a lock from a transaction that marked under it.
TEST_F(TransactionHoldTest, WhatIsLockedUnderItKeepsItsLocks) {
  for (const uint64_t round : {1, 2, 3}) {
    ASSERT_TRUE(Hold(Holder(), round, {keys_[0], far_}).ok());
    ASSERT_TRUE(held().Lock(Id(round), {}, {{BlindPut(keys_[0], "new")}}, {}, round).is_yes());
    if (round == 1) held().Release(Holder(), round);
    if (round == 2) held().ReleaseHoldsOf(Holder());
    if (round == 3) Turn(kHoldNsMax + 1'000);
    EXPECT_EQ(held().holds_count(), 0u);
    ExpectHeld(keys_[0]);
    ASSERT_TRUE((round == 2 ? held().Abort(Id(round)) : held().Commit(Id(round))).ok());
    ExpectFree(keys_[0]);
    ExpectFree(far_);
  }
  model()[keys_[0]] = "new";
  ExpectSound();
}

// Goal: a peer that uses one hold for two transactions at once does not write a slot twice.
TEST_F(TransactionHoldTest, IsLentToOneTransaction) {
  ASSERT_TRUE(Hold(Holder(), 1, {keys_[0]}).ok());
  const std::vector<TransactionWrite> writes = {BlindPut(keys_[0], "a"), BlindPut(keys_[1], "a")};
  ASSERT_TRUE(held().Lock(Id(1), {}, writes, {}, 1).is_yes());
  EXPECT_EQ(held().Lock(Id(2), {}, writes, {}, 1).answer, Answer::kLocked);
  EXPECT_EQ(held().CommitAtOnce(Id(3), writes, {}, {}, 1).answer, Answer::kLocked);
  ASSERT_TRUE(held().Abort(Id(1)).ok());
  EXPECT_TRUE(held().Lock(Id(4), {}, writes, {}, 1).is_yes());
  ASSERT_TRUE(held().Abort(Id(4)).ok());
  // Another thread's, another number: nothing is held.
  TransactionId stranger = Id(1);
  stranger.coordinator = Holder(3);
  EXPECT_EQ(held().Lock(stranger, {}, writes, {}, 1).answer, Answer::kLocked);
  EXPECT_EQ(held().Lock(Id(5), {}, writes, {}, 2).answer, Answer::kLocked);
  held().Release(Holder(), 1);
  ExpectSound();
}

TEST_F(TransactionHoldTest, OneOfAThreadAtATime) {
  ASSERT_TRUE(Hold(Holder(), 1, {keys_[0]}).ok());
  EXPECT_TRUE(Hold(Holder(), 1, {keys_[0]}).ok()) << "again";
  EXPECT_TRUE(absl::IsFailedPrecondition(Hold(Holder(), 2, {far_})));
  held().Release(Holder(), 2);
  held().Release(Holder(3), 1);
  ExpectHeld(keys_[0]);
  const auto waits = Start(Holder(3), 1, {keys_[0]});
  EXPECT_FALSE(waits->status.has_value());
  EXPECT_TRUE(absl::IsFailedPrecondition(Hold(Holder(3), 1, {keys_[0]})));
  EXPECT_EQ(held().Lock({Holder(3), 1}, {}, {{BlindPut(keys_[0], "x")}}, {}, 1).answer,
            Answer::kLocked);
  for (int i = 0; i < 2; ++i) held().Release(Holder(), 1);
  Turn(1'000);
  ASSERT_TRUE(waits->status.has_value() && waits->status->ok());
  EXPECT_TRUE(Hold(Holder(), 3, {far_}).ok());
  held().Release(Holder(), 3);
  held().Release(Holder(3), 1);
  ExpectFree(keys_[0]);
  ExpectFree(far_);
}

// Goal: nobody starves: whoever only tries does not overtake a hold that waits.
TEST_F(TransactionHoldTest, GoesBeforeWhoeverOnlyTries) {
  ASSERT_TRUE(LockElsewhere(keys_[0]).is_yes());
  const uint64_t first = others_;
  const auto waits = Start(Holder(), 1, {keys_[0]}, kHoldNsMax);
  ExpectHeld(keys_[0]);
  ASSERT_TRUE(other().Commit(Id(first, 8)).ok());
  ExpectHeld(keys_[0]);
  Turn(10'000'000);
  ASSERT_TRUE(waits->status.has_value());
  EXPECT_TRUE(waits->status->ok()) << *waits->status;
  EXPECT_EQ(Seen(keys_[0]), "other");
}

TEST_F(TransactionHoldTest, TheWaitEnds) {
  // `first` is below `keys_[0]`: it is had, and has to be given back.
  const std::string first = KeysOf(2, 1)[0];
  for (const std::string how : {"deadline", "bound", "released", "destroyed", "closed"}) {
    ASSERT_TRUE(LockElsewhere(keys_[0]).is_yes());
    const uint64_t locked = others_;
    const auto waits =
        Start(Holder(), 1, {far_, keys_[0], first}, how == "bound" ? 3 * kHoldNsMax : 1'000'000);
    ASSERT_FALSE(waits->status.has_value());
    ExpectHeld(first);
    ExpectFree(far_);
    if (how == "deadline") Turn(3'000'000);
    if (how == "bound") Turn(kHoldNsMax + kHoldNsMax / 2);
    if (how == "released") held().Release(Holder(), 1);
    if (how == "closed") held().ReleaseHoldsOf(Holder());
    if (how == "destroyed") waits->task.Cancel();
    Turn(10'000);
    EXPECT_EQ(held().holds_count(), 0u) << how;
    ExpectFree(first);
    if (how == "deadline" || how == "bound") {
      ASSERT_TRUE(waits->status.has_value()) << how;
      EXPECT_TRUE(absl::IsDeadlineExceeded(*waits->status)) << *waits->status;
    } else if (how != "destroyed") {
      ASSERT_TRUE(waits->status.has_value()) << how;
      EXPECT_TRUE(absl::IsAborted(*waits->status)) << *waits->status;
    }
    ASSERT_TRUE(other().Abort(Id(locked, 8)).ok());
    Turn(10'000);
    ExpectFree(keys_[0]);
  }
  ExpectSound();
}

TEST_F(TransactionHoldTest, EndsByItself) {
  ASSERT_TRUE(Hold(Holder(), 1, {keys_[0]}).ok());
  Turn(kHoldNsMax / 2);
  ExpectHeld(keys_[0]);
  Turn(kHoldNsMax);
  EXPECT_EQ(held().holds_count(), 0u);
  ExpectFree(keys_[0]);
  // Its time is not that of the next one.
  ASSERT_TRUE(Hold(Holder(), 1, {keys_[0]}).ok());
  Turn(kHoldNsMax / 2);
  held().Release(Holder(), 1);
  ASSERT_TRUE(Hold(Holder(), 1, {keys_[0]}).ok());
  Turn(kHoldNsMax * 3 / 4);
  ExpectHeld(keys_[0]);
}

TEST_F(TransactionHoldTest, APeersNonsenseIsRefused) {
  const std::string long_key(kKeyBytesMax + 1, 'k');
  const std::vector<absl::string_view> too_many(kTransactionHoldKeysMax + 1, far_);
  for (const std::vector<absl::string_view>& keys :
       {std::vector<absl::string_view>{}, {"", far_}, {far_, long_key}, too_many}) {
    const absl::Status status = Hold(Holder(), 1, keys);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  }
  EXPECT_EQ(held().holds_count(), 0u);
  EXPECT_TRUE(
      Hold(Holder(), 1, std::vector<absl::string_view>(kTransactionHoldKeysMax, far_)).ok());
}

}  // namespace
}  // namespace acre::kvs
