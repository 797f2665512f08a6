#include "tests/kill/campaign.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/client.h"
#include "glog/logging.h"
#include "tests/checkers/linearizability.h"

namespace acre::tests {
namespace {

constexpr uint64_t kNsPerS = 1'000'000'000;
// What may still be on its way out when it is looked for: the kernel takes memory and sockets of the dead apart
// a little later, and neighbours come and go.
constexpr uint64_t kSettleNs = 8 * kNsPerS;
// Processes were waited for: none of ours is on its way out.
constexpr uint64_t kSettleProcessesNs = 2 * kNsPerS;
constexpr int kLookEveryMs = 50;
// Growth of private memory that is no leak: a heap in use for a while has holes, and connections that come and
// go at once take more than one by one.
#ifdef __SANITIZE_ADDRESS__
constexpr int64_t kPrivateKibMax = 1 << 20;  // asan keeps what was freed. Leaks it finds by itself.
#else
constexpr int64_t kPrivateKibMax = 16 << 10;
#endif
// Two servers of kServerMemory: of a short run's dozens of them one would not be noticed, three would.
constexpr int64_t kSharedKibMax = 64 << 10;
constexpr char kServerMemory[] = "32M";
constexpr uintmax_t kStateFileBytesMax = 256;

// Waits, with looks in between, till `is_so`. False: it did not come to be.
template <typename Condition>
bool Settles(Clock* clock, Condition is_so, uint64_t settle_ns = kSettleNs) {
  const uint64_t end_ns = clock->NowNs() + settle_ns;
  while (!is_so()) {
    if (clock->NowNs() > end_ns) return false;
    (void)FirstToEnd({}, kLookEveryMs * 1'000);
  }
  return true;
}

// What this process and the machine held before anything was started.
struct Before {
  ProcessLevel self = LevelOf(getpid());
  int64_t shared_kib = UnaccountedSharedKib();
  std::set<std::string> shared_memory_names = SharedMemoryNames();
};

class Running {
 public:
  explicit Running(const CampaignOptions& options) : options_(options), random_(options.seed) {
    state_dir_ = StateFolder();
  }

  bool Run() {
    const uint64_t begin_ns = clock_.NowNs();
    absl::Status status = RunRounds();
    if (status.ok()) status = RunChurn();
    if (status.ok()) status = CheckNothingIsLeft();
    KeepFigures();
    std::cout << Figures((clock_.NowNs() - begin_ns) / kNsPerS);
    if (status.ok()) {
      std::cout << "nothing found" << std::endl;
      return true;
    }
    std::cout << "\nFOUND, seed " << options_.seed << ": " << status.message()
              << "\nagain, as nearly as the machine allows: " << CommandAgain() << std::endl;
    return false;
  }

 private:
  std::string CommandAgain() const {
    return absl::StrCat(
        "bazel run --config=opt //tests/kill:kill_rounds -- --seed=", options_.seed,
        " --rounds=", options_.rounds, " --rounds_per_life=", options_.rounds_per_life,
        " --servers=", options_.servers, " --churn=", options_.churn_clients,
        " --trust=", options_.trust.has_value() ? NameOf(*options_.trust) : "drawn");
  }
  std::string Figures(uint64_t seconds) const {
    std::string text =
        absl::StrCat("seed ", options_.seed, ": ", rounds_done_, " rounds in ", seconds, " s; ",
                     operations_, " operations, ", unknown_, " with an unknown outcome, ",
                     unanswered_, " Gets without an answer\n");
    for (const auto& [what, count] : counts_) {
      absl::StrAppend(&text, "  ", what, ": ", count, "\n");
    }
    return text;
  }

  // ---- Lives.

  absl::Status BeginLife(uint64_t rounds) {
    life_ = Life::Draw({options_.servers, options_.trust}, kClients, &random_);
    std::cout << life_.ToText() << ": " << std::flush;
    if (rounds > 0) {
      counts_["rounds with " + life_.ServersText()] += rounds;
      counts_[life_.has_secret ? "rounds with a secret" : "rounds without a secret"] += rounds;
      counts_["rounds " + life_.TrustText()] += rounds;
      counts_["rounds with " + life_.ClientsText()] += rounds;
    }
    ClusterOptions cluster;
    cluster.program = options_.program;
    cluster.folder = options_.folder;
    cluster.state_dir = state_dir_;
    cluster.memory = kServerMemory;
    cluster.huge_pages = options_.huge_pages;
    cluster.seed = random_.Next();
    cluster.plant = options_.plant;
    cluster.life = life_;
    cluster_ = std::make_unique<Cluster>(std::move(cluster), &clock_);
    addresses_.insert(cluster_->addresses().begin(), cluster_->addresses().end());
    return cluster_->StartServers();
  }

  // Requires: no clients any more.
  absl::Status EndLife() {
    absl::Status status = cluster_->EndServers();
    if (status.ok()) status = CheckProcesses();
    KeepFigures();
    cluster_.reset();
    return status;
  }

  // Of the cluster that is about to go.
  void KeepFigures() {
    if (cluster_ == nullptr) return;
    sockets_seen_.insert(cluster_->sockets_seen().begin(), cluster_->sockets_seen().end());
    for (const auto& [what, count] : cluster_->counts()) counts_[what] += count;
  }

  // ---- The first part.

  absl::Status RunRounds() {
    absl::Status status;
    for (int first = 1; status.ok() && first <= options_.rounds;
         first += options_.rounds_per_life) {
      const int last = std::min(options_.rounds, first + options_.rounds_per_life - 1);
      status = RunLife(first, last);
      if (status.ok()) continue;
      return absl::InternalError(absl::StrCat("rounds ", first, " to ", last, ", ", life_.ToText(),
                                              ": ", status.message()));
    }
    return status;
  }

  absl::Status RunLife(int first, int last) {
    absl::Status status = BeginLife(static_cast<uint64_t>(last - first + 1));
    if (status.ok()) status = cluster_->StartClients();
    if (status.ok()) status = cluster_->Park();
    if (!status.ok()) return status;
    levels_.clear();
    for (size_t place = 0; place < cluster_->immortals(); ++place) {
      levels_.emplace_back(cluster_->client_number(place),
                           LevelOf(cluster_->client_process(place).pid()));
    }
    cluster_->GoOn();
    plans_.clear();
    for (int round = first; round <= last; ++round) {
      const Plan plan = Plan::Draw(cluster_->servers(), kClients, cluster_->immortals(),
                                   life_.trust != Trust::kNone, &random_);
      plans_.emplace_back(clock_.NowNs(), plan);
      status = cluster_->Run(plan);
      if (status.ok() && life_.trust != Trust::kNone && round < last) status = JudgeMemory();
      if (!status.ok()) {
        return absl::InternalError(
            absl::StrCat("round ", round, " (", plan.ToText(), "): ", status.message()));
      }
      ++rounds_done_;
    }
    status = ParkAndJudgeMemory();
    if (status.ok()) status = CheckImmortals();
    if (status.ok()) status = JudgeHistory(absl::StrCat("rounds-", first, "-", last), first);
    if (status.ok()) status = cluster_->EndClients();
    if (status.ok()) status = EndLife();
    if (!status.ok()) return status;
    std::cout << "rounds " << first << " to " << last << ", " << operations_ << " operations so far"
              << std::endl;
    return status;
  }

  absl::Status CheckImmortals() {
    for (size_t place = 0; place < cluster_->immortals(); ++place) {
      const auto& [number, before] = levels_[place];
      // One that a server has killed.
      if (cluster_->client_number(place) != number) continue;
      ProcessLevel level = LevelOf(cluster_->client_process(place).pid());
      const int more_threads = level.threads - before.threads;
      // Whose shared memory went away while it connected has tried tcp as well, which leaves that fabric, and its
      // thread, with the client for good.
      if (life_.clients[place].reach == Reach::kAuto && more_threads == 1) {
        level = WithoutTcpThreads(std::move(level), more_threads);
        ++counts_["clients by fabric auto that tried tcp"];
      }
      const std::string growth = Growth(before, level, kPrivateKibMax);
      if (!growth.empty()) {
        return absl::InternalError(
            absl::StrCat(cluster_->ClientName(place),
                         ", under which servers died, does not hold what it did:", growth));
      }
    }
    return absl::OkStatus();
  }

  // All stand still, and what they wrote lies there whole, with nobody's locks.
  absl::Status ParkAndJudgeMemory() {
    if (absl::Status status = cluster_->Park(); !status.ok()) return status;
    if (life_.trust == Trust::kNone) return absl::OkStatus();
    const auto watcher = ConnectWatcher();
    if (!watcher.ok()) return watcher.status();
    for (size_t place = 0; place < cluster_->servers(); ++place) {
      // What clients have just given up may still be under way.
      absl::Status status;
      (void)Settles(&clock_, [&] {
        status = CheckNobodyWrites(watcher->get(), cluster_->addresses()[place]);
        if (status.ok()) status = cluster_->LookAtMemory(place);
        return status.ok();
      });
      if (!status.ok()) return status;
    }
    if (absl::Status status = cluster_->DamageMemory(/*place=*/0); !status.ok()) return status;
    return options_.plant == Plant::kNone ? absl::OkStatus() : cluster_->LookAtMemory(/*place=*/0);
  }

  absl::Status JudgeMemory() {
    absl::Status status = ParkAndJudgeMemory();
    if (status.ok()) cluster_->GoOn();
    return status;
  }

  absl::StatusOr<std::unique_ptr<Client>> ConnectWatcher() {
    ClientOptions options = cluster_->OptionsOfClients();
    options.path = Path::kTcp;
    auto watcher = Client::Connect(options);
    if (watcher.ok()) return watcher;
    return absl::InternalError(watcher.status().ToString());
  }

  // A server counts nobody any more who may write its memory.
  absl::Status CheckNobodyWrites(Client* watcher, const std::string& address) {
    if (life_.trust == Trust::kNone) return absl::OkStatus();
    const absl::StatusOr<std::string> stats = watcher->ServerStats(address);
    if (stats.ok() && absl::StrContains(*stats, "\nwriters 0\n")) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("all clients stand still, and the server at ", address,
                                            " counts some that write:\n",
                                            stats.ok() ? *stats : stats.status().ToString()));
  }

  // The history till now, kept as `name` if it is not what it should be.
  absl::Status JudgeHistory(absl::string_view name, int first_round) {
    const auto history = cluster_->TakeHistory();
    if (!history.ok()) return history.status();
    operations_ += history->operations.size();
    for (const checkers::Operation& operation : history->operations) {
      unknown_ += operation.outcome == checkers::Outcome::kUnknown;
      unanswered_ += operation.outcome == checkers::Outcome::kFailed;
    }
    const checkers::CheckResult result = checkers::CheckLinearizability(*history);
    if (result.verdict == checkers::Verdict::kOk) return absl::OkStatus();
    const std::string path =
        absl::StrCat(options_.history_folder, "/kill-seed-", options_.seed, "-", name, ".history");
    const absl::Status saved = checkers::SaveHistory(*history, path);
    return absl::InternalError(absl::StrCat(
        result.verdict == checkers::Verdict::kViolation ? "not linearizable" : "too hard to judge",
        "; of ", result.operations, " operations on ", result.keys, " keys, ", "the history is ",
        saved.ok() ? path : saved.ToString(), "\n", ToText(result), RoundsOf(result, first_round)));
  }

  // In which rounds the violations are, by the end of their examples.
  std::string RoundsOf(const checkers::CheckResult& result, int first_round) const {
    std::string text;
    for (const checkers::Violation& violation : result.violations) {
      uint64_t last_ns = 0;
      const std::vector<checkers::Operation>& operations = violation.example.operations;
      for (size_t i = 0; i < operations.size(); ++i) {
        if (!violation.example.IsLeftOut(i)) last_ns = std::max(last_ns, operations[i].invoked_at);
      }
      for (size_t i = plans_.size(); i-- > 0;) {
        if (plans_[i].first > last_ns) continue;
        absl::StrAppend(&text, violation.key, ": in round ", first_round + static_cast<int>(i),
                        ", begun at ", plans_[i].first, ", ", plans_[i].second.ToText(), "\n");
        break;
      }
    }
    return text;
  }

  // ---- The second part.

  absl::Status RunChurn() {
    if (options_.churn_clients == 0) return absl::OkStatus();
    absl::Status status = BeginLife(/*rounds=*/0);
    if (status.ok()) status = ChurnClients();
    if (status.ok()) status = JudgeHistory("churn", 0);
    if (status.ok()) status = EndLife();
    if (status.ok()) return status;
    return absl::InternalError(
        absl::StrCat("clients that are killed, ", life_.ToText(), ": ", status.message()));
  }

  absl::Status ChurnClients() {
    // One watcher for all of it, so that its own sockets are there at every look at the servers.
    const auto watcher = ConnectWatcher();
    if (!watcher.ok()) return watcher.status();
    std::vector<ProcessLevel> first;
    for (int killed = 0; killed < options_.churn_clients; killed += kClients) {
      absl::Status status = cluster_->StartClients();
      if (status.ok()) status = cluster_->KillClients();
      for (const std::string& address : cluster_->addresses()) {
        if (status.ok()) status = CheckServerIsAloneWith(watcher->get(), address);
      }
      if (!status.ok()) return status;
      if (killed == 0) first = LevelsOfServers();
    }
    std::vector<ProcessLevel> last;
    std::string growth;
    const bool is_well = Settles(&clock_, [&] {
      last = LevelsOfServers();
      growth.clear();
      for (size_t i = 0; i < last.size(); ++i) {
        // What it held for one who wrote its memory, and is dead, a server gives back some time later: less is no wonder.
        if (life_.trust != Trust::kNone) first[i] = Lower(first[i], last[i]);
        growth += Growth(first[i], last[i], kPrivateKibMax);
      }
      return growth.empty();
    });
    if (!is_well) {
      return absl::InternalError(absl::StrCat(
          "after ", options_.churn_clients,
          " killed clients a server does not hold what it did after the first:", growth));
    }
    std::cout << options_.churn_clients << " killed clients; KiB of a server's own after the first "
              << "and after the last:";
    for (size_t i = 0; i < last.size(); ++i) {
      std::cout << " " << first[i].private_kib << " " << last[i].private_kib;
    }
    std::cout << std::endl;
    return absl::OkStatus();
  }

  std::vector<ProcessLevel> LevelsOfServers() {
    std::vector<ProcessLevel> levels;
    for (size_t place = 0; place < cluster_->servers(); ++place) {
      levels.push_back(LevelOf(cluster_->server_process(place).pid()));
    }
    return levels;
  }

  // A server notices that clients have died, and has given up what was theirs; asked over a socket, which it
  // counts apart.
  absl::Status CheckServerIsAloneWith(Client* watcher, const std::string& address) {
    std::string text;
    const bool is_alone = Settles(&clock_, [&] {
      const absl::StatusOr<std::string> stats = watcher->ServerStats(address);
      text = stats.ok() ? *stats : stats.status().ToString();
      return absl::StrContains(text, "\nclients 0\n") && absl::StrContains(text, "\nsockets 1\n") &&
             CheckNobodyWrites(watcher, address).ok();
    });
    if (is_alone) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("all clients are dead, and the server at ", address,
                                            " still counts some:\n", text));
  }

