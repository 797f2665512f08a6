// Transactions over several homes with every fault (scene.h): nothing is found, and a seed is the same run each time.
//
// More seeds: bazel test --config=sim --test_env=ACRE_TRANSACTION_CLUSTER_SEEDS=1000
//             //tests/transactions/cluster_sim:cluster_sim_test

#include <cstdint>
#include <map>
#include <string>

#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/sim/seeds.h"
#include "tests/transactions/cluster_sim/run_seeds.h"

namespace acre::cluster_sim {
namespace {

TEST(ClusterSimTest, NothingIsFound) {
  const uint64_t seeds = SeedsOr("ACRE_TRANSACTION_CLUSTER_SEEDS", 100);
  std::map<std::string, uint64_t> counts;
  uint64_t run = 0;
  RunSeeds(seeds, /*planted=*/0, [&](const simulation::SeedReport& report) {
    ++run;
    for (const auto& [what, count] : report.counts) counts[what] += count;
    EXPECT_EQ(report.finding, "") << "seed " << report.seed << ", " << report.judge;
    return report.finding.empty();
  });
  EXPECT_EQ(run, seeds);
  for (const auto& [what, count] : counts) LOG(INFO) << count << " " << what;
  // It came to what it is for.
  for (const char* const what :
       {"committed", "aborted", "unknown", "coordinators killed", "coordinators lost",
        "homes killed", "pauses", "ended by homes: committed", "ended by homes: aborted",
        "ended by an operator", "runs under holds", "holds"}) {
    EXPECT_GT(counts[what], 0u) << what;
  }
  EXPECT_GT(counts["committed"], 50 * seeds);
}

TEST(ClusterSimTest, ASeedIsTheSameRunEachTime) {
  constexpr uint64_t kSeeds = 6;
  std::map<uint64_t, uint64_t> hashes;
  for (int times = 0; times < 2; ++times) {
    RunSeeds(kSeeds, /*planted=*/0, [&](const simulation::SeedReport& report) {
      const auto [entry, is_new] = hashes.emplace(report.seed, report.trace_hash);
      EXPECT_EQ(entry->second, report.trace_hash) << "seed " << report.seed;
      EXPECT_EQ(is_new, times == 0);
      return true;
    });
  }
  EXPECT_EQ(hashes.size(), kSeeds);
}

}  // namespace
}  // namespace acre::cluster_sim
