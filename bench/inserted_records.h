// InsertedRecords: which records exist while a workload inserts more: numbers 0 to count() - 1.
//
// An insert takes the next number with Begin() and ends with Finish(). count() covers a number once
// it and all below it were inserted, so whoever picks below count() finds the record.
//
// Threads:    all functions may be called from any.
// Invariants: at most kUnderWayMax inserts are between Begin() and Finish() (CHECKed).

#ifndef ACRE_BENCH_INSERTED_RECORDS_H_
#define ACRE_BENCH_INSERTED_RECORDS_H_

#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "runtime/mutex.h"
#include "runtime/shared_word.h"

namespace acre::bench {

class InsertedRecords {
 public:
  static constexpr uint64_t kUnderWayMax = 1 << 20;

  explicit InsertedRecords(uint64_t loaded_count);

  // The number of a record to insert. One that failed before is given out again first.
  uint64_t Begin();
  void Finish(uint64_t number, bool inserted);

  // Acquire: who sees a count sees what was done before the Finish() that made it.
  uint64_t count() const { return count_.Load(std::memory_order_acquire); }

 private:
  SharedWord count_;  // Stored under the mutex, loaded by all.
  Mutex mutex_;
  uint64_t next_ ABSL_GUARDED_BY(mutex_);
  // To be given out again.
  std::vector<uint64_t> failed_ ABSL_GUARDED_BY(mutex_);
  // Of number n at n % kUnderWayMax, for n in [count_, next_).
  std::vector<bool> is_inserted_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_INSERTED_RECORDS_H_
