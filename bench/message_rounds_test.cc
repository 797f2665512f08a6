#include "bench/message_rounds.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace acre::bench {
namespace {

using testing::HasSubstr;

MessageRow Row(MessageWay way, uint64_t connections, uint64_t outstanding,
               std::vector<double> calls_per_second, std::vector<double> p50_us) {
  return {.way = way,
          .bytes = 64,
          .connections = connections,
          .outstanding = outstanding,
          .paced = false,
          .calls_per_second = calls_per_second,
          .target_per_second = {},
          .p50_us = p50_us,
          .p99_us = p50_us};
}

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

// Goal: each reach compares the loads that it names, the right way round.
TEST(ReachesTest, CompareTheLoadsOfTheIssue) {
  std::vector<MessageRow> rows = {
      Row(MessageWay::kRing, 1, 16, {1000, 2000, 3000}, {5, 5, 5}),
      Row(MessageWay::kTcp, 1, 16, {1, 1, 1}, {1, 1, 1}),
      Row(MessageWay::kRing, 16, 1, {7, 7, 7}, {7, 7, 7}),
      Row(MessageWay::kTcp, 16, 1, {100, 100, 100}, {80, 90, 100}),
      Row(MessageWay::kRing, 1, 16, {100, 100, 100}, {2, 2, 2}),
  };
  rows.back().paced = true;
  rows.back().target_per_second = {100, 100, 100};
  const std::vector<Reach> reaches = Reaches(rows);
  ASSERT_EQ(reaches.size(), 2u);
  EXPECT_EQ(reaches[0].what, "rate");
  EXPECT_EQ(reaches[0].ratio, 20);
  EXPECT_EQ(reaches[1].what, "p50");
  EXPECT_EQ(reaches[1].ratio, 45);
  EXPECT_THAT(FormatReaches(reaches), HasSubstr("reached"));
  // The paced row stands apart: it belongs to no pair.
  const std::string table = FormatMessages(rows);
  EXPECT_THAT(table, HasSubstr("open loop"));
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 4);

  EXPECT_TRUE(Reaches({rows[0], rows[1]}).empty());
  EXPECT_EQ(FormatReaches({}), "");
}

}  // namespace
}  // namespace acre::bench
