// ycsb: the load generator. `ycsb --help` says how to use it; bench/workload.h names the workloads.

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "bench/crew.h"
#include "bench/inserted_records.h"
#include "bench/loader.h"
#include "bench/machine.h"
#include "bench/plot.h"
#include "bench/process_crew.h"
#include "bench/rates.h"
#include "bench/record.h"
#include "bench/report.h"
#include "bench/runner.h"
#include "bench/subprocess.h"
#include "bench/workload.h"
#include "client/client.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "kvs/limits.h"
#include "runtime/command_line.h"
#include "runtime/scoped_fd.h"

DEFINE_string(
    servers, "127.0.0.1:7400",
    "HOST:PORT of the server; of a cluster, of any of its servers, or of several, a comma list");
DEFINE_string(workload, "c", "a, b, c, d, f, or the path of a YCSB property file");
DEFINE_bool(load, false, "load the records, and nothing else");
DEFINE_uint64(records, 1'000'000, "how many records there are");
DEFINE_uint64(key_bytes, 16, "length of a key: \"user\" and the record's number");
DEFINE_uint64(value_bytes, 32, "length of a value; at least 16, for its checksum");
DEFINE_uint64(threads, 1, "client threads of each process, each with a client of its own");
DEFINE_uint64(processes, 1,
              "processes that generate load, in step; more than 1: started by this one");
DEFINE_uint64(connections, 16,
              "sockets of each thread on path tcp; in a cluster as many to each server");
DEFINE_uint64(batch, 1,
              "keys per MultiGet on mapped and one_sided; requests in flight per connection on rpc "
              "and tcp");
DEFINE_string(target_ops, "",
              "open loop: operations per second that are to begin, all threads and processes "
              "together; a list as 100K,200K,1M measures one rate after another");
DEFINE_double(seconds, 10, "measured time of each path, at each rate");
DEFINE_double(warmup, 1, "unmeasured time of each path before that");
DEFINE_string(path, "auto", "how Gets travel, one or several of auto, mapped, one_sided, rpc, tcp");
DEFINE_string(put_path, "auto",
              "how Puts travel, one or several of auto, rpc, one_sided (to a server with --trust); "
              "each path is "
              "run with each of them");
DEFINE_string(
    fabric, "auto",
    "network of one-sided operations and rings: shm, verbs, tcp; auto: the first of them that "
    "is there and reaches the server");
DEFINE_string(device, "",
              "RDMA card for fabric verbs: its name, or an address of this machine that is on it. "
              "Default: the first with a link");
DEFINE_uint32(threads_per_qp, 1,
              "fabric verbs: how many of a process's threads share a queue pair of the card to a "
              "server, 1 to 32. Fewer queue pairs spare the card's cache, and make threads wait");
DEFINE_string(secret_file, "",
              "file with the secret of the server, where it asks for one: see kv_server --help");
DEFINE_string(poll, "adaptive",
              "what a client does while it waits: adaptive (sleeps after a while) or busy");
DEFINE_string(distribution, "", "uniform, zipfian or latest, instead of the workload's own");
DEFINE_double(zipfian_constant, 0.99, "how skewed zipfian and latest are, between 0 and 1");
DEFINE_uint64(verify, 1, "check every how many-th value; 0: none");
DEFINE_uint64(outstanding, 64, "with --load: Puts under way at once, of each thread");
DEFINE_uint64(seed, 1, "of the random choices");
DEFINE_string(json, "",
              "also write the results to this file, an array with one object per path and rate");
DEFINE_string(plot, "",
              "also draw latency over the achieved rate into this PNG file (needs "
              "python3-matplotlib); worth it with several --target_ops");

// Set by the program for the processes that it starts.
DEFINE_int32(child_index, -1, "(internal) be this of the processes, as the parent says");

namespace acre::bench {
namespace {

constexpr char kUsage[] = R"(ycsb: load generator with the workloads of YCSB.

Start a server, load records, then run a workload along one or several paths:

  kv_server --listen=127.0.0.1:7400 --memory=4G
  ycsb --servers=127.0.0.1:7400 --records=1000000 --load
  ycsb --servers=127.0.0.1:7400 --records=1000000 --workload=c --path=mapped,one_sided,rpc,tcp

Workloads: a 50 % read, 50 % update; b 95 % read, 5 % update; c read only; d 95 % read of the latest,
5 % insert; f 50 % read, 50 % read-modify-write; or a YCSB property file. Several paths take turns, a
second each, so that their ratios are fair. Inserts go through the server on every path, and updates too,
but for --put_path=one_sided; a row of it is named path/put_path. The threads of all processes insert into
one sequence of records, and read what any of them has inserted.

Closed loop, unless --target_ops is given: an operation begins when one before it has ended. Open loop:
operations are meant to begin at random times (exponential gaps, as many independent users make them), so
many a second as --target_ops says; what is late queues up, and latency counts from the intended start. On
mapped and one_sided a thread does one thing at a time, up to --batch late reads as one MultiGet; on rpc and
tcp up to --batch requests (on each connection) are under way. A rate that a path cannot reach is told as
saturated. A curve of latency against load, from two processes of two threads each:

