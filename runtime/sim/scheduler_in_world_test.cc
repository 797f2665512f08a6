// Schedulers whose threads are simulated: timers, sleep, wake-ups, confinement.

#include <sys/epoll.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/scheduler.h"
#include "runtime/shared_word.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"

namespace acre::sim {
namespace {

using ::testing::ElementsAre;

constexpr uint64_t kNsPerUs = 1'000;
constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kNsPerS = 1'000'000'000;

bool Never() { return false; }

Scheduler::Options OptionsFor(Machine* machine) {
  return {.clock = machine->clock(), .spin_ns = 2 * kNsPerUs, .name = "simulated"};
}

Task<void> SleepAndTell(Scheduler* scheduler, uint64_t ns, std::vector<uint64_t>* told) {
  co_await scheduler->SleepFor(ns);
  told->push_back(ns);
}

TEST(SchedulerInWorldTest, TimersFireInVirtualTime) {
  World world({.stalls = false});
  Machine* const machine = world.AddMachine("machine");
  std::vector<uint64_t> told;
  uint64_t sleeps_count = 0;
  uint64_t end_ns = 0;
  world.AddProcess(machine, "process")->Spawn("main", [&] {
    Scheduler scheduler(OptionsFor(machine));
    for (const uint64_t ms : {30, 10, 20}) {
      scheduler.Spawn(SleepAndTell(&scheduler, ms * kNsPerMs, &told)).Detach();
    }
    const uint64_t start_ns = world.NowNs();
    scheduler.RunUntilDone(SleepAndTell(&scheduler, 3600 * kNsPerS, &told));
    end_ns = world.NowNs() - start_ns;
    sleeps_count = scheduler.sleeps_count();
  });
  EXPECT_FALSE(world.RunUntil(Never, 4000 * kNsPerS));
  EXPECT_THAT(told, ElementsAre(10 * kNsPerMs, 20 * kNsPerMs, 30 * kNsPerMs, 3600 * kNsPerS));
  EXPECT_GE(end_ns, 3600 * kNsPerS);
  EXPECT_LT(end_ns, 3600 * kNsPerS + kNsPerMs);
  EXPECT_LT(sleeps_count, 20u) << "an idle scheduler sleeps on the World";
}

TEST(SchedulerInWorldTest, ADriftingClocksTimersFollowThatClock) {
  World world({.stalls = false});
  Machine* const machine = world.AddMachine("machine");
  machine->SetDrift(50'000);
  uint64_t took_ns = 0;
  world.AddProcess(machine, "process")->Spawn("main", [&] {
    Scheduler scheduler(OptionsFor(machine));
    std::vector<uint64_t> told;
    const uint64_t start_ns = world.NowNs();
    scheduler.RunUntilDone(SleepAndTell(&scheduler, 1'050 * kNsPerMs, &told));
    took_ns = world.NowNs() - start_ns;
  });
  world.RunUntil(Never, 4 * kNsPerS);
  EXPECT_GE(took_ns, kNsPerS);
  EXPECT_LT(took_ns, kNsPerS + kNsPerMs);
}

// A polled source as providers make them: work in a word, a wake-up through a descriptor.
class Source final : public Poller {
 public:
  Source(World* world, Scheduler* scheduler)
      : descriptor_(std::make_unique<Descriptor>(world)), scheduler_(scheduler) {
    const absl::Status status = scheduler_->WatchFd(
        descriptor_->fd(), EPOLLIN, [this](uint32_t) { descriptor_->SetReadable(false); });
    CHECK(status.ok()) << status;
  }
  ~Source() override { scheduler_->UnwatchFd(descriptor_->fd()); }

  // The other side. Any thread.
  void Bring(uint64_t work, bool fenced) {
    work_.Store(work, std::memory_order_release);
    if (fenced) StoreLoadBarrier();
    if (armed_.Load(std::memory_order_acquire) != 0) descriptor_->SetReadable(true);
  }
  uint64_t taken() const { return taken_.Load(std::memory_order_acquire); }

 private:
  bool Poll() override {
    const uint64_t work = work_.Load(std::memory_order_acquire);
    if (work == taken_.Load(std::memory_order_relaxed)) return false;
    taken_.Store(work, std::memory_order_release);
    return true;
  }
  void Arm() override {
    armed_.Store(1, std::memory_order_release);
    StoreLoadBarrier();
  }
  void Disarm() override { armed_.Store(0, std::memory_order_release); }

  SharedWord work_;
  SharedWord taken_;
  SharedWord armed_;
  std::unique_ptr<Descriptor> descriptor_;
  Scheduler* const scheduler_;
};

// How many of the seeds end with work that the sleeping scheduler does not know of.
uint64_t LostWakeUps(bool fenced, uint64_t seeds) {
  constexpr uint64_t kRounds = 30;
  uint64_t lost = 0;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    World world({.seed = seed});
    Machine* const machine = world.AddMachine("machine");
    Source* source = nullptr;
    Thread* bringer = nullptr;
    world.AddProcess(machine, "server")->Spawn("main", [&] {
      Scheduler scheduler(OptionsFor(machine));
      Source polled(&world, &scheduler);
      scheduler.AddPoller(&polled);
      source = &polled;
      scheduler.Run();
    });
    bringer = world.AddProcess(machine, "client")->Spawn("main", [&] {
      while (source == nullptr) world.Sleep(10 * kNsPerUs);
      for (uint64_t round = 1; round <= kRounds; ++round) {
        world.Sleep(world.random().Uniform(4'000));
        source->Bring(round, fenced);
        while (source->taken() != round) world.Sleep(500);
      }
    });
    lost += !world.RunUntil([&] { return bringer->has_ended(); }, kNsPerS);
  }
  return lost;
}

TEST(SchedulerInWorldTest, NoWakeUpIsLost) { EXPECT_EQ(LostWakeUps(/*fenced=*/true, 200), 0u); }

TEST(SchedulerInWorldTest, WithoutTheFenceOneIs) {
  EXPECT_GT(LostWakeUps(/*fenced=*/false, 200), 0u);
}

// Posts cross while the scheduler falls asleep, wakes and sleeps again: each runs, soon.
TEST(SchedulerInWorldTest, PostsOfOtherThreadsRunInTheirOrder) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    World world({.seed = seed});
    Machine* const machine = world.AddMachine("machine");
    Process* const process = world.AddProcess(machine, "process");
    Scheduler* scheduler = nullptr;
    std::vector<int> ran[2];
    int threads_done = 0;
    process->Spawn("loop", [&] {
      Scheduler own(OptionsFor(machine));
      scheduler = &own;
      own.Run();
      scheduler = nullptr;
    });
    for (int thread = 0; thread < 2; ++thread) {
      process->Spawn("poster", [&, thread] {
        while (scheduler == nullptr) world.Sleep(kNsPerUs);
        for (int i = 0; i < 20; ++i) {
          world.Sleep(world.random().Uniform(6'000));
          scheduler->Post([&ran, thread, i] { ran[thread].push_back(i); });
        }
        if (++threads_done == 2) scheduler->Post([&] { scheduler->Stop(); });
      });
    }
    ASSERT_TRUE(world.RunUntil([&] { return threads_done == 2 && scheduler == nullptr; }, kNsPerS))
        << seed;
    for (const std::vector<int>& order : ran) {
      EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
      EXPECT_EQ(order.size(), 20u);
    }
  }
}

TEST(SchedulerInWorldTest, ABusyPollingSchedulerLetsVirtualTimePass) {
  World world({.stalls = false});
  Machine* const machine = world.AddMachine("machine");
  bool ended = false;
  world.AddProcess(machine, "process")->Spawn("main", [&] {
    Scheduler::Options options = OptionsFor(machine);
    options.poll_mode = PollMode::kBusy;
    Scheduler scheduler(options);
    std::vector<uint64_t> told;
    scheduler.RunUntilDone(SleepAndTell(&scheduler, 10 * kNsPerMs, &told));
    EXPECT_EQ(scheduler.sleeps_count(), 0u);
    ended = true;
  });
  EXPECT_TRUE(world.RunUntil([&] { return ended; }, kNsPerS));
}

TEST(SchedulerInWorldTest, DescriptorsAreLevelTriggered) {
  World world({.stalls = false});
  Machine* const machine = world.AddMachine("machine");
  Descriptor* descriptor = nullptr;
  int calls = 0;
  bool ended = false;
  world.AddProcess(machine, "process")->Spawn("main", [&] {
    Descriptor own(&world);
    descriptor = &own;
    Scheduler scheduler(OptionsFor(machine));
    const auto on_ready = [&](uint32_t events) {
      EXPECT_EQ(events, uint32_t{EPOLLIN});
      if (++calls == 3) own.SetReadable(false);
    };
    ASSERT_TRUE(scheduler.WatchFd(own.fd(), EPOLLIN, on_ready).ok());
    EXPECT_TRUE(absl::IsAlreadyExists(scheduler.WatchFd(own.fd(), EPOLLIN, on_ready)));
    EXPECT_TRUE(absl::IsInvalidArgument(scheduler.WatchFd(0, EPOLLIN, on_ready)));
    std::vector<uint64_t> told;
    scheduler.RunUntilDone(SleepAndTell(&scheduler, 10 * kNsPerMs, &told));
    EXPECT_EQ(calls, 3);
    scheduler.ModifyFd(own.fd(), 0);
    own.SetReadable(true);
    scheduler.RunUntilDone(SleepAndTell(&scheduler, kNsPerMs, &told));
    EXPECT_EQ(calls, 3);
    scheduler.UnwatchFd(own.fd());
    ended = true;
  });
  world.After(2 * kNsPerMs, [&] { descriptor->SetReadable(true); });
  EXPECT_TRUE(world.RunUntil([&] { return ended; }, kNsPerS));
}

TEST(SchedulerInWorldDeathTest, AnotherThreadIsRefused) {
  const auto misuse = [] {
    World world({});
    Machine* const machine = world.AddMachine("machine");
    Process* const process = world.AddProcess(machine, "process");
    Scheduler scheduler(OptionsFor(machine));
    for (int i = 0; i < 2; ++i) process->Spawn("main", [&] { scheduler.RunOnce(); });
    world.RunUntil(Never, kNsPerS);
  };
  EXPECT_DEATH(misuse(), "belongs to another thread");
}

}  // namespace
}  // namespace acre::sim
