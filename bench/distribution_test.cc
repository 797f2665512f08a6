#include "bench/distribution.h"

#include <cmath>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/random.h"

namespace acre::bench {
namespace {

double ExactZeta(uint64_t count, double theta) {
  double sum = 0;
  for (uint64_t i = 1; i <= count; ++i) sum += std::pow(static_cast<double>(i), -theta);
  return sum;
}

// Goal: the first two ranks are as likely as Zipf's law says, exactly; the shares of whole ranges
// of ranks within what Gray's approximation allows.
TEST(ZipfianRanksTest, RanksFollowTheLaw) {
  constexpr uint64_t kCount = 10'000;
  constexpr int kDraws = 2'000'000;
  for (const double theta : {0.5, 0.9, 0.99}) {
    const ZipfianRanks ranks(kCount, theta);
    Random random(1);
    std::vector<int> seen(kCount);
    for (int i = 0; i < kDraws; ++i) {
      const uint64_t rank = ranks.Next(&random);
      ASSERT_LT(rank, kCount);
      ++seen[rank];
    }
    const double zeta = ExactZeta(kCount, theta);
    EXPECT_NEAR(seen[0], kDraws / zeta, 5 * std::sqrt(kDraws / zeta)) << theta;
    EXPECT_NEAR(seen[1], kDraws / zeta * std::pow(2, -theta), 5 * std::sqrt(kDraws / zeta));
    for (const uint64_t first : {10, 100, 1000, 5000}) {
      double share = 0;
      for (uint64_t i = 0; i < first; ++i) share += seen[i];
      share /= kDraws;
      EXPECT_NEAR(share, ExactZeta(first, theta) / zeta, 0.02) << theta << " " << first;
    }
  }
}

TEST(ZipfianRanksTest, GrowingEqualsStartingLarge) {
  ZipfianRanks grown(1'000, 0.99);
  for (uint64_t count = 1'001; count <= 3'000; ++count) grown.GrowTo(count);
  grown.GrowTo(50'000);
  const ZipfianRanks made(50'000, 0.99);
  Random first(1);
  Random second(1);
  for (int i = 0; i < 10'000; ++i) EXPECT_EQ(grown.Next(&first), made.Next(&second));
}

TEST(ZipfianRanksTest, SmallCounts) {
  Random random(1);
  for (uint64_t count = 1; count < 5; ++count) {
    const ZipfianRanks ranks(count, 0.99);
    std::set<uint64_t> seen;
    for (int i = 0; i < 10'000; ++i) seen.insert(ranks.Next(&random));
    EXPECT_EQ(seen.size(), count);
    EXPECT_EQ(*seen.rbegin(), count - 1);
  }
}

TEST(ScatterTest, IsAPermutation) {
  for (const uint64_t count : {1, 2, 3, 4, 10, 1000, 1024, 99'991}) {
    const Scatter scatter(count);
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < count; ++i) seen.insert(scatter(i));
    EXPECT_EQ(seen.size(), count);
    EXPECT_LT(*seen.rbegin(), count);
  }
}

TEST(RecordPickerTest, UniformReachesAllRecordsAlsoNewOnes) {
  RecordPicker picker(Distribution::kUniform, 0.99, 10);
  Random random(1);
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(picker.Next(20, &random));
  EXPECT_EQ(seen.size(), 20u);
  EXPECT_EQ(*seen.rbegin(), 19u);
}

TEST(RecordPickerTest, LatestPrefersTheNewest) {
  RecordPicker picker(Distribution::kLatest, 0.99, 1000);
  Random random(1);
  for (uint64_t count = 1000; count < 3000; count += 100) {
    uint64_t newest = 0;
    uint64_t newer_half = 0;
    for (int i = 0; i < 10'000; ++i) {
      const uint64_t record = picker.Next(count, &random);
      ASSERT_LT(record, count);
      newest += record == count - 1;
      newer_half += record >= count / 2;
    }
    EXPECT_GT(newest, 1000u);
    EXPECT_GT(newer_half, 8000u);
  }
}

TEST(RecordPickerTest, ZipfianScattersThePopularOnes) {
  RecordPicker picker(Distribution::kZipfian, 0.99, 100'000);
  Random random(1);
  uint64_t lower_half = 0;
  for (int i = 0; i < 100'000; ++i) lower_half += picker.Next(100'000, &random) < 50'000;
  EXPECT_GT(lower_half, 35'000u);
  EXPECT_LT(lower_half, 65'000u);
}

TEST(DistributionTest, NamesAreParsed) {
  EXPECT_EQ(ParseDistribution("uniform"), Distribution::kUniform);
  EXPECT_EQ(ParseDistribution("zipfian"), Distribution::kZipfian);
  EXPECT_EQ(ParseDistribution("latest"), Distribution::kLatest);
  EXPECT_FALSE(ParseDistribution("hotspot").has_value());
}

}  // namespace
}  // namespace acre::bench
