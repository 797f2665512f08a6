// Bucket: 256 B, a header line and three slots. A key lives in its home bucket, in the next one, or
// in the chain of overflow buckets that begins at its home (chained associative hopscotch hashing,
// FaRM NSDI'14 section 6.2, with H = 6 slots).
//
// Who guards what: bucket i's lock guards its header, its three slots, and its chain. A key is
// inserted, deleted or moved under its home's lock and that of the bucket whose slots change, with
// the home's structure version odd; its value is updated in place under the same locks with the
// slot odd and nothing else.
//
// A miss is believed after a double collect: the structure version of the home, the overflow
// address and the six slot versions were the same, and even, in two collects of which the second
// began after the first had ended (and after the chain was read). Then all of it stood still in
// between, since each of them only rises. A reader with loads in order (the mapped one) needs to
// look again at the structure version only: whatever moved between its two loads of it raised it.

#ifndef ACRE_KVS_BUCKET_H_
#define ACRE_KVS_BUCKET_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kvs/slot.h"
#include "lock/lock_words.h"
#include "runtime/shared_word.h"

namespace acre::kvs {

constexpr size_t kSlotsPerBucket = 3;
constexpr size_t kNeighbourhood = 2 * kSlotsPerBucket;  // H.
// A chain's longest. Writers refuse a record that would need one more; a reader that finds one in a home
// that stood still has a server to give up. Far beyond what keys come to that nobody made to collide:
// what it bounds is the time that a hostile server can hold a reader.
constexpr size_t kChainBucketsMax = 1024;

// Names a segment and its incarnation in every bucket, so that one READ shows that a directory was
// stale.
inline uint64_t BucketIdentity(uint32_t region_id, uint64_t generation) {
  return uint64_t{region_id} << 32 | (generation & 0xffffffff);
}

struct Bucket {
  LockWords lock;
  // Of the keys whose home this is. Odd: one is being inserted, deleted or moved.
  SharedWord structure_version;
  // In a main bucket: a version that no key deleted from this home ever exceeded; inserts start
  // above it.
  // In an overflow bucket: the number of the home that it is chained to.
  SharedWord floor_or_home;
  SharedWord overflow;  // GlobalAddress of the next bucket of the chain; 0: none.
  // Byte i, for i < H: the tag of the key with this home at position i (own slots first, then the
  // next bucket's), or 0. Bytes 6 and 7: zero. A hint for those who load in order; zero in overflow
  // buckets.
  SharedWord tags;
  SharedWord identity;  // BucketIdentity. Never changes.
  Slot slots[kSlotsPerBucket];
};
constexpr size_t kBucketBytes = 256;
constexpr size_t kBucketWords = kBucketBytes / kWordBytes;
static_assert(sizeof(Bucket) == kBucketBytes);
static_assert(offsetof(Bucket, structure_version) == 24 && offsetof(Bucket, overflow) == 40);
static_assert(offsetof(Bucket, tags) == 48 && offsetof(Bucket, identity) == 56);
static_assert(offsetof(Bucket, slots) == kLineBytes);

// The same as private memory, after a READ.
struct BucketCopy {
  uint64_t lock[3];
  uint64_t structure_version;
  uint64_t floor_or_home;
  uint64_t overflow;
  uint64_t tags;
  uint64_t identity;
  SlotCopy slots[kSlotsPerBucket];
};
static_assert(sizeof(BucketCopy) == kBucketBytes && offsetof(BucketCopy, slots) == kLineBytes);

// The positions whose tag equals `tag`: bit 8 * i + 7 is set for position i. No false negatives; a
// false positive above a true one is possible (a borrow), and costs the reader a look at a slot.
inline uint64_t MatchTags(uint64_t tags, uint8_t tag) {
  constexpr uint64_t kLow = 0x0000010101010101;
  const uint64_t differs = tags ^ (kLow * tag);
  return (differs - kLow) & ~differs & (kLow << 7);
}
inline size_t PositionOf(uint64_t match) {
  return static_cast<size_t>(std::countr_zero(match)) / 8;
}

inline uint64_t WithTag(uint64_t tags, size_t position, uint8_t tag) {
  return (tags & ~(uint64_t{0xff} << (8 * position))) | uint64_t{tag} << (8 * position);
}

// The slot at a position of the neighbourhood that begins at `home`. Without a branch: which bucket
// it is cannot be predicted, and a wrong guess would throw away the cache misses of the lookups
// behind this one.
constexpr size_t SlotOffset(size_t position) {
  return (position + 1 + (position + 1) / (kSlotsPerBucket + 1)) * sizeof(Slot);
}
template <class BucketType>
auto& SlotAt(BucketType* home, size_t position) {
  using SlotType = std::remove_reference_t<decltype(home->slots[0])>;
  using Byte = std::conditional_t<std::is_const_v<BucketType>, const char, char>;
  return *reinterpret_cast<SlotType*>(reinterpret_cast<Byte*>(home) + SlotOffset(position));
}

// SlotOffset(PositionOf(match)) for each number of zeros below a match: one load instead of six
// instructions that wait for the tags.
struct SlotOffsets {
  constexpr SlotOffsets() {
    for (size_t i = 0; i < kNeighbourhood; ++i) {
      bytes[8 * i + 7] = static_cast<uint16_t>(SlotOffset(i));
    }
  }
  uint16_t bytes[8 * kNeighbourhood] = {};
};
inline constexpr SlotOffsets kSlotOffsets;
// The slot that the lowest tag of `match` stands for. Requires: match, of MatchTags(), is not 0.
inline const Slot& FirstMatch(const Bucket* home, uint64_t match) {
  return *reinterpret_cast<const Slot*>(reinterpret_cast<const char*>(home) +
                                        kSlotOffsets.bytes[std::countr_zero(match)]);
}

}  // namespace acre::kvs

#endif  // ACRE_KVS_BUCKET_H_
