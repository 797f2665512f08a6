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
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/client.h"
#include "glog/logging.h"
#include "tests/checkers/linearizability.h"

namespace acre::tests {
namespace {

constexpr uint64_t kNsPerS = 1'000'000'000;
// What may still be on its way out when it is looked for: the kernel takes memory and sockets of the dead apart
// a little later, and neighbours come and go.
constexpr uint64_t kSettleNs = 8 * kNsPerS;
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
bool Settles(Clock* clock, Condition is_so) {
  const uint64_t end_ns = clock->NowNs() + kSettleNs;
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
    ClusterOptions cluster;
    cluster.program = options.program;
    cluster.folder = options.folder;
    cluster.state_dir = state_dir_;
    cluster.memory = kServerMemory;
    cluster.huge_pages = options.huge_pages;
    cluster.seed = random_.Next();
    cluster.plant = options.plant;
    cluster_ = std::make_unique<Cluster>(std::move(cluster), &clock_);
  }

  bool Run() {
    const uint64_t begin_ns = clock_.NowNs();
    absl::Status status = RunRounds();
    if (status.ok()) status = RunChurn();
    if (status.ok()) status = cluster_->EndServer();
    if (status.ok()) status = CheckNothingIsLeft();
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
    return absl::StrCat("bazel run --config=opt //tests/kill:kill_rounds -- --seed=", options_.seed,
                        " --rounds=", options_.rounds, " --churn=", options_.churn_clients);
  }
  std::string Figures(uint64_t seconds) const {
    std::string text =
        absl::StrCat("seed ", options_.seed, ": ", rounds_done_, " rounds in ", seconds, " s; ",
                     operations_, " operations, ", unknown_, " with an unknown outcome, ",
                     unanswered_, " Gets without an answer\n");
    for (const auto& [what, count] : cluster_ == nullptr ? counts_ : cluster_->counts()) {
      absl::StrAppend(&text, "  ", what, ": ", count, "\n");
    }
    return text;
  }

  // ---- The first part.

  absl::Status RunRounds() {
    absl::Status status = cluster_->StartServer();
    if (options_.rounds == 0) return status;
    if (status.ok()) status = cluster_->StartClients();
    for (int first = 1; status.ok() && first <= options_.rounds;
         first += options_.rounds_per_batch) {
      status = RunBatch(first, std::min(options_.rounds, first + options_.rounds_per_batch - 1));
    }
    if (status.ok()) status = cluster_->EndClients();
    return status;
  }

  absl::Status RunBatch(int first, int last) {
    plans_.clear();
    for (int round = first; round <= last; ++round) {
      plans_.emplace_back(clock_.NowNs(), Plan::Draw(kClients, cluster_->immortals(), &random_));
      if (absl::Status status = cluster_->Run(plans_.back().second); !status.ok()) {
        return absl::InternalError(absl::StrCat(
            "round ", round, " (", plans_.back().second.ToText(), "): ", status.message()));
      }
      ++rounds_done_;
    }
    absl::Status status = cluster_->Park();
    if (status.ok()) status = CheckImmortals();
    if (status.ok()) status = JudgeHistory(absl::StrCat("rounds-", first, "-", last), first);
    if (status.ok()) status = cluster_->RenewServer();
    if (!status.ok()) {
      return absl::InternalError(
          absl::StrCat("rounds ", first, " to ", last, ": ", status.message()));
    }
    std::cout << "rounds " << first << " to " << last << ": " << operations_ << " operations so far"
              << std::endl;
    if (last < options_.rounds) cluster_->GoOn();
    return status;
  }

