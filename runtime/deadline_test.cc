#include "runtime/deadline.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/frame_pool.h"
#include "runtime/scheduler.h"
#include "runtime/wait_queue.h"

namespace acre {
namespace {

Task<absl::Status> StatusAfter(Scheduler* scheduler, uint64_t ns, absl::Status status) {
  if (ns > 0) co_await scheduler->SleepFor(ns);
  co_return status;
}
Task<absl::StatusOr<int>> StatusOrAfter(Scheduler* scheduler, uint64_t ns) {
  co_await scheduler->SleepFor(ns);
  co_return 5;
}
Task<int> IntAfter(Scheduler* scheduler, uint64_t ns) {
  co_await scheduler->SleepFor(ns);
  co_return 6;
}
Task<void> VoidAfter(Scheduler* scheduler, uint64_t ns) { co_await scheduler->SleepFor(ns); }

template <class T>
Task<void> StoreIn(Task<T> task, absl::optional<T>* result) {
  T value = co_await std::move(task);
  result->emplace(std::move(value));
}

class DeadlineTest : public ::testing::Test {
 protected:
  DeadlineTest() : scheduler_({.clock = &clock_, .never_sleep = true}) {}

  void RunPasses(int count) {
    for (int i = 0; i < count; ++i) scheduler_.RunOnce();
  }
  // Runs `task` while a nanosecond passes per pass of the loop.
  template <class T>
  T Run(Task<T> task) {
    absl::optional<T> result;
    SpawnHandle handle = scheduler_.Spawn(StoreIn(std::move(task), &result));
    for (int i = 0; i < 1000 && !handle.done(); ++i) {
      scheduler_.RunOnce();
      clock_.AdvanceNs(1);
    }
    CHECK(handle.done());
    return *std::move(result);
  }
  uint64_t In(uint64_t ns) { return clock_.NowNs() + ns; }

  ManualClock clock_;
  Scheduler scheduler_;
};

TEST_F(DeadlineTest, ValueArrivesInTime) {
  const int64_t live_before = FramePool::LiveBlocks();
  const absl::Status refused = absl::NotFoundError("refused");
  EXPECT_EQ(Run(WithDeadline(scheduler_, In(10), StatusAfter(&scheduler_, 5, refused))), refused);
  const absl::StatusOr<int> five =
      Run(WithDeadline(scheduler_, In(10), StatusOrAfter(&scheduler_, 5)));
  EXPECT_EQ(*five, 5);
  const absl::StatusOr<int> six = Run(WithDeadline(scheduler_, In(10), IntAfter(&scheduler_, 5)));
  EXPECT_EQ(*six, 6);
  EXPECT_TRUE(Run(WithDeadline(scheduler_, In(10), VoidAfter(&scheduler_, 5))).ok());
  EXPECT_EQ(FramePool::LiveBlocks(), live_before);
  EXPECT_FALSE(scheduler_.NextTimerNs().has_value());
}

TEST_F(DeadlineTest, LateTaskIsDestroyed) {
  const int64_t live_before = FramePool::LiveBlocks();
  const absl::Status status =
      Run(WithDeadline(scheduler_, In(5), StatusAfter(&scheduler_, 100, absl::OkStatus())));
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(FramePool::LiveBlocks(), live_before);
  EXPECT_FALSE(scheduler_.NextTimerNs().has_value());
}

TEST_F(DeadlineTest, TaskThatNeverSuspendsWinsOverADeadlineThatHasPassed) {
  const absl::Status status =
      Run(WithDeadline(scheduler_, In(0) - 1, StatusAfter(&scheduler_, 0, absl::OkStatus())));
  EXPECT_TRUE(status.ok());
}

// Sets an event after the timers of a pass have fired, before any task of it runs.
class SettingPoller : public Poller {
 public:
  explicit SettingPoller(Event* event) : event_(event) {}
  bool Poll() override {
    event_->Set();
    return true;
  }

 private:
  Event* event_;
};

Task<void> WaitFor(Event* event) { co_await event->Wait(); }

// Goal: end and deadline in the same pass, in either order, resume the caller once.
TEST_F(DeadlineTest, EndJustBeforeTheDeadlineWins) {
  const int64_t live_before = FramePool::LiveBlocks();
  Event event(&scheduler_);
  absl::optional<absl::Status> result;
  SpawnHandle handle = scheduler_.Spawn(
      StoreIn<absl::Status>(WithDeadline(scheduler_, In(5), WaitFor(&event)), &result));
  RunPasses(1);
  event.Set();  // Ready before the timer fires.
  clock_.AdvanceNs(5);
  RunPasses(1);
  ASSERT_TRUE(handle.done());
  EXPECT_TRUE(result->ok());
  RunPasses(3);
  EXPECT_TRUE(scheduler_.nothing_ready());
  EXPECT_FALSE(scheduler_.NextTimerNs().has_value());
  handle.Detach();
  EXPECT_EQ(FramePool::LiveBlocks(), live_before);
}

TEST_F(DeadlineTest, DeadlineJustBeforeTheEndWins) {
  const int64_t live_before = FramePool::LiveBlocks();
  Event event(&scheduler_);
  SettingPoller setter(&event);
  absl::optional<absl::Status> result;
  SpawnHandle handle = scheduler_.Spawn(
      StoreIn<absl::Status>(WithDeadline(scheduler_, In(5), WaitFor(&event)), &result));
  RunPasses(1);
  clock_.AdvanceNs(5);
  scheduler_.AddPoller(&setter);
  RunPasses(1);
  scheduler_.RemovePoller(&setter);
  ASSERT_TRUE(handle.done());
  EXPECT_EQ(result->code(), absl::StatusCode::kDeadlineExceeded);
  RunPasses(3);
  EXPECT_TRUE(scheduler_.nothing_ready());
  EXPECT_FALSE(scheduler_.NextTimerNs().has_value());
  handle.Detach();
  EXPECT_EQ(FramePool::LiveBlocks(), live_before);
}

TEST_F(DeadlineTest, DestroyedBeforeItRanTakesNothingAlong) {
  const int64_t live_before = FramePool::LiveBlocks();
  { const auto task = WithDeadline(scheduler_, In(5), VoidAfter(&scheduler_, 100)); }
  EXPECT_EQ(FramePool::LiveBlocks(), live_before);
}

TEST_F(DeadlineTest, NestedDeadlinesTheInnerFiresFirst) {
  const uint64_t start_ns = clock_.NowNs();
  const absl::Status status = Run(WithDeadline(
      scheduler_, In(50), WithDeadline(scheduler_, In(5), VoidAfter(&scheduler_, 100))));
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(clock_.NowNs(), start_ns + 20);
}

}  // namespace
}  // namespace acre
