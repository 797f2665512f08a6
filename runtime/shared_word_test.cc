#include "runtime/shared_word.h"

#include <memory>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/shared_word_widths.h"

namespace acre {
namespace {

constexpr size_t kAreaWords = 64;
constexpr uint64_t kUntouched = 0xabababababababab;

// Line-aligned words with the values 1, 2, 3, ...
class SharedWordTest : public ::testing::Test {
 protected:
  SharedWordTest() {
    for (size_t i = 0; i < kAreaWords; ++i) area_.words[i].Store(i + 1, std::memory_order_relaxed);
  }

  struct alignas(kLineBytes) Area {
    SharedWord words[kAreaWords];
  };
  Area area_;
};

TEST_F(SharedWordTest, ReadModifyWritesGiveWhatWasThere) {
  SharedWord& word = area_.words[0];
  EXPECT_EQ(word.Exchange(10, std::memory_order_acq_rel), 1u);
  EXPECT_EQ(word.FetchAdd(5, std::memory_order_relaxed), 10u);
  uint64_t expected = 14;
  EXPECT_FALSE(word.CompareExchange(&expected, 20, std::memory_order_acq_rel));
  EXPECT_EQ(expected, 15u);
  EXPECT_TRUE(word.CompareExchange(&expected, 20, std::memory_order_release));
  EXPECT_EQ(word.Load(std::memory_order_acquire), 20u);
}

// Every offset and length, so every mix of edges and whole lines.
template <class Copy>
void CheckAllRanges(const SharedWord* words, const Copy& copy) {
  for (size_t first = 0; first < kAreaWords; ++first) {
    for (size_t count = 0; first + count <= kAreaWords; ++count) {
      std::vector<uint64_t> to(count + 2, kUntouched);
      copy(to.data() + 1, words + first, count);
      EXPECT_EQ(to.front(), kUntouched);
      EXPECT_EQ(to.back(), kUntouched);
      for (size_t i = 0; i < count; ++i) ASSERT_EQ(to[i + 1], first + i + 1);
    }
  }
}

TEST_F(SharedWordTest, CopyFromSharedCopiesAnyRange) {
  for (const CopyOrder order : {CopyOrder::kAscending, CopyOrder::kDescending}) {
    CheckAllRanges(area_.words, [order](uint64_t* to, const SharedWord* from, size_t words) {
      CopyFromShared(to, from, words, order);
    });
  }
}

TEST_F(SharedWordTest, EachWidthOfTheMachineCopiesAnyRange) {
  EXPECT_GE(SharedCopyWidths().size(), 2u);
  for (const SharedCopyWidth& width : SharedCopyWidths()) {
    SCOPED_TRACE(width.load_bytes);
    CheckAllRanges(area_.words, width.copy);
  }
}

TEST_F(SharedWordTest, CopyToSharedStoresExactlyTheRange) {
  std::vector<uint64_t> from(kAreaWords);
  std::iota(from.begin(), from.end(), 1000);
  for (const CopyOrder order : {CopyOrder::kAscending, CopyOrder::kDescending}) {
    for (size_t count = 0; count < kAreaWords - 3; ++count) {
      Area area{};
      CopyToShared(area.words + 3, from.data(), count, order);
      for (size_t i = 0; i < kAreaWords; ++i) {
        const bool inside = i >= 3 && i < 3 + count;
        EXPECT_EQ(area.words[i].Load(std::memory_order_relaxed), inside ? from[i - 3] : 0);
      }
    }
  }
}

TEST_F(SharedWordTest, ZeroSharedZeroesExactlyTheRange) {
  ZeroShared(area_.words + 5, 10);
  for (size_t i = 0; i < kAreaWords; ++i) {
    const bool inside = i >= 5 && i < 15;
    EXPECT_EQ(area_.words[i].Load(std::memory_order_relaxed), inside ? 0 : i + 1);
  }
}

}  // namespace
}  // namespace acre
