#include "runtime/random.h"

#include <array>

#include "gtest/gtest.h"

namespace acre {
namespace {

TEST(RandomTest, SameSeedSameNumbersOtherSeedOthers) {
  Random first(1), same(1), other(2);
  int equal_to_other = 0;
  for (int i = 0; i < 100; ++i) {
    const uint64_t number = first.Next();
    EXPECT_EQ(number, same.Next());
    if (number == other.Next()) ++equal_to_other;
  }
  EXPECT_EQ(equal_to_other, 0);
}

TEST(RandomTest, UniformStaysBelowItsBoundAndReachesEachValue) {
  Random random(3);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(random.Uniform(1), 0u);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70'000; ++i) ++counts.at(random.Uniform(7));
  for (const int count : counts) {
    EXPECT_GT(count, 9'500);  // 10,000 expected; 5 deviations are 460.
    EXPECT_LT(count, 10'500);
  }
}

// Goal: no bias where it would be largest: with this bound a plain modulo favours the lower half 2
// to 1.
TEST(RandomTest, UniformHasNoBiasAtALargeBound) {
  Random random(4);
  const uint64_t bound = (uint64_t{1} << 63) + (uint64_t{1} << 62);
  int low = 0;
  for (int i = 0; i < 30'000; ++i) {
    const uint64_t number = random.Uniform(bound);
    ASSERT_LT(number, bound);
    if (number < bound / 3) ++low;
  }
  EXPECT_GT(low, 9'500);
  EXPECT_LT(low, 10'500);
}

TEST(RandomTest, DoublesFillTheUnitInterval) {
  Random random(5);
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    const double number = random.NextDouble();
    ASSERT_GE(number, 0.0);
    ASSERT_LT(number, 1.0);
    sum += number;
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.02);
}

}  // namespace
}  // namespace acre
