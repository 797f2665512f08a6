// A table in the regions of one node, and readers at others, all in one process: for tests.
//
// Regions and mapped readers are of shm. Where the provider that tests are linked with
// (transport/conformance/test_fabric.h) is another one, remote readers come by that one, through second doors to
// the same memory: as in a kv_server.

#ifndef ACRE_KVS_TABLE_TEST_UTIL_H_
#define ACRE_KVS_TABLE_TEST_UTIL_H_

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kvs/hash.h"
#include "kvs/mapped_reader.h"
#include "kvs/reader.h"
#include "kvs/remote_reader.h"
#include "kvs/table.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "transport/channel_test_util.h"
#include "transport/fabric.h"
#include "transport/port.h"
#include "transport/region_header.h"
#include "transport/shm/shm_fabric.h"

namespace acre::kvs {

// The owner: a node, its regions, the table in them. Writers go before it.
class TestServer {
 public:
  static constexpr uint32_t kFirstRegionId = 1000;

  void Open(Clock* clock, size_t segments, size_t segment_bytes, int index_percent,
            const KeyShare& share = {}) {
    ASSERT_NO_FATAL_FAILURE(node_.Open(clock, {.card = 1}));
    if (!node_.fabric->device().can_map) {
      auto opened = transport::ShmFabric::Create({.clock = clock});
      ASSERT_TRUE(opened.ok()) << opened.status();
      ASSERT_NO_FATAL_FAILURE(mapped_node_.Open(*std::move(opened)));
    }
    std::vector<transport::MemoryRegion*> regions;
    for (size_t i = 0; i < segments; ++i) {
      transport::RegionOptions options;
      options.region_id = kFirstRegionId + static_cast<uint32_t>(i);
      options.size_bytes = segment_bytes;
      options.peer_rights = transport::kRightRead;
      auto region = (has_doors() ? mapped_node_ : node_).fabric->CreateRegion(options);
      ASSERT_TRUE(region.ok()) << region.status();
      regions_.push_back(*std::move(region));
      regions.push_back(regions_.back().get());
      if (!has_doors()) continue;
      auto door = node_.fabric->RegisterRegion(regions.back(), transport::kRightRead);
      ASSERT_TRUE(door.ok()) << door.status();
      doors_.push_back(*std::move(door));
    }
    TableOptions options;
    options.index_percent = index_percent;
    options.share = share;
    auto table = Table::Create(options, regions);
    ASSERT_TRUE(table.ok()) << table.status();
    table_ = *std::move(table);
  }
  ~TestServer() {
    table_.reset();
    queue_pairs_.clear();
    doors_.clear();
    regions_.clear();
  }
  // As if the server had stopped. The readers' queue pairs know nothing of it yet.
  void CloseRegions() {
    table_.reset();
    doors_.clear();
    regions_.clear();
  }

  Table* table() { return table_.get(); }
  Segment& segment(size_t index) { return *table_->segments()[index]; }
  // Connects a node of a reader, gives it the right to READ. The directory as a handshake would.
  void Accept(transport::TestNode* reader, std::vector<RegionEntry>* directory) {
    ASSERT_NO_FATAL_FAILURE(Accept(reader, &node_, has_doors() ? doors_ : regions_, directory));
  }
  // The same for a node of shm that maps, where `reader` above is of another fabric.
  void AcceptMapping(transport::TestNode* reader, std::vector<RegionEntry>* directory) {
    ASSERT_NO_FATAL_FAILURE(Accept(reader, &mapped_node_, regions_, directory));
  }
  // Moves the epochs on; no client is known.
  void Tick() {
    std::vector<SharedWord*> headers;
    for (const auto& region : regions_) {
      headers.push_back(&reinterpret_cast<transport::RegionHeader*>(region->words())->epoch);
    }
    table_->epochs().Tick(1, 1, headers.data(), headers.size());
  }

 private:
  using Regions = std::vector<std::unique_ptr<transport::MemoryRegion>>;

  bool has_doors() const { return mapped_node_.fabric != nullptr; }
  void Accept(transport::TestNode* reader, transport::TestNode* node, const Regions& regions,
              std::vector<RegionEntry>* directory) {
    ASSERT_NO_FATAL_FAILURE(transport::Connect(reader, node));
    for (const auto& region : regions) {
      const auto key = node->queue_pair->Grant(*region, transport::kRightRead);
      ASSERT_TRUE(key.ok()) << key.status();
      directory->push_back({region->region_id(), *key, region->size_bytes()});
    }
    queue_pairs_.push_back(std::move(node->queue_pair));
  }