  absl::Status CheckImmortals() {
    for (size_t place = 0; place < cluster_->immortals(); ++place) {
      const ProcessLevel level = LevelOf(cluster_->client_process(place).pid());
      if (levels_.size() <= place) {
        levels_.push_back(level);
        continue;
      }
      const std::string growth = Growth(levels_[place], level, kPrivateKibMax);
      if (!growth.empty()) {
        return absl::InternalError(
            absl::StrCat(cluster_->ClientName(place),
                         ", under which servers died, does not hold what it did:", growth));
      }
    }
    return absl::OkStatus();
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
    // One watcher for all of it, so that its own socket is there at every look at the server.
    ClientOptions client_options;
    client_options.servers = {cluster_->address()};
    client_options.path = Path::kTcp;
    const auto watcher = Client::Connect(client_options);
    if (!watcher.ok()) return absl::InternalError(watcher.status().ToString());
    ProcessLevel first;
    for (int killed = 0; killed < options_.churn_clients; killed += kClients) {
      absl::Status status = cluster_->StartClients();
      if (status.ok()) status = cluster_->KillClients();
      if (status.ok()) status = CheckServerIsAloneWith(watcher->get());
      if (!status.ok()) return status;
      if (killed == 0) first = LevelOf(cluster_->server_process().pid());
    }
    ProcessLevel last;
    std::string growth;
    const bool is_well = Settles(&clock_, [&] {
      last = LevelOf(cluster_->server_process().pid());
      growth = Growth(first, last, kPrivateKibMax);
      return growth.empty();
    });
    if (!is_well) {
      return absl::InternalError(absl::StrCat(
          "after ", options_.churn_clients,
          " killed clients the server does not hold what it did after the first:", growth));
    }
    std::cout << "the server under " << options_.churn_clients
              << " killed clients: " << first.private_kib << " KiB of its own after the first, "
              << last.private_kib << " after the last" << std::endl;
    return JudgeHistory("churn", 0);
  }

  // The server notices that clients have died, and has given up what was theirs; asked over a socket, which it
  // counts apart.
  absl::Status CheckServerIsAloneWith(Client* watcher) {
    std::string text;
    const bool is_alone = Settles(&clock_, [&] {
      const absl::StatusOr<std::string> stats = watcher->ServerStats();
      text = stats.ok() ? *stats : stats.status().ToString();
      return absl::StrContains(text, "\nclients 0\n") && absl::StrContains(text, "\nsockets 1\n");
    });
    if (is_alone) return absl::OkStatus();
    return absl::InternalError(
        absl::StrCat("all clients are dead, and the server still counts some:\n", text));
  }

  // ---- The end.

  absl::Status CheckNothingIsLeft() {
    if (absl::Status status = CheckProcesses(); !status.ok()) return status;
    sockets_seen_ = cluster_->sockets_seen();
    const std::string address = cluster_->address();
    counts_ = cluster_->counts();
    cluster_.reset();
    const std::string growth = Growth(before_.self, LevelOf(getpid()), /*private_kib_max=*/1 << 30);
    if (!growth.empty()) {
      return absl::InternalError(absl::StrCat("this process does not hold what it did:", growth));
    }
    if (absl::Status status = CheckSockets(address); !status.ok()) return status;
    if (absl::Status status = CheckMemory(); !status.ok()) return status;
    return CheckFiles(address);
  }

  absl::Status CheckProcesses() {
    std::vector<pid_t> left;
    if (!Settles(&clock_, [&] {
          left = ProcessesWith(options_.run_mark);
          return left.empty();
        })) {
      return absl::InternalError(absl::StrCat("processes are left: ", absl::StrJoin(left, " ")));
    }
    return absl::OkStatus();
  }

  absl::Status CheckSockets(const std::string& address) {
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
    int port = 0;
    CHECK(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port)) << address;
    if (!IsListenedOn(port)) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("somebody listens on ", address));
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

  // One state file for the one address, of the size that it has from the beginning.
  absl::Status CheckFiles(const std::string& address) {
    const std::string state_file = absl::StrCat(state_dir_, "/", address, ".state");
    std::vector<std::string> left;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(options_.folder)) {
      if (entry.path() == state_dir_) continue;
      if (entry.path() == state_file && entry.file_size() <= kStateFileBytesMax) continue;
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
  std::unique_ptr<Cluster> cluster_;
  std::vector<ProcessLevel> levels_;              // Of the immortals, when they first stood still.
  std::vector<std::pair<uint64_t, Plan>> plans_;  // Of this batch, and when each round began.
  // Of the cluster, once it is gone.
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
