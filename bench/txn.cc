// txn: transactions against servers, and against Redis. `txn --help` says how to use it; bench/transactions/workload.h
// names the workloads.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bench/machine.h"
#include "bench/plot.h"
#include "bench/rates.h"
#include "bench/transactions/crew.h"
#include "bench/transactions/population.h"
#include "bench/transactions/redis.h"
#include "bench/transactions/report.h"
#include "bench/transactions/rounds.h"
#include "bench/transactions/server_processes.h"
#include "bench/transactions/smallbank.h"
#include "bench/transactions/tatp.h"
#include "bench/transactions/transfer.h"
#include "bench/transactions/workload.h"
#include "client/client.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "runtime/clock.h"
#include "runtime/command_line.h"
#include "runtime/cpus.h"

DEFINE_string(workload, "transfer", "transfer, smallbank or tatp");
DEFINE_string(servers, "1",
              "how many kv_servers to start for this run, 1 to 4; or HOST:PORT of servers that run "
              "already, a comma list, of a cluster any of its servers: records are put there");
DEFINE_string(fabric, "shm",
              "network of reads and messages: shm, tcp, verbs, or auto, as kv_cli has it");
DEFINE_string(path, "auto", "how reads travel: mapped, one_sided, or auto: the first that reaches");
DEFINE_string(threads, "1", "client threads, each with a client of its own; a list");
DEFINE_string(outstanding, "16",
              "transactions that each thread runs at a time, in coroutines; a list");
DEFINE_int32(distributed, -1,
             "transfer and smallbank: percent of the transactions with two accounts or customers "
             "that have them on different servers; -1: as chance has it. tatp: percent of "
             "subscribers whose rows are spread over the servers; -1: none");
