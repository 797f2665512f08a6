#include "kvs/contended_keys.h"

#include <algorithm>

namespace acre::kvs {

void ContendedKeys::Report(absl::string_view key) {
  key = key.substr(0, kKeyBytesMax);
  MutexLock lock(&mutex_);
  ++conflicts_;
  Counter* lowest = nullptr;
  for (Counter& counter : counters_) {
    if (counter.key == key) {
      ++counter.count;
      return;
    }
    if (lowest == nullptr || counter.count < lowest->count) lowest = &counter;
  }
  if (counters_.size() < kCounters) {
    counters_.push_back({std::string(key), /*count=*/1, /*error=*/0});
    return;
  }
  lowest->key = std::string(key);
  lowest->error = lowest->count++;
}

std::vector<ContendedKeys::Counter> ContendedKeys::Top(size_t n) const {
  std::vector<Counter> top;
  {
    MutexLock lock(&mutex_);
    top = counters_;
  }
  std::sort(top.begin(), top.end(), [](const Counter& a, const Counter& b) {
    return a.count != b.count ? a.count > b.count : a.error < b.error;
  });
  if (top.size() > n) top.resize(n);
  return top;
}

uint64_t ContendedKeys::conflicts() const {
  MutexLock lock(&mutex_);
  return conflicts_;
}

}  // namespace acre::kvs
