// Costs by where lines are: figures that can be added up by hand.

#include "runtime/sim/cpu_caches.h"

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/shared_word.h"
#include "runtime/sim/world.h"
#include "runtime/this_thread.h"

namespace acre::sim {
namespace {

constexpr uint64_t kNsPerS = 1'000'000'000;

struct alignas(kLineBytes) Lines {
  std::array<SharedWord, 3 * kLineBytes / kWordBytes> words;
  SharedWord& at(size_t line) { return words[line * kLineBytes / kWordBytes]; }
};

TEST(CpuCachesTest, LinesOfOneCoreAreNear) {
  CpuCaches caches;
  Lines lines;
  caches.AddLines(&lines, sizeof(lines));
  EXPECT_EQ(caches.Load(&lines.at(0), 1, 0), kLineTransferNs);
  EXPECT_EQ(caches.Load(&lines.words[1], 1, 100), kCacheHitNs);  // The same line.
  EXPECT_EQ(caches.Store(&lines.at(0), 1, 200), kCacheHitNs);
  EXPECT_EQ(caches.Store(&lines.at(1), 1, 200), kLineTransferNs);
}

TEST(CpuCachesTest, WordsOutsideOfNamedMemoryHaveNoNeighbours) {
  CpuCaches caches;
  Lines lines;
  caches.AddLines(&lines.at(1), kLineBytes);
  for (const size_t line : {0, 1, 2}) (void)caches.Load(&lines.at(line), 1, 0);
  SharedWord* const words = lines.words.data();
  EXPECT_EQ(caches.Load(words + 1, 1, 1'000), kLineTransferNs);
  EXPECT_EQ(caches.Load(words + 9, 1, 1'000), kCacheHitNs);
  EXPECT_EQ(caches.Load(words + 17, 1, 1'000), kLineTransferNs);
}

TEST(CpuCachesTest, WhoWritesTakesTheLineFromAllReaders) {
  CpuCaches caches;
  Lines lines;
  caches.AddLines(&lines, sizeof(lines));
  for (uint32_t thread = 1; thread <= 3; ++thread) {
    EXPECT_EQ(caches.Load(&lines.at(0), thread, thread * 1'000), kLineTransferNs);
  }
  EXPECT_EQ(caches.Load(&lines.at(0), 2, 4'000), kCacheHitNs);
  EXPECT_EQ(caches.Store(&lines.at(0), 2, 5'000), kLineTransferNs);
  EXPECT_EQ(caches.Load(&lines.at(0), 1, 6'000), kLineTransferNs);
  EXPECT_EQ(caches.Store(&lines.at(0), 2, 7'000), kLineTransferNs);
}

TEST(CpuCachesTest, ALineGoesToOneCoreAfterTheOther) {
  CpuCaches caches;
  Lines lines;
  caches.AddLines(&lines, sizeof(lines));
  EXPECT_EQ(caches.Store(&lines.at(0), 1, 0), kLineTransferNs);
  EXPECT_EQ(caches.Store(&lines.at(0), 2, 10), 2 * kLineTransferNs - 10);
  EXPECT_EQ(caches.Store(&lines.at(0), 3, 10), 3 * kLineTransferNs - 10);
  EXPECT_EQ(caches.Store(&lines.at(1), 3, 10), kLineTransferNs);
}

// Goal: each kind of access of a thread costs what is said above, and nothing is drawn.
TEST(CpuCachesTest, ThreadsPayForWhatTheyDo) {
  World world({.seed = 1, .store_buffers = false, .stalls = false, .caches = true});
  Machine* const machine = world.AddMachine("machine");
  Lines lines;
  std::vector<uint64_t> took_ns;
  const auto timed = [&](const std::function<void()>& body) {
    const uint64_t begin_ns = world.NowNs();
    body();
    took_ns.push_back(world.NowNs() - begin_ns);
  };
  Thread* const thread = world.AddProcess(machine, "process")->Spawn("main", [&] {
    timed([&] { (void)lines.at(0).Load(std::memory_order_acquire); });
    timed([&] { lines.at(0).Store(1, std::memory_order_release); });
    timed([&] { (void)lines.at(0).Exchange(2, std::memory_order_seq_cst); });
    timed([&] { (void)lines.at(1).FetchAdd(2, std::memory_order_seq_cst); });
    timed([&] { StoreLoadBarrier(); });
    timed([&] { PauseThread(); });
    timed([&] { YieldThread(); });
    timed([&] { (void)machine->clock()->NowNs(); });
  });
  ASSERT_TRUE(world.RunUntil([&] { return thread->has_ended(); }, kNsPerS));
  EXPECT_EQ(took_ns, (std::vector<uint64_t>{kLineTransferNs, kCacheHitNs, kLockedNs + kCacheHitNs,
                                            kLockedNs + kLineTransferNs, kLockedNs, kPauseNs,
                                            kYieldNs, kReadClockNs}));
}

}  // namespace
}  // namespace acre::sim
