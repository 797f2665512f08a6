// Reads as a coordinator does them: a value, or that there is none, with the mark that validates it
// (kvs/read_mark.h). Out of mapped memory, by a plain walk.
//
// Threads: any; confined to the caller's scratch.

#ifndef ACRE_TESTS_TRANSACTIONS_MARKED_READ_H_
#define ACRE_TESTS_TRANSACTIONS_MARKED_READ_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "kvs/bucket.h"
#include "kvs/hash.h"
#include "kvs/object.h"
#include "kvs/read_mark.h"
#include "kvs/segment.h"
#include "kvs/segment_view.h"
#include "kvs/slot.h"
#include "kvs/table.h"

namespace acre::kvs {

struct MarkedRead {
  bool found = false;
  std::string value;
  ReadMark mark;
};

// nullopt: a writer is at work on the record or its home.
inline absl::optional<MarkedRead> TryMarkedRead(const Table& table, absl::string_view key) {
  const LookupKey lookup(key);
  Segment& segment = table.SegmentOf(lookup.hash);
  const SegmentLayout& layout = segment.layout();
  const SharedWord* const words = segment.words();
  const uint64_t home_index = HomeBucket(lookup.hash, layout.buckets_count);
  const auto bucket_at = [&](uint64_t offset) {
    return reinterpret_cast<const Bucket*>(words + offset / kWordBytes);
  };
  const Bucket* const home = bucket_at(layout.BucketOffset(home_index));
  const uint64_t structure = home->structure_version.Load(std::memory_order_acquire);
  std::vector<const Bucket*> buckets = {home, home + 1};
  uint64_t next = home->overflow.Load(std::memory_order_acquire);
  while (next != 0) {
    buckets.push_back(bucket_at(GlobalAddress::FromBits(next).offset_bytes()));
    if (buckets.back()->floor_or_home.Load(std::memory_order_acquire) != home_index) return {};
    next = buckets.back()->overflow.Load(std::memory_order_acquire);
  }
  for (const Bucket* const bucket : buckets) {
    for (const Slot& slot : bucket->slots) {
      SlotCopy copy;
      LoadSlot(slot, &copy);
      if (!copy.IsConsistent()) return {};
      MarkedRead read;
      if (lookup.words.IsInlineIn(copy)) {
        read.value = std::string(copy.inline_value());
      } else if (MayBeObjectOf(copy, lookup)) {
        const uint32_t offset = copy.object_address().offset_bytes();
        std::vector<uint64_t> object(
            ObjectBytes(copy.object_key_bytes(), copy.object_value_bytes()) / kWordBytes);
        CopyFromShared(object.data(), words + offset / kWordBytes, object.size(),
                       CopyOrder::kAscending);
        const ObjectView view = ParseObject(object.data(), copy.object_key_bytes(),
                                            copy.object_value_bytes(), copy.object_checksum());
        if (!view.valid) return {};
        if (view.key != key) continue;
        read.value = std::string(view.value);
      } else {
        continue;
      }
      read.found = true;
      const auto offset = static_cast<uint32_t>(reinterpret_cast<const char*>(&slot) -
                                                reinterpret_cast<const char*>(words));
      read.mark = ReadMark::OfHit(GlobalAddress(segment.region_id(), offset), copy.first());
      return read;
    }
  }
  if (structure % 2 != 0 || structure != home->structure_version.Load(std::memory_order_acquire)) {
    return {};
  }
  MarkedRead read;
  read.mark = ReadMark::OfMiss(layout, lookup.hash, structure);
  return read;
}

// The word of a mark, now.
inline uint64_t Reload(const Table& table, const ReadMark& mark) {
  for (const auto& segment : table.segments()) {
    if (segment->region_id() != mark.word.region_id()) continue;
    return segment->words()[mark.word.offset_bytes() / kWordBytes].Load(std::memory_order_acquire);
  }
  return ~uint64_t{0};
}

}  // namespace acre::kvs

#endif  // ACRE_TESTS_TRANSACTIONS_MARKED_READ_H_
