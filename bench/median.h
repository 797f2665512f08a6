// Medians: what benchmarks tell of values that were measured in turns.

#ifndef ACRE_BENCH_MEDIAN_H_
#define ACRE_BENCH_MEDIAN_H_

#include <vector>

namespace acre::bench {

// Requires: at least one value.
double Median(std::vector<double> values);
// Of numerators[i] / denominators[i]. Requires: as many of both, at least one.
double MedianRatio(const std::vector<double>& numerators, const std::vector<double>& denominators);

}  // namespace acre::bench

#endif  // ACRE_BENCH_MEDIAN_H_
