#include "kvs/mapped_reader.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/limits.h"
#include "kvs/segment_view.h"
#include "runtime/this_thread.h"
#include "transport/region_header.h"
#include "transport/region_lease.h"

namespace acre::kvs {
namespace {

// Keys whose cache misses MultiGet overlaps: about as many as a core has line fill buffers.
constexpr size_t kOverlap = 16;
// A record that stays locked for this long is given up, however patient the caller is: its writer has
// stalled, though its server lives.
constexpr uint64_t kStalledNsMax = 1'000'000'000;
constexpr int kRetriesBeforeYield = 64;

}  // namespace

// How long the keys of one call wait for records that stay locked, all together: from the first look at the
// clock on, which none takes that finds no lock.
struct MappedReader::Patience {
  uint64_t ns;
  uint64_t give_up_ns = 0;
};

struct MappedReader::Impl {
  struct Mapping {
    SegmentView view;
    transport::RegionLease lease;
    const transport::RegionHeader* header;
  };

  const Mapping& MappingOf(uint64_t hash) const {
    if (mappings.size() == 1) [[likely]]
      return mappings[0];
    return mappings[share.SegmentOf(hash, mappings.size())];
  }
  Mapping& MappingOf(uint64_t hash) {
    return const_cast<Mapping&>(std::as_const(*this).MappingOf(hash));
  }

  bool AllLive() const {
    return std::all_of(mappings.begin(), mappings.end(),
                       [](const Mapping& mapping) { return mapping.lease.IsLive(); });
  }

  // Everything but the usual hit. Waits for locked records as long as `patience` says.
  template <class Mark>
  [[gnu::noinline]] absl::Status Get(absl::string_view key, std::string* value, ReaderStats* stats,
                                     Patience* patience, Mark mark) {
    if (key.empty() || key.size() > kKeyBytesMax) return CheckKey(key);
    const LookupKey lookup(key);
    Mapping& mapping = MappingOf(lookup.hash);
    mapping.view.Prefetch(lookup.hash);
    ++stats->gets;
    const LookupResult result = mapping.view.Lookup(lookup, value, &scratch, stats, mark);
    if (result == LookupResult::kHit && mapping.lease.IsLive()) return absl::OkStatus();
    return GetSlowly(mapping, result, lookup, value, stats, patience, mark);
  }

  // Everything but a hit in memory whose owner lives: `result` is that of a first lookup.
  template <class Mark>
  [[gnu::noinline, gnu::cold]] absl::Status GetSlowly(Mapping& mapping, LookupResult result,
                                                      const LookupKey& key, std::string* value,
                                                      ReaderStats* stats, Patience* patience,
                                                      Mark mark);

  const SegmentView& ViewOf(const ReadMark& mark) const {
    return mappings[SegmentOfMark(mark, mappings.size(),
                                  [this](size_t i) -> const SegmentLayout& {
                                    return mappings[i].view.layout();
                                  })]
        .view;
  }

