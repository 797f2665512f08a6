// How ycsb tells what it measured: a table for people, JSON for programs.

#ifndef ACRE_BENCH_REPORT_H_
#define ACRE_BENCH_REPORT_H_

#include <string>
#include <vector>

#include "bench/runner.h"
#include "nlohmann/json.hpp"

namespace acre::bench {

// One line for each row. Closed loop: the ratio to the row of path tcp where there is one. Open loop: the
// rate that was asked for, and which rows are saturated.
std::string FormatTable(const std::vector<Row>& rows);

// An array, one object for each row: {workload, distribution, path, fabric, ops_per_second,
// target_ops_per_second (null: closed loop), saturated, latency_us: {p50, p95, p99, p999, max},
// reads_per_get (null for rpc, tcp), verbs_per_op and round_trips_per_op (of the client; null for tcp), operations, errors, processes, threads (of each), connections (of
// each thread), batch, records, key_bytes, value_bytes, machine}.
nlohmann::json RowsToJson(const std::vector<Row>& rows, const RunOptions& options);

}  // namespace acre::bench

#endif  // ACRE_BENCH_REPORT_H_
