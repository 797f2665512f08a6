#include "kvs/slot_repair.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "kvs/bucket.h"
#include "runtime/planted_bug.h"

namespace acre::kvs {
namespace {

// The slot of the bucket that a record names; null: it names something else.
Slot* FindSlot(const Redo& redo, GlobalAddress lock, Bucket* bucket) {
  const GlobalAddress address = GlobalAddress::FromBits(redo.slot);
  if (address.region_id() != lock.region_id()) return nullptr;
  static_assert(offsetof(Bucket, lock) == 0);
  for (size_t i = 0; i < kSlotsPerBucket; ++i) {
    const uint64_t offset = offsetof(Bucket, slots) + i * sizeof(Slot);
    if (address.offset_bytes() == lock.offset_bytes() + offset) return &bucket->slots[i];
  }
  return nullptr;
}

// What may become of an inline record by an update in place. Its key stands in the slot, however much of the update
// has been done.
bool IsUpdateOf(const Slot& slot, SlotWord before, const Redo& redo) {
  const SlotWord after = redo.first_word();
  uint64_t differs = 0;
  for (size_t i = 0; i < kInlineKeyWords; ++i) {
    differs |= (slot.words[1 + i].Load(std::memory_order_acquire) ^ redo.body[i]) &
               kKeyMasks.words[after.key_bytes()][i];
  }
  return differs == 0 && after.kind() == SlotKind::kInline && before.kind() == SlotKind::kInline &&
         after.key_bytes() == before.key_bytes() && after.key_bytes() > 0 &&
         after.key_bytes() + after.value_bytes() <= kSlotBodyBytes &&
         after.home_is_previous() == before.home_is_previous();
}

}  // namespace

SlotRepair::SlotRepair(Table* table, FindIntents find_intents)
    : table_(table), find_intents_(std::move(find_intents)) {}

void SlotRepair::RepairLocal(GlobalAddress /*lock*/, LocalWord /*dead*/) {}

void SlotRepair::RepairRemote(GlobalAddress lock, absl::Span<const RemoteWord> dead) {
  Bucket* const bucket = FindBucketOf(lock);
  if (bucket == nullptr) return;
  for (const RemoteWord word : dead) {
    const absl::optional<Redo> redo = Read(word);
    if (redo.has_value()) Apply(*redo, lock, bucket);
  }
}

bool SlotRepair::IsHalfWritten(GlobalAddress lock) const {
  const Bucket* const bucket = FindBucketOf(lock);
  if (bucket == nullptr) return false;
  return std::any_of(std::begin(bucket->slots), std::end(bucket->slots), [](const Slot& slot) {
    SlotCopy copy;
    LoadSlot(slot, &copy);
    return !copy.IsConsistent();
  });
}

Bucket* SlotRepair::FindBucketOf(GlobalAddress lock) const {
  for (const auto& segment : table_->segments()) {
    if (Bucket* const bucket = segment->FindBucketOf(lock); bucket != nullptr) return bucket;
  }
  return nullptr;
}

absl::optional<Redo> SlotRepair::Read(RemoteWord word) const {
  const Intents intents = find_intents_(word.process_id());
  if (intents.words == nullptr || word.index() >= intents.descriptors_count) return absl::nullopt;
  Redo redo;
  CopyFromShared(&redo.word, intents.words + RedoOffset(word) / kWordBytes, kRedoWords,
                 CopyOrder::kAscending);
  if (!redo.IsFor(word)) return absl::nullopt;
  return redo;
}

void SlotRepair::Apply(const Redo& redo, GlobalAddress lock, Bucket* bucket) {
  Slot* const slot = FindSlot(redo, lock, bucket);
  SlotWord before;
  if (slot != nullptr) {
    // Where a WRITE was torn the two differ: the lower one is from before it.
    const SlotWord first = slot->first();
    const SlotWord last(slot->words[kSlotWords - 1].Load(std::memory_order_acquire));
    before = first.version() < last.version() ? first : last;
    // Done, and maybe followed by others.
    const bool is_done = before.version() >= redo.first_word().version();
    if (is_done && !IsPlanted(PlantedBug::kRepairIgnoresVersion)) return;
  }
  const uint64_t version = redo.first_word().version();
  // Its update was the slot's next: what is there now is the even version before it, or that made odd.
  const bool is_next = version % 2 == 0 && (before.version() | 1) + 1 == version;
  if (slot == nullptr || !IsUpdateOf(*slot, before, redo) ||
      (!is_next && !IsPlanted(PlantedBug::kRepairIgnoresVersion))) {
    ++refused_count_;
    LOG(ERROR) << "process " << RemoteWord::FromBits(redo.word).process_id()
               << ", which died, had announced an update that makes no sense: it is not done";
    return;
  }
  // As WriteSlot(), but odd by the record's version: one of the two words may have it already.
  const SlotWord odd(before.MadeOdd());
  slot->words[kSlotWords - 1].Store(odd.bits(), std::memory_order_release);
  slot->words[0].Store(odd.bits(), std::memory_order_release);
  for (size_t i = 0; i < kSlotBodyWords; ++i) {
    slot->words[1 + i].Store(redo.body[i], std::memory_order_release);
  }
  FinishSlot(slot, redo.first_word());
  ++applied_count_;
}

}  // namespace acre::kvs
