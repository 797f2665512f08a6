// What simulated threads may see of each other's stores: x86-TSO, no less and no more.

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "runtime/shared_word.h"
#include "runtime/sim/world.h"

namespace acre::sim {
namespace {

constexpr uint64_t kSeeds = 400;
constexpr uint64_t kNsPerS = 1'000'000'000;

// Runs the two bodies as threads of two processes, to their ends.
void RunBoth(uint64_t seed, std::function<void()> one, std::function<void()> other,
             bool store_buffers = true) {
  World world({.seed = seed, .store_buffers = store_buffers});
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
uint64_t StoreBufferingCount(Between between, bool store_buffers = true) {
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
        seed, [&] { body(0); }, [&] { body(1); }, store_buffers);
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

TEST(MemoryModelTest, NorDoesAWorldWithoutStoreBuffers) {
  EXPECT_EQ(StoreBufferingCount(Between::kNothing, /*store_buffers=*/false), 0u);
}

TEST(MemoryModelTest, AStoreIsNeverSeenBeforeAnEarlierOne) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SharedWord ready[2];
    SharedWord data[8];
    SharedWord flag;
    const auto write = [&] {
      Meet(&ready[0], &ready[1]);
      for (uint64_t round = 1; round <= 20; ++round) {
        for (SharedWord& word : data) word.Store(round, std::memory_order_relaxed);
        flag.Store(round, std::memory_order_release);
      }
    };
    const auto read = [&] {
      Meet(&ready[1], &ready[0]);
      for (uint64_t round = 0; round < 20;) {
        round = flag.Load(std::memory_order_acquire);
        for (const SharedWord& word : data) ASSERT_GE(word.Load(std::memory_order_relaxed), round);
      }
    };
    RunBoth(seed, write, read);
  }
}

TEST(MemoryModelTest, AThreadSeesItsOwnStoresAtOnce) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SharedWord words[100];  // More than a store buffer holds.
    const auto body = [&](uint64_t me) {
      for (uint64_t round = 1; round <= 4; ++round) {
        for (size_t i = me; i < 100; i += 2) words[i].Store(round, std::memory_order_release);
        for (size_t i = me; i < 100; i += 2) {
          ASSERT_EQ(words[i].Load(std::memory_order_acquire), round);
        }
      }
    };
    RunBoth(
        seed, [&] { body(0); }, [&] { body(1); });
    // Outside of threads there is only memory: what they stored last has got there, or is to.
    for (const SharedWord& word : words) EXPECT_LE(word.Load(std::memory_order_relaxed), 4u);
  }
}

TEST(MemoryModelTest, AWordDoesNotTearACopyDoes) {
  uint64_t mixed_copies = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SharedWord ready[2];
    SharedWord words[8];
    const auto write = [&] {
      Meet(&ready[0], &ready[1]);
      for (int round = 0; round < 20; ++round) {
        const uint64_t all[8] = {~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull};
        CopyToShared(words, all, 8, CopyOrder::kAscending);
        ZeroShared(words, 8);
      }
    };
    const auto read = [&] {
      Meet(&ready[1], &ready[0]);
      for (int round = 0; round < 40; ++round) {
        uint64_t copy[8];
        CopyFromShared(copy, words, 8, CopyOrder::kDescending);
        for (const uint64_t word : copy) {
          ASSERT_TRUE(word == 0 || word == ~0ull);
          if (word != copy[0]) ++mixed_copies;
        }
      }
    };
    RunBoth(seed, write, read);
  }
  EXPECT_GT(mixed_copies, 100u);
}

// A writer that goes up is never seen ahead of itself by a reader that goes down: the last word
// cannot be newer than the first.
TEST(MemoryModelTest, CopiesGoInTheStatedDirection) {
  uint64_t other_way[2] = {};
  for (const CopyOrder read_order : {CopyOrder::kDescending, CopyOrder::kAscending}) {
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      SharedWord ready[2];
      SharedWord words[4];
      const auto write = [&] {
        Meet(&ready[0], &ready[1]);
        for (uint64_t round = 1; round <= 20; ++round) {
          const uint64_t all[4] = {round, round, round, round};
          CopyToShared(words, all, 4, CopyOrder::kAscending);
        }
      };
      const auto read = [&] {
        Meet(&ready[1], &ready[0]);
        for (int round = 0; round < 20; ++round) {
          uint64_t copy[4];
          CopyFromShared(copy, words, 4, read_order);
          if (copy[3] > copy[0]) ++other_way[read_order == CopyOrder::kAscending];
        }
      };
      RunBoth(seed, write, read);
    }
  }
  EXPECT_EQ(other_way[0], 0u);
  EXPECT_GT(other_way[1], 10u);
}

