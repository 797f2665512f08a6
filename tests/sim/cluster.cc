#include "tests/sim/cluster.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/simulated_memory.h"
#include "tests/sim/client_process.h"
#include "tests/sim/server_process.h"

namespace acre::simulation {
namespace {

// A card serves a dead process's memory for so long at the most (SimFaults::teardown_ns_max).
constexpr uint64_t kClearedAwayNs = 100 * kUs;

// The scenario's own choices and the World's do not follow from each other.
constexpr uint64_t kScenarioSalt = 0x5ca1ab1e;

}  // namespace

Cluster::Cluster(const Options& options)
    : random_(options.seed ^ kScenarioSalt),
      plan_(Plan::Draw(&random_)),
      world_({.seed = options.seed,
              .trace_lines_max = options.trace_lines_max,
              .trace_accesses = options.trace_accesses,
              .store_buffers = plan_.store_buffers,
              .stalls = plan_.stalls}),
      network_(&world_),
      door_(&network_),
      slots_(plan_.clients.size()) {
  for (int i = 0; i < plan_.machines; ++i) {
    machines_.push_back(world_.AddMachine(absl::StrCat("machine", i)));
  }
  if (plan_.is_churned) {
    // Of the network's personality this is the scenario's; all else stays as the World drew it.
    transport::SimFaults faults = network_.faults();
    faults.split_read = plan_.split_reads;
    faults.any_order = 1;
    faults.line_ns_max = plan_.line_ns_max;
    network_.SetFaults(faults);
  }
}

Cluster::~Cluster() = default;

// Whether those who read the server's memory may go on till its lease is over.
bool Cluster::HasLease() const {
  return plan_.device == transport::SimDevice::kSharedMemory && !plan_.marks_deaths;
}

void Cluster::Start() {
  StartServer();
  for (size_t slot = 0; slot < slots_.size(); ++slot) StartClient(slot);
}

// ---- The server.

void Cluster::StartServerAt(uint64_t at_ns) {
  server_from_ns_ = std::max(server_from_ns_, at_ns);
  world_.After(server_from_ns_ - world_.NowNs(), [this] { StartServer(); });
}

void Cluster::StartServer() {
  // Too early: another event is there for it. On a machine that has crashed: likewise.
  if (server_process_ != nullptr || server_machine()->is_crashed()) return;
  if (world_.NowNs() < server_from_ns_) return;
  const std::string name = absl::StrCat("server", ++generations_);
  sim::Process* const process = world_.AddProcess(server_machine(), name);
  server_process_ = process;
  world_.Note(absl::StrCat("scenario: ", name, " starts"));
  process->OnDeath([this, process] { OnServerDeath(process); });
  const uint64_t generation = random_.Next() | 1;
  process->Spawn("service", [this, process, generation] {
    auto server = std::make_unique<ServerProcess>(this, process, generation);
    server->Run();
    server.reset();
    OnServerStopped();
  });
}

void Cluster::OnServerReady(ServerProcess* server) {
  server_ = server;
  watchers_.clear();
  for (int i = 0; i < plan_.segments; ++i) {
    watchers_.push_back(std::make_unique<checkers::VersionWatcher>());
  }
}

void Cluster::OnServerOpen() {
  // What the old incarnation's readers had, they had before: the lease was waited out.
  if (std::exchange(cut_is_due_, false)) AddCut(world_.NowNs());
  state_lease_ns_ = HasLease() ? plan_.lease_ns : 0;
}

void Cluster::OnServerStopped() {
  Count("servers stopped");
  state_lease_ns_ = 0;
  server_process_ = nullptr;
  AddCut(world_.NowNs());
  StartServerAt(world_.NowNs() + down_after_stop_ns_);
}

void Cluster::OnServerDeath(sim::Process* process) {
  if (process != server_process_) return;  // It had stopped.
  server_process_ = nullptr;
  server_ = nullptr;
  door_.Close();
  const uint64_t now_ns = world_.NowNs();
  const bool is_crashed = process->machine()->is_crashed();
  world_.Note(absl::StrCat("scenario: ", process->name(), " is dead"));
  if (is_crashed) state_lease_ns_ = 0;  // Another boot id.
  if (is_crashed) {
    AddCut(now_ns);
  } else if (plan_.device == transport::SimDevice::kCard) {
    AddCut(now_ns + kClearedAwayNs);
  } else if (HasLease()) {
    cut_is_due_ = true;
  } else {
    AddCut(now_ns);  // Marked.
  }
}

void Cluster::KillServer(uint64_t down_ns) {
  if (server_process_ == nullptr) return;
  server_process_->Kill();
  Count("servers killed");
  StartServerAt(world_.NowNs() + std::max(down_ns, 2 * kClearedAwayNs));
}

void Cluster::StopServer(uint64_t down_ns) {
  if (server_ == nullptr) return;
  down_after_stop_ns_ = down_ns;
  server_->RequestStop();
}

bool Cluster::IsServerAlone() const {
  return server_ != nullptr && server_->connections_open() == 0;
}

void Cluster::AddCut(uint64_t at_ns) {
  world_.Note(absl::StrCat("scenario: the history is cut at ", at_ns));
  // A server's thread comes here too; the recorder's mutex is none of the simulated program's.
  const OutsideOfSimulatedThread outside;
  recorder_.AddCut(/*home=*/0, at_ns);
}

// ---- Clients.

ClientProcess* Cluster::MakeClient(const Plan::Client& plan, sim::Process* process,
                                   bool reads_all) {
  const auto number = static_cast<uint32_t>(clients_.size() + 1);
  const auto purpose = reads_all ? ClientProcess::Purpose::kReadAll : ClientProcess::Purpose::kWork;
  clients_.push_back(
      std::make_unique<ClientProcess>(this, process, plan, purpose, number, recorder_.AddClient()));
  ClientProcess* const client = clients_.back().get();
  process->Spawn("main", [client] { client->Run(); });
  return client;
}

void Cluster::StartClient(size_t slot) {
  Slot& place = slots_[slot];
  const Plan::Client& plan = plan_.clients[slot];
  if (place.process != nullptr || machine(plan.machine)->is_crashed()) return;
  const std::string name = absl::StrCat("client", clients_.size() + 1);
  world_.Note(absl::StrCat("scenario: ", name, " starts"));
  place.process = world_.AddProcess(machine(plan.machine), name);
  place.process->OnDeath([this, slot, process = place.process] { OnClientDeath(slot, process); });
  place.client = MakeClient(plan, place.process, /*reads_all=*/false);
}

void Cluster::OnClientDeath(size_t slot, sim::Process* process) {
  CHECK(slots_[slot].process == process);
  slots_[slot] = Slot();
}

void Cluster::KillClient(size_t slot, uint64_t down_ns) {
  if (slots_[slot].process == nullptr) return;
  slots_[slot].process->Kill();
  Count("clients killed");
  world_.After(down_ns, [this, slot] { StartClient(slot); });
}

bool Cluster::HaveAllProgressed() const {
  return std::all_of(slots_.begin(), slots_.end(), [](const Slot& slot) {
    return slot.client != nullptr && slot.client->has_progressed();
  });
}

bool Cluster::HaveAllEnded() const {
  return std::all_of(slots_.begin(), slots_.end(), [](const Slot& slot) {
    return slot.client != nullptr && slot.client->has_ended();
  });
}

std::string Cluster::ToText() const {
  std::string text = server_process_ == nullptr ? "no server"
                     : server_ == nullptr
                         ? absl::StrCat(server_process_->name(), " without a table")
                         : absl::StrCat(server_process_->name(), " with ",
                                        server_->connections_open(), " connections");
  for (const Slot& slot : slots_) {
    absl::StrAppend(&text, "\n", slot.client == nullptr ? "no client" : slot.client->ToText());
  }
  return text;
}

void Cluster::StartReader() {
  Plan::Client plan = plan_.clients[0];
  plan.coroutines = 1;
  sim::Process* const process = world_.AddProcess(machine(plan.machine), "reader");
  MakeClient(plan, process, /*reads_all=*/true);
}

// ---- Machines.

void Cluster::CrashMachine(int index, uint64_t down_ns) {
  if (machine(index)->is_crashed()) return;
  machine(index)->Crash();
  Count("machines crashed");
  world_.After(down_ns, [this, index] {
    machine(index)->Restart();
    StartServer();
    for (size_t slot = 0; slot < slots_.size(); ++slot) StartClient(slot);
  });
}

void Cluster::HealAll() {
  healed_at_ns_ = world_.NowNs();
  network_.SetFaults(transport::SimFaults::None());
  network_.HealAll();
  for (sim::Machine* const machine : machines_) {
    network_.SetCardSlowness(machine, 1);
    machine->SetSlowness(1);
    machine->SetDrift(0);
  }
  if (server_process_ != nullptr) server_process_->Resume();
  for (const Slot& slot : slots_) {
    if (slot.process != nullptr) slot.process->Resume();
  }
}

// ---- Findings.

absl::string_view JudgeName(Judge judge) {
  switch (judge) {
    case Judge::kLinearizability:
      return "linearizability";
    case Judge::kVersions:
      return "version watcher";
    case Judge::kTable:
      return "table invariants";
    case Judge::kLiveness:
      return "liveness";
    case Judge::kErrors:
      return "errors";
  }
  return "?";
}

void Cluster::Report(Judge judge, absl::string_view what) {
  if (!finding_.empty()) return;
  finding_ = std::string(what);
  judge_ = judge;
}

void Cluster::ScanVersions() {
  if (phase_ == Phase::kQuiet) return;
  if (server_ != nullptr) {
    for (size_t i = 0; i < watchers_.size(); ++i) {
      for (const std::string& what : watchers_[i]->Scan(server_->table().segments()[i].get())) {
        Report(Judge::kVersions, absl::StrCat("a version fell: ", what));
      }
    }
  }
  world_.After(plan_.scan_interval_ns, [this] { ScanVersions(); });
}

void Cluster::CountTable() {
  const kvs::TableStats stats = server_->table().Stats();
  Count("displacements", stats.displacements);
  if (stats.overflow_buckets > 0) Count("tables with chains in the end");
  for (const auto& segment : server_->table().segments()) {
    Count("objects reused early", segment->heap().stats().reused_early);
  }
}

void Cluster::OnServerStopping() {
  CountTable();
  server_ = nullptr;
}

void Cluster::CheckFinalTable() {
  CHECK(server_ != nullptr);
  CountTable();
  server_->GiveBackBallast();
  const std::vector<checkers::Finding> findings = checkers::CheckTable(server_->table(), model_);
  if (!findings.empty()) {
    Report(Judge::kTable,
           absl::StrCat("the table is not what it must be:\n", checkers::ToText(findings)));
  }
}

}  // namespace acre::simulation
