// kill_rounds: kills servers and clients at random under load. `kill_rounds --help` says how to use it.

#include <signal.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "runtime/clock.h"
#include "runtime/command_line.h"
#include "tests/kill/campaign.h"
#include "tests/kill/client_role.h"
#include "tests/kill/life.h"

DEFINE_int32(rounds, 200, "Rounds of blows.");
DEFINE_int32(churn, 300,
             "Clients that come to the servers of one life and are killed, after the rounds.");
DEFINE_uint64(seed, 0, "What is done, and when, follows from it. 0: one that is drawn and told.");
DEFINE_int32(rounds_per_life, 10,
             "Rounds on the same servers and clients, which make one history; then others begin.");
DEFINE_int32(servers, 0, "Servers in each life, 1 to 3. 0: drawn.");
DEFINE_string(trust, "drawn",
              "Whether servers let clients write by themselves, and by which fabric, in each life: "
              "none, shm, tcp; drawn: every second life's do.");
DEFINE_string(huge_pages, "off", "Of the servers: as kv_server has it.");
DEFINE_string(
    plant, "none",
    "A fault, to see that it is found: cut_too_early, cut_too_late, no_cut, cut_elsewhere, "
    "cut_everywhere (these two take several servers), stale_gets, client_leaks, "
    "forgotten_process, lock_left, slot_left, record_broken (in a server's memory).");

DEFINE_string(client_of, "",
              "HOST:PORT,...: this process is a client of those servers. All flags below "
              "are a client's.");
DEFINE_uint32(client_number, 0, "Its name in the history.");
DEFINE_uint64(client_seed, 0, "What it does follows from it.");
DEFINE_string(client_fabric, "auto", "As kv_cli has it.");
DEFINE_string(client_path, "rpc", "As kv_cli has it.");
DEFINE_string(client_put_path, "auto", "As kv_cli has it.");
DEFINE_bool(client_closes_to_park, false, "It stands still without a connection.");
DEFINE_int64(client_pause_us_max, acre::tests::ClientRole().pause_us_max,
             "Its pauses between bursts of operations, at least 1.");
DEFINE_string(client_secret_file, "", "As kv_cli has it.");
DEFINE_bool(client_coroutines, false, "Which form of the client it uses.");
DEFINE_string(client_journal, "", "The file that it writes its history to.");
DEFINE_bool(client_is_stale, false, "It tells old values now and then.");
DEFINE_bool(client_leaks, false, "It leaves descriptors open.");

namespace acre::tests {
namespace {

constexpr int kExitFinding = 1;
constexpr int kExitUsage = 2;
constexpr char kRunMark[] = "ACRE_KILL_RUN";

constexpr char kUsage[] =
    R"(kill_rounds: kill -9 and restart of servers and clients, at random, under load.

