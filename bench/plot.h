// Pictures of what was measured. bench/plot.py draws them with matplotlib; its text is part of the
// programs, so that they find it wherever they lie.

#ifndef ACRE_BENCH_PLOT_H_
#define ACRE_BENCH_PLOT_H_

#include <string>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace acre::bench {

// Whether Plot() can draw here; asked before something is measured for minutes. FailedPrecondition: no
// python3, or no matplotlib. Takes as long as python3 takes to find it.
absl::Status CheckPlot();

// Draws rows, as ycsb, messages, locks and txn write them, into a PNG file. Errors: FailedPrecondition, also when the
// file cannot be written; what python3 said stands on stderr.
absl::Status Plot(const nlohmann::json& rows, const std::string& file);

}  // namespace acre::bench

#endif  // ACRE_BENCH_PLOT_H_
