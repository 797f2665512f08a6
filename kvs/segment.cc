#include "kvs/segment.h"

#include <algorithm>

#include "glog/logging.h"
#include "kvs/hash.h"
#include "kvs/object.h"
#include "kvs/segment_view.h"
#include "runtime/planted_bug.h"

namespace acre::kvs {
namespace {

// How far an insert looks for a free slot to displace into. Farther ones are rare below 95 %
// occupancy, and cost as many locks.
constexpr uint64_t kDisplacementBucketsMax = 24;

// How often a slot under somebody else's lock is looked at before that counts as waiting for the lock.
constexpr int kSpinsMax = 64;

absl::optional<size_t> FreeSlot(const Bucket& bucket) {
  for (size_t i = 0; i < kSlotsPerBucket; ++i) {
    if (bucket.slots[i].first().kind() == SlotKind::kEmpty) return i;
  }
  return absl::nullopt;
}

// A record that lies in its own home bucket, and so may move to the next one.
absl::optional<size_t> MovableSlot(const Bucket& bucket) {
  for (size_t i = 0; i < kSlotsPerBucket; ++i) {
    const SlotWord word = bucket.slots[i].first();
    if (word.kind() != SlotKind::kEmpty && !word.home_is_previous()) return i;
  }
  return absl::nullopt;
}

// The next version that says "whole". Those in memory are even, unless somebody wrote there who should not.
uint64_t NextEven(uint64_t version) { return (version | 1) + 1; }

void EmptySlot(Slot* slot) {
  const uint64_t version = NextEven(slot->first().version());
  WriteSlot(slot, SlotWord(version, SlotKind::kEmpty, false, 0, 0), nullptr, 0);
}

// Of a record that moves into `target`: above all that either place, or the key, ever had.
uint64_t MovedVersion(const SlotCopy& moved, const Slot& target) {
  const uint64_t version = moved.first().version();
  if (IsPlanted(PlantedBug::kMoveKeepsVersion)) return version;
  return NextEven(std::max(version, target.first().version()));
}

}  // namespace

absl::Status HalfWritten() {
  return absl::DataLossError(
      "the server's memory makes no sense around this record (half-written with nobody at work on "
      "it, or "
      "leading elsewhere): a client that the server trusts has broken it; other records are as "
      "they were");
}

bool Segment::IsEmpty(const Bucket& bucket) {
  return std::all_of(std::begin(bucket.slots), std::end(bucket.slots),
                     [](const Slot& slot) { return slot.first().kind() == SlotKind::kEmpty; });
}

Segment::Freed Segment::ObjectOf(const SlotCopy& copy) {
  if (copy.first().kind() != SlotKind::kOutOfLine) return {};
  return {copy.object_address().offset_bytes(),
          ObjectBytes(copy.object_key_bytes(), copy.object_value_bytes())};
}

class Segment::StructureChange {
 public:
  StructureChange(Segment* segment, Bucket* home) : home_(home) {
    const uint64_t before = home->structure_version.Load(std::memory_order_relaxed);
    // Odd: since Find(), which left it even.
    if (before % 2 != 0) segment->NoteSpoilt();
    odd_ = before | 1;
    Store(odd_);
  }
  ~StructureChange() { Store(odd_ + 1); }
  StructureChange(const StructureChange&) = delete;
  StructureChange& operator=(const StructureChange&) = delete;

 private:
  void Store(uint64_t version) {
    if (IsPlanted(PlantedBug::kStructureNotRaised)) return;
    // All stores of the change are releases, so a reader that sees one of them sees the first of these
    // too.
    home_->structure_version.Store(version, std::memory_order_release);
  }

