#include "tests/checkers/version_watcher.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "kvs/hash.h"
#include "tests/checkers/segment_walk.h"

namespace acre::checkers {

std::string VersionWatcher::ObserveKey(absl::string_view key, uint64_t version, uint64_t place,
                                       absl::string_view value) {
  KeySeen& seen = keys_[std::string(key)];
  const KeySeen before = std::exchange(seen, {version, place, std::string(value)});
  const std::string name = absl::StrCat("key \"", absl::CHexEscape(key), "\"");
  if (version < before.version) {
    return absl::StrCat(name, " fell from version ", before.version, " at ", before.place, " to ",
                        version, " at ", place);
  }
  if (version > before.version) return "";
  if (place != before.place) {
    return absl::StrCat(name, " moved from ", before.place, " to ", place, " and kept version ",
                        version);
  }
  if (value != before.value) return absl::StrCat(name, " changed and kept version ", version);
  return "";
}

std::string VersionWatcher::ObserveSlot(uint64_t place, const kvs::SlotCopy& copy) {
  const auto [entry, is_new] = slots_.emplace(place, copy);
  const kvs::SlotCopy before = std::exchange(entry->second, copy);
  if (is_new || copy.first().version() > before.first().version()) return "";
  if (copy.first().version() < before.first().version()) {
    return absl::StrCat("slot at ", place, " fell from version ", before.first().version(), " to ",
                        copy.first().version());
  }
  if (std::equal(std::begin(copy.words), std::end(copy.words), before.words)) return "";
  return absl::StrCat("slot at ", place, " changed and kept version ", copy.first().version());
}

std::string VersionWatcher::ObserveRising(uint64_t place, uint64_t value) {
  const uint64_t before = std::exchange(rising_[place], value);
  if (value >= before) return "";
  return absl::StrCat("word at ", place, " fell from ", before, " to ", value);
}

std::vector<std::string> VersionWatcher::Scan(kvs::Segment* segment) {
  std::vector<std::string> wrong;
  const auto add = [&wrong](std::string what) {
    if (!what.empty()) wrong.push_back(std::move(what));
  };
  const kvs::SegmentLayout& layout = segment->layout();
  const SegmentMemory memory = SegmentMemory::Of(segment);
  const SegmentWalk walk(memory);
  std::vector<uint64_t> structure_versions(layout.buckets_count + 1);
  for (const BucketAt& at : walk.buckets()) {
    if (at.is_overflow) continue;
    // Relaxed: nobody is at work.
    const uint64_t structure = at.bucket->structure_version.Load(std::memory_order_relaxed);
    structure_versions[at.index] = structure;
    // An odd one steps back if it was a transaction's mark, and is undone (docs/transactions.md).
    if (structure % 2 == 0) {
      add(ObserveRising(at.offset_bytes + offsetof(kvs::Bucket, structure_version), structure));
    }
    add(ObserveRising(at.offset_bytes + offsetof(kvs::Bucket, floor_or_home),
                      at.bucket->floor_or_home.Load(std::memory_order_relaxed)));
  }
  for (const BucketAt& at : walk.buckets()) {
    for (size_t i = 0; i < kvs::kSlotsPerBucket; ++i) {
      const uint64_t place = at.offset_bytes + offsetof(kvs::Bucket, slots) + i * sizeof(kvs::Slot);
      const kvs::SlotCopy copy = CopyOf(at.bucket->slots[i]);
      if (!copy.IsConsistent()) continue;
      add(ObserveSlot(place, copy));
      const absl::optional<RecordAt> record = RecordIn(memory, copy);
      if (!record.has_value()) continue;
      const uint64_t home = kvs::HomeBucket(record->hash, layout.buckets_count);
      if (structure_versions[home] % 2 != 0) continue;
      add(ObserveKey(record->key, copy.first().version(), place, record->value));
    }
  }
  return wrong;
}

}  // namespace acre::checkers
