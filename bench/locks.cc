// locks: ALock against the locks it replaces. `locks --help` says how to use it.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bench/lock_load.h"
#include "bench/lock_pairs.h"
#include "bench/lock_rounds.h"
#include "bench/lock_world.h"
#include "bench/machine.h"
#include "bench/plot.h"
#include "bench/rates.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "lock/lock_words.h"
#include "runtime/clock.h"
#include "runtime/command_line.h"

DEFINE_string(fabric, "shm",
              "network between the nodes: shm, verbs, tcp, or sim: one that is simulated");
DEFINE_string(devices, "",
              "RDMA cards of the nodes, in turn, with --fabric=verbs: a list of their names, or of "
              "addresses of "
              "this machine that are on them. Default: the first with a link for all");
DEFINE_uint64(nodes, 2, "nodes; the locks of a table are spread over them");
DEFINE_uint64(processes, 1,
              "processes of each node, which share its locks' memory; above 1: shm and sim only");
DEFINE_uint64(threads, 1, "threads of each process");
DEFINE_string(locks, "20,100,1000", "locks of a table, of all nodes together, a list");
DEFINE_string(locality, "85,90,95,100",
              "how many percent of the locks that a thread takes are its own node's, a list");
DEFINE_string(
    kind, "alock,mcs,spin",
    "kinds of lock: alock, mcs, spin; with --locality=100 also ticket, cpu_spin, none; a list");
DEFINE_uint64(local_budget, acre::LockBudgets{}.local,
              "how often an ALock is handed on among threads of its node while others wait");
DEFINE_uint64(remote_budget, acre::LockBudgets{}.remote, "the same among threads of other nodes");
DEFINE_bool(intents, true,
            "ALocks that are taken through the network are recorded at their home, for the repair "
            "of crashes");
DEFINE_bool(counts, false,
            "each holder reads a counter that the lock guards and writes it plus 1; at the end "
            "they must be right");
DEFINE_uint64(hold_ns, 0, "how long each holder computes before it gives the lock back");
DEFINE_double(seconds, 0.5,
              "how long each row is measured, in all rounds together; with --fabric=sim 0.002 by "
              "default, of virtual "
              "time");
DEFINE_uint64(seed, 0,
              "of which locks the threads pick; with --fabric=sim of all that is drawn: the same "
              "seed, flags and program "
              "give the same figures");
DEFINE_uint64(rounds, 5, "how often the rows take turns");
DEFINE_string(poll, "adaptive", "adaptive: who waits long sleeps in between; busy: never");
DEFINE_bool(uncontended, false,
            "instead: what a pair of acquire and release costs that nobody disturbs, on one "
            "thread, for --seconds");
DEFINE_string(json, "", "also write the results to this file, an array of objects");
DEFINE_string(plot, "", "also draw them into this PNG file (needs python3-matplotlib)");

// Set by the program for the processes that it starts.
DEFINE_int32(process_index, -1, "(internal) be this of the processes, as the parent says");

namespace acre::bench {
namespace {

// Virtual time costs about a thousand times as much of ours, with some tens of threads.
constexpr double kSimulatedSeconds = 0.002;

constexpr char kUsage[] =
    R"(locks: ALock against the locks it replaces, on a distributed lock table.

  locks
  locks --nodes=2 --threads=2 --locks=20,1000 --locality=90,100 --seconds=5 --json=FILE --plot=FILE.png
  locks --nodes=1 --processes=2 --locks=1,20 --locality=100 --kind=alock,ticket,cpu_spin
  locks --fabric=sim --nodes=20 --threads=8 --poll=busy --seed=7
  locks --uncontended

An operation takes a lock of the table and gives it back; there is no time to think, and nothing to do in
between. A node is a process; the locks of a table are spread over the nodes. A thread takes a lock of its own node
with --locality percent, else one of another node, each as likely as the others. For more to do: --counts, --hold_ns.

