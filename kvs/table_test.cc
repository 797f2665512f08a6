// The table and its readers against a model: std::unordered_map.

#include "kvs/table.h"

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kvs/hash.h"
#include "kvs/limits.h"
#include "kvs/table_test_util.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"

namespace acre::kvs {
namespace {

// A table, a writer, both readers, and the model: what one of them does is checked against the
// others.
class ModelledTable {
 public:
  void Open(size_t segments, size_t segment_bytes, int index_percent) {
    ASSERT_NO_FATAL_FAILURE(server_.Open(&clock_, segments, segment_bytes, index_percent));
    writer_ = std::make_unique<TableWriter>(server_.table(), &scheduler_);
    ASSERT_NO_FATAL_FAILURE(readers_.Connect(&clock_, &server_));
    ASSERT_NO_FATAL_FAILURE(readers_.Open(&scheduler_));
  }

  // False: no memory, and everything is as it was.
  bool Put(const std::string& key, const std::string& value) {
    const absl::Status status = scheduler_.RunUntilDone(writer_->Put(key, value));
    if (absl::IsResourceExhausted(status)) {
      ExpectAllAgree(key);
      return false;
    }
    EXPECT_TRUE(status.ok()) << status;
    model_[key] = value;
    ExpectVersionRose(key);
    return true;
  }
  void Delete(const std::string& key) {
    const absl::Status status = scheduler_.RunUntilDone(writer_->Delete(key));
    if (model_.erase(key) == 1) {
      EXPECT_TRUE(status.ok()) << status;
    } else {
      EXPECT_TRUE(absl::IsNotFound(status)) << status;
    }
  }
  // The owner, the mapped reader and the remote reader say what the model says.
  void ExpectAllAgree(const std::string& key) {
    std::string value = "an old value, to be replaced";
    Expect(key, scheduler_.RunUntilDone(writer_->Get(key, &value)), value, "owner");
    value = "an old value, to be replaced";
    Expect(key, readers_.mapped()->Get(key, &value), value, "mapped");
    value = "an old value, to be replaced";
    Expect(key, readers_.RemoteGet(key, &value), value, "remote");
  }
  void ExpectMultiGetsAgree(const std::vector<std::string>& keys) {
    const std::vector<absl::string_view> views(keys.begin(), keys.end());
    for (const bool is_remote : {false, true}) {
      std::vector<std::string> values(keys.size(), "old");
      std::vector<absl::Status> statuses(keys.size(), absl::InternalError("unanswered"));
      if (is_remote) {
        readers_.RemoteMultiGet(views, absl::MakeSpan(values), absl::MakeSpan(statuses));
      } else {
        readers_.mapped()->MultiGet(views, absl::MakeSpan(values), absl::MakeSpan(statuses));
      }
      for (size_t i = 0; i < keys.size(); ++i) {
        Expect(keys[i], statuses[i], values[i], is_remote ? "remote MultiGet" : "mapped MultiGet");
      }
    }
  }
  void ExpectWholeTableAgrees() {
    uint64_t records = 0;
    for (const auto& segment : server_.table()->segments()) records += segment->CheckInvariants();
    EXPECT_EQ(records, model_.size());
    EXPECT_EQ(server_.table()->Stats().records, model_.size());
    for (const auto& [key, value] : model_) ExpectAllAgree(key);
  }
  void DeleteAll() {
    while (!model_.empty()) {
      const std::string key = model_.begin()->first;
      Delete(key);
    }
  }

  const std::unordered_map<std::string, std::string>& model() const { return model_; }
  TestServer& server() { return server_; }
  TestReaders& readers() { return readers_; }
  uint64_t buckets_count() { return server_.segment(0).layout().buckets_count; }
  absl::Status TryPut(const std::string& key, const std::string& value) {
    return scheduler_.RunUntilDone(writer_->Put(key, value));
  }

 private:
  void Expect(const std::string& key, const absl::Status& status, const std::string& value,
              absl::string_view who) {
    const auto found = model_.find(key);
    if (found == model_.end()) {
      EXPECT_TRUE(absl::IsNotFound(status)) << who << ": " << status;
      return;
    }
    ASSERT_TRUE(status.ok()) << who << ": " << status;
    EXPECT_EQ(value, found->second) << who;
  }
  // A key's version rises with each Put, also over moves, and over deletes and later inserts.
  void ExpectVersionRose(const std::string& key) {
    const uint64_t hash = HashKey(key);
    Segment& segment = server_.table()->SegmentOf(hash);
    const Segment::Place place = segment.Find(HomeBucket(hash, segment.layout().buckets_count),
                                              hash, key, /*holds_next=*/true);
    ASSERT_TRUE(place.found());
    const SlotWord word = place.slot->first();
    EXPECT_FALSE(word.is_odd());
    uint64_t& last = versions_[key];
    EXPECT_GT(word.version(), last);
    last = word.version();
    uint64_t& last_of_slot = slot_versions_[place.slot];
    EXPECT_GT(word.version(), last_of_slot);
    last_of_slot = word.version();
  }

