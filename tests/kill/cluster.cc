#include "tests/kill/cluster.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"
#include "tests/checkers/journal.h"
#include "tests/kill/client_role.h"

namespace acre::tests {
namespace {

constexpr uint32_t kHome = 0;
constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kNsPerUs = 1'000;
constexpr uint64_t kKillWithinUs = 40'000;
// A cut that was planted too early: this long before the blow.
constexpr uint64_t kTooEarlyNs = 20 * kNsPerMs;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::Status EndedByItself(absl::string_view who, Process* process) {
  const Outcome outcome = process->Wait();
  return absl::InternalError(absl::StrCat(who, " ended by itself, with exit code ",
                                          outcome.exit_code, ", signal ", outcome.signal, ": ",
                                          outcome.stderr_text));
}

}  // namespace

Cluster::Cluster(ClusterOptions options, Clock* clock)
    : options_(std::move(options)), clock_(clock), random_(options_.seed) {
  CHECK_LE(options_.immortals, options_.clients);
  servers_.resize(1);
  history_.operations.reserve(1 << 16);
}

Cluster::~Cluster() = default;

// ---- Starting.

std::vector<std::string> Cluster::ServerFlags(const Plan& plan) const {
  return {absl::StrCat("--threads=", plan.threads),
          absl::StrCat("--death_marks=", plan.death_marks ? "true" : "false"),
          absl::StrCat("--lease_ms=", plan.lease_ms == 0 ? 500 : plan.lease_ms),
          absl::StrCat("--huge_pages=", options_.huge_pages)};
}

absl::Status Cluster::StartServer() {
  auto server = KvServer::Start({.memory = options_.memory, .more = ServerFlags(Plan())});
  if (!server.ok()) return absl::InternalError(server.status().message());
  servers_[kHome].server = *std::move(server);
  return absl::OkStatus();
}

absl::Status Cluster::StartClients() {
  clients_.resize(options_.clients);
  for (size_t place = 0; place < clients_.size(); ++place) {
    if (absl::Status status = StartClient(place); !status.ok()) return status;
  }
  return absl::OkStatus();
}

std::string Cluster::ClientName(size_t place) const {
  return absl::StrCat("client ", clients_[place].number, " (in place ", place, ")");
}

absl::Status Cluster::StartClient(size_t place) {
  constexpr Path kPaths[] = {Path::kMapped, Path::kOneSided, Path::kRpc, Path::kTcp};
  Child& child = clients_[place];
  child = Child();
  child.number = clients_started_++;
  child.journal = absl::StrCat(options_.folder, "/client-", child.number, ".journal");
  std::vector<std::string> command = {
      options_.program, "--client_of=" + address(), absl::StrCat("--client_number=", child.number),
      absl::StrCat("--client_seed=", random_.Next()), "--client_journal=" + child.journal,
      // Each place has a path of its own, and both forms take turns in it.
      absl::StrCat("--client_path=", PathName(kPaths[place % std::size(kPaths)])),
      absl::StrCat("--client_coroutines=",
                   (place / std::size(kPaths) + child.number) % 2 == 0 ? "true" : "false")};
  if (options_.plant == Plant::kStaleGets && place == 0) command.push_back("--client_is_stale");
  if (options_.plant == Plant::kClientLeaks && place == 0) command.push_back("--client_leaks");
  auto process = Process::Start(std::move(command));
  if (!process.ok()) return absl::InternalError(process.status().message());
  child.process = *std::move(process);
  ++counts_["clients started"];
  return absl::OkStatus();
}

// ---- Blows.

absl::Status Cluster::WaitTill(uint64_t at_ns) {
  const uint64_t now_ns = clock_->NowNs();
  if (now_ns >= at_ns) return absl::OkStatus();
  std::vector<Process*> processes;
  for (const Child& child : clients_) processes.push_back(child.process.get());
  Process* const ended = FirstToEnd(processes, static_cast<int64_t>((at_ns - now_ns) / kNsPerUs));
  return ended == nullptr ? absl::OkStatus() : EndedByItself("a client", ended);
}

absl::Status Cluster::Run(const Plan& plan) {
  if (absl::Status status = WaitFor(plan.load_us); !status.ok()) return status;
  // The blows in their order; the server's has no place among the clients.
  std::vector<std::pair<int64_t, size_t>> order = {{plan.server_at_us, clients_.size()}};
  for (size_t i = 0; i < clients_.size(); ++i) order.emplace_back(plan.clients[i].at_us, i);
  std::sort(order.begin(), order.end());
  const uint64_t begin_ns = clock_->NowNs();
  for (const auto& [at_us, place] : order) {
    const bool is_server = place == clients_.size();
    if (!is_server && plan.clients[place].fate == ClientFate::kLives) continue;
    absl::Status status = WaitTill(begin_ns + static_cast<uint64_t>(at_us) * kNsPerUs);
    if (!status.ok()) return status;
    if (is_server) {
      status = StrikeServer(plan);
    } else if (plan.clients[place].fate == ClientFate::kKilled) {
      status = KillClient(place);
      if (status.ok()) status = StartClient(place);
    } else {
      clients_[place].process->Freeze();
      clients_[place].is_frozen = true;
      ++counts_["clients frozen"];
    }
    if (!status.ok()) return status;
  }
  if (EndsServer(plan.server)) {
    if (absl::Status status = RestartServer(plan); !status.ok()) return status;
  }
  if (absl::Status status = WaitFor(plan.aftermath_us); !status.ok()) return status;
  for (Child& child : clients_) {
    if (std::exchange(child.is_frozen, false)) child.process->Signal(SIGCONT);
  }
  if (server_process().HasEnded()) return EndedByItself("the server", &server_process());
  return absl::OkStatus();
}

absl::Status Cluster::KillClient(size_t place) {
  Child& child = clients_[place];
  NoteSockets(*child.process);
  child.process->Signal(SIGKILL);
  const Outcome outcome = child.process->Wait();
  const uint64_t dead_at_ns = clock_->NowNs();
  if (outcome.signal != SIGKILL) return EndedByItself(ClientName(place), child.process.get());
  auto operations = ReadJournal(child, /*was_killed=*/true);
  if (!operations.ok()) return operations.status();
  for (checkers::Operation& operation : *operations) {
    if (operation.returned_at == checkers::kNever) {
      operation.returned_at = dead_at_ns;
      ++counts_["operations cut off by their client's death"];
    }
    history_.operations.push_back(std::move(operation));
  }
  unlink(child.journal.c_str());
  ++counts_["clients killed"];
  return absl::OkStatus();
}

absl::Status Cluster::KillClients() {
  std::vector<std::pair<uint64_t, size_t>> order;
  for (size_t i = 0; i < clients_.size(); ++i) {
    order.emplace_back(random_.Uniform(kKillWithinUs), i);
  }
  std::sort(order.begin(), order.end());
  const uint64_t begin_ns = clock_->NowNs();
  for (const auto& [at_us, place] : order) {
    const uint64_t at_ns = begin_ns + at_us * kNsPerUs;
    const uint64_t now_ns = clock_->NowNs();
    const int64_t left_us = at_ns > now_ns ? static_cast<int64_t>((at_ns - now_ns) / kNsPerUs) : 0;
    if (FirstToEnd({clients_[place].process.get()}, left_us) != nullptr) {
      return EndedByItself(ClientName(place), clients_[place].process.get());
    }
    if (absl::Status status = KillClient(place); !status.ok()) return status;
  }
  clients_.clear();
  return absl::OkStatus();
}

absl::Status Cluster::StrikeServer(const Plan& plan) {
  KvServer& server = *servers_[kHome].server;
  NoteSockets(server.process());
  struck_at_ns_ = clock_->NowNs();
  ++counts_[absl::StrCat("server ", NameOf(plan.server))];
  absl::Status status;
  switch (plan.server) {
    case ServerFate::kLives:
      return status;
    case ServerFate::kFrozen:
      server.process().Freeze();
      status = WaitFor(plan.between_us);
      server.process().Signal(SIGCONT);
      return status;
    case ServerFate::kStopped:
      status = StopCleanly();
      break;
    case ServerFate::kKilled:
    case ServerFate::kKilledStarting:
      server.Kill();
      break;
    case ServerFate::kKilledStopping:
      server.process().Signal(SIGTERM);
      status = WaitFor(plan.between_us);
      server.Kill();
      break;
    case ServerFate::kKilledFrozen:
      server.process().Freeze();
      status = WaitFor(plan.between_us);
      server.Kill();
      break;
  }
  CutHome();
  if (!status.ok() || plan.server != ServerFate::kKilledStarting) return status;
  server.SetFlags(ServerFlags(plan));
  if (status = server.Launch(); !status.ok()) return absl::InternalError(status.message());
  status = WaitFor(plan.between_us);
  server.Kill();
  CutHome();
  return status;
}

absl::Status Cluster::StopCleanly() {
  const Outcome outcome = servers_[kHome].server->Stop();
  if (outcome.exit_code == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the server stopped with exit code ", outcome.exit_code,
                                          ", signal ", outcome.signal, ": ", outcome.stderr_text));
}

