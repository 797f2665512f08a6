#include "runtime/clock.h"

#include "gtest/gtest.h"

namespace acre {
namespace {

constexpr uint64_t kMs = 1'000'000;

TEST(RealClockTest, NeverGoesBack) {
  RealClock clock;
  const TickClock tick_clock = clock.tick_clock();
  uint64_t last_ns = clock.NowNs();
  uint64_t last_ticks = tick_clock.Ticks();
  for (int i = 0; i < 10'000; ++i) {
    const uint64_t now_ns = clock.NowNs();
    const uint64_t now_ticks = tick_clock.Ticks();
    EXPECT_GE(now_ns, last_ns);
    EXPECT_GE(now_ticks, last_ticks);
    last_ns = now_ns;
    last_ticks = now_ticks;
  }
}

// Goal: the lease checker's use. The margin here is the whole precision that clock.h promises for a
// deadline 20 ms ahead (0.45 % of it, and a reading), asked of a clock that was made just now. The
// other way round a busy machine may come late to the comparison, so only "not early" is exact.
TEST(RealClockTest, TickDeadlineIsNotEarly) {
  RealClock clock;
  const TickClock tick_clock = clock.tick_clock();
  const uint64_t deadline_ns = clock.NowNs() + 20 * kMs;
  const uint64_t deadline_ticks = clock.TicksAt(deadline_ns);
  while (tick_clock.Ticks() < deadline_ticks) {
  }
  EXPECT_GE(clock.NowNs() + kMs / 10, deadline_ns);
}

TEST(RealClockTest, TicksAtAgreesWithTicks) {
  RealClock clock;
  const uint64_t now_ns = clock.NowNs();
  const uint64_t before_ticks = clock.Ticks();
  const uint64_t later_ticks = clock.TicksAt(now_ns + 500 * kMs);
  const double ahead_ns = static_cast<double>(later_ticks - before_ticks) / clock.ticks_per_ns();
  // now_ns was read first: the distance is less by what passed in between.
  EXPECT_LE(ahead_ns, 500e6 + 3e6);
  EXPECT_LE(clock.TicksAt(now_ns), clock.Ticks());
  EXPECT_EQ(clock.TicksAt(UINT64_MAX), UINT64_MAX);
  EXPECT_LT(clock.TicksAt(0), clock.TicksAt(now_ns));
}

TEST(ManualClockTest, PassesOnlyWhenTold) {
  ManualClock clock(5);
  EXPECT_EQ(clock.NowNs(), 5u);
  EXPECT_EQ(clock.Ticks(), 5u);
  clock.AdvanceNs(10);
  EXPECT_EQ(clock.NowNs(), 15u);
  clock.AdvanceToNs(100);
  EXPECT_EQ(clock.tick_clock().Ticks(), 100u);
  EXPECT_EQ(clock.TicksAt(200), 200u);
  EXPECT_DEATH(clock.AdvanceToNs(99), "does not go back");
}

}  // namespace
}  // namespace acre