TEST(MemoryModelTest, APairIsSampledInEitherOrder) {
  bool seen[2][2] = {};  // By what the first and the second word had.
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SharedWord ready[2];
    alignas(16) SharedWord pair[2];
    uint64_t found[2] = {};
    const auto write = [&] {
      Meet(&ready[0], &ready[1]);
      pair[0].Store(1, std::memory_order_release);
      pair[1].Store(1, std::memory_order_release);
    };
    const auto read = [&] {
      Meet(&ready[1], &ready[0]);
      LoadPair(pair).StoreTo(reinterpret_cast<char*>(found));
    };
    RunBoth(seed, write, read);
    seen[found[0]][found[1]] = true;
  }
  EXPECT_TRUE(seen[0][0] && seen[0][1] && seen[1][0] && seen[1][1]);
}

TEST(MemoryModelTest, TwoPlainIncrementsLoseOneAtTimesFetchAddNever) {
  uint64_t lost = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SharedWord ready[2];
    SharedWord plain;
    SharedWord atomic;
    SharedWord exchanged;
    const auto body = [&](int me) {
      Meet(&ready[me], &ready[1 - me]);
      for (int i = 0; i < 3; ++i) {
        plain.Store(plain.Load(std::memory_order_relaxed) + 1, std::memory_order_seq_cst);
        (void)atomic.FetchAdd(1, std::memory_order_relaxed);
        uint64_t expected = exchanged.Load(std::memory_order_relaxed);
        while (!exchanged.CompareExchange(&expected, expected + 1, std::memory_order_relaxed)) {
        }
      }
    };
    RunBoth(
        seed, [&] { body(0); }, [&] { body(1); });
    lost += plain.Load(std::memory_order_relaxed) < 6;
    EXPECT_EQ(atomic.Load(std::memory_order_relaxed), 6u);
    EXPECT_EQ(exchanged.Load(std::memory_order_relaxed), 6u);
  }
  EXPECT_GT(lost, 20u);
  EXPECT_LT(lost, kSeeds);
}

// Each of the 20 ways in which two threads can take three steps each.
TEST(MemoryModelTest, EveryInterleavingComesUp) {
  bool seen[64] = {};
  int count = 0;
  for (uint64_t seed = 0; seed < 20'000 && count < 20; ++seed) {
    SharedWord ready[2];
    SharedWord step;
    uint64_t order = 0;  // Bit i: who took step i.
    const auto body = [&](uint64_t me) {
      Meet(&ready[me], &ready[1 - me]);
      for (int i = 0; i < 3; ++i) order |= me << step.FetchAdd(1, std::memory_order_relaxed);
    };
    RunBoth(
        seed, [&] { body(0); }, [&] { body(1); });
    count += !std::exchange(seen[order], true);
  }
  EXPECT_EQ(count, 20);
}

// A killed process's stores still reach memory, in order, some after its death.
TEST(MemoryModelTest, AKilledProcesssStoresStillDrain) {
  uint64_t late = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SharedWord words[3];
    World world({.seed = seed});
    Process* const process = world.AddProcess(world.AddMachine("machine"), "process");
    process->Spawn("main", [&] {
      for (SharedWord& word : words) word.Store(1, std::memory_order_release);
      process->Kill();
    });
    world.RunUntil([&] { return process->is_dead(); }, kNsPerS);
    const auto in_memory = [&] {
      uint64_t count = 0;
      for (const SharedWord& word : words) {
        const uint64_t value = word.Load(std::memory_order_relaxed);
        EXPECT_TRUE(value == 0 || &word == words + count);
        count += value;
      }
      return count;
    };
    late += in_memory() < 3;
    world.After(20'000, [] {});
    EXPECT_FALSE(world.RunUntil([&] { return (void)in_memory(), false; }, kNsPerS));
    EXPECT_EQ(in_memory(), 3u);
  }
  EXPECT_GT(late, 20u);
}

TEST(MemoryModelTest, ACrashedMachinesStoresAreGone) {
  uint64_t lost = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SharedWord word;
    World world({.seed = seed});
    Machine* const machine = world.AddMachine("machine");
    world.AddProcess(machine, "process")->Spawn("main", [&] {
      word.Store(1, std::memory_order_release);
      machine->Crash();
    });
    EXPECT_FALSE(world.RunUntil([] { return false; }, kNsPerS));
    lost += word.Load(std::memory_order_relaxed) == 0;
  }
  EXPECT_GT(lost, 20u);
}

// What tells a card where to read comes after all stores before it.
TEST(MemoryModelTest, StoresHaveLandedWhenTheirDoorbellRings) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SharedWord words[3];
    World world({.seed = seed});
    uint64_t found = 0;
    world.AddProcess(world.AddMachine("machine"), "process")->Spawn("main", [&] {
      for (SharedWord& word : words) word.Store(1, std::memory_order_release);
      world.After(world.StoresLandNs() - world.NowNs(), [&] {
        for (const SharedWord& word : words) found += word.Load(std::memory_order_relaxed);
      });
    });
    EXPECT_FALSE(world.RunUntil([] { return false; }, kNsPerS));
    EXPECT_EQ(found, 3u);
  }
}

}  // namespace
}  // namespace acre::sim