  std::vector<Mapping> mappings;
  KeyShare share;
  Clock* clock = nullptr;
  uint64_t patience_ns = 0;
  std::vector<uint64_t> scratch;
};

template <class Mark>
absl::Status MappedReader::Impl::GetSlowly(Mapping& mapping, LookupResult result,
                                           const LookupKey& key, std::string* value,
                                           ReaderStats* stats, Patience* patience, Mark mark) {
  if (!mapping.lease.IsLive()) return mapping.lease.WhyNot();
  for (int retries = 0; result == LookupResult::kRetry; ++retries) {
    ++stats->retries;
    if (retries >= kRetriesBeforeYield) {
      const uint64_t now_ns = clock->NowNs();
      if (patience->give_up_ns == 0) patience->give_up_ns = now_ns + patience->ns;
      if (now_ns > patience->give_up_ns) {
        return absl::UnavailableError(
            "the record stayed locked for too long: a server thread has stalled; try again");
      }
      YieldThread();  // The writer may wait for this very core.
    }
    result = mapping.view.Lookup(key, value, &scratch, stats, mark);
    if (!mapping.lease.IsLive()) return mapping.lease.WhyNot();
  }
  if (result == LookupResult::kHit) return absl::OkStatus();
  if (result == LookupResult::kDamaged) {
    return absl::DataLossError("the server's table names places outside of its memory: give it up");
  }
  // A hit proves itself; a miss counts only where the key would be if it were anywhere.
  if (!share.Holds(key.hash)) return NotOurKey(share, key.hash);
  ++stats->misses;
  return absl::NotFoundError("no such record");
}

absl::StatusOr<std::unique_ptr<MappedReader>> MappedReader::Create(
    transport::QueuePair* queue_pair, absl::Span<const RegionEntry> directory, Clock* clock,
    uint64_t patience_ns, const KeyShare& share) {
  auto impl = std::make_unique<Impl>();
  impl->share = share;
  impl->clock = clock;
  impl->patience_ns = std::min(patience_ns, kStalledNsMax);
  if (directory.empty()) return absl::DataLossError("the server's directory names no region");
  for (const RegionEntry& entry : directory) {
    absl::StatusOr<transport::MappedRegion> region = queue_pair->Map(entry.key);
    if (!region.ok()) return region.status();
    if (region->size_bytes < kSegmentBucketsOffset) {
      return absl::DataLossError(absl::StrCat("region ", entry.region_id, " is too small"));
    }
    uint64_t words[sizeof(SegmentHeader) / kWordBytes];
    CopyFromShared(words, region->words + kSegmentHeaderOffset / kWordBytes, std::size(words),
                   CopyOrder::kAscending);
    absl::StatusOr<SegmentLayout> layout =
        SegmentLayout::Parse(words, entry.region_id, region->size_bytes);
    if (!layout.ok()) return layout.status();
    const auto* header = reinterpret_cast<const transport::RegionHeader*>(region->words);
    impl->mappings.push_back({SegmentView(region->words, *layout),
                              transport::RegionLease(header, region->generation, clock), header});
  }
  return std::unique_ptr<MappedReader>(new MappedReader(std::move(impl)));
}

MappedReader::MappedReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MappedReader::~MappedReader() = default;

inline bool MappedReader::GetUsual(absl::string_view key, std::string* value) {
  if (!IsAlignedKey(key)) [[unlikely]]
    return false;
  const uint64_t hash = HashKey(key);
  const Impl::Mapping& mapping = impl_->MappingOf(hash);
  mapping.view.Prefetch(hash);
  // Looked at after the data: if the server lives now, it did when they were loaded.
  if (!mapping.view.FindAligned(key, hash, value) || !mapping.lease.IsLive()) [[unlikely]]
    return false;
  ++usual_hits_;
  return true;
}

// Flattened: fewer instructions between the misses of two calls (docs/lookup.md).
__attribute__((flatten)) absl::Status MappedReader::Get(absl::string_view key, std::string* value) {
  if (GetUsual(key, value)) [[likely]]
    return absl::OkStatus();
  Patience patience{impl_->patience_ns};
  return impl_->Get(key, value, &stats_, &patience, NoMark());
}

__attribute__((flatten)) absl::Status MappedReader::GetNow(absl::string_view key,
                                                           std::string* value) {
  if (GetUsual(key, value)) [[likely]]
    return absl::OkStatus();
  Patience patience{0};
  return impl_->Get(key, value, &stats_, &patience, NoMark());
}

bool MappedReader::IsLive() const { return impl_->AllLive(); }

void MappedReader::MultiGet(absl::Span<const absl::string_view> keys,
                            absl::Span<std::string> values, absl::Span<absl::Status> statuses,
                            uint64_t patience_ns) {
  CHECK(keys.size() == values.size() && keys.size() == statuses.size());
  Patience patience{std::min(patience_ns, impl_->patience_ns)};
  while (!keys.empty()) {
    const size_t count = std::min(kOverlap, keys.size());
    GetGroup(keys.first(count), values.first(count), statuses.first(count), &patience);
    keys.remove_prefix(count);
    values.remove_prefix(count);
    statuses.remove_prefix(count);
  }
}

// Three rounds, so that the misses of each overlap: all headers are asked for, then the one slot that
// each header's tags name, then the usual hits are taken. Everything else is looked up singly.
__attribute__((flatten)) void MappedReader::GetGroup(absl::Span<const absl::string_view> keys,
                                                     absl::Span<std::string> values,
                                                     absl::Span<absl::Status> statuses,
                                                     Patience* patience) {
  std::array<uint64_t, kOverlap> hashes;
  std::array<const Bucket*, kOverlap> homes;
  std::array<const Slot*, kOverlap> slots;  // Null: not the usual hit.
  for (size_t i = 0; i < keys.size(); ++i) {
    slots[i] = nullptr;
    homes[i] = nullptr;
    if (!IsAlignedKey(keys[i])) [[unlikely]]
      continue;
    hashes[i] = HashKey(keys[i]);
    homes[i] = impl_->MappingOf(hashes[i]).view.HomeOf(hashes[i]);
    __builtin_prefetch(homes[i]);
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    if (homes[i] == nullptr) [[unlikely]]
      continue;
    const uint64_t tags = homes[i]->tags.Load(std::memory_order_acquire);
    const uint64_t match = MatchTags(tags, TagOf(hashes[i]));
    if (match == 0) [[unlikely]] {
      impl_->MappingOf(hashes[i]).view.PrefetchChain(homes[i]);
      continue;
    }
    slots[i] = &FirstMatch(homes[i], match);
    __builtin_prefetch(slots[i]);
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    if (slots[i] == nullptr || !MatchAlignedInline(*slots[i], keys[i], &values[i])) [[unlikely]] {
      slots[i] = nullptr;
    }
  }
  // After the data of all of them: one look for the group.
  const bool all_live = impl_->AllLive();
  for (size_t i = 0; i < keys.size(); ++i) {
    if (slots[i] != nullptr && all_live) [[likely]] {
      ++usual_hits_;
      statuses[i] = absl::OkStatus();
    } else {
      statuses[i] = impl_->Get(keys[i], &values[i], &stats_, patience, NoMark());
    }
  }
}

absl::Status MappedReader::GetMarked(absl::string_view key, std::string* value, ReadMark* mark,
                                     uint64_t patience_ns) {
  Patience patience{std::min(patience_ns, impl_->patience_ns)};
  return impl_->Get(key, value, &stats_, &patience, MarkInto{mark});
}

// A single one asks for all its lines at once, by itself.
void MappedReader::PrefetchGroup(absl::Span<const MarkedGet> gets) const {
  std::array<uint64_t, kOverlap> hashes;
  std::array<const Bucket*, kOverlap> homes;
  for (size_t i = 0; i < gets.size(); ++i) {
    hashes[i] = HashKey(gets[i].key);
    homes[i] = impl_->MappingOf(hashes[i]).view.HomeOf(hashes[i]);
    __builtin_prefetch(homes[i]);
  }
  for (size_t i = 0; i < gets.size(); ++i) {
    const uint64_t tags = homes[i]->tags.Load(std::memory_order_acquire);
    const uint64_t match = MatchTags(tags, TagOf(hashes[i]));
    if (match == 0) {
      impl_->MappingOf(hashes[i]).view.PrefetchChain(homes[i]);
    } else {
      __builtin_prefetch(&FirstMatch(homes[i], match));
    }
  }
}

void MappedReader::MultiGetMarked(absl::Span<MarkedGet> gets, uint64_t patience_ns) {
  Patience patience{std::min(patience_ns, impl_->patience_ns)};
  while (!gets.empty()) {
    const size_t count = std::min(kOverlap, gets.size());
    if (count > 1) PrefetchGroup(gets.first(count));
    for (MarkedGet& get : gets.first(count)) {
      get.status = impl_->Get(get.key, get.value, &stats_, &patience, MarkInto{&get.mark});
    }
    gets.remove_prefix(count);
  }
}

absl::Status MappedReader::Validate(absl::Span<const ReadMark> marks,
                                    absl::optional<size_t>* changed) {
  changed->reset();
  size_t first = 0;
  while (first < marks.size()) {
    // In program order behind the loads of all reads, the last one's too: those are acquire loads.
    const uint64_t now = impl_->ViewOf(marks[first]).LoadWordOf(marks[first]);
    ++stats_.validations;
    if (!marks[first].IsStill(now)) break;
    ++first;
  }
  // After the words: if the server lives now, it did when they were loaded. All of its regions or none.
  for (const Impl::Mapping& mapping : impl_->mappings) {
    if (!mapping.lease.IsLive()) return mapping.lease.WhyNot();
  }
  if (first < marks.size()) *changed = first;
  return absl::OkStatus();
}

ReaderStats MappedReader::stats() const {
  ReaderStats all = stats_;
  all.gets += usual_hits_;
  all.reads += usual_hits_;
  return all;
}

GlobalAddress MappedReader::StructureWord(uint64_t hash) const {
  const SegmentLayout& layout = impl_->MappingOf(hash).view.layout();
  return ReadMark::StructureWord(layout, HomeBucket(hash, layout.buckets_count));
}

uint64_t MappedReader::ServerEpoch() const {
  return impl_->mappings[0].header->epoch.Load(std::memory_order_acquire);
}

}  // namespace acre::kvs
