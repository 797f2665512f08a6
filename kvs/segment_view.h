// SegmentView: looks a key up in a segment that is mapped into this process, beside its writers.
//
// Loads come in order here (each is an acquire), so the structure version taken before and after
// shows that a missing key was missing all the time in between (kvs/bucket.h).
//
// Threads:   any number; a view is immutable, its caller brings the scratch memory.
// Ownership: borrows the memory. None of it is trusted: every address in it is judged before it is
//            followed.

#ifndef ACRE_KVS_SEGMENT_VIEW_H_
#define ACRE_KVS_SEGMENT_VIEW_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "kvs/bucket.h"
#include "kvs/hash.h"
#include "kvs/object.h"
#include "kvs/read_mark.h"
#include "kvs/reader.h"
#include "kvs/segment_layout.h"
#include "runtime/planted_bug.h"

namespace acre::kvs {

enum class LookupResult : uint8_t {
  kHit,
  kMiss,
  kRetry,    // A writer was at work on the record or on its home: look again.
  kDamaged,  // The memory makes no sense.
};

// A key on its way to its slot.
struct LookupKey {
  explicit LookupKey(absl::string_view key) : words(key), hash(HashKey(key)) {}
  KeyWords words;
  uint64_t hash;
};

// What a lookup leaves beside its answer, for who will ask whether that still stands: nothing, or a
// ReadMark. Told of the answer when that is certain.
struct NoMark {
  void Hit(GlobalAddress /*slot*/, SlotWord /*first*/) const {}
  void Miss(const SegmentLayout& /*layout*/, uint64_t /*hash*/, uint64_t /*version*/) const {}
};
struct MarkInto {
  ReadMark* mark;
  void Hit(GlobalAddress slot, SlotWord first) const { *mark = ReadMark::OfHit(slot, first); }
  void Miss(const SegmentLayout& layout, uint64_t hash, uint64_t version) const {
    *mark = ReadMark::OfMiss(layout, hash, version);
  }
};

class SegmentView {
 public:
  SegmentView(const SharedWord* words, const SegmentLayout& layout)
      : words_(words), layout_(layout) {}

  const Bucket* HomeOf(uint64_t hash) const {
    return BucketAtOffset(layout_.BucketOffset(HomeBucket(hash, layout_.buckets_count)));
  }

  // Asks for the lines that a lookup may want. The slots are asked for with the header, though it
  // is the header that names the one: two cache misses beside each other instead of one after the
  // other are worth five lines too many (docs/lookup.md).
  // Always inlined: g++ 12 takes a function that only prefetches for one without effect, and drops the
  // calls.
  __attribute__((always_inline)) void Prefetch(uint64_t hash) const {
    const Bucket* const home = HomeOf(hash);
    __builtin_prefetch(home);
#pragma GCC unroll 6
    for (size_t i = 0; i < kNeighbourhood; ++i) __builtin_prefetch(&SlotAt(home, i));
  }

  // Asks for the first overflow bucket of a home whose header has come, if there is one.
  __attribute__((always_inline)) void PrefetchChain(const Bucket* home) const {
    const GlobalAddress address =
        GlobalAddress::FromBits(home->overflow.Load(std::memory_order_acquire));
    // Only a hint: an address that makes no sense is judged when it is followed.
    if (!layout_.HeapContains(address.offset_bytes(), kBucketBytes)) return;
    const Bucket* const bucket = BucketAtOffset(address.offset_bytes());
    __builtin_prefetch(bucket);
#pragma GCC unroll 3
    for (const Slot& slot : bucket->slots) __builtin_prefetch(&slot);
  }

  // The usual hit in as few instructions as it takes: a key of whole words (Requires: IsAlignedKey),
  // held inline by the first slot whose tag matches. False says nothing: ask Lookup(). *value is
  // replaced, or unspecified.
  __attribute__((always_inline)) bool FindAligned(absl::string_view key, uint64_t hash,
                                                  std::string* value) const {
    const Bucket* const home = HomeOf(hash);
    // No version needs to be loaded for a hit: the slot proves itself (kvs/slot.h).
    const uint64_t tags = home->tags.Load(std::memory_order_acquire);
    const uint64_t match = MatchTags(tags, TagOf(hash));
    if (match == 0) [[unlikely]] {
      PrefetchChain(home);
      return false;
    }
    return MatchAlignedInline(FirstMatch(home, match), key, value);
  }

