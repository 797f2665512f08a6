#include "bench/pacer.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace acre::bench {
namespace {

constexpr double kTicksPerSecond = 1e9;
constexpr uint64_t kNow = uint64_t{1} << 62;  // Where a double has lost its last digits.

// The starts in the slice [begin, end).
std::vector<uint64_t> StartsOfSlice(Pacer* pacer, uint64_t begin_ticks, uint64_t end_ticks) {
  std::vector<uint64_t> starts;
  pacer->Resume(begin_ticks);
  for (; pacer->next_ticks() < end_ticks; pacer->Advance()) starts.push_back(pacer->next_ticks());
  pacer->Pause(end_ticks);
  return starts;
}

// Goal: the rate is the one that was asked for, also where a gap is few ticks, and gaps are exponential:
// their deviation is their mean.
TEST(PacerTest, GapsHaveTheMeanAndTheSpreadOfTheRate) {
  for (const double rate : {1000.0, 1e6, 1e8}) {
    Pacer pacer(1);
    pacer.Start(rate, kTicksPerSecond);
    pacer.Resume(kNow);
    constexpr int kCount = 200'000;
    double sum = 0;
    double sum_of_squares = 0;
    uint64_t last = kNow;
    for (int i = 0; i < kCount; ++i) {
      ASSERT_GE(pacer.next_ticks(), last);
      const auto gap = static_cast<double>(pacer.next_ticks() - last);
      sum += gap;
      sum_of_squares += gap * gap;
      last = pacer.next_ticks();
      pacer.Advance();
    }
    const double mean = sum / kCount;
    const double expected = kTicksPerSecond / rate;
    EXPECT_NEAR(mean, expected, 0.01 * expected) << rate;
    const double deviation = std::sqrt(sum_of_squares / kCount - mean * mean);
    EXPECT_NEAR(deviation, expected, 0.05 * expected) << rate;
  }
}

// Goal: threads with shares of a rate make that rate together, as one thread would.
TEST(PacerTest, SharesAddUpToTheRate) {
  size_t count = 0;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    Pacer pacer(seed);
    pacer.Start(1e4, kTicksPerSecond);
    count += StartsOfSlice(&pacer, kNow, kNow + 1'000'000'000).size();
  }
  EXPECT_NEAR(static_cast<double>(count), 1e5, 1500);  // Nearly five deviations.
}

// Goal: turns of others do not change the schedule: the same gaps, but for the pauses.
TEST(PacerTest, ScheduleStandsStillWhilePaused) {
  Pacer whole(7);
  whole.Start(1e6, kTicksPerSecond);
  const std::vector<uint64_t> expected = StartsOfSlice(&whole, kNow, kNow + 100'000);
  ASSERT_GT(expected.size(), 50u);

  Pacer cut(7);
  cut.Start(1e6, kTicksPerSecond);
  std::vector<uint64_t> starts;
  for (uint64_t slice = 0; slice < 10; ++slice) {
    const uint64_t pause_ticks = slice * 1'000'000;
    const uint64_t begin_ticks = kNow + slice * 10'000 + pause_ticks;
    for (const uint64_t start : StartsOfSlice(&cut, begin_ticks, begin_ticks + 10'000)) {
      starts.push_back(start - pause_ticks);
    }
    EXPECT_EQ(cut.backlog(), 0u);
  }
  ASSERT_EQ(starts.size(), expected.size());
  for (size_t i = 0; i < starts.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(starts[i] - kNow), static_cast<double>(expected[i] - kNow), 10);
  }
}

// Goal: what could not begin stays late across a pause by what it was late, and is told.
TEST(PacerTest, LateOperationsStayLate) {
  Pacer pacer(3);
  pacer.Start(1e6, kTicksPerSecond);
  pacer.Resume(kNow);
  const uint64_t intended = pacer.next_ticks();
  EXPECT_FALSE(pacer.IsDue(intended - 1));
  EXPECT_TRUE(pacer.IsDue(intended));
  const uint64_t pause_ticks = intended + 50'500;
  pacer.Pause(pause_ticks);
  pacer.Pause(pause_ticks + 1'000'000);  // Nothing to pause any more.
  EXPECT_EQ(pacer.backlog(), 51u);
  pacer.Resume(kNow + 90'000'000);
  EXPECT_NEAR(static_cast<double>(kNow + 90'000'000 - pacer.next_ticks()), 50'500, 2);
}

TEST(PacerTest, StartForgetsTheBacklog) {
  Pacer pacer(3);
  pacer.Start(1e6, kTicksPerSecond);
  pacer.Resume(kNow);
  pacer.Pause(kNow + 1'000'000'000);
  EXPECT_GT(pacer.backlog(), 0u);
  pacer.Start(1e3, kTicksPerSecond);
  EXPECT_EQ(pacer.backlog(), 0u);
  pacer.Resume(kNow + 2'000'000'000);
  EXPECT_GT(pacer.next_ticks(), kNow + 2'000'000'000);
}

}  // namespace
}  // namespace acre::bench
