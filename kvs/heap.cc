#include "kvs/heap.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "glog/logging.h"
#include "kvs/bucket.h"
#include "runtime/planted_bug.h"

namespace acre::kvs {
namespace {

constexpr size_t kFineClasses = 8;  // 64, 128, ... 512 B; above, eight per doubling.
constexpr size_t kObjectClasses = kFineClasses + 8 * 6;
constexpr size_t kOverflowClass = kObjectClasses;  // Apart from 256 B objects: type-stable.
// A span is at least this long, so that small cells share its books.
constexpr size_t kSpanBytesMin = 16 << 10;
constexpr size_t kCellsPerSpanMin = 8;
constexpr size_t kReusesPerAllocation = 4;

size_t CellBytes(size_t size_class) {
  if (size_class == kOverflowClass) return kBucketBytes;
  if (size_class < kFineClasses) return (size_class + 1) * kCellAlignment;
  const size_t doubling = (size_class - kFineClasses) / 8;
  const size_t step = (size_class - kFineClasses) % 8 + 1;
  return (size_t{512} << doubling) + step * (size_t{64} << doubling);
}

uint32_t PagesFor(size_t bytes) {
  return static_cast<uint32_t>((bytes + kHeapPageBytes - 1) / kHeapPageBytes);
}

}  // namespace

size_t Heap::ClassOf(size_t bytes) {
  if (bytes <= kFineClasses * kCellAlignment) {
    return (std::max<size_t>(bytes, 1) - 1) / kCellAlignment;
  }
  const size_t doubling = static_cast<size_t>(std::bit_width(bytes - 1)) - 10;  // 513 B: 0.
  return kFineClasses + doubling * 8 +
         (bytes - 1 - (size_t{512} << doubling)) / (size_t{64} << doubling);
}

size_t Heap::RoundedBytes(size_t bytes) {
  if (bytes <= kCellBytesMax) return CellBytes(ClassOf(bytes));
  return size_t{PagesFor(bytes)} * kHeapPageBytes;
}

Heap::Heap(uint64_t offset_bytes, uint64_t bytes, const EpochClock* epochs, Format format)
    : offset_bytes_(offset_bytes),
      pages_count_(static_cast<uint32_t>(bytes / kHeapPageBytes)),
      epochs_(epochs),
      format_(std::move(format)) {
  CHECK_EQ(offset_bytes % kHeapPageBytes, 0u);
  CHECK_GT(pages_count_, 0u);
  MutexLock lock(&mutex_);
  classes_.resize(kObjectClasses + 1);
  for (size_t i = 0; i < classes_.size(); ++i) {
    classes_[i].cell_bytes = static_cast<uint32_t>(CellBytes(i));
    classes_[i].span_pages =
        PagesFor(std::max(kSpanBytesMin, classes_[i].cell_bytes * kCellsPerSpanMin));
  }
  span_of_page_.resize(pages_count_);
  run_pages_.resize(pages_count_);
  GivePages(0, pages_count_);
}

Heap::~Heap() = default;

void Heap::SizeClass::List(Span* span) {
  span->list_index = with_room.size();
  with_room.push_back(span);
}

void Heap::SizeClass::Unlist(Span* span) {
  with_room.back()->list_index = span->list_index;
  std::swap(with_room[span->list_index], with_room.back());
  with_room.pop_back();
}

absl::optional<uint64_t> Heap::Allocate(size_t bytes) {
  MutexLock lock(&mutex_);
  const uint64_t safe_before = epochs_->SafeBefore();
  for (size_t i = 0; i < kReusesPerAllocation && !resting_.empty(); ++i) {
    if (resting_.front().epoch >= safe_before) break;
    ReuseOldest();
  }
  while (true) {
    const absl::optional<uint64_t> offset = AllocateLocked(bytes);
    if (offset.has_value()) return offset;
    if (resting_.empty()) return absl::nullopt;
    if (resting_.front().epoch >= safe_before) ++stats_.reused_early;
    ReuseOldest();
  }
}

absl::optional<uint64_t> Heap::AllocateLocked(size_t bytes) {
  if (bytes <= kCellBytesMax) return AllocateCell(ClassOf(bytes));
  const absl::optional<uint32_t> first = TakePages(PagesFor(bytes));
  if (!first.has_value()) return absl::nullopt;
  given_runs_[*first] = PagesFor(bytes);
  return offset_bytes_ + uint64_t{*first} * kHeapPageBytes;
}

void Heap::Retire(uint64_t offset, size_t bytes) {
  MutexLock lock(&mutex_);
  if (!TakeBack(offset, bytes)) {
    ++stats_.refused;
    return;
  }
  if (IsPlanted(PlantedBug::kObjectReusedAtOnce)) return FreeLocked(offset, bytes);
  resting_.push_back({offset, epochs_->Now(), static_cast<uint32_t>(bytes)});
  stats_.bytes_resting += RoundedBytes(bytes);
}

void Heap::Free(uint64_t offset, size_t bytes) {
  MutexLock lock(&mutex_);
  CHECK(TakeBack(offset, bytes)) << "freeing offset " << offset << ", which was not handed out";
  FreeLocked(offset, bytes);
}

bool Heap::TakeBack(uint64_t offset, size_t bytes) {
  if (bytes == 0 || bytes > uint64_t{pages_count_} * kHeapPageBytes) return false;
  if (bytes <= kCellBytesMax) return TakeBackCell(offset, ClassOf(bytes));
  if (offset < offset_bytes_ || (offset - offset_bytes_) % kHeapPageBytes != 0) return false;
  const uint64_t page = (offset - offset_bytes_) / kHeapPageBytes;
  if (page >= pages_count_) return false;
  const auto run = given_runs_.find(static_cast<uint32_t>(page));
  if (run == given_runs_.end() || run->second != PagesFor(bytes)) return false;
  given_runs_.erase(run);
  return true;
}

bool Heap::TakeBackCell(uint64_t offset, size_t size_class) {
  if (offset < offset_bytes_) return false;
  const uint64_t page = (offset - offset_bytes_) / kHeapPageBytes;
  if (page >= pages_count_) return false;
  Span* const span = span_of_page_[page];
  if (span == nullptr || span->size_class != size_class) return false;
  const uint64_t in_span = offset - offset_bytes_ - uint64_t{span->first_page} * kHeapPageBytes;
  const uint32_t cell_bytes = classes_[size_class].cell_bytes;
  const uint64_t cell = in_span / cell_bytes;
  if (in_span % cell_bytes != 0 || cell >= span->cells || !span->given[cell]) return false;
  span->given[cell] = false;
  return true;
}

void Heap::ReuseOldest() {
  const Resting oldest = resting_.front();
  resting_.pop_front();
  stats_.bytes_resting -= RoundedBytes(oldest.bytes);
  FreeLocked(oldest.offset, oldest.bytes);
}

void Heap::FreeLocked(uint64_t offset, size_t bytes) {
  if (bytes <= kCellBytesMax) return FreeCell(offset);
  GivePages(static_cast<uint32_t>((offset - offset_bytes_) / kHeapPageBytes), PagesFor(bytes));
}

absl::optional<uint64_t> Heap::AllocateOverflowBucket() {
  MutexLock lock(&mutex_);
  absl::optional<uint64_t> offset = AllocateCell(kOverflowClass);
  while (!offset.has_value() && !resting_.empty()) {
    if (resting_.front().epoch >= epochs_->SafeBefore()) ++stats_.reused_early;
    ReuseOldest();
    offset = AllocateCell(kOverflowClass);
  }
  if (offset.has_value()) ++stats_.overflow_buckets;
  return offset;
}

void Heap::FreeOverflowBucket(uint64_t offset) {
  MutexLock lock(&mutex_);
  if (!TakeBackCell(offset, kOverflowClass)) {
    ++stats_.refused;
    return;
  }
  --stats_.overflow_buckets;
  FreeCell(offset);
}

absl::optional<uint64_t> Heap::AllocateCell(size_t size_class) {
  SizeClass& sizes = classes_[size_class];
  if (sizes.with_room.empty()) {
    const absl::optional<uint32_t> first = TakePages(sizes.span_pages);
    if (!first.has_value()) return absl::nullopt;
    std::unique_ptr<Span>& span = spans_[*first];
    span = std::make_unique<Span>();
    span->first_page = *first;
    span->size_class = static_cast<uint32_t>(size_class);
    span->cells = static_cast<uint32_t>(sizes.span_pages * kHeapPageBytes / sizes.cell_bytes);
    CHECK_LE(span->cells, std::numeric_limits<uint16_t>::max());
    span->given.resize(span->cells);
    for (uint32_t i = span->cells; i > 0; --i) {
      span->free_cells.push_back(static_cast<uint16_t>(i - 1));
    }
    std::fill_n(span_of_page_.begin() + *first, sizes.span_pages, span.get());
    stats_.bytes_free += uint64_t{span->cells} * sizes.cell_bytes;
    sizes.List(span.get());
    if (size_class == kOverflowClass) {
      format_(offset_bytes_ + uint64_t{*first} * kHeapPageBytes, sizes.span_pages * kHeapPageBytes);
    }
  }
  Span* const span = sizes.with_room.back();
  const uint16_t cell = span->free_cells.back();
  span->free_cells.pop_back();
  span->given[cell] = true;
  if (span->free_cells.empty()) sizes.Unlist(span);
  stats_.bytes_free -= sizes.cell_bytes;
  return offset_bytes_ + uint64_t{span->first_page} * kHeapPageBytes +
         uint64_t{cell} * sizes.cell_bytes;
}

void Heap::FreeCell(uint64_t offset) {
  const uint64_t page = (offset - offset_bytes_) / kHeapPageBytes;
  Span* const span = span_of_page_[page];
  SizeClass& sizes = classes_[span->size_class];
  const uint64_t in_span = offset - offset_bytes_ - uint64_t{span->first_page} * kHeapPageBytes;
  span->free_cells.push_back(static_cast<uint16_t>(in_span / sizes.cell_bytes));
  stats_.bytes_free += sizes.cell_bytes;
  if (span->free_cells.size() == 1) sizes.List(span);
  const bool is_whole = span->free_cells.size() == span->cells;
  if (!is_whole || span->size_class == kOverflowClass) return;
  sizes.Unlist(span);
  stats_.bytes_free -= uint64_t{span->cells} * sizes.cell_bytes;
  std::fill_n(span_of_page_.begin() + span->first_page, sizes.span_pages, nullptr);
  GivePages(span->first_page, sizes.span_pages);
  spans_.erase(span->first_page);
}

absl::optional<uint32_t> Heap::TakePages(uint32_t count) {
  const auto run = free_runs_.lower_bound({count, 0});
  if (run == free_runs_.end()) return absl::nullopt;
  const auto [pages, first] = *run;
  free_runs_.erase(run);
  run_pages_[first] = run_pages_[first + pages - 1] = 0;
  stats_.bytes_free -= uint64_t{pages} * kHeapPageBytes;
  if (pages > count) GivePages(first + count, pages - count);
  return first;
}

void Heap::GivePages(uint32_t first, uint32_t count) {
  stats_.bytes_free += uint64_t{count} * kHeapPageBytes;
  // run_pages_ is the run's length at its first and last page: neighbours are found without a
  // search.
  if (first + count < pages_count_ && run_pages_[first + count] != 0) {
    const uint32_t after = run_pages_[first + count];
    free_runs_.erase({after, first + count});
    run_pages_[first + count] = run_pages_[first + count + after - 1] = 0;
    count += after;
  }
  if (first > 0 && run_pages_[first - 1] != 0) {
    const uint32_t before = run_pages_[first - 1];
    free_runs_.erase({before, first - before});
    run_pages_[first - 1] = run_pages_[first - before] = 0;
    first -= before;
    count += before;
  }
  run_pages_[first] = run_pages_[first + count - 1] = count;
  free_runs_.insert({count, first});
}

Heap::Stats Heap::stats() const {
  MutexLock lock(&mutex_);
  return stats_;
}

Heap::Books Heap::CopyOfBooks() const {
  MutexLock lock(&mutex_);
  Books books;
  for (const auto& [pages, first] : free_runs_) {
    books.pieces.push_back({offset_bytes_ + uint64_t{first} * kHeapPageBytes,
                            uint64_t{pages} * kHeapPageBytes, Use::kFreePages});
  }
  for (const auto& [first_page, span] : spans_) {
    const SizeClass& sizes = classes_[span->size_class];
    const uint64_t offset = offset_bytes_ + uint64_t{first_page} * kHeapPageBytes;
    const uint64_t bytes = uint64_t{sizes.span_pages} * kHeapPageBytes;
    const bool is_overflow = span->size_class == kOverflowClass;
    if (is_overflow) books.overflow_runs.emplace_back(offset, bytes);
    for (const uint16_t cell : span->free_cells) {
      books.pieces.push_back({offset + uint64_t{cell} * sizes.cell_bytes, sizes.cell_bytes,
                              is_overflow ? Use::kFreeOverflowBucket : Use::kFreeCell});
    }
    const uint64_t cells_bytes = uint64_t{span->cells} * sizes.cell_bytes;
    if (cells_bytes != bytes) {
      books.pieces.push_back({offset + cells_bytes, bytes - cells_bytes, Use::kSlack});
    }
  }
  for (const Resting& resting : resting_) {
    books.pieces.push_back({resting.offset, RoundedBytes(resting.bytes), Use::kResting});
  }
  return books;
}

}  // namespace acre::kvs
