#include "kvs/contended_keys.h"

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "runtime/random.h"

namespace acre::kvs {
namespace {

void ExpectGuarantees(const ContendedKeys& keys, const std::map<std::string, uint64_t>& truth,
                      uint64_t reports) {
  EXPECT_EQ(keys.conflicts(), reports);
  const std::vector<ContendedKeys::Counter> all = keys.Top(1'000);
  EXPECT_LE(all.size(), ContendedKeys::kCounters);
  std::map<std::string, uint64_t> told;
  for (size_t i = 0; i < all.size(); ++i) {
    const uint64_t count = truth.at(all[i].key);
    EXPECT_LE(count, all[i].count) << all[i].key;
    EXPECT_LE(all[i].count - all[i].error, count) << all[i].key;
    EXPECT_LE(all[i].error, reports / ContendedKeys::kCounters);
    if (i > 0) {
      EXPECT_LE(all[i].count, all[i - 1].count);
    }
    told[all[i].key] = all[i].count;
  }
  EXPECT_EQ(told.size(), all.size()) << "a key has two counters";
  for (const auto& [key, count] : truth) {
    if (count <= reports / ContendedKeys::kCounters) continue;
    EXPECT_EQ(told.count(key), 1u) << key << " with " << count << " conflicts has no counter";
  }
}

TEST(ContendedKeysTest, FewKeysAreCountedExactly) {
  ContendedKeys keys;
  EXPECT_TRUE(keys.Top(10).empty());
  for (uint64_t i = 0; i < 30; ++i) {
    for (uint64_t times = 0; times <= i; ++times) keys.Report(absl::StrCat("key ", i));
  }
  const std::vector<ContendedKeys::Counter> top = keys.Top(3);
  ASSERT_EQ(top.size(), 3u);
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(top[i].key, absl::StrCat("key ", 29 - i));
    EXPECT_EQ(top[i].count, 30 - i);
    EXPECT_EQ(top[i].error, 0u);
  }
}

// Goal: what the header guarantees, at every moment of streams that are skewed, uniform, or as hostile as they get:
// all keys once, over and over.
TEST(ContendedKeysTest, WhatIsToldIsNearTheTruth) {
  for (const uint64_t skew : {0, 1, 2}) {
    Random random(skew + 1);
    ContendedKeys keys;
    std::map<std::string, uint64_t> truth;
    for (uint64_t report = 1; report <= 20'000; ++report) {
      uint64_t key = report % 300;
      if (skew == 1) key = random.Uniform(300);
      // Half of all are one of two keys, half of the rest one of four, and so on.
      if (skew == 2) {
        uint64_t level = 1;
        while (level < 8 && random.Uniform(2) == 0) ++level;
        key = (uint64_t{1} << level) + random.Uniform(uint64_t{1} << level);
      }
      const std::string name = absl::StrCat("key ", key);
      keys.Report(name);
      ++truth[name];
      if (report % 997 == 0) ExpectGuarantees(keys, truth, report);
    }
    ExpectGuarantees(keys, truth, 20'000);
  }
}

TEST(ContendedKeysTest, LongKeysAreKnownByTheirBeginning) {
  ContendedKeys keys;
  const std::string beginning(ContendedKeys::kKeyBytesMax, '\0');
  keys.Report(beginning + "a");
  keys.Report(beginning + "b");
  keys.Report(beginning.substr(1));
  const std::vector<ContendedKeys::Counter> top = keys.Top(10);
  ASSERT_EQ(top.size(), 2u);
  EXPECT_EQ(top[0].key, beginning);
  EXPECT_EQ(top[0].count, 2u);
}

TEST(ContendedKeysTest, AnyThreadReports) {
  ContendedKeys keys;
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 3; ++i) {
    threads.emplace_back([&keys, i] {
      for (uint64_t report = 0; report < 1'000; ++report) {
        keys.Report(absl::StrCat("key ", report % (20 * (i + 1))));
        if (report % 100 == 0) (void)keys.Top(5);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(keys.conflicts(), 3'000u);
  uint64_t sum = 0;
  for (const ContendedKeys::Counter& counter : keys.Top(100)) sum += counter.count;
  EXPECT_EQ(sum, 3'000u);
}

}  // namespace
}  // namespace acre::kvs
