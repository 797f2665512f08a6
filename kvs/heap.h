// Heap: the allocator of a segment: overflow buckets and objects.
//
// Pages of 4 KiB; runs of free pages are found best fit and joined again when freed. Small sizes
// come from size classes (eight per doubling, at most 12.5 % lost above 512 B) that cut runs into
// equal cells; large ones take whole pages. Runs of overflow buckets are never used for anything
// else: a reader may follow an old pointer to one for as long as it likes, and finds a bucket there
// (type-stable memory).
//
// A freed object rests until no reader that saw it can be under way (kvs/epoch.h). If memory runs
// out first, the oldest ones are reused at once: safe, because readers check an object's checksum,
// and better than refusing.
//
// Threads:    any; a mutex guards it all. Held for tens of nanoseconds, never across a wait.
// Ownership:  borrows the segment's memory and the epochs. Its books are private memory.
// Invariants: cells and runs never overlap; free pages + used pages = all pages.

#ifndef ACRE_KVS_HEAP_H_
#define ACRE_KVS_HEAP_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/types/optional.h"
#include "kvs/epoch.h"
#include "runtime/mutex.h"

namespace acre::kvs {

constexpr size_t kHeapPageBytes = 4096;
constexpr size_t kCellAlignment = 64;
constexpr size_t kCellBytesMax = 32 << 10;  // Larger objects take whole pages.

class Heap {
 public:
  // Zeroes the memory of a run that from now on holds overflow buckets (offset, bytes).
  using Format = std::function<void(uint64_t, uint64_t)>;

  // Gives out offsets in [offset_bytes, offset_bytes + bytes); both are multiples of
  // kHeapPageBytes.
  Heap(uint64_t offset_bytes, uint64_t bytes, const EpochClock* epochs, Format format);
  ~Heap();

  // An offset, a multiple of kCellAlignment. nullopt: no memory.
  absl::optional<uint64_t> Allocate(size_t bytes);
  // Gives back an object that no slot names any more; it may still be read. What names none that was handed out, with
  // this size, is refused and counted: the numbers are a slot's, which trusted clients may write.
  void Retire(uint64_t offset, size_t bytes);
  // Gives back an object that no slot ever named: its caller's own numbers (CHECKed).
  void Free(uint64_t offset, size_t bytes);

  // 256 B, aligned to that.
  absl::optional<uint64_t> AllocateOverflowBucket();
  // Its slots are empty already. May be reused at once. Refused and counted as by Retire(): the offset is a chain's.
  void FreeOverflowBucket(uint64_t offset);

  struct Stats {
    uint64_t bytes_free = 0;  // In free pages and free cells.
    uint64_t bytes_resting = 0;
    uint64_t overflow_buckets = 0;
    uint64_t reused_early = 0;  // Objects reused before their epoch had passed.
    uint64_t refused = 0;       // What was given back and had not been handed out.
  };
  Stats stats() const;

  // The size that an object of so many bytes really takes.
  static size_t RoundedBytes(size_t bytes);

  // What the books say of a piece of the heap. Everything that no piece covers was handed out: as an
  // object, or inside of a run of buckets as an overflow bucket.
  enum class Use : uint8_t {
    kFreePages,
    kFreeCell,
    kFreeOverflowBucket,
    kResting,  // A freed object that waits for its epoch.
    kSlack,    // The end of a run of cells, too short for another one.
  };
  struct Piece {
    uint64_t offset = 0;
    uint64_t bytes = 0;
    Use use = Use::kFreePages;
  };
  struct Books {
    std::vector<Piece> pieces;                                 // In no order.
    std::vector<std::pair<uint64_t, uint64_t>> overflow_runs;  // {offset, bytes}
  };
  // A copy of the books as of one moment: for checkers, which compare them with the memory while nobody
  // is at work. Takes time and memory in proportion to the heap's pages and free cells.
  Books CopyOfBooks() const;

 private:
  struct Span {  // A run that is cut into cells.
    uint32_t first_page = 0;
    uint32_t size_class = 0;
    std::vector<uint16_t> free_cells;
    std::vector<bool> given;  // Of each cell: handed out, and neither free nor resting.
    uint32_t cells = 0;
    // In its class's list of spans with free cells; without meaning while it has none.
    size_t list_index = 0;
  };
  struct SizeClass {
    uint32_t cell_bytes = 0;
    uint32_t span_pages = 0;
    std::vector<Span*> with_room;  // In no order; each knows its index.

    void List(Span* span);
    void Unlist(Span* span);
  };
  struct Resting {
    uint64_t offset;
    uint64_t epoch;
    uint32_t bytes;
  };

  static size_t ClassOf(size_t bytes);
  absl::optional<uint64_t> AllocateLocked(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::optional<uint64_t> AllocateCell(size_t size_class) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether an object, or an overflow bucket, is handed out; from now on it is not. False, and nothing else: it is not.
  [[nodiscard]] bool TakeBack(uint64_t offset, size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] bool TakeBackCell(uint64_t offset, size_t size_class)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FreeLocked(uint64_t offset, size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FreeCell(uint64_t offset) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::optional<uint32_t> TakePages(uint32_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GivePages(uint32_t first, uint32_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReuseOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const uint64_t offset_bytes_;
  const uint32_t pages_count_;
  const EpochClock* const epochs_;
  const Format format_;

  mutable Mutex mutex_;
  std::vector<SizeClass> classes_ ABSL_GUARDED_BY(mutex_);
  std::vector<Span*> span_of_page_ ABSL_GUARDED_BY(mutex_);  // Null: free, or of a large object.
  absl::flat_hash_map<uint32_t, std::unique_ptr<Span>> spans_ ABSL_GUARDED_BY(mutex_);  // By page.
  std::set<std::pair<uint32_t, uint32_t>> free_runs_ ABSL_GUARDED_BY(mutex_);  // {pages, first}
  std::vector<uint32_t> run_pages_ ABSL_GUARDED_BY(mutex_);  // At a free run's first and last page.
  // Large objects that are handed out: first page, pages.
  absl::flat_hash_map<uint32_t, uint32_t> given_runs_ ABSL_GUARDED_BY(mutex_);
  std::deque<Resting> resting_ ABSL_GUARDED_BY(mutex_);  // In order of their epochs.
  Stats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_HEAP_H_
