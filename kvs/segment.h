// Segment: the owner's hand on one hopscotch table. Every change of it goes through here.
//
// Threads:    any thread of the owner that holds the locks that a function names; that is all the
//             order there is. Readers of any process look on without a lock (kvs/bucket.h says what
//             they may believe).
// Ownership:  borrows region and epochs.
// Trust:      clients that the server trusts may write all of the region (docs/updates.md), astray, too. So each word of
//             it is judged before it is followed: what makes no sense is left as it is, the operation fails, and
//             spoilt() counts it. No loop is longer than a chain may be.
// Invariants: a key is in its home bucket, the next one, or its home's chain, and only once, except
//             between two stores of a move, when both places hold the same value and both buckets
//             are locked.
//             A slot's version only rises; a key's version only rises, across moves and deletes.
//             An overflow bucket in a chain holds at least one record.

#ifndef ACRE_KVS_SEGMENT_H_
#define ACRE_KVS_SEGMENT_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "kvs/bucket.h"
#include "kvs/heap.h"
#include "kvs/segment_layout.h"
#include "lock/local_lock.h"
#include "transport/fabric.h"

namespace acre::kvs {

// What stands where a record may be makes no sense, under its lock: a slot that is half-written, though nobody is at work
// on it; an object or a link of a chain that leads elsewhere.
absl::Status HalfWritten();

class Segment {
 public:
  // Formats the region. The errors of SegmentLayout::Plan.
  static absl::StatusOr<std::unique_ptr<Segment>> Format(transport::MemoryRegion* region,
                                                         int index_percent,
                                                         const EpochClock* epochs);

  const SegmentLayout& layout() const { return layout_; }
  SharedWord* words() { return region_->words(); }
  uint32_t region_id() const { return region_->region_id(); }
  Heap& heap() { return heap_; }
  MappedLock LockOf(uint64_t bucket);
  // The bucket that this lock guards; null: it is that of none, whoever says so.
  Bucket* FindBucketOf(GlobalAddress lock);

  // Where a record is.
  struct Place {
    Slot* slot = nullptr;
    size_t position = 0;         // In the neighbourhood; kNeighbourhood: in the chain.
    Bucket* overflow = nullptr;  // In the chain: the bucket, and the one before it.
    Bucket* before = nullptr;
    // Not found, but a slot that may be the record's is half-written: one of the next bucket, whose lock somebody
    // holds who may be slow, or dead and not yet repaired,
    bool is_busy = false;
    // or something under a lock that we hold ourselves makes no sense (HalfWritten).
    bool is_damaged = false;
    bool found() const { return slot != nullptr; }
    bool in_next() const { return position >= kSlotsPerBucket && position < kNeighbourhood; }
  };
  // Holds: home's lock. `holds_next`: the next bucket's, too, which is what ends is_busy. A structure version that
  // was left odd is made even: nobody is at work, and any number will do.
  Place Find(uint64_t home, uint64_t hash, absl::string_view key, bool holds_next);

  // An object that nobody can reach any more. offset 0: none.
  struct Freed {
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };

  // Replaces the value of a record. Holds: home's lock, and the next bucket's if place.in_next().
  // DataLoss: the slot is half-written, which a trusted client has to answer for; nothing was changed.
  [[nodiscard]] absl::StatusOr<Freed> Update(const Place& place, const SlotContent& content);

  // Inserts a record that is not there, into the home bucket's own slots. false: they are full.
  // Holds: home's lock.
  [[nodiscard]] bool InsertAtHome(uint64_t home, uint64_t hash, const SlotContent& content);
  // Inserts it anywhere else: into the next bucket, after displacing others if need be (further
  // locks are tried and kept in `locks`), else into the chain. false: no memory for a chain, or it was spoilt since
  // Find() walked it; nothing was changed.
  // Holds: home's lock and the next bucket's.
  [[nodiscard]] bool InsertBeyond(uint64_t home, uint64_t hash, const SlotContent& content,
                                  LockSet* locks);

  // Removes a record, and pulls one of the chain into its slot. Locks and errors as Update().
  [[nodiscard]] absl::StatusOr<Freed> Delete(uint64_t home, const Place& place);

  uint64_t records() const { return records_.load(std::memory_order_relaxed); }
  uint64_t displacements() const { return displacements_.load(std::memory_order_relaxed); }
  // How often something was met that makes no sense, and that only a client which writes by itself can have done.
  uint64_t spoilt() const {
    return spoilt_.load(std::memory_order_relaxed) + heap_.stats().refused;
  }

  // Walks the whole table and CHECKs its invariants, and that so much was found spoilt, which without a client that
  // writes astray is our own bug; returns the records found. Nobody else is at work.
  uint64_t CheckInvariants(uint64_t spoilt_expected = 0);

 private:
  // The other way to change a segment: all writes of a transaction together (kvs/write_plan.h).
  friend class WritePlan;

  Segment(transport::MemoryRegion* region, const SegmentLayout& layout, const EpochClock* epochs);

  static bool IsEmpty(const Bucket& bucket);
  // What a slot names in the heap.
  static Freed ObjectOf(const SlotCopy& copy);

  // Makes the home's structure version odd for as long as it lives.
  class StructureChange;
  // A way along the chain of a home.
  class ChainWalk;

  void NoteSpoilt() { spoilt_.fetch_add(1, std::memory_order_relaxed); }
  Bucket* BucketAt(uint64_t index);
  // Null: the address is 0, or that of no place where an overflow bucket can be.
  Bucket* OverflowAt(uint64_t address_bits);
  uint64_t AddressOf(const Bucket* overflow) const;
  // Whether a slot holds the key; nullopt: it may, and its object lies nowhere.
  absl::optional<bool> Holds(const SlotCopy& copy, uint64_t hash, absl::string_view key);
  // Where the key is in the home's chain, or that something there is damaged.
  Place FindInChain(uint64_t home, uint64_t hash, absl::string_view key);
  uint64_t HashOf(const SlotCopy& copy) const;
  void PlaceAt(Bucket* home, size_t position, uint64_t hash, const SlotContent& content);
  bool Displace(uint64_t home, LockSet* locks, size_t* position);
  bool MoveToNext(uint64_t bucket, size_t from, size_t to);
  bool InsertIntoChain(uint64_t home, const SlotContent& content);
  void PullFromChain(Bucket* home, size_t position);
  void Unlink(Bucket* home, Bucket* overflow, Bucket* before);
  uint64_t NewVersion(const Slot& slot, const Bucket& home) const;

  transport::MemoryRegion* const region_;
  const SegmentLayout layout_;
  Heap heap_;
  std::atomic<uint64_t> records_{0};        // Statistics: relaxed.
  std::atomic<uint64_t> displacements_{0};  // Likewise.
  std::atomic<uint64_t> spoilt_{0};         // Likewise.
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_SEGMENT_H_
