// Locks by name on several workers' threads: sessions that come, wait, give up, die, and are robbed.

#include "server/named_locks.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"

namespace acre::server {
namespace {

using testing::HasSubstr;

constexpr uint64_t kForEver = UINT64_MAX;

class NamedLocksTest : public testing::Test {
 protected:
  RealClock clock_;
  NamedLocks locks_{&clock_, [] { return uint64_t{1000}; }};
  Scheduler scheduler_{{.clock = &clock_}};
  std::unique_ptr<LockThread> thread_ =
      std::make_unique<LockThread>(&scheduler_, locks_.arena(), LockThread::Options{});
};

TEST_F(NamedLocksTest, TicketsTokensAndTries) {
  LockSession session(&locks_, thread_.get(), "one");
  LockSession other(&locks_, thread_.get(), "other");
  const auto lock = [&](LockSession* of, const char* name, uint64_t ticket, uint64_t wait_ns) {
    return scheduler_.RunUntilDone(of->Lock(name, ticket, wait_ns));
  };
  EXPECT_EQ(lock(&session, "a", 1, kForEver).value(), 1000u);
  EXPECT_TRUE(absl::IsInvalidArgument(lock(&session, "b", 1, 0).status())) << "the ticket is taken";
  EXPECT_EQ(lock(&session, "b", 2, 0).value(), 1001u) << "tokens rise though the clock stands";
  EXPECT_EQ(lock(&other, "a", 1, 0).value(), 0u);
  EXPECT_EQ(lock(&other, "a", 1, 1000).value(), 0u) << "a ticket that got nothing is free again";
  EXPECT_THAT(locks_.List(1 << 20), HasSubstr("lock \"a\" held_by one token 1000 held_ms "));
  EXPECT_TRUE(absl::IsNotFound(other.Unlock(1)));
  EXPECT_TRUE(session.Unlock(1).ok());
  EXPECT_TRUE(absl::IsNotFound(session.Unlock(1)));
  EXPECT_EQ(lock(&other, "a", 7, 0).value(), 1002u);
  EXPECT_EQ(locks_.counts().held, 2u);
  EXPECT_EQ(locks_.counts().acquired, 3u);
}

TEST_F(NamedLocksTest, SessionThatGoesGivesAllBack) {
  {
    LockSession session(&locks_, thread_.get(), "mortal");
    for (uint64_t i = 1; i <= 50; ++i) {
      EXPECT_GT(scheduler_.RunUntilDone(session.Lock(absl::StrCat("l", i), i, 0)).value(), 0u);
    }
  }
  EXPECT_EQ(locks_.List(1 << 20), "");
  EXPECT_EQ(locks_.counts().held, 0u);
}

// Goal: whoever comes when only places that were given up stand in the queue waits for nobody's wake-up.
TEST_F(NamedLocksTest, WaiterBehindAPlaceThatWasGivenUpIsNotForgotten) {
  LockSession holder(&locks_, thread_.get(), "holder");
  LockSession other(&locks_, thread_.get(), "other");
  EXPECT_GT(scheduler_.RunUntilDone(holder.Lock("x", 1, 0)).value(), 0u);
  EXPECT_EQ(scheduler_.RunUntilDone(other.Lock("x", 1, 1)).value(), 0u);
  EXPECT_TRUE(holder.Unlock(1).ok());
  EXPECT_GT(scheduler_.RunUntilDone(holder.Lock("x", 2, kForEver)).value(), 0u);
}

// Goal: tries, and waiters that give up, wake nobody: who waits sleeps.
TEST_F(NamedLocksTest, WaitersSleepWhateverOthersTry) {
  LockSession holder(&locks_, thread_.get(), "holder");
  LockSession waiter(&locks_, thread_.get(), "waiter");
  EXPECT_GT(scheduler_.RunUntilDone(holder.Lock("x", 1, 0)).value(), 0u);
  uint64_t token = 0;
  const auto wait = [](LockSession* session, uint64_t* got) -> Task<void> {
    *got = (co_await session->Lock("x", 1, kForEver)).value();
  };
  SpawnHandle waiting = scheduler_.Spawn(wait(&waiter, &token));
  for (uint64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(scheduler_.RunUntilDone(holder.Lock("x", 2 + i, i % 2)).value(), 0u);
  }
  while (scheduler_.RunOnce()) {
  }
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(scheduler_.RunOnce()) << "somebody is awake";
  EXPECT_TRUE(holder.Unlock(1).ok());
  while (!waiting.done()) scheduler_.RunOnce();
  EXPECT_GT(token, 0u);
  EXPECT_TRUE(waiter.Unlock(1).ok());
  EXPECT_TRUE(thread_->idle());
}

// Goal: a list of any length is cut, and says so.
TEST_F(NamedLocksTest, ListIsCutToSize) {
  LockSession session(&locks_, thread_.get(), "one");
  for (uint64_t i = 1; i <= 1000; ++i) {
    const std::string name = absl::StrCat(std::string(1000, '\0'), i);
    EXPECT_GT(scheduler_.RunUntilDone(session.Lock(name, i, 0)).value(), 0u);
  }
  const std::string list = locks_.List(50'000);
  EXPECT_LT(list.size(), 60'000u);
  EXPECT_THAT(list, HasSubstr("more than one answer holds"));
}

TEST_F(NamedLocksTest, OneConnectionHoldsSoManyAndNoMore) {
  LockSession session(&locks_, thread_.get(), "greedy");
  for (uint64_t i = 1; i <= kLocksPerClientMax; ++i) {
    ASSERT_GT(scheduler_.RunUntilDone(session.Lock(absl::StrCat(i), i, 0)).value(), 0u);
  }
  const absl::Status refused =
      scheduler_.RunUntilDone(session.Lock("one more", kLocksPerClientMax + 1, 0)).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
}

// Goal: Unlock of one that waits ends its wait; who stands behind is not forgotten.
TEST_F(NamedLocksTest, WaiterThatIsCalledOffLeavesTheQueue) {
  LockSession holder(&locks_, thread_.get(), "holder");
  LockSession waiter(&locks_, thread_.get(), "waiter");
  EXPECT_GT(scheduler_.RunUntilDone(holder.Lock("x", 1, 0)).value(), 0u);
  uint64_t tokens[2] = {77, 77};
  const auto wait = [](LockSession* session, uint64_t ticket, uint64_t* token) -> Task<void> {
    const absl::StatusOr<uint64_t> got = co_await session->Lock("x", ticket, kForEver);
    *token = got.value();
  };
  SpawnHandle first = scheduler_.Spawn(wait(&waiter, 1, &tokens[0]));
  SpawnHandle second = scheduler_.Spawn(wait(&waiter, 2, &tokens[1]));
  for (int i = 0; i < 10; ++i) scheduler_.RunOnce();
  EXPECT_THAT(locks_.List(1 << 20), HasSubstr("waiters 2\n  awaited_by waiter waits_ms "));
  EXPECT_TRUE(waiter.Unlock(1).ok());
  while (!first.done()) scheduler_.RunOnce();
  EXPECT_EQ(tokens[0], 0u);
  EXPECT_FALSE(second.done());
  EXPECT_TRUE(holder.Unlock(1).ok());
  while (!second.done()) scheduler_.RunOnce();
  EXPECT_GT(tokens[1], 1000u);
}

// What a lock guards: plain memory, so that tsan sees who breaks in.
struct Guarded {
  std::string name;
  uint64_t count = 0;
  uint64_t last_token = 0;
};

Task<void> Work(NamedLocks* locks, LockThread* thread, std::vector<Guarded>* guarded, uint64_t seed,
                std::atomic<uint64_t>* entries) {
  Random random(seed);
  auto session = std::make_unique<LockSession>(locks, thread, absl::StrCat("client_", seed));
  for (uint64_t ticket = 1; ticket <= 150; ++ticket) {
    Guarded* const one = &(*guarded)[random.Uniform(guarded->size())];
    const uint64_t wait_ns = random.Uniform(3) == 0 ? random.Uniform(50'000) : kForEver;
    const absl::StatusOr<uint64_t> token = co_await session->Lock(one->name, ticket, wait_ns);
    if (*token == 0) continue;
    EXPECT_GT(*token, one->last_token);
    one->last_token = *token;
    ++one->count;
    entries->fetch_add(1, std::memory_order_relaxed);
    if (random.Uniform(4) == 0) co_await thread->scheduler()->Yield();
    if (random.Uniform(20) == 0) {
      // Dies, and comes again.
      session = std::make_unique<LockSession>(locks, thread, absl::StrCat("client_", seed));
    } else {
      EXPECT_TRUE(session->Unlock(ticket).ok());
    }
    if (random.Uniform(50) == 0) (void)locks->List(1 << 20);
  }
}

TEST(NamedLocksRaceTest, WorkersExcludeEachOther) {
  constexpr int kThreads = 3;
  constexpr int kSessions = 4;
  RealClock clock;
  NamedLocks locks(&clock, [] { return uint64_t{1}; });
  std::vector<Guarded> guarded(2);
  guarded[0].name = "first";
  guarded[1].name = "second";
  std::atomic<uint64_t> entries{0};
  std::atomic<int> threads_left{kThreads};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Scheduler scheduler({.clock = &clock});
      LockThread thread(&scheduler, locks.arena(), {});
      std::vector<SpawnHandle> handles;
      for (int i = 0; i < kSessions; ++i) {
        handles.push_back(scheduler.Spawn(
            Work(&locks, &thread, &guarded, static_cast<uint64_t>(t * 10 + i + 1), &entries)));
      }
      const auto all_done = [&handles] {
        bool all = true;
        for (const SpawnHandle& handle : handles) all = all && handle.done();
        return all;
      };
      while (!all_done()) scheduler.RunOnce();
      // Wake-ups of others may be on their way here: all go on till all are done.
      --threads_left;
      while (threads_left > 0) scheduler.RunOnce();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(guarded[0].count + guarded[1].count, entries.load());
  EXPECT_GT(entries.load(), 500u);
  EXPECT_EQ(locks.List(1 << 20), "");
}

}  // namespace
}  // namespace acre::server
