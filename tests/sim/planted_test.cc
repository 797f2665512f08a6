// Each bug that can be planted is found by the judges of the scenario, none of which was written for it; and
// where nothing is planted they find nothing in the same seeds.

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <iterator>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/sim/campaign.h"
#include "tests/sim/plants.h"
#include "tests/sim/scenario.h"

namespace acre::simulation {
namespace {

constexpr uint64_t kSeedsMax = 1'000;
// Of what moves under one-sided readers: found in every twentieth seed.
constexpr uint64_t kChurnSeedsMax = 200;
constexpr int kJobs = 2;
// Few: after a finding those that are under way are run for nothing.
constexpr int kSeedsPerChild = 4;
// A run takes a fraction of a second, unless a bug makes somebody go on for ever.
constexpr int kCpuSecondsMax = 10;

// The first of `seeds` seeds from `first_seed` on with a finding, whichever child came first. seed 0: there
// is none.
SeedReport FirstFinding(uint64_t planted, uint64_t seeds, uint64_t first_seed = 1) {
  CampaignOptions options;
  options.first_seed = first_seed;
  options.last_seed = first_seed + seeds - 1;
  options.jobs = kJobs;
  options.seeds_per_child = kSeedsPerChild;
  options.cpu_seconds_max = kCpuSecondsMax;
  SeedReport first;
  std::map<uint64_t, bool> done;
  const auto run = [planted](uint64_t seed) {
    const RunResult result = RunScenario({.seed = seed, .planted_bugs = planted});
    SeedReport report;
    report.finding = result.finding;
    report.judge = result.judge;
    return report;
  };
  RunCampaign(options, run, [&](const SeedReport& report) {
    done[report.seed] = true;
    if (!report.finding.empty() && (first.seed == 0 || report.seed < first.seed)) first = report;
    // Till all that come before it have been run.
    const auto before = std::distance(done.begin(), done.upper_bound(first.seed));
    return first.seed == 0 || static_cast<uint64_t>(before) < first.seed - first_seed + 1;
  });
  return first;
}

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

TEST(PlantedTest, EachIsFoundAndNothingWithoutIt) {
  uint64_t seeds = 1;
  for (const Plant& plant : AllPlants()) {
    const SeedReport found = FirstFinding(plant.bugs, kSeedsMax);
    std::cout << "planted " << plant.name << ": "
              << (found.seed == 0 ? "NOT FOUND"
                                  : absl::StrCat("seed ", found.seed, ", ", found.judge, ": ",
                                                 FirstLine(found.finding)))
              << std::endl;
    EXPECT_NE(found.seed, 0u) << plant.name << " was not found in " << kSeedsMax
                              << " seeds: " << plant.mistake;
    seeds = std::max(seeds, found.seed);
  }
  const SeedReport found = FirstFinding(/*planted=*/0, seeds);
  EXPECT_EQ(found.seed, 0u) << "nothing is planted, and " << found.judge << " finds "
                            << found.finding;
  std::cout << "planted nothing: seeds 1 to " << seeds << ", nothing found" << std::endl;
}

// Goal: it does not hang on one lucky seed, which any change of the server moves ("Churn" in
// docs/simulator.md).
TEST(PlantedTest, AMissThatOnlyTheHeaderConfirmsIsFoundSoonFromWhicheverSeedOn) {
  const Plant* const plant = FindPlant("miss-after-header-again");
  ASSERT_NE(plant, nullptr);
  for (const uint64_t first_seed : {1, 10'001, 20'001, 30'001, 40'001}) {
    const SeedReport found = FirstFinding(plant->bugs, kChurnSeedsMax, first_seed);
    EXPECT_NE(found.seed, 0u) << "not in " << kChurnSeedsMax << " seeds from " << first_seed;
    EXPECT_EQ(found.judge, "linearizability") << FirstLine(found.finding);
    std::cout << "from seed " << first_seed << ": " << found.seed << std::endl;
  }
}

// What docs/simulator.md says of the checksum: it makes up for memory that is used again at once.
TEST(PlantedTest, AnObjectReusedAtOnceDoesNoHarmWhereChecksumsAreChecked) {
  const SeedReport found = FirstFinding(PlantedBit(PlantedBug::kObjectReusedAtOnce), 100);
  EXPECT_EQ(found.seed, 0u) << found.judge << ": " << found.finding;
}

// A bug stays planted for one run.
TEST(PlantedTest, ARunLeavesNothingPlanted) {
  (void)RunScenario({.seed = 1, .planted_bugs = PlantedBit(PlantedBug::kObjectReusedAtOnce)});
  EXPECT_EQ(planted_bugs, 0u);
}

}  // namespace
}  // namespace acre::simulation
