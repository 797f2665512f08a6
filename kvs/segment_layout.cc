#include "kvs/segment_layout.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace acre::kvs {

absl::StatusOr<SegmentLayout> SegmentLayout::Plan(uint32_t region_id, uint64_t generation,
                                                  uint64_t region_bytes, int index_percent) {
  if (index_percent < 1 || index_percent > 99) {
    return absl::InvalidArgumentError(
        absl::StrCat("the index takes 1 to 99 percent of the memory, not ", index_percent));
  }
  if (region_bytes < kSegmentBytesMin) {
    return absl::InvalidArgumentError(
        absl::StrCat("a segment needs at least ", kSegmentBytesMin, " bytes, not ", region_bytes));
  }
  SegmentLayout layout;
  layout.identity = BucketIdentity(region_id, generation);
  layout.buckets_offset_bytes = kSegmentBucketsOffset;
  const uint64_t index_bytes = region_bytes / 100 * static_cast<uint64_t>(index_percent);
  layout.buckets_count = std::max<uint64_t>(index_bytes / kBucketBytes, 2) - 1;
  const uint64_t buckets_end = layout.BucketOffset(layout.buckets_count + 1);
  layout.heap_offset_bytes = (buckets_end + kHeapAlignment - 1) / kHeapAlignment * kHeapAlignment;
  if (layout.heap_offset_bytes + kHeapAlignment > region_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "an index of ", index_percent, " percent leaves no memory for objects: choose less"));
  }
  layout.heap_bytes = (region_bytes - layout.heap_offset_bytes) / kHeapAlignment * kHeapAlignment;
  return layout;
}

void SegmentLayout::Write(SegmentHeader* header) const {
  // Nobody reads the region before it is granted, and granting it is a system call: relaxed
  // suffices.
  const auto relaxed = std::memory_order_relaxed;
  header->shape.Store(kSegmentShape, relaxed);
  header->identity.Store(identity, relaxed);
  header->buckets_count.Store(buckets_count, relaxed);
  header->buckets_offset_bytes.Store(buckets_offset_bytes, relaxed);
  header->heap_offset_bytes.Store(heap_offset_bytes, relaxed);
  header->heap_bytes.Store(heap_bytes, relaxed);
  header->reserved0.Store(0, relaxed);
  header->magic.Store(kSegmentMagic, std::memory_order_release);
}

absl::StatusOr<SegmentLayout> SegmentLayout::Parse(
    const uint64_t (&words)[sizeof(SegmentHeader) / kWordBytes], uint32_t region_id,
    uint64_t region_bytes) {
  const auto refuse = [region_id](absl::string_view what) {
    return absl::DataLossError(absl::StrCat("segment ", region_id, ": ", what,
                                            ": server and client are of different builds, or the "
                                            "server's memory is damaged"));
  };
  if (words[0] != kSegmentMagic) return refuse("no segment header");
  if (words[1] != kSegmentShape) return refuse("its buckets have another shape");
  if (words[7] != 0) return refuse("it needs what this build cannot do");
  if (words[2] >> 32 != region_id) return refuse("its identity names another region");
  SegmentLayout layout;
  layout.identity = words[2];
  layout.buckets_count = words[3];
  layout.buckets_offset_bytes = words[4];
  layout.heap_offset_bytes = words[5];
  layout.heap_bytes = words[6];
  // Divisions, not sums: a hostile header must not overflow its way past the checks.
  const uint64_t buckets_room = layout.heap_offset_bytes - layout.buckets_offset_bytes;
  if (layout.buckets_offset_bytes < kSegmentHeaderOffset + sizeof(SegmentHeader) ||
      layout.buckets_offset_bytes % kBucketBytes != 0 ||
      layout.heap_offset_bytes < layout.buckets_offset_bytes ||
      layout.heap_offset_bytes > region_bytes || layout.heap_offset_bytes % kLineBytes != 0 ||
      layout.heap_bytes > region_bytes - layout.heap_offset_bytes || layout.buckets_count == 0 ||
      layout.buckets_count >= uint64_t{1} << 32 ||
      layout.buckets_count + 1 > buckets_room / kBucketBytes) {
    return refuse("its header names places outside of the region");
  }
  return layout;
}

}  // namespace acre::kvs