absl::Status Cluster::RestartServer(const Plan& plan) {
  if (absl::Status status = WaitFor(plan.down_us); !status.ok()) return status;
  KvServer& server = *servers_[kHome].server;
  server.SetFlags(ServerFlags(plan));
  if (absl::Status status = server.StartAgain(); !status.ok()) {
    return absl::InternalError(absl::StrCat("no restart: ", status.message()));
  }
  if (options_.plant == Plant::kCutTooLate) {
    // Once the new one has been at work for a while.
    if (absl::Status status = WaitFor(plan.load_us); !status.ok()) return status;
    history_.cuts.push_back({kHome, clock_->NowNs()});
  }
  return absl::OkStatus();
}

// ---- The history.

uint64_t Cluster::LeaseLeftNs() const {
  const std::string path = absl::StrCat(options_.state_dir, "/", address(), ".state");
  bool is_clean = false;
  uint64_t lease_ms = 0;
  for (absl::string_view line : absl::StrSplit(ReadFile(path), '\n')) {
    if (line == "state clean") is_clean = true;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    if (words[0] == "lease_ms") CHECK(absl::SimpleAtoi(words.back(), &lease_ms)) << line;
  }
  return is_clean ? 0 : lease_ms * kNsPerMs;
}

void Cluster::CutHome() {
  Home& home = servers_[kHome];
  home.last_cut_ns = std::max(home.last_cut_ns, clock_->NowNs() + LeaseLeftNs());
  switch (options_.plant) {
    case Plant::kNoCut:
    case Plant::kCutTooLate:
      return;
    case Plant::kCutTooEarly:
      history_.cuts.push_back({kHome, struck_at_ns_ - kTooEarlyNs});
      return;
    case Plant::kNone:
    case Plant::kStaleGets:
    case Plant::kClientLeaks:
    case Plant::kForgottenProcess:
      history_.cuts.push_back({kHome, home.last_cut_ns});
      return;
  }
}