  bazel run --config=opt //tests/kill:kill_rounds                     200 rounds
  bazel run --config=opt //tests/kill:kill_rounds -- --seed=7         the same script again

Real kv_servers, one to three, and eight client processes, over all fabrics and paths, in both forms of the
client, with a secret and without; in every second life clients write into the servers' memory by themselves. In
each round servers, clients, or both are killed, stopped or frozen at moments drawn from the seed, and come back.
After the rounds many clients come to servers that live on, and are killed. What all clients did, and what is
found in the servers' memory, must be linearizable; no process may hold more than it did in the beginning, and in
the end nothing may be left behind. See docs/checkers.md.

A finding is printed with its seed, its round, the smallest example, and where the history is kept, for
//tests/checkers:check_history. Exit code: 0 nothing found; 1 something; 2 used wrongly.)";

absl::StatusOr<Plant> ParsePlant(absl::string_view name) {
  if (name == "none") return Plant::kNone;
  if (name == "cut_too_early") return Plant::kCutTooEarly;
  if (name == "cut_too_late") return Plant::kCutTooLate;
  if (name == "no_cut") return Plant::kNoCut;
  if (name == "cut_elsewhere") return Plant::kCutElsewhere;
  if (name == "cut_everywhere") return Plant::kCutEverywhere;
  if (name == "stale_gets") return Plant::kStaleGets;
  if (name == "client_leaks") return Plant::kClientLeaks;
  if (name == "forgotten_process") return Plant::kForgottenProcess;
  if (name == "lock_left") return Plant::kLockLeft;
  if (name == "slot_left") return Plant::kSlotLeft;
  if (name == "record_broken") return Plant::kRecordBroken;
  return absl::InvalidArgumentError(
      absl::StrCat("--plant=", name, ": --help lists those there are"));
}

int Refuse(absl::string_view why) {
  std::cerr << "kill_rounds: " << why << "\n";
  return kExitUsage;
}

int RunClient() {
  ClientRole role;
  const absl::StatusOr<Path> path = ParsePath(FLAGS_client_path);
  if (!path.ok()) return Refuse(path.status().message());
  role.path = *path;
  const absl::StatusOr<PutPath> put_path = ParsePutPath(FLAGS_client_put_path);
  if (!put_path.ok()) return Refuse(put_path.status().message());
  role.put_path = *put_path;
  role.closes_to_park = FLAGS_client_closes_to_park;
  role.pause_us_max = FLAGS_client_pause_us_max;
  role.servers = absl::StrSplit(FLAGS_client_of, ',');
  role.fabric = FLAGS_client_fabric;
  role.secret_file = FLAGS_client_secret_file;
  role.number = FLAGS_client_number;
  role.seed = FLAGS_client_seed;
  role.coroutines = FLAGS_client_coroutines;
  role.journal = FLAGS_client_journal;
  role.plant = {.stale_gets = FLAGS_client_is_stale, .leaks = FLAGS_client_leaks};
  const absl::Status status = RunClientRole(role);
  if (status.ok()) return 0;
  std::cerr << "client " << FLAGS_client_number << ": " << status.message() << "\n";
  return kExitFinding;
}

std::string Variable(const char* name, const std::string& without) {
  const char* value = std::getenv(name);
  return value == nullptr ? without : value;
}

int RunRounds() {
  const absl::StatusOr<Plant> plant = ParsePlant(FLAGS_plant);
  if (!plant.ok()) return Refuse(plant.status().message());
  CampaignOptions options;
  options.plant = *plant;
  if (FLAGS_trust != "drawn") {
    const absl::StatusOr<Trust> trust = ParseTrust(FLAGS_trust);
    if (!trust.ok()) {
      return Refuse(absl::StrCat("--trust: ", trust.status().message(), "; see --help"));
    }
    options.trust = *trust;
  }
  options.seed = FLAGS_seed != 0 ? FLAGS_seed : RealClock().NowNs();
  options.rounds = FLAGS_rounds;
  options.rounds_per_life = FLAGS_rounds_per_life;
  options.servers = static_cast<size_t>(FLAGS_servers);
  options.churn_clients = FLAGS_churn;
  options.huge_pages = FLAGS_huge_pages;
  char program[PATH_MAX];
  const ssize_t bytes = readlink("/proc/self/exe", program, sizeof(program));
  PCHECK(bytes > 0);
  options.program = std::string(program, static_cast<size_t>(bytes));

  std::string folder = Variable("TEST_TMPDIR", "/tmp") + "/acre-kill.XXXXXX";
  PCHECK(mkdtemp(folder.data()) != nullptr) << folder;
  options.history_folder = Variable("TEST_UNDECLARED_OUTPUTS_DIR", "/tmp");
  options.folder = folder;
  options.run_mark = absl::StrCat(kRunMark, "=", folder);
  // Where tests/process.h puts state files and what programs say.
  PCHECK(setenv("TEST_TMPDIR", folder.c_str(), 1) == 0);
  PCHECK(setenv(kRunMark, folder.c_str(), 1) == 0);
  // A client may be told to park before it is ready to hear: it begins with these blocked.
  sigset_t parking;
  sigemptyset(&parking);
  sigaddset(&parking, SIGUSR1);
  sigaddset(&parking, SIGUSR2);
  CHECK_EQ(pthread_sigmask(SIG_BLOCK, &parking, nullptr), 0);

  std::cout << "seed " << options.seed << std::endl;
  const bool is_well = RunCampaign(options);
  std::filesystem::remove_all(folder);
  return is_well ? 0 : kExitFinding;
}

int Main(int argc, char** argv) {
  const absl::StatusOr<CommandLine> line = ParseCommandLine(argc, argv);
  if (!line.ok()) return Refuse(line.status().message());
  if (line->help) {
    std::cout << HelpText(kUsage, __FILE__);
    return 0;
  }
  if (!line->arguments.empty() || FLAGS_rounds < 0 || FLAGS_churn < 0 ||
      FLAGS_rounds_per_life < 1 || FLAGS_servers < 0 ||
      FLAGS_servers > static_cast<int>(kLifeServersMax)) {
    return Refuse(
        "it takes no arguments, no negative numbers, and 3 servers at most; --help says more");
  }
  return FLAGS_client_of.empty() ? RunRounds() : RunClient();
}

}  // namespace
}  // namespace acre::tests

int main(int argc, char** argv) {
  FLAGS_logtostderr = true;
  google::InitGoogleLogging(argv[0]);
  return acre::tests::Main(argc, argv);
}
