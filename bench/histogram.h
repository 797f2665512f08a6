// Histogram: how often each latency was seen, in buckets that grow with the value.
//
// Threads:    confined to one; Merge() them at the end.
// Invariants: a value is told back with a relative error of at most 1/256 (0.4 %), values below 256
//             exactly; max() exactly.
// Limits:     values above kValueMax count as kValueMax. No allocation after construction.

#ifndef ACRE_BENCH_HISTOGRAM_H_
#define ACRE_BENCH_HISTOGRAM_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace acre::bench {

class Histogram {
 public:
  static constexpr uint64_t kValueMax = (uint64_t{1} << 40) - 1;  // 18 minutes in nanoseconds.

  Histogram() : counts_(IndexOf(kValueMax) + 1) {}

  // `weight`: as how many it counts, for values of which only a sample is taken.
  void Add(uint64_t value, uint64_t weight = 1) {
    value = std::min(value, kValueMax);
    counts_[IndexOf(value)] += weight;
    count_ += weight;
    max_ = std::max(max_, value);
  }
  // As if every Add() to `other` had been one to this: exact.
  void Merge(const Histogram& other);
  void Clear();

  // Text from which Parse() makes the same histogram, for another process. Short where few buckets are in
  // use.
  std::string Serialize() const;
  // Nothing: the text is none that Serialize() makes.
  static absl::optional<Histogram> Parse(absl::string_view text);

  friend bool operator==(const Histogram&, const Histogram&) = default;

  uint64_t count() const { return count_; }
  uint64_t max() const { return max_; }
  // The smallest value that at least `share` (0 to 1) of all values do not exceed. 0 when empty.
  uint64_t Percentile(double share) const;

 private:
  // A power of two is cut in kSubBuckets buckets of equal width.
  static constexpr int kSubBits = 7;
  static constexpr uint64_t kSubBuckets = uint64_t{1} << kSubBits;

  static size_t IndexOf(uint64_t value) {
    const int shift = std::max(0, static_cast<int>(std::bit_width(value)) - kSubBits - 1);
    return static_cast<size_t>(kSubBuckets * static_cast<uint64_t>(shift) + (value >> shift));
  }
  static uint64_t MiddleOf(size_t index);

  std::vector<uint64_t> counts_;
  uint64_t count_ = 0;
  uint64_t max_ = 0;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_HISTOGRAM_H_