  alock     own locks with the CPU's atomics, others' through the network
  mcs       RDMA MCS queue lock: all through the network, own locks by way of a queue pair to the own process
  spin      RDMA spin lock: likewise; waits by trying again
  ticket    plain ticket lock, own locks only; waits by spinning
  cpu_spin  plain spin lock, test and test-and-set, likewise
  none      no lock: what the loop alone costs

Kinds take turns in short slices, in all rounds, on the same processes and connections. In the table: operations a second
(medians over the rounds), how long it took to get a lock (all rounds), verbs and round trips for an operation on a lock
of the own node, and of another one, what the slowest thread did for each operation of the fastest, and how often as many
operations an ALock did (median of the ratios within rounds).

--fabric=sim is no fabric: this machine plays all nodes, their cards and the network, in virtual time. What is measured is
what the code of the locks does in a model of a cluster (docs/benchmarks.md), with as many nodes and cores as one likes.

--uncontended compares the ALock's local side with an MCS lock of the same process, and says what the record costs that
crashes are repaired from. The exit code is 0 if everything was measured and every lock was free at the end.)";

absl::Status JudgeCount(const char* name, uint64_t value, uint64_t max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, "=", value, ": it is from 1 to ", max));
}

absl::Status Prefixed(const char* flag, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(flag, ": ", status.message()));
}

