#include "tests/checkers/segment_walk.h"

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "kvs/hash.h"
#include "kvs/object.h"
#include "kvs/segment_view.h"

namespace acre::checkers {
namespace {

const kvs::Bucket* BucketIn(const SegmentMemory& memory, uint64_t offset_bytes) {
  return reinterpret_cast<const kvs::Bucket*>(memory.words + offset_bytes / kWordBytes);
}

}  // namespace

std::string BucketAt::Name() const {
  if (!is_overflow) return absl::StrCat("bucket ", index);
  return absl::StrCat("overflow bucket at ", offset_bytes, " of home ", index);
}

SegmentWalk::SegmentWalk(const SegmentMemory& memory) {
  const kvs::SegmentLayout& layout = memory.layout;
  for (uint64_t i = 0; i <= layout.buckets_count; ++i) {
    const uint64_t offset = layout.BucketOffset(i);
    const BucketAt home = {BucketIn(memory, offset), offset, i, false};
    buckets_.push_back(home);
    FollowChain(memory, home);
  }
}

void SegmentWalk::FollowChain(const SegmentMemory& memory, const BucketAt& home) {
  absl::flat_hash_set<uint64_t> seen;
  uint64_t address = home.bucket->overflow.Load(std::memory_order_relaxed);
  while (address != 0) {
    const uint64_t offset = GlobalAddress::FromBits(address).offset_bytes();
    const bool is_circle = !seen.insert(address).second;
    if (is_circle || !kvs::OverflowIsInBounds(address, memory.layout)) {
      broken_links_.push_back({home.index, address, is_circle});
      return;
    }
    buckets_.push_back({BucketIn(memory, offset), offset, home.index, true});
    address = buckets_.back().bucket->overflow.Load(std::memory_order_relaxed);
  }
}

kvs::SlotCopy CopyOf(const kvs::Slot& slot) {
  kvs::SlotCopy copy;
  for (size_t i = 0; i < kvs::kSlotWords; ++i) {
    copy.words[i] = slot.words[i].Load(std::memory_order_relaxed);
  }
  return copy;
}

absl::optional<RecordAt> RecordIn(const SegmentMemory& memory, const kvs::SlotCopy& copy) {
  RecordAt record;
  if (copy.first().kind() == kvs::SlotKind::kInline) {
    if (!copy.InlineFits()) return absl::nullopt;
    record.key = std::string(copy.inline_key());
    record.value = std::string(copy.inline_value());
    record.hash = kvs::HashKey(record.key);
    return record;
  }
  if (copy.first().kind() != kvs::SlotKind::kOutOfLine) return absl::nullopt;
  if (!kvs::ObjectIsInBounds(copy, memory.layout)) return absl::nullopt;
  const size_t key_bytes = copy.object_key_bytes();
  const size_t value_bytes = copy.object_value_bytes();
  std::vector<uint64_t> words(kvs::ObjectBytes(key_bytes, value_bytes) / kWordBytes);
  CopyFromShared(words.data(), memory.words + copy.object_address().offset_bytes() / kWordBytes,
                 words.size(), CopyOrder::kAscending);
  const kvs::ObjectView object =
      kvs::ParseObject(words.data(), key_bytes, value_bytes, copy.object_checksum());
  if (!object.valid || kvs::HashKey(object.key) != copy.object_hash()) return absl::nullopt;
  record.key = std::string(object.key);
  record.value = std::string(object.value);
  record.hash = copy.object_hash();
  return record;
}

}  // namespace acre::checkers
