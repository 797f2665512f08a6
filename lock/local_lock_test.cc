// The local cohort's queue lock: one holder, in order, no grant lost, whoever gives up.

#include "lock/local_lock.h"

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "lock/local_arena.h"
#include "lock/lock_words.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"

namespace acre {
namespace {

struct alignas(kLineBytes) TestLock {
  LockWords words{};
};

MappedLock At(TestLock* lock) {
  return {&lock->words, GlobalAddress::FromBits(reinterpret_cast<uintptr_t>(lock))};
}

bool IsFree(const LockWords& lock) {
  return lock.local_tail.Load(std::memory_order_acquire) == 0 &&
         lock.remote_tail.Load(std::memory_order_acquire) == 0;
}

// Waits for it: there are descriptors enough.
Task<void> Take(LockSet* locks, MappedLock lock) {
  if (locks->Start(lock)) co_return;
  const absl::Status status = co_await locks->Wait();
  CHECK(status.ok()) << status;
}

// ---- One thread, step by step.

class LocalLockTest : public ::testing::Test {
 public:  // For coroutines, which take the test as a parameter.
  // Takes the lock, notes its turn, holds on till the gate opens.
  Task<void> HoldUntilOpen(TestLock* lock, int name) {
    LockSet locks(&thread_);
    co_await Take(&locks, At(lock));
    turns_.push_back(name);
    while (!open_) co_await scheduler_.Yield();
  }
  void Passes(int count) {
    for (int i = 0; i < count; ++i) scheduler_.RunOnce();
  }

