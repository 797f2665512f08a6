#include "bench/distribution.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "glog/logging.h"

namespace acre::bench {
namespace {

// Sums up to here are made term by term.
constexpr uint64_t kExactTerms = 1000;

// Sum of 1 / i^theta for i from 1 to count. Beyond kExactTerms by the Euler-Maclaurin formula: its
// first left-out term is below 1e-12 there.
double Zeta(uint64_t count, double theta) {
  double sum = 0;
  const uint64_t exact = std::min(count, kExactTerms);
  for (uint64_t i = 1; i <= exact; ++i) sum += std::pow(static_cast<double>(i), -theta);
  if (count == exact) return sum;
  const auto from = static_cast<double>(exact);
  const auto to = static_cast<double>(count);
  const auto f = [theta](double x) { return std::pow(x, -theta); };
  const auto slope = [theta](double x) { return -theta * std::pow(x, -theta - 1); };
  const double integral = (std::pow(to, 1 - theta) - std::pow(from, 1 - theta)) / (1 - theta);
  return sum + integral + (f(to) - f(from)) / 2 + (slope(to) - slope(from)) / 12;
}

}  // namespace

ZipfianRanks::ZipfianRanks(uint64_t count, double theta)
    : theta_(theta), alpha_(1 / (1 - theta)), half_to_theta_(std::pow(0.5, theta)) {
  CHECK_GT(count, 0u);
  CHECK(theta > 0 && theta < 1);
  zeta_ = Zeta(count, theta);
  SetCount(count);
}

void ZipfianRanks::GrowTo(uint64_t count) {
  if (count == count_) return;
  CHECK_GT(count, count_);
  if (count - count_ < kExactTerms) {
    for (uint64_t i = count_ + 1; i <= count; ++i) {
      zeta_ += std::pow(static_cast<double>(i), -theta_);
    }
  } else {
    zeta_ = Zeta(count, theta_);
  }
  SetCount(count);
}

void ZipfianRanks::SetCount(uint64_t count) {
  count_ = count;
  const double zeta_2 = 1 + half_to_theta_;
  eta_ = (1 - std::pow(2 / static_cast<double>(count), 1 - theta_)) / (1 - zeta_2 / zeta_);
}

uint64_t ZipfianRanks::Next(Random* random) const {
  const double u = random->NextDouble();
  const double uz = u * zeta_;
  if (uz < 1 || count_ == 1) return 0;
  if (uz < 1 + half_to_theta_ || count_ == 2) return 1;
  const double rank = static_cast<double>(count_) * std::pow(eta_ * u - eta_ + 1, alpha_);
  return std::min(static_cast<uint64_t>(rank), count_ - 1);
}

Scatter::Scatter(uint64_t count) : count_(count) {
  CHECK_GT(count, 0u);
  // Near the golden ratio neighbours land far apart, and so do their neighbours.
  factor_ =
      std::max<uint64_t>(1, static_cast<uint64_t>(static_cast<double>(count) * 0.6180339887498949));
  while (std::gcd(factor_, count) != 1) ++factor_;
}

absl::optional<Distribution> ParseDistribution(absl::string_view name) {
  for (const Distribution distribution :
       {Distribution::kUniform, Distribution::kZipfian, Distribution::kLatest}) {
    if (name == DistributionName(distribution)) return distribution;
  }
  return absl::nullopt;
}

const char* DistributionName(Distribution distribution) {
  switch (distribution) {
    case Distribution::kUniform:
      return "uniform";
    case Distribution::kZipfian:
      return "zipfian";
    case Distribution::kLatest:
      return "latest";
  }
  LOG(FATAL) << "not a Distribution";
}

RecordPicker::RecordPicker(Distribution distribution, double theta, uint64_t loaded_count)
    : distribution_(distribution), ranks_(loaded_count, theta), scatter_(loaded_count) {}

uint64_t RecordPicker::NextSkewed(uint64_t records_count, Random* random) {
  switch (distribution_) {
    case Distribution::kUniform:
      break;
    case Distribution::kZipfian:
      return scatter_(ranks_.Next(random));
    case Distribution::kLatest:
      ranks_.GrowTo(records_count);
      return records_count - 1 - ranks_.Next(random);
  }
  LOG(FATAL) << "not a Distribution";
}

}  // namespace acre::bench
