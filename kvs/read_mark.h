// ReadMark: what a transaction remembers of a record that it read, or missed: one word of the home's memory
// that would differ had the record changed since, and what stood in it. To validate is to load that word
// again, by a load, or by one READ of 8 bytes.
//
//   hit    the first word of the slot: its version exceeds every version that this slot ever had, so the
//          slot was not updated, emptied, moved from or used again. (What was moved is taken for changed.)
//   miss   the structure version of the home bucket, as the double collect found it (kvs/bucket.h): no key
//          of this home was inserted, deleted or moved.
//
// Both words are odd from a transaction's LOCK to its install or abort, and a mark's own bits are even: so
// equal means unchanged and not locked. The one word of a home that a transaction finds odd by its own
// doing is the structure version of a home that it inserts into or deletes from: its misses there are
// checked by LOCK (kvs/write_plan.h), never by this.

#ifndef ACRE_KVS_READ_MARK_H_
#define ACRE_KVS_READ_MARK_H_

#include <cstddef>
#include <cstdint>

#include "kvs/bucket.h"
#include "kvs/hash.h"
#include "kvs/segment_layout.h"
#include "kvs/slot.h"
#include "transport/address.h"

namespace acre::kvs {

struct ReadMark {
  GlobalAddress word;
  uint64_t bits = 0;

  // Of a record that was found in the slot at this address, whose copy IsConsistent().
  static ReadMark OfHit(GlobalAddress slot, SlotWord first) { return {slot, first.bits()}; }
  // Of a key that was not found. `structure_version` is even.
  static ReadMark OfMiss(const SegmentLayout& layout, uint64_t hash, uint64_t structure_version) {
    return {StructureWord(layout, HomeBucket(hash, layout.buckets_count)), structure_version};
  }
  static GlobalAddress StructureWord(const SegmentLayout& layout, uint64_t home) {
    const uint64_t offset = layout.BucketOffset(home) + offsetof(Bucket, structure_version);
    return GlobalAddress(static_cast<uint32_t>(layout.identity >> 32),
                         static_cast<uint32_t>(offset));
  }

  // Whether the read still stands, given what the word holds now.
  bool IsStill(uint64_t now) const { return now == bits; }
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_READ_MARK_H_
