// A coordinator that is killed, or given up by a home, at each of its steps in turn (step_scene.h): all or nothing, what it was
// told is what happened, no lock is left, nothing that comes again is taken.
//
// One step alone, with its trace:
//   bazel test --config=sim --test_output=all --test_env=ACRE_COORDINATOR_STEP=77 --test_filter=*/0
//     //tests/transactions/cluster_sim:coordinator_steps_test

#include <cstdint>
#include <map>
#include <ostream>
#include <string>

#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/sim/seeds.h"
#include "tests/sim/campaign.h"
#include "tests/transactions/cluster_sim/step_scene.h"

namespace acre::cluster_sim {
namespace {

using transport::SimDevice;

struct Case {
  const char* name;
  StepOptions options;

  friend void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }
};

RunResult RunStep(StepOptions options, uint64_t step, uint64_t* steps = nullptr) {
  options.step = step;
  // Leaks as killed processes do.
  auto* const scene = new StepScene(options);
  RunResult result = scene->Run();
  if (steps != nullptr) *steps = scene->steps();
  return result;
}

class CoordinatorStepsTest : public testing::TestWithParam<Case> {};

TEST_P(CoordinatorStepsTest, EachStepIsAllOrNothing) {
  StepOptions options = GetParam().options;
  if (const uint64_t step = SeedsOr("ACRE_COORDINATOR_STEP", 0); step != 0) {
    options.trace_lines_max = 2'000;
    const RunResult result = RunStep(options, step);
    LOG(INFO) << "\n" << result.trace_text;
    EXPECT_EQ(result.finding, "") << result.judge;
    return;
  }
  uint64_t steps = 0;
  const RunResult whole = RunStep(options, 0, &steps);
  ASSERT_EQ(whole.finding, "") << whole.judge;
  // The script goes all the ways that it is for: its three, the rival, some beside it, the successor, and the last reader.
  EXPECT_EQ(whole.counts.at("runs under holds"), 1u);
  EXPECT_EQ(whole.counts.at("unknown"), 0u);
  EXPECT_GE(whole.committed, 7u);
  ASSERT_GT(steps, 100u);

  simulation::CampaignOptions campaign;
  campaign.last_seed = steps;
  campaign.jobs = 2;
  campaign.seeds_per_child = 20;
  const auto run = [&options](uint64_t step) {
    RunResult result = RunStep(options, step);
    simulation::SeedReport report;
    report.finding = result.finding;
    report.judge = result.judge;
    report.counts = std::move(result.counts);
    return report;
  };
  uint64_t runs = 0;
  std::map<std::string, uint64_t> counts;
  simulation::RunCampaign(campaign, run, [&](const simulation::SeedReport& report) {
    ++runs;
    for (const auto& [what, count] : report.counts) counts[what] += count;
    EXPECT_EQ(report.finding, "") << "step " << report.seed << ", " << report.judge;
    return report.finding.empty();
  });
  EXPECT_EQ(runs, steps);
  LOG(INFO) << GetParam().name << ": " << steps << " steps";
  for (const auto& [what, count] : counts) LOG(INFO) << "  " << count << " " << what;
  for (const char* const what : {"unknown", "ended by homes: committed", "ended by homes: aborted",
                                 "promised", "requests again"}) {
    EXPECT_GT(counts[what], 0u) << what;
  }
}

constexpr StepOptions Of(SimDevice device, bool is_mapped, size_t homes, Harm harm) {
  StepOptions options;
  options.device = device;
  options.is_mapped = is_mapped;
  options.homes = homes;
  options.harm = harm;
  return options;
}

INSTANTIATE_TEST_SUITE_P(
    All, CoordinatorStepsTest,
    testing::Values(
        Case{"killed, cards, two homes", Of(SimDevice::kCard, false, 2, Harm::kKill)},
        Case{"killed, cards, three homes", Of(SimDevice::kCard, false, 3, Harm::kKill)},
        Case{"killed, mapped, three homes", Of(SimDevice::kSharedMemory, true, 3, Harm::kKill)},
        Case{"given up, cards, three homes", Of(SimDevice::kCard, false, 3, Harm::kGiveUp)}));

}  // namespace
}  // namespace acre::cluster_sim
