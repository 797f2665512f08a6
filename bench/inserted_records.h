// InsertedRecords: which records exist while the threads of one or several processes insert more: numbers
// 0 to count() - 1.
//
// An insert takes the next number with Begin() and ends with Finish(). count() covers a number once
// it and all below it were inserted, so whoever picks below count() finds the record.
//
// It lies in shared memory without a lock, so that nobody waits for a process that dies: what such a process
// had begun stays under way for ever, and count() stays below it.
//
// Ownership:  each object owns its descriptor and its mapping; the memory goes with the last of them.
// Threads:    all functions may be called from any, in every process.
// Invariants: count() <= next <= count() + kAheadMax: no two numbers that are under way share a mark.
// See "Several processes" in docs/benchmarks.md.

#ifndef ACRE_BENCH_INSERTED_RECORDS_H_
#define ACRE_BENCH_INSERTED_RECORDS_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "runtime/scoped_fd.h"
#include "runtime/shared_word.h"
#include "transport/shm/scoped_mapping.h"

namespace acre::bench {

class InsertedRecords {
 public:
  // How far inserts may be ahead of the oldest that has not ended.
  static constexpr uint64_t kAheadMax = 1 << 20;

  // Errors: ResourceExhausted - no memory.
  static absl::StatusOr<std::unique_ptr<InsertedRecords>> Create(uint64_t loaded_count);
  // The same records as those of another process, which passed the descriptor; takes it.
  // Errors: InvalidArgument - it is no such memory.
  static absl::StatusOr<std::unique_ptr<InsertedRecords>> Open(ScopedFd fd);

  InsertedRecords(const InsertedRecords&) = delete;
  InsertedRecords& operator=(const InsertedRecords&) = delete;

  // To be passed to other processes. Closed with the object.
  int fd() const { return fd_.get(); }

  // The number of a record to insert. One that failed before, in whichever process, is given out again
  // first. Nothing: the oldest insert under way has been overtaken kAheadMax times, do something else.
  absl::optional<uint64_t> Begin();
  // Once for each Begin().
  void Finish(uint64_t number, bool inserted);

  // Acquire: who sees a count sees what was done before the Finish() that made it.
  uint64_t count() const { return words_->count.Load(std::memory_order_acquire); }

 private:
  // What lies in the memory, beginning as zeros. The first three have a line each: all threads load
  // `count` at each operation.
  struct alignas(4096) Words {
    // Loaded by all; moved on, one by one, by whoever finds the next mark to be that of an insert.
    alignas(kLineBytes) SharedWord count;
    // The number that nobody has begun yet.
    alignas(kLineBytes) SharedWord next;
    // Marks that say failed, or are about to: looked for only if there are some.
    alignas(kLineBytes) SharedWord failed_count;
    // How number n ended, at n % kAheadMax. Anything but a mark of n: it has not.
    alignas(kLineBytes) SharedWord marks[kAheadMax];
  };

  InsertedRecords(ScopedFd fd, transport::ScopedMapping mapping);

  static uint64_t InsertedMark(uint64_t number) { return 2 * (number + 1); }
  static uint64_t FailedMark(uint64_t number) { return 2 * (number + 1) + 1; }
  SharedWord& MarkOf(uint64_t number) { return words_->marks[number % kAheadMax]; }
  absl::optional<uint64_t> TakeFailed();

  const ScopedFd fd_;
  const transport::ScopedMapping mapping_;
  Words* const words_;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_INSERTED_RECORDS_H_
