// How benchmarks tell what they measured: a table for people, JSON for programs.

#ifndef ACRE_BENCH_REPORT_H_
#define ACRE_BENCH_REPORT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "bench/runner.h"
#include "nlohmann/json.hpp"

namespace acre::bench {

// {"cpu": model, "cores": N, "kernel": release} of this machine.
nlohmann::json DescribeMachine();

// One line for each row; the ratio to the row of path tcp where there is one.
std::string FormatTable(const std::vector<Row>& rows);

// As design page "interfaces" fixes it: an array, one object for each row.
nlohmann::json RowsToJson(const std::vector<Row>& rows, const RunOptions& options);

// Errors: the file system's, naming the file.
absl::Status WriteJson(const std::string& file, const nlohmann::json& json);

}  // namespace acre::bench

#endif  // ACRE_BENCH_REPORT_H_