  Bucket* const home_;
  uint64_t odd_;  // From our own memory at the end, too: whatever becomes of the word meanwhile.
};

// Holds: the home's lock. Every link is judged: it leads to an overflow bucket of this home, and not in a circle.
class Segment::ChainWalk {
 public:
  ChainWalk(Segment* segment, uint64_t home) : segment_(segment), home_(home) {
    Follow(segment->BucketAt(home)->overflow);
  }
  // Null: the chain ends here, or cannot be followed any further (is_spoilt()).
  Bucket* bucket() const { return bucket_; }
  Bucket* before() const { return before_; }  // Null: bucket() is the first.
  bool is_spoilt() const { return is_spoilt_; }
  size_t steps() const { return steps_; }  // Buckets behind us.
  void Next() {
    before_ = bucket_;
    ++steps_;
    Follow(bucket_->overflow);
  }

 private:
  void Follow(const SharedWord& link) {
    const uint64_t address = link.Load(std::memory_order_relaxed);
    bucket_ = segment_->OverflowAt(address);
    if (address == 0) return;
    const bool is_ours =
        bucket_ != nullptr && steps_ < kChainBucketsMax &&
        bucket_->identity.Load(std::memory_order_relaxed) == segment_->layout_.identity &&
        bucket_->floor_or_home.Load(std::memory_order_relaxed) == home_;
    if (is_ours) return;
    is_spoilt_ = true;
    bucket_ = nullptr;
    segment_->NoteSpoilt();
  }

