#include "bench/inserted_records.h"

#include "glog/logging.h"

namespace acre::bench {

InsertedRecords::InsertedRecords(uint64_t loaded_count)
    : next_(loaded_count), is_inserted_(kUnderWayMax) {
  count_.Store(loaded_count, std::memory_order_release);
}

uint64_t InsertedRecords::Begin() {
  const MutexLock lock(&mutex_);
  if (!failed_.empty()) {
    const uint64_t number = failed_.back();
    failed_.pop_back();
    return number;
  }
  CHECK_LT(next_ - count_.Load(std::memory_order_relaxed), kUnderWayMax);
  return next_++;
}

void InsertedRecords::Finish(uint64_t number, bool inserted) {
  const MutexLock lock(&mutex_);
  if (!inserted) {
    failed_.push_back(number);
    return;
  }
  is_inserted_[number % kUnderWayMax] = true;
  uint64_t count = count_.Load(std::memory_order_relaxed);
  if (number != count) return;
  while (is_inserted_[count % kUnderWayMax]) {
    is_inserted_[count % kUnderWayMax] = false;
    ++count;
  }
  count_.Store(count, std::memory_order_release);
}

}  // namespace acre::bench
