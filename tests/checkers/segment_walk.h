// SegmentWalk: a plain reading of a segment's memory, for the checkers. Addresses are judged before
// they are followed; nothing else is.

#ifndef ACRE_TESTS_CHECKERS_SEGMENT_WALK_H_
#define ACRE_TESTS_CHECKERS_SEGMENT_WALK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "kvs/bucket.h"
#include "kvs/segment.h"
#include "kvs/segment_layout.h"
#include "kvs/slot.h"
#include "runtime/shared_word.h"

namespace acre::checkers {

// The memory of a segment, where it stands or as a copy of it.
struct SegmentMemory {
  const SharedWord* words = nullptr;  // Of the region.
  kvs::SegmentLayout layout;

  static SegmentMemory Of(kvs::Segment* segment) { return {segment->words(), segment->layout()}; }
};

// A bucket where it stands. Loads are relaxed: what other threads did is ordered by whoever says that
// nobody is at work.
struct BucketAt {
  const kvs::Bucket* bucket = nullptr;
  uint64_t offset_bytes = 0;  // In the region.
  uint64_t index = 0;         // Of a main bucket, or of the one whose chain this is in.
  bool is_overflow = false;

  std::string Name() const;
};

// All main buckets and the spare one, each followed by its chain as far as that leads through the
// heap and back to no bucket of the same chain.
class SegmentWalk {
 public:
  explicit SegmentWalk(const SegmentMemory& memory);

  const std::vector<BucketAt>& buckets() const { return buckets_; }
  struct BrokenLink {
    uint64_t index;    // Whose chain.
    uint64_t address;  // Where it leads.
    bool is_circle;
  };
  const std::vector<BrokenLink>& broken_links() const { return broken_links_; }

 private:
  void FollowChain(const SegmentMemory& memory, const BucketAt& home);

  std::vector<BucketAt> buckets_;
  std::vector<BrokenLink> broken_links_;
};

// The record in a slot, if there is one and it makes sense.
struct RecordAt {
  uint64_t hash = 0;
  std::string key;
  std::string value;
};
kvs::SlotCopy CopyOf(const kvs::Slot& slot);
absl::optional<RecordAt> RecordIn(const SegmentMemory& memory, const kvs::SlotCopy& copy);

}  // namespace acre::checkers

#endif  // ACRE_TESTS_CHECKERS_SEGMENT_WALK_H_