DEFINE_uint32(accounts, 100'000, "accounts of transfer, customers of smallbank");
DEFINE_uint32(subscribers, 100'000, "subscribers of tatp");
DEFINE_uint32(
    hot, 0,
    "contention, transfer and smallbank: so many percent of all choices fall on --hot_keys "
    "accounts or customers");
DEFINE_uint32(hot_keys, 100, "how many of them are hot");
DEFINE_uint32(reads, 0, "transfer: percent of the transactions that only read both accounts");
DEFINE_double(seconds, 5, "how long each load is measured, in all rounds together");
DEFINE_double(warmup, 0.5, "unmeasured time of each before that");
DEFINE_uint32(rounds, 5, "how often the loads, and Redis, take turns");
DEFINE_string(compare, "",
              "redis: the same transfers on a redis-server of this run's own, taking turns");
DEFINE_bool(fairness, false,
            "instead of a workload: one record that all transactions increment, from 4 threads "
            "with one transaction each, if --threads and --outstanding do not say otherwise");
DEFINE_uint32(server_threads, 1, "threads of each server that is started");
DEFINE_string(server_cpus, "",
              "CPUs of the servers that are started, as 0,2-5 (kv_server --cpus). Default: where "
              "the kernel puts them");
DEFINE_string(cpus, "", "CPUs of the client threads. Default: all but --server_cpus");
DEFINE_string(poll, "adaptive",
              "adaptive: clients, and servers that are started, sleep after a while of waiting; "
              "busy: never");
DEFINE_uint64(seed, 1, "of the random choices");
DEFINE_string(json, "", "also write the results to this file, an array of objects");
DEFINE_string(
    plot, "",
    "also draw rate and p99 into this PNG file (needs python3-matplotlib); worth it with a "
    "list of --outstanding or --threads");

namespace acre::bench {
namespace {

constexpr char kUsage[] = R"(txn: how many transactions a second, and what they cost.

  txn
  txn --workload=tatp --servers=2 --outstanding=32
  txn --workload=transfer --servers=2 --distributed=100 --outstanding=1,4,16,32 --json=FILE --plot=FILE.png
  txn --compare=redis
  txn --fairness

Starts kv_servers, loads the records, and runs transactions as a closed loop: each of --outstanding coroutines of a
thread begins the next when the one before it has committed (RunTransaction of client/client.h).

  transfer   two accounts are read in one MultiGet, an amount goes from one to the other, in two Puts
  smallbank  amalgamate 15 %, balance 15 %, deposit_checking 15 %, send_payment 25 %, transact_savings 15 %,
             write_check 15 %, on customers with two accounts
  tatp       get_subscriber 35 %, get_access 35 %, get_new_destination 10 %, update_location 14 %,
             update_subscriber, insert_forwarding, delete_forwarding 2 % each

Told are commits a second (medians over the rounds), latencies of whole transactions with all their attempts, aborts
by reason, and what a commit cost: reads, validations when it commits, calls, notices, the servers' answers, and round
trips that are waited for, one after the other; validations for opacity (that what a running transaction has read still
stands) have a row of their own. Transactions that a mix refuses, as published (too little money, a row that is not
there), count: `refused` says how many. "most": attempts of one transaction.

The exit code is 0 only if every transaction committed and the audit is right: the sum of all balances, or the number of
call forwardings, changed by just as much as the transactions that committed say.)";

bool IsSet(const char* flag) { return !gflags::GetCommandLineFlagInfoOrDie(flag).is_default; }

absl::Status JudgeFlags(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", arguments[0], "\" is no flag; --help lists those there are"));
  }
  if (FLAGS_workload != "transfer" && FLAGS_workload != "smallbank" && FLAGS_workload != "tatp") {
    return absl::InvalidArgumentError(
        absl::StrCat("--workload=", FLAGS_workload, ": transfer, smallbank or tatp"));
  }
  if (FLAGS_poll != "adaptive" && FLAGS_poll != "busy") {
    return absl::InvalidArgumentError(absl::StrCat("--poll=", FLAGS_poll, ": adaptive or busy"));
  }
  if (!FLAGS_compare.empty() &&
      (FLAGS_compare != "redis" || FLAGS_workload != "transfer" || FLAGS_fairness)) {
    return absl::InvalidArgumentError("--compare: redis, with --workload=transfer only");
  }
  if (!(FLAGS_seconds > 0 && FLAGS_seconds <= 3600) ||
      !(FLAGS_warmup >= 0 && FLAGS_warmup <= 3600)) {
    return absl::InvalidArgumentError(
        "--seconds is within (0, 3600], --warmup is not above 3600 or below 0");
  }
  if (FLAGS_rounds < 1 || FLAGS_rounds > 10'000) {
    return absl::InvalidArgumentError("--rounds: not from 1 to 10000");
  }
  if (FLAGS_distributed < -1 || FLAGS_distributed > 100 || FLAGS_hot > 100 || FLAGS_reads > 100) {
    return absl::InvalidArgumentError("--distributed, --hot and --reads are percents, up to 100");
  }
  if (FLAGS_workload == "tatp" && FLAGS_hot > 0) {
    return absl::InvalidArgumentError("--hot: tatp chooses its subscribers as published");
  }
  if (FLAGS_workload != "transfer" && FLAGS_reads > 0) {
    return absl::InvalidArgumentError("--reads: transfer only");
  }
  constexpr uint32_t kUnitsMax = 100'000'000;
  if (FLAGS_subscribers < 1 || FLAGS_subscribers > kUnitsMax || FLAGS_accounts > kUnitsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--subscribers and --accounts: from 1 to ", kUnitsMax));
  }
  return absl::OkStatus();
}

absl::StatusOr<TxnRoundsOptions> ReadRounds() {
  TxnRoundsOptions options = {.rounds = FLAGS_rounds,
                              .seconds = FLAGS_seconds,
                              .warmup_seconds = FLAGS_warmup,
                              .progress = isatty(STDERR_FILENO) != 0};
  const bool is_fairness = FLAGS_fairness;
  auto threads =
      ParseNumbers("--threads", is_fairness && !IsSet("threads") ? "4" : FLAGS_threads, 1, 256);
  if (!threads.ok()) return threads.status();
  auto outstanding = ParseNumbers(
      "--outstanding", is_fairness && !IsSet("outstanding") ? "1" : FLAGS_outstanding, 1, 1024);
  if (!outstanding.ok()) return outstanding.status();
  options.threads = *std::move(threads);
  options.outstanding = *std::move(outstanding);
  return options;
}

absl::StatusOr<ClientOptions> ReadClient() {
  const absl::StatusOr<Path> path = ParsePath(FLAGS_path);
  if (!path.ok())
    return absl::Status(path.status().code(), "--path: " + std::string(path.status().message()));
  if (*path == Path::kRpc || *path == Path::kTcp) {
    return absl::InvalidArgumentError(
        "--path: transactions read memory: mapped, one_sided or auto");
  }
  ClientOptions options;
  options.fabric = FLAGS_fabric;
  options.path = *path;
  options.poll = FLAGS_poll == "busy" ? PollMode::kBusy : PollMode::kAdaptive;
  return options;
}

