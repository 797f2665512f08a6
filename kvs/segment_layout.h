// The first page of a data region: what a segment is made of.
//
//   region header | segment header | ... | main buckets and one spare | heap: chains, objects
//
// A segment is a self-contained hopscotch table in one region: the unit of placement and growth.
// All of the header is written before the region is granted to anybody, and never changes.

#ifndef ACRE_KVS_SEGMENT_LAYOUT_H_
#define ACRE_KVS_SEGMENT_LAYOUT_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvs/bucket.h"
#include "runtime/shared_word.h"
#include "transport/region_header.h"

namespace acre::kvs {

constexpr uint64_t kSegmentMagic = 0x3130474553524341;  // "ACRSEG01", the layout's version in it.
// H and the sizes that a reader was compiled with: both sides must agree.
constexpr uint64_t kSegmentShape = kNeighbourhood << 32 | kBucketBytes << 16 | sizeof(Slot);

struct SegmentHeader {
  SharedWord magic;
  SharedWord shape;
  SharedWord identity;       // BucketIdentity, as in every bucket.
  SharedWord buckets_count;  // Main buckets, without the spare one at the end.
  SharedWord buckets_offset_bytes;
  SharedWord heap_offset_bytes;
  SharedWord heap_bytes;
  SharedWord reserved0;  // Zero. Bit 0 will say that one-sided writes are allowed.
};
static_assert(sizeof(SegmentHeader) == kLineBytes);
constexpr size_t kSegmentHeaderOffset = transport::kRegionHeaderBytes;
constexpr size_t kSegmentBucketsOffset = 4096;
constexpr size_t kHeapAlignment = 4096;
constexpr size_t kSegmentBytesMin = 1 << 20;

// The same as numbers, judged.
struct SegmentLayout {
  uint64_t identity = 0;
  uint64_t buckets_count = 0;
  uint64_t buckets_offset_bytes = 0;
  uint64_t heap_offset_bytes = 0;
  uint64_t heap_bytes = 0;

  // Cuts a region of this size. InvalidArgument: too small, or the percentage makes no sense.
  static absl::StatusOr<SegmentLayout> Plan(uint32_t region_id, uint64_t generation,
                                            uint64_t region_bytes, int index_percent);
  // Judges a header that was copied out of a peer's region of `region_bytes`. DataLoss says what is
  // wrong.
  static absl::StatusOr<SegmentLayout> Parse(
      const uint64_t (&words)[sizeof(SegmentHeader) / kWordBytes], uint32_t region_id,
      uint64_t region_bytes);
  void Write(SegmentHeader* header) const;

  uint64_t BucketOffset(uint64_t index) const {
    return buckets_offset_bytes + index * kBucketBytes;
  }
  // Whether a peer's address names an overflow bucket, or an object of this many bytes, in the
  // heap.
  bool HeapContains(uint64_t offset_bytes, uint64_t bytes) const {
    return offset_bytes % kLineBytes == 0 && offset_bytes >= heap_offset_bytes &&
           bytes <= heap_bytes && offset_bytes - heap_offset_bytes <= heap_bytes - bytes;
  }
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_SEGMENT_LAYOUT_H_
