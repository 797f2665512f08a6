#include "tests/transactions/cluster_sim/scene.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/isolation/checker.h"
#include "glog/logging.h"
#include "tests/transactions/cluster_sim/coordinator_process.h"
#include "tests/transactions/cluster_sim/faults.h"
#include "tests/transactions/cluster_sim/home_process.h"

namespace acre::cluster_sim {
namespace {

// A card serves a dead process's memory for so long at the most (SimFaults::teardown_ns_max).
constexpr uint64_t kClearedAwayNs = 100 * kUs;
constexpr uint64_t kScenarioSalt = 0x7a61c0de;
// Bounds of virtual time. A home looks for transactions that do not end for 5 s before it gives their coordinator up, and
// asks other homes once a second (TransactionEnds::kDistanceNsMax), each time with some stalls of 20 ms.
constexpr uint64_t kProgressNs = 12'000 * kMs;
constexpr uint64_t kEndNs = 12'000 * kMs;
constexpr uint64_t kReadNs = 3'000 * kMs;
constexpr uint64_t kSettleNs = 50 * kMs;
// From when on nothing is found out any more by asking: homes have asked each other since the faults stopped.
constexpr uint64_t kBeforeOperatorsNs = 4'000 * kMs;

}  // namespace

absl::string_view JudgeName(Judge judge) {
  switch (judge) {
    case Judge::kHistory:
      return "history";
    case Judge::kAtomicity:
      return "atomicity";
    case Judge::kTable:
      return "table invariants";
    case Judge::kLiveness:
      return "liveness";
    case Judge::kAgreement:
      return "agreement of homes";
    case Judge::kErrors:
      return "errors";
  }
  return "?";
}

Scene::Scene(uint64_t seed, size_t trace_lines_max) : Scene(seed, trace_lines_max, absl::nullopt) {}

Scene::Scene(uint64_t seed, const ClusterPlan& plan, size_t trace_lines_max)
    : Scene(seed, trace_lines_max, absl::optional<ClusterPlan>(plan)) {
  network_.SetFaults(transport::SimFaults::None());
}

Scene::Scene(uint64_t seed, size_t trace_lines_max, absl::optional<ClusterPlan> plan)
    : random_(seed ^ kScenarioSalt),
      plan_(plan.has_value() ? *std::move(plan) : ClusterPlan::Draw(&random_)),
      world_({.seed = seed,
              .trace_lines_max = trace_lines_max,
              .store_buffers = plan_.store_buffers,
              .stalls = plan_.stalls}),
      network_(&world_),
      homes_(plan_.homes),
      slots_(plan_.coordinators),
      models_(plan_.homes),
      last_(plan_.keys.size()) {
  const bool is_one = plan_.device == transport::SimDevice::kSharedMemory;
  sim::Machine* const first = world_.AddMachine("machine0");
  for (size_t i = 0; i < homes_.size(); ++i) {
    homes_[i].machine = i == 0 || is_one ? first : world_.AddMachine(absl::StrCat("machine", i));
    homes_[i].door = std::make_unique<simulation::Door>(&network_);
  }
  for (size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].machine = is_one                  ? first
                        : plan_.shares_machines ? homes_[i % homes_.size()].machine
                                                : world_.AddMachine(absl::StrCat("client", i));
  }
}

Scene::~Scene() = default;

simulation::Connector::Options Scene::ConnectorOptions(size_t home, Path path,
                                                       uint32_t first_region_id) const {
  simulation::Connector::Options options;
  options.path = path;
  options.ring_bytes = plan_.ring_bytes;
  options.timeout_ns = plan_.timeout_ns;
  options.place = {kView, static_cast<uint32_t>(home) + 1, static_cast<uint32_t>(plan_.homes)};
  options.first_region_id = first_region_id;
  return options;
}

// ---- Processes.

void Scene::StartHome(size_t index) {
  Home& home = homes_[index];
  if (home.process != nullptr) return;
  home.generation = random_.Next() | 1;
  home.process = world_.AddProcess(home.machine, absl::StrCat("home", index));
  home.process->Spawn("service",
                      [this, index, process = home.process, generation = home.generation] {
                        auto* const served = new HomeProcess(this, process, index, generation);
                        served->Run();
                      });
}

void Scene::OnHomeOpen(size_t index, HomeProcess* home) { homes_[index].home = home; }

void Scene::KillHome(size_t index, uint64_t down_ns) {
  Home& home = homes_[index];
  if (home.process == nullptr) return;
  home.process->Kill();
  home.door->Close();
  home.process = nullptr;
  home.home = nullptr;
  home.was_lost = true;
  CountEvent("homes killed");
  world_.After(std::max(down_ns, 2 * kClearedAwayNs), [this, index] { StartHome(index); });
}