UnitChoice ReadChoice(uint32_t servers_count) {
  return {.units_count = FLAGS_accounts,
          .servers_count = servers_count,
          .distributed_percent = FLAGS_distributed,
          .hot_percent = FLAGS_hot,
          .hot_units = FLAGS_hot_keys};
}

absl::StatusOr<std::unique_ptr<TxnWorkload>> MakeWorkload(uint32_t servers_count) {
  if (FLAGS_fairness) return MakeCounter();
  if (FLAGS_workload == "tatp") {
    const int spread_percent = std::max(FLAGS_distributed, 0);
    return MakeTatp({.subscribers = FLAGS_subscribers,
                     .servers_count = servers_count,
                     .spread_percent = static_cast<uint32_t>(spread_percent)});
  }
  const UnitChoice choice = ReadChoice(servers_count);
  if (absl::Status status = JudgeChoice(choice); !status.ok()) return status;
  return FLAGS_workload == "smallbank" ? MakeSmallBank(choice) : MakeTransfer(choice, FLAGS_reads);
}

// The store of a run: servers that it has started, or that were there.
struct Store {
  std::unique_ptr<ServerProcesses> processes;  // Null: they were there.
  std::unique_ptr<TxnWorkload> workload;
  uint32_t servers_count = 1;
};

absl::Status StartServers(uint32_t count, Store* store, ClientOptions* client) {
  auto workload = MakeWorkload(count);
  if (!workload.ok()) return workload.status();
  store->workload = *std::move(workload);
  store->servers_count = count;
  // Enough for a half-empty index.
  constexpr uint64_t kBytesPerRecord = 256;
  constexpr uint64_t kBytesMin = 64 << 20;
  const uint64_t bytes = CountRecords(*store->workload) * kBytesPerRecord / count;
  auto processes = ServerProcesses::Start({.count = count,
                                           .fabric = FLAGS_fabric,
                                           .poll = FLAGS_poll,
                                           .threads = FLAGS_server_threads,
                                           .cpus = FLAGS_server_cpus,
                                           .memory_bytes = std::max(bytes, kBytesMin)});
  if (!processes.ok()) return processes.status();
  store->processes = *std::move(processes);
  client->servers = store->processes->addresses();
  std::cout << "server processes:";
  for (const pid_t pid : store->processes->pids()) std::cout << " " << pid;
  std::cout << std::endl;
  return absl::OkStatus();
}

// As --servers says.
absl::Status OpenStore(Store* store, ClientOptions* client) {
  uint32_t count = 0;
  if (absl::SimpleAtoi(FLAGS_servers, &count)) {
    if (count < 1 || count > 4) {
      return absl::InvalidArgumentError("--servers: 1 to 4, or a list of HOST:PORT");
    }
    return StartServers(count, store, client);
  }
  client->servers = absl::StrSplit(FLAGS_servers, ',');
  const auto connected = Client::Connect(*client);
  if (!connected.ok()) return connected.status();
  store->servers_count = static_cast<uint32_t>((*connected)->Servers().size());
  auto workload = MakeWorkload(store->servers_count);
  if (!workload.ok()) return workload.status();
  store->workload = *std::move(workload);
  return absl::OkStatus();
}

absl::Status Report(const TxnReportOptions& options, const TxnResults& results) {
  std::cout << FormatTxnResults(options, results) << std::flush;
  const nlohmann::json json = TxnResultsToJson(options, results);
  absl::Status status;
  if (!FLAGS_json.empty()) status = WriteJson(FLAGS_json, json);
  if (status.ok() && !FLAGS_plot.empty()) status = Plot(json, FLAGS_plot);
  if (!status.ok()) return status;
  if (options.errors > 0) {
    return absl::UnknownError(absl::StrCat(options.errors, " transactions failed"));
  }
  const int64_t expected = options.audit_before + results.audit_change;
  if (options.audit_after != expected) {
    return absl::DataLossError(absl::StrCat("the ", options.workload->audit_name(), " is ",
                                            options.audit_after, " and should be ", expected,
                                            ": transactions were lost, or done twice"));
  }
  for (const TxnRow& row : results.rows) {
    if (row.total.committed() == 0) return absl::UnavailableError("nothing was measured");
  }
  return absl::OkStatus();
}

