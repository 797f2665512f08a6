// sim: runs the store in the simulator, seed after seed. `sim --help` says how to use it.

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "runtime/command_line.h"
#include "tests/sim/campaign.h"
#include "tests/sim/plants.h"
#include "tests/sim/scenario.h"

DEFINE_uint64(seed, 0, "run this seed alone, here, and print its trace's last lines");
DEFINE_string(seeds, "1..1500", "run these: FIRST..LAST");
DEFINE_int32(jobs, 0, "seeds at a time; 0: one for each core");
DEFINE_int32(seconds, 0, "begin no new seed after so long; 0: run all");
DEFINE_int32(findings, 3, "stop after so many seeds with a finding");
DEFINE_uint64(trace, 60, "lines of the trace to print of a finding, or of --seed; the last ones");
DEFINE_string(plant, "", "run with this bug planted: a NAME from above");
DEFINE_bool(accesses, false,
            "with --seed: each access of the server's memory is a line of the trace");

namespace acre::simulation {
namespace {

constexpr int kExitFinding = 1;
constexpr int kExitUsage = 2;
constexpr uint64_t kProgressNs = 10'000'000'000;

constexpr char kUsage[] = R"(sim: the store's own code, in a world as hostile as its rules allow.

  bazel run --config=sim //tests/sim:sim -- --seeds=1..1000    many seeds, on all cores
  bazel run --config=sim //tests/sim:sim -- --seed=77          one, again, the same, step by step
  bazel run --config=sim //tests/sim:sim -- --plant=NAME       many, with a bug that must be found

Each seed is one run: a server and one to three clients on simulated machines, with a network, CPUs and a
script of failures drawn from the seed. When the faults have stopped everyone must make progress; then the
history of all operations must be linearizable, the table whole and nothing leaked. docs/simulator.md
says what can go wrong in there, and what is looked at.

A finding is printed with its seed, the command that repeats it exactly, and the last lines of its trace.
Exit code: 0 nothing found; 1 something; 2 used wrongly.

Bugs that can be planted, to see that they are found:
)";

std::string Usage() {
  std::string text = kUsage;
  for (const Plant& plant : AllPlants()) {
    absl::StrAppendFormat(&text, "  %-27s%s\n", plant.name, plant.mistake);
  }
  text.pop_back();
  return text;
}

uint64_t NowNs() {
  timespec time;
  CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &time), 0);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

std::string ReplayCommand(uint64_t seed) {
  return absl::StrCat("bazel run --config=sim //tests/sim:sim -- --seed=", seed,
                      FLAGS_plant.empty() ? "" : absl::StrCat(" --plant=", FLAGS_plant));
}

ScenarioOptions OptionsFor(uint64_t seed) {
  ScenarioOptions options;
  options.seed = seed;
  if (!FLAGS_plant.empty()) options.planted_bugs = FindPlant(FLAGS_plant)->bugs;
  return options;
}

RunResult RunHere(uint64_t seed) {
  ScenarioOptions options = OptionsFor(seed);
  options.trace_lines_max = FLAGS_trace;
  options.trace_accesses = FLAGS_accesses;
  return RunScenario(options);
}

int RunOne(uint64_t seed) {
  const RunResult result = RunHere(seed);
  std::cout << result.trace_text << "\nseed " << seed << ": " << result.plan << "\n"
            << result.operations << " operations, " << result.answered << " answered, "
            << result.virtual_ns / 1'000 << " us of virtual time, trace "
            << absl::StrFormat("%016x", result.trace_hash) << "\n"
            << (result.ok() ? "nothing found" : absl::StrCat(result.judge, ": ", result.finding))
            << "\n";
  return result.ok() ? 0 : kExitFinding;
}

// What the children report, and what of it people want to know.
class Totals {
 public:
  // Whether to go on.
  bool Take(const SeedReport& report) {
    ++seeds_;
    operations_ += report.operations;
    answered_ += report.answered;
    cpu_ns_ += report.cpu_ns;
    virtual_ns_ += report.virtual_ns;
    for (const auto& [what, count] : report.counts) {
      std::pair<uint64_t, uint64_t>& sum = counts_[what];
      sum.first += count;
      if (count > 0) ++sum.second;
    }
    if (!report.finding.empty()) {
      found_.push_back(report.seed);
      std::cout << "\nseed " << report.seed << ": " << report.judge << ": " << report.finding
                << "\nagain: " << ReplayCommand(report.seed) << "\n"
                << std::endl;
    }
    const uint64_t now_ns = NowNs();
    if (now_ns - last_line_ns_ >= kProgressNs) {
      last_line_ns_ = now_ns;
      std::cout << ToText() << std::endl;
    }
    if (FLAGS_seconds > 0 &&
        now_ns - begin_ns_ >= static_cast<uint64_t>(FLAGS_seconds) * 1'000'000'000) {
      return false;
    }
    return found_.size() < static_cast<size_t>(FLAGS_findings);
  }