CoordinatorProcess* Scene::MakeCoordinator(sim::Process* process, bool reads_all) {
  const auto purpose =
      reads_all ? CoordinatorProcess::Purpose::kReadAll : CoordinatorProcess::Purpose::kWork;
  coordinators_.push_back(std::make_unique<CoordinatorProcess>(this, process, purpose));
  CoordinatorProcess* const coordinator = coordinators_.back().get();
  process->Spawn("main", [coordinator] { coordinator->Run(); });
  return coordinator;
}

void Scene::StartCoordinator(size_t index) {
  Slot& slot = slots_[index];
  if (slot.process != nullptr) return;
  slot.process =
      world_.AddProcess(slot.machine, absl::StrCat("coordinator", coordinators_.size() + 1));
  slot.coordinator = MakeCoordinator(slot.process, /*reads_all=*/false);
}

void Scene::KillCoordinator(size_t index, uint64_t down_ns) {
  Slot& slot = slots_[index];
  if (slot.process == nullptr) return;
  slot.process->Kill();
  slot.process = nullptr;
  slot.coordinator = nullptr;
  CountEvent("coordinators killed");
  world_.After(down_ns, [this, index] { StartCoordinator(index); });
}

void Scene::HealAll() {
  network_.SetFaults(transport::SimFaults::None());
  network_.HealAll();
  const auto heal = [this](sim::Machine* machine) {
    network_.SetCardSlowness(machine, 1);
    machine->SetSlowness(1);
  };
  for (Home& home : homes_) {
    heal(home.machine);
    if (home.process != nullptr) home.process->Resume();
  }
  for (Slot& slot : slots_) {
    heal(slot.machine);
    if (slot.process != nullptr) slot.process->Resume();
  }
}

bool Scene::NamesLostHome(absl::Span<const kvs::TransactionParticipant> participants) const {
  return std::any_of(participants.begin(), participants.end(), [this](const auto& participant) {
    return homes_[participant.server_index].generation != participant.incarnation;
  });
}

void Scene::AddLast(uint32_t key, const std::string& value) {
  models_[plan_.keys[key].home][plan_.keys[key].name] = value;
  last_[key] = ListOf(value);
}

// ---- A run.

void Scene::Report(Judge judge, absl::string_view what) {
  if (!finding_.empty()) return;
  finding_ = std::string(what);
  judge_ = judge;
}

bool Scene::RunUntil(const std::function<bool()>& done, uint64_t ns_max, absl::string_view what) {
  const auto is_over = [this, &done] { return !finding_.empty() || done(); };
  if (!world_.RunUntil(is_over, world_.NowNs() + ns_max)) {
    Report(Judge::kLiveness,
           absl::StrCat(what, " within ", ns_max / kMs, " ms of virtual time\n", ToText()));
  }
  return finding_.empty();
}

bool Scene::RunFor(uint64_t ns) {
  world_.RunUntil([this] { return !finding_.empty(); }, world_.NowNs() + ns);
  return finding_.empty();
}

bool Scene::AreHomesOpen() const {
  return std::all_of(homes_.begin(), homes_.end(),
                     [](const Home& home) { return home.home != nullptr; });
}

bool Scene::HaveAllEnded() const {
  return std::all_of(slots_.begin(), slots_.end(), [](const Slot& slot) {
    return slot.coordinator != nullptr && slot.coordinator->has_ended();
  });
}

bool Scene::IsAllOver() const {
  return std::all_of(homes_.begin(), homes_.end(), [](const Home& home) {
    return home.home != nullptr && home.home->open_count() == 0 && home.home->holds_count() == 0;
  });
}

std::string Scene::ToText() const {
  std::string text;
  for (size_t i = 0; i < homes_.size(); ++i) {
    const HomeProcess* const home = homes_[i].home;
    if (home == nullptr) {
      absl::StrAppend(&text, "home ", i, ": not open\n");
      continue;
    }
    absl::StrAppend(&text, "home ", i, ": ", home->connections_open(), " connections, ",
                    home->open_count(), " open, ", home->holds_count(), " holds, ",
                    home->kept_count(), " kept\n");
    for (const auto& waiting : home->ends().Snapshot(10)) {
      absl::StrAppend(&text, "  ", waiting.id.ToString(), ": ", waiting.why, "\n");
    }
  }
  for (const Slot& slot : slots_) {
    absl::StrAppend(
        &text, slot.coordinator == nullptr ? "no coordinator" : slot.coordinator->ToText(), "\n");
  }
  return text;
}

bool Scene::OpenHomes() {
  for (size_t i = 0; i < homes_.size(); ++i) StartHome(i);
  return RunUntil([this] { return AreHomesOpen(); }, kEndNs, "homes do not open");
}