  ycsb --servers=127.0.0.1:7400 --path=one_sided,rpc,tcp --batch=16 --processes=2 --threads=2 \
    --target_ops=10K,20K,50K,100K,200K,500K --seconds=5 --json=load.json --plot=load.png

The table counts operations; a read-modify-write is one. Latencies of reads on mapped and one_sided,
which take about as long as reading the clock, are those of a sample in a closed loop: one read in 251, with
--batch one MultiGet in 7 (told as the time of the whole MultiGet). All others are timed each.

Every value carries a checksum over its record's number; --verify=0 turns the check off. The exit code
is 0 only if something was measured and nothing failed.)";

// A flag that counts something: from 1 to max.
absl::Status JudgeCount(const char* name, uint64_t value, uint64_t max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, "=", value, ": it is from 1 to ", max));
}

absl::Status JudgeFlags(absl::Span<const std::string> arguments) {
  if (!arguments.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", arguments[0], "\" is no flag; --help lists those there are"));
  }
  for (const absl::Status& status :
       {JudgeCount("records", FLAGS_records, uint64_t{1} << 40),
        JudgeCount("threads", FLAGS_threads, 256), JudgeCount("processes", FLAGS_processes, 64),
        JudgeCount("batch", FLAGS_batch, 1024),
        JudgeCount("connections", FLAGS_connections, 10'000),
        JudgeCount("outstanding", FLAGS_outstanding, 4096)}) {
    if (!status.ok()) return status;
  }
  // Each may be an insert.
  if (FLAGS_processes * FLAGS_threads * FLAGS_connections * FLAGS_batch >
      InsertedRecords::kAheadMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--processes times --threads times --connections times --batch is at most ",
                     InsertedRecords::kAheadMax));
  }
  if (FLAGS_key_bytes < kRecordKeyBytesMin || FLAGS_key_bytes > kvs::kKeyBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--key_bytes is from ", kRecordKeyBytesMin, " to ", kvs::kKeyBytesMax));
  }
  if (!(FLAGS_seconds > 0 && FLAGS_seconds <= 1e6) || !(FLAGS_warmup >= 0 && FLAGS_warmup <= 1e6)) {
    return absl::InvalidArgumentError("--seconds is above 0, --warmup 0 or above");
  }
  if (!(FLAGS_zipfian_constant > 0 && FLAGS_zipfian_constant < 1)) {
    return absl::InvalidArgumentError("--zipfian_constant is between 0 and 1");
  }
  return absl::OkStatus();
}

bool IsSet(const char* flag) { return !gflags::GetCommandLineFlagInfoOrDie(flag).is_default; }

// Each of the paths with each of the put paths.
absl::StatusOr<std::vector<LoadPath>> ParsePaths() {
  std::vector<LoadPath> paths;
  for (const absl::string_view name : absl::StrSplit(FLAGS_path, ',')) {
    const absl::StatusOr<Path> path = ParsePath(name);
    if (!path.ok()) return path.status();
    for (const absl::string_view put_name : absl::StrSplit(FLAGS_put_path, ',')) {
      const absl::StatusOr<PutPath> put_path = ParsePutPath(put_name);
      if (!put_path.ok()) return put_path.status();
      paths.push_back({*path, *put_path});
      if (*path == Path::kTcp) break;  // It has one way only.
    }
  }
  return paths;
}

bool IsTcp(const LoadPath& path) { return path.path == Path::kTcp; }

// The workload, with what flags say instead of it.
absl::StatusOr<Workload> ReadWorkload() {
  absl::StatusOr<Workload> workload = LoadWorkload(FLAGS_workload);
  if (!workload.ok()) return workload;
  if (!FLAGS_distribution.empty()) {
    const absl::optional<Distribution> distribution = ParseDistribution(FLAGS_distribution);
    if (!distribution.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--distribution=", FLAGS_distribution, ": uniform, zipfian or latest"));
    }
    workload->distribution = *distribution;
  }
  if (IsSet("zipfian_constant")) workload->zipfian_constant = FLAGS_zipfian_constant;
  if (!workload->unknown_properties.empty()) {
    std::cerr << "properties that mean nothing here are left out:";
    for (const std::string& name : workload->unknown_properties) std::cerr << " " << name;
    std::cerr << std::endl;
  }
  return workload;
}

