// Events, threads, processes, machines and their clocks.

#include "runtime/sim/world.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/shared_word.h"

namespace acre::sim {
namespace {

using ::testing::ElementsAre;

constexpr uint64_t kNsPerUs = 1'000;
constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kNsPerS = 1'000'000'000;

bool Never() { return false; }

TEST(WorldTest, EventsRunInOrderOfTimeAndOfTheirCalls) {
  World world({});
  std::vector<int> order;
  world.After(20, [&] { order.push_back(3); });
  world.After(10, [&] {
    order.push_back(1);
    EXPECT_EQ(world.NowNs(), 10u);
    world.After(10, [&] { order.push_back(4); });
    world.After(0, [&] { order.push_back(2); });
  });
  EXPECT_FALSE(world.RunUntil(Never, kNsPerS));
  EXPECT_THAT(order, ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(world.NowNs(), kNsPerS);
}

TEST(WorldTest, ACancelledEventDoesNotRun) {
  class Counter final : public Event {
   public:
    int count = 0;

   private:
    void Run() override { ++count; }
  };
  World world({});
  Counter one, other;
  world.Schedule(&one, 10);
  world.Schedule(&other, 20);
  world.Cancel(&one);
  EXPECT_FALSE(one.scheduled());
  world.RunUntil(Never, 15);
  EXPECT_TRUE(other.scheduled());
  world.RunUntil(Never, 25);
  EXPECT_EQ(one.count, 0);
  EXPECT_EQ(other.count, 1);
}

TEST(WorldTest, RunUntilStopsWhenDoneAndGoesOn) {
  World world({});
  int steps = 0;
  for (uint64_t i = 1; i <= 4; ++i) world.After(i * kNsPerUs, [&] { ++steps; });
  EXPECT_TRUE(world.RunUntil([&] { return steps == 2; }, kNsPerS));
  EXPECT_EQ(world.NowNs(), 2 * kNsPerUs);
  EXPECT_FALSE(world.RunUntil([&] { return steps == 4; }, 3 * kNsPerUs));
  EXPECT_EQ(steps, 3);
  EXPECT_TRUE(world.RunUntil([&] { return steps == 4; }, kNsPerS));
}

TEST(WorldTest, AThreadThatNeverWaitsIsStoppedAtTheTime) {
  World world({});
  SharedWord word;
  world.AddProcess(world.AddMachine("machine"), "process")->Spawn("main", [&] {
    for (;;) (void)word.Load(std::memory_order_relaxed);
  });
  EXPECT_FALSE(world.RunUntil(Never, kNsPerMs));
  EXPECT_EQ(world.NowNs(), kNsPerMs);
}

TEST(WorldTest, SleepersWakeInOrder) {
  World world({.stalls = false});
  Process* const process = world.AddProcess(world.AddMachine("machine"), "process");
  std::vector<int> order;
  for (const int i : {3, 1, 2}) {
    process->Spawn("sleeper", [&world, &order, i] {
      world.Sleep(static_cast<uint64_t>(i) * kNsPerMs);
      order.push_back(i);
    });
  }
  world.RunUntil(Never, kNsPerS);
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
}

TEST(WorldTest, AWakeUpEndsABlockAlsoOneThatHasNotBegun) {
  World world({.stalls = false});
  Process* const process = world.AddProcess(world.AddMachine("machine"), "process");
  std::vector<bool> woken;
  uint64_t times_ns[3] = {};
  Thread* const thread = process->Spawn("main", [&] {
    world.Sleep(kNsPerMs);
    woken.push_back(world.Block(kForever));  // Woken before.
    times_ns[0] = world.NowNs();
    woken.push_back(world.Block(kNsPerMs));  // By nobody.
    times_ns[1] = world.NowNs();
    woken.push_back(world.Block(kForever));
    times_ns[2] = world.NowNs();
  });
  world.After(kNsPerMs / 2, [&] { world.Wake(thread, 0); });
  world.After(5 * kNsPerMs, [&] { world.Wake(thread, kNsPerMs); });
  world.RunUntil(Never, kNsPerS);
  EXPECT_THAT(woken, ElementsAre(true, false, true));
  EXPECT_LT(times_ns[0], 2 * kNsPerMs);
  EXPECT_EQ(times_ns[1], times_ns[0] + kNsPerMs);
  EXPECT_EQ(times_ns[2], 6 * kNsPerMs);
  EXPECT_TRUE(thread->has_ended());
}

TEST(WorldTest, AKilledProcessTakesNoStepMoreAndIsReported) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    World world({.seed = seed});
    Process* const process = world.AddProcess(world.AddMachine("machine"), "process");
    SharedWord words[2];
    Thread* threads[2];
    for (int i = 0; i < 2; ++i) {
      threads[i] = process->Spawn("thread", [&words, i] {
        for (;;) (void)words[i].FetchAdd(1, std::memory_order_relaxed);
      });
    }
    Thread* const sleeper = process->Spawn("sleeper", [&] { world.Block(kForever); });
    int deaths = 0;
    process->OnDeath([&] {
      EXPECT_EQ(world.current_thread(), nullptr);
      ++deaths;
    });
    uint64_t counts[2] = {};
    world.After(200 * kNsPerUs + world.random().Uniform(1'000), [&] {
      process->Kill();
      process->Kill();
      for (int i = 0; i < 2; ++i) counts[i] = words[i].Load(std::memory_order_relaxed);
      world.Wake(sleeper, 0);
    });
    EXPECT_FALSE(world.RunUntil(Never, 2 * kNsPerMs));
    EXPECT_TRUE(process->is_dead());
    EXPECT_EQ(deaths, 1);
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(words[i].Load(std::memory_order_relaxed), counts[i]);
      EXPECT_FALSE(threads[i]->has_ended());
    }
    process->OnDeath([&] { ++deaths; });
    world.RunUntil(Never, 3 * kNsPerMs);
    EXPECT_EQ(deaths, 2);
  }
}

