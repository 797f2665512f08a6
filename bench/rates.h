// Rates as users write them: operations per second, a list.

#ifndef ACRE_BENCH_RATES_H_
#define ACRE_BENCH_RATES_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace acre::bench {

constexpr double kRateMax = 1e9;  // One a nanosecond.

// "50000", "100K,200K,1.5M": numbers above 0 with K (1000), M or G, either case. The rates, in the order in
// which they stand there. InvalidArgument: says which of them is none.
absl::StatusOr<std::vector<double>> ParseRates(absl::string_view text);

}  // namespace acre::bench

#endif  // ACRE_BENCH_RATES_H_