  transport::TestNode mapped_node_;  // Open if node_ is of a fabric that cannot map.
  transport::TestNode node_;
  Regions regions_;
  Regions doors_;  // Of node_'s fabric to regions_, if those are mapped_node_'s.
  std::vector<std::unique_ptr<transport::QueuePair>> queue_pairs_;
  std::unique_ptr<Table> table_;
};

// Both readers at a node of their own. Connected on one thread, opened and used on another, maybe.
class TestReaders {
 public:
  void Connect(Clock* clock, TestServer* server) {
    clock_ = clock;
    ASSERT_NO_FATAL_FAILURE(node_.Open(clock, {.card = 0}));
    ASSERT_NO_FATAL_FAILURE(server->Accept(&node_, &directory_));
    if (node_.fabric->device().can_map) return;
    auto opened = transport::ShmFabric::Create({.clock = clock});
    ASSERT_TRUE(opened.ok()) << opened.status();
    ASSERT_NO_FATAL_FAILURE(mapping_node_.Open(*std::move(opened)));
    ASSERT_NO_FATAL_FAILURE(server->AcceptMapping(&mapping_node_, &mapped_directory_));
  }
  // On the thread that reads. `mapped_clock`, `patience_ns`: of the mapped reader, others than usual.
  void Open(Scheduler* scheduler, Clock* mapped_clock = nullptr,
            uint64_t patience_ns = kNoDeadlineNs, const KeyShare& share = {}) {
    scheduler_ = scheduler;
    const bool is_apart = mapping_node_.fabric != nullptr;
    auto mapped =
        MappedReader::Create((is_apart ? mapping_node_ : node_).queue_pair.get(),
                             is_apart ? mapped_directory_ : directory_,
                             mapped_clock != nullptr ? mapped_clock : clock_, patience_ns, share);
    ASSERT_TRUE(mapped.ok()) << mapped.status();
    mapped_ = *std::move(mapped);
    port_ = std::make_unique<transport::Port>(scheduler, node_.completion_queue.get());
    auto remote = scheduler->RunUntilDone(RemoteReader::Create(node_.fabric.get(), port_.get(),
                                                               node_.queue_pair.get(), directory_,
                                                               1, kNoDeadlineNs, share));
    ASSERT_TRUE(remote.ok()) << remote.status();
    remote_ = *std::move(remote);
  }
  void Close() {
    remote_.reset();
    port_.reset();
    mapped_.reset();
  }
  ~TestReaders() { Close(); }

  MappedReader* mapped() { return mapped_.get(); }
  RemoteReader* remote() { return remote_.get(); }
  const std::vector<RegionEntry>& directory() const { return directory_; }
  transport::TestNode& node() { return node_; }

  static constexpr uint64_t kNoDeadlineNs = ~uint64_t{0};
  absl::Status RemoteGet(absl::string_view key, std::string* value,
                         uint64_t deadline_ns = kNoDeadlineNs) {
    return scheduler_->RunUntilDone(remote_->Get(key, value, deadline_ns));
  }
  void RemoteMultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses) {
    scheduler_->RunUntilDone(remote_->MultiGet(keys, values, statuses, kNoDeadlineNs));
  }

 private:
  Clock* clock_ = nullptr;
  transport::TestNode node_;
  transport::TestNode mapping_node_;  // Open if node_ is of a fabric that cannot map.
  std::vector<RegionEntry> directory_;
  std::vector<RegionEntry> mapped_directory_;  // As mapping_node_ was granted it.
  Scheduler* scheduler_ = nullptr;
  std::unique_ptr<transport::Port> port_;
  std::unique_ptr<MappedReader> mapped_;
  std::unique_ptr<RemoteReader> remote_;
};

// The first keys `prefix`0, `prefix`1, ... whose home in a segment of so many buckets is `home`.
inline std::vector<std::string> KeysOfHome(absl::string_view prefix, uint64_t home,
                                           uint64_t buckets_count, size_t count) {
  std::vector<std::string> keys;
  for (uint64_t i = 0; keys.size() < count; ++i) {
    std::string key = absl::StrCat(prefix, i);
    if (HomeBucket(HashKey(key), buckets_count) == home) keys.push_back(std::move(key));
  }
  return keys;
}

// Two keys of 16 bytes with the same 64-bit hash. XXH3 of 9 to 16 bytes hashes the sum
//   length + swap(lo) + hi + fold(lo * hi),
// where lo and hi are the key's halves, each xored with constants out of XXH3's secret. So lo = 1
// with any hi collides with lo = 0 and 2^56 + 2 hi.
inline std::pair<std::string, std::string> KeysOfOneHash(uint64_t hi) {
  constexpr uint64_t kFlipLo = 0x1f67b3b7a4a44072 ^ 0x78e5c0cc4ee679cb;
  constexpr uint64_t kFlipHi = 0x2172ffcc7dd05a82 ^ 0x8e2443f7744608b8;
  const auto key = [](uint64_t lo_word, uint64_t hi_word) {
    const uint64_t words[] = {lo_word ^ kFlipLo, hi_word ^ kFlipHi};
    return std::string(reinterpret_cast<const char*>(words), sizeof(words));
  };
  return {key(1, hi), key(0, (uint64_t{1} << 56) + 2 * hi)};
}

}  // namespace acre::kvs

#endif  // ACRE_KVS_TABLE_TEST_UTIL_H_