  RealClock clock_;
  Scheduler scheduler_{{.clock = &clock_, .name = "table_test"}};
  TestServer server_;
  TestReaders readers_;
  std::unique_ptr<TableWriter> writer_;
  std::unordered_map<std::string, std::string> model_;
  std::unordered_map<std::string, uint64_t> versions_;
  std::unordered_map<const Slot*, uint64_t> slot_versions_;
};

// What a history is made of.
struct History {
  const char* name;
  size_t segments;
  size_t segment_bytes;
  int index_percent;
  std::vector<std::string> keys;
  size_t value_bytes_max;  // Most are inline whatever this is.
  int operations;
};

std::string RandomValue(Random* random, size_t value_bytes_max) {
  size_t bytes = 0;
  switch (random->Uniform(4)) {
    case 0:
      bytes = random->Uniform(4);
      break;
    case 1:
      bytes = random->Uniform(value_bytes_max + 1);
      break;
    default:
      bytes = random->Uniform(32);
  }
  std::string value(bytes, '\0');
  for (char& c : value) c = static_cast<char>(random->Next());
  return value;
}

void RunHistory(const History& history, uint64_t seed) {
  ModelledTable table;
  ASSERT_NO_FATAL_FAILURE(
      table.Open(history.segments, history.segment_bytes, history.index_percent));
  Random random(seed);
  int refused = 0;
  for (int i = 0; i < history.operations && !::testing::Test::HasFailure(); ++i) {
    const std::string& key = history.keys[random.Uniform(history.keys.size())];
    // Phases in which the table fills, and in which it empties.
    const uint64_t puts = i / (history.operations / 6 + 1) % 2 == 0 ? 7 : 2;
    const uint64_t action = random.Uniform(10);
    if (action < puts) {
      if (!table.Put(key, RandomValue(&random, history.value_bytes_max))) ++refused;
    } else if (action < 9) {
      table.Delete(key);
    } else {
      std::vector<std::string> keys;
      for (uint64_t n = random.Uniform(40); n > 0; --n) {
        keys.push_back(history.keys[random.Uniform(history.keys.size())]);
      }
      table.ExpectMultiGetsAgree(keys);
    }
    table.ExpectAllAgree(key);
    if (i % 16 == 0) table.server().Tick();
    if (i % (history.operations / 8) == 0) table.ExpectWholeTableAgrees();
  }
  table.ExpectWholeTableAgrees();
  const TableStats stats = table.server().table()->Stats();
  std::cout << history.name << ": " << refused << " writes refused, " << stats.displacements
            << " displacements, " << stats.overflow_buckets << " overflow buckets at the end\n";
  table.DeleteAll();
  table.ExpectWholeTableAgrees();
  EXPECT_EQ(table.server().table()->Stats().overflow_buckets, 0u) << "a chain without records";
}

std::vector<std::string> ManyKeys(size_t count) {
  std::vector<std::string> keys;
  for (size_t i = 0; i < count; ++i) {
    // Lengths around all limits: words, the longest inline key, the longest key.
    constexpr size_t kLengths[] = {1, 7, 8, 9, 16, 24, 31, 32, 33, 100};
    std::string key = absl::StrCat(i);
    key.resize(std::max(key.size(), kLengths[i % std::size(kLengths)]), '\0');
    keys.push_back(std::move(key));
  }
  keys.emplace_back(kKeyBytesMax, 'k');
  return keys;
}

// Goal: a table with few buckets and many more keys than slots: displacement, long chains, pulls
// out of chains, unlinking, at all times readable by all.
TEST(TableModelTest, FewBucketsLongChains) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    RunHistory({"chains", 1, 1 << 20, 1, ManyKeys(300), 200, 4000}, seed);
  }
}

// Goal: at about 90 % of the slots, in several segments, with records of all kinds.
TEST(TableModelTest, SeveralSegmentsNearlyFull) {
  RunHistory({"segments", 3, 1 << 20, 3, ManyKeys(1300), 3000, 6000}, 11);
}

