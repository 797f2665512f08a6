// No wake-up is lost: real threads that sleep in every round. A lost one would show as the deadline
// of the task that waits for it, long after any round on the busiest machine.

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/deadline.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/wait_queue.h"

namespace acre {
namespace {

constexpr int kRounds = 5'000;
// The tests that aim at a window of some nanoseconds: enough rounds to hit it, or so much time.
constexpr uint64_t kAimedRounds = 40'000;
constexpr uint64_t kAimedNs = 3'000'000'000;
constexpr uint64_t kPatienceNs = 20'000'000'000;
// A delivery that took so long was lost, and a timer came to its rescue.
constexpr uint64_t kLostNs = kPatienceNs / 2;

// Sleeps at once when there is nothing to do.
Scheduler::Options Drowsy(Clock* clock) { return {.clock = clock, .spin_ns = 0}; }

// A thread with a scheduler, which runs till it is stopped.
class SchedulerThread {
 public:
  explicit SchedulerThread(Scheduler::Options options)
      : scheduler_(std::move(options)), thread_([this] { scheduler_.Run(); }) {}
  ~SchedulerThread() {
    scheduler_.Stop();
    thread_.join();
  }
  Scheduler* scheduler() { return &scheduler_; }

 private:
  Scheduler scheduler_;
  std::thread thread_;
};

Task<void> WaitForEachEvent(Event* event, int* count, int rounds, std::function<void()> ask) {
  for (; *count < rounds; ++*count) {
    ask();
    co_await event->Wait();
    event->Reset();
  }
}

TEST(SchedulerWakeTest, PingPongThroughPostLosesNothing) {
  RealClock clock;
  SchedulerThread other(Drowsy(&clock));
  Scheduler scheduler(Drowsy(&clock));
  Event answered(&scheduler);
  int count = 0;
  const auto ask = [&] {
    other.scheduler()->Post([&] { scheduler.Post([&] { answered.Set(); }); });
  };
  const absl::Status status =
      scheduler.RunUntilDone(WithDeadline(scheduler, scheduler.NowNs() + kPatienceNs,
                                          WaitForEachEvent(&answered, &count, kRounds, ask)));
  EXPECT_TRUE(status.ok()) << status << " in round " << count;
}

// A word that one thread writes and another's scheduler polls: what a ring is. `Ringer` wakes the
// sleeping side.
class Mailbox : public Poller {
 public:
  using Ringer = std::function<void()>;
  Mailbox(Ringer ringer, std::function<void(uint64_t)> on_mail)
      : ringer_(std::move(ringer)), on_mail_(std::move(on_mail)) {}

  // Any thread, one at a time.
  void Send(uint64_t mail) {
    // Full fence between the mail and the look at the flag; Poll() sees this value or an older one.
    mail_.exchange(mail, std::memory_order_seq_cst);
    if (armed_.load(std::memory_order_seq_cst)) ringer_();
  }
  bool Poll() override {
    const uint64_t mail = mail_.load(std::memory_order_seq_cst);
    if (mail == seen_) return false;
    seen_ = mail;
    on_mail_(mail);
    return true;
  }
  // Full fence between the flag and the load of the Poll() that follows.
  void Arm() override { armed_.exchange(true, std::memory_order_seq_cst); }
  void Disarm() override { armed_.store(false, std::memory_order_relaxed); }

 private:
  const Ringer ringer_;
  const std::function<void(uint64_t)> on_mail_;
  std::atomic<uint64_t> mail_{0};   // Written by Send, read by Poll.
  std::atomic<bool> armed_{false};  // Written by the polling thread, read by Send.
  uint64_t seen_ = 0;
};

Task<void> SendEach(Event* answered, Mailbox* to, int* count) {
  while (*count < kRounds) {
    ++*count;
    to->Send(static_cast<uint64_t>(*count));
    co_await answered->Wait();
    answered->Reset();
  }
}

TEST(SchedulerWakeTest, PingPongThroughArmedPollersLosesNothing) {
  RealClock clock;
  Scheduler near(Drowsy(&clock));
  Scheduler far(Drowsy(&clock));
  Event answered(&near);
  Mailbox to_near([&] { near.Wake(); }, [&](uint64_t) { answered.Set(); });
  Mailbox to_far([&] { far.Wake(); }, [&](uint64_t mail) { to_near.Send(mail); });
  near.AddPoller(&to_near);
  std::thread thread([&] {
    far.AddPoller(&to_far);
    far.Run();
  });
  int count = 0;
  const absl::Status status = near.RunUntilDone(
      WithDeadline(near, near.NowNs() + kPatienceNs, SendEach(&answered, &to_far, &count)));
  EXPECT_TRUE(status.ok()) << status << " in round " << count;
  EXPECT_GT(near.sleeps_count(), 0u);
  far.Stop();
  thread.join();
  EXPECT_GT(far.sleeps_count(), 0u);
}

// As between processes: the ringer writes to a file descriptor that the sleeper watches.
class Bell {
 public:
  explicit Bell(Scheduler* scheduler) : scheduler_(scheduler), fd_(eventfd(0, EFD_NONBLOCK)) {}
  ~Bell() { close(fd_); }
  void Watch() {
    const absl::Status status = scheduler_->WatchFd(fd_, EPOLLIN, [this](uint32_t) {
      uint64_t count;
      EXPECT_EQ(read(fd_, &count, sizeof(count)), 8);
    });
    ASSERT_TRUE(status.ok()) << status;
  }
  void Unwatch() { scheduler_->UnwatchFd(fd_); }
  void Ring() {
    const uint64_t one = 1;
    EXPECT_EQ(write(fd_, &one, sizeof(one)), 8);
  }

