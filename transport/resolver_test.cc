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
  // Till no thread, task or posted function knows of it: they are all at their ends. `scheduler` is null,
  // or runs meanwhile.
  void WaitTillForgotten(Scheduler* scheduler) {
    while (state_.use_count() > 1) {
      if (scheduler != nullptr) scheduler->RunOnce();
      std::this_thread::yield();
    }
  }
  int begun() {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    return state_->begun;
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    int begun = 0;
    bool may_answer = false;
  };
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

Task<void> ResolveInto(Scheduler* scheduler, uint64_t deadline_ns, ResolveFunction resolve,
                       Addresses* addresses) {
  HostPort host_port{"name", 7};
  Task<Addresses> task =
      ResolveUntil(scheduler, std::move(host_port), deadline_ns, std::move(resolve));
  *addresses = co_await std::move(task);
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
  slow_.WaitTillForgotten(scheduler_.get());
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
    slow.WaitTillForgotten(scheduler_.get());
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
    slow.WaitTillForgotten(scheduler_.get());
  }
}

Task<void> AskInto(Resolver* resolver, std::string name, uint64_t deadline_ns,
                   Addresses* addresses) {
  HostPort host_port{std::move(name), 7};
  Task<Addresses> task = resolver->ResolveUntil(std::move(host_port), deadline_ns);
  *addresses = co_await std::move(task);
}
Task<void> Join(SpawnHandle* handle) { co_await handle->Join(); }

// Goal: while nobody answers, those who ask for one name share one thread, also with one who gave up.
TEST_F(ResolverTest, ANameThatHangsTakesOneThread) {
  Resolver resolver(scheduler_.get(), slow_.function());
  for (int i = 0; i < 5; ++i) {
    const Addresses early = scheduler_->RunUntilDone(
        resolver.ResolveUntil({"name", 7}, scheduler_->NowNs() + 1'000'000));
    EXPECT_TRUE(absl::IsDeadlineExceeded(early.status())) << early.status();
  }
  Addresses answers[2] = {absl::UnknownError(""), absl::UnknownError("")};
  SpawnHandle one = scheduler_->Spawn(AskInto(&resolver, "name", UINT64_MAX, &answers[0]));
  SpawnHandle other = scheduler_->Spawn(AskInto(&resolver, "name", UINT64_MAX, &answers[1]));
  scheduler_->RunOnce();
  slow_.WaitTillBegun();
  slow_.Answer();
  scheduler_->RunUntilDone(Join(&one));
  scheduler_->RunUntilDone(Join(&other));
  for (const Addresses& answer : answers) EXPECT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(slow_.begun(), 1);
  // What was answered before is asked anew.
  const Addresses later = scheduler_->RunUntilDone(resolver.ResolveUntil({"name", 7}, UINT64_MAX));
  EXPECT_TRUE(later.ok()) << later.status();
  EXPECT_EQ(slow_.begun(), 2);
}

// Goal: the number of threads has a bound.
TEST_F(ResolverTest, ManyNamesThatHangLeaveTheNextUnavailable) {
  SlowResolver slow;
  {
    Resolver resolver(scheduler_.get(), slow.function());
    const auto ask = [&](size_t i) {
      return scheduler_->RunUntilDone(
          resolver.ResolveUntil({"name" + std::to_string(i), 7}, scheduler_->NowNs() + 100'000));
    };
    for (size_t i = 0; i < Resolver::kNamesMax; ++i) {
      EXPECT_TRUE(absl::IsDeadlineExceeded(ask(i).status())) << i;
    }
    EXPECT_TRUE(absl::IsUnavailable(ask(Resolver::kNamesMax).status()));
    EXPECT_TRUE(absl::IsDeadlineExceeded(ask(0).status())) << "one that is under way";
  }
  slow.Answer();
  slow.WaitTillForgotten(scheduler_.get());
}

TEST_F(ResolverTest, NamesThatNobodyKnowsAreUnavailable) {
  const auto nobody = [](const HostPort&) -> Addresses { return absl::UnavailableError("nobody"); };
  const Addresses addresses =
      scheduler_->RunUntilDone(ResolveUntil(scheduler_.get(), {"name", 7}, UINT64_MAX, nobody));
  EXPECT_TRUE(absl::IsUnavailable(addresses.status())) << addresses.status();
}

}  // namespace
}  // namespace acre::transport
