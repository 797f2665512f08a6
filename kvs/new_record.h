// NewRecord: what a record's slot is to hold, made before any lock is taken: the slot's content, and the
// object that it names if it does not fit inline. An object of a megabyte is not written while others wait.
//
// Threads:   any, one at a time.
// Ownership: borrows the segment. Owns the object, which is freed with it unless it was published.

#ifndef ACRE_KVS_NEW_RECORD_H_
#define ACRE_KVS_NEW_RECORD_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "kvs/object.h"
#include "kvs/segment.h"
#include "kvs/slot.h"
#include "kvs/table.h"
#include "runtime/planted_bug.h"
#include "transport/address.h"

namespace acre::kvs {

class NewRecord {
 public:
  // Of `table`, in its `segment`. Key and value are within kvs/limits.h.
  NewRecord(Table* table, Segment* segment, uint64_t hash, absl::string_view key,
            absl::string_view value)
      : segment_(segment) {
    if (FitsInline(key.size(), value.size())) {
      content_ = SlotContent::Inline(key, value);
      return;
    }
    bytes_ = ObjectBytes(key.size(), value.size());
    offset_ = segment->heap().Allocate(bytes_);
    if (!offset_.has_value()) return;
    SharedWord* const to = segment->words() + *offset_ / kWordBytes;
    const uint64_t checksum = WriteObject(to, table->NextObjectStamp(), key, value);
    if (IsPlanted(PlantedBug::kObjectAfterSlot)) ZeroShared(to + 1, bytes_ / kWordBytes - 1);
    const GlobalAddress address(segment->region_id(), static_cast<uint32_t>(*offset_));
    content_ = SlotContent::OutOfLine(hash, address, key.size(), value.size(), checksum);
  }
  NewRecord(NewRecord&& other) noexcept
      : segment_(other.segment_),
        bytes_(other.bytes_),
        offset_(std::exchange(other.offset_, absl::nullopt)),
        content_(other.content_) {}
  NewRecord& operator=(NewRecord&&) = delete;
  ~NewRecord() {
    if (offset_.has_value()) segment_->heap().Free(*offset_, bytes_);
  }

  // False: there was none for the object.
  bool has_memory() const { return content_.kind != SlotKind::kEmpty; }
  const SlotContent& content() const { return content_; }
  // A slot names the object now.
  void Published() { offset_ = absl::nullopt; }
  void Published(absl::string_view key, absl::string_view value) {
    if (IsPlanted(PlantedBug::kObjectAfterSlot) && offset_.has_value()) {
      SharedWord* const to = segment_->words() + *offset_ / kWordBytes;
      (void)WriteObject(to, /*stamp=*/to->Load(std::memory_order_relaxed), key, value);
    }
    Published();
  }

 private:
  Segment* const segment_;
  size_t bytes_ = 0;
  absl::optional<uint64_t> offset_;
  SlotContent content_;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_NEW_RECORD_H_
