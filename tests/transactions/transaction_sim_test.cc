// Transactions of one home among simulated threads (tests/transactions/simulated_home.h): nothing is found, and
// without validation something is.
//
// More seeds: bazel test --config=sim --test_env=ACRE_TRANSACTION_SEEDS=1000 //tests/transactions:transaction_sim_test

#include <cstdint>
#include <string>

#include "client/isolation/checker.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/sim/seeds.h"
#include "tests/transactions/simulated_home.h"

namespace acre::kvs {
namespace {

TEST(TransactionSimTest, WhatCommitsIsStrictlySerialisable) {
  uint64_t committed = 0;
  uint64_t refused = 0;
  uint64_t seen = 0;
  uint64_t torn = 0;
  uint64_t held = 0;
  const uint64_t seeds = SeedsOr("ACRE_TRANSACTION_SEEDS", 300);
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    SimulatedHome home(seed, {});
    ASSERT_EQ(home.Run(), "") << "seed " << seed;
    const isolation::Report report = home.Judge();
    ASSERT_TRUE(report.Keeps(isolation::Level::kStrictSerializable)) << "seed " << seed << "\n"
                                                                     << isolation::ToText(report);
    const Counts counts = home.counts();
    committed += counts.committed;
    held += counts.held;
    refused += counts.locked + counts.changed + counts.invalidated;
    seen += counts.seen;
    torn += counts.torn;
  }
  LOG(INFO) << committed << " committed, " << held << " of them under a hold, " << refused
            << " refused, " << torn << " might have seen what never stood together, " << seen
            << " aborted and had seen what did";
  EXPECT_GT(held, seeds);
  EXPECT_GT(committed, 20 * seeds);
  EXPECT_GT(refused, seeds);
  EXPECT_GT(torn, 0u);
  EXPECT_GT(seen, 0u);
}

// Goal: a mistake shows, and soon, with each kind of connection.
void ExpectFound(const SimulatedHome::Mistakes& mistakes) {
  for (const uint64_t first : {1, 2}) {
    bool found = false;
    for (uint64_t seed = first; seed <= 60 && !found; seed += 2) {
      SimulatedHome home(seed, mistakes);
      ASSERT_EQ(home.Run(), "") << "seed " << seed;
      found = !home.Judge().Keeps(isolation::Level::kSerializable);
      if (found) LOG(INFO) << "found with seed " << seed;
    }
    EXPECT_TRUE(found);
  }
}

TEST(TransactionSimTest, WithoutValidationItIsNot) { ExpectFound({.validates = false}); }

// What commits is right, but what aborts has seen what never stood together.
TEST(TransactionSimTest, WithoutValidationBehindReadsItIsNotOpaque) {
  ExpectFound({.validates_reads = false});
}

}  // namespace
}  // namespace acre::kvs