 private:
  Scheduler* const scheduler_;
  const int fd_;
};

TEST(SchedulerWakeTest, PingPongThroughWatchedFdsLosesNothing) {
  RealClock clock;
  Scheduler near(Drowsy(&clock));
  Scheduler far(Drowsy(&clock));
  Bell near_bell(&near), far_bell(&far);
  Event answered(&near);
  Mailbox to_near([&] { near_bell.Ring(); }, [&](uint64_t) { answered.Set(); });
  Mailbox to_far([&] { far_bell.Ring(); }, [&](uint64_t mail) { to_near.Send(mail); });
  near.AddPoller(&to_near);
  near_bell.Watch();
  std::thread thread([&] {
    far.AddPoller(&to_far);
    far_bell.Watch();
    far.Run();
    far_bell.Unwatch();
  });
  int count = 0;
  const absl::Status status = near.RunUntilDone(
      WithDeadline(near, near.NowNs() + kPatienceNs, SendEach(&answered, &to_far, &count)));
  EXPECT_TRUE(status.ok()) << status << " in round " << count;
  EXPECT_GT(near.sleeps_count(), 0u);
  far.Stop();
  thread.join();
  EXPECT_GT(far.sleeps_count(), 0u);
  near_bell.Unwatch();
}

// Spins a random while, up to some microseconds.
void SpinRandomly(Random* random) {
  std::atomic<uint64_t> spins{random->Uniform(2'000)};  // Atomic: so that the loop stays.
  while (spins.load(std::memory_order_relaxed) > 0) {
    spins.store(spins.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  }
}

// A thread that answers each arrival at a scheduler with the next delivery, after a random while:
// to hit each point on the other thread's way into sleep.
class AimingThread {
 public:
  AimingThread(Clock* clock, std::function<void(uint64_t)> deliver)
      : clock_(clock), deliver_(std::move(deliver)), thread_([this] { Run(); }) {}
  ~AimingThread() {
    given_up_.store(true, std::memory_order_relaxed);
    thread_.join();
  }

  // The scheduler's thread. True when nothing more is to come: it was the last, or was lost for a
  // while.
  bool Arrived(uint64_t round) {
    lost_ = clock_->NowNs() - delivered_ns_.load(std::memory_order_relaxed) > kLostNs;
    const bool last = round == last_round_.load(std::memory_order_relaxed);
    arrived_.store(round, std::memory_order_release);
    return last || lost_;
  }
  bool lost() const { return lost_; }

 private:
  void Run() {
    Random random(1);
    const uint64_t end_ns = clock_->NowNs() + kAimedNs;
    for (uint64_t round = 1;; ++round) {
      SpinRandomly(&random);
      const bool last = round == kAimedRounds || clock_->NowNs() >= end_ns;
      if (last) last_round_.store(round, std::memory_order_relaxed);
      delivered_ns_.store(clock_->NowNs(), std::memory_order_relaxed);
      deliver_(round);
      for (int spins = 0; arrived_.load(std::memory_order_acquire) < round; ++spins) {
        if (given_up_.load(std::memory_order_relaxed)) return;
        // For machines whose cores are taken.
        if (spins % 256 == 255) std::this_thread::yield();
      }
      if (last) return;
    }
  }

  Clock* const clock_;
  const std::function<void(uint64_t)> deliver_;
  std::atomic<uint64_t> arrived_{0};  // Written by the scheduler's thread, read by this one.
  // Both written by this thread before it delivers the round, so who has the delivery sees them.
  std::atomic<uint64_t> last_round_{UINT64_MAX};
  std::atomic<uint64_t> delivered_ns_{0};
  std::atomic<bool> given_up_{false};  // Written by the scheduler's thread, seen some time later.
  bool lost_ = false;                  // The scheduler's thread's own.
  std::thread thread_;
};

// Spins a random while before and after each step of falling asleep, and so makes the gaps between
// them wide enough to be hit.
class SlowPoller : public Poller {
 public:
  bool Poll() override {
    SpinRandomly(&random_);
    return false;
  }
  void Arm() override { SpinRandomly(&random_); }

 private:
  Random random_{2};
};

// Likewise at each look at the time: the loop begins its pass with one.
class SlowClock : public Clock {
 public:
  explicit SlowClock(Clock* clock) : clock_(clock) {}
  uint64_t NowNs() override {
    SpinRandomly(&random_);
    return clock_->NowNs();
  }

 private:
  Clock* const clock_;
  Random random_{3};
};

Task<void> WaitFor(Event* event) { co_await event->Wait(); }

// Ends a sleep that missed its wake-up.
Task<void> Rescue(Scheduler* scheduler) {
  for (;;) co_await scheduler->SleepFor(kPatienceNs);
}

class FallingAsleepTest : public ::testing::Test {
 protected:
  FallingAsleepTest() : slow_clock_(&clock_), scheduler_(Drowsy(&slow_clock_)), done_(&scheduler_) {
    scheduler_.AddPoller(&before_);
    scheduler_.Spawn(Rescue(&scheduler_)).Detach();
  }

  RealClock clock_;
  SlowClock slow_clock_;
  SlowPoller before_, after_;
  Scheduler scheduler_;
  Event done_;
};

TEST_F(FallingAsleepTest, PostAtAnyPointArrives) {
  std::function<void(uint64_t)> on_arrival;
  AimingThread thread(&clock_, [&](uint64_t round) {
    scheduler_.Post([&on_arrival, round] { on_arrival(round); });
  });
  on_arrival = [&](uint64_t round) {
    if (thread.Arrived(round)) done_.Set();
  };
  scheduler_.RunUntilDone(WaitFor(&done_));
  EXPECT_FALSE(thread.lost());
  EXPECT_GT(scheduler_.sleeps_count(), 0u);
}

TEST_F(FallingAsleepTest, MailAtAnyPointArrives) {
  std::function<void(uint64_t)> on_arrival;
  Mailbox mailbox([&] { scheduler_.Wake(); }, [&](uint64_t round) { on_arrival(round); });
  AimingThread thread(&clock_, [&](uint64_t round) { mailbox.Send(round); });
  on_arrival = [&](uint64_t round) {
    if (thread.Arrived(round)) done_.Set();
  };
  scheduler_.AddPoller(&mailbox);
  scheduler_.AddPoller(&after_);
  scheduler_.RunUntilDone(WaitFor(&done_));
  EXPECT_FALSE(thread.lost());
  EXPECT_GT(scheduler_.sleeps_count(), 0u);
}

TEST_F(FallingAsleepTest, StopAtAnyPointStops) {
  AimingThread thread(&clock_, [&](uint64_t) { scheduler_.Stop(); });
  for (uint64_t round = 1;; ++round) {
    scheduler_.Run();
    if (thread.Arrived(round)) break;
  }
  EXPECT_FALSE(thread.lost());
}

TEST(SchedulerWakeTest, PostsOfEachThreadArriveOnceInOrder) {
  constexpr int kThreadsCount = 3;
  RealClock clock;
  Scheduler scheduler(Drowsy(&clock));
  std::vector<int> next(kThreadsCount, 0);
  Event all_arrived(&scheduler);
  int missing = kThreadsCount * kRounds;
  std::vector<std::thread> threads;
  for (size_t sender = 0; sender < kThreadsCount; ++sender) {
    threads.emplace_back([&, sender] {
      for (int i = 0; i < kRounds; ++i) {
        scheduler.Post([&, sender, i] {
          EXPECT_EQ(next[sender]++, i);
          if (--missing == 0) all_arrived.Set();
        });
      }
    });
  }
  const absl::Status status = scheduler.RunUntilDone(
      WithDeadline(scheduler, scheduler.NowNs() + kPatienceNs, WaitFor(&all_arrived)));
  EXPECT_TRUE(status.ok()) << status;
  for (std::thread& thread : threads) thread.join();
}

TEST(SchedulerWakeTest, StopBeforeRunStopsIt) {
  RealClock clock;
  Scheduler scheduler(Drowsy(&clock));
  scheduler.Stop();
  scheduler.Run();
}

TEST(SchedulerWakeTest, BusyPollingSeesPostsToo) {
  RealClock clock;
  SchedulerThread other({.clock = &clock, .poll_mode = PollMode::kBusy});
  Scheduler scheduler({.clock = &clock, .poll_mode = PollMode::kBusy});
  Event answered(&scheduler);
  int count = 0;
  const auto ask = [&] {
    other.scheduler()->Post([&] { scheduler.Post([&] { answered.Set(); }); });
  };
  const absl::Status status = scheduler.RunUntilDone(WithDeadline(
      scheduler, scheduler.NowNs() + kPatienceNs, WaitForEachEvent(&answered, &count, 50, ask)));
  EXPECT_TRUE(status.ok()) << status << " in round " << count;
}

TEST(SchedulerWakeTest, DetachedSchedulerMovesToAnotherThread) {
  RealClock clock;
  Scheduler scheduler(Drowsy(&clock));
  scheduler.RunOnce();
  scheduler.DetachFromThread();
  std::thread thread([&] { scheduler.RunOnce(); });
  thread.join();
}

}  // namespace
}  // namespace acre
