#include "bench/lock_load.h"

#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace acre::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ParseTableLocksTest, EveryKindHasANameThatIsRead) {
  for (size_t i = 0; i < kTableLocksCount; ++i) {
    const auto kind = static_cast<TableLock>(i);
    EXPECT_THAT(ParseTableLocks(TableLockName(kind)).value(), ElementsAre(kind));
  }
  EXPECT_THAT(ParseTableLocks("spin,alock").value(),
              ElementsAre(TableLock::kSpin, TableLock::kALock));
  EXPECT_THAT(ParseTableLocks("spin,").status().message(), HasSubstr("\"\""));
  EXPECT_THAT(ParseTableLocks("mcs,mcs").status().message(), HasSubstr("twice"));
}

// Goal: a table is shared out whole, and no two locks of all tables lie in one place.
TEST(LockLoadTest, TablesAreSharedOutAndLocksLieApart) {
  LockLoadOptions options;
  options.nodes = 3;
  options.locks_max = 20;
  for (const uint32_t locks : {3u, 19u, 20u}) {
    uint32_t sum = 0;
    for (uint32_t node = 0; node < options.nodes; ++node) sum += options.LocksOfNode(node, locks);
    EXPECT_EQ(sum, locks);
  }
  std::set<uint64_t> addresses;
  for (uint32_t node = 0; node < options.nodes; ++node) {
    for (size_t kind = 0; kind < kTableLocksCount; ++kind) {
      for (uint32_t i = 0; i < options.LocksOfNode(node, 20); ++i) {
        const GlobalAddress address =
            TableLockAddress(options, static_cast<TableLock>(kind), node, i);
        EXPECT_TRUE(addresses.insert(address.bits()).second);
        EXPECT_GE(address.offset_bytes(), transport::kRegionHeaderBytes);
        EXPECT_LE(address.offset_bytes() + kLockStrideBytes, TableRegionBytes(options));
      }
    }
  }
}

TEST(LockTotalTest, TravelsAsTextAndAddsUp) {
  LockTotal total;
  total.operations = {3, 4};
  total.verbs[kOwnLock] = {.reads = 1, .writes = 2, .atomics = 3, .doorbells = 4, .round_trips = 5};
  total.verbs[kOthersLock] = {
      .reads = 6, .writes = 7, .atomics = 8, .doorbells = 9, .round_trips = 10};
  total.run_ns = 1'000'000'000;
  total.acquire_ns.Add(250, 7);
  absl::optional<LockTotal> copy = LockTotal::Parse(total.Serialize());
  ASSERT_TRUE(copy.has_value());
  EXPECT_EQ(copy->operations, total.operations);
  EXPECT_EQ(copy->verbs, total.verbs);
  EXPECT_EQ(copy->run_ns, total.run_ns);
  EXPECT_EQ(copy->acquire_ns, total.acquire_ns);
  EXPECT_EQ(copy->operations_per_second(), 7);
  copy->Add(total);
  EXPECT_EQ(copy->operations_count(), 14u);
  EXPECT_EQ(copy->verbs[kOthersLock].atomics, 16u);
  EXPECT_EQ(copy->acquire_ns.count(), 14u);
}

TEST(LockTotalTest, OtherTextIsNone) {
  const std::string text = LockTotal().Serialize();
  ASSERT_TRUE(LockTotal::Parse(text).has_value());
  for (const std::string& other : {std::string(), std::string("x"), text.substr(2), "x" + text,
                                   text + " 1:x", std::string("1 2 3")}) {
    EXPECT_FALSE(LockTotal::Parse(other).has_value()) << other;
  }
}

}  // namespace
}  // namespace acre::bench
