// Seeds of the scene, each in a child of this process (tests/sim/campaign.h): for its tests.

#ifndef ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_RUN_SEEDS_H_
#define ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_RUN_SEEDS_H_

#include <cstdint>
#include <functional>
#include <string>

#include "tests/sim/campaign.h"
#include "tests/sim/plants.h"
#include "tests/transactions/cluster_sim/scene.h"

namespace acre::cluster_sim {

// Runs seeds 1 to `seeds` with `planted` PlantedBit()s, two at a time. `on_report`: in any order; false: no more.
inline void RunSeeds(uint64_t seeds, uint64_t planted,
                     const std::function<bool(const simulation::SeedReport&)>& on_report) {
  simulation::CampaignOptions options;
  options.last_seed = seeds;
  options.jobs = 2;
  options.seeds_per_child = 4;
  const auto run = [planted](uint64_t seed) {
    const simulation::ScopedPlant plant(planted);
    // Leaks as its killed processes do; the child ends soon.
    auto* const scene = new Scene(seed, /*trace_lines_max=*/0);
    RunResult result = scene->Run();
    simulation::SeedReport report;
    report.finding = result.finding;
    report.judge = result.judge;
    report.trace_hash = result.trace_hash;
    report.counts = std::move(result.counts);
    return report;
  };
  simulation::RunCampaign(options, run, on_report);
}

}  // namespace acre::cluster_sim

#endif  // ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_RUN_SEEDS_H_
