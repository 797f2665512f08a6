// The same seed gives the same run, event for event: in one process again, in another process whose memory
// lies elsewhere, and whatever was run before.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "gtest/gtest.h"
#include "tests/process.h"
#include "tests/sim/campaign.h"
#include "tests/sim/scenario.h"

namespace acre::simulation {
namespace {

constexpr uint64_t kSeeds = 24;
constexpr size_t kAllLines = 10'000'000;

SeedReport RunSeed(uint64_t seed) {
  const RunResult result = RunScenario({.seed = seed});
  SeedReport report;
  report.finding = result.finding;
  report.trace_hash = result.trace_hash;
  report.operations = result.operations;
  report.virtual_ns = result.virtual_ns;
  return report;
}

TEST(SamenessTest, TheSameSeedGivesTheSameTraceByteForByte) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    const ScenarioOptions options = {
        .seed = seed, .trace_lines_max = kAllLines, .trace_accesses = true};
    const RunResult first = RunScenario(options);
    // Between the two, so that memory is given out in another order.
    (void)RunScenario({.seed = seed + 100});
    const RunResult second = RunScenario(options);
    EXPECT_GT(first.trace_text.size(), 100'000u);
    EXPECT_TRUE(first.trace_text == second.trace_text) << "seed " << seed;
    EXPECT_EQ(first.trace_hash, second.trace_hash) << "seed " << seed;
    // Whether somebody reads along makes no difference.
    EXPECT_EQ(first.trace_hash, RunScenario({.seed = seed}).trace_hash) << "seed " << seed;
  }
}

TEST(SamenessTest, SeedsDiffer) {
  std::set<uint64_t> hashes;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) hashes.insert(RunSeed(seed).trace_hash);
  EXPECT_EQ(hashes.size(), kSeeds);
}

// Each in a child that begins with it.
std::map<uint64_t, SeedReport> RunInChildren(int seeds_per_child) {
  std::map<uint64_t, SeedReport> reports;
  CampaignOptions options;
  options.last_seed = kSeeds;
  options.seeds_per_child = seeds_per_child;
  RunCampaign(options, RunSeed, [&reports](const SeedReport& report) {
    reports[report.seed] = report;
    return true;
  });
  return reports;
}

TEST(SamenessTest, WhatWasRunBeforeMakesNoDifference) {
  const std::map<uint64_t, SeedReport> alone = RunInChildren(1);
  const std::map<uint64_t, SeedReport> together = RunInChildren(kSeeds);
  ASSERT_EQ(alone.size(), kSeeds);
  ASSERT_EQ(together.size(), kSeeds);
  for (const auto& [seed, report] : alone) {
    EXPECT_EQ(report.trace_hash, together.at(seed).trace_hash) << "seed " << seed;
    EXPECT_EQ(report.operations, together.at(seed).operations) << "seed " << seed;
    EXPECT_EQ(report.virtual_ns, together.at(seed).virtual_ns) << "seed " << seed;
  }
}

// What the program prints of a seed, its trace and its hash.
std::string PrintedBy(std::vector<std::string> command) {
  auto process = tests::Process::Start(std::move(command));
  CHECK(process.ok()) << process.status();
  const auto last_line = (*process)->WaitForOutput("nothing found");
  CHECK(last_line.ok()) << last_line.status();
  const tests::Outcome outcome = (*process)->Wait();
  CHECK_EQ(outcome.exit_code, 0) << outcome.stderr_text;
  return outcome.stdout_text;
}

// As somebody would who replays what a test printed: his addresses are other ones.
TEST(SamenessTest, AnotherProcessRepeatsItByteForByte) {
  constexpr char kSim[] = "tests/sim/sim";
  for (const char* const seed : {"--seed=11", "--seed=12", "--seed=13"}) {
    const std::string first = PrintedBy({kSim, seed, "--trace=20000", "--accesses"});
    EXPECT_GT(first.size(), 100'000u);
    const std::string second = PrintedBy({kSim, seed, "--trace=20000", "--accesses"});
    EXPECT_TRUE(first == second) << seed;
    // Memory where it is without randomisation, the stack elsewhere.
    const std::string third = PrintedBy({"/usr/bin/env", "PADDING=0123456789", "/usr/bin/setarch",
                                         "-R", kSim, seed, "--trace=20000", "--accesses"});
    EXPECT_TRUE(first == third) << seed;
  }
}

}  // namespace
}  // namespace acre::simulation
