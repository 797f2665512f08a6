// Campaign: many seeds, each in a child of this process.
//
// Children, because what killed simulated processes had leaks, and because a run may end its program: a
// CHECK that fails, a loop that never ends. A child runs some seeds and goes; what one dies of is the
// finding of the seed that it was at.
//
// Threads: one. The calling process must have no others.

#ifndef ACRE_TESTS_SIM_CAMPAIGN_H_
#define ACRE_TESTS_SIM_CAMPAIGN_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace acre::simulation {

// What a program's end tells of: a CHECK that fails, a loop that does not end.
inline constexpr char kProgramJudge[] = "the program's end";

struct SeedReport {
  uint64_t seed = 0;
  std::string finding;  // Empty: none.
  std::string judge;    // Who found it; kProgramJudge: the child ended.
  uint64_t operations = 0;
  uint64_t answered = 0;
  uint64_t virtual_ns = 0;
  uint64_t cpu_ns = 0;  // Of the real CPU.
  uint64_t trace_hash = 0;
  std::map<std::string, uint64_t> counts;
};

struct CampaignOptions {
  uint64_t first_seed = 1;
  uint64_t last_seed = 1;
  int jobs = 1;  // Children at a time.
  int seeds_per_child = 50;
  int cpu_seconds_max = 60;  // A seed that takes more does not end: that is a finding.
};

// Runs `run_seed` for all seeds, in children, and `on_report` here for each that is done, in the order in
// which they end. When that returns false no more are begun, and those under way are given up.
void RunCampaign(const CampaignOptions& options,
                 const std::function<SeedReport(uint64_t)>& run_seed,
                 const std::function<bool(const SeedReport&)>& on_report);

}  // namespace acre::simulation

#endif  // ACRE_TESTS_SIM_CAMPAIGN_H_
