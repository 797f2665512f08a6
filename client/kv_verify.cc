// kv_verify: is what a live cluster does strictly serialisable? `kv_verify --help` says how to use
// it.

#include <signal.h>

#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/client.h"
#include "client/verify/campaign.h"
#include "client/verify/report.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "runtime/command_line.h"
#include "runtime/system_random.h"
#include "runtime/whole_file.h"

DEFINE_string(
    servers, "127.0.0.1:7400",
    "HOST:PORT of the server; of a cluster, of any of its servers, or of several, a comma list");
DEFINE_double(seconds, 10, "of load; judging comes on top");
DEFINE_bool(
    kill, false,
    "kill this program's own worker processes (kill -9) now and then, and see that no lock of "
    "theirs is left. Servers are never killed");
DEFINE_double(kill_every, 1, "seconds from one kill to the next, on average");
DEFINE_double(
    recovery_seconds, 10,
    "what a killed process had under way can be read and written within this time, or it is a "
    "violation");
DEFINE_string(workload, "both", "list_append, register, or both, also in one transaction");
DEFINE_uint64(processes, 2, "worker processes, 1 to 64");
DEFINE_uint64(threads, 1, "threads of each process, 1 to 64");
DEFINE_uint64(outstanding, 8, "transactions that each thread has under way, 1 to 1024");
DEFINE_uint64(keys, 16, "lists, and registers, at a time: the fewer, the more conflicts");
DEFINE_uint64(writes_per_key, 32, "then a fresh key takes the place; 1 to 1024");
DEFINE_uint64(plain, 10, "percent of operations that are a plain Get or Put, no transaction");
DEFINE_double(epoch_seconds, 5, "the longest time from one judgement to the next");
DEFINE_uint64(epoch_transactions, 200'000,
              "the most transactions of an epoch: memory and the time to judge go by this");
DEFINE_string(
    level, "opaque",
    "what is promised: the weakest level whose loss is a violation, as check_isolation has them");
DEFINE_string(
    history, "",
    "write the whole history to this file. Default: only that of an epoch with a violation is "
    "kept, in the current folder");
DEFINE_string(json, "", "also write the verdict and its numbers to this file");
DEFINE_bool(keep, false, "leave the keys in the store");
DEFINE_uint64(seed, 0, "of the random choices; 0: one that is drawn and told");
DEFINE_string(path, "auto", "how reads travel: auto, mapped, one_sided");
DEFINE_string(
    fabric, "auto",
    "network of one-sided operations and rings: shm, verbs, tcp; auto: the first of them that "
    "is there and reaches the server");
DEFINE_string(device, "",
              "RDMA card for fabric verbs: its name, or an address of this machine that is on it. "
              "Default: the first with a link");
DEFINE_string(secret_file, "",
              "file with the secret of the server, where it asks for one: see kv_server --help");

namespace acre::verify {
namespace {

constexpr int kExitViolation = 1;
constexpr int kExitFailed = 2;

constexpr char kUsage[] =
    R"(kv_verify: is what a live cluster does strictly serialisable?

  kv_verify --servers=HOST:PORT --seconds=30
  kv_verify --servers=HOST:PORT,HOST:PORT --seconds=600 --kill

Worker processes run transactions of one to six operations that get in each other's way: appends to lists,
writes to registers, reads of both, and plain Gets and Puts among them. They write down what they asked for
and what they were told, and the checker of check_isolation looks for what no order of the transactions can
explain, real time included: a transaction that had returned before another one began comes before it. Also
what transactions saw that were aborted later must have stood together.

Worth running against servers on other machines, over each fabric, and for long; memory does not grow with
time, since the history is judged in epochs. A run on a cluster in use takes from it what any load would, and
touches no keys but its own, verify-XXXXXXXX/..., which it deletes.

A server that restarts loses its records, which is a violation of what clients were told: do not restart one
meanwhile. With --kill it is this program's own processes that die, in the middle of whatever they do: their
transactions happen whole or not at all, and their keys can be had again soon.

The last lines are the verdict: PASS and what was done, or FAIL behind the smallest example that was found,
transaction by transaction, with the file that has the history. In the example -1 is what is no record
of that key, and -2 a list that is in both of two places. docs/isolation.md explains the names.

Exit code: 0 no violation; 1 a violation; 2 used wrongly, or it could not run.)";

volatile sig_atomic_t is_interrupted = 0;
void Interrupt(int) { is_interrupted = 1; }

absl::Status JudgeCount(const char* name, uint64_t value, uint64_t min, uint64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, "=", value, ": it is from ", min, " to ", max));
}

absl::Status JudgeSeconds(const char* name, double value) {
  if (value > 0 && value <= 1e7) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--", name, "=", value, ": it is above 0"));
}