absl::StatusOr<std::vector<checkers::Operation>> Cluster::ReadJournal(const Child& child,
                                                                      bool was_killed) {
  // One that was killed before it made its file has none.
  auto operations = checkers::ParseJournal(ReadFile(child.journal), was_killed);
  if (operations.ok()) return operations;
  return absl::InternalError(absl::StrCat(child.journal, ", ", operations.status().message()));
}

absl::StatusOr<checkers::History> Cluster::TakeHistory() {
  checkers::History history = std::exchange(history_, {});
  for (const Child& child : clients_) {
    auto operations = ReadJournal(child, /*was_killed=*/false);
    if (!operations.ok()) return operations.status();
    std::move(operations->begin(), operations->end(), std::back_inserter(history.operations));
    PCHECK(truncate(child.journal.c_str(), 0) == 0) << child.journal;
  }
  std::stable_sort(history.operations.begin(), history.operations.end(),
                   [](const checkers::Operation& a, const checkers::Operation& b) {
                     return a.invoked_at < b.invoked_at;
                   });
  return history;
}

void Cluster::NoteSockets(const Process& process) {
  const std::set<uint64_t> sockets = SocketsOf(process.pid());
  sockets_seen_.insert(sockets.begin(), sockets.end());
}

// ---- Standing still, and the end.

absl::Status Cluster::Park() {
  for (Child& child : clients_) child.process->Signal(SIGUSR1);
  for (size_t place = 0; place < clients_.size(); ++place) {
    Child& child = clients_[place];
    const absl::Status status = child.process->WaitForOutput(ParkedMark(++child.parks)).status();
    if (!status.ok()) {
      return absl::InternalError(
          absl::StrCat(ClientName(place), " does not park: ", status.message()));
    }
    NoteSockets(*child.process);
  }
  return absl::OkStatus();
}

void Cluster::GoOn() {
  for (const Child& child : clients_) child.process->Signal(SIGUSR2);
}

absl::Status Cluster::RenewServer() {
  NoteSockets(server_process());
  servers_[kHome].server->Kill();
  servers_[kHome].last_cut_ns = clock_->NowNs() + LeaseLeftNs();
  if (absl::Status status = servers_[kHome].server->StartAgain(); !status.ok()) {
    return absl::InternalError(absl::StrCat("no restart: ", status.message()));
  }
  return absl::OkStatus();
}

absl::Status Cluster::EndClients() {
  for (size_t place = 0; place < clients_.size(); ++place) {
    Child& child = clients_[place];
    if (options_.plant == Plant::kForgottenProcess && place == 0) {
      forgotten_ = std::move(child.process);
      unlink(child.journal.c_str());
      continue;
    }
    child.process->Signal(SIGTERM);
    const Outcome outcome = child.process->Wait();
    if (outcome.exit_code != 0) return EndedByItself(ClientName(place), child.process.get());
    unlink(child.journal.c_str());
  }
  clients_.clear();
  return absl::OkStatus();
}

absl::Status Cluster::EndServer() {
  NoteSockets(server_process());
  return StopCleanly();
}

}  // namespace acre::tests
