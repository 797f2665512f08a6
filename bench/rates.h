// Lists as users write them: of rates, operations per second, and of numbers.

#ifndef ACRE_BENCH_RATES_H_
#define ACRE_BENCH_RATES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace acre::bench {

constexpr double kRateMax = 1e9;  // One a nanosecond.

// "50000", "100K,200K,1.5M": numbers above 0 with K (1000), M or G, either case. The rates, in the order in
// which they stand there. InvalidArgument: says which of them is none.
absl::StatusOr<std::vector<double>> ParseRates(absl::string_view text);

// "16,64,4096": numbers from `min` to `max`, none twice, in the order in which they stand there. InvalidArgument: says
// what is wrong with which, after `flag`, "--bytes".
absl::StatusOr<std::vector<uint64_t>> ParseNumbers(absl::string_view flag, absl::string_view text,
                                                   uint64_t min, uint64_t max);

}  // namespace acre::bench

#endif  // ACRE_BENCH_RATES_H_
