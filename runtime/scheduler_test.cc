// The scheduler on one thread, under a clock that the test turns. With real threads and real time:
// scheduler_wake_test.cc.

#include "runtime/scheduler.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/frame_pool.h"
#include "runtime/wait_queue.h"

namespace acre {
namespace {

class SchedulerTest : public ::testing::Test {
 protected:
  SchedulerTest() : scheduler_({.clock = &clock_, .seed = 1, .never_sleep = true}) {}

  Task<void> LogAfter(uint64_t ns, int id) {
    co_await scheduler_.SleepFor(ns);
    log_.push_back(id);
  }
  Task<void> LogAfterEvent(Event* event, int id) {
    co_await event->Wait();
    log_.push_back(id);
  }
  Task<void> LogAfterQueue(WaitQueue* queue, int id) {
    co_await queue->Wait();
    log_.push_back(id);
  }
  void RunPasses(int count) {
    for (int i = 0; i < count; ++i) scheduler_.RunOnce();
  }

  ManualClock clock_;
  Scheduler scheduler_;
  std::vector<int> log_;
};

using Log = std::vector<int>;

TEST_F(SchedulerTest, TimersFireInOrderOfDeadlineThenOfSetting) {
  const std::vector<uint64_t> delays_ns = {30, 10, 20, 10, 0, 30, 10};
  for (size_t i = 0; i < delays_ns.size(); ++i) {
    scheduler_.Spawn(LogAfter(delays_ns[i], static_cast<int>(i))).Detach();
  }
  RunPasses(1);
  EXPECT_EQ(scheduler_.NextTimerNs(), clock_.NowNs());
  RunPasses(1);
  EXPECT_EQ(log_, Log({4}));
  clock_.AdvanceNs(9);
  RunPasses(2);
  EXPECT_EQ(log_, Log({4}));
  clock_.AdvanceNs(1);
  RunPasses(1);
  EXPECT_EQ(log_, Log({4, 1, 3, 6}));
  clock_.AdvanceNs(100);
  RunPasses(1);
  EXPECT_EQ(log_, Log({4, 1, 3, 6, 2, 0, 5}));
  EXPECT_FALSE(scheduler_.NextTimerNs().has_value());
}

TEST_F(SchedulerTest, ManyTimersSomeCancelledFireInOrder) {
  struct Sleeper {
    uint64_t delay_ns;
    SpawnHandle handle;
  };
  std::vector<uint64_t> fired_ns;
  const auto wait = [](Scheduler* scheduler, uint64_t ns, auto* fired) -> Task<void> {
    co_await scheduler->SleepFor(ns);
    fired->push_back(ns);
  };
  Random random(7);
  std::vector<Sleeper> sleepers;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t delay_ns = 1 + random.Uniform(500);
    sleepers.push_back({delay_ns, scheduler_.Spawn(wait(&scheduler_, delay_ns, &fired_ns))});
  }
  RunPasses(1);
  std::vector<uint64_t> expected_ns;
  for (Sleeper& sleeper : sleepers) {
    if (random.Uniform(2) == 0) {
      sleeper.handle.Cancel();
    } else {
      expected_ns.push_back(sleeper.delay_ns);
    }
  }
  std::sort(expected_ns.begin(), expected_ns.end());
  while (const auto next_ns = scheduler_.NextTimerNs()) {
    clock_.AdvanceToNs(*next_ns);
    RunPasses(1);
  }
  EXPECT_EQ(fired_ns, expected_ns);
}

TEST_F(SchedulerTest, QueueWakesFirstComeFirstServed) {
  WaitQueue queue(&scheduler_);
  for (int id = 0; id < 5; ++id) scheduler_.Spawn(LogAfterQueue(&queue, id)).Detach();
  RunPasses(1);
  queue.NotifyOne();
  queue.NotifyOne();
  EXPECT_EQ(log_, Log());  // Never from inside a Notify.
  RunPasses(1);
  EXPECT_EQ(log_, Log({0, 1}));
  queue.NotifyAll();
  RunPasses(1);
  EXPECT_EQ(log_, Log({0, 1, 2, 3, 4}));
  queue.NotifyOne();  // Not remembered.
  SpawnHandle late = scheduler_.Spawn(LogAfterQueue(&queue, 5));
  RunPasses(2);
  EXPECT_FALSE(late.done());
  late.Cancel();
}

TEST_F(SchedulerTest, CancelledWaiterLeavesTheQueue) {
  WaitQueue queue(&scheduler_);
  SpawnHandle first = scheduler_.Spawn(LogAfterQueue(&queue, 0));
  SpawnHandle second = scheduler_.Spawn(LogAfterQueue(&queue, 1));
  RunPasses(1);
  first.Cancel();
  queue.NotifyOne();
  RunPasses(1);
  EXPECT_EQ(log_, Log({1}));
}

// Goal: a wake-up given to a waiter that is cancelled before it runs is not lost.
TEST_F(SchedulerTest, CancelledAfterNotifyHandsTheWakeUpOn) {
  WaitQueue queue(&scheduler_);
  SpawnHandle first = scheduler_.Spawn(LogAfterQueue(&queue, 0));
  SpawnHandle second = scheduler_.Spawn(LogAfterQueue(&queue, 1));
  RunPasses(1);
  queue.NotifyOne();
  first.Cancel();
  RunPasses(1);
  EXPECT_EQ(log_, Log({1}));
}

TEST_F(SchedulerTest, QueueMayGoAfterItsWaitersWereNotified) {
  auto queue = std::make_unique<WaitQueue>(&scheduler_);
  SpawnHandle handle = scheduler_.Spawn(LogAfterQueue(queue.get(), 0));
  RunPasses(1);
  queue->NotifyOne();
  queue.reset();
  RunPasses(1);
  EXPECT_EQ(log_, Log({0}));
}

TEST_F(SchedulerTest, EventWakesAllAndStaysSet) {
  Event event(&scheduler_);
  for (int id = 0; id < 3; ++id) scheduler_.Spawn(LogAfterEvent(&event, id)).Detach();
  RunPasses(1);
  event.Set();
  event.Reset();  // Takes nothing back.
  RunPasses(1);
  EXPECT_EQ(log_, Log({0, 1, 2}));
  event.Set();
  scheduler_.RunUntilDone(LogAfterEvent(&event, 3));
  EXPECT_EQ(log_, Log({0, 1, 2, 3}));
}

class CountingPoller : public Poller {
 public:
  bool Poll() override {
    ++polls;
    return false;
  }
  int polls = 0;
};

Task<void> YieldForever(Scheduler* scheduler, int* rounds) {
  for (;;) {
    ++*rounds;
    co_await scheduler->Yield();
  }
}

TEST_F(SchedulerTest, YieldLoopStarvesNeitherPollersNorTimersNorTasks) {
  CountingPoller poller;
  scheduler_.AddPoller(&poller);
  int rounds = 0;
  SpawnHandle yielding = scheduler_.Spawn(YieldForever(&scheduler_, &rounds));
  scheduler_.Spawn(LogAfter(3, 1)).Detach();
  for (int pass = 1; pass <= 100; ++pass) {
    EXPECT_TRUE(scheduler_.RunOnce());  // A task is runnable: it must not sleep.
    EXPECT_EQ(poller.polls, pass);
    EXPECT_EQ(rounds, pass);
    clock_.AdvanceNs(1);
  }
  EXPECT_EQ(log_, Log({1}));
  scheduler_.RemovePoller(&poller);
  RunPasses(1);
  EXPECT_EQ(poller.polls, 100);
}

// Removes another poller, and adds one, in the middle of a round.
class MeddlingPoller : public CountingPoller {
 public:
  MeddlingPoller(Scheduler* scheduler, Poller* removed, Poller* added)
      : scheduler_(scheduler), removed_(removed), added_(added) {}
  bool Poll() override {
    if (polls == 0) {
      scheduler_->RemovePoller(removed_);
      scheduler_->AddPoller(added_);
    }
    return CountingPoller::Poll();
  }

