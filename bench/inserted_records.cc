#include "bench/inserted_records.h"

#include <unistd.h>

#include <utility>

#include "glog/logging.h"
#include "transport/shm/shm_memory.h"

namespace acre::bench {

absl::StatusOr<std::unique_ptr<InsertedRecords>> InsertedRecords::Create(uint64_t loaded_count) {
  absl::StatusOr<transport::SharedMemory> made =
      transport::MakeSharedMemory("inserted_records", sizeof(Words), transport::HugePages::kOff,
                                  transport::PeerAccess::kReadWrite);
  if (!made.ok()) return made.status();
  std::unique_ptr<InsertedRecords> records(
      new InsertedRecords(std::move(made->fd), std::move(made->mapping)));
  // Relaxed: others see them by way of what hands them the object, or its descriptor.
  records->words_->next.Store(loaded_count, std::memory_order_relaxed);
  records->words_->count.Store(loaded_count, std::memory_order_relaxed);
  return records;
}

absl::StatusOr<std::unique_ptr<InsertedRecords>> InsertedRecords::Open(ScopedFd fd) {
  absl::StatusOr<transport::ScopedMapping> mapping = transport::MapPeerMemory(
      fd.get(), sizeof(Words), transport::PeerAccess::kReadWrite, geteuid());
  if (!mapping.ok()) return mapping.status();
  return std::unique_ptr<InsertedRecords>(new InsertedRecords(std::move(fd), *std::move(mapping)));
}

InsertedRecords::InsertedRecords(ScopedFd fd, transport::ScopedMapping mapping)
    : fd_(std::move(fd)),
      mapping_(std::move(mapping)),
      words_(reinterpret_cast<Words*>(mapping_.words())) {
  CHECK_EQ(mapping_.size_bytes(), sizeof(Words));
}

absl::optional<uint64_t> InsertedRecords::Begin() {
  // Relaxed: a failure that is missed here is found by a later insert.
  if (words_->failed_count.Load(std::memory_order_relaxed) > 0) {
    const absl::optional<uint64_t> failed = TakeFailed();
    if (failed.has_value()) return failed;
  }
  while (true) {
    // In this order: `next` was never below a count that can be seen, and an old count only refuses more.
    const uint64_t count_before = count();
    uint64_t next = words_->next.Load(std::memory_order_relaxed);
    if (next - count_before >= kAheadMax) return absl::nullopt;
    // Relaxed: the number is all that is handed over.
    if (words_->next.CompareExchange(&next, next + 1, std::memory_order_relaxed)) return next;
  }
}

absl::optional<uint64_t> InsertedRecords::TakeFailed() {
  const uint64_t begin = count();
  const uint64_t end = words_->next.Load(std::memory_order_relaxed);
  for (uint64_t number = begin; number < end; ++number) {
    SharedWord& mark = MarkOf(number);
    uint64_t expected = FailedMark(number);
    if (mark.Load(std::memory_order_relaxed) != expected) continue;
    // Acquire: the count that Finish() added to before is subtracted from behind it. Whoever comes second
    // finds no mark.
    if (!mark.CompareExchange(&expected, 0, std::memory_order_acquire)) continue;
    static_cast<void>(words_->failed_count.FetchAdd(UINT64_MAX, std::memory_order_relaxed));
    return number;
  }
  return absl::nullopt;
}

void InsertedRecords::Finish(uint64_t number, bool inserted) {
  if (!inserted) {
    // Release: who takes the mark sees the count, which so never gets below 0.
    static_cast<void>(words_->failed_count.FetchAdd(1, std::memory_order_relaxed));
    MarkOf(number).Store(FailedMark(number), std::memory_order_release);
    return;
  }
  // All of this is seq_cst: of two that finish neighbours at once, each marks its own and then looks at the
  // other's, so one of them sees both marks and moves the count over both.
  static_cast<void>(MarkOf(number).Exchange(InsertedMark(number), std::memory_order_seq_cst));
  uint64_t count = words_->count.Load(std::memory_order_seq_cst);
  // A mark that is overwritten by a later number's: others have moved the count on meanwhile.
  while (MarkOf(count).Load(std::memory_order_seq_cst) == InsertedMark(count)) {
    if (words_->count.CompareExchange(&count, count + 1, std::memory_order_seq_cst)) ++count;
  }
}

}  // namespace acre::bench