TEST(WorldTest, AThreadMayKillItsOwnProcessAndOthers) {
  World world({});
  Machine* const machine = world.AddMachine("machine");
  Process* const one = world.AddProcess(machine, "one");
  Process* const other = world.AddProcess(machine, "other");
  bool went_on = false;
  other->Spawn("main", [&] {
    for (;;) world.Sleep(kNsPerUs);
  });
  one->Spawn("main", [&] {
    world.Sleep(kNsPerMs);
    other->Kill();
    const OutsideOfSimulatedThread outside;  // A fault inside of a card's engine.
    one->Kill();
    went_on = true;
  });
  EXPECT_FALSE(world.RunUntil(Never, kNsPerS));
  EXPECT_TRUE(one->is_dead() && other->is_dead());
  EXPECT_FALSE(went_on);
}

TEST(WorldTest, AProcessCanBeKilledBeforeEachOfItsSteps) {
  constexpr uint64_t kSteps = 4;
  for (uint64_t kill_at = 1; kill_at <= kSteps + 1; ++kill_at) {
    World world({.store_buffers = false});
    Process* const process = world.AddProcess(world.AddMachine("machine"), "process");
    SharedWord words[kSteps];
    uint64_t steps = 0;
    process->Spawn("main", [&] {
      words[0].Store(7, std::memory_order_relaxed);  // Nobody watches yet.
      process->WatchSteps([&] {
        if (++steps == kill_at) process->Kill();
      });
      words[0].Store(1, std::memory_order_release);
      (void)words[0].Load(std::memory_order_acquire);  // No step: nobody can tell.
      (void)words[1].Exchange(1, std::memory_order_relaxed);
      (void)words[2].FetchAdd(1, std::memory_order_relaxed);
      uint64_t expected = 0;
      (void)words[3].CompareExchange(&expected, 1, std::memory_order_relaxed);
      process->WatchSteps(nullptr);
      words[0].Store(1, std::memory_order_relaxed);
    });
    world.RunUntil(Never, kNsPerMs);
    EXPECT_EQ(steps, std::min(kill_at, kSteps));
    EXPECT_EQ(process->is_dead(), kill_at <= kSteps);
    for (uint64_t i = 0; i < kSteps; ++i) {
      const uint64_t left_out = i == 0 ? 7 : 0;
      EXPECT_EQ(words[i].Load(std::memory_order_relaxed), i + 1 < kill_at ? 1 : left_out);
    }
  }
}