void Scene::Phases() {
  for (size_t i = 0; i < homes_.size(); ++i) StartHome(i);
  for (size_t i = 0; i < slots_.size(); ++i) StartCoordinator(i);
  const uint64_t end_ns = ScheduleFaults(this);
  if (!RunFor(end_ns + 1)) return;
  world_.Note("scene: the faults stop");
  HealAll();
  phase_ = Phase::kProgress;
  if (!RunUntil([this] { return AreHomesOpen(); }, kEndNs, "homes do not open")) return;
  // Records that only an operator can free may be in everybody's way.
  const std::vector<bool> lost = LostHomes();
  if (std::count(lost.begin(), lost.end(), true) == 0) {
    if (!RunUntil([this] { return HaveAllEnded(); }, kProgressNs,
                  "no progress once the faults had stopped")) {
      return;
    }
  }
  world_.Note("scene: the coordinators stop");
  phase_ = Phase::kQuiet;
  if (EndAll()) ReadLast();
}

bool Scene::ReadLast() {
  sim::Process* const process = world_.AddProcess(slots_[0].machine, "reader");
  CoordinatorProcess* const reader = MakeCoordinator(process, /*reads_all=*/true);
  if (!RunUntil([reader] { return reader->has_ended(); }, kReadNs, "the last reads do not end")) {
    return false;
  }
  if (!RunUntil([this] { return IsAllOver(); }, kReadNs,
                "something is open behind the last reads")) {
    return false;
  }
  // Places in queues of locks that were given up are passed on a moment later.
  return RunFor(kSettleNs);
}

bool Scene::EndAll() {
  if (!RunUntil([this] { return HaveAllEnded(); }, kEndNs, "coordinators do not end")) return false;
  const std::vector<bool> lost = LostHomes();
  if (std::count(lost.begin(), lost.end(), true) > 0) {
    world_.RunUntil([this] { return IsAllOver(); }, world_.NowNs() + kBeforeOperatorsNs);
    is_operator_due_ = true;
  }
  return RunUntil([this] { return IsAllOver(); }, kEndNs, "transactions do not end");
}

// ---- Judgement.

std::vector<bool> Scene::LostHomes() const {
  std::vector<bool> lost;
  for (const Home& home : homes_) lost.push_back(home.was_lost);
  return lost;
}

void Scene::JudgeTables() {
  for (size_t i = 0; i < homes_.size(); ++i) {
    const HomeProcess& home = *homes_[i].home;
    home.Count();
    if (const uint64_t count = home.ends().counts().contradictions; count > 0) {
      Report(Judge::kAgreement, absl::StrCat(count, " times homes disagreed on an outcome"));
    }
    if (const uint64_t count = home.ends().counts().forgotten; count > 0) {
      Report(Judge::kAgreement,
             absl::StrCat(count, " times a home had truncated what another one had open"));
    }
    const std::vector<checkers::Finding> findings = checkers::CheckTable(home.table(), models_[i]);
    if (findings.empty()) continue;
    Report(Judge::kTable, absl::StrCat("the table of home ", i, " is not what it must be:\n",
                                       checkers::ToText(findings)));
  }
}

void Scene::JudgeHistory() {
  const std::string torn = told_.WhyTorn(plan_, LostHomes(), last_);
  if (!torn.empty()) Report(Judge::kAtomicity, torn);
  const auto report = isolation::Check(told_.ToHistory(plan_, LostHomes()));
  if (!report.ok()) {
    Report(Judge::kHistory, absl::StrCat("it makes no sense: ", report.status().ToString()));
  } else if (!report->Keeps(isolation::Level::kOpaque)) {
    Report(Judge::kHistory, isolation::ToText(*report));
  }
}

RunResult Scene::Run() {
  Phases();
  return Judged();
}

RunResult Scene::Judged() {
  if (finding_.empty()) {
    JudgeTables();
    JudgeHistory();
  }
  RunResult result;
  result.finding = finding_;
  if (!result.ok()) result.judge = std::string(JudgeName(judge_));
  result.plan = plan_.ToText();
  result.committed = told_.CountOf(isolation::Outcome::kCommitted);
  const uint64_t aborted = told_.CountOf(isolation::Outcome::kAborted);
  const uint64_t unknown = told_.CountOf(isolation::Outcome::kUnknown);
  result.told = result.committed + aborted + unknown;
  result.virtual_ns = world_.NowNs();
  result.trace_hash = world_.trace_hash();
  result.trace_text = world_.trace_text();
  counts_["committed"] = result.committed;
  counts_["aborted"] = aborted;
  counts_["unknown"] = unknown;
  const transport::SimCounts& network = std::as_const(network_).counts();
  counts_["lost connections"] = network.lost_connections;
  counts_["late executions"] = network.late_executions;
  counts_["early acks"] = network.early_acks;
  counts_["torn WRITEs"] = network.torn_writes;
  result.counts = counts_;
  return result;
}

}  // namespace acre::cluster_sim
