#include "bench/histogram.h"

#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace acre::bench {

void Histogram::Merge(const Histogram& other) {
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
}

void Histogram::Clear() {
  std::fill(counts_.begin(), counts_.end(), 0);
  count_ = 0;
  max_ = 0;
}

// "max index:count index:count ...".
std::string Histogram::Serialize() const {
  std::string text = absl::StrCat(max_);
  for (size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] > 0) absl::StrAppend(&text, " ", i, ":", counts_[i]);
  }
  return text;
}

absl::optional<Histogram> Histogram::Parse(absl::string_view text) {
  Histogram histogram;
  bool is_max = true;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    if (is_max) {
      is_max = false;
      if (!absl::SimpleAtoi(word, &histogram.max_) || histogram.max_ > kValueMax) return {};
      continue;
    }
    const std::vector<absl::string_view> parts = absl::StrSplit(word, ':');
    size_t index = 0;
    uint64_t count = 0;
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &index) ||
        !absl::SimpleAtoi(parts[1], &count) || index >= histogram.counts_.size()) {
      return {};
    }
    histogram.counts_[index] += count;
    histogram.count_ += count;
  }
  return histogram;
}

uint64_t Histogram::Percentile(double share) const {
  if (count_ == 0) return 0;
  const auto wanted = std::clamp<uint64_t>(
      static_cast<uint64_t>(std::ceil(share * static_cast<double>(count_))), 1, count_);
  uint64_t seen = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (seen >= wanted) return std::min(MiddleOf(i), max_);
  }
  return max_;
}

uint64_t Histogram::MiddleOf(size_t index) {
  if (index < 2 * kSubBuckets) return index;
  // IndexOf put kSubBuckets * shift + (value >> shift) here, and value >> shift is between
  // kSubBuckets and 2 * kSubBuckets.
  const uint64_t shift = index / kSubBuckets - 1;
  const uint64_t lowest = (index - kSubBuckets * shift) << shift;
  return lowest + (uint64_t{1} << shift) / 2;
}

}  // namespace acre::bench