// Goal: keys made to collide: all in three neighbouring homes, the last ones of the segment (whose
// next bucket is the spare one) among them, and pairs of keys whose hashes are all equal.
TEST(TableModelTest, CollidingKeys) {
  std::vector<std::string> keys;
  // A segment of 1 MiB with 1 % of index.
  const uint64_t count = SegmentLayout::Plan(1, 1, 1 << 20, 1)->buckets_count;
  for (const uint64_t home : {uint64_t{0}, uint64_t{1}, uint64_t{2}, count - 2, count - 1}) {
    for (std::string& key : KeysOfHome("collide", home, count, 10)) keys.push_back(std::move(key));
  }
  for (uint64_t hi = 1; hi < 20; ++hi) {
    auto [one, other] = KeysOfOneHash(hi * 0x9e3779b97f4a7c15);
    ASSERT_EQ(HashKey(one), HashKey(other));
    ASSERT_NE(one, other);
    keys.push_back(std::move(one));
    keys.push_back(std::move(other));
  }
  for (uint64_t seed = 21; seed <= 23; ++seed) {
    RunHistory({"collisions", 1, 1 << 20, 1, keys, 100, 4000}, seed);
  }
}

// Goal: memory that is nearly always used up: refused writes leave the record as it was, and the
// table goes on; nothing is lost of what was acknowledged.
TEST(TableModelTest, FullMemory) {
  RunHistory({"full index", 1, 1 << 20, 99, ManyKeys(600), 2000, 3000}, 31);
  RunHistory({"full heap", 1, 1 << 20, 70, ManyKeys(200), 30'000, 3000}, 32);
  RunHistory({"largest values", 1, 4 << 20, 2, ManyKeys(40), kValueBytesMax, 300}, 33);
}

// Goal: records at the limits of key and value survive, those beyond are refused on every path.
TEST(TableTest, LimitsHoldOnEveryPath) {
  ModelledTable table;
  ASSERT_NO_FATAL_FAILURE(table.Open(1, 4 << 20, 2));
  const std::string longest_key(kKeyBytesMax, 'k');
  EXPECT_TRUE(table.Put(longest_key, std::string(kValueBytesMax, 'v')));
  EXPECT_TRUE(table.Put("k", std::string(kValueBytesMax, 'w')));
  EXPECT_TRUE(table.Put("e", ""));
  EXPECT_TRUE(table.Put(std::string(32, 'e'), ""));
  table.ExpectWholeTableAgrees();
  table.ExpectMultiGetsAgree({"k", longest_key, "e", "absent", std::string(32, 'e')});

  const auto refused = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(table.TryPut("", "v").code(), refused);
  EXPECT_EQ(table.TryPut(longest_key + "k", "v").code(), refused);
  EXPECT_EQ(table.TryPut("k", std::string(kValueBytesMax + 1, 'v')).code(), refused);
  std::string value;
  for (const std::string& key : {std::string(), longest_key + "k"}) {
    EXPECT_EQ(table.readers().mapped()->Get(key, &value).code(), refused);
    EXPECT_EQ(table.readers().RemoteGet(key, &value).code(), refused);
    // Between good keys: their answers are as good as without it.
    const std::vector<absl::string_view> keys = {"e", key, "k", "absent"};
    std::vector<std::string> values(4);
    std::vector<absl::Status> statuses(4);
    table.readers().RemoteMultiGet(keys, absl::MakeSpan(values), absl::MakeSpan(statuses));
    EXPECT_TRUE(statuses[0].ok() && statuses[2].ok());
    EXPECT_EQ(statuses[1].code(), refused);
    EXPECT_TRUE(absl::IsNotFound(statuses[3]));
    EXPECT_EQ(values[2].size(), kValueBytesMax);
    table.readers().mapped()->MultiGet(keys, absl::MakeSpan(values), absl::MakeSpan(statuses));
    EXPECT_TRUE(statuses[0].ok() && statuses[2].ok());
    EXPECT_EQ(statuses[1].code(), refused);
  }
}

// Goal: a chain has an end: a record that it has no place for is refused, all others are found.
TEST(TableTest, LongestChainIsReadToItsEndAndGrowsNoFurther) {
  ModelledTable table;
  ASSERT_NO_FATAL_FAILURE(table.Open(1, 1 << 20, 1));
  constexpr size_t kRecordsMax = kNeighbourhood + kChainBucketsMax * kSlotsPerBucket;
  const std::vector<std::string> keys =
      KeysOfHome("key", 3, table.buckets_count(), kRecordsMax + 2);
  for (size_t i = 0; i < kRecordsMax; ++i) {
    ASSERT_EQ(table.TryPut(keys[i], "v"), absl::OkStatus()) << i;
  }
  EXPECT_TRUE(absl::IsResourceExhausted(table.TryPut(keys[kRecordsMax], "v")));
  std::string value;
  for (const size_t i : {size_t{0}, kNeighbourhood, kRecordsMax - 1}) {
    EXPECT_EQ(table.readers().mapped()->Get(keys[i], &value), absl::OkStatus()) << i;
    EXPECT_EQ(table.readers().RemoteGet(keys[i], &value), absl::OkStatus()) << i;
  }
  // A miss, read to the end of it.
  EXPECT_TRUE(absl::IsNotFound(table.readers().mapped()->Get(keys[kRecordsMax], &value)));
  EXPECT_TRUE(absl::IsNotFound(table.readers().RemoteGet(keys[kRecordsMax], &value)));
}

// Goal: ResourceExhausted leaves the old record in place, what needs no memory goes on, and
// deleting makes room again.
TEST(TableTest, ExhaustedMemoryLeavesOldRecords) {
  ModelledTable table;
  ASSERT_NO_FATAL_FAILURE(table.Open(1, 1 << 20, 50));
  std::vector<std::string> keys;
  for (int i = 0;; ++i) {
    const std::string key = absl::StrCat("record ", i);
    if (!table.Put(key, std::string(5000, static_cast<char>('a' + i % 26)))) break;
    keys.push_back(key);
  }
  ASSERT_GT(keys.size(), 50u);
  for (const std::string& key : keys) EXPECT_FALSE(table.Put(key, std::string(20'000, 'x')));
  table.ExpectWholeTableAgrees();
  EXPECT_TRUE(table.Put("small", "fits inline"));
  // Neighbours: what lies between records that stay is free, but in small pieces.
  for (size_t i = 0; i < keys.size() / 2; ++i) EXPECT_TRUE(table.Put(keys[i], "now inline"));
  EXPECT_TRUE(table.Put("large", std::string(20'000, 'y'))) << "what was freed is not used again";
  table.ExpectWholeTableAgrees();
}

// Goal: what the issue asks for, counted: at 90 % of the main slots at most 1.10 READs a Get and at
// most 110 bytes of segment a record.
TEST(TableTest, NinetyPercentCostsFewReadsAndBytes) {
  RealClock clock;
  Scheduler scheduler({.clock = &clock});
  TestServer server;
  ASSERT_NO_FATAL_FAILURE(server.Open(&clock, 1, 24 << 20, 80));
  TableWriter writer(server.table(), &scheduler);
  TestReaders readers;
  ASSERT_NO_FATAL_FAILURE(readers.Connect(&clock, &server));
  ASSERT_NO_FATAL_FAILURE(readers.Open(&scheduler));
  const auto key_of = [](uint64_t i) {
    std::string key = absl::StrCat("user", i);
    key.resize(16, '-');
    return key;
  };
  const std::string value(32, 'v');
  const uint64_t records = server.table()->Stats().main_slots * 9 / 10;
  ASSERT_GE(records, 200'000u);
  for (uint64_t i = 0; i < records; ++i) {
    ASSERT_TRUE(scheduler.RunUntilDone(writer.Put(key_of(i), value)).ok());
  }
  EXPECT_EQ(server.segment(0).CheckInvariants(), records);
  std::string found;
  for (uint64_t i = 0; i < records; ++i) {
    ASSERT_TRUE(readers.RemoteGet(key_of(i), &found).ok()) << i;
  }
  const ReaderStats& stats = readers.remote()->stats();
  ASSERT_EQ(stats.gets, records);
  EXPECT_EQ(stats.retries, 0u);
  const double reads = static_cast<double>(stats.reads) / static_cast<double>(records);
  const TableStats table = server.table()->Stats();
  const SegmentLayout& layout = server.segment(0).layout();
  const double bytes = static_cast<double>(layout.heap_offset_bytes + table.object_bytes_used) /
                       static_cast<double>(records);
  RecordProperty("reads_per_get", absl::StrCat(reads));
  RecordProperty("bytes_per_record", absl::StrCat(bytes));
  std::cout << records << " records: " << reads << " READs a Get, " << bytes << " B a record, "
            << table.displacements << " displacements, " << table.overflow_buckets
            << " overflow buckets\n";
  EXPECT_LE(reads, 1.10);
  EXPECT_LE(bytes, 110.0);
}

}  // namespace
}  // namespace acre::kvs
