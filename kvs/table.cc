#include "kvs/table.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/epoch.h"
#include "kvs/hash.h"
#include "kvs/limits.h"
#include "kvs/new_record.h"
#include "kvs/segment.h"
#include "kvs/segment_view.h"
#include "lock/local_lock.h"
#include "lock/pause.h"
#include "runtime/planted_bug.h"

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
    stats.memory_spoilt += segment->spoilt();
  }
  return stats;
}

namespace {

// How often a Get looks at a record that a writer is at work on before it suspends.
constexpr int kRetriesAtOnce = 64;

bool IsAbsent(const Segment::Place& place) { return !place.found() && !place.is_busy; }

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

TableWriter::TableWriter(Table* table, Scheduler* scheduler, const Options& options)
    : table_(table),
      options_(options),
      locks_(std::make_unique<LockThread>(scheduler, table->lock_arena(), LockThread::Options{})) {
  for (const std::unique_ptr<Segment>& segment : table->segments()) {
    views_.emplace_back(segment->words(), segment->layout());
  }
}

TableWriter::~TableWriter() = default;

void TableWriter::ForgetAbandonedLocks() { locks_->ForgetAbandoned(); }

Task<absl::Status> TableWriter::Await(LockSet* locks, GlobalAddress lock, uint64_t* deadline_ns) {
  // The clock is looked at by those alone who wait.
  if (*deadline_ns == 0) *deadline_ns = locks->scheduler()->NowNs() + options_.lock_patience_ns;
  absl::Status status = co_await locks->Wait(*deadline_ns);
  if (!absl::IsDeadlineExceeded(status)) co_return status;
  absl::optional<TransactionId> holder;
  if (options_.holders != nullptr) holder = options_.holders->Find(lock);
  co_return StayedLocked(holder);
}

absl::Status TableWriter::StayedLocked(absl::optional<TransactionId> holder) const {
  const uint64_t waited_ms = options_.lock_patience_ns / 1'000'000;
  if (holder.has_value()) {
    return absl::UnavailableError(absl::StrCat(
        "the record is locked by a transaction that does not end: ", holder->ToString(),
        " (waited for ", waited_ms, " ms); its keys answer again once it is ended"));
  }
  return absl::UnavailableError(absl::StrCat(
      "the record stayed locked for ", waited_ms,
      " ms: the client or the transaction that is to write it has stalled; try again"));
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
  NewRecord record(table_, segment, hash, key, value);
  if (!record.has_memory()) co_return NoMemory();

  LockSet locks(locks_.get());
  uint64_t deadline_ns = 0;
  absl::Status locked;
  const MappedLock home_lock = segment->LockOf(home);
  if (!locks.Start(home_lock)) locked = co_await Await(&locks, home_lock.address, &deadline_ns);
  if (!locked.ok()) co_return locked;
  Segment::Place place = segment->Find(home, hash, key, /*holds_next=*/false);
  if (place.is_damaged) co_return HalfWritten();
  if (IsAbsent(place) && segment->InsertAtHome(home, hash, record.content())) {
    record.Published(key, value);
    co_return absl::OkStatus();
  }
  if (!place.found() || place.in_next()) {
    const MappedLock next_lock = segment->LockOf(home + 1);
    if (!locks.Start(next_lock)) locked = co_await Await(&locks, next_lock.address, &deadline_ns);
    if (!locked.ok()) co_return locked;
  }
  if (place.is_busy) {
    // Whoever was at work has left: now it can be told what is there.
    place = segment->Find(home, hash, key, /*holds_next=*/true);
    if (place.is_damaged) co_return HalfWritten();
  }
  if (place.found()) {
    const absl::StatusOr<Segment::Freed> freed = segment->Update(place, record.content());
    if (!freed.ok()) co_return freed.status();
    Retire(segment, *freed);
  } else if (!segment->InsertAtHome(home, hash, record.content()) &&
             !segment->InsertBeyond(home, hash, record.content(), &locks)) {
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
  uint64_t deadline_ns = 0;
  absl::Status locked;
  const MappedLock home_lock = segment->LockOf(home);
  if (!locks.Start(home_lock)) locked = co_await Await(&locks, home_lock.address, &deadline_ns);
  if (!locked.ok()) co_return locked;
  Segment::Place place = segment->Find(home, hash, key, /*holds_next=*/false);
  if (place.is_busy || place.in_next()) {
    const MappedLock next_lock = segment->LockOf(home + 1);
    if (!locks.Start(next_lock)) locked = co_await Await(&locks, next_lock.address, &deadline_ns);
    if (!locked.ok()) co_return locked;
    if (place.is_busy) place = segment->Find(home, hash, key, /*holds_next=*/true);
  }
  if (place.is_damaged) co_return HalfWritten();
  if (!place.found()) co_return absl::NotFoundError("no such record");
  const absl::StatusOr<Segment::Freed> freed = segment->Delete(home, place);
  if (!freed.ok()) co_return freed.status();
  Retire(segment, *freed);
  co_return absl::OkStatus();
}

bool TableWriter::GetAtOnce(absl::string_view key, std::string* value, absl::Status* status) {
  *status = CheckKey(key);
  if (!status->ok()) return true;
  const LookupKey lookup(key);
  *status = table_->CheckShare(lookup.hash);
  if (!status->ok()) return true;
  const SegmentView& view = views_[table_->share_.SegmentOf(lookup.hash, views_.size())];
  LookupResult result = view.Lookup(lookup, value, &scratch_, &stats_);
  // A server thread that is at work is done soon, unless it was preempted.
  for (int retries = 0; result == LookupResult::kRetry && retries < kRetriesAtOnce; ++retries) {
    result = view.Lookup(lookup, value, &scratch_, &stats_);
  }
  switch (result) {
    case LookupResult::kHit:
      return true;
    case LookupResult::kMiss:
      *status = absl::NotFoundError("no such record");
      return true;
    case LookupResult::kRetry:
      return false;
    case LookupResult::kDamaged:
      *status = absl::DataLossError(
          "the server's table is damaged: a client that it trusts has broken it; restart the "
          "server");
      return true;
  }
  LOG(FATAL) << "unreachable";
}

Task<absl::Status> TableWriter::Get(absl::string_view key, std::string* value) {
  absl::Status status;
  if (GetAtOnce(key, value, &status)) co_return status;
  // The writer needs this thread, it may be: it is a remote one, dead, and repaired by us.
  Scheduler* const scheduler = locks_->scheduler();
  const uint64_t deadline_ns = scheduler->NowNs() + options_.lock_patience_ns;
  Pause pause;
  do {
    co_await pause.Take(scheduler);
    if (GetAtOnce(key, value, &status)) co_return status;
  } while (scheduler->NowNs() < deadline_ns);
  absl::optional<TransactionId> holder;
  if (options_.holders != nullptr) {
    const uint64_t hash = HashKey(key);
    Segment& segment = table_->SegmentOf(hash);
    const uint64_t home = HomeBucket(hash, segment.layout().buckets_count);
    holder = options_.holders->Find(segment.LockOf(home).address);
    // Its slot may lie in the next bucket.
    if (!holder.has_value()) holder = options_.holders->Find(segment.LockOf(home + 1).address);
  }
  co_return StayedLocked(holder);
}

}  // namespace acre::kvs
