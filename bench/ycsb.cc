// ycsb: the load generator. `ycsb --help` says how to use it; bench/workload.h names the workloads.

#include <cstdio>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "bench/loader.h"
#include "bench/record.h"
#include "bench/report.h"
#include "bench/runner.h"
#include "bench/workload.h"
#include "client/client.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "kvs/limits.h"
#include "runtime/command_line.h"

DEFINE_string(servers, "127.0.0.1:7400", "HOST:PORT of the server");
DEFINE_string(workload, "c", "a, b, c, d, f, or the path of a YCSB property file");
DEFINE_bool(load, false, "load the records, and nothing else");
DEFINE_uint64(records, 1'000'000, "how many records there are");
DEFINE_uint64(key_bytes, 16, "length of a key: \"user\" and the record's number");
DEFINE_uint64(value_bytes, 32, "length of a value; at least 16, for its checksum");
DEFINE_uint64(threads, 1, "client threads, each with a client of its own");
DEFINE_uint64(connections, 16, "sockets of each thread on path tcp");
DEFINE_uint64(batch, 1,
              "keys per MultiGet on mapped and one_sided; requests in flight per connection on rpc "
              "and tcp");
DEFINE_double(seconds, 10, "measured time of each path");
DEFINE_double(warmup, 1, "unmeasured time of each path before that");
DEFINE_string(path, "auto", "how Gets travel, one or several of auto, mapped, one_sided, rpc, tcp");
DEFINE_string(fabric, "auto", "network of one-sided operations and rings: auto, shm, tcp");
DEFINE_string(poll, "adaptive",
              "what a client does while it waits: adaptive (sleeps after a while) or busy");
DEFINE_string(distribution, "", "uniform, zipfian or latest, instead of the workload's own");
DEFINE_double(zipfian_constant, 0.99, "how skewed zipfian and latest are, between 0 and 1");
DEFINE_uint64(verify, 1, "check every how many-th value; 0: none");
DEFINE_uint64(outstanding, 64, "with --load: Puts under way at once, of each thread");
DEFINE_uint64(seed, 1, "of the random choices");
DEFINE_string(json, "", "also write the results to this file, an array with one object per path");

namespace acre::bench {
namespace {

constexpr char kUsage[] = R"(ycsb: load generator with the workloads of YCSB.

Start a server, load records, then run a workload along one or several paths:

  kv_server --listen=127.0.0.1:7400 --memory=4G
  ycsb --servers=127.0.0.1:7400 --records=1000000 --load
  ycsb --servers=127.0.0.1:7400 --records=1000000 --workload=c --path=mapped,one_sided,rpc,tcp

Workloads: a 50 % read, 50 % update; b 95 % read, 5 % update; c read only; d 95 % read of the latest,
5 % insert; f 50 % read, 50 % read-modify-write; or a YCSB property file. Closed loop: an operation
begins when one before it has ended. Several paths take turns, a second each, so that their ratios are
fair. Updates and inserts go through the server on every path.

The table counts operations; a read-modify-write is one. Latencies of reads on mapped and one_sided,
which take about as long as reading the clock, are those of a sample: one read in 251, with --batch one
MultiGet in 7 (told as the time of the whole MultiGet). All others are timed each.

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
  if (absl::StrContains(FLAGS_servers, ',')) {
    return absl::InvalidArgumentError(
        "--servers names several servers: this version has no clusters, give one HOST:PORT");
  }
  for (const absl::Status& status :
       {JudgeCount("records", FLAGS_records, uint64_t{1} << 40),
        JudgeCount("threads", FLAGS_threads, 256), JudgeCount("batch", FLAGS_batch, 1024),
        JudgeCount("connections", FLAGS_connections, 10'000),
        JudgeCount("outstanding", FLAGS_outstanding, 4096)}) {
    if (!status.ok()) return status;
  }
  if (FLAGS_threads * FLAGS_connections * FLAGS_batch > InsertedRecords::kUnderWayMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--threads times --connections times --batch is "
                     "at most ",
                     InsertedRecords::kUnderWayMax));
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

absl::StatusOr<std::vector<Path>> ParsePaths() {
  std::vector<Path> paths;
  for (const absl::string_view name : absl::StrSplit(FLAGS_path, ',')) {
    const absl::StatusOr<Path> path = ParsePath(name);
    if (!path.ok()) return path.status();
    paths.push_back(*path);
  }
  return paths;
}

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

absl::StatusOr<RunOptions> ReadOptions() {
  RunOptions options;
  absl::StatusOr<Workload> workload = ReadWorkload();
  if (!workload.ok()) return workload.status();
  options.workload = *std::move(workload);
  absl::StatusOr<std::vector<Path>> paths = ParsePaths();
  if (!paths.ok()) return paths.status();
  options.paths = *std::move(paths);
  if (FLAGS_poll != "adaptive" && FLAGS_poll != "busy") {
    return absl::InvalidArgumentError(absl::StrCat("--poll=", FLAGS_poll, ": adaptive or busy"));
  }
  options.records_count = FLAGS_records;
  if (options.workload.records_count.has_value() && !IsSet("records")) {
    options.records_count = *options.workload.records_count;
  }
  options.threads = static_cast<uint32_t>(FLAGS_threads);
  options.warmup_seconds = FLAGS_warmup;
  options.seconds = FLAGS_seconds;
  if (options.workload.operations_count.has_value() && !IsSet("seconds")) {
    options.operations_max = *options.workload.operations_count;
    options.seconds = 1e6;
  }
  options.seed = FLAGS_seed;
  options.driver.client.server = FLAGS_servers;
  options.driver.client.fabric = FLAGS_fabric;
  options.driver.client.poll = FLAGS_poll == "busy" ? PollMode::kBusy : PollMode::kAdaptive;
  options.driver.connections = static_cast<uint32_t>(FLAGS_connections);
  options.driver.batch = static_cast<uint32_t>(FLAGS_batch);
  options.driver.key_bytes = FLAGS_key_bytes;
  options.driver.value_bytes = FLAGS_value_bytes;
  if (options.workload.value_bytes.has_value() && !IsSet("value_bytes")) {
    options.driver.value_bytes = *options.workload.value_bytes;
  }
  options.driver.verify_every = static_cast<uint32_t>(FLAGS_verify);
  if (options.driver.value_bytes < kRecordValueBytesMin ||
      options.driver.value_bytes > kvs::kValueBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("a value has ", kRecordValueBytesMin, " to ",
                                                   kvs::kValueBytesMax, " bytes here, not ",
                                                   options.driver.value_bytes));
  }
  // Room for inserts too.
  if (options.records_count > KeysCountMax(FLAGS_key_bytes) / 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("--key_bytes=", FLAGS_key_bytes, " is too short for so many records"));
  }
  return options;
}