TEST(WorldTest, ACrashTakesAllProcessesOfTheMachineAndNoOther) {
  World world({});
  Machine* const machine = world.AddMachine("machine");
  Process* const one = world.AddProcess(machine, "one");
  Process* const two = world.AddProcess(machine, "two");
  Process* const far = world.AddProcess(world.AddMachine("far"), "far");
  world.After(kNsPerMs, [&] { machine->Crash(); });
  world.RunUntil(Never, kNsPerS);
  EXPECT_TRUE(one->is_dead() && two->is_dead());
  EXPECT_FALSE(far->is_dead());
  EXPECT_TRUE(machine->is_crashed());
  EXPECT_DEATH(world.AddProcess(machine, "early"), "has crashed");
  machine->Restart();
  bool ran = false;
  world.AddProcess(machine, "three")->Spawn("main", [&] { ran = true; });
  EXPECT_TRUE(world.RunUntil([&] { return ran; }, 2 * kNsPerS));
}

TEST(WorldTest, APausedProcessStandsStillAndMissesNothing) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    World world({.seed = seed});
    Process* const process = world.AddProcess(world.AddMachine("machine"), "process");
    SharedWord word;
    bool woken = false;
    bool timed_out = false;
    process->Spawn("runner", [&] {
      for (;;) (void)word.FetchAdd(1, std::memory_order_relaxed);
    });
    Thread* const blocked = process->Spawn("blocked", [&] { woken = world.Block(kForever); });
    process->Spawn("waiter", [&] { timed_out = !world.Block(kNsPerMs); });
    uint64_t before = 0;
    world.After(500 * kNsPerUs, [&] { process->Pause(); });
    world.After(500 * kNsPerUs, [&] { before = word.Load(std::memory_order_relaxed); });
    world.After(2 * kNsPerMs, [&] { world.Wake(blocked, 0); });
    world.RunUntil(Never, 5 * kNsPerMs);
    EXPECT_TRUE(process->is_paused());
    EXPECT_EQ(word.Load(std::memory_order_relaxed), before);
    EXPECT_FALSE(woken || timed_out);
    world.Wake(blocked, 0);
    process->Resume();
    world.RunUntil(Never, 30 * kNsPerMs);
    EXPECT_GT(word.Load(std::memory_order_relaxed), before);
    EXPECT_TRUE(woken && timed_out);
  }
}

TEST(WorldTest, AThreadMayPauseItsOwnProcess) {
  World world({});
  Process* const process = world.AddProcess(world.AddMachine("machine"), "process");
  uint64_t resumed_ns = 0;
  process->Spawn("main", [&] {
    process->Pause();
    resumed_ns = world.NowNs();
  });
  world.After(kNsPerS, [&] { process->Resume(); });
  world.RunUntil(Never, 2 * kNsPerS);
  EXPECT_GE(resumed_ns, kNsPerS);
}

TEST(WorldTest, APausedProcessCanBeKilled) {
  World world({});
  Process* const process = world.AddProcess(world.AddMachine("machine"), "process");
  bool ran = false;
  process->Spawn("main", [&] {
    world.Sleep(kNsPerMs);
    ran = true;
  });
  process->Pause();
  world.After(2 * kNsPerMs, [&] { process->Kill(); });
  world.After(3 * kNsPerMs, [&] { process->Resume(); });
  world.RunUntil(Never, kNsPerS);
  EXPECT_TRUE(process->is_dead());
  EXPECT_FALSE(ran);
}