absl::Status JudgeFlags() {
  for (const absl::Status& status :
       {JudgeCount("processes", FLAGS_processes, 1, 64),
        JudgeCount("threads", FLAGS_threads, 1, 64),
        JudgeCount("outstanding", FLAGS_outstanding, 1, 1024),
        JudgeCount("keys", FLAGS_keys, 1, 1'000'000),
        JudgeCount("writes_per_key", FLAGS_writes_per_key, 1, kWritesPerKeyMax),
        JudgeCount("plain", FLAGS_plain, 0, 100),
        JudgeCount("epoch_transactions", FLAGS_epoch_transactions, 1, 100'000'000),
        JudgeSeconds("seconds", FLAGS_seconds), JudgeSeconds("kill_every", FLAGS_kill_every),
        JudgeSeconds("recovery_seconds", FLAGS_recovery_seconds),
        JudgeSeconds("epoch_seconds", FLAGS_epoch_seconds)}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<isolation::Level> ParseLevel(absl::string_view name) {
  for (size_t i = 0; i < isolation::kLevels; ++i) {
    const auto level = static_cast<isolation::Level>(i);
    if (isolation::NameOf(level) == name) return level;
  }
  return absl::InvalidArgumentError(absl::StrCat("--level=", name, " is none of the levels"));
}

absl::StatusOr<ClientOptions> ReadClientOptions() {
  const absl::StatusOr<Path> path = ParsePath(FLAGS_path);
  if (!path.ok()) return path.status();
  if (*path == Path::kRpc || *path == Path::kTcp) {
    return absl::InvalidArgumentError(
        absl::StrCat("--path=", FLAGS_path, " has no transactions: auto, mapped or one_sided"));
  }
  ClientOptions options;
  options.servers = absl::StrSplit(FLAGS_servers, ',');
  options.fabric = FLAGS_fabric;
  options.device = FLAGS_device;
  options.secret_file = FLAGS_secret_file;
  options.path = *path;
  return options;
}

absl::StatusOr<CampaignOptions> ReadOptions() {
  absl::Status status = JudgeFlags();
  if (!status.ok()) return status;
  const absl::StatusOr<ClientOptions> client = ReadClientOptions();
  if (!client.ok()) return client.status();
  const absl::StatusOr<isolation::Level> level = ParseLevel(FLAGS_level);
  if (!level.ok()) return level.status();
  if (FLAGS_workload != "both" && FLAGS_workload != "list_append" && FLAGS_workload != "register") {
    return absl::InvalidArgumentError(
        absl::StrCat("--workload=", FLAGS_workload, ": list_append, register or both"));
  }
  uint32_t drawn[3];
  FillSystemRandom(absl::MakeSpan(reinterpret_cast<uint8_t*>(drawn), sizeof(drawn)));
  CampaignOptions options;
  options.client = *client;
  options.level = *level;
  options.plan.lists = FLAGS_workload != "register";
  options.plan.registers = FLAGS_workload != "list_append";
  options.plan.keys = static_cast<uint32_t>(FLAGS_keys);
  options.plan.writes_per_key = static_cast<uint32_t>(FLAGS_writes_per_key);
  options.plan.plain_percent = static_cast<uint32_t>(FLAGS_plain);
  options.prefix = absl::StrFormat("verify-%08x", drawn[0]);
  options.violation_path = absl::StrCat("kv_", options.prefix, ".edn");
  options.processes = static_cast<uint32_t>(FLAGS_processes);
  options.threads = static_cast<uint32_t>(FLAGS_threads);
  options.outstanding = static_cast<uint32_t>(FLAGS_outstanding);
  options.seconds = FLAGS_seconds;
  options.epoch_seconds = FLAGS_epoch_seconds;
  options.epoch_transactions = FLAGS_epoch_transactions;
  options.kills = FLAGS_kill;
  options.kill_every_seconds = FLAGS_kill_every;
  options.recovery_ms = static_cast<int64_t>(FLAGS_recovery_seconds * 1e3);
  options.keeps_keys = FLAGS_keep;
  options.history_path = FLAGS_history;
  options.seed = FLAGS_seed != 0 ? FLAGS_seed : uint64_t{drawn[1]} << 32 | drawn[2];
  options.is_interrupted = [] { return is_interrupted != 0; };
  options.tell = [](absl::string_view line) { std::cerr << line << std::endl; };
  return options;
}

int TellError(const absl::Status& status) {
  std::cerr << "kv_verify: " << status.message() << std::endl;
  return kExitFailed;
}

int Main(int argc, char** argv) {
  const absl::StatusOr<CommandLine> line = ParseCommandLine(argc, argv);
  if (!line.ok()) return TellError(line.status());
  if (line->help) {
    std::cout << HelpText(kUsage, __FILE__);
    return 0;
  }
  if (!line->arguments.empty()) {
    return TellError(absl::InvalidArgumentError(
        absl::StrCat("\"", line->arguments[0], "\" is no flag; --help lists those there are")));
  }
  const absl::StatusOr<CampaignOptions> options = ReadOptions();
  if (!options.ok()) return TellError(options.status());
  signal(SIGINT, Interrupt);
  signal(SIGTERM, Interrupt);
  std::cerr << "keys " << options->prefix << "/..., --seed=" << options->seed << std::endl;
  const absl::StatusOr<Verdict> verdict = RunCampaign(*options);
  if (!verdict.ok()) return TellError(verdict.status());
  std::cout << ToText(*verdict, *options) << std::flush;
  if (!FLAGS_json.empty()) {
    const absl::Status status = WriteWholeFile(FLAGS_json, ToJson(*verdict, *options));
    if (!status.ok()) return TellError(status);
  }
  if (!verdict->passes) return kExitViolation;
  if (verdict->counts.committed == 0) {
    return TellError(absl::UnavailableError("not one transaction was committed: no verdict"));
  }
  return 0;
}

}  // namespace
}  // namespace acre::verify

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return acre::verify::Main(argc, argv);
}
