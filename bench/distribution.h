// Which record an operation picks: uniform, zipfian or latest.
//
// Source: Gray, Sundaresan, Englert, Baclawski, Weinberger: "Quickly generating billion-record
// synthetic databases", SIGMOD 1994, for zipfian ranks in constant time; YCSB (Cooper et al., SoCC
// 2010) for the two ways to use them: scattered over the records, or counted back from the newest.
//
// Threads: const objects may be shared, all others are confined to one.

#ifndef ACRE_BENCH_DISTRIBUTION_H_
#define ACRE_BENCH_DISTRIBUTION_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "runtime/random.h"

namespace acre::bench {

// Ranks 0 to count - 1; rank r comes with probability proportional to 1 / (r + 1)^theta.
class ZipfianRanks {
 public:
  // Requires: count > 0, 0 < theta < 1.
  ZipfianRanks(uint64_t count, double theta);

  // More ranks from now on. Costs some 50 ns for each new one. Requires: count >= count().
  void GrowTo(uint64_t count);
  uint64_t count() const { return count_; }

  // About 20 ns.
  uint64_t Next(Random* random) const;

 private:
  void SetCount(uint64_t count);

  double theta_;
  double alpha_;
  double half_to_theta_;  // 0.5^theta.
  uint64_t count_ = 0;
  double zeta_ = 0;  // Sum of 1 / i^theta for i from 1 to count.
  double eta_ = 0;
};

// A permutation of 0 to count - 1, so that popular records are not neighbours.
class Scatter {
 public:
  // Requires: count > 0.
  explicit Scatter(uint64_t count);
  // Requires: index < count.
  uint64_t operator()(uint64_t index) const {
    return static_cast<uint64_t>(Wide{index} * factor_ % count_);
  }

 private:
  __extension__ using Wide = unsigned __int128;
  uint64_t count_;
  uint64_t factor_;  // Without a common divisor with count_.
};

enum class Distribution { kUniform, kZipfian, kLatest };
absl::optional<Distribution> ParseDistribution(absl::string_view name);
const char* DistributionName(Distribution distribution);

// Picks existing records.
class RecordPicker {
 public:
  // `loaded_count`: the records that exist at the start. Requires: > 0, 0 < theta < 1.
  RecordPicker(Distribution distribution, double theta, uint64_t loaded_count);

  // `records_count`: those that exist now, never fewer than before. kZipfian goes on to pick among
  // those of the start.
  uint64_t Next(uint64_t records_count, Random* random) {
    if (distribution_ == Distribution::kUniform) return random->Uniform(records_count);
    return NextSkewed(records_count, random);
  }

 private:
  uint64_t NextSkewed(uint64_t records_count, Random* random);

  Distribution distribution_;
  ZipfianRanks ranks_;
  Scatter scatter_;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_DISTRIBUTION_H_
