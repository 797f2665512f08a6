#include "transport/resolver.h"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"

namespace acre::transport {
namespace {

using Addresses = absl::StatusOr<std::vector<SocketAddress>>;

// A resolver that answers when the test lets it: shared with threads that may outlive everything else.
class SlowResolver {
 public:
  ResolveFunction function() {
    return [state = state_](const HostPort& host_port) {
      std::unique_lock<std::mutex> lock(state->mutex);
      ++state->begun;
      state->changed.notify_all();
      state->changed.wait(lock, [&] { return state->may_answer; });
      ++state->ended;
      state->changed.notify_all();
      return Resolve({"127.0.0.1", host_port.port});
    };
  }
  void Answer() {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->may_answer = true;
    state_->changed.notify_all();
  }
  void WaitTillBegun() {
    std::unique_lock<std::mutex> lock(state_->mutex);
    state_->changed.wait(lock, [&] { return state_->begun > 0; });
  }
  void WaitTillEnded() {
    std::unique_lock<std::mutex> lock(state_->mutex);
    state_->changed.wait(lock, [&] { return state_->ended == state_->begun; });
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    int begun = 0;
    int ended = 0;
    bool may_answer = false;
  };
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

Task<void> ResolveInto(Scheduler* scheduler, uint64_t deadline_ns, ResolveFunction resolve,
                       Addresses* addresses) {
  *addresses = co_await ResolveUntil(scheduler, {"name", 7}, deadline_ns, std::move(resolve));
}

class ResolverTest : public testing::Test {
 protected:
  RealClock clock_;
  std::unique_ptr<Scheduler> scheduler_ =
      std::make_unique<Scheduler>(Scheduler::Options{.clock = &clock_});
  SlowResolver slow_;
};

// Goal: nobody is asked for a number.
TEST_F(ResolverTest, NumbersAreAnsweredAtOnce) {
  for (const char* number : {"127.0.0.1", "::1", "192.0.2.7"}) {
    const Addresses addresses = scheduler_->RunUntilDone(ResolveUntil(
        scheduler_.get(), {number, 80}, /*deadline_ns=*/0, [](const HostPort&) -> Addresses {
          ADD_FAILURE() << "asked for a number";
          return absl::InternalError("");
        }));
    ASSERT_TRUE(addresses.ok()) << addresses.status();
    EXPECT_EQ(addresses->front().ToString(), (HostPort{number, 80}).ToString());
  }
}

// Goal: the scheduler goes on while a name is looked up, and sleeps; the answer wakes it.
TEST_F(ResolverTest, SchedulerGoesOnMeanwhile) {
  Addresses addresses = absl::UnknownError("");
  SpawnHandle handle =
      scheduler_->Spawn(ResolveInto(scheduler_.get(), UINT64_MAX, slow_.function(), &addresses));
  scheduler_->RunOnce();
  slow_.WaitTillBegun();
  const auto doze = [](Scheduler* scheduler) -> Task<void> {
    while (scheduler->sleeps_count() == 0) co_await scheduler->SleepFor(100'000);
  };
  scheduler_->RunUntilDone(doze(scheduler_.get()));
  EXPECT_FALSE(handle.done());
  slow_.Answer();
  const auto join = [](SpawnHandle* joined) -> Task<void> { co_await joined->Join(); };
  scheduler_->RunUntilDone(join(&handle));
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  EXPECT_EQ(addresses->front().ToString(), "127.0.0.1:7");
}

// Goal: who waits gives up at the deadline; the answer that comes later does no harm.
TEST_F(ResolverTest, DeadlineEndsTheWait) {
  const Addresses addresses = scheduler_->RunUntilDone(ResolveUntil(
      scheduler_.get(), {"name", 7}, scheduler_->NowNs() + 1'000'000, slow_.function()));
  EXPECT_TRUE(absl::IsDeadlineExceeded(addresses.status())) << addresses.status();
  EXPECT_NE(addresses.status().message().find("name"), absl::string_view::npos);
  slow_.WaitTillBegun();
  slow_.Answer();
  slow_.WaitTillEnded();
  for (int i = 0; i < 100; ++i) scheduler_->RunOnce();
}

// Goal: neither a cancelled task nor a scheduler that has gone is touched by a late answer.
TEST_F(ResolverTest, AnswerMayComeAfterEverybodyHasGone) {
  for (const bool scheduler_goes : {false, true}) {
    SlowResolver slow;
    Addresses addresses = absl::UnknownError("");
    SpawnHandle handle =
        scheduler_->Spawn(ResolveInto(scheduler_.get(), UINT64_MAX, slow.function(), &addresses));
    scheduler_->RunOnce();
    slow.WaitTillBegun();
    if (scheduler_goes) {
      scheduler_.reset();
    } else {
      handle.Cancel();
    }
    slow.Answer();
    slow.WaitTillEnded();
    if (scheduler_ != nullptr) scheduler_->RunOnce();
  }
}

// Goal: the same with the answer on its way while the task goes.
TEST_F(ResolverTest, AnswerMayComeWhileTheTaskGoes) {
  for (int i = 0; i < 200; ++i) {
    SlowResolver slow;
    Addresses addresses = absl::UnknownError("");
    SpawnHandle handle =
        scheduler_->Spawn(ResolveInto(scheduler_.get(), UINT64_MAX, slow.function(), &addresses));
    scheduler_->RunOnce();
    slow.WaitTillBegun();
    slow.Answer();
    if (i % 2 == 0) scheduler_->RunOnce();
    handle.Cancel();
    scheduler_->RunOnce();
    slow.WaitTillEnded();
  }
}

TEST_F(ResolverTest, NamesThatNobodyKnowsAreUnavailable) {
  const auto nobody = [](const HostPort&) -> Addresses { return absl::UnavailableError("nobody"); };
  const Addresses addresses =
      scheduler_->RunUntilDone(ResolveUntil(scheduler_.get(), {"name", 7}, UINT64_MAX, nobody));
  EXPECT_TRUE(absl::IsUnavailable(addresses.status())) << addresses.status();
}

}  // namespace
}  // namespace acre::transport