 private:
  Scheduler* scheduler_;
  Poller* removed_;
  Poller* added_;
};

TEST_F(SchedulerTest, PollersMayComeAndGoDuringARound) {
  CountingPoller removed, added;
  MeddlingPoller meddling(&scheduler_, &removed, &added);
  scheduler_.AddPoller(&meddling);
  scheduler_.AddPoller(&removed);
  RunPasses(3);
  EXPECT_EQ(meddling.polls, 3);
  EXPECT_EQ(removed.polls, 0);
  EXPECT_GE(added.polls, 2);
  scheduler_.RemovePoller(&meddling);
  scheduler_.RemovePoller(&added);
}

TEST_F(SchedulerTest, CancelDestroysTheTaskAtOnceAndJoinReturns) {
  SpawnHandle sleeper = scheduler_.Spawn(LogAfter(1000, 1));
  const auto join = [](SpawnHandle* handle, Log* log) -> Task<void> {
    co_await handle->Join();
    log->push_back(9);
  };
  SpawnHandle joiner = scheduler_.Spawn(join(&sleeper, &log_));
  RunPasses(2);
  EXPECT_FALSE(sleeper.done());
  EXPECT_FALSE(joiner.done());
  sleeper.Cancel();
  EXPECT_TRUE(sleeper.done());
  EXPECT_FALSE(scheduler_.NextTimerNs().has_value());
  RunPasses(1);
  EXPECT_TRUE(joiner.done());
  EXPECT_EQ(log_, Log({9}));
  sleeper.Cancel();  // No effect any more.
}

TEST_F(SchedulerTest, CancelBeforeTheFirstRunNeverRuns) {
  const int64_t live_before = FramePool::LiveBlocks();
  int rounds = 0;
  {
    SpawnHandle handle = scheduler_.Spawn(YieldForever(&scheduler_, &rounds));
    handle.Cancel();
  }
  RunPasses(2);
  EXPECT_EQ(rounds, 0);
  EXPECT_EQ(FramePool::LiveBlocks(), live_before);
}

TEST_F(SchedulerTest, TaskThatCancelsItselfRunsToItsNextSuspension) {
  SpawnHandle handle;
  const auto cancel_self = [](Scheduler* scheduler, SpawnHandle* own, Log* log) -> Task<void> {
    own->Cancel();
    log->push_back(1);
    co_await scheduler->Yield();
    log->push_back(2);
  };
  handle = scheduler_.Spawn(cancel_self(&scheduler_, &handle, &log_));
  RunPasses(3);
  EXPECT_TRUE(handle.done());
  EXPECT_EQ(log_, Log({1}));
}

TEST_F(SchedulerTest, TaskThatCancelsAnotherSeesItGone) {
  SpawnHandle victim = scheduler_.Spawn(LogAfter(1, 1));
  const auto cancel = [](SpawnHandle* other, Log* log) -> Task<void> {
    other->Cancel();
    log->push_back(other->done() ? 2 : 3);
    co_return;
  };
  scheduler_.RunUntilDone(cancel(&victim, &log_));
  clock_.AdvanceNs(10);
  RunPasses(2);
  EXPECT_EQ(log_, Log({2}));
}

TEST_F(SchedulerTest, SpawnedTaskOutlivesItsDroppedHandle) {
  scheduler_.Spawn(LogAfter(1, 1)).Detach();
  RunPasses(1);
  clock_.AdvanceNs(1);
  RunPasses(1);
  EXPECT_EQ(log_, Log({1}));
}

TEST_F(SchedulerTest, PostedFunctionsRunInOrderAndMayPost) {
  scheduler_.Post([this] {
    log_.push_back(1);
    scheduler_.Post([this] { log_.push_back(3); });
  });
  scheduler_.Post([this] { log_.push_back(2); });
  EXPECT_TRUE(scheduler_.RunOnce());
  EXPECT_EQ(log_, Log({1, 2}));
  EXPECT_TRUE(scheduler_.RunOnce());
  EXPECT_EQ(log_, Log({1, 2, 3}));
  EXPECT_FALSE(scheduler_.RunOnce());
}

TEST_F(SchedulerTest, BlockingCallsThatNeverSuspendStillServePollers) {
  CountingPoller poller;
  scheduler_.AddPoller(&poller);
  Event event(&scheduler_);
  event.Set();
  for (int i = 0; i < 640; ++i) scheduler_.RunUntilDone(LogAfterEvent(&event, i));
  EXPECT_EQ(poller.polls, 10);
  scheduler_.RemovePoller(&poller);
}

TEST_F(SchedulerTest, SameSeedSameRandomNumbers) {
  Scheduler other({.clock = &clock_, .seed = 1, .never_sleep = true});
  for (int i = 0; i < 10; ++i) EXPECT_EQ(scheduler_.random().Next(), other.random().Next());
}

using SchedulerDeathTest = SchedulerTest;

TEST_F(SchedulerDeathTest, NestedRunUntilDoneDies) {
  const auto nothing = []() -> Task<void> { co_return; };
  const auto nest = [](Scheduler* scheduler, Task<void> inner) -> Task<void> {
    scheduler->RunUntilDone(std::move(inner));
    co_return;
  };
  EXPECT_DEATH(scheduler_.RunUntilDone(nest(&scheduler_, nothing())), "from inside a task");
}

}  // namespace
}  // namespace acre