  Segment* const segment_;
  const uint64_t home_;
  Bucket* bucket_ = nullptr;
  Bucket* before_ = nullptr;
  size_t steps_ = 0;
  bool is_spoilt_ = false;
};

absl::StatusOr<std::unique_ptr<Segment>> Segment::Format(transport::MemoryRegion* region,
                                                         int index_percent,
                                                         const EpochClock* epochs) {
  auto* const header = reinterpret_cast<const transport::RegionHeader*>(region->words());
  const uint64_t generation = header->generation.Load(std::memory_order_relaxed);
  absl::StatusOr<SegmentLayout> layout =
      SegmentLayout::Plan(region->region_id(), generation, region->size_bytes(), index_percent);
  if (!layout.ok()) return layout.status();
  std::unique_ptr<Segment> segment(new Segment(region, *layout, epochs));
  for (uint64_t i = 0; i <= layout->buckets_count; ++i) {
    segment->BucketAt(i)->identity.Store(layout->identity, std::memory_order_relaxed);
  }
  layout->Write(
      reinterpret_cast<SegmentHeader*>(region->words() + kSegmentHeaderOffset / kWordBytes));
  return segment;
}

Segment::Segment(transport::MemoryRegion* region, const SegmentLayout& layout,
                 const EpochClock* epochs)
    : region_(region),
      layout_(layout),
      heap_(layout.heap_offset_bytes, layout.heap_bytes, epochs,
            [region](uint64_t offset, uint64_t bytes) {
              ZeroShared(region->words() + offset / kWordBytes, bytes / kWordBytes);
            }) {}

Bucket* Segment::BucketAt(uint64_t index) {
  DCHECK_LE(index, layout_.buckets_count);
  return reinterpret_cast<Bucket*>(region_->words() + layout_.BucketOffset(index) / kWordBytes);
}

MappedLock Segment::LockOf(uint64_t bucket) {
  const uint64_t offset = layout_.BucketOffset(bucket) + offsetof(Bucket, lock);
  return {&BucketAt(bucket)->lock,
          GlobalAddress(region_->region_id(), static_cast<uint32_t>(offset))};
}

Bucket* Segment::FindBucketOf(GlobalAddress lock) {
  const uint64_t first = layout_.BucketOffset(0) + offsetof(Bucket, lock);
  if (lock.region_id() != region_id() || lock.offset_bytes() < first) return nullptr;
  const uint64_t offset = lock.offset_bytes() - first;
  if (offset % kBucketBytes != 0 || offset / kBucketBytes > layout_.buckets_count) return nullptr;
  return BucketAt(offset / kBucketBytes);
}

Bucket* Segment::OverflowAt(uint64_t address_bits) {
  const uint32_t offset = GlobalAddress::FromBits(address_bits).offset_bytes();
  if (!OverflowIsInBounds(address_bits, layout_) || offset % kBucketBytes != 0) return nullptr;
  return reinterpret_cast<Bucket*>(region_->words() + offset / kWordBytes);
}

uint64_t Segment::AddressOf(const Bucket* overflow) const {
  const uint64_t offset = static_cast<uint64_t>(reinterpret_cast<const char*>(overflow) -
                                                reinterpret_cast<const char*>(region_->words()));
  return GlobalAddress(region_->region_id(), static_cast<uint32_t>(offset)).bits();
}

absl::optional<bool> Segment::Holds(const SlotCopy& copy, uint64_t hash, absl::string_view key) {
  if (copy.first().kind() == SlotKind::kInline) return copy.inline_key() == key;
  if (copy.first().kind() != SlotKind::kOutOfLine) return false;
  if (copy.object_hash() != hash || copy.object_key_bytes() != key.size()) return false;
  if (!ObjectIsInBounds(copy, layout_)) {
    NoteSpoilt();
    return absl::nullopt;
  }
  // The object stands as long as the slot names it, and the home's lock is held.
  uint64_t words[ObjectBytes(kKeyBytesMax, 0) / kWordBytes];
  const uint32_t offset = copy.object_address().offset_bytes();
  const size_t bytes = ObjectBytes(key.size(), 0);
  CopyFromShared(words, region_->words() + offset / kWordBytes, bytes / kWordBytes,
                 CopyOrder::kAscending);
  const char* const object_key = reinterpret_cast<const char*>(words) + sizeof(ObjectHeader);
  return absl::string_view(object_key, key.size()) == key;
}

uint64_t Segment::HashOf(const SlotCopy& copy) const {
  return copy.first().kind() == SlotKind::kInline ? HashKey(copy.inline_key()) : copy.object_hash();
}

Segment::Place Segment::Find(uint64_t home, uint64_t hash, absl::string_view key, bool holds_next) {
  Bucket* const bucket = BucketAt(home);
  const uint64_t structure = bucket->structure_version.Load(std::memory_order_relaxed);
  if (structure % 2 != 0) [[unlikely]] {
    NoteSpoilt();
    bucket->structure_version.Store(structure + 1, std::memory_order_release);
  }
  bool is_busy = false;
  bool is_damaged = false;
  SlotCopy copy;
  // Under the home's lock nobody changes its tags.
  const uint64_t tags = bucket->tags.Load(std::memory_order_relaxed);
  for (uint64_t match = MatchTags(tags, TagOf(hash)); match != 0; match &= match - 1) {
    const size_t position = PositionOf(match);
    Slot* const slot = &SlotAt(bucket, position);
    // A slot of the next bucket may be updated in place meanwhile, under the next bucket's lock.
    // Nothing else can change in it: to move it takes this home's lock.
    const bool is_ours = holds_next || position < kSlotsPerBucket;
    LoadSlot(*slot, &copy);
    for (int spins = 0; !copy.IsConsistent() && !is_ours && spins < kSpinsMax; ++spins) {
      LoadSlot(*slot, &copy);
    }
    if (!copy.IsConsistent()) {
      if (is_ours) NoteSpoilt();
      (is_ours ? is_damaged : is_busy) = true;
      continue;
    }
    const absl::optional<bool> holds = Holds(copy, hash, key);
    if (!holds.has_value()) {
      is_damaged = true;
    } else if (*holds) {
      return {.slot = slot, .position = position};
    }
  }
  Place place = FindInChain(home, hash, key);
  if (place.found()) return place;
  place.is_busy = is_busy;
  place.is_damaged |= is_damaged;
  return place;
}

Segment::Place Segment::FindInChain(uint64_t home, uint64_t hash, absl::string_view key) {
  Place none;
  ChainWalk chain(this, home);
  for (; chain.bucket() != nullptr; chain.Next()) {
    for (Slot& slot : chain.bucket()->slots) {
      SlotCopy copy;
      LoadSlot(slot, &copy);
      if (!copy.IsConsistent()) {
        NoteSpoilt();
        none.is_damaged = true;
        continue;
      }
      const absl::optional<bool> holds = Holds(copy, hash, key);
      if (!holds.has_value()) {
        none.is_damaged = true;
      } else if (*holds) {
        return {.slot = &slot,
                .position = kNeighbourhood,
                .overflow = chain.bucket(),
                .before = chain.before()};
      }
    }
  }
  none.is_damaged |= chain.is_spoilt();
  return none;
}

uint64_t Segment::NewVersion(const Slot& slot, const Bucket& home) const {
  if (IsPlanted(PlantedBug::kInsertBelowFloor)) return slot.first().version() + 2;
  const uint64_t floor = home.floor_or_home.Load(std::memory_order_relaxed);
  return NextEven(std::max(slot.first().version(), floor));
}

absl::StatusOr<Segment::Freed> Segment::Update(const Place& place, const SlotContent& content) {
  SlotCopy old;
  LoadSlot(*place.slot, &old);
  if (!old.IsConsistent()) {
    NoteSpoilt();
    return HalfWritten();
  }
  const SlotWord word = content.Word(old.first().version() + 2, old.first().home_is_previous());
  WriteSlot(place.slot, word, content.body, content.body_words);
  return ObjectOf(old);
}

void Segment::PlaceAt(Bucket* home, size_t position, uint64_t hash, const SlotContent& content) {
  Slot* const slot = &SlotAt(home, position);
  StructureChange change(this, home);
  WriteSlot(slot, content.Word(NewVersion(*slot, *home), position >= kSlotsPerBucket), content.body,
            content.body_words);
  const uint64_t tags = home->tags.Load(std::memory_order_relaxed);
  home->tags.Store(WithTag(tags, position, TagOf(hash)), std::memory_order_release);
}

bool Segment::InsertAtHome(uint64_t home, uint64_t hash, const SlotContent& content) {
  Bucket* const bucket = BucketAt(home);
  const absl::optional<size_t> slot = FreeSlot(*bucket);
  if (!slot.has_value()) return false;
  PlaceAt(bucket, *slot, hash, content);
  records_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

bool Segment::InsertBeyond(uint64_t home, uint64_t hash, const SlotContent& content,
                           LockSet* locks) {
  size_t position = 0;
  if (Displace(home, locks, &position)) {
    PlaceAt(BucketAt(home), kSlotsPerBucket + position, hash, content);
  } else if (!InsertIntoChain(home, content)) {
    return false;
  }
  records_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

// Makes a free slot in the bucket behind `home`: finds the nearest bucket with one, then moves the
// hole back, one record from each bucket into the next. Every record that moves lies in its home
// bucket, so it stays in its neighbourhood. Nothing moves unless the whole way is free.
bool Segment::Displace(uint64_t home, LockSet* locks, size_t* position) {
  const uint64_t last = std::min(home + 1 + kDisplacementBucketsMax, layout_.buckets_count);
  uint64_t hole_bucket = home + 1;
  absl::optional<size_t> hole = FreeSlot(*BucketAt(hole_bucket));
  while (!hole.has_value()) {
    if (hole_bucket == last || !MovableSlot(*BucketAt(hole_bucket)).has_value()) return false;
    ++hole_bucket;
    if (!locks->TryAcquire(LockOf(hole_bucket))) return false;
    hole = FreeSlot(*BucketAt(hole_bucket));
  }
  for (; hole_bucket > home + 1; --hole_bucket) {
    const absl::optional<size_t> from = MovableSlot(*BucketAt(hole_bucket - 1));
    // What moved so far is where it may be.
    if (!from.has_value() || !MoveToNext(hole_bucket - 1, *from, *hole)) return false;
    hole = from;
    displacements_.fetch_add(1, std::memory_order_relaxed);
  }
  *position = *hole;
  return true;
}

// Moves a record from its home bucket into a free slot of the next one. false: it is half-written (HalfWritten).
bool Segment::MoveToNext(uint64_t bucket, size_t from, size_t to) {
  Bucket* const home = BucketAt(bucket);
  Slot* const source = &home->slots[from];
  Slot* const target = &home[1].slots[to];
  SlotCopy copy;
  LoadSlot(*source, &copy);
  if (!copy.IsConsistent()) {
    NoteSpoilt();
    return false;
  }
  const SlotContent content = SlotContent::Of(copy);
  const uint64_t version = MovedVersion(copy, *target);

  StructureChange change(this, home);
  // The new place first: a reader that looks at both in either order finds the record at least
  // once, or a structure version that moved.
  WriteSlot(target, content.Word(version, true), content.body, content.body_words);
  EmptySlot(source);
  const uint64_t tags = home->tags.Load(std::memory_order_relaxed);
  const uint8_t tag = static_cast<uint8_t>(tags >> (8 * from));
  home->tags.Store(WithTag(WithTag(tags, from, 0), kSlotsPerBucket + to, tag),
                   std::memory_order_release);
  return true;
}

bool Segment::InsertIntoChain(uint64_t home, const SlotContent& content) {
  Bucket* const bucket = BucketAt(home);
  ChainWalk chain(this, home);
  absl::optional<size_t> free_slot;
  for (; chain.bucket() != nullptr; chain.Next()) {
    free_slot = FreeSlot(*chain.bucket());
    if (free_slot.has_value()) break;
  }
  if (chain.is_spoilt()) return false;
  Bucket* overflow = chain.bucket();
  const bool is_new = overflow == nullptr;
  if (is_new) {
    if (chain.steps() == kChainBucketsMax) return false;
    const absl::optional<uint64_t> offset = heap_.AllocateOverflowBucket();
    if (!offset.has_value()) return false;
    overflow = reinterpret_cast<Bucket*>(region_->words() + *offset / kWordBytes);
    // Its slots are all empty, but for what a client that writes astray has left there: overwritten.
    free_slot = 0;
  }
  StructureChange change(this, bucket);
  if (is_new) {
    // A reader with an old pointer to it may look on: it sees another home's number, or this home's
    // odd version.
    overflow->identity.Store(layout_.identity, std::memory_order_release);
    overflow->floor_or_home.Store(home, std::memory_order_release);
    overflow->overflow.Store(bucket->overflow.Load(std::memory_order_relaxed),
                             std::memory_order_release);
  }
  Slot* const slot = &overflow->slots[*free_slot];
  WriteSlot(slot, content.Word(NewVersion(*slot, *bucket), false), content.body,
            content.body_words);
  if (is_new) bucket->overflow.Store(AddressOf(overflow), std::memory_order_release);
  return true;
}

absl::StatusOr<Segment::Freed> Segment::Delete(uint64_t home, const Place& place) {
  Bucket* const bucket = BucketAt(home);
  SlotCopy old;
  LoadSlot(*place.slot, &old);
  if (!old.IsConsistent()) {
    NoteSpoilt();
    return HalfWritten();
  }
  {
    StructureChange change(this, bucket);
    const uint64_t floor = bucket->floor_or_home.Load(std::memory_order_relaxed);
    if (!IsPlanted(PlantedBug::kDeleteForgetsFloor)) {
      bucket->floor_or_home.Store(std::max(floor, old.first().version()),
                                  std::memory_order_release);
    }
    EmptySlot(place.slot);
    if (place.position < kNeighbourhood) {
      const uint64_t tags = bucket->tags.Load(std::memory_order_relaxed);
      bucket->tags.Store(WithTag(tags, place.position, 0), std::memory_order_release);
      PullFromChain(bucket, place.position);
    } else if (IsEmpty(*place.overflow)) {
      Unlink(bucket, place.overflow, place.before);
    }
  }
  records_.fetch_sub(1, std::memory_order_relaxed);
  return ObjectOf(old);
}

// Within the structure change of a delete: moves a record of the chain into the slot that became
// free.
void Segment::PullFromChain(Bucket* home, size_t position) {
  const ChainWalk chain(this, static_cast<uint64_t>(home - BucketAt(0)));
  Bucket* const overflow = chain.bucket();
  if (overflow == nullptr) return;
  Slot* const source =
      std::find_if(std::begin(overflow->slots), std::end(overflow->slots),
                   [](const Slot& slot) { return slot.first().kind() != SlotKind::kEmpty; });
  SlotCopy copy;
  if (source != std::end(overflow->slots)) LoadSlot(*source, &copy);
  // No empty bucket stays in a chain, and nobody is at work there.
  if (source == std::end(overflow->slots) || !copy.IsConsistent()) return NoteSpoilt();
  const SlotContent content = SlotContent::Of(copy);
  Slot* const target = &SlotAt(home, position);
  const uint64_t version = MovedVersion(copy, *target);
  WriteSlot(target, content.Word(version, position >= kSlotsPerBucket), content.body,
            content.body_words);
  EmptySlot(source);
  const uint64_t tags = home->tags.Load(std::memory_order_relaxed);
  home->tags.Store(WithTag(tags, position, TagOf(HashOf(copy))), std::memory_order_release);
  if (IsEmpty(*overflow)) Unlink(home, overflow, nullptr);
}

// Within a structure change of `home`: takes an empty bucket out of its chain.
void Segment::Unlink(Bucket* home, Bucket* overflow, Bucket* before) {
  SharedWord* const link = before == nullptr ? &home->overflow : &before->overflow;
  link->Store(overflow->overflow.Load(std::memory_order_relaxed), std::memory_order_release);
  heap_.FreeOverflowBucket(GlobalAddress::FromBits(AddressOf(overflow)).offset_bytes());
}

uint64_t Segment::CheckInvariants(uint64_t spoilt_expected) {
  uint64_t records = 0;
  for (uint64_t i = 0; i <= layout_.buckets_count; ++i) {
    Bucket* const bucket = BucketAt(i);
    CHECK_EQ(bucket->structure_version.Load(std::memory_order_relaxed) % 2, 0u) << "bucket " << i;
    CHECK_EQ(bucket->lock.local_tail.Load(std::memory_order_relaxed), 0u) << "bucket " << i;
    CHECK_EQ(bucket->identity.Load(std::memory_order_relaxed), layout_.identity) << "bucket " << i;
    for (size_t s = 0; s < kSlotsPerBucket; ++s) {
      SlotCopy copy;
      LoadSlot(bucket->slots[s], &copy);
      CHECK(copy.IsConsistent()) << "bucket " << i << " slot " << s;
      if (copy.first().kind() == SlotKind::kEmpty) continue;
      ++records;
      const uint64_t hash = HashOf(copy);
      const uint64_t home = HomeBucket(hash, layout_.buckets_count);
      const size_t position = s + (copy.first().home_is_previous() ? kSlotsPerBucket : 0);
      CHECK_EQ(home + position / kSlotsPerBucket, i) << "a record outside of its neighbourhood";
      const uint64_t tags = BucketAt(home)->tags.Load(std::memory_order_relaxed);
      CHECK_EQ(static_cast<uint8_t>(tags >> (8 * position)), TagOf(hash)) << "bucket " << i;
    }
    ChainWalk chain(this, i);
    for (; chain.bucket() != nullptr; chain.Next()) {
      CHECK(!IsEmpty(*chain.bucket())) << "an empty bucket in the chain of " << i;
      for (const Slot& slot : chain.bucket()->slots) {
        SlotCopy copy;
        LoadSlot(slot, &copy);
        CHECK(copy.IsConsistent());
        if (copy.first().kind() == SlotKind::kEmpty) continue;
        CHECK_EQ(HomeBucket(HashOf(copy), layout_.buckets_count), i);
        ++records;
      }
    }
    CHECK(!chain.is_spoilt()) << "the chain of " << i << " leads elsewhere, or in a circle";
  }
  CHECK_EQ(records, this->records());
  CHECK_EQ(spoilt(), spoilt_expected);
  return records;
}

}  // namespace acre::kvs
