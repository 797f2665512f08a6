#include "tests/checkers/table_invariants.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "kvs/bucket.h"
#include "kvs/hash.h"
#include "kvs/object.h"
#include "kvs/segment_layout.h"
#include "kvs/segment_view.h"
#include "tests/checkers/heap_books.h"
#include "tests/checkers/segment_walk.h"

namespace acre::checkers {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // Nobody is at work.

std::string Quoted(absl::string_view bytes) {
  return absl::StrCat("\"", absl::CHexEscape(bytes.substr(0, 40)), "\"");
}

class SegmentCheck {
 public:
  // `model`: null: whatever there is.
  SegmentCheck(const SegmentMemory& memory, const Model* model)
      : memory_(memory),
        layout_(memory.layout),
        model_(model),
        walk_(memory),
        tags_(layout_.buckets_count + 1) {}

  std::vector<Finding> Run(kvs::Segment* segment) {
    CheckHeader();
    CheckBuckets();
    CheckModel(*model_);
    if (places_.size() != segment->records() && !has_twice_) {
      Add(Damage::kRecordsCount, absl::StrCat("the owner counts ", segment->records(),
                                              " records, there are ", places_.size()));
    }
    CheckHeap(segment, claims_, &findings_);
    return Findings();
  }

  std::vector<Finding> RunOnMemory(Model* records) {
    CheckBuckets();
    CheckModel(records_);
    CheckClaims(claims_, &findings_);
    *records = std::move(records_);
    return Findings();
  }

 private:
  void Add(Damage damage, std::string what) { findings_.push_back({damage, std::move(what)}); }
  std::vector<Finding> Findings() {
    if (findings_.size() > kFindingsMax) findings_.resize(kFindingsMax);
    return std::move(findings_);
  }

  void CheckBuckets() {
    for (const BucketAt& at : walk_.buckets()) {
      if (at.is_overflow) {
        CheckOverflowBucket(at);
      } else {
        CheckMainBucket(at);
      }
      for (size_t i = 0; i < kvs::kSlotsPerBucket; ++i) CheckSlot(at, i);
    }
    CheckLinks();
    CheckTags();
  }

  void CheckHeader() {
    kvs::SegmentHeader expected = {};
    layout_.Write(&expected);
    const SharedWord* const words = memory_.words + kvs::kSegmentHeaderOffset / kWordBytes;
    const auto* const expected_words = reinterpret_cast<const SharedWord*>(&expected);
    for (size_t i = 0; i < sizeof(expected) / kWordBytes; ++i) {
      if (words[i].Load(kRelaxed) == expected_words[i].Load(kRelaxed)) continue;
      Add(Damage::kHeader, absl::StrCat("word ", i, " of the segment's header"));
    }
  }

  void CheckAnyBucket(const BucketAt& at) {
    const LockWords& lock = at.bucket->lock;
    // victim keeps what the last leader that met the other cohort, or gave up, stored.
    constexpr auto kCohortMax = static_cast<uint64_t>(Cohort::kRemote);
    if (lock.local_tail.Load(kRelaxed) != 0 || lock.remote_tail.Load(kRelaxed) != 0 ||
        lock.victim.Load(kRelaxed) > kCohortMax) {
      Add(Damage::kLockHeld,
          absl::StrCat(at.Name(), ": its lock is ", lock.local_tail.Load(kRelaxed), " ",
                       lock.remote_tail.Load(kRelaxed), " ", lock.victim.Load(kRelaxed)));
    }
    if (at.bucket->identity.Load(kRelaxed) != layout_.identity) {
      Add(Damage::kIdentity,
          absl::StrCat(at.Name(), ": identity ", at.bucket->identity.Load(kRelaxed), ", not ",
                       layout_.identity));
    }
  }

  void CheckMainBucket(const BucketAt& at) {
    CheckAnyBucket(at);
    const uint64_t structure = at.bucket->structure_version.Load(kRelaxed);
    const uint64_t floor = at.bucket->floor_or_home.Load(kRelaxed);
    if (structure % 2 != 0) {
      Add(Damage::kOddStructure, absl::StrCat(at.Name(), ": structure version ", structure));
    }
    // A floor is the version of a record that was deleted: those are even, and have 48 bits.
    if (floor % 2 != 0 || floor >> 48 != 0) {
      Add(Damage::kOddFloor, absl::StrCat(at.Name(), ": floor ", floor));
    }
    const bool is_spare = at.index == layout_.buckets_count;
    if (is_spare && (structure != 0 || floor != 0 || at.bucket->overflow.Load(kRelaxed) != 0)) {
      Add(Damage::kSpareBucket, absl::StrCat(at.Name(), " is spare, and somebody's home"));
    }
  }

