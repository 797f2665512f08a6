// What simulated threads may see of each other's stores: x86-TSO, no less and no more.

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "runtime/shared_word.h"
#include "runtime/sim/world.h"

namespace acre::sim {
namespace {

constexpr uint64_t kSeeds = 400;
constexpr uint64_t kNsPerS = 1'000'000'000;

// Runs the two bodies as threads of two processes, to their ends.
void RunBoth(uint64_t seed, std::function<void()> one, std::function<void()> other) {
  World world({.seed = seed});
  Machine* const machine = world.AddMachine("machine");
  Thread* const a = world.AddProcess(machine, "a")->Spawn("main", std::move(one));
  Thread* const b = world.AddProcess(machine, "b")->Spawn("main", std::move(other));
  ASSERT_TRUE(world.RunUntil([&] { return a->has_ended() && b->has_ended(); }, kNsPerS));
}

// Both wait for each other before they begin: else one has often ended before the other starts.
void Meet(SharedWord* mine, const SharedWord* other) {
  mine->Store(1, std::memory_order_seq_cst);
  while (other->Load(std::memory_order_acquire) == 0) {
  }
}

enum class Between : uint8_t { kNothing, kBarrier, kExchange, kSeqCstStore };

// "Store mine, then look at yours", on both sides. How many of the seeds have both see nothing.
uint64_t StoreBufferingCount(Between between) {
  uint64_t relaxed = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SharedWord ready[2];
    SharedWord words[2];
    uint64_t seen[2] = {};
    const auto body = [&](int me) {
      Meet(&ready[me], &ready[1 - me]);
      switch (between) {
        case Between::kNothing:
          words[me].Store(1, std::memory_order_release);
          break;
        case Between::kBarrier:
          words[me].Store(1, std::memory_order_release);
          StoreLoadBarrier();
          break;
        case Between::kExchange:
          (void)words[me].Exchange(1, std::memory_order_seq_cst);
          break;
        case Between::kSeqCstStore:
          words[me].Store(1, std::memory_order_seq_cst);
          break;
      }
      seen[me] = words[1 - me].Load(std::memory_order_acquire);
    };
    RunBoth(
        seed, [&] { body(0); }, [&] { body(1); });
    relaxed += seen[0] == 0 && seen[1] == 0;
  }
  return relaxed;
}

TEST(MemoryModelTest, BothMissEachOthersStoreWithoutAFence) {
  EXPECT_GT(StoreBufferingCount(Between::kNothing), 5u);
}

TEST(MemoryModelTest, NeitherFenceExchangeNorSeqCstStoreLetsThem) {
  EXPECT_EQ(StoreBufferingCount(Between::kBarrier), 0u);
  EXPECT_EQ(StoreBufferingCount(Between::kExchange), 0u);
  EXPECT_EQ(StoreBufferingCount(Between::kSeqCstStore), 0u);
}

}  // namespace
}  // namespace acre::sim
