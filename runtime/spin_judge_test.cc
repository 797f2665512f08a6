#include "runtime/spin_judge.h"

#include "gtest/gtest.h"

namespace acre {
namespace {

// Runs `waits` waits, of which each `paid_every`-th spin pays (0: none), and counts the spins.
int CountSpins(SpinJudge* judge, int waits, int paid_every) {
  int spins = 0;
  for (int i = 0; i < waits; ++i) {
    if (!judge->ShouldSpin()) continue;
    ++spins;
    judge->Report(/*paid=*/paid_every > 0 && spins % paid_every == 0);
  }
  return spins;
}

TEST(SpinJudgeTest, SpinsWhileItPays) {
  SpinJudge judge;
  EXPECT_EQ(CountSpins(&judge, 1000, 1), 1000);
}

TEST(SpinJudgeTest, GoesOnWhileEveryOtherSpinPays) {
  SpinJudge judge;
  EXPECT_EQ(CountSpins(&judge, 1000, 2), 1000);
}

TEST(SpinJudgeTest, OneFailureIsForgiven) {
  SpinJudge judge;
  judge.Report(/*paid=*/false);
  EXPECT_TRUE(judge.ShouldSpin());
}

TEST(SpinJudgeTest, GivesUpWhatNeverPaysButForATryInAWhile) {
  SpinJudge judge;
  EXPECT_LT(CountSpins(&judge, 32, 0), 16);
  EXPECT_EQ(CountSpins(&judge, 3200, 0), 100);
}

TEST(SpinJudgeTest, TakesItUpAgainSoonAfterItPays) {
  SpinJudge judge;
  (void)CountSpins(&judge, 1000, 0);
  // A wait in 32 tries; from the first try on all of them spin.
  EXPECT_GE(CountSpins(&judge, 100, 1), 100 - 31);
  judge.Report(/*paid=*/false);
  EXPECT_TRUE(judge.ShouldSpin()) << "a single failure after that is forgiven again";
}

TEST(SpinJudgeTest, ATryThatPaidByChanceChangesNothing) {
  SpinJudge judge;
  (void)CountSpins(&judge, 1000, 0);
  // One spin in 20 pays: each brings a few more, and that is all.
  EXPECT_LT(CountSpins(&judge, 3200, 20), 250);
}

}  // namespace
}  // namespace acre