TEST(WorldTest, ASlowMachineDoesLess) {
  uint64_t counts[2] = {};
  for (int slow = 0; slow < 2; ++slow) {
    World world({.stalls = false});
    Machine* const machine = world.AddMachine("machine");
    if (slow == 1) machine->SetSlowness(10);
    SharedWord word;
    world.AddProcess(machine, "process")->Spawn("main", [&] {
      for (;;) (void)word.FetchAdd(1, std::memory_order_relaxed);
    });
    world.RunUntil(Never, 10 * kNsPerMs);
    counts[slow] = word.Load(std::memory_order_relaxed);
  }
  EXPECT_GT(counts[0], 8 * counts[1]);
}

TEST(MachineClockTest, ClocksAreUnrelatedAndDrift) {
  World world({});
  Machine* const fast = world.AddMachine("fast");
  Machine* const right = world.AddMachine("right");
  const uint64_t fast_start_ns = fast->clock()->NowNs();
  const uint64_t right_start_ns = right->clock()->NowNs();
  EXPECT_NE(fast_start_ns, right_start_ns);
  fast->SetDrift(500);
  world.RunUntil(Never, 10 * kNsPerS);
  world.After(0, [] {});
  EXPECT_EQ(right->clock()->NowNs() - right_start_ns, 10 * kNsPerS);
  EXPECT_EQ(fast->clock()->NowNs() - fast_start_ns, 10 * kNsPerS + 5 * kNsPerMs);
  fast->SetDrift(-500);
  EXPECT_EQ(fast->clock()->NowNs() - fast_start_ns, 10 * kNsPerS + 5 * kNsPerMs);
  world.RunUntil(Never, 20 * kNsPerS);
  EXPECT_EQ(fast->clock()->NowNs() - fast_start_ns, 20 * kNsPerS);
}

TEST(MachineClockTest, NeverGoesBackAndPassesForWhoReadsIt) {
  World world({});
  Machine* const machine = world.AddMachine("machine");
  Process* const process = world.AddProcess(machine, "process");
  MachineClock* const clock = machine->clock();
  uint64_t latest_ns = 0;
  int ended = 0;
  for (int i = 0; i < 3; ++i) {
    process->Spawn("thread", [&] {
      const uint64_t end_ns = clock->NowNs() + kNsPerMs;
      while (latest_ns < end_ns) {
        const uint64_t now_ns = clock->Ticks();
        EXPECT_GE(now_ns, latest_ns);
        latest_ns = now_ns;
        const uint64_t coarse_ns = clock->CoarseNowNs();
        EXPECT_LE(coarse_ns, clock->NowNs());
        EXPECT_GE(coarse_ns + clock->coarse_lag_ns(), now_ns);
      }
      ++ended;
    });
  }
  for (uint64_t i = 1; i < 10; ++i) {
    world.After(i * 100 * kNsPerUs, [&world, machine] {
      machine->SetDrift(static_cast<double>(world.random().Uniform(100'000)) - 50'000);
    });
  }
  EXPECT_TRUE(world.RunUntil([&] { return ended == 3; }, kNsPerS));
}

[[gnu::noinline]] void UseStack(size_t bytes) {
  for (size_t used = 0; used < bytes; used += 1'024) {
    *static_cast<volatile char*>(__builtin_alloca(1'024)) = 0;
  }
}

TEST(WorldDeathTest, MisuseIsRefused) {
  World world({});
  Process* const process = world.AddProcess(world.AddMachine("machine"), "process");
  EXPECT_DEATH(world.Block(1), "only a simulated thread can wait");
  SharedWord word;
  process->Spawn("main", [&] {
    EXPECT_DEATH(world.RunUntil(Never, kNsPerS), "inside the World");
    const OutsideOfSimulatedThread outside;
    EXPECT_DEATH(world.Block(kForever), "inside an OutsideOfSimulatedThread");
  });
  process->Spawn("overflow", [] { EXPECT_DEATH(UseStack(2 * StackPool::kStackBytes), ""); });
  world.RunUntil(Never, kNsPerS);
  process->Kill();
  EXPECT_DEATH(process->Spawn("late", [] {}), "process is dead");
}

}  // namespace
}  // namespace acre::sim
