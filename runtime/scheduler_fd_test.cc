// The scheduler with real file descriptors and real time, on one thread.

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/wait_queue.h"

namespace acre {
namespace {

class Pipe {
 public:
  Pipe() { CHECK_EQ(pipe2(fds_.data(), O_NONBLOCK | O_CLOEXEC), 0); }
  ~Pipe() {
    close(fds_[0]);
    close(fds_[1]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int read_fd() const { return fds_[0]; }
  void Write() { CHECK_EQ(write(fds_[1], "x", 1), 1); }
  void Read() {
    char byte;
    CHECK_EQ(read(fds_[0], &byte, 1), 1);
  }

 private:
  std::array<int, 2> fds_;
};

Task<void> WaitFor(Event* event) { co_await event->Wait(); }
Task<void> TimerFires(Scheduler* scheduler, uint64_t ns) { co_await scheduler->SleepFor(ns); }

class SchedulerFdTest : public ::testing::TestWithParam<PollMode> {
 protected:
  SchedulerFdTest() : scheduler_({.clock = &clock_, .poll_mode = GetParam()}) {}

  RealClock clock_;
  Scheduler scheduler_;
};

TEST_P(SchedulerFdTest, ReadableFdCallsBackTillItIsRead) {
  Pipe pipe;
  Event event(&scheduler_);
  int calls = 0;
  ASSERT_TRUE(scheduler_
                  .WatchFd(pipe.read_fd(), EPOLLIN,
                           [&](uint32_t events) {
                             EXPECT_EQ(events, uint32_t{EPOLLIN});
                             if (++calls < 3) return;  // Level-triggered: it comes again.
                             pipe.Read();
                             event.Set();
                           })
                  .ok());
  pipe.Write();
  scheduler_.RunUntilDone(WaitFor(&event));
  EXPECT_EQ(calls, 3);
  scheduler_.ModifyFd(pipe.read_fd(), 0);
  pipe.Write();
  scheduler_.RunUntilDone(TimerFires(&scheduler_, 1'000'000));
  EXPECT_EQ(calls, 3);
  scheduler_.UnwatchFd(pipe.read_fd());
  scheduler_.UnwatchFd(pipe.read_fd());  // No effect.
}

// Goal: of two that are ready at once the first called unwatches both, itself included; the other
// one's event is in hand already and must not be delivered.
TEST_P(SchedulerFdTest, UnwatchedFdIsNeverCalledBack) {
  Pipe first, second;
  Event event(&scheduler_);
  int calls = 0;
  const auto on_ready = [&](uint32_t) {
    ++calls;
    scheduler_.UnwatchFd(first.read_fd());
    scheduler_.UnwatchFd(second.read_fd());
    event.Set();
  };
  ASSERT_TRUE(scheduler_.WatchFd(first.read_fd(), EPOLLIN, on_ready).ok());
  ASSERT_TRUE(scheduler_.WatchFd(second.read_fd(), EPOLLIN, on_ready).ok());
  first.Write();
  second.Write();
  scheduler_.RunUntilDone(WaitFor(&event));
  scheduler_.RunUntilDone(TimerFires(&scheduler_, 1'000'000));
  EXPECT_EQ(calls, 1);
  // Watched again under the same number it starts anew.
  event.Reset();
  ASSERT_TRUE(scheduler_.WatchFd(second.read_fd(), EPOLLIN, on_ready).ok());
  scheduler_.RunUntilDone(WaitFor(&event));
  EXPECT_EQ(calls, 2);
}

TEST_P(SchedulerFdTest, WatchingTwiceOrNothingIsAnError) {
  Pipe pipe;
  ASSERT_TRUE(scheduler_.WatchFd(pipe.read_fd(), EPOLLIN, [](uint32_t) {}).ok());
  EXPECT_EQ(scheduler_.WatchFd(pipe.read_fd(), EPOLLIN, [](uint32_t) {}).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_FALSE(scheduler_.WatchFd(-1, EPOLLIN, [](uint32_t) {}).ok());
  scheduler_.UnwatchFd(pipe.read_fd());
}

TEST_P(SchedulerFdTest, TimersAreNotEarly) {
  for (const uint64_t ns : {uint64_t{0}, uint64_t{1'000}, uint64_t{50'000}, uint64_t{3'000'000}}) {
    const uint64_t start_ns = clock_.NowNs();
    scheduler_.RunUntilDone(TimerFires(&scheduler_, ns));
    EXPECT_GE(clock_.NowNs() - start_ns, ns);
  }
}

std::string ModeName(const ::testing::TestParamInfo<PollMode>& mode) {
  return mode.param == PollMode::kBusy ? "Busy" : "Adaptive";
}
INSTANTIATE_TEST_SUITE_P(PollModes, SchedulerFdTest,
                         ::testing::Values(PollMode::kAdaptive, PollMode::kBusy), &ModeName);

TEST(SchedulerThreadDeathTest, CallFromAnotherThreadDies) {
  RealClock clock;
  Scheduler scheduler({.clock = &clock, .name = "mine"});
  scheduler.RunOnce();
  EXPECT_DEATH(std::thread([&] { scheduler.RunOnce(); }).join(), "mine belongs to another thread");
}

}  // namespace
}  // namespace acre
