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
//
// What a validation that finds equal proves: from the moment the read took the word to the moment the
// validation does, the answer was the right one; if the word was odd in between, that was a lock that was
// undone. For every change of what a mark stands for makes its word odd before it changes anything, and
// leaves it with a version that it never had. So a read that completed before the validation began, and
// this one, stood together: at the moment that the later of them took its word. No clock is needed for
// "before": both readers load in program order (acquire), or post a READ when the one before has
// completed, and a writer's marks, at all homes, come before any of its installs. So whoever sees one of
// its values finds the mark, or what it was installed as, at every other key that it wrote.

#ifndef ACRE_KVS_READ_MARK_H_
#define ACRE_KVS_READ_MARK_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "glog/logging.h"
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
  // Whether the address is that of a word among the buckets or in the heap of this segment.
  bool IsIn(const SegmentLayout& layout) const {
    const uint64_t offset = word.offset_bytes();
    return word.region_id() == layout.identity >> 32 && offset % kWordBytes == 0 &&
           offset >= layout.buckets_offset_bytes &&
           offset + kWordBytes <= layout.heap_offset_bytes + layout.heap_bytes;
  }
};

// Which of a server's `count` segments, in the directory's order, the mark's word is in. CHECKs that there is
// one: marks are our own. `layout_at(i)`: of segment i.
template <class LayoutAt>
size_t SegmentOfMark(const ReadMark& mark, size_t count, const LayoutAt& layout_at) {
  // Their ids follow each other, nearly always.
  const size_t guess = mark.word.region_id() - static_cast<uint32_t>(layout_at(0).identity >> 32);
  if (guess < count && mark.IsIn(layout_at(guess))) return guess;
  size_t found = 0;
  while (found < count && !mark.IsIn(layout_at(found))) ++found;
  CHECK_LT(found, count) << "a mark at " << mark.word.region_id() << ":" << mark.word.offset_bytes()
                         << ", which no read of this server has made";
  return found;
}

// A read of one key that gives a mark, and its answer.
struct MarkedGet {
  absl::string_view key;         // With its bytes, the caller's.
  std::string* value = nullptr;  // Replaced, if OK; else unspecified. The caller's, not null.
  absl::Status status;           // One of the answers of kvs/reader.h.
  ReadMark mark;                 // If OK of the record, if NotFound of the miss; else unspecified.
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_READ_MARK_H_