  RealClock clock_;
  Scheduler scheduler_{{.clock = &clock_, .name = "local_lock_test"}};
  std::unique_ptr<LocalArena> arena_ = LocalArena::Create(4096);
  LockThread thread_{&scheduler_, arena_.get(), {}};
  TestLock locks_[4];
  std::vector<int> turns_;
  bool open_ = false;
};

TEST_F(LocalLockTest, FreeLockIsTakenAtOnceAndGivenBack) {
  LockSet locks(&thread_);
  EXPECT_TRUE(locks.Start(At(&locks_[0])));
  EXPECT_TRUE(locks.Start(At(&locks_[1])));
  EXPECT_TRUE(locks.TryAcquire(At(&locks_[3])));
  EXPECT_TRUE(locks.TryAcquire(At(&locks_[2]))) << "any address will do for a try";
  EXPECT_FALSE(IsFree(locks_[2].words));
  locks.ReleaseAll();
  for (const TestLock& lock : locks_) EXPECT_TRUE(IsFree(lock.words));
  EXPECT_TRUE(locks.Start(At(&locks_[0]))) << "a set may be used again, from the lowest address on";
}

TEST_F(LocalLockTest, TryAcquireOfAHeldLockTakesNothing) {
  LockSet holder(&thread_);
  ASSERT_TRUE(holder.Start(At(&locks_[0])));
  LockSet other(&thread_);
  EXPECT_FALSE(other.TryAcquire(At(&locks_[0])));
  EXPECT_TRUE(other.TryAcquire(At(&locks_[1]))) << "a failed try leaves the set usable";
  holder.ReleaseAll();
  EXPECT_TRUE(IsFree(locks_[0].words));
  EXPECT_TRUE(other.TryAcquire(At(&locks_[0])));
}

// Goal: waiting coroutines leave their thread free, and get the lock first come, first served.
TEST_F(LocalLockTest, WaitersAreServedInOrderAndBlockNobody) {
  for (int name = 0; name < 5; ++name) {
    scheduler_.Spawn(HoldUntilOpen(&locks_[0], name)).Detach();
  }
  Passes(20);  // Would hang if a waiter kept the thread.
  EXPECT_EQ(turns_, std::vector<int>({0}));
  scheduler_.Spawn(HoldUntilOpen(&locks_[1], 77)).Detach();
  Passes(2);
  EXPECT_EQ(turns_, std::vector<int>({0, 77}));
  open_ = true;
  Passes(20);
  EXPECT_EQ(turns_, std::vector<int>({0, 77, 1, 2, 3, 4}));
  EXPECT_TRUE(IsFree(locks_[0].words));
}

// Goal: whoever is cancelled in the queue, its first, its last, several in a row, the holder too:
// the others get the lock in order, and the lock ends up free.
TEST_F(LocalLockTest, CancelledWaitersArePassedOver) {
  constexpr int kTasks = 5;
  for (unsigned cancelled = 0; cancelled < 1u << kTasks; ++cancelled) {
    turns_.clear();
    open_ = false;
    std::vector<SpawnHandle> handles;
    for (int name = 0; name < kTasks; ++name) {
      handles.push_back(scheduler_.Spawn(HoldUntilOpen(&locks_[0], name)));
    }
    Passes(1);
    std::vector<int> expected = {0};  // Has its turn before anybody is cancelled.
    for (int name = 0; name < kTasks; ++name) {
      if ((cancelled >> name & 1) != 0) {
        handles[name].Cancel();
      } else if (name > 0) {
        expected.push_back(name);
      }
    }
    open_ = true;
    Passes(3 * kTasks);
    EXPECT_EQ(turns_, expected) << "cancelled: " << cancelled;
    EXPECT_TRUE(IsFree(locks_[0].words)) << "cancelled: " << cancelled;
  }
}

// Goal: a waiter that is cancelled after it was granted the lock, but before it ran, passes it on.
TEST_F(LocalLockTest, WaiterCancelledWithTheGrantInHandPassesItOn) {
  LockSet holder(&thread_);
  ASSERT_TRUE(holder.Start(At(&locks_[0])));
  open_ = true;
  SpawnHandle first = scheduler_.Spawn(HoldUntilOpen(&locks_[0], 1));
  SpawnHandle second = scheduler_.Spawn(HoldUntilOpen(&locks_[0], 2));
  Passes(2);
  holder.ReleaseAll();
  first.Cancel();
  Passes(5);
  EXPECT_EQ(turns_, std::vector<int>({2}));
  EXPECT_TRUE(second.done());
  EXPECT_TRUE(IsFree(locks_[0].words));
}

// Goal: a thread's nodes outlive what waits in them: the destructor of a LockThread waits till what
// was abandoned has had its turn.
TEST_F(LocalLockTest, ThreadThatEndsWaitsOutWhatItAbandoned) {
  auto other_scheduler = std::make_unique<Scheduler>(Scheduler::Options{.clock = &clock_});
  LockSet holder(&thread_);
  ASSERT_TRUE(holder.Start(At(&locks_[0])));
  // The other thread leaves an abandoned node behind, then waits for it; we release meanwhile.
  std::atomic<bool> queued{false};  // Release: the node is in the queue.
  std::thread other([&] {
    other_scheduler->DetachFromThread();
    LockThread thread(other_scheduler.get(), arena_.get(), {});
    {
      LockSet locks(&thread);
      EXPECT_FALSE(locks.Start(At(&locks_[0])));
    }
    queued.store(true, std::memory_order_release);
  });
  while (!queued.load(std::memory_order_acquire)) std::this_thread::yield();
  holder.ReleaseAll();
  other.join();
  EXPECT_TRUE(IsFree(locks_[0].words));
}

// Goal: the other cohort's flag and turn are respected, and victim is touched only when both want the lock.
TEST_F(LocalLockTest, LeaderLetsTheOtherCohortGoFirst) {
  LockWords* const words = &locks_[0].words;
  // A remote holder, as it stands in the words.
  words->remote_tail.Store(RemoteWord(7, 1, 1).bits(), std::memory_order_seq_cst);
  {
    LockSet locks(&thread_);
    EXPECT_FALSE(locks.TryAcquire(At(&locks_[0])));
    EXPECT_EQ(words->local_tail.Load(std::memory_order_acquire), 0u) << "a failed try leaves";
    EXPECT_EQ(words->victim.Load(std::memory_order_acquire), static_cast<uint64_t>(Cohort::kLocal))
        << "and lets the other cohort's leader go on";
  }
  open_ = true;
  SpawnHandle leader = scheduler_.Spawn(HoldUntilOpen(&locks_[0], 1));
  SpawnHandle second = scheduler_.Spawn(HoldUntilOpen(&locks_[0], 2));
  Passes(20);
  EXPECT_TRUE(turns_.empty());
  EXPECT_EQ(words->victim.Load(std::memory_order_acquire), static_cast<uint64_t>(Cohort::kLocal));
  // The next remote leader lets us go first.
  words->victim.Store(static_cast<uint64_t>(Cohort::kRemote), std::memory_order_seq_cst);
  Passes(20);
  EXPECT_EQ(turns_, std::vector<int>({1, 2}));
  EXPECT_EQ(words->local_tail.Load(std::memory_order_acquire), 0u);
  words->remote_tail.Store(0, std::memory_order_seq_cst);
  words->victim.Store(0, std::memory_order_seq_cst);
}

// Goal: with the other cohort waiting, the lock is handed on within this one as often as the budget says, then
// its leader asks the other cohort again.
TEST_F(LocalLockTest, BudgetBoundsHowOftenTheCohortHandsOnToItself) {
  LockWords* const words = &locks_[0].words;
  for (int name = 0; name < 8; ++name) {
    scheduler_.Spawn(HoldUntilOpen(&locks_[0], name)).Detach();
  }
  Passes(2);
  words->remote_tail.Store(RemoteWord(7, 1, 1).bits(), std::memory_order_seq_cst);
  open_ = true;
  Passes(100);
  EXPECT_EQ(turns_, std::vector<int>({0, 1, 2, 3, 4})) << "the budget is 5";
  words->remote_tail.Store(0, std::memory_order_seq_cst);
  Passes(100);
  EXPECT_EQ(turns_, std::vector<int>({0, 1, 2, 3, 4, 5, 6, 7}));
  words->victim.Store(0, std::memory_order_seq_cst);
  EXPECT_TRUE(IsFree(*words));
}

// Goal: a leader that gives up while the other cohort holds the lock leaves its place to the next one.
TEST_F(LocalLockTest, LeaderThatGivesUpLeavesItsPlaceToTheNext) {
  LockWords* const words = &locks_[0].words;
  words->remote_tail.Store(RemoteWord(7, 1, 1).bits(), std::memory_order_seq_cst);
  open_ = true;
  SpawnHandle leader = scheduler_.Spawn(HoldUntilOpen(&locks_[0], 1));
  SpawnHandle second = scheduler_.Spawn(HoldUntilOpen(&locks_[0], 2));
  Passes(5);
  leader.Cancel();
  Passes(5);
  EXPECT_TRUE(turns_.empty());
  second.Cancel();
  Passes(5);
  EXPECT_EQ(words->local_tail.Load(std::memory_order_acquire), 0u) << "nobody is left";
  words->remote_tail.Store(0, std::memory_order_seq_cst);
  words->victim.Store(0, std::memory_order_seq_cst);
}

// Goal: descriptors are an arena's, which says when there is none left, and takes them back.
TEST_F(LocalLockTest, ArenaIsSharedAndBounded) {
  const std::unique_ptr<LocalArena> arena = LocalArena::Create(4);
  TestLock locks[4];
  {
    LockThread thread(&scheduler_, arena.get(), {.process_id = 3});
    LockThread::Place* places[3];
    for (int i = 0; i < 3; ++i) {
      places[i] = thread.Start(At(&locks[i]));
      ASSERT_NE(places[i], nullptr);
      EXPECT_TRUE(places[i]->held());
    }
    EXPECT_EQ(thread.Start(At(&locks[3])), nullptr);
    EXPECT_EQ(thread.TryStart(At(&locks[3])), nullptr);
    {
      LockSet set(&thread);
      EXPECT_FALSE(set.TryAcquire(At(&locks[3])));
      ASSERT_FALSE(set.Start(At(&locks[3])));
      const absl::Status waited = scheduler_.RunUntilDone(set.Wait());
      EXPECT_TRUE(absl::IsResourceExhausted(waited)) << waited;
    }
    EXPECT_TRUE(IsFree(locks[3].words));
    for (LockThread::Place* const place : places) thread.Release(place);
  }
  LockThread thread(&scheduler_, arena.get(), {.process_id = 4});
  LockThread::Place* const place = thread.Start(At(&locks[3]));
  ASSERT_NE(place, nullptr);
  EXPECT_GT(place->word.sequence(), 1u) << "a descriptor's sequence goes on with its next owner";
  thread.Release(place);
}

using LocalLockDeathTest = LocalLockTest;

// Goal: threads of one table that end together. One's abandoned place waits behind the other's, and that is
// granted when nobody polls any more: neither may wait for itself alone.
TEST_F(LocalLockTest, ThreadsThatEndTogetherPassOnInTurns) {
  Scheduler schedulers[2] = {Scheduler({.clock = &clock_}), Scheduler({.clock = &clock_})};
  LockThread first(&schedulers[0], arena_.get(), {});
  LockThread second(&schedulers[1], arena_.get(), {});
  LockSet holder(&thread_);
  ASSERT_TRUE(holder.Start(At(&locks_[0])));
  {
    LockSet before(&first);
    ASSERT_FALSE(before.Start(At(&locks_[0])));
    LockSet behind(&second);
    ASSERT_FALSE(behind.Start(At(&locks_[0])));
  }
  holder.ReleaseAll();
  (void)second.Poll();
  EXPECT_FALSE(second.idle());
  (void)first.Poll();
  EXPECT_TRUE(first.idle());
  (void)second.Poll();
  EXPECT_TRUE(second.idle());
  EXPECT_TRUE(IsFree(locks_[0].words));
}

TEST_F(LocalLockDeathTest, LocksOutOfAddressOrderDie) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  LockSet locks(&thread_);
  ASSERT_TRUE(locks.Start(At(&locks_[1])));
  EXPECT_DEATH((void)locks.Start(At(&locks_[0])), "address order");
  EXPECT_DEATH((void)locks.Start(At(&locks_[1])), "address order");
}

// ---- Threads that race.

constexpr int kThreads = 4;
constexpr int kCoroutines = 4;
constexpr int kRounds = 120;
constexpr size_t kLocks = 3;

// What a lock guards: plain memory, so that tsan sees who breaks in.
struct Guarded {
  TestLock lock;
  uint64_t count = 0;
  uint64_t copy = 0;
  int holders = 0;
};

// One coroutine's life: takes random locks in address order, some by trying, changes what they
// guard.
Task<void> Work(LockThread* thread, Scheduler* scheduler, std::vector<Guarded>* guarded,
                uint64_t seed, std::vector<uint64_t>* done) {
  Random random(seed);
  for (int round = 0; round < kRounds; ++round) {
    LockSet locks(thread);
    std::vector<Guarded*> held;
    for (size_t i = 0; i < kLocks; ++i) {
      if (random.Uniform(2) == 0) continue;
      Guarded* const place = &(*guarded)[i];
      co_await Take(&locks, At(&place->lock));
      held.push_back(place);
    }
    // One above all of them, which nobody waits for while holding others: by trying only.
    if (random.Uniform(2) == 0 && locks.TryAcquire(At(&guarded->back().lock))) {
      held.push_back(&guarded->back());
    }
    for (Guarded* const place : held) {
      EXPECT_EQ(++place->holders, 1) << "two holders";
      EXPECT_EQ(place->count, place->copy);
      ++place->count;
    }
    // Some hold on over a suspension.
    if (random.Uniform(4) == 0) co_await scheduler->Yield();
    for (Guarded* const place : held) {
      place->copy = place->count;
      --place->holders;
      ++(*done)[static_cast<size_t>(place - guarded->data())];
    }
  }
}

// Cancels a waiting coroutine now and then: it waits for all locks and does nothing.
Task<void> GiveUp(LockThread* thread, std::vector<Guarded>* guarded) {
  LockSet locks(thread);
  for (size_t i = 0; i < kLocks; ++i) {
    co_await Take(&locks, At(&(*guarded)[i].lock));
  }
}

Task<void> SpawnAndCancel(LockThread* thread, Scheduler* scheduler, std::vector<Guarded>* guarded,
                          uint64_t seed) {
  Random random(seed);
  for (int round = 0; round < kRounds; ++round) {
    SpawnHandle handle = scheduler->Spawn(GiveUp(thread, guarded));
    const uint64_t passes = random.Uniform(4);
    for (uint64_t i = 0; i < passes; ++i) co_await scheduler->Yield();
    handle.Cancel();
  }
}

// Goal: with several threads, several coroutines on each, and waiters that are cancelled all the
// time, no two hold a lock at once, every waiter gets its turn, and all locks end up free. tsan
// watches what the locks guard.
TEST(LocalLockRaceTest, ThreadsAndCoroutinesExcludeEachOther) {
  RealClock clock;
  const std::unique_ptr<LocalArena> arena = LocalArena::Create(4096);
  std::vector<Guarded> guarded(kLocks + 1);
  // By thread, then by lock: how often it was held.
  std::vector<std::vector<uint64_t>> done(kThreads, std::vector<uint64_t>(kLocks + 1));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&clock, &arena, &guarded, &done, t] {
      Scheduler scheduler({.clock = &clock});
      LockThread thread(&scheduler, arena.get(), {});
      std::vector<SpawnHandle> handles;
      for (int c = 0; c < kCoroutines; ++c) {
        const auto seed = static_cast<uint64_t>(t * kCoroutines + c);
        handles.push_back(scheduler.Spawn(Work(&thread, &scheduler, &guarded, seed, &done[t])));
      }
      handles.push_back(
          scheduler.Spawn(SpawnAndCancel(&thread, &scheduler, &guarded, 100 + uint64_t(t))));
      const auto all_done = [&handles] {
        bool all = true;
        for (const SpawnHandle& handle : handles) all = all && handle.done();
        return all;
      };
      while (!all_done()) scheduler.RunOnce();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < guarded.size(); ++i) {
    uint64_t expected = 0;
    for (const std::vector<uint64_t>& of_thread : done) expected += of_thread[i];
    EXPECT_EQ(guarded[i].count, expected) << "an update was lost";
    EXPECT_GT(expected, 0u);
    EXPECT_TRUE(IsFree(guarded[i].lock.words));
  }
}

