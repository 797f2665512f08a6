// Mistakes planted in the product, one at a time (plants.h): the judges of the scene find each within 1000 seeds.
//
// To see where each is found: bazel test --config=sim --test_output=all
//                             //tests/transactions/cluster_sim:cluster_planted_test

#include <cstdint>
#include <string>

#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/sim/seeds.h"
#include "tests/transactions/cluster_sim/plants.h"
#include "tests/transactions/cluster_sim/run_seeds.h"

namespace acre::cluster_sim {
namespace {

TEST(ClusterPlantedTest, EachIsFound) {
  const uint64_t seeds = SeedsOr("ACRE_TRANSACTION_CLUSTER_PLANT_SEEDS", 1000);
  for (const ClusterPlant& plant : kClusterPlants) {
    std::string judge;
    uint64_t seed = 0;
    RunSeeds(seeds, PlantedBit(plant.bug), [&](const simulation::SeedReport& report) {
      if (report.finding.empty()) return true;
      judge = report.judge;
      seed = report.seed;
      return false;
    });
    EXPECT_NE(judge, "") << plant.name << " is not found in " << seeds
                         << " seeds: " << plant.mistake;
    LOG(INFO) << plant.name << ": found at seed " << seed << " by " << judge;
  }
}

}  // namespace
}  // namespace acre::cluster_sim
