// What an idle scheduler costs.

#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"

namespace acre {
namespace {

uint64_t ThreadCpuNs() {
  timespec now;
  CHECK_EQ(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), 0);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

class NeverReadyPoller : public Poller {
 public:
  bool Poll() override { return false; }
  bool ShouldSpin() override { return should_spin; }
  void Arm() override { ++armed; }
  void Disarm() override { ++disarmed; }
  bool should_spin = true;
  int armed = 0;
  int disarmed = 0;
};

// As a server that renews its leases: a timer every 50 ms.
Task<void> TickTenTimes(Scheduler* scheduler) {
  for (int i = 0; i < 10; ++i) co_await scheduler->SleepFor(50'000'000);
}

TEST(SchedulerIdleTest, UsesLessThanOnePercentOfACore) {
  RealClock clock;
  Scheduler scheduler({.clock = &clock});
  NeverReadyPoller poller;
  scheduler.AddPoller(&poller);
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  ASSERT_TRUE(scheduler.WatchFd(fds[0], EPOLLIN, [](uint32_t) {}).ok());

  const uint64_t start_ns = clock.NowNs();
  const uint64_t start_cpu_ns = ThreadCpuNs();
  scheduler.RunUntilDone(TickTenTimes(&scheduler));
  const uint64_t cpu_ns = ThreadCpuNs() - start_cpu_ns;
  const uint64_t elapsed_ns = clock.NowNs() - start_ns;
  EXPECT_LT(cpu_ns * 100, elapsed_ns) << cpu_ns << " ns of CPU in " << elapsed_ns << " ns";
  EXPECT_GE(poller.armed, 10);
  EXPECT_LE(poller.armed, 40) << "woken for nothing";
  EXPECT_EQ(poller.armed, poller.disarmed);

  scheduler.UnwatchFd(fds[0]);
  scheduler.RemovePoller(&poller);
  close(fds[0]);
  close(fds[1]);
}

Task<void> TickTenMs(Scheduler* scheduler) {
  for (int i = 0; i < 10; ++i) co_await scheduler->SleepFor(1'000'000);
}

TEST(SchedulerIdleTest, SpinsNotIfAPollerExpectsNothingSoon) {
  RealClock clock;
  Scheduler scheduler({.clock = &clock, .spin_ns = 3'600'000'000'000});
  NeverReadyPoller poller, other;
  scheduler.AddPoller(&poller);
  scheduler.AddPoller(&other);
  scheduler.RunUntilDone(TickTenMs(&scheduler));
  EXPECT_EQ(scheduler.sleeps_count(), 0u);
  poller.should_spin = false;
  scheduler.RunUntilDone(TickTenMs(&scheduler));
  EXPECT_GT(scheduler.sleeps_count(), 0u);
  scheduler.RemovePoller(&poller);
  scheduler.RemovePoller(&other);
}

}  // namespace
}  // namespace acre
