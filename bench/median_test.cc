#include "bench/median.h"

#include "gtest/gtest.h"

namespace acre::bench {
namespace {

TEST(MedianTest, MiddleOfOddAndEvenCounts) {
  EXPECT_EQ(Median({3}), 3);
  EXPECT_EQ(Median({9, 1, 5}), 5);
  EXPECT_EQ(Median({9, 1, 5, 7}), 6);
}

// Goal: a round in which the machine was slow for both does not change the ratio.
TEST(MedianTest, RatiosAreThoseWithinRounds) {
  EXPECT_EQ(MedianRatio({100, 10, 20}, {10, 1, 2}), 10);
  EXPECT_EQ(MedianRatio({100, 100, 100}, {1, 10, 100}), 10);
}

}  // namespace
}  // namespace acre::bench
