// What all benchmarks tell of the machine, and where they write it.

#ifndef ACRE_BENCH_MACHINE_H_
#define ACRE_BENCH_MACHINE_H_

#include <string>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace acre::bench {

// {"cpu": model, "cores": N, "kernel": release} of this machine.
nlohmann::json DescribeMachine();

// Errors: the file system's, naming the file.
absl::Status WriteJson(const std::string& file, const nlohmann::json& json);

}  // namespace acre::bench

#endif  // ACRE_BENCH_MACHINE_H_