absl::Status Load(const RunOptions& run) {
  LoadOptions options;
  options.client = run.driver.client;
  const bool only_tcp = run.paths == std::vector<Path>{Path::kTcp};
  options.client.path = only_tcp ? Path::kTcp : Path::kRpc;
  options.records_count = run.records_count;
  options.key_bytes = run.driver.key_bytes;
  options.value_bytes = run.driver.value_bytes;
  options.threads = run.threads;
  options.outstanding = static_cast<uint32_t>(FLAGS_outstanding);
  return LoadRecords(options);
}

absl::Status Run(const RunOptions& options) {
  const absl::StatusOr<std::vector<Row>> rows = RunWorkload(options);
  if (!rows.ok()) return rows.status();
  std::cout << "workload " << options.workload.name << ", "
            << DistributionName(options.workload.distribution) << ", " << options.records_count
            << " records of " << options.driver.key_bytes << " B + " << options.driver.value_bytes
            << " B, " << options.threads << " thread" << (options.threads == 1 ? "" : "s")
            << ", batch " << options.driver.batch << "\n"
            << FormatTable(*rows) << std::flush;
  if (!FLAGS_json.empty()) {
    const absl::Status status = WriteJson(FLAGS_json, RowsToJson(*rows, options));
    if (!status.ok()) return status;
  }
  uint64_t errors = 0;
  for (const Row& row : *rows) {
    errors += row.result.errors;
    if (row.result.operations == row.result.errors) {
      return absl::UnavailableError(
          absl::StrCat("nothing was measured on path ", PathName(row.path)));
    }
  }
  if (errors > 0) return absl::UnknownError(absl::StrCat(errors, " operations failed"));
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  const absl::StatusOr<CommandLine> command_line = ParseCommandLine(argc, argv);
  absl::Status status = command_line.status();
  if (status.ok() && command_line->help) {
    std::cout << HelpText(kUsage, __FILE__);
    return 0;
  }
  if (status.ok()) status = JudgeFlags(command_line->arguments);
  if (status.ok()) {
    const absl::StatusOr<RunOptions> options = ReadOptions();
    status = options.status();
    if (status.ok()) status = FLAGS_load ? Load(*options) : Run(*options);
  }
  if (status.ok()) return 0;
  std::cerr << "ycsb: " << status.message() << std::endl;
  return 1;
}

}  // namespace
}  // namespace acre::bench

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  return acre::bench::Main(argc, argv);
}