// Goal: first come, first served across threads: a ticket taken while the lock's queue is entered
// by one thread at a time comes out of the lock in the same order.
TEST(LocalLockRaceTest, QueueIsFirstComeFirstServedAcrossThreads) {
  RealClock clock;
  TestLock lock;
  Scheduler holder_scheduler({.clock = &clock});
  const std::unique_ptr<LocalArena> arena = LocalArena::Create(4096);
  LockThread holder_thread(&holder_scheduler, arena.get(), {});
  for (int round = 0; round < 20; ++round) {
    LockSet holder(&holder_thread);
    ASSERT_TRUE(holder.Start(At(&lock)));
    std::atomic<int> queued{0};  // How many are in the queue: each enters at its number only.
    std::vector<int> turns;      // Guarded by the lock.
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Scheduler scheduler({.clock = &clock});
        LockThread thread(&scheduler, arena.get(), {});
        const auto wait = [](LockSet* locks, std::vector<int>* order, int name) -> Task<void> {
          const absl::Status status = co_await locks->Wait();
          EXPECT_EQ(status, absl::OkStatus());
          order->push_back(name);
        };
        while (queued.load(std::memory_order_acquire) != t) std::this_thread::yield();
        LockSet locks(&thread);
        EXPECT_FALSE(locks.Start(At(&lock)));
        queued.store(t + 1, std::memory_order_release);
        scheduler.RunUntilDone(wait(&locks, &turns, t));
      });
    }
    while (queued.load(std::memory_order_acquire) != kThreads) std::this_thread::yield();
    holder.ReleaseAll();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(turns, std::vector<int>({0, 1, 2, 3}));
    EXPECT_TRUE(IsFree(lock.words));
  }
}

}  // namespace
}  // namespace acre
