// cluster_sim: runs transactions over several homes in the simulator, seed after seed. `cluster_sim --help` says how.

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "runtime/command_line.h"
#include "tests/sim/campaign.h"
#include "tests/sim/plants.h"
#include "tests/transactions/cluster_sim/plants.h"
#include "tests/transactions/cluster_sim/scene.h"

DEFINE_uint64(seed, 0, "run this seed alone, here, and print its trace's last lines");
DEFINE_uint64(seeds, 100, "so many seeds");
DEFINE_uint64(first, 1, "the first of them");
DEFINE_int32(jobs, 0, "seeds at a time; 0: one for each core");
DEFINE_int32(findings, 3, "stop after so many seeds with a finding");
DEFINE_uint64(trace, 60, "lines of the trace to print of --seed; the last ones");
DEFINE_string(plant, "", "run with this bug planted: a NAME from above");

namespace acre::cluster_sim {
namespace {

constexpr int kExitFinding = 1;
constexpr int kExitUsage = 2;
constexpr uint64_t kSeedsOfLine = 500;

constexpr char kUsage[] =
    R"(cluster_sim: transactions over several homes, in a world as hostile as its rules allow.

  bazel run --config=sim //tests/transactions/cluster_sim:cluster_sim -- --seeds=1000 --first=1
  bazel run --config=sim //tests/transactions/cluster_sim:cluster_sim -- --seed=77

Each seed is one run: two or three homes and as many coordinators on simulated machines, with all faults of the network, with
deaths, pauses and links that break. What coordinators were told must be strictly serialisable; no transaction is half
done; in the end no lock is left. "Tests" in docs/transactions.md says more.
Exit code: 0 nothing found; 1 something; 2 used wrongly.

Bugs that can be planted, to see that they are found:
)";

std::string Usage() {
  std::string text = kUsage;
  for (const ClusterPlant& plant : kClusterPlants) {
    absl::StrAppendFormat(&text, "  %-24s%s\n", plant.name, plant.mistake);
  }
  text.pop_back();
  return text;
}

const ClusterPlant* FindPlant(absl::string_view name) {
  for (const ClusterPlant& plant : kClusterPlants) {
    if (name == plant.name) return &plant;
  }
  return nullptr;
}

RunResult RunHere(uint64_t seed, size_t trace_lines) {
  const ClusterPlant* const plant = FindPlant(FLAGS_plant);
  const simulation::ScopedPlant planted(plant == nullptr ? 0 : PlantedBit(plant->bug));
  // Not destroyed: what is left of its processes is used by nobody, and may be used by what leaked.
  auto* const scene = new Scene(seed, trace_lines);
  return scene->Run();
}

int RunOne(uint64_t seed) {
  const RunResult result = RunHere(seed, FLAGS_trace);
  std::cout << result.trace_text << "\nseed " << seed << ": " << result.plan << "\n"
            << result.told << " transactions, " << result.committed << " committed, "
            << result.virtual_ns / 1'000 << " us of virtual time, trace "
            << absl::StrFormat("%016x", result.trace_hash) << "\n";
  for (const auto& [what, count] : result.counts) std::cout << "  " << count << " " << what << "\n";
  std::cout << (result.ok() ? "nothing found" : absl::StrCat(result.judge, ": ", result.finding))
            << std::endl;
  // Threads that hang, and what leaked, are not waited for.
  _exit(result.ok() ? 0 : kExitFinding);
}

simulation::SeedReport RunForCampaign(uint64_t seed) {
  RunResult result = RunHere(seed, 0);
  simulation::SeedReport report;
  report.finding = result.finding;
  if (!result.ok()) absl::StrAppend(&report.finding, "\nits plan: ", result.plan);
  report.judge = result.judge;
  report.operations = result.told;
  report.answered = result.committed;
  report.virtual_ns = result.virtual_ns;
  report.trace_hash = result.trace_hash;
  report.counts = std::move(result.counts);
  return report;
}

// What the children report, and what of it people want to know.
class Totals {
 public:
  // Whether to go on.
  bool Take(const simulation::SeedReport& report) {
    ++seeds_;
    cpu_ns_ += report.cpu_ns;
    for (const auto& [what, count] : report.counts) {
      std::pair<uint64_t, uint64_t>& sum = counts_[what];
      sum.first += count;
      if (count > 0) ++sum.second;
    }
    if (!report.finding.empty()) {
      ++found_;
      std::cout
          << "\nseed " << report.seed << ": " << report.judge << ": " << report.finding
          << "\nagain: bazel run --config=sim //tests/transactions/cluster_sim:cluster_sim -- "
          << (FLAGS_plant.empty() ? "" : absl::StrCat("--plant=", FLAGS_plant, " "))
          << "--seed=" << report.seed << "\n"
          << std::endl;
    }
    if (seeds_ % kSeedsOfLine == 0) std::cout << ToText() << std::endl;
    return found_ < FLAGS_findings;
  }
  std::string ToText() const {
    return absl::StrCat(seeds_, " seeds, ", found_, " with findings, ",
                        cpu_ns_ / std::max<uint64_t>(seeds_, 1) / 1'000'000, " ms of CPU a seed");
  }
  void Print() const {
    for (const auto& [what, sum] : counts_) {
      std::cout << absl::StreamFormat("%12d in %7d runs  %s\n", sum.first, sum.second, what);
    }
    std::cout << ToText() << std::endl;
  }
  int found() const { return found_; }

 private:
  uint64_t seeds_ = 0;
  int found_ = 0;
  uint64_t cpu_ns_ = 0;
  std::map<std::string, std::pair<uint64_t, uint64_t>> counts_;
};

int RunMany() {
  simulation::CampaignOptions options;
  options.first_seed = FLAGS_first;
  options.last_seed = FLAGS_first + FLAGS_seeds - 1;
  options.seeds_per_child = 10;
  const long cores = sysconf(_SC_NPROCESSORS_ONLN);
  options.jobs = FLAGS_jobs > 0 ? FLAGS_jobs : static_cast<int>(std::max<long>(cores, 1));
  Totals totals;
  simulation::RunCampaign(options, RunForCampaign, [&totals](const simulation::SeedReport& report) {
    return totals.Take(report);
  });
  totals.Print();
  return totals.found() == 0 ? 0 : kExitFinding;
}

int Main(int argc, char** argv) {
  const absl::StatusOr<CommandLine> line = ParseCommandLine(argc, argv);
  if (!line.ok()) {
    std::cerr << "cluster_sim: " << line.status().message() << "\n";
    return kExitUsage;
  }
  if (line->help) {
    std::cout << HelpText(Usage(), __FILE__);
    return 0;
  }
  if (!line->arguments.empty() || FLAGS_seeds == 0 || FLAGS_first == 0 ||
      (!FLAGS_plant.empty() && FindPlant(FLAGS_plant) == nullptr)) {
    std::cerr << "cluster_sim: no arguments, seeds from 1 on, and plants by their names; --help "
                 "says more\n";
    return kExitUsage;
  }
  return FLAGS_seed != 0 ? RunOne(FLAGS_seed) : RunMany();
}

}  // namespace
}  // namespace acre::cluster_sim

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  return acre::cluster_sim::Main(argc, argv);
}
