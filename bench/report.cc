#include "bench/report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/machine.h"

namespace acre::bench {
namespace {

double Microseconds(const Row& row, double share) {
  return static_cast<double>(row.result.latency_ns.Percentile(share)) * 1e-3;
}

bool CountsReads(const Row& row) {
  return row.path != Path::kRpc && row.path != Path::kTcp && row.result.reader.gets > 0;
}

double ReadsPerGet(const Row& row) {
  return static_cast<double>(row.result.reader.reads) / static_cast<double>(row.result.reader.gets);
}

bool CountsVerbs(const Row& row) { return row.path != Path::kTcp && row.result.operations > 0; }

double VerbsPerOperation(const Row& row) {
  const transport::VerbCounters& verbs = row.result.verbs;
  return static_cast<double>(verbs.reads + verbs.writes + verbs.atomics) /
         static_cast<double>(row.result.operations);
}

double RoundTripsPerOperation(const Row& row) {
  return static_cast<double>(row.result.verbs.round_trips) /
         static_cast<double>(row.result.operations);
}

}  // namespace

std::string FormatTable(const std::vector<Row>& rows) {
  const bool open_loop = !rows.empty() && rows[0].target_per_second > 0;
  double tcp = 0;
  for (const Row& row : rows) {
    if (row.path == Path::kTcp) tcp = row.operations_per_second;
  }
  std::string table = open_loop ? absl::StrFormat("%13s ", "target/s") : "";
  absl::StrAppendFormat(&table, "%-19s %-7s %13s %9s %9s %9s %9s %10s %9s %8s %8s %7s %10s\n",
                        "path", "fabric", "operations/s", "p50 us", "p95 us", "p99 us", "p99.9 us",
                        "max us", "reads/Get", "verbs/op", "trips/op", "errors",
                        open_loop ? "saturated" : "times tcp");
  for (const Row& row : rows) {
    if (open_loop) absl::StrAppendFormat(&table, "%13.0f ", row.target_per_second);
    const std::string last = open_loop ? (IsSaturated(row) ? "yes" : "no")
                             : tcp > 0 ? absl::StrFormat("%.2f", row.operations_per_second / tcp)
                                       : "-";
    absl::StrAppendFormat(
        &table, "%-19s %-7s %13.0f %9.2f %9.2f %9.2f %9.2f %10.1f %9s %8s %8s %7d %10s\n",
        NameOf(row.path, row.put_path), row.fabric, row.operations_per_second,
        Microseconds(row, 0.5), Microseconds(row, 0.95), Microseconds(row, 0.99),
        Microseconds(row, 0.999), static_cast<double>(row.result.latency_ns.max()) * 1e-3,
        CountsReads(row) ? absl::StrFormat("%.3f", ReadsPerGet(row)) : "-",
        CountsVerbs(row) ? absl::StrFormat("%.3f", VerbsPerOperation(row)) : "-",
        CountsVerbs(row) ? absl::StrFormat("%.3f", RoundTripsPerOperation(row)) : "-",
        row.result.errors, last);
  }
  for (const Row& row : rows) {
    if (!IsSaturated(row)) continue;
    absl::StrAppendFormat(
        &table,
        "%s is saturated: %.0f of %.0f operations/s; %d were due and had not begun "
        "at the end, latencies say how long it ran\n",
        NameOf(row.path, row.put_path), row.operations_per_second, row.target_per_second,
        row.result.backlog);
  }
  return table;
}

nlohmann::json RowsToJson(const std::vector<Row>& rows, const RunOptions& options) {
  const CrewOptions& crew = options.crew;
  const nlohmann::json machine = DescribeMachine();
  nlohmann::json array = nlohmann::json::array();
  for (const Row& row : rows) {
    nlohmann::json reads_per_get;  // Null.
    if (CountsReads(row)) reads_per_get = ReadsPerGet(row);
    nlohmann::json verbs_per_operation, round_trips_per_operation;  // Null.
    if (CountsVerbs(row)) {
      verbs_per_operation = VerbsPerOperation(row);
      round_trips_per_operation = RoundTripsPerOperation(row);
    }
    nlohmann::json target;  // Null: closed loop.
    if (row.target_per_second > 0) target = row.target_per_second;
    array.push_back({
        {"workload", crew.workload.name},
        {"distribution", DistributionName(crew.workload.distribution)},
        {"path", PathName(row.path)},
        {"put_path", PutPathName(row.put_path)},
        {"fabric", row.fabric},
        {"ops_per_second", row.operations_per_second},
        {"target_ops_per_second", target},
        {"saturated", IsSaturated(row)},
        {"latency_us",
         {{"p50", Microseconds(row, 0.5)},
          {"p95", Microseconds(row, 0.95)},
          {"p99", Microseconds(row, 0.99)},
          {"p999", Microseconds(row, 0.999)},
          {"max", static_cast<double>(row.result.latency_ns.max()) * 1e-3}}},
        {"reads_per_get", reads_per_get},
        {"verbs_per_op", verbs_per_operation},
        {"round_trips_per_op", round_trips_per_operation},
        {"operations", row.result.operations},
        {"errors", row.result.errors},
        {"processes", options.processes},
        {"threads", crew.threads},
        {"connections", row.path == Path::kTcp ? crew.driver.connections : 1},
        {"batch", crew.driver.batch},
        {"records", crew.records_count},
        {"key_bytes", crew.driver.key_bytes},
        {"value_bytes", crew.driver.value_bytes},
        {"machine", machine},
    });
  }
  return array;
}

}  // namespace acre::bench