  // ---- The end.

  absl::Status CheckNothingIsLeft() {
    const std::string growth = Growth(before_.self, LevelOf(getpid()), /*private_kib_max=*/1 << 30);
    if (!growth.empty()) {
      return absl::InternalError(absl::StrCat("this process does not hold what it did:", growth));
    }
    if (absl::Status status = CheckSockets(); !status.ok()) return status;
    if (absl::Status status = CheckMemory(); !status.ok()) return status;
    return CheckFiles();
  }

  absl::Status CheckProcesses() {
    std::vector<pid_t> left;
    const auto is_empty = [&] {
      left = ProcessesWith(options_.run_mark);
      return left.empty();
    };
    if (!Settles(&clock_, is_empty, kSettleProcessesNs)) {
      return absl::InternalError(absl::StrCat("processes are left: ", absl::StrJoin(left, " ")));
    }
    return absl::OkStatus();
  }

  absl::Status CheckSockets() {
    std::vector<uint64_t> left;
    if (!Settles(&clock_, [&] {
          const std::set<uint64_t> there = SocketsOfMachine();
          left.clear();
          std::set_intersection(there.begin(), there.end(), sockets_seen_.begin(),
                                sockets_seen_.end(), std::back_inserter(left));
          return left.empty();
        })) {
      return absl::InternalError(
          absl::StrCat("sockets are left, by number: ", absl::StrJoin(left, " ")));
    }
    for (const std::string& address : addresses_) {
      if (IsListenedOn(address)) {
        return absl::InternalError(absl::StrCat("somebody listens on ", address));
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckMemory() {
    int64_t kib = 0;
    if (!Settles(&clock_, [&] {
          kib = UnaccountedSharedKib() - before_.shared_kib;
          return kib <= kSharedKibMax;
        })) {
      return absl::InternalError(absl::StrCat(kib, " KiB of shared memory are nobody's"));
    }
    for (const std::string& name : SharedMemoryNames()) {
      if (before_.shared_memory_names.count(name) == 0 && absl::StrContains(name, "acre")) {
        return absl::InternalError(absl::StrCat("/dev/shm/", name, " is left"));
      }
    }
    return absl::OkStatus();
  }

  // One state file for each address, of the size that it has from the beginning.
  absl::Status CheckFiles() {
    std::set<std::string> state_files;
    for (const std::string& address : addresses_) {
      state_files.insert(absl::StrCat(state_dir_, "/", address, ".state"));
    }
    std::vector<std::string> left;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(options_.folder)) {
      if (entry.path() == state_dir_) continue;
      const bool is_state_file = state_files.count(entry.path()) != 0;
      if (is_state_file && entry.file_size() <= kStateFileBytesMax) continue;
      left.push_back(entry.path());
    }
    if (left.empty()) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("files are left: ", absl::StrJoin(left, " ")));
  }

  static constexpr int kClients = 8;

  const CampaignOptions options_;
  const Before before_;
  RealClock clock_;
  Random random_;
  std::string state_dir_;
  Life life_;
  std::unique_ptr<Cluster> cluster_;  // Of this life.
  // Of the immortals, when they first stood still, and their numbers.
  std::vector<std::pair<uint32_t, ProcessLevel>> levels_;
  std::vector<std::pair<uint64_t, Plan>> plans_;  // Of this life, and when each round began.
  // Of all lives.
  std::set<std::string> addresses_;
  std::set<uint64_t> sockets_seen_;
  std::map<std::string, uint64_t> counts_;
  int rounds_done_ = 0;
  uint64_t operations_ = 0;
  uint64_t unknown_ = 0;
  uint64_t unanswered_ = 0;
};

}  // namespace

bool RunCampaign(const CampaignOptions& options) { return Running(options).Run(); }

}  // namespace acre::tests
