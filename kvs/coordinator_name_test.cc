#include "kvs/coordinator_name.h"

#include "gtest/gtest.h"

namespace acre::kvs {
namespace {

TEST(CoordinatorNameTest, WhatIsFinishedEndsBelowTheLowestThatIsNot) {
  CoordinatorName name;
  EXPECT_EQ(name.FinishedBelow(), 1u);
  name.last_sequence = 7;
  EXPECT_EQ(name.FinishedBelow(), 8u);
  name.unfinished = {5, 7};
  EXPECT_EQ(name.FinishedBelow(), 5u);
  name.unfinished = {7};
  EXPECT_EQ(name.FinishedBelow(), 7u);
}

// Goal: one that some home may have open is never told as finished, by those behind it either: the home asks the others, and
// they must not have truncated it.
TEST(CoordinatorNameTest, WhatIsLostIsNeverFinished) {
  CoordinatorName name;
  name.last_sequence = 7;
  name.unfinished = {5, 6, 7};
  name.Lose(6);
  EXPECT_EQ(name.FinishedBelow(), 5u);
  name.unfinished = {7};
  EXPECT_EQ(name.FinishedBelow(), 6u);
  name.Lose(7);
  name.unfinished.clear();
  EXPECT_EQ(name.FinishedBelow(), 6u);
}

TEST(CoordinatorNameTest, IsFullBeforeHomesRefuseWhatIsTooFarAhead) {
  CoordinatorName name;
  name.unfinished = {1};
  name.last_sequence = kTransactionWindow / 2 - 1;
  EXPECT_FALSE(name.IsFull());
  ++name.last_sequence;
  EXPECT_TRUE(name.IsFull());
  name.unfinished = {2};
  EXPECT_FALSE(name.IsFull());
}

}  // namespace
}  // namespace acre::kvs