absl::Status JudgeFlags() {
  for (const absl::Status& status :
       {JudgeCount("nodes", FLAGS_nodes, 64), JudgeCount("processes", FLAGS_processes, 64),
        JudgeCount("threads", FLAGS_threads, 64), JudgeCount("rounds", FLAGS_rounds, 10'000),
        JudgeCount("local_budget", FLAGS_local_budget, LockBudgets::kMax),
        JudgeCount("remote_budget", FLAGS_remote_budget, LockBudgets::kMax)}) {
    if (!status.ok()) return status;
  }
  if (!(FLAGS_seconds > 0 && FLAGS_seconds <= 3600)) {
    return absl::InvalidArgumentError("--seconds: not within (0, 3600]");
  }
  if (FLAGS_poll != "busy" && FLAGS_poll != "adaptive") {
    return absl::InvalidArgumentError(
        absl::StrCat("--poll: ", FLAGS_poll, " is neither busy nor adaptive"));
  }
  if (FLAGS_hold_ns > 1'000'000'000) {
    return absl::InvalidArgumentError("--hold_ns: at most a second");
  }
  return absl::OkStatus();
}

// What the lists say together.
absl::Status JudgeRows(const LockRoundsOptions& options) {
  const uint64_t fewest = *std::min_element(options.locks.begin(), options.locks.end());
  if (fewest < options.load.nodes) {
    return absl::InvalidArgumentError(
        absl::StrCat("--locks: ", fewest, " do not do for ", options.load.nodes, " nodes"));
  }
  const auto& locality = options.locality_percent;
  const bool all_own = *std::min_element(locality.begin(), locality.end()) == 100;
  if (options.load.nodes == 1 && !all_own) {
    return absl::InvalidArgumentError(
        "--locality: with one node all locks are its own: --locality=100, or more --nodes");
  }
  for (const TableLock kind : options.kinds) {
    if (IsCpuLock(kind) && !all_own) {
      return absl::InvalidArgumentError(
          absl::StrCat("--kind: ", TableLockName(kind),
                       " is for threads that share the lock's memory: with --locality=100 only"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<LockRoundsOptions> ReadOptions(Clock* clock) {
  LockRoundsOptions options;
  if (absl::Status status = JudgeFlags(); !status.ok()) return status;
  auto kinds = ParseTableLocks(FLAGS_kind);
  if (!kinds.ok()) return Prefixed("--kind", kinds.status());
  auto locks = ParseNumbers("--locks", FLAGS_locks, 1, 1'000'000);
  if (!locks.ok()) return locks.status();
  auto locality = ParseNumbers("--locality", FLAGS_locality, 0, 100);
  if (!locality.ok()) return locality.status();
  options.kinds = *std::move(kinds);
  options.locks = *std::move(locks);
  options.locality_percent = *std::move(locality);
  options.rounds = static_cast<uint32_t>(FLAGS_rounds);
  options.seconds = FLAGS_seconds;
  if (FLAGS_fabric == "sim" && google::GetCommandLineFlagInfoOrDie("seconds").is_default) {
    options.seconds = kSimulatedSeconds;
  }
  LockLoadOptions& load = options.load;
  load.nodes = static_cast<uint32_t>(FLAGS_nodes);
  load.processes = static_cast<uint32_t>(FLAGS_processes);
  load.threads = static_cast<uint32_t>(FLAGS_threads);
  load.locks_max =
      static_cast<uint32_t>(*std::max_element(options.locks.begin(), options.locks.end()));
  load.budgets = {.local = static_cast<uint32_t>(FLAGS_local_budget),
                  .remote = static_cast<uint32_t>(FLAGS_remote_budget)};
  load.intents = FLAGS_intents;
  load.counts = FLAGS_counts;
  load.hold_ns = static_cast<uint32_t>(FLAGS_hold_ns);
  load.seed = FLAGS_seed;
  load.fabric = FLAGS_fabric;
  if (!FLAGS_devices.empty()) load.devices = absl::StrSplit(FLAGS_devices, ',');
  load.poll = FLAGS_poll == "busy" ? PollMode::kBusy : PollMode::kAdaptive;
  load.clock = clock;
  if (absl::Status status = JudgeLoad(load); !status.ok()) return status;
  if (absl::Status status = JudgeRows(options); !status.ok()) return status;
  return options;
}

absl::Status Report(const std::string& table, const nlohmann::json& json) {
  std::cout << table << std::flush;
  absl::Status status;
  if (!FLAGS_json.empty()) status = WriteJson(FLAGS_json, json);
  if (status.ok() && !FLAGS_plot.empty()) status = Plot(json, FLAGS_plot);
  return status;
}

// Starts the processes and drives them.
absl::Status Run(const LockRoundsOptions& options, const std::vector<std::string>& arguments) {
  if (!FLAGS_plot.empty()) {
    if (absl::Status status = CheckPlot(); !status.ok()) return status;
  }
  auto cluster = StartLockCluster(options.load, arguments);
  if (!cluster.ok()) return cluster.status();
  const bool progress = isatty(STDERR_FILENO) != 0;
  const absl::StatusOr<std::vector<LockRow>> rows =
      RunLockRounds(options, cluster->get(), progress);
  if (!rows.ok()) return rows.status();
  if (absl::Status status = (*cluster)->Finish(); !status.ok()) return status;
  return Report(FormatLockRows(options, *rows), LockRowsToJson(options, *rows));
}

absl::Status RunUncontended(Clock* clock) {
  if (!FLAGS_plot.empty()) {
    return absl::InvalidArgumentError("--plot: there is no curve with --uncontended");
  }
  if (!(FLAGS_seconds > 0 && FLAGS_seconds <= 3600)) {
    return absl::InvalidArgumentError("--seconds: not within (0, 3600]");
  }
  const std::vector<LockPairRow> rows = MeasureLockPairs(clock, FLAGS_seconds);
  return Report(FormatLockPairs(rows), LockPairsToJson(rows));
}

int Main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  std::vector<char*> words(argv, argv + argc);  // Flags are taken out of argv.
  words.push_back(nullptr);
  const absl::StatusOr<CommandLine> command_line = ParseCommandLine(argc, argv);
  absl::Status status = command_line.status();
  if (status.ok() && command_line->help) {
    std::cout << HelpText(kUsage, __FILE__);
    return 0;
  }
  if (status.ok() && !command_line->arguments.empty()) {
    status = absl::InvalidArgumentError(absl::StrCat(
        "\"", command_line->arguments[0], "\" is no flag; --help lists those there are"));
  }
  if (status.ok() && !FLAGS_uncontended) {
    status = Prefixed("--fabric", EnterWorldOf(FLAGS_fabric, words.data()));
  }
  RealClock clock;
  if (status.ok() && FLAGS_uncontended) {
    status = RunUncontended(&clock);
  } else if (status.ok()) {
    const absl::StatusOr<LockRoundsOptions> options = ReadOptions(&clock);
    status = options.status();
    if (status.ok() && FLAGS_process_index >= 0) {
      status = ServeAsProcess(options->load, static_cast<uint32_t>(FLAGS_process_index));
    } else if (status.ok()) {
      status = Run(*options, arguments);
    }
  }
  if (status.ok()) return 0;
  std::cerr << "locks: " << status.message() << std::endl;
  return 1;
}

}  // namespace
}  // namespace acre::bench

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return acre::bench::Main(argc, argv);
}
