#include "tests/sim/scenario.h"

#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/checkers/linearizability.h"
#include "tests/sim/cluster.h"
#include "tests/sim/plants.h"
#include "tests/sim/script.h"

namespace acre::simulation {
namespace {

// Bounds of virtual time. Progress needs connections (100 ms for an attempt, twice), a lease that is waited out,
// and some stalls of 20 ms in each operation.
constexpr uint64_t kProgressNs = 3'000 * kMs;
constexpr uint64_t kEndNs = 3'000 * kMs;
// Connections whose client died silently break within 20 ms; requests that it left end.
constexpr uint64_t kQuietNs = 50 * kMs;

class Run {
 public:
  explicit Run(const ScenarioOptions& options)
      : cluster_({.seed = options.seed,
                  .trace_lines_max = options.trace_lines_max,
                  .trace_accesses = options.trace_accesses}) {}

  RunResult Go() {
    Phases();
    if (cluster_.finding().empty()) Judge();
    RunResult result;
    result.finding = cluster_.finding();
    if (!result.ok()) result.judge = std::string(JudgeName(cluster_.judge()));
    result.plan = cluster_.plan().ToText();
    result.operations = cluster_.operations();
    result.answered = cluster_.answered();
    result.virtual_ns = world_->NowNs();
    result.trace_hash = world_->trace_hash();
    result.trace_text = world_->trace_text();
    Count(&result.counts);
    return result;
  }

 private:
  // Till `done`, or something is found. Finds it if the time is up.
  bool RunUntil(const std::function<bool()>& done, uint64_t ns_max, absl::string_view what) {
    const auto is_over = [this, &done] { return !cluster_.finding().empty() || done(); };
    if (!world_->RunUntil(is_over, world_->NowNs() + ns_max)) {
      cluster_.Report(Judge::kLiveness, absl::StrCat(what, " within ", ns_max / kMs,
                                                     " ms of virtual time\n", cluster_.ToText()));
    }
    return cluster_.finding().empty();
  }
  bool RunFor(uint64_t ns) {
    world_->RunUntil([this] { return !cluster_.finding().empty(); }, world_->NowNs() + ns);
    return cluster_.finding().empty();
  }

  void Phases() {
    cluster_.Start();
    cluster_.ScanVersions();
    const uint64_t end_ns = ScheduleTroubles(&cluster_);
    if (!RunFor(end_ns + 1)) return;
    world_->Note("scenario: the faults stop");
    cluster_.HealAll();
    cluster_.SetPhase(Phase::kProgress);
    if (!RunUntil([this] { return cluster_.HaveAllProgressed(); }, kProgressNs,
                  "no progress once the faults had stopped")) {
      return;
    }
    world_->Note("scenario: the clients stop");
    cluster_.SetPhase(Phase::kQuiet);
    if (!RunUntil([this] { return cluster_.HaveAllEnded(); }, kEndNs, "clients do not end")) return;
    if (!RunFor(kQuietNs)) return;
    if (!RunUntil([this] { return cluster_.IsServerAlone(); }, kEndNs,
                  "the server keeps connections of clients that are gone")) {
      return;
    }
    cluster_.StartReader();
    RunUntil([this] { return cluster_.is_reader_done() && cluster_.IsServerAlone(); }, kEndNs,
             "the last reads do not end");
    RunFor(kQuietNs);
  }

  void Judge() {
    cluster_.CheckFinalTable();
    history_ = cluster_.recorder()->Take();
    const checkers::CheckResult result = checkers::CheckLinearizability(history_);
    if (result.verdict != checkers::Verdict::kOk) {
      cluster_.Report(Judge::kLinearizability, checkers::ToText(result));
    }
  }

  void Count(std::map<std::string, uint64_t>* counts) {
    *counts = cluster_.counts();
    (*counts)["cuts"] = history_.cuts.size();
    for (const checkers::Operation& operation : history_.operations) {
      ++(*counts)[NameOf(operation)];
    }
    const transport::SimCounts& network = std::as_const(*cluster_.network()).counts();
    (*counts)["split READs"] = network.split_reads;
    (*counts)["split WRITEs"] = network.split_writes;
    (*counts)["early acks"] = network.early_acks;
    (*counts)["overtaken READs"] = network.overtaken_reads;
    (*counts)["late executions"] = network.late_executions;
    (*counts)["torn WRITEs"] = network.torn_writes;
    (*counts)["lost connections"] = network.lost_connections;
    (*counts)["executed, reported as failed"] = network.executed_with_error;
    (*counts)["timeouts"] = network.timeouts;
    (*counts)["receive stalls"] = network.receive_stalls;
    (*counts)["wakes"] = network.wakes;
  }
  static std::string NameOf(const checkers::Operation& operation) {
    const bool is_ok = operation.outcome == checkers::Outcome::kOk;
    switch (operation.kind) {
      case checkers::OperationKind::kGet:
        return !is_ok                        ? "Gets not answered"
               : operation.value.has_value() ? "Gets"
                                             : "Gets of nothing";
      case checkers::OperationKind::kPut:
        return is_ok                                              ? "Puts"
               : operation.outcome == checkers::Outcome::kUnknown ? "Puts with unknown outcome"
                                                                  : "Puts without memory";
      case checkers::OperationKind::kDelete:
        return !is_ok                           ? "Deletes with unknown outcome"
               : operation.found.value_or(true) ? "Deletes"
                                                : "Deletes of nothing";
    }
    return "?";
  }

  Cluster cluster_;
  checkers::History history_;
  sim::World* const world_ = cluster_.world();
};

}  // namespace

RunResult RunScenario(const ScenarioOptions& options) {
  const ScopedPlant plant(options.planted_bugs);
  return Run(options).Go();
}

}  // namespace acre::simulation
