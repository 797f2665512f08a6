#include "kvs/table.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "glog/logging.h"
#include "kvs/epoch.h"
#include "kvs/hash.h"
#include "kvs/limits.h"
#include "kvs/object.h"
#include "kvs/segment.h"
#include "kvs/segment_view.h"
#include "lock/local_lock.h"
#include "runtime/planted_bug.h"
#include "runtime/this_thread.h"

namespace acre::kvs {

absl::StatusOr<std::unique_ptr<Table>> Table::Create(
    const TableOptions& options, absl::Span<transport::MemoryRegion* const> regions) {
  CHECK(!regions.empty());
  CHECK_LT(options.share.server_index, options.share.servers_count);
  std::unique_ptr<Table> table(new Table(options.share));
  table->epochs_ = std::make_unique<EpochClock>();
  for (transport::MemoryRegion* const region : regions) {
    absl::StatusOr<std::unique_ptr<Segment>> segment =
        Segment::Format(region, options.index_percent, table->epochs_.get());
    if (!segment.ok()) return segment.status();
    table->segments_.push_back(*std::move(segment));
  }
  return table;
}

Table::Table(const KeyShare& share) : share_(share) {}
Table::~Table() = default;

Segment& Table::SegmentOf(uint64_t hash) const {
  return *segments_[share_.SegmentOf(hash, segments_.size())];
}

absl::Status Table::CheckShare(uint64_t hash) {
  if (share_.Holds(hash)) return absl::OkStatus();
  keys_refused_.fetch_add(1, std::memory_order_relaxed);
  return NotOurKey(share_, hash);
}

TableStats Table::Stats() const {
  TableStats stats;
  stats.keys_refused = keys_refused_.load(std::memory_order_relaxed);
  for (const std::unique_ptr<Segment>& segment : segments_) {
    const SegmentLayout& layout = segment->layout();
    const Heap::Stats heap = segment->heap().stats();
    stats.records += segment->records();
    stats.main_slots += layout.buckets_count * kSlotsPerBucket;
    stats.overflow_buckets += heap.overflow_buckets;
    stats.segment_bytes += layout.heap_offset_bytes + layout.heap_bytes;
    stats.object_bytes_free += heap.bytes_free;
    stats.object_bytes_used += layout.heap_bytes - heap.bytes_free;
    stats.displacements += segment->displacements();
  }
  return stats;
}

// The content of a slot, and the object that it names, which is freed again unless it was
// published.
class TableWriter::Record {
 public:
  Record(Segment* segment, uint64_t hash, absl::string_view key, absl::string_view value,
         std::atomic<uint64_t>* stamp)
      : segment_(segment) {
    if (FitsInline(key.size(), value.size())) {
      content_ = SlotContent::Inline(key, value);
      return;
    }
    bytes_ = ObjectBytes(key.size(), value.size());
    offset_ = segment->heap().Allocate(bytes_);
    if (!offset_.has_value()) return;
    SharedWord* const to = segment->words() + *offset_ / kWordBytes;
    // Relaxed: only unique.
    const uint64_t checksum =
        WriteObject(to, stamp->fetch_add(1, std::memory_order_relaxed), key, value);
    if (IsPlanted(PlantedBug::kObjectAfterSlot)) ZeroShared(to + 1, bytes_ / kWordBytes - 1);
    const GlobalAddress address(segment->region_id(), static_cast<uint32_t>(*offset_));
    content_ = SlotContent::OutOfLine(hash, address, key.size(), value.size(), checksum);
  }
  ~Record() {
    if (offset_.has_value()) segment_->heap().Free(*offset_, bytes_);
  }
  Record(const Record&) = delete;
  Record& operator=(const Record&) = delete;

  bool has_memory() const { return content_.kind != SlotKind::kEmpty; }
  const SlotContent& content() const { return content_; }
  void Published(absl::string_view key, absl::string_view value) {
    if (IsPlanted(PlantedBug::kObjectAfterSlot) && offset_.has_value()) {
      SharedWord* const to = segment_->words() + *offset_ / kWordBytes;
      (void)WriteObject(to, /*stamp=*/to->Load(std::memory_order_relaxed), key, value);
    }
    offset_ = absl::nullopt;
  }

