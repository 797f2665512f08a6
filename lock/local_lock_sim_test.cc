// The local lock among simulated threads, whose stores are late and which stall anywhere.

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "lock/local_arena.h"
#include "lock/local_lock.h"
#include "lock/lock_words.h"
#include "runtime/scheduler.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"

namespace acre {
namespace {

constexpr uint64_t kNsPerS = 1'000'000'000;
constexpr int kThreads = 3;
constexpr int kTasks = 2;
constexpr int kRounds = 10;

struct Guarded {
  LockWords lock;
  SharedWord counter;  // Loaded and stored under the lock: no read-modify-write.
};

MappedLock At(Guarded* guarded) {
  return {&guarded->lock, GlobalAddress::FromBits(reinterpret_cast<uintptr_t>(guarded))};
}

// Waits for it: there are descriptors enough.
Task<void> Take(LockSet* locks, MappedLock lock) {
  if (locks->Start(lock)) co_return;
  const absl::Status status = co_await locks->Wait();
  CHECK(status.ok()) << status;
}

void Increment(Guarded* guarded) {
  const uint64_t value = guarded->counter.Load(std::memory_order_relaxed);
  guarded->counter.Store(value + 1, std::memory_order_relaxed);
}

Task<void> IncrementAll(LockThread* thread, Guarded* guarded, int* done) {
  for (int round = 0; round < kRounds; ++round) {
    LockSet locks(thread);
    for (int i = 0; i < 2; ++i) {
      co_await Take(&locks, At(&guarded[i]));
      Increment(&guarded[i]);
      if (round % 4 == 0) co_await locks.scheduler()->Yield();
    }
    locks.ReleaseAll();
    while (!locks.TryAcquire(At(&guarded[2]))) co_await locks.scheduler()->Yield();
    Increment(&guarded[2]);
  }
  ++*done;
}

TEST(LocalLockSimTest, ExcludesAndPublishes) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    sim::World world({.seed = seed});
    sim::Machine* const machine = world.AddMachine("machine");
    sim::Process* const process = world.AddProcess(machine, "server");
    Guarded guarded[3];
    const std::unique_ptr<LocalArena> arena = LocalArena::Create(64);
    int done = 0;
    int threads_ended = 0;
    for (int thread = 0; thread < kThreads; ++thread) {
      process->Spawn("worker", [&] {
        Scheduler scheduler({.clock = machine->clock(), .spin_ns = 2'000});
        LockThread locks(&scheduler, arena.get(), {});
        int own_done = 0;
        for (int i = 0; i < kTasks; ++i) {
          scheduler.Spawn(IncrementAll(&locks, guarded, &own_done)).Detach();
        }
        while (own_done < kTasks) scheduler.RunOnce();
        done += own_done;
        ++threads_ended;
      });
    }
    ASSERT_TRUE(world.RunUntil([&] { return threads_ended == kThreads; }, kNsPerS)) << seed;
    EXPECT_EQ(done, kThreads * kTasks);
    for (const Guarded& one : guarded) {
      EXPECT_EQ(one.counter.Load(std::memory_order_relaxed), uint64_t{kThreads * kTasks * kRounds})
          << seed;
    }
  }
}

}  // namespace
}  // namespace acre
