#include "kvs/mapped_reader.h"

#include <algorithm>
#include <array>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "glog/logging.h"
#include "kvs/limits.h"
#include "kvs/segment_view.h"
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

struct MappedReader::Impl {
  struct Mapping {
    SegmentView view;
    transport::RegionLease lease;
    const transport::RegionHeader* header;
  };

  const Mapping& MappingOf(uint64_t hash) const {
    if (mappings.size() == 1) [[likely]]
      return mappings[0];
    return mappings[SegmentIndex(hash, mappings.size())];
  }
  Mapping& MappingOf(uint64_t hash) {
    return const_cast<Mapping&>(std::as_const(*this).MappingOf(hash));
  }

  bool AllLive() const {
    return std::all_of(mappings.begin(), mappings.end(),
                       [](const Mapping& mapping) { return mapping.lease.IsLive(); });
  }

  absl::Status Get(const LookupKey& key, std::string* value, ReaderStats* stats) {
    Mapping& mapping = MappingOf(key.hash);
    const LookupResult result = mapping.view.Lookup(key, value, &scratch, stats);
    // The lease is looked at after the data: if it holds now, the server was there when they were
    // loaded.
    if (result == LookupResult::kHit && mapping.lease.IsLive()) [[likely]]
      return absl::OkStatus();
    uint64_t give_up_ns = 0;
    return GetSlowly(mapping, result, key, value, stats, &give_up_ns);
  }

  // Everything but a hit under a live lease: `result` is that of a first lookup. *give_up_ns, 0 at
  // first, is shared by the keys of a call.
  [[gnu::noinline, gnu::cold]] absl::Status GetSlowly(Mapping& mapping, LookupResult result,
                                                      const LookupKey& key, std::string* value,
                                                      ReaderStats* stats, uint64_t* give_up_ns);

  std::vector<Mapping> mappings;
  Clock* clock = nullptr;
  uint64_t patience_ns = 0;
  std::vector<uint64_t> scratch;
};

absl::Status MappedReader::Impl::GetSlowly(Mapping& mapping, LookupResult result,
                                           const LookupKey& key, std::string* value,
                                           ReaderStats* stats, uint64_t* give_up_ns) {
  if (!mapping.lease.IsLive()) return mapping.lease.WhyNot();
  for (int retries = 0; result == LookupResult::kRetry; ++retries) {
    ++stats->retries;
    if (retries >= kRetriesBeforeYield) {
      const uint64_t now_ns = clock->NowNs();
      if (*give_up_ns == 0) *give_up_ns = now_ns + patience_ns;
      if (now_ns > *give_up_ns) {
        return absl::UnavailableError(
            "the record stayed locked for too long: a server thread has stalled; try again");
      }
      std::this_thread::yield();  // The writer may wait for this very core.
    }
    result = mapping.view.Lookup(key, value, &scratch, stats);
    if (!mapping.lease.IsLive()) return mapping.lease.WhyNot();
  }
  if (result == LookupResult::kHit) return absl::OkStatus();
  if (result == LookupResult::kDamaged) {
    return absl::DataLossError("the server's table names places outside of its memory: give it up");
  }
  ++stats->misses;
  return absl::NotFoundError("no such record");
}

absl::StatusOr<std::unique_ptr<MappedReader>> MappedReader::Create(
    transport::QueuePair* queue_pair, absl::Span<const RegionEntry> directory, Clock* clock,
    uint64_t patience_ns) {
  auto impl = std::make_unique<Impl>();
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
    const uint64_t generation = header->generation.Load(std::memory_order_acquire);
    impl->mappings.push_back({SegmentView(region->words, *layout),
                              transport::RegionLease(header, generation, clock), header});
  }
  return std::unique_ptr<MappedReader>(new MappedReader(std::move(impl)));
}

MappedReader::MappedReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MappedReader::~MappedReader() = default;

// Flattened: fewer instructions between the misses of two calls (docs/lookup.md).
__attribute__((flatten)) absl::Status MappedReader::Get(absl::string_view key, std::string* value) {
  if (key.empty() || key.size() > kKeyBytesMax) [[unlikely]]
    return CheckKey(key);
  ++stats_.gets;
  const LookupKey lookup(key);
  impl_->MappingOf(lookup.hash).view.Prefetch(lookup.hash);
  return impl_->Get(lookup, value, &stats_);
}

__attribute__((flatten)) void MappedReader::MultiGet(absl::Span<const absl::string_view> keys,
                                                     absl::Span<std::string> values,
                                                     absl::Span<absl::Status> statuses) {
  CHECK(keys.size() == values.size() && keys.size() == statuses.size());
  uint64_t give_up_ns = 0;
  for (size_t begin = 0; begin < keys.size(); begin += kOverlap) {
    const size_t count = std::min(kOverlap, keys.size() - begin);
    std::array<absl::optional<LookupKey>, kOverlap> lookups;
    std::array<const Bucket*, kOverlap> homes;
    for (size_t i = 0; i < count; ++i) {
      const absl::string_view key = keys[begin + i];
      if (key.empty() || key.size() > kKeyBytesMax) continue;
      lookups[i].emplace(key);
      homes[i] = impl_->MappingOf(lookups[i]->hash).view.HomeOf(lookups[i]->hash);
      __builtin_prefetch(homes[i]);
    }
    for (size_t i = 0; i < count; ++i) {
      if (!lookups[i].has_value()) continue;
      // Relaxed: only to guess which line will be wanted.
      const uint64_t tags = homes[i]->tags.Load(std::memory_order_relaxed);
      const uint64_t match = MatchTags(tags, TagOf(lookups[i]->hash));
      if (match != 0) __builtin_prefetch(&SlotAt(homes[i], PositionOf(match)));
    }
    std::array<LookupResult, kOverlap> results;
    for (size_t i = 0; i < count; ++i) {
      if (!lookups[i].has_value()) continue;
      ++stats_.gets;
      results[i] = impl_->MappingOf(lookups[i]->hash)
                       .view.Lookup(*lookups[i], &values[begin + i], &impl_->scratch, &stats_);
    }
    // After the data of all of them: one look at the clock for the group.
    const bool all_live = impl_->AllLive();
    for (size_t i = 0; i < count; ++i) {
      if (!lookups[i].has_value()) {
        statuses[begin + i] = CheckKey(keys[begin + i]);
      } else if (results[i] == LookupResult::kHit && all_live) [[likely]] {
        statuses[begin + i] = absl::OkStatus();
      } else {
        statuses[begin + i] =
            impl_->GetSlowly(impl_->MappingOf(lookups[i]->hash), results[i], *lookups[i],
                             &values[begin + i], &stats_, &give_up_ns);
      }
    }
  }
}

uint64_t MappedReader::ServerEpoch() const {
  return impl_->mappings[0].header->epoch.Load(std::memory_order_acquire);
}

}  // namespace acre::kvs
