// Table: the owner's side of a server's records. A directory of segments, one per data region.
//
// Threads:   the Table is shared by the server's threads; each has a TableWriter of its own,
//            confined to it. Stats() and the epoch functions may be called from any thread.
// Ownership: borrows the regions; they outlive the table. Writers go before the table.
// Readers in other processes (kvs/mapped_reader.h, kvs/remote_reader.h) never come here: the format
// of the memory is all that they share with it (kvs/slot.h, kvs/bucket.h, kvs/segment_layout.h).

#ifndef ACRE_KVS_TABLE_H_
#define ACRE_KVS_TABLE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "kvs/epoch.h"
#include "kvs/key_share.h"
#include "kvs/reader.h"
#include "kvs/segment.h"
#include "kvs/segment_view.h"
#include "kvs/transaction_holders.h"
#include "kvs/transaction_id.h"
#include "lock/local_arena.h"
#include "lock/local_lock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/address.h"
#include "transport/fabric.h"

namespace acre::kvs {

struct TableOptions {
  // Share of each region that holds the main buckets, in percent; the rest is for chains and
  // objects.
  int index_percent = 50;
  // Of the cluster's keys, those that the table holds; it refuses all others.
  KeyShare share = {};
};

struct TableStats {
  uint64_t records = 0;
  uint64_t main_slots = 0;
  uint64_t overflow_buckets = 0;
  uint64_t segment_bytes = 0;
  // Of the heaps: chains, objects, and freed objects not yet reused.
  uint64_t object_bytes_used = 0;
  uint64_t object_bytes_free = 0;
  uint64_t displacements = 0;
  uint64_t keys_refused = 0;   // Operations on keys that are another server's.
  uint64_t memory_spoilt = 0;  // Segment::spoilt().
};

class Table {
 public:
  // Formats the regions. InvalidArgument: a region is too small, index_percent makes no sense.
  static absl::StatusOr<std::unique_ptr<Table>> Create(
      const TableOptions& options, absl::Span<transport::MemoryRegion* const> regions);
  ~Table();

  TableStats Stats() const;
  EpochClock& epochs() { return *epochs_; }
  absl::Span<const std::unique_ptr<Segment>> segments() const { return segments_; }
  // Descriptors of those who take buckets' locks here.
  LocalArena* lock_arena() const { return lock_arena_.get(); }
  // Of a key that the table holds.
  Segment& SegmentOf(uint64_t hash) const;
  const KeyShare& share() const { return share_; }
  // Of the next object (kvs/object.h). Never the same twice. Relaxed: only unique.
  uint64_t NextObjectStamp() { return object_stamp_.fetch_add(1, std::memory_order_relaxed); }

 private:
  friend class TableWriter;
  explicit Table(const KeyShare& share);
  // OK, or NotOurKey(), counted.
  absl::Status CheckShare(uint64_t hash);

  const KeyShare share_;
  std::atomic<uint64_t> keys_refused_{0};  // Statistics: relaxed.
  std::unique_ptr<EpochClock> epochs_;
  std::vector<std::unique_ptr<Segment>> segments_;
  const std::unique_ptr<LocalArena> lock_arena_ = LocalArena::Create();
  std::atomic<uint64_t> object_stamp_{1};  // Relaxed.
};

// What a server thread uses to change and read the table. A waiting call suspends, it never blocks.
class TableWriter {
 public:
  // Time enough for a client that died to be noticed and repaired, and for transactions that wait for nobody.
  static constexpr uint64_t kLockPatienceNs = 4'000'000'000;

  struct Options {
    // How long one operation waits for locks, by the scheduler's clock, before it answers Unavailable.
    uint64_t lock_patience_ns = kLockPatienceNs;
    // Which names the transaction that it waited for. Null: nobody does. Outlives the writer.
    const TransactionHolders* holders = nullptr;
  };
  TableWriter(Table* table, Scheduler* scheduler) : TableWriter(table, scheduler, Options()) {}
  TableWriter(Table* table, Scheduler* scheduler, const Options& options);
  ~TableWriter();

  // For the end of a table, once all tasks of all its writers are gone, for each of them: locks that were awaited when
  // their tasks went are handed on to nobody, since nobody takes them any more.
  void ForgetAbandonedLocks();

  // `key` and `value` outlive the task. When it returns OK every reader sees the new value.
  // Errors: InvalidArgument - kvs/limits.h. ResourceExhausted - no memory, or too many operations wait for locks:
  // the record is as it was before. Unavailable - a lock was not to be had within lock_patience_ns: a transaction
  // does not end, since its coordinator died and a home of it does not answer, or a trusted client has stalled: the record
  // is as it was before, and nothing of this call comes later. OutOfRange - the key is another server's (kvs/key_share.h); so too of the
  // others. DataLoss - a trusted client broke the record, or the table around it: this server has to be given up.
  Task<absl::Status> Put(absl::string_view key, absl::string_view value);
  // NotFound: there was no such record.
  Task<absl::Status> Delete(absl::string_view key);
  // Replaces *value. Takes no lock. NotFound; DataLoss as above. Unavailable - the record stayed locked for
  // lock_patience_ns: by a transaction, or by a trusted client that is slow, or dead and not yet repaired.
  // Arguments outlive the task.
  Task<absl::Status> Get(absl::string_view key, std::string* value);
  // The same where nothing has to be waited for, which is nearly always: true, and *status is the answer.
  // false: a writer is at work on the record: ask Get(). *value is unspecified then.
  [[nodiscard]] bool GetAtOnce(absl::string_view key, std::string* value, absl::Status* status);

 private:
  // For the lock that locks->Start() has not got. *deadline_ns: of the whole operation; 0: this is its first wait.
  Task<absl::Status> Await(LockSet* locks, GlobalAddress lock, uint64_t* deadline_ns);
  absl::Status StayedLocked(absl::optional<TransactionId> holder) const;

  Table* const table_;
  const Options options_;
  const std::unique_ptr<LockThread> locks_;
  std::vector<SegmentView> views_;
  std::vector<uint64_t> scratch_;
  ReaderStats stats_;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_TABLE_H_
