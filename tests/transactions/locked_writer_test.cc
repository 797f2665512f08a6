// Plain Puts, Deletes and Gets of records that a transaction has locked and does not let go, on a clock that the test
// turns.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/types/optional.h"
#include "gtest/gtest.h"
#include "kvs/table.h"
#include "kvs/transaction_home.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "tests/transactions/home_scene.h"

namespace acre::kvs {
namespace {

constexpr uint64_t kPatienceNs = 1'000'000;

class LockedWriterTest : public testing::Test, public HomeScene {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(Open());
    patient_ = std::make_unique<TableWriter>(
        table(), &slow_,
        TableWriter::Options{.lock_patience_ns = kPatienceNs, .holders = holders()});
    keys_ = KeysOf(5, 8);
    Put(keys_[0], "old");
  }

  struct Pending {
    absl::optional<absl::Status> status;
    SpawnHandle task;
  };
  std::unique_ptr<Pending> Start(Task<absl::Status> task) {
    auto pending = std::make_unique<Pending>();
    const auto run = [](Task<absl::Status> work, Pending* to) -> Task<void> {
      to->status = co_await std::move(work);
    };
    pending->task = slow_.Spawn(run(std::move(task), pending.get()));
    Turn(0);
    return pending;
  }
  void Turn(uint64_t ns) {
    for (int i = 0; i < 20; ++i) {
      clock_.AdvanceNs(ns / 20);
      slow_.RunOnce();
    }
  }
  static void ExpectNamed(const Pending& pending, const TransactionId& id) {
    ASSERT_TRUE(pending.status.has_value());
    EXPECT_TRUE(absl::IsUnavailable(*pending.status)) << *pending.status;
    EXPECT_TRUE(absl::StrContains(pending.status->message(),
                                  "the record is locked by a transaction that does not end"))
        << *pending.status;
    EXPECT_TRUE(absl::StrContains(pending.status->message(), id.ToString())) << *pending.status;
  }

  ManualClock clock_;
  Scheduler slow_{{.clock = &clock_, .never_sleep = true, .name = "slow"}};
  std::unique_ptr<TableWriter> patient_;
  std::vector<std::string> keys_;  // Of one home; the first is there.
  std::string value_;
};

TEST_F(LockedWriterTest, GivesUpAtItsDeadlineAndNamesTheTransaction) {
  ASSERT_TRUE(home().Lock(Id(1), {}, {{BlindPut(keys_[0], "new")}}, {}).is_yes());
  const auto put = Start(patient_->Put(keys_[0], "lost"));
  const auto beside = Start(patient_->Put(keys_[1], "lost"));
  const auto deleted = Start(patient_->Delete(keys_[0]));
  const auto got = Start(patient_->Get(keys_[0], &value_));
  Turn(kPatienceNs / 2);
  for (const auto* const pending : {&put, &beside, &deleted, &got}) {
    EXPECT_FALSE((*pending)->status.has_value());
  }
  Turn(kPatienceNs);
  for (const auto* const pending : {&put, &beside, &deleted, &got}) {
    ExpectNamed(**pending, Id(1));
  }
  // Nothing of them comes later.
  ASSERT_TRUE(home().Commit(Id(1)).ok());
  Turn(kPatienceNs);
  EXPECT_EQ(Seen(keys_[0]), "new");
  EXPECT_EQ(Seen(keys_[1]), "(none)");
  const auto again = Start(patient_->Put(keys_[0], "newer"));
  Turn(0);
  ASSERT_TRUE(again->status.has_value() && again->status->ok());
  model()[keys_[0]] = "newer";
  ExpectSound();
}

TEST_F(LockedWriterTest, GoesOnWhenTheTransactionEndsInTime) {
  ASSERT_TRUE(home().Lock(Id(1), {}, {{BlindPut(keys_[0], "new")}}, {}).is_yes());
  const auto put = Start(patient_->Put(keys_[0], "later"));
  Turn(kPatienceNs / 2);
  ASSERT_TRUE(home().Commit(Id(1)).ok());
  Turn(kPatienceNs / 4);
  ASSERT_TRUE(put->status.has_value());
  EXPECT_TRUE(put->status->ok()) << *put->status;
  model()[keys_[0]] = "later";
  ExpectSound();
}

// Goal: one deadline for the whole operation, also where the home is free and its neighbour is not; and what it held
// already is free.
TEST_F(LockedWriterTest, WaitsForTheNextBucketNoLonger) {
  for (size_t i = 1; i < 3; ++i) Put(keys_[i], "fills the home");
  ASSERT_TRUE(home().Lock(Id(1), {}, {{BlindPut(KeysOf(6, 1)[0], "x")}}, {}).is_yes());
  const auto put = Start(patient_->Put(keys_[3], "lost"));
  EXPECT_EQ(other().Lock(Id(1, 8), {}, {{BlindPut(keys_[0], "x")}}, {}).answer,
            TransactionVote::Answer::kLocked);
  Turn(kPatienceNs + kPatienceNs / 10);
  ExpectNamed(*put, Id(1));
  EXPECT_TRUE(other().Lock(Id(2, 8), {}, {{BlindPut(keys_[0], "x")}}, {}).is_yes());
  ASSERT_TRUE(other().Abort(Id(2, 8)).ok());
  ASSERT_TRUE(home().Abort(Id(1)).ok());
  Turn(0);
  ExpectSound();
}

TEST_F(LockedWriterTest, AHoldKeepsNobodyOutForLonger) {
  const absl::string_view key = keys_[0];
  ASSERT_TRUE(
      scheduler().RunUntilDone(home().Hold(Id(0).coordinator, 1, {&key, 1}, UINT64_MAX)).ok());
  const auto put = Start(patient_->Put(keys_[0], "lost"));
  const auto got = Start(patient_->Get(keys_[0], &value_));
  Turn(kPatienceNs * 2);
  ExpectNamed(*put, Id(0));
  ASSERT_TRUE(got->status.has_value() && got->status->ok());
  EXPECT_EQ(value_, "old");
  home().Release(Id(0).coordinator, 1);
  Turn(0);
  ExpectSound();
}

}  // namespace
}  // namespace acre::kvs