  std::string ToText() const {
    const uint64_t cpu_ns = std::max<uint64_t>(cpu_ns_, 1);
    return absl::StrCat(
        seeds_, " seeds, ", found_.size(), " with findings; ", operations_, " operations (",
        answered_ * 100 / std::max<uint64_t>(operations_, 1), " % answered), ",
        static_cast<uint64_t>(static_cast<double>(operations_) * 1e9 / static_cast<double>(cpu_ns)),
        " a second of CPU; ", virtual_ns_ / 1'000'000'000, " s of virtual time");
  }
  // How often things came to pass, and in how many runs.
  std::string CountsText() const {
    std::string text;
    for (const auto& [what, sum] : counts_) {
      absl::StrAppendFormat(&text, "%12d in %7d runs  %s\n", sum.first, sum.second, what);
    }
    return text;
  }
  const std::vector<uint64_t>& found() const { return found_; }

 private:
  const uint64_t begin_ns_ = NowNs();
  uint64_t last_line_ns_ = begin_ns_;
  uint64_t seeds_ = 0;
  uint64_t operations_ = 0;
  uint64_t answered_ = 0;
  uint64_t cpu_ns_ = 0;
  uint64_t virtual_ns_ = 0;
  std::map<std::string, std::pair<uint64_t, uint64_t>> counts_;
  std::vector<uint64_t> found_;
};

SeedReport RunForCampaign(uint64_t seed) {
  RunResult result = RunScenario(OptionsFor(seed));
  if (!result.ok() && FLAGS_trace > 0) {
    // Again, now with its trace.
    result = RunHere(seed);
    absl::StrAppend(&result.finding, "\nits plan: ", result.plan, "\nits last steps:\n",
                    result.trace_text);
  }
  SeedReport report;
  report.finding = result.finding;
  report.judge = result.judge;
  report.operations = result.operations;
  report.answered = result.answered;
  report.virtual_ns = result.virtual_ns;
  report.trace_hash = result.trace_hash;
  report.counts = std::move(result.counts);
  return report;
}

int RunMany(uint64_t first, uint64_t last) {
  CampaignOptions options;
  options.first_seed = first;
  options.last_seed = last;
  const long cores = sysconf(_SC_NPROCESSORS_ONLN);
  options.jobs = FLAGS_jobs > 0 ? FLAGS_jobs : static_cast<int>(std::max<long>(cores, 1));
  Totals totals;
  RunCampaign(options, RunForCampaign,
              [&totals](const SeedReport& report) { return totals.Take(report); });
  std::cout << totals.CountsText() << totals.ToText() << std::endl;
  for (const uint64_t seed : totals.found()) {
    std::cout << "found something: " << ReplayCommand(seed) << std::endl;
  }
  return totals.found().empty() ? 0 : kExitFinding;
}

int Main(int argc, char** argv) {
  const absl::StatusOr<CommandLine> line = ParseCommandLine(argc, argv);
  if (!line.ok()) {
    std::cerr << "sim: " << line.status().message() << "\n";
    return kExitUsage;
  }
  if (line->help) {
    std::cout << HelpText(Usage(), __FILE__);
    return 0;
  }
  if (!FLAGS_plant.empty() && FindPlant(FLAGS_plant) == nullptr) {
    std::cerr << "sim: no bug can be planted under the name " << FLAGS_plant
              << "; --help lists all\n";
    return kExitUsage;
  }
  if (FLAGS_seed != 0) return RunOne(FLAGS_seed);
  const std::vector<std::string> ends = absl::StrSplit(FLAGS_seeds, "..");
  uint64_t first = 0;
  uint64_t last = 0;
  if (!line->arguments.empty() || ends.size() != 2 || !absl::SimpleAtoi(ends[0], &first) ||
      !absl::SimpleAtoi(ends[1], &last) || first == 0 || last < first) {
    std::cerr << "sim: --seeds takes FIRST..LAST, from 1 on, and there are no arguments; --help "
                 "says more\n";
    return kExitUsage;
  }
  return RunMany(first, last);
}

}  // namespace
}  // namespace acre::simulation

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  return acre::simulation::Main(argc, argv);
}