  // One look. On kHit *value is replaced, else unspecified. `scratch` is memory for objects,
  // reused. `mark`: NoMark or MarkInto. Value and mark are of one collect: the mark's word is that of the
  // very copy of the slot that the value, or the object's checksum, was taken from.
  template <class Mark = NoMark>
  LookupResult Lookup(const LookupKey& key, std::string* value, std::vector<uint64_t>* scratch,
                      ReaderStats* stats, Mark mark = {}) const {
    const Bucket* const home = HomeOf(key.hash);
    // Pairs with the releases in Segment::StructureChange and of every store within it.
    const uint64_t version = home->structure_version.Load(std::memory_order_acquire);
    const uint64_t tags = home->tags.Load(std::memory_order_acquire);
    ++stats->reads;
    SlotCopy copy;
    for (uint64_t match = MatchTags(tags, TagOf(key.hash)); match != 0; match &= match - 1) {
      const Slot& slot = SlotAt(home, PositionOf(match));
      LoadSlot(slot, &copy);
      if (!copy.IsConsistent()) return LookupResult::kRetry;
      if (key.words.IsInlineIn(copy)) [[likely]] {
        if (!copy.InlineFits()) return LookupResult::kDamaged;
        AssignInlineValue(copy, value);
        mark.Hit(AddressOf(slot), copy.first());
        return LookupResult::kHit;
      }
      const LookupResult result = LookupObject(copy, key, value, scratch, stats);
      if (result == LookupResult::kHit) mark.Hit(AddressOf(slot), copy.first());
      if (result != LookupResult::kMiss) return result;
    }
    const uint64_t overflow = home->overflow.Load(std::memory_order_acquire);
    if (overflow != 0) [[unlikely]] {
      const LookupResult result = LookupChain(overflow, version, key, value, scratch, stats, mark);
      if (result != LookupResult::kMiss) return result;
    }
    if (!StoodStill(home, version)) return LookupResult::kRetry;
    mark.Miss(layout_, key.hash, version);
    return LookupResult::kMiss;
  }

  // What the word of a mark holds now. Acquire: not loaded ahead of earlier reads, and whoever stored it is
  // done with what it did before. Requires: mark.IsIn(layout()).
  uint64_t LoadWordOf(const ReadMark& mark) const {
    return words_[mark.word.offset_bytes() / kWordBytes].Load(std::memory_order_acquire);
  }
  const SegmentLayout& layout() const { return layout_; }

 private:
  // Whether no key of the home was inserted, deleted or moved since its structure version was loaded.
  static bool StoodStill(const Bucket* home, uint64_t version) {
    if (IsPlanted(PlantedBug::kMappedMissAfterOneLook)) return true;
    return version % 2 == 0 && version == home->structure_version.Load(std::memory_order_acquire);
  }
  const Bucket* BucketAtOffset(uint64_t offset_bytes) const {
    return reinterpret_cast<const Bucket*>(words_ + offset_bytes / kWordBytes);
  }
  GlobalAddress AddressOf(const Slot& slot) const {
    return GlobalAddress(static_cast<uint32_t>(layout_.identity >> 32),
                         static_cast<uint32_t>((slot.words - words_) * kWordBytes));
  }
  // kMiss: the slot holds another key.
  [[gnu::noinline]] LookupResult LookupObject(const SlotCopy& copy, const LookupKey& key,
                                              std::string* value, std::vector<uint64_t>* scratch,
                                              ReaderStats* stats) const;
  // `version`: the home's, loaded before `address`. The mark is told of a hit only.
  template <class Mark>
  [[gnu::noinline]] LookupResult LookupChain(uint64_t address, uint64_t version,
                                             const LookupKey& key, std::string* value,
                                             std::vector<uint64_t>* scratch, ReaderStats* stats,
                                             Mark mark) const;

  const SharedWord* words_;
  SegmentLayout layout_;
};

// Whether an out-of-line slot speaks of the key, as far as the slot tells.
inline bool MayBeObjectOf(const SlotCopy& copy, const LookupKey& key) {
  return copy.first().kind() == SlotKind::kOutOfLine && copy.object_hash() == key.hash &&
         copy.object_key_bytes() == key.words.key().size();
}

// Whether the place and size of an object, as its slot gives them, lie in the heap and within the
// limits.
inline bool ObjectIsInBounds(const SlotCopy& copy, const SegmentLayout& layout) {
  const GlobalAddress address = copy.object_address();
  return address.region_id() == layout.identity >> 32 && copy.object_key_bytes() <= kKeyBytesMax &&
         copy.object_value_bytes() <= kValueBytesMax &&
         layout.HeapContains(address.offset_bytes(),
                             ObjectBytes(copy.object_key_bytes(), copy.object_value_bytes()));
}

// Likewise of an overflow bucket.
inline bool OverflowIsInBounds(uint64_t address_bits, const SegmentLayout& layout) {
  const GlobalAddress address = GlobalAddress::FromBits(address_bits);
  return address.region_id() == layout.identity >> 32 &&
         layout.HeapContains(address.offset_bytes(), kBucketBytes);
}

}  // namespace acre::kvs

#endif  // ACRE_KVS_SEGMENT_VIEW_H_