  void CheckOverflowBucket(const BucketAt& at) {
    CheckAnyBucket(at);
    const uint64_t home = at.bucket->floor_or_home.Load(kRelaxed);
    if (home != at.index) {
      Add(Damage::kBadChain, absl::StrCat(at.Name(), " carries the number of home ", home));
    }
    if (at.bucket->tags.Load(kRelaxed) != 0 || at.bucket->structure_version.Load(kRelaxed) != 0) {
      Add(Damage::kBadChain, absl::StrCat(at.Name(), " has tags or a structure version"));
    }
    const bool is_empty = std::all_of(
        std::begin(at.bucket->slots), std::end(at.bucket->slots),
        [](const kvs::Slot& slot) { return CopyOf(slot).first().kind() == kvs::SlotKind::kEmpty; });
    if (is_empty) Add(Damage::kEmptyBucket, at.Name());
    if (at.offset_bytes % kvs::kBucketBytes != 0) {
      Add(Damage::kBadChain, absl::StrCat(at.Name(), " is not aligned"));
    }
    if (!overflow_buckets_.insert(at.offset_bytes).second) {
      Add(Damage::kSharedBucket, absl::StrCat(at.Name(), " is in another chain too"));
      return;
    }
    claims_.push_back({at.offset_bytes, kvs::kBucketBytes, true, at.Name()});
  }

  void CheckLinks() {
    for (const SegmentWalk::BrokenLink& link : walk_.broken_links()) {
      const std::string where = absl::StrCat("the chain of bucket ", link.index);
      if (link.is_circle) {
        Add(Damage::kSharedBucket, absl::StrCat(where, " is a circle"));
      } else {
        Add(Damage::kBadChain, absl::StrCat(where, " leads to address ", link.address));
      }
    }
  }

  void CheckSlot(const BucketAt& at, size_t i) {
    const std::string name = absl::StrCat(at.Name(), " slot ", i);
    const kvs::SlotCopy copy = CopyOf(at.bucket->slots[i]);
    const kvs::SlotWord first = copy.first();
    if (first.is_odd()) return Add(Damage::kOddSlot, name);
    if (!copy.IsConsistent()) return Add(Damage::kTornSlot, name);
    if (first.kind() == kvs::SlotKind::kEmpty) {
      if ((first.bits() & 0xffff) != 0) Add(Damage::kBadSlot, absl::StrCat(name, ", empty"));
      return;
    }
    if (first.kind() == kvs::SlotKind::kOutOfLine) {
      if (!kvs::ObjectIsInBounds(copy, layout_)) return Add(Damage::kBadObject, name);
      claims_.push_back({copy.object_address().offset_bytes(),
                         kvs::Heap::RoundedBytes(
                             kvs::ObjectBytes(copy.object_key_bytes(), copy.object_value_bytes())),
                         false, absl::StrCat("object of ", name)});
    }
    const absl::optional<RecordAt> record = RecordIn(memory_, copy);
    if (!record.has_value()) {
      const bool is_object = first.kind() == kvs::SlotKind::kOutOfLine;
      return Add(is_object ? Damage::kBadObject : Damage::kBadSlot, name);
    }
    CheckRecord(at, i, first, *record, absl::StrCat(name, ", key ", Quoted(record->key)));
  }

  void CheckRecord(const BucketAt& at, size_t i, kvs::SlotWord first, const RecordAt& record,
                   const std::string& name) {
    const uint64_t home = kvs::HomeBucket(record.hash, layout_.buckets_count);
    if (at.is_overflow ? home != at.index || first.home_is_previous()
                       : home + (first.home_is_previous() ? 1 : 0) != at.index) {
      Add(Damage::kMisplaced, absl::StrCat(name, ", home ", home));
    } else if (!at.is_overflow) {
      const size_t position = i + (home == at.index ? 0 : kvs::kSlotsPerBucket);
      tags_[home] = kvs::WithTag(tags_[home], position, kvs::TagOf(record.hash));
    }
    const auto [place, is_first] = places_.emplace(record.key, name);
    if (!is_first) {
      has_twice_ = true;
      Add(Damage::kKeyTwice, absl::StrCat(name, "; also ", place->second));
    }
    if (model_ == nullptr) {
      records_[record.key] = record.value;
      return;
    }
    const auto expected = model_->find(record.key);
    if (expected == model_->end()) {
      Add(Damage::kUnknownKey, name);
    } else if (expected->second != record.value) {
      Add(Damage::kWrongValue,
          absl::StrCat(name, " has ", Quoted(record.value), ", not ", Quoted(expected->second)));
    }
  }

  void CheckTags() {
    for (const BucketAt& at : walk_.buckets()) {
      if (at.is_overflow) continue;
      const uint64_t tags = at.bucket->tags.Load(kRelaxed);
      if (tags == tags_[at.index]) continue;
      Add(Damage::kTags, absl::StrCat(at.Name(), ": ", absl::Hex(tags, absl::kZeroPad16), ", not ",
                                      absl::Hex(tags_[at.index], absl::kZeroPad16)));
    }
  }

