// What shared words promise while somebody writes them.

#include <atomic>
#include <memory>
#include <thread>

#include "gtest/gtest.h"
#include "runtime/shared_word.h"
#include "runtime/shared_word_widths.h"

namespace acre {
namespace {

constexpr size_t kLineWords = kLineBytes / kWordBytes;

struct alignas(kLineBytes) Lines {
  SharedWord words[4 * kLineWords];
};

// Goal: a copy visits the lines in its order. The writer stores rising values in the other order,
// so along the copy the values never fall.
template <class Copy>
void CheckOrder(CopyOrder writer_order, const Copy& copy, int rounds) {
  auto lines = std::make_unique<Lines>();
  ZeroShared(lines->words, 4 * kLineWords);
  std::atomic<bool> stop{
      false};  // Set by the reader, read by the writer, which ends some time later.
  std::thread writer([&] {
    uint64_t values[4 * kLineWords];
    for (uint64_t round = 1; !stop.load(std::memory_order_relaxed); ++round) {
      for (uint64_t& value : values) value = round;
      CopyToShared(lines->words, values, 4 * kLineWords, writer_order);
    }
  });
  const bool ascending = writer_order == CopyOrder::kDescending;
  for (int i = 0; i < rounds; ++i) {
    uint64_t copied[4 * kLineWords];
    copy(copied, lines->words, 4 * kLineWords);
    // Per line, since a line may be sampled at once: its last word against the next line's first.
    for (size_t line = 0; line + 1 < 4; ++line) {
      const uint64_t here = copied[ascending ? line * kLineWords : (line + 1) * kLineWords];
      const uint64_t next = copied[ascending ? (line + 1) * kLineWords : line * kLineWords];
      ASSERT_GE(next, here) << "a later load saw an older value";
    }
  }
  stop.store(true, std::memory_order_relaxed);
  writer.join();
}

TEST(SharedWordRaceTest, AscendingCopyLoadsLinesInOrder) {
  for (const SharedCopyWidth& width : SharedCopyWidths()) {
    SCOPED_TRACE(width.load_bytes);
    CheckOrder(CopyOrder::kDescending, width.copy, 20'000);
  }
}

TEST(SharedWordRaceTest, DescendingCopyLoadsLinesInOrder) {
  CheckOrder(
      CopyOrder::kAscending,
      [](uint64_t* to, const SharedWord* from, size_t words) {
        CopyFromShared(to, from, words, CopyOrder::kDescending);
      },
      20'000);
}

// One line that proves itself, as the table's slots do (kvs/slot.h).
template <class Copy>
void CheckSelfProof(const Copy& copy, int rounds) {
  Lines lines;
  ZeroShared(lines.words, kLineWords);
  std::atomic<bool> stop{false};  // As above.
  std::thread writer([&] {
    SharedWord* const words = lines.words;
    for (uint64_t version = 0; !stop.load(std::memory_order_relaxed); version += 2) {
      // Each store may be seen without the later ones, never the other way round.
      words[kLineWords - 1].Store(version + 1, std::memory_order_release);
      words[0].Store(version + 1, std::memory_order_release);
      for (size_t i = 1; i + 1 < kLineWords; ++i) {
        words[i].Store(version + 2, std::memory_order_release);
      }
      words[0].Store(version + 2, std::memory_order_release);
      words[kLineWords - 1].Store(version + 2, std::memory_order_release);
      // At rest now and then, so that the reader finds a whole line however the threads are scheduled.
      if (version % 64 == 0) std::this_thread::yield();
    }
  });
  int proven = 0;
  for (int i = 0; i < rounds || proven == 0; ++i) {
    if (i >= rounds) std::this_thread::yield();
    uint64_t copied[kLineWords];
    copy(copied, lines.words, kLineWords);
    if (copied[0] != copied[kLineWords - 1] || copied[0] % 2 != 0) continue;
    ++proven;
    for (const uint64_t word : copied) ASSERT_EQ(word, copied[0]) << "torn, and not noticed";
  }
  stop.store(true, std::memory_order_relaxed);
  writer.join();
}

TEST(SharedWordRaceTest, LineProvesItselfUnderEveryWidth) {
  for (const SharedCopyWidth& width : SharedCopyWidths()) {
    SCOPED_TRACE(width.load_bytes);
    CheckSelfProof(width.copy, 200'000);
  }
}

TEST(SharedWordRaceTest, LineProvesItselfUnderADescendingCopy) {
  CheckSelfProof([](uint64_t* to, const SharedWord* from,
                    size_t words) { CopyFromShared(to, from, words, CopyOrder::kDescending); },
                 200'000);
}

// Goal: "store mine, then look at yours" on both sides: one of them at least sees the other.
TEST(SharedWordRaceTest, StoreLoadBarrierKeepsStoresBeforeLoads) {
  constexpr uint64_t kRounds = 50'000;
  Lines lines;
  ZeroShared(lines.words, 4 * kLineWords);
  SharedWord* const flags[2] = {&lines.words[0], &lines.words[kLineWords]};
  SharedWord* const rounds[2] = {&lines.words[2 * kLineWords], &lines.words[3 * kLineWords]};
  std::atomic<uint64_t> missed[2] = {};  // Rounds in which side i did not see the other's flag:
  uint64_t both_missed = 0;              // written by side i, read by side 0 once both are through.
  const auto play = [&](int side) {
    for (uint64_t round = 1; round <= kRounds; ++round) {
      flags[side]->Store(round, std::memory_order_relaxed);
      StoreLoadBarrier();
      const uint64_t seen = flags[1 - side]->Load(std::memory_order_relaxed);
      if (seen < round) missed[side].store(round, std::memory_order_relaxed);
      // Both meet before the round is judged, and before the next begins.
      rounds[side]->Store(2 * round - 1, std::memory_order_release);
      while (rounds[1 - side]->Load(std::memory_order_acquire) < 2 * round - 1) {
        std::this_thread::yield();
      }
      if (side == 0 && missed[0].load(std::memory_order_relaxed) == round &&
          missed[1].load(std::memory_order_relaxed) == round) {
        ++both_missed;
      }
      rounds[side]->Store(2 * round, std::memory_order_release);
      while (rounds[1 - side]->Load(std::memory_order_acquire) < 2 * round) {
        std::this_thread::yield();
      }
    }
  };
  std::thread other(play, 1);
  play(0);
  other.join();
  EXPECT_EQ(both_missed, 0u);
}

}  // namespace
}  // namespace acre