// Flags, and what the workload says where they are silent.
absl::Status ReadDriverOptions(const Workload& workload, DriverOptions* options) {
  if (FLAGS_poll != "adaptive" && FLAGS_poll != "busy") {
    return absl::InvalidArgumentError(absl::StrCat("--poll=", FLAGS_poll, ": adaptive or busy"));
  }
  options->client.servers = absl::StrSplit(FLAGS_servers, ',');
  options->client.fabric = FLAGS_fabric;
  options->client.device = FLAGS_device;
  options->client.threads_per_qp = FLAGS_threads_per_qp;
  options->client.secret_file = FLAGS_secret_file;
  options->client.poll = FLAGS_poll == "busy" ? PollMode::kBusy : PollMode::kAdaptive;
  options->connections = static_cast<uint32_t>(FLAGS_connections);
  options->batch = static_cast<uint32_t>(FLAGS_batch);
  options->key_bytes = FLAGS_key_bytes;
  options->value_bytes = FLAGS_value_bytes;
  if (workload.value_bytes.has_value() && !IsSet("value_bytes")) {
    options->value_bytes = *workload.value_bytes;
  }
  options->verify_every = static_cast<uint32_t>(FLAGS_verify);
  if (options->value_bytes < kRecordValueBytesMin || options->value_bytes > kvs::kValueBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("a value has ", kRecordValueBytesMin, " to ",
                                                   kvs::kValueBytesMax, " bytes here, not ",
                                                   options->value_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<CrewOptions> ReadCrewOptions() {
  CrewOptions options;
  absl::StatusOr<Workload> workload = ReadWorkload();
  if (!workload.ok()) return workload.status();
  options.workload = *std::move(workload);
  absl::StatusOr<std::vector<LoadPath>> paths = ParsePaths();
  if (!paths.ok()) return paths.status();
  options.paths = *std::move(paths);
  const absl::Status status = ReadDriverOptions(options.workload, &options.driver);
  if (!status.ok()) return status;
  options.records_count = FLAGS_records;
  if (options.workload.records_count.has_value() && !IsSet("records")) {
    options.records_count = *options.workload.records_count;
  }
  // Room for inserts too.
  if (options.records_count > KeysCountMax(FLAGS_key_bytes) / 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("--key_bytes=", FLAGS_key_bytes, " is too short for so many records"));
  }
  options.threads = static_cast<uint32_t>(FLAGS_threads);
  options.open_loop = !FLAGS_target_ops.empty();
  // No two threads of a run make the same choices.
  options.seed = FLAGS_seed * 1'009 + static_cast<uint64_t>(FLAGS_child_index + 1);
  return options;
}

absl::StatusOr<RunOptions> ReadOptions() {
  RunOptions options;
  absl::StatusOr<CrewOptions> crew = ReadCrewOptions();
  if (!crew.ok()) return crew.status();
  options.crew = *std::move(crew);
  options.processes = static_cast<uint32_t>(FLAGS_processes);
  options.warmup_seconds = FLAGS_warmup;
  options.seconds = FLAGS_seconds;
  if (options.crew.workload.operations_count.has_value() && !IsSet("seconds")) {
    options.operations_max = *options.crew.workload.operations_count;
    options.seconds = 1e6;
  }
  if (options.crew.open_loop) {
    absl::StatusOr<std::vector<double>> targets = ParseRates(FLAGS_target_ops);
    if (!targets.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--target_ops: ", targets.status().message()));
    }
    options.targets = *std::move(targets);
  }
  return options;
}

absl::Status Load(const CrewOptions& crew) {
  LoadOptions options;
  options.client = crew.driver.client;
  const bool only_tcp = std::all_of(crew.paths.begin(), crew.paths.end(), IsTcp);
  options.client.path = only_tcp ? Path::kTcp : Path::kRpc;
  options.client.put_path = PutPath::kRpc;
  options.records_count = crew.records_count;
  options.key_bytes = crew.driver.key_bytes;
  options.value_bytes = crew.driver.value_bytes;
  options.threads = crew.threads;
  options.outstanding = static_cast<uint32_t>(FLAGS_outstanding);
  return LoadRecords(options);
}

// How many servers there are is what the socket path must know beforehand.
absl::StatusOr<uint32_t> CountServers(const CrewOptions& options) {
  if (std::none_of(options.paths.begin(), options.paths.end(), IsTcp)) return 1;
  ClientOptions client_options = options.driver.client;
  client_options.path = Path::kTcp;
  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(client_options);
  if (!client.ok()) return client.status();
  return static_cast<uint32_t>((*client)->Servers().size());
}

// The threads of this process. `records`: of all processes.
absl::StatusOr<std::unique_ptr<Crew>> MakeThreads(CrewOptions options, InsertedRecords* records) {
  const absl::StatusOr<uint32_t> servers_count = CountServers(options);
  if (!servers_count.ok()) return servers_count.status();
  options.driver.servers_count = *servers_count;
  return MakeLocalCrew(options, records);
}

// Copies of this program with the same flags, which wait to be told what to do. Says who they are.
absl::StatusOr<std::unique_ptr<Crew>> StartProcesses(const std::vector<std::string>& arguments,
                                                     const InsertedRecords& records) {
  std::vector<std::unique_ptr<Subprocess>> children;
  std::cout << "load processes:";
  for (uint64_t i = 0; i < FLAGS_processes; ++i) {
    std::vector<std::string> own = arguments;
    own.push_back(absl::StrCat("--child_index=", i));
    absl::StatusOr<std::unique_ptr<Subprocess>> child = Subprocess::Start(own, records.fd());
    if (!child.ok()) return child.status();
    std::cout << " " << (*child)->pid();
    children.push_back(*std::move(child));
  }
  std::cout << std::endl;
  return MakeProcessCrew(std::move(children));
}

// `records_count`: those that are known to be there now.
absl::Status Report(const RunOptions& options, const std::vector<Row>& rows,
                    uint64_t records_count) {
  const CrewOptions& crew = options.crew;
  std::cout << "workload " << crew.workload.name << ", "
            << DistributionName(crew.workload.distribution) << ", " << crew.records_count
            << " records of " << crew.driver.key_bytes << " B + " << crew.driver.value_bytes
            << " B, " << options.processes << " process" << (options.processes == 1 ? "" : "es")
            << ", " << crew.threads << " thread" << (crew.threads == 1 ? "" : "s") << ", batch "
            << crew.driver.batch << "\n"
            << FormatTable(rows);
  if (crew.workload.insert_share > 0) {
    std::cout << "records 0 to " << records_count - 1
              << " are there now: --records=" << records_count << " reads them all\n";
  }
  std::cout << std::flush;
  const nlohmann::json json = RowsToJson(rows, options);
  absl::Status status;
  if (!FLAGS_json.empty()) status = WriteJson(FLAGS_json, json);
  if (status.ok() && !FLAGS_plot.empty()) status = Plot(json, FLAGS_plot);
  if (!status.ok()) return status;
  uint64_t errors = 0;
  for (const Row& row : rows) {
    errors += row.result.errors;
    if (row.result.operations == row.result.errors) {
      return absl::UnavailableError(
          absl::StrCat("nothing was measured on path ", NameOf(row.path, row.put_path)));
    }
  }
  if (errors > 0) return absl::UnknownError(absl::StrCat(errors, " operations failed"));
  return absl::OkStatus();
}

absl::Status Run(const RunOptions& options, const std::vector<std::string>& arguments) {
  absl::Status status = FLAGS_plot.empty() ? absl::OkStatus() : CheckPlot();
  if (status.ok()) status = CheckLoaded(options.crew);
  if (!status.ok()) return status;
  const absl::StatusOr<std::unique_ptr<InsertedRecords>> records =
      InsertedRecords::Create(options.crew.records_count);
  if (!records.ok()) return records.status();
  const absl::StatusOr<std::unique_ptr<Crew>> crew =
      FLAGS_processes > 1 ? StartProcesses(arguments, **records)
                          : MakeThreads(options.crew, records->get());
  if (!crew.ok()) return crew.status();
  const absl::StatusOr<std::vector<Row>> rows = RunWorkload(options, crew->get());
  if (!rows.ok()) return rows.status();
  return Report(options, *rows, (*records)->count());
}

// What the flags ask for. `arguments`: the command line, for copies of this program.
absl::Status Execute(const std::vector<std::string>& arguments) {
  const absl::StatusOr<RunOptions> options = ReadOptions();
  if (!options.ok()) return options.status();
  if (FLAGS_child_index >= 0) {
    const absl::StatusOr<std::unique_ptr<InsertedRecords>> records =
        InsertedRecords::Open(ScopedFd(kChildShared));
    if (!records.ok()) return records.status();
    const absl::StatusOr<std::unique_ptr<Crew>> crew = MakeThreads(options->crew, records->get());
    if (!crew.ok()) return crew.status();
    return ServeCrew(crew->get(), kChildSocket);
  }
  return FLAGS_load ? Load(options->crew) : Run(*options, arguments);
}

int Main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const absl::StatusOr<CommandLine> command_line = ParseCommandLine(argc, argv);
  absl::Status status = command_line.status();
  if (status.ok() && command_line->help) {
    std::cout << HelpText(kUsage, __FILE__);
    return 0;
  }
  if (status.ok()) status = JudgeFlags(command_line->arguments);
  if (status.ok()) status = Execute(arguments);
  if (status.ok()) return 0;
  // What a child has to say, its parent says.
  if (FLAGS_child_index < 0) std::cerr << "ycsb: " << status.message() << std::endl;
  return 1;
}

}  // namespace
}  // namespace acre::bench

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return acre::bench::Main(argc, argv);
}