 private:
  Segment* const segment_;
  size_t bytes_ = 0;
  absl::optional<uint64_t> offset_;
  SlotContent content_;
};

namespace {

absl::Status NoMemory() {
  return absl::ResourceExhaustedError(
      "the server has no memory left for this record (or thousands of keys collide with its key); "
      "delete others, or start the server with more --memory (or another --index_percent)");
}

void Retire(Segment* segment, const Segment::Freed& freed) {
  if (freed.bytes == 0 || IsPlanted(PlantedBug::kObjectNotRetired)) return;
  segment->heap().Retire(freed.offset, freed.bytes);
}

}  // namespace

TableWriter::TableWriter(Table* table, Scheduler* scheduler)
    : table_(table),
      locks_(std::make_unique<LockThread>(scheduler, table->lock_arena(), LockThread::Options{})) {
  for (const std::unique_ptr<Segment>& segment : table->segments()) {
    views_.emplace_back(segment->words(), segment->layout());
  }
}

TableWriter::~TableWriter() = default;

bool TableWriter::PassOnAbandonedLocks() {
  (void)locks_->Poll();
  return locks_->idle();
}

Task<absl::Status> TableWriter::Put(absl::string_view key, absl::string_view value) {
  if (absl::Status status = CheckKey(key); !status.ok()) co_return status;
  if (absl::Status status = CheckValue(value); !status.ok()) co_return status;
  const uint64_t hash = HashKey(key);
  if (absl::Status status = table_->CheckShare(hash); !status.ok()) co_return status;
  Segment* const segment = &table_->SegmentOf(hash);
  const uint64_t home = HomeBucket(hash, segment->layout().buckets_count);
  // Memory first: from the locks on, nothing suspends but the wait for the next lock, and an object
  // of a megabyte is not written while others wait.
  Record record(segment, hash, key, value, &table_->object_stamp_);
  if (!record.has_memory()) co_return NoMemory();

  LockSet locks(locks_.get());
  if (!locks.Start(segment->LockOf(home))) co_await locks.Wait();
  const Segment::Place place = segment->Find(home, hash, key);
  if (!place.found() && segment->InsertAtHome(home, hash, record.content())) {
    record.Published(key, value);
    co_return absl::OkStatus();
  }
  if (!place.found() || place.in_next()) {
    if (!locks.Start(segment->LockOf(home + 1))) co_await locks.Wait();
  }
  if (place.found()) {
    Retire(segment, segment->Update(place, record.content()));
  } else if (!segment->InsertBeyond(home, hash, record.content(), &locks)) {
    co_return NoMemory();
  }
  record.Published(key, value);
  co_return absl::OkStatus();
}

Task<absl::Status> TableWriter::Delete(absl::string_view key) {
  if (absl::Status status = CheckKey(key); !status.ok()) co_return status;
  const uint64_t hash = HashKey(key);
  if (absl::Status status = table_->CheckShare(hash); !status.ok()) co_return status;
  Segment* const segment = &table_->SegmentOf(hash);
  const uint64_t home = HomeBucket(hash, segment->layout().buckets_count);
  LockSet locks(locks_.get());
  if (!locks.Start(segment->LockOf(home))) co_await locks.Wait();
  const Segment::Place place = segment->Find(home, hash, key);
  if (!place.found()) co_return absl::NotFoundError("no such record");
  if (place.in_next()) {
    if (!locks.Start(segment->LockOf(home + 1))) co_await locks.Wait();
  }
  Retire(segment, segment->Delete(home, place));
  co_return absl::OkStatus();
}

absl::Status TableWriter::Get(absl::string_view key, std::string* value) {
  if (absl::Status status = CheckKey(key); !status.ok()) return status;
  const LookupKey lookup(key);
  if (absl::Status status = table_->CheckShare(lookup.hash); !status.ok()) return status;
  const SegmentView& view = views_[table_->share_.SegmentOf(lookup.hash, views_.size())];
  LookupResult result = view.Lookup(lookup, value, &scratch_, &stats_);
  // Writers hold no slot odd across a suspension, so the one that is at work is another thread.
  for (int retries = 0; result == LookupResult::kRetry; ++retries) {
    if (retries >= 64) YieldThread();
    result = view.Lookup(lookup, value, &scratch_, &stats_);
  }
  CHECK(result != LookupResult::kDamaged) << "our own table is damaged";
  if (result == LookupResult::kMiss) return absl::NotFoundError("no such record");
  return absl::OkStatus();
}

}  // namespace acre::kvs
