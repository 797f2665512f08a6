#include "runtime/task.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/wait_queue.h"

namespace acre {
namespace {

class TaskTest : public ::testing::Test {
 protected:
  TaskTest() : scheduler_({.clock = &clock_, .never_sleep = true}) {}

  ManualClock clock_;
  Scheduler scheduler_;
};

Task<int> Return(int value) { co_return value; }

Task<int> Depth(int levels) {
  if (levels == 0) co_return 0;
  const int below = co_await Depth(levels - 1);
  co_return below + 1;
}

Task<int> DepthThenYield(Scheduler* scheduler, int levels) {
  if (levels == 0) {
    co_await scheduler->Yield();
    co_return 0;
  }
  const int below = co_await DepthThenYield(scheduler, levels - 1);
  co_return below + 1;
}

TEST_F(TaskTest, GivesItsValue) { EXPECT_EQ(scheduler_.RunUntilDone(Return(7)), 7); }

TEST_F(TaskTest, GivesAMoveOnlyValue) {
  const auto make = []() -> Task<std::unique_ptr<std::string>> {
    co_return std::make_unique<std::string>("moved");
  };
  const auto pass_on = [](auto* make_one) -> Task<std::unique_ptr<std::string>> {
    auto value = co_await (*make_one)();
    co_return std::move(value);
  };
  EXPECT_EQ(*scheduler_.RunUntilDone(pass_on(&make)), "moved");
}

TEST_F(TaskTest, DoesNothingUntilItIsAwaited) {
  const int64_t live_before = FramePool::LiveBlocks();
  bool ran = false;
  const auto set = [](bool* flag) -> Task<void> {
    *flag = true;
    co_return;
  };
  { const Task<void> task = set(&ran); }
  EXPECT_FALSE(ran);
  EXPECT_EQ(FramePool::LiveBlocks(), live_before);
}

TEST_F(TaskTest, MovesLeaveTheSourceEmpty) {
  Task<int> first = Return(1);
  Task<int> second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): its state is promised.
  EXPECT_TRUE(second);
  second = Return(2);
  EXPECT_EQ(scheduler_.RunUntilDone(std::move(second)), 2);
}

// A hundred thousand frames are one chain, but no stack: neither going down nor coming back.
TEST_F(TaskTest, DeepChainUsesNoStack) {
  EXPECT_EQ(scheduler_.RunUntilDone(Depth(100'000)), 100'000);
  EXPECT_EQ(scheduler_.RunUntilDone(DepthThenYield(&scheduler_, 100'000)), 100'000);
}

TEST_F(TaskTest, LoopOverTasksThatCompleteAtOnceUsesNoStack) {
  const auto sum = []() -> Task<int64_t> {
    int64_t total = 0;
    for (int i = 0; i < 300'000; ++i) total += co_await Return(i);
    co_return total;
  };
  EXPECT_EQ(scheduler_.RunUntilDone(sum()), int64_t{300'000} * 299'999 / 2);
}

TEST_F(TaskTest, FrameIsFreedWhenTheAwaitEnds) {
  const auto check = []() -> Task<void> {
    const int64_t live_before = FramePool::LiveBlocks();
    for (int i = 0; i < 10; ++i) {
      const int value = co_await Depth(5);
      EXPECT_EQ(value, 5);
      EXPECT_EQ(FramePool::LiveBlocks(), live_before);
    }
  };
  scheduler_.RunUntilDone(check());
}

// Counts how many of it exist, in frames that may be destroyed half-way.
class Counted {
 public:
  explicit Counted(int* live) : live_(live) { ++*live_; }
  Counted(const Counted& other) : live_(other.live_) { ++*live_; }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --*live_; }

 private:
  int* live_;
};

Task<int> Suspending(Scheduler* scheduler, Event* event, WaitQueue* queue, int levels,
                     Counted parameter, int* live) {
  const Counted local(live);
  if (levels > 0) {
    const int below = co_await Suspending(scheduler, event, queue, levels - 1, parameter, live);
    co_await scheduler->Yield();
    co_return below + 1;
  }
  co_await scheduler->Yield();
  co_await scheduler->SleepFor(5);
  co_await event->Wait();
  co_await queue->Wait();
  co_return 0;
}

Task<void> Top(Scheduler* scheduler, Event* event, WaitQueue* queue, int* live, bool* done) {
  const int levels = co_await Suspending(scheduler, event, queue, 3, Counted(live), live);
  EXPECT_EQ(levels, 3);
  *done = true;
}

// Goal: wherever a task stands when it is cancelled, no frame, no local and no waiter is left.
TEST_F(TaskTest, CancelledAtEverySuspensionLeaksNothing) {
  const int64_t live_before = FramePool::LiveBlocks();
  bool done = false;
  int passes_until_cancel = 0;
  for (; !done; ++passes_until_cancel) {
    ASSERT_LT(passes_until_cancel, 100);
    int live = 0;
    Event event(&scheduler_);
    WaitQueue queue(&scheduler_);
    {
      SpawnHandle handle = scheduler_.Spawn(Top(&scheduler_, &event, &queue, &live, &done));
      for (int pass = 0; pass < passes_until_cancel; ++pass) {
        scheduler_.RunOnce();
        clock_.AdvanceNs(1);
        if (pass == 10) event.Set();
        if (pass == 12) queue.NotifyOne();
      }
      handle.Cancel();
      EXPECT_TRUE(handle.done());
    }
    EXPECT_EQ(live, 0);
    EXPECT_EQ(FramePool::LiveBlocks(), live_before);
    EXPECT_TRUE(queue.empty());
    EXPECT_FALSE(scheduler_.NextTimerNs().has_value());
    EXPECT_TRUE(scheduler_.nothing_ready());
  }
  EXPECT_GT(passes_until_cancel, 15);
}

TEST_F(TaskTest, DestroyedSchedulerCancelsItsTasks) {
  const int64_t live_before = FramePool::LiveBlocks();
  int live = 0;
  bool done = false;
  auto scheduler = std::make_unique<Scheduler>(
      Scheduler::Options{.clock = &clock_, .never_sleep = true, .name = "short-lived"});
  auto event = std::make_unique<Event>(scheduler.get());
  auto queue = std::make_unique<WaitQueue>(scheduler.get());
  SpawnHandle handle =
      scheduler->Spawn(Top(scheduler.get(), event.get(), queue.get(), &live, &done));
  for (int pass = 0; pass < 3; ++pass) scheduler->RunOnce();
  EXPECT_GT(live, 0);
  scheduler.reset();
  EXPECT_EQ(live, 0);
  EXPECT_TRUE(handle.done());
  handle.Cancel();
  handle.Detach();
  EXPECT_EQ(FramePool::LiveBlocks(), live_before);
}

using TaskDeathTest = TaskTest;

TEST_F(TaskDeathTest, AwaitingAnEmptyTaskDies) {
  const auto twice = []() -> Task<void> {
    Task<int> task = Return(1);
    co_await std::move(task);
    co_await std::move(task);
  };
  EXPECT_DEATH(scheduler_.RunUntilDone(twice()), "awaited or moved from before");
}

}  // namespace
}  // namespace acre
