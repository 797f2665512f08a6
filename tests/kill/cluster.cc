#include "tests/kill/cluster.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"
#include "runtime/scoped_fd.h"
#include "tests/checkers/journal.h"
#include "tests/kill/client_role.h"
#include "tests/kill/server_memory.h"
#include "tests/kill/values.h"
#include "tests/kill/work.h"
#include "tests/test_cluster.h"

namespace acre::tests {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kNsPerUs = 1'000;
constexpr uint64_t kKillWithinUs = 40'000;
// A cut that was planted too early: this long before the blow.
constexpr uint64_t kTooEarlyNs = 20 * kNsPerMs;
// Who looks into servers' memory, in the history: no client has so high a number.
constexpr uint32_t kMemoryReader = ~uint32_t{0};
// An update takes a few us: those that write by themselves pause little, so that blows fall into one.
constexpr int64_t kPauseOfWritersUsMax = 100;
// How often a client that writes by itself is frozen and let go on, till it stands in the middle of an update; the pauses
// in between, 0 to so many times so long; and after which time an acquisition stands still.
constexpr int kFreezesMax = 80;
constexpr int kFreezePauses = 5;
constexpr int64_t kFreezeAgainUs = 10;
constexpr int64_t kStandsStillUs = 500;
// From the end of a process's output to its own.
constexpr int64_t kEndUs = 5'000'000;

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

std::string ServerName(size_t place) { return absl::StrCat("server ", place + 1); }

// A secret of this life, in a file that its owner alone can read.
std::string WriteSecret(const std::string& folder, uint64_t drawn) {
  const std::string path = folder + "/secret";
  const ScopedFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  PCHECK(file.is_open()) << path;
  const std::string bytes = absl::StrCat(absl::Hex(drawn, absl::kZeroPad16), "\n");
  PCHECK(write(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  return path;
}

}  // namespace

Cluster::Cluster(ClusterOptions options, Clock* clock)
    : options_(std::move(options)), clock_(clock), random_(options_.seed) {
  CHECK_LE(options_.immortals, options_.life.clients.size());
  servers_.resize(options_.life.servers);
  for (size_t i = 0; i < servers_.size(); ++i) addresses_.push_back(OwnAddress());
  if (options_.life.has_cluster_file) cluster_file_ = WriteClusterFile(addresses_);
  if (options_.life.has_secret) secret_file_ = WriteSecret(options_.folder, random_.Next());
  history_.operations.reserve(1 << 16);
}

Cluster::~Cluster() = default;

// ---- Starting.

std::vector<std::string> Cluster::ServerFlags(const Plan::Server& plan) const {
  std::vector<std::string> flags = {
      absl::StrCat("--threads=", plan.threads),
      absl::StrCat("--death_marks=", plan.death_marks ? "true" : "false"),
      absl::StrCat("--lease_ms=", plan.lease_ms),
      absl::StrCat("--huge_pages=", options_.huge_pages)};
  if (!cluster_file_.empty()) flags.push_back("--cluster=" + cluster_file_);
  if (!secret_file_.empty()) flags.push_back("--secret_file=" + secret_file_);
  if (options_.life.trust != Trust::kNone) flags.push_back("--trust");
  if (options_.life.trust == Trust::kTcp) flags.push_back("--fabric=tcp");
  return flags;
}

absl::Status Cluster::StartServers() {
  for (size_t place = 0; place < servers_.size(); ++place) {
    auto server = KvServer::Start({.listen = addresses_[place],
                                   .memory = options_.memory,
                                   .more = ServerFlags(Plan::Server())});
    if (!server.ok()) return absl::InternalError(server.status().message());
    servers_[place].server = *std::move(server);
  }
  return absl::OkStatus();
}

ClientOptions Cluster::OptionsOfClients() const {
  ClientOptions options;
  options.servers = addresses_;
  options.secret_file = secret_file_;
  return options;
}

absl::Status Cluster::StartClients() {
  clients_.resize(options_.life.clients.size());
  for (size_t place = 0; place < clients_.size(); ++place) {
    if (absl::Status status = StartClient(place); !status.ok()) return status;
  }
  return absl::OkStatus();
}

std::string Cluster::ClientName(size_t place) const {
  return absl::StrCat("client ", clients_[place].number, " (in place ", place, ")");
}

absl::Status Cluster::StartClient(size_t place) {
  const Life::Client& life = options_.life.clients[place];
  const bool is_writer = options_.life.IsWriter(place);
  Child& child = clients_[place];
  child = Child();
  child.number = clients_started_++;
  child.journal = absl::StrCat(options_.folder, "/client-", child.number, ".journal");
  std::vector<std::string> command = {
      options_.program, "--client_of=" + absl::StrJoin(addresses_, ","),
      absl::StrCat("--client_number=", child.number),
      absl::StrCat("--client_seed=", random_.Next()), "--client_journal=" + child.journal,
      absl::StrCat("--client_fabric=", FabricOf(life.reach)),
      absl::StrCat("--client_path=", PathName(life.path)),
      absl::StrCat("--client_put_path=", PutPathName(life.put_path)),
      // What it holds for its neighbours depends on whom it has met: what it must not leave behind shows when it
      // holds nothing at all.
      absl::StrCat("--client_closes_to_park=", is_writer ? "true" : "false"),
      absl::StrCat("--client_pause_us_max=",
                   is_writer ? kPauseOfWritersUsMax : ClientRole().pause_us_max),
      // Both forms take turns in each place, and two neighbours of one way have different ones.
      absl::StrCat("--client_coroutines=",
                   (place / kReaches + child.number) % 2 == 0 ? "true" : "false")};
  if (!secret_file_.empty()) command.push_back("--client_secret_file=" + secret_file_);
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
  for (uint64_t now_ns = clock_->NowNs(); now_ns < at_ns; now_ns = clock_->NowNs()) {
    std::vector<Process*> processes;
    for (const Child& child : clients_) processes.push_back(child.process.get());
    Process* const ended = FirstToEnd(processes, static_cast<int64_t>((at_ns - now_ns) / kNsPerUs));
    if (ended == nullptr) return absl::OkStatus();
    const auto place = std::find(processes.begin(), processes.end(), ended) - processes.begin();
    absl::Status status = ReplaceKilledByServer(static_cast<size_t>(place));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Cluster::Run(const Plan& plan) {
  CHECK_EQ(plan.servers.size(), servers_.size());
  CHECK_EQ(plan.clients.size(), clients_.size());
  if (absl::Status status = WaitFor(plan.load_us); !status.ok()) return status;
  for (size_t place = 0; place < servers_.size(); ++place) {
    servers_[place].struck_at_ns = 0;
    ++counts_[absl::StrCat("server ", NameOf(plan.servers[place].fate))];
  }
  const uint64_t begin_ns = clock_->NowNs();
  for (const Blow& blow : plan.Blows()) {
    absl::Status status = WaitTill(begin_ns + static_cast<uint64_t>(blow.at_us) * kNsPerUs);
    if (status.ok()) status = Strike(blow, plan);
    if (!status.ok()) return status;
  }
  if (absl::Status status = WaitForServers(plan); !status.ok()) return status;
  if (absl::Status status = WaitFor(plan.aftermath_us); !status.ok()) return status;
  for (Child& child : clients_) {
    if (std::exchange(child.is_frozen, false)) child.process->Signal(SIGCONT);
  }
  for (size_t place = 0; place < servers_.size(); ++place) {
    if (server_process(place).HasEnded()) {
      return EndedByItself(ServerName(place), &server_process(place));
    }
  }
  return absl::OkStatus();
}

absl::Status Cluster::Strike(const Blow& blow, const Plan& plan) {
  const size_t place = blow.place;
  switch (blow.kind) {
    case BlowKind::kFreezeClient:
      return FreezeClient(place);
    case BlowKind::kKillClient:
      if (absl::Status status = KillClient(place); !status.ok()) return status;
      return StartClient(place);
    case BlowKind::kLaunchServer:
      return LaunchServer(place, plan.servers[place]);
    case BlowKind::kThawServer:
      server_process(place).Signal(SIGCONT);
      return absl::OkStatus();
    case BlowKind::kFreezeServer:
    case BlowKind::kTellServer:
    case BlowKind::kStopServer:
    case BlowKind::kKillServer:
      break;
  }
  NoteSockets(server_process(place));
  if (servers_[place].struck_at_ns == 0) servers_[place].struck_at_ns = clock_->NowNs();
  switch (blow.kind) {
    case BlowKind::kFreezeServer:
      server_process(place).Freeze();
      return absl::OkStatus();
    case BlowKind::kTellServer:
      server_process(place).Signal(SIGTERM);
      return absl::OkStatus();
    case BlowKind::kStopServer:
      if (absl::Status status = StopCleanly(place); !status.ok()) return status;
      CutHome(place);
      return absl::OkStatus();
    default:
      return KillServer(place, plan);
  }
}

absl::Status Cluster::FreezeClient(size_t place) {
  Child& child = clients_[place];
  child.was_frozen = true;
  int attempts = options_.life.IsWriter(place) ? kFreezesMax : 1;
  for (; attempts > 0; --attempts) {
    if (!child.process->FreezeUnlessEnded()) return ReplaceKilledByServer(place);
    if (options_.life.IsWriter(place) && DoesAnUpdateStandStill()) {
      ++counts_["clients frozen in the middle of an update"];
      break;
    }
    if (attempts == 1) break;
    child.process->Signal(SIGCONT);
    (void)FirstToEnd({}, kFreezeAgainUs * (attempts % kFreezePauses));
  }
  child.is_frozen = true;
  NoteSockets(*child.process);
  ++counts_["clients frozen"];
  return absl::OkStatus();
}

bool Cluster::DoesAnUpdateStandStill() {
  const std::vector<std::string> keys = HotKeys(static_cast<uint32_t>(servers_.size()));
  const auto look = [&] {
    std::set<uint64_t> tails;
    for (size_t i = 0; i < servers_.size(); ++i) {
      tails.merge(RemoteTails(server_process(i).pid(), keys));
    }
    return tails;
  };
  const std::set<uint64_t> before = look();
  if (before.empty()) return false;
  (void)FirstToEnd({}, kStandsStillUs);
  const std::set<uint64_t> after = look();
  return std::any_of(before.begin(), before.end(),
                     [&after](uint64_t tail) { return after.count(tail) != 0; });
}

absl::Status Cluster::ReplaceKilledByServer(size_t place) {
  Child& child = clients_[place];
  const Outcome outcome = child.process->Wait();
  const uint64_t dead_at_ns = clock_->NowNs();
  const bool is_allowed = options_.life.MayBeKilledByServers(place) && child.was_frozen;
  if (outcome.signal != SIGKILL || !is_allowed) {
    absl::Status status = EndedByItself(ClientName(place), child.process.get());
    if (outcome.signal != SIGKILL) return status;
    std::string text(status.message());
    for (size_t i = 0; i < servers_.size(); ++i) {
      absl::StrAppend(&text, "\n", ServerName(i), " says: ", server_process(i).StderrSoFar());
    }
    return absl::InternalError(text);
  }
  ++counts_["clients killed by servers that they held up"];
  absl::Status status = TakeJournalOfDead(place, dead_at_ns);
  return status.ok() ? StartClient(place) : status;
}

absl::Status Cluster::KillClient(size_t place) {
  if (clients_[place].process->HasEnded()) return ReplaceKilledByServer(place);
  Child& child = clients_[place];
  NoteSockets(*child.process);
  child.process->Signal(SIGKILL);
  const Outcome outcome = child.process->Wait();
  const uint64_t dead_at_ns = clock_->NowNs();
  if (outcome.signal != SIGKILL) return EndedByItself(ClientName(place), child.process.get());
  ++counts_["clients killed"];
  return TakeJournalOfDead(place, dead_at_ns);
}

absl::Status Cluster::TakeJournalOfDead(size_t place, uint64_t dead_at_ns) {
  const Child& child = clients_[place];
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

absl::Status Cluster::KillServer(size_t place, const Plan& plan) {
  Process& process = server_process(place);
  const bool had_ended = process.HasEnded();
  if (!had_ended) process.Signal(SIGKILL);
  const Outcome outcome = process.Wait();
  // One that was told to stop may have been quicker. Any other that had ended did so by itself.
  const bool was_told = plan.servers[place].fate == ServerFate::kKilledStopping;
  if (outcome.signal != SIGKILL && !(was_told && outcome.exit_code == 0)) {
    return EndedByItself(ServerName(place), &process);
  }
  servers_[place].is_starting = false;
  CutHome(place);
  return absl::OkStatus();
}

absl::Status Cluster::StopCleanly(size_t place) {
  const Outcome outcome = servers_[place].server->Stop();
  if (outcome.exit_code == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(ServerName(place), " stopped with exit code ",
                                          outcome.exit_code, ", signal ", outcome.signal, ": ",
                                          outcome.stderr_text));
}

absl::Status Cluster::LaunchServer(size_t place, const Plan::Server& plan) {
  KvServer& server = *servers_[place].server;
  server.SetFlags(ServerFlags(plan));
  if (absl::Status status = server.Launch(); !status.ok()) {
    return absl::InternalError(status.message());
  }
  servers_[place].is_starting = true;
  return absl::OkStatus();
}

absl::Status Cluster::WaitForServers(const Plan& plan) {
  for (size_t place = 0; place < servers_.size(); ++place) {
    if (!std::exchange(servers_[place].is_starting, false)) continue;
    if (absl::Status status = servers_[place].server->WaitTillListening(); !status.ok()) {
      return absl::InternalError(
          absl::StrCat("no restart of ", ServerName(place), ": ", status.message()));
    }
  }
  if (options_.plant != Plant::kCutTooLate) return absl::OkStatus();
  // Once the new ones have been at work for a while.
  if (absl::Status status = WaitFor(plan.load_us); !status.ok()) return status;
  for (size_t place = 0; place < servers_.size(); ++place) {
    if (EndsServer(plan.servers[place].fate)) AddCut(place, clock_->NowNs());
  }
  return absl::OkStatus();
}

// ---- The history.

uint64_t Cluster::LeaseLeftNs(size_t place) const {
  const std::string path = absl::StrCat(options_.state_dir, "/", addresses_[place], ".state");
  bool is_clean = false;
  uint64_t lease_ms = 0;
  for (absl::string_view line : absl::StrSplit(ReadFile(path), '\n')) {
    if (line == "state clean") is_clean = true;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    if (words[0] == "lease_ms") CHECK(absl::SimpleAtoi(words.back(), &lease_ms)) << line;
  }
  return is_clean ? 0 : lease_ms * kNsPerMs;
}

void Cluster::AddCut(size_t place, uint64_t at_ns) {
  history_.cuts.push_back({static_cast<uint32_t>(place), at_ns});
}

void Cluster::CutHome(size_t place) {
  Home& home = servers_[place];
  home.last_cut_ns = std::max(home.last_cut_ns, clock_->NowNs() + LeaseLeftNs(place));
  switch (options_.plant) {
    case Plant::kNoCut:
    case Plant::kCutTooLate:
      return;
    case Plant::kCutTooEarly:
      AddCut(place, home.struck_at_ns - kTooEarlyNs);
      return;
    case Plant::kCutElsewhere:
      AddCut((place + 1) % servers_.size(), home.last_cut_ns);
      return;
    case Plant::kCutEverywhere:
      for (size_t any = 0; any < servers_.size(); ++any) AddCut(any, home.last_cut_ns);
      return;
    case Plant::kNone:
    case Plant::kStaleGets:
    case Plant::kClientLeaks:
    case Plant::kForgottenProcess:
    case Plant::kLockLeft:
    case Plant::kSlotLeft:
    case Plant::kRecordBroken:
      AddCut(place, home.last_cut_ns);
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

absl::Status Cluster::LookAtMemory(size_t place) {
  const uint64_t begin_ns = clock_->NowNs();
  absl::StatusOr<checkers::Model> records = RecordsInMemory(server_process(place).pid());
  const uint64_t end_ns = clock_->NowNs();
  if (!records.ok()) {
    return absl::InternalError(
        absl::StrCat("in the memory of ", ServerName(place), ": ", records.status().message()));
  }
  const auto homes = static_cast<uint32_t>(servers_.size());
  for (const std::string& key : HotKeys(homes)) {
    if (HomeOf(key, homes) != place) continue;
    checkers::Operation seen;
    seen.kind = checkers::OperationKind::kGet;
    seen.outcome = checkers::Outcome::kOk;
    seen.client = kMemoryReader;
    seen.home = static_cast<uint32_t>(place);
    seen.invoked_at = begin_ns;
    seen.returned_at = end_ns;
    seen.key = key;
    const auto found = records->find(key);
    if (found != records->end()) {
      seen.value = NameOfValue(found->second);
      records->erase(found);
    }
    history_.operations.push_back(std::move(seen));
  }
  if (records->empty()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("in the memory of ", ServerName(place),
                                          ": a record that nobody put: ", records->begin()->first));
}

absl::Status Cluster::DamageMemory(size_t place) {
  const pid_t server = server_process(place).pid();
  switch (options_.plant) {
    case Plant::kLockLeft:
      return PlantInMemory(server, MemoryPlant::kLockLeft);
    case Plant::kSlotLeft:
      return PlantInMemory(server, MemoryPlant::kSlotLeft);
    case Plant::kRecordBroken:
      return PlantInMemory(server, MemoryPlant::kRecordBroken);
    default:
      return absl::OkStatus();
  }
}

void Cluster::NoteSockets(const Process& process) {
  const std::set<uint64_t> sockets = SocketsOf(process.pid());
  sockets_seen_.insert(sockets.begin(), sockets.end());
}

// ---- Standing still, and the end.

absl::Status Cluster::Park() {
  for (Child& child : clients_) child.process->Signal(SIGUSR1);
  for (size_t place = 0; place < clients_.size(); ++place) {
    if (absl::Status status = AwaitParked(place); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Cluster::AwaitParked(size_t place) {
  Child& child = clients_[place];
  for (;;) {
    const absl::StatusOr<std::string> parked =
        child.process->WaitForOutput(ParkedMark(++child.parks));
    NoteSockets(*child.process);
    if (parked.ok()) {
      NoteUpdates(place, *parked);
      break;
    }
    // One that a server has killed is replaced by one that is told the same.
    if (!child.was_frozen || FirstToEnd({child.process.get()}, kEndUs) == nullptr) {
      return absl::InternalError(
          absl::StrCat(ClientName(place), " does not park: ", parked.status().message()));
    }
    if (absl::Status replaced = ReplaceKilledByServer(place); !replaced.ok()) return replaced;
    child.process->Signal(SIGUSR1);
  }
  child.was_frozen = false;
  return absl::OkStatus();
}

void Cluster::NoteUpdates(size_t place, absl::string_view parked) {
  // The others count on, and could not have written.
  if (!options_.life.IsWriter(place)) return;
  uint64_t updates = 0;
  const size_t at = parked.find(kUpdatesMark);
  CHECK(at != absl::string_view::npos &&
        absl::SimpleAtoi(parked.substr(at + strlen(kUpdatesMark)), &updates))
      << parked;
  counts_["updates by clients themselves"] += updates;
}

void Cluster::GoOn() {
  for (const Child& child : clients_) child.process->Signal(SIGUSR2);
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

absl::Status Cluster::EndServers() {
  for (size_t place = 0; place < servers_.size(); ++place) {
    NoteSockets(server_process(place));
    if (absl::Status status = StopCleanly(place); !status.ok()) return status;
  }
  for (const std::string& path : {cluster_file_, secret_file_}) {
    if (!path.empty()) PCHECK(unlink(path.c_str()) == 0) << path;
  }
  return absl::OkStatus();
}

}  // namespace acre::tests
