#include "bench/median.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "glog/logging.h"

namespace acre::bench {

double Median(std::vector<double> values) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double MedianRatio(const std::vector<double>& numerators, const std::vector<double>& denominators) {
  CHECK_EQ(numerators.size(), denominators.size());
  std::vector<double> ratios;
  for (size_t i = 0; i < numerators.size(); ++i) ratios.push_back(numerators[i] / denominators[i]);
  return Median(std::move(ratios));
}

}  // namespace acre::bench
