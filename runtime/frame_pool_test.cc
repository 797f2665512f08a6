#include "runtime/frame_pool.h"

#include <cstring>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace acre {
namespace {

constexpr size_t kSizes[] = {1, 16, 64, 65, 128, 1000, 4095, 4096, 4097, 100'000};

TEST(FramePoolTest, BlocksAreAlignedDistinctAndCounted) {
  const int64_t live_before = FramePool::LiveBlocks();
  std::vector<std::pair<unsigned char*, size_t>> blocks;
  for (int round = 0; round < 100; ++round) {
    for (const size_t bytes : kSizes) {
      auto* const block = static_cast<unsigned char*>(FramePool::Allocate(bytes));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 16, 0u);
      std::memset(block, static_cast<int>(blocks.size() % 251), bytes);  // private memory
      blocks.emplace_back(block, bytes);
    }
  }
  EXPECT_EQ(FramePool::LiveBlocks(), live_before + static_cast<int64_t>(blocks.size()));
  for (size_t i = 0; i < blocks.size(); ++i) {
    const auto [block, bytes] = blocks[i];
    EXPECT_EQ(block[0], i % 251);
    EXPECT_EQ(block[bytes - 1], i % 251);
    FramePool::Free(block, bytes);
  }
  EXPECT_EQ(FramePool::LiveBlocks(), live_before);
}

// Goal: blocks may be freed by another thread than allocated them, also by one that ends, and many
// more than a list keeps.
TEST(FramePoolTest, BlocksWanderBetweenThreads) {
  const int64_t live_before = FramePool::LiveBlocks();
  constexpr size_t kBlocksCount = 5'000;
  for (int round = 0; round < 3; ++round) {
    std::vector<void*> blocks(kBlocksCount);
    std::thread allocating([&] {
      for (void*& block : blocks) {
        block = FramePool::Allocate(100);
        std::memset(block, 1, 100);  // private memory
      }
    });
    allocating.join();
    EXPECT_EQ(FramePool::LiveBlocks(), live_before + static_cast<int64_t>(kBlocksCount));
    std::thread freeing([&] {
      for (size_t i = 0; i < kBlocksCount / 2; ++i) FramePool::Free(blocks[i], 100);
    });
    for (size_t i = kBlocksCount / 2; i < kBlocksCount; ++i) FramePool::Free(blocks[i], 100);
    freeing.join();
    EXPECT_EQ(FramePool::LiveBlocks(), live_before);
  }
}

TEST(FramePoolTest, ThreadsAllocateAtTheSameTime) {
  const int64_t live_before = FramePool::LiveBlocks();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int round = 0; round < 10'000; ++round) {
        void* const block = FramePool::Allocate(200);
        std::memset(block, 1, 200);  // private memory
        FramePool::Free(block, 200);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(FramePool::LiveBlocks(), live_before);
}

}  // namespace
}  // namespace acre
