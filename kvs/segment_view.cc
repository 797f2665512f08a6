#include "kvs/segment_view.h"

namespace acre::kvs {

LookupResult SegmentView::LookupObject(const SlotCopy& copy, const LookupKey& key,
                                       std::string* value, std::vector<uint64_t>* scratch,
                                       ReaderStats* stats) const {
  if (!MayBeObjectOf(copy, key)) return LookupResult::kMiss;
  if (!ObjectIsInBounds(copy, layout_)) return LookupResult::kDamaged;
  const size_t words = ObjectBytes(copy.object_key_bytes(), copy.object_value_bytes()) / kWordBytes;
  if (scratch->size() < words) scratch->resize(words);
  ++stats->reads;
  CopyFromShared(scratch->data(), words_ + copy.object_address().offset_bytes() / kWordBytes, words,
                 CopyOrder::kAscending);
  const ObjectView object = ParseObject(scratch->data(), copy.object_key_bytes(),
                                        copy.object_value_bytes(), copy.object_checksum());
  // The object was freed and its memory reused since the slot was loaded: the slot has changed by
  // now.
  if (!object.valid) return LookupResult::kRetry;
  if (object.key != key.words.key()) return LookupResult::kMiss;
  value->assign(object.value.data(), object.value.size());
  return LookupResult::kHit;
}

template <class Mark>
LookupResult SegmentView::LookupChain(uint64_t address, uint64_t version, const LookupKey& key,
                                      std::string* value, std::vector<uint64_t>* scratch,
                                      ReaderStats* stats, Mark mark) const {
  const uint64_t home = HomeBucket(key.hash, layout_.buckets_count);
  size_t buckets = 0;
  while (address != 0) {
    if (!OverflowIsInBounds(address, layout_)) return LookupResult::kDamaged;
    // One that changes under our feet may lead in a circle.
    if (buckets++ == kChainBucketsMax) {
      return StoodStill(HomeOf(key.hash), version) ? LookupResult::kDamaged : LookupResult::kRetry;
    }
    const Bucket* const bucket = BucketAtOffset(GlobalAddress::FromBits(address).offset_bytes());
    ++stats->reads;
    // Freed and taken by another home since: that home's keys are of no use here.
    if (bucket->floor_or_home.Load(std::memory_order_acquire) != home) return LookupResult::kRetry;
    for (const Slot& slot : bucket->slots) {
      SlotCopy copy;
      LoadSlot(slot, &copy);
      if (!copy.IsConsistent()) return LookupResult::kRetry;
      if (key.words.IsInlineIn(copy)) {
        if (!copy.InlineFits()) return LookupResult::kDamaged;
        AssignInlineValue(copy, value);
        mark.Hit(AddressOf(slot), copy.first());
        return LookupResult::kHit;
      }
      const LookupResult result = LookupObject(copy, key, value, scratch, stats);
      if (result == LookupResult::kHit) mark.Hit(AddressOf(slot), copy.first());
      if (result != LookupResult::kMiss) return result;
    }
    address = bucket->overflow.Load(std::memory_order_acquire);
  }
  return LookupResult::kMiss;
}

template LookupResult SegmentView::LookupChain(uint64_t, uint64_t, const LookupKey&, std::string*,
                                               std::vector<uint64_t>*, ReaderStats*, NoMark) const;
template LookupResult SegmentView::LookupChain(uint64_t, uint64_t, const LookupKey&, std::string*,
                                               std::vector<uint64_t>*, ReaderStats*,
                                               MarkInto) const;

}  // namespace acre::kvs
