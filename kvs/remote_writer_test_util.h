// A table in the memory of a LockNode, and processes that read and write it remotely: for tests.

#ifndef ACRE_KVS_REMOTE_WRITER_TEST_UTIL_H_
#define ACRE_KVS_REMOTE_WRITER_TEST_UTIL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/bucket.h"
#include "kvs/hash.h"
#include "kvs/reader.h"
#include "kvs/remote_reader.h"
#include "kvs/remote_writer.h"
#include "kvs/segment.h"
#include "kvs/slot_repair.h"
#include "kvs/table.h"
#include "lock/lock_test_mesh.h"
#include "runtime/task.h"

namespace acre::kvs {

// Makes the locks' region of `node` large enough for a segment; then see TestHome.
inline void MakeTableRegion(LockNode* node) {
  node->MakeLocks(kSegmentBytesMin / kTestLockStride + 16);
}

// The table, and a server thread's hand on it: the node's own.
class TestHome {
 public:
  explicit TestHome(LockNode* node, int index_percent = 50) : node_(node) {
    transport::MemoryRegion* const region = node->lock_region();
    auto made = Table::Create({.index_percent = index_percent}, absl::MakeSpan(&region, 1));
    CHECK(made.ok()) << made.status();
    table_ = *std::move(made);
    writer_ = std::make_unique<TableWriter>(table_.get(), &node->scheduler());
    repair_ = std::make_unique<SlotRepair>(table_.get(), [this](uint32_t process_id) {
      const transport::MemoryRegion* const intents = node_->IntentsOf(process_id);
      if (intents == nullptr) return SlotRepair::Intents();
      return SlotRepair::Intents{intents->words(), kTestDescriptors};
    });
  }

  LockNode* node() const { return node_; }
  Table* table() const { return table_.get(); }
  TableWriter* writer() const { return writer_.get(); }
  SlotRepair* repair() const { return repair_.get(); }
  Segment& segment() const { return *table_->segments()[0]; }
  uint64_t HomeOf(const std::string& key) const {
    return HomeBucket(HashKey(key), segment().layout().buckets_count);
  }
  // Of a key that is there.
  Segment::Place Find(const std::string& key) const {
    return segment().Find(HomeOf(key), HashKey(key), key, /*holds_next=*/true);
  }
  // Keys of that home, none of `but`: key number `from` is the first that is looked at.
  std::vector<std::string> KeysOf(uint64_t home, size_t count, int from = 0) const {
    std::vector<std::string> keys;
    for (int i = from; keys.size() < count; ++i) {
      std::string key = absl::StrCat("key", i);
      if (HomeOf(key) == home) keys.push_back(std::move(key));
    }
    return keys;
  }
  LockWords* LockOf(uint64_t bucket) const { return segment().LockOf(bucket).words; }

 private:
  LockNode* const node_;
  std::unique_ptr<Table> table_;
  std::unique_ptr<TableWriter> writer_;
  std::unique_ptr<SlotRepair> repair_;
};

// A process that has joined the home's locks (LockNode::JoinHome).
class TestClient {
 public:
  explicit TestClient(LockNode* node) : node_(node) {}

  // To be run on the node's scheduler, while the home's runs, too.
  Task<void> Open(size_t region_bytes) {
    std::vector<RegionEntry> regions(1);
    regions[0] = {kTestLockRegion, node_->lock_key(), region_bytes};
    auto reader =
        co_await RemoteReader::Create(node_->fabric(), node_->port(), node_->home_queue_pair(),
                                      std::move(regions), kReaderRegion, UINT64_MAX);
    CHECK(reader.ok()) << reader.status();
    reader_ = *std::move(reader);
    RemoteWriter::Options options;
    options.fabric = node_->fabric();
    options.port = node_->port();
    options.home = &node_->home();
    options.locker = node_->remote_locker();
    options.directory = reader_->directory();
    options.region_id = kReaderRegion + 2;
    auto writer = RemoteWriter::Create(options);
    CHECK(writer.ok()) << writer.status();
    writer_ = *std::move(writer);
  }
  // Before the node is closed. Nobody reads or writes.
  void Close() {
    node_->port()->Forget(node_->home_queue_pair());
    reader_.reset();
    writer_.reset();
  }

  LockNode* node() const { return node_; }
  RemoteReader* reader() const { return reader_.get(); }
  RemoteWriter* writer() const { return writer_.get(); }

 private:
  static constexpr uint32_t kReaderRegion = 20;

  LockNode* const node_;
  std::unique_ptr<RemoteReader> reader_;
  std::unique_ptr<RemoteWriter> writer_;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_REMOTE_WRITER_TEST_UTIL_H_
