// A table in one process, two workers' TransactionHomes, a plain writer and both readers, on one thread; and a
// model of what the table must hold: for tests that take a transaction's steps by hand.

#ifndef ACRE_TESTS_TRANSACTIONS_HOME_SCENE_H_
#define ACRE_TESTS_TRANSACTIONS_HOME_SCENE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "kvs/contended_keys.h"
#include "kvs/table.h"
#include "kvs/table_test_util.h"
#include "kvs/transaction_holders.h"
#include "kvs/transaction_home.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "tests/checkers/segment_walk.h"
#include "tests/checkers/table_invariants.h"
#include "tests/transactions/marked_read.h"

namespace acre::kvs {

class HomeScene {
 public:
  static constexpr uint64_t kSegmentBytes = 1 << 20;

  void Open() {
    ASSERT_NO_FATAL_FAILURE(server_.Open(&clock_, 1, kSegmentBytes, /*index_percent=*/2));
    writer_ = std::make_unique<TableWriter>(table(), &scheduler_);
    home_ = std::make_unique<TransactionHome>(table(), &scheduler_, &holders_, &contended_);
    other_ = std::make_unique<TransactionHome>(table(), &scheduler_, &holders_);
    ASSERT_NO_FATAL_FAILURE(readers_.Connect(&clock_, &server_));
    ASSERT_NO_FATAL_FAILURE(readers_.Open(&scheduler_, nullptr, /*patience_ns=*/1'000'000));
  }

  Table* table() { return server_.table(); }
  Segment& segment() { return server_.segment(0); }
  TransactionHome& home() { return *home_; }
  TransactionHome& other() { return *other_; }  // Another worker's.
  TransactionHolders* holders() { return &holders_; }
  const ContendedKeys& contended() const { return contended_; }  // As home() finds.
  TableWriter& writer() { return *writer_; }
  Scheduler& scheduler() { return scheduler_; }
  TestReaders& readers() { return readers_; }
  checkers::Model& model() { return model_; }

  std::vector<std::string> KeysOf(uint64_t bucket, size_t count) {
    return KeysOfHome("key ", bucket, segment().layout().buckets_count, count);
  }
  void Put(const std::string& key, const std::string& value) {
    const absl::Status status = scheduler_.RunUntilDone(writer_->Put(key, value));
    ASSERT_TRUE(status.ok()) << status;
    model_[key] = value;
  }
  MarkedRead Read(absl::string_view key) {
    const absl::optional<MarkedRead> read = TryMarkedRead(*table(), key);
    EXPECT_TRUE(read.has_value()) << "a writer is at work on " << key;
    return read.value_or(MarkedRead());
  }
  bool IsStill(const ReadMark& mark) { return mark.IsStill(Reload(*table(), mark)); }

  // What a mapped and a remote reader are told: a value, "(none)" or "(locked)".
  std::string Seen(const std::string& key) {
    std::string mapped = "?";
    std::string remote = "?";
    const std::string by_mapped = Told(readers_.mapped()->Get(key, &mapped), mapped);
    const uint64_t deadline_ns = scheduler_.NowNs() + 1'000'000;
    const std::string by_remote = Told(readers_.RemoteGet(key, &remote, deadline_ns), remote);
    EXPECT_EQ(by_mapped, by_remote);
    return by_mapped;
  }

  // Nobody is at work: every word of the table, and the heap's books, are as they should be.
  void ExpectSound(uint64_t spoilt_expected = 0) {
    segment().CheckInvariants(spoilt_expected);
    EXPECT_EQ(checkers::ToText(checkers::CheckTable(*table(), model_)), "");
  }
  // All words of all buckets but locks' and overflow buckets that are free.
  std::vector<uint64_t> Snapshot() {
    std::vector<uint64_t> words;
    const checkers::SegmentWalk walk(checkers::SegmentMemory::Of(&segment()));
    for (const checkers::BucketAt& at : walk.buckets()) {
      const auto* const from = reinterpret_cast<const SharedWord*>(at.bucket);
      for (size_t i = sizeof(LockWords) / kWordBytes; i < kBucketWords; ++i) {
        words.push_back(from[i].Load(std::memory_order_relaxed));
      }
      words.push_back(at.bucket->lock.local_tail.Load(std::memory_order_relaxed));
    }
    words.push_back(segment().records());
    return words;
  }
  uint64_t HeapBytesFree() { return segment().heap().stats().bytes_free; }

  static TransactionId Id(uint64_t sequence, uint32_t process_id = 7) {
    return {{.view = 1, .process_id = process_id, .thread = 2}, sequence};
  }

 private:
  static std::string Told(const absl::Status& status, const std::string& value) {
    if (status.ok()) return value;
    if (absl::IsNotFound(status)) return "(none)";
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    return "(locked)";
  }

  RealClock clock_;
  Scheduler scheduler_{{.clock = &clock_, .name = "test"}};
  TestServer server_;
  TestReaders readers_;
  std::unique_ptr<TableWriter> writer_;
  TransactionHolders holders_;
  ContendedKeys contended_;
  std::unique_ptr<TransactionHome> home_;
  std::unique_ptr<TransactionHome> other_;
  checkers::Model model_;
};

// Writes, as a coordinator would put them.
inline TransactionWrite BlindPut(absl::string_view key, absl::string_view value) {
  TransactionWrite write;
  write.key = key;
  write.value = value;
  return write;
}
inline TransactionWrite BlindDelete(absl::string_view key) {
  TransactionWrite write;
  write.kind = TransactionWrite::Kind::kDelete;
  write.key = key;
  return write;
}
inline TransactionWrite After(const MarkedRead& read, TransactionWrite write) {
  write.expect = read.found ? TransactionWrite::Expect::kFound : TransactionWrite::Expect::kAbsent;
  write.mark = read.mark;
  return write;
}

}  // namespace acre::kvs

#endif  // ACRE_TESTS_TRANSACTIONS_HOME_SCENE_H_