// Runs the rounds on a store that is loaded.
absl::Status Measure(const TxnRoundsOptions& rounds, const ClientOptions& client,
                     const Store& store, RedisTransfer* redis) {
  const auto most = [](const std::vector<uint64_t>& numbers) {
    return static_cast<uint32_t>(*std::max_element(numbers.begin(), numbers.end()));
  };
  TxnReportOptions report = {.workload = store.workload.get(),
                             .rounds = rounds,
                             .servers = store.servers_count,
                             .hot_percent = FLAGS_hot,
                             .hot_keys = FLAGS_hot_keys};
  if (FLAGS_distributed >= 0) report.distributed_percent = FLAGS_distributed;
  const absl::StatusOr<int64_t> before = AuditPopulation(client, *store.workload);
  if (!before.ok()) return before.status();
  report.audit_before = *before;
  ClientOptions observer_options = client;
  observer_options.path = Path::kTcp;
  const auto observer = Client::Connect(observer_options);
  if (!observer.ok()) return observer.status();
  auto crew = TxnCrew::Start({.client = client,
                              .threads_max = most(rounds.threads),
                              .outstanding_max = most(rounds.outstanding),
                              .seed = FLAGS_seed},
                             store.workload.get());
  if (!crew.ok()) return crew.status();
  report.fabric = (*crew)->fabric();
  report.path = PathName((*crew)->path());
  const absl::StatusOr<TxnResults> results =
      RunTxnRounds(rounds, *store.workload, crew->get(), observer->get(), redis);
  if (!results.ok()) return results.status();
  report.errors = (*crew)->errors();
  crew->reset();
  const absl::StatusOr<int64_t> after = AuditPopulation(client, *store.workload);
  if (!after.ok()) return after.status();
  report.audit_after = *after;
  return Report(report, *results);
}

// Where client threads run from now on. Those that are known: a server that runs already keeps its own.
absl::Status ChooseCpus() {
  const auto name_flag = [](const char* flag, const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(flag, ": ", status.message()));
  };
  absl::StatusOr<std::vector<int>> cpus = ParseCpus(FLAGS_cpus);
  if (!cpus.ok()) return name_flag("--cpus", cpus.status());
  if (cpus->empty() && !FLAGS_server_cpus.empty()) {
    // Servers that were started have taken it; nobody has judged it where --servers has addresses.
    const absl::StatusOr<std::vector<int>> taken = ParseCpus(FLAGS_server_cpus);
    if (!taken.ok()) return name_flag("--server_cpus", taken.status());
    cpus = UsableCpus();
    std::erase_if(*cpus, [&](int cpu) { return absl::c_binary_search(*taken, cpu); });
    if (cpus->empty())
      return absl::InvalidArgumentError("--server_cpus leaves none for the clients");
  }
  if (cpus->empty()) return absl::OkStatus();
  const absl::Status usable = CheckCpus(*cpus);
  return usable.ok() ? StayOnCpus(*cpus) : name_flag("--cpus", usable);
}

absl::Status Run() {
  if (!FLAGS_plot.empty()) {
    if (absl::Status status = CheckPlot(); !status.ok()) return status;
  }
  const absl::StatusOr<TxnRoundsOptions> rounds = ReadRounds();
  if (!rounds.ok()) return rounds.status();
  absl::StatusOr<ClientOptions> client = ReadClient();
  if (!client.ok()) return client.status();
  Store store;
  if (absl::Status status = OpenStore(&store, &*client); !status.ok()) return status;
  RealClock clock;
  std::unique_ptr<RedisTransfer> redis;
  if (!FLAGS_compare.empty()) {
    auto started = RedisTransfer::Start(ReadChoice(store.servers_count), &clock);
    if (!started.ok()) return started.status();
    redis = *std::move(started);
  }
  absl::Status status = ChooseCpus();
  if (!status.ok()) return status;
  status = LoadPopulation(*client, *store.workload);
  if (status.ok()) status = Measure(*rounds, *client, store, redis.get());
  // What a server said before it died explains the rest.
  const absl::Status alive =
      store.processes == nullptr ? absl::OkStatus() : store.processes->CheckAlive();
  return alive.ok() ? status : alive;
}

int Main(int argc, char** argv) {
  const absl::StatusOr<CommandLine> command_line = ParseCommandLine(argc, argv);
  absl::Status status = command_line.status();
  if (status.ok() && command_line->help) {
    std::cout << HelpText(kUsage, __FILE__);
    return 0;
  }
  if (status.ok()) status = JudgeFlags(command_line->arguments);
  if (status.ok()) status = Run();
  if (status.ok()) return 0;
  std::cerr << "txn: " << status.message() << std::endl;
  return 1;
}

}  // namespace
}  // namespace acre::bench

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return acre::bench::Main(argc, argv);
}
