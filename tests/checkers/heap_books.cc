#include "tests/checkers/heap_books.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "kvs/heap.h"
#include "tests/checkers/segment_walk.h"

namespace acre::checkers {
namespace {

absl::string_view NameOf(kvs::Heap::Use use) {
  switch (use) {
    case kvs::Heap::Use::kFreePages:
      return "free pages";
    case kvs::Heap::Use::kFreeCell:
      return "free cell";
    case kvs::Heap::Use::kFreeOverflowBucket:
      return "free overflow bucket";
    case kvs::Heap::Use::kResting:
      return "resting object";
    case kvs::Heap::Use::kSlack:
      return "slack";
  }
  return "";
}

void CheckStats(const kvs::Heap& heap, const kvs::Heap::Books& books, uint64_t overflow_buckets,
                std::vector<Finding>* findings) {
  uint64_t bytes_free = 0;
  uint64_t bytes_resting = 0;
  for (const kvs::Heap::Piece& piece : books.pieces) {
    if (piece.use == kvs::Heap::Use::kResting) {
      bytes_resting += piece.bytes;
    } else if (piece.use != kvs::Heap::Use::kSlack) {
      bytes_free += piece.bytes;
    }
  }
  const kvs::Heap::Stats stats = heap.stats();
  const auto compare = [findings](absl::string_view what, uint64_t said, uint64_t found) {
    if (said == found) return;
    findings->push_back(
        {Damage::kHeapStats, absl::StrCat(what, ": the heap says ", said, ", there are ", found)});
  };
  compare("bytes free", stats.bytes_free, bytes_free);
  compare("bytes resting", stats.bytes_resting, bytes_resting);
  compare("overflow buckets", stats.overflow_buckets, overflow_buckets);
}

// A bucket that is taken from the heap is taken for empty.
void CheckFreeBucket(kvs::Segment* segment, uint64_t offset, std::vector<Finding>* findings) {
  const auto* const bucket =
      reinterpret_cast<const kvs::Bucket*>(segment->words() + offset / kWordBytes);
  for (const kvs::Slot& slot : bucket->slots) {
    const kvs::SlotCopy copy = CopyOf(slot);
    if (copy.IsConsistent() && copy.first().kind() == kvs::SlotKind::kEmpty) continue;
    findings->push_back({Damage::kFreeBucketNotEmpty, absl::StrCat("at ", offset)});
    return;
  }
}

}  // namespace

void CheckClaims(std::vector<Claim> claims, std::vector<Finding>* findings) {
  std::sort(claims.begin(), claims.end(),
            [](const Claim& a, const Claim& b) { return a.offset < b.offset; });
  for (size_t i = 1; i < claims.size(); ++i) {
    if (claims[i - 1].offset + claims[i - 1].bytes <= claims[i].offset) continue;
    findings->push_back(
        {Damage::kHeapTwice, absl::StrCat(claims[i].bytes, " bytes at ", claims[i].offset, ": ",
                                          claims[i].name, ", and ", claims[i - 1].name)});
  }
}

void CheckHeap(kvs::Segment* segment, const std::vector<Claim>& claims,
               std::vector<Finding>* findings) {
  const kvs::SegmentLayout& layout = segment->layout();
  const kvs::Heap::Books books = segment->heap().CopyOfBooks();
  std::vector<Claim> all = claims;
  for (const kvs::Heap::Piece& piece : books.pieces) {
    const bool is_bucket = piece.use == kvs::Heap::Use::kFreeOverflowBucket;
    all.push_back({piece.offset, piece.bytes, is_bucket, std::string(NameOf(piece.use))});
    if (is_bucket) CheckFreeBucket(segment, piece.offset, findings);
  }
  std::sort(all.begin(), all.end(),
            [](const Claim& a, const Claim& b) { return a.offset < b.offset; });
  const auto leak = [findings](uint64_t begin, uint64_t end) {
    if (begin >= end) return;
    findings->push_back({Damage::kHeapLeak, absl::StrCat(end - begin, " bytes at ", begin)});
  };
  uint64_t end = layout.heap_offset_bytes;  // Of what was looked at.
  std::string last = "what lies before the heap";
  for (const Claim& claim : all) {
    leak(end, claim.offset);
    if (claim.offset < end) {
      findings->push_back({Damage::kHeapTwice, absl::StrCat(claim.bytes, " bytes at ", claim.offset,
                                                            ": ", claim.name, ", and ", last)});
    }
    if (claim.offset + claim.bytes >= end) last = claim.name;
    end = std::max(end, claim.offset + claim.bytes);
  }
  leak(end, layout.heap_offset_bytes + layout.heap_bytes);
  if (end > layout.heap_offset_bytes + layout.heap_bytes) {
    findings->push_back({Damage::kHeapTwice, absl::StrCat(last, " leads out of the heap")});
  }

  std::map<uint64_t, uint64_t> runs;  // Of overflow buckets: begin, end.
  for (const auto& [offset, bytes] : books.overflow_runs) runs[offset] = offset + bytes;
  uint64_t overflow_buckets = 0;
  for (const Claim& claim : claims) {
    overflow_buckets += claim.is_overflow_bucket ? 1 : 0;
    const auto after = runs.upper_bound(claim.offset);
    const bool is_in_run = after != runs.begin() && claim.offset < std::prev(after)->second;
    if (is_in_run == claim.is_overflow_bucket) continue;
    findings->push_back({Damage::kHeapKind, absl::StrCat(claim.name, " at ", claim.offset)});
  }
  CheckStats(segment->heap(), books, overflow_buckets, findings);
}

}  // namespace acre::checkers
