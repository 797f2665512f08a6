#include "bench/histogram.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/random.h"

namespace acre::bench {
namespace {

TEST(HistogramTest, EmptyTellsZero) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.Percentile(0.5), 0u);
  EXPECT_EQ(histogram.max(), 0u);
}

TEST(HistogramTest, SmallValuesAreExact) {
  for (uint64_t value = 0; value < 256; ++value) {
    Histogram histogram;
    histogram.Add(value);
    histogram.Add(1000);
    EXPECT_EQ(histogram.Percentile(0.5), value);
  }
}

// Goal: every value, of whatever magnitude, comes back within 1 %.
TEST(HistogramTest, RelativeErrorIsAtMostOnePercent) {
  for (double value = 1; value < static_cast<double>(Histogram::kValueMax); value *= 1.0007) {
    const auto exact = static_cast<uint64_t>(value);
    Histogram histogram;
    histogram.Add(exact);
    histogram.Add(Histogram::kValueMax);
    const double told = static_cast<double>(histogram.Percentile(0.5));
    ASSERT_NEAR(told, static_cast<double>(exact), 0.01 * static_cast<double>(exact));
  }
}

TEST(HistogramTest, PercentilesMatchTheSortedValues) {
  Random random(1);
  Histogram histogram;
  std::vector<uint64_t> values;
  for (int i = 0; i < 100'000; ++i) {
    values.push_back(static_cast<uint64_t>(std::exp(random.NextDouble() * 20)));
    histogram.Add(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double share : {0.0001, 0.1, 0.5, 0.95, 0.99, 0.999, 1.0}) {
    const auto rank = static_cast<size_t>(std::ceil(share * 100'000)) - 1;
    const auto exact = static_cast<double>(values[rank]);
    EXPECT_NEAR(static_cast<double>(histogram.Percentile(share)), exact, 0.01 * exact) << share;
  }
  EXPECT_EQ(histogram.max(), values.back());
}

TEST(HistogramTest, WeightCountsLikeRepetition) {
  Histogram histogram;
  histogram.Add(10, 99);
  histogram.Add(200);
  EXPECT_EQ(histogram.count(), 100u);
  EXPECT_EQ(histogram.Percentile(0.99), 10u);
  EXPECT_EQ(histogram.Percentile(0.991), 200u);
}

TEST(HistogramTest, MergeAddsAndClearForgets) {
  Histogram first;
  first.Add(10);
  Histogram second;
  second.Add(200, 3);
  first.Merge(second);
  EXPECT_EQ(first.count(), 4u);
  EXPECT_EQ(first.Percentile(0.25), 10u);
  EXPECT_EQ(first.Percentile(0.5), 200u);
  first.Clear();
  EXPECT_EQ(first.count(), 0u);
  EXPECT_EQ(first.max(), 0u);
}

// Goal: what several processes saw, told as text and merged, is bucket for bucket what one would have seen.
TEST(HistogramTest, PartsFromOtherProcessesMergeExactly) {
  Random random(2);
  Histogram whole;
  Histogram merged;
  for (int part = 0; part < 4; ++part) {
    Histogram histogram;
    for (int i = 0; i < 10'000; ++i) {
      const auto value = static_cast<uint64_t>(std::exp(random.NextDouble() * 28));
      const uint64_t weight = 1 + random.Uniform(251);
      histogram.Add(value, weight);
      whole.Add(value, weight);
    }
    const absl::optional<Histogram> parsed = Histogram::Parse(histogram.Serialize());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(*parsed, histogram);
    merged.Merge(*parsed);
  }
  EXPECT_EQ(merged, whole);
  EXPECT_EQ(merged.count(), whole.count());
  EXPECT_EQ(merged.Percentile(0.999), whole.Percentile(0.999));
  EXPECT_EQ(*Histogram::Parse(Histogram().Serialize()), Histogram());
}

TEST(HistogramTest, OtherTextIsNoHistogram) {
  for (const char* text : {"", "x", "5 1", "5 1:", "5 1:2:3", "5 99999999:1", "5 -1:1", "5  1:1",
                           "99999999999999999999", "1099511627776"}) {
    EXPECT_FALSE(Histogram::Parse(text).has_value()) << text;
  }
}

TEST(HistogramTest, TooLargeValuesCountAsTheLargest) {
  Histogram histogram;
  histogram.Add(UINT64_MAX);
  EXPECT_EQ(histogram.max(), Histogram::kValueMax);
  EXPECT_NEAR(static_cast<double>(histogram.Percentile(1)),
              static_cast<double>(Histogram::kValueMax), 0.01 * 0x1p40);
}

}  // namespace
}  // namespace acre::bench