  void CheckModel(const Model& model) {
    const kvs::SegmentView view(memory_.words, layout_);
    std::string value;
    std::vector<uint64_t> scratch;
    kvs::ReaderStats stats;
    for (const auto& [key, expected] : model) {
      if (!places_.contains(key)) Add(Damage::kMissingKey, Quoted(key));
      const kvs::LookupResult result = view.Lookup(kvs::LookupKey(key), &value, &scratch, &stats);
      if (result != kvs::LookupResult::kHit) {
        Add(Damage::kUnreachable, absl::StrCat(Quoted(key), ": ", NameOf(result)));
      } else if (value != expected) {
        Add(Damage::kUnreachable,
            absl::StrCat(Quoted(key), ": gives ", Quoted(value), ", not ", Quoted(expected)));
      }
    }
  }

  static absl::string_view NameOf(kvs::LookupResult result) {
    switch (result) {
      case kvs::LookupResult::kHit:
        return "hit";
      case kvs::LookupResult::kMiss:
        return "miss";
      case kvs::LookupResult::kRetry:
        return "retry for ever";
      case kvs::LookupResult::kDamaged:
        return "damaged";
    }
    return "";
  }

  const SegmentMemory memory_;
  const kvs::SegmentLayout layout_;
  const Model* const model_;
  const SegmentWalk walk_;
  std::vector<Finding> findings_;
  Model records_;               // Without a model.
  std::vector<uint64_t> tags_;  // That each home must have, by what is in its slots.
  absl::flat_hash_map<std::string, std::string> places_;  // Of each key, the first.
  bool has_twice_ = false;
  absl::flat_hash_set<uint64_t> overflow_buckets_;
  std::vector<Claim> claims_;
};

}  // namespace

std::vector<Finding> CheckSegment(kvs::Segment* segment, const Model& model) {
  return SegmentCheck(SegmentMemory::Of(segment), &model).Run(segment);
}

std::vector<Finding> CheckMemory(const SegmentMemory& memory, Model* records) {
  return SegmentCheck(memory, /*model=*/nullptr).RunOnMemory(records);
}

std::vector<Finding> CheckTable(const kvs::Table& table, const Model& model) {
  std::vector<Model> parts(table.segments().size());
  for (const auto& [key, value] : model) {
    parts[kvs::SegmentIndex(kvs::HashKey(key), parts.size())].emplace(key, value);
  }
  std::vector<Finding> findings;
  for (size_t i = 0; i < parts.size(); ++i) {
    for (Finding& finding : CheckSegment(table.segments()[i].get(), parts[i])) {
      findings.push_back({finding.damage, absl::StrCat("segment ", i, ": ", finding.what)});
    }
  }
  return findings;
}

absl::string_view NameOf(Damage damage) {
  switch (damage) {
    case Damage::kHeader:
      return "segment header changed";
    case Damage::kIdentity:
      return "wrong identity";
    case Damage::kLockHeld:
      return "lock word not zero";
    case Damage::kOddStructure:
      return "odd structure version";
    case Damage::kOddFloor:
      return "impossible floor";
    case Damage::kSpareBucket:
      return "spare bucket in use";
    case Damage::kTornSlot:
      return "torn slot";
    case Damage::kOddSlot:
      return "odd slot";
    case Damage::kBadSlot:
      return "senseless slot";
    case Damage::kBadObject:
      return "bad object";
    case Damage::kMisplaced:
      return "misplaced record";
    case Damage::kTags:
      return "wrong tags";
    case Damage::kBadChain:
      return "bad chain";
    case Damage::kSharedBucket:
      return "overflow bucket in two places";
    case Damage::kEmptyBucket:
      return "empty overflow bucket in a chain";
    case Damage::kFreeBucketNotEmpty:
      return "free overflow bucket not empty";
    case Damage::kKeyTwice:
      return "key twice";
    case Damage::kUnknownKey:
      return "key that the model lacks";
    case Damage::kWrongValue:
      return "wrong value";
    case Damage::kMissingKey:
      return "missing key";
    case Damage::kUnreachable:
      return "lookup fails";
    case Damage::kRecordsCount:
      return "wrong count of records";
    case Damage::kHeapTwice:
      return "heap memory in two places";
    case Damage::kHeapLeak:
      return "heap memory leaked";
    case Damage::kHeapKind:
      return "heap memory of the wrong kind";
    case Damage::kHeapStats:
      return "wrong heap statistics";
  }
  return "";
}

std::string ToText(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& finding : findings) {
    absl::StrAppend(&text, NameOf(finding.damage), ": ", finding.what, "\n");
  }
  return text;
}

}  // namespace acre::checkers
