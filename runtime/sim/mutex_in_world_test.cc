// acre::Mutex among simulated threads.

#include <cstdint>

#include "gtest/gtest.h"
#include "runtime/frame_pool.h"
#include "runtime/mutex.h"
#include "runtime/shared_word.h"
#include "runtime/sim/world.h"
#include "runtime/this_thread.h"

namespace acre::sim {
namespace {

constexpr uint64_t kNsPerS = 1'000'000'000;

TEST(MutexInWorldTest, ExcludesAndPublishes) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    World world({.seed = seed});
    Process* const process = world.AddProcess(world.AddMachine("machine"), "process");
    Mutex mutex;
    SharedWord counter;
    int inside = 0;
    int ended = 0;
    for (int i = 0; i < 3; ++i) {
      process->Spawn("thread", [&] {
        for (int round = 0; round < 10; ++round) {
          const MutexLock lock(&mutex);
          EXPECT_EQ(++inside, 1);
          counter.Store(counter.Load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
          if (round % 4 == 0) world.Sleep(5'000);
          --inside;
        }
        ++ended;
      });
    }
    ASSERT_TRUE(world.RunUntil([&] { return ended == 3; }, kNsPerS));
    EXPECT_EQ(counter.Load(std::memory_order_relaxed), 30u);
  }
}

// A loop that waits for a thread that stalls must not keep it from running.
TEST(MutexInWorldTest, YieldingLetsOthersRun) {
  World world({});
  Process* const process = world.AddProcess(world.AddMachine("machine"), "process");
  SharedWord flag;
  bool ended = false;
  process->Spawn("waiter", [&] {
    while (flag.Load(std::memory_order_acquire) == 0) YieldThread();
    ended = true;
  });
  process->Spawn("setter", [&] {
    world.Sleep(kNsPerS / 2);
    flag.Store(1, std::memory_order_release);
  });
  EXPECT_TRUE(world.RunUntil([&] { return ended; }, kNsPerS));
}

// The pool is the whole test program's: a process that dies in it takes nothing along.
TEST(MutexInWorldTest, TheFramePoolIsOneStepToSimulatedThreads) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    World world({.seed = seed});
    Machine* const machine = world.AddMachine("machine");
    for (const char* const name : {"a", "b"}) {
      Process* const process = world.AddProcess(machine, name);
      process->Spawn("main", [&world] {
        for (;;) {
          FramePool::Free(FramePool::Allocate(100), 100);
          world.Spend(10);
          (void)FramePool::LiveBlocks();
        }
      });
      world.After(60'000 + world.random().Uniform(1'000), [process] { process->Kill(); });
    }
    const int64_t before = FramePool::LiveBlocks();
    world.RunUntil([] { return false; }, 100'000);
    EXPECT_LE(FramePool::LiveBlocks() - before, 2);
  }
}

TEST(MutexInWorldDeathTest, WaitingOutsideForASimulatedHolderIsRefused) {
  World world({});
  Mutex mutex;
  bool held = false;
  world.AddProcess(world.AddMachine("machine"), "process")->Spawn("main", [&] {
    const MutexLock lock(&mutex);
    held = true;
    world.Sleep(kNsPerS);
  });
  ASSERT_TRUE(world.RunUntil([&] { return held; }, kNsPerS / 2));
  EXPECT_DEATH(mutex.Lock(), "cannot go on meanwhile");
}

}  // namespace
}  // namespace acre::sim
