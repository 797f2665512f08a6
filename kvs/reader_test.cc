// What both readers answer, and what it costs: READs, a server that is gone, records that stay locked,
// and memory that makes no sense.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kvs/hash.h"
#include "kvs/object.h"
#include "kvs/table_test_util.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"

namespace acre::kvs {
namespace {

// Each look at it is 100 ms later: a second's patience is over after a few looks.
class HastyClock final : public Clock {
 public:
  uint64_t NowNs() override { return now_ns_ += 100'000'000; }

 private:
  uint64_t now_ns_ = 1'000'000'000;
};

// Goes on 1 ms whenever a remote reader finds that it must try again: how often it does is the same on every
// fabric, however long that takes for a READ.
class RetryClock final : public Clock {
 public:
  explicit RetryClock(TestReaders* readers) : readers_(readers) {}
  uint64_t NowNs() override {
    const RemoteReader* const remote = readers_->remote();
    return 1'000'000'000 + (remote != nullptr ? remote->stats().retries : 0) * 1'000'000;
  }

 private:
  TestReaders* const readers_;
};

class ReaderTest : public ::testing::Test {
 public:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(server_.Open(&clock_, 1, 1 << 20, 1));
    writer_ = std::make_unique<TableWriter>(server_.table(), &scheduler_);
    ASSERT_NO_FATAL_FAILURE(readers_.Connect(&clock_, &server_));
    ASSERT_NO_FATAL_FAILURE(readers_.Open(&scheduler_, &hasty_clock_));
  }
  void TearDown() override {
    readers_.Close();
    writer_.reset();
  }
  void Put(const std::string& key, const std::string& value) {
    const absl::Status status = scheduler_.RunUntilDone(writer_->Put(key, value));
    ASSERT_TRUE(status.ok()) << status;
  }
  Segment::Place Find(const std::string& key) {
    const uint64_t hash = HashKey(key);
    return segment().Find(HomeBucket(hash, buckets_count()), hash, key, /*holds_next=*/true);
  }
  Bucket* HomeOf(const std::string& key) {
    const uint64_t home = HomeBucket(HashKey(key), buckets_count());
    return reinterpret_cast<Bucket*>(segment().words() +
                                     segment().layout().BucketOffset(home) / kWordBytes);
  }
  absl::Status MappedGet(const std::string& key) {
    std::string value;
    return readers_.mapped()->Get(key, &value);
  }
  // Its patience is over between two tries.
  absl::Status RemoteGet(const std::string& key) {
    constexpr uint64_t kPatienceNs = 20'500'000;
    std::string value;
    return readers_.RemoteGet(key, &value, retry_clock_.NowNs() + kPatienceNs);
  }
  void ExpectBoth(const std::string& key, absl::StatusCode code) {
    EXPECT_EQ(MappedGet(key).code(), code) << MappedGet(key);
    EXPECT_EQ(RemoteGet(key).code(), code) << RemoteGet(key);
  }
  // READs of one Get by the remote reader.
  uint64_t ReadsOf(const std::string& key) {
    const uint64_t before = readers_.remote()->stats().reads;
    (void)RemoteGet(key);
    return readers_.remote()->stats().reads - before;
  }
  Segment& segment() { return server_.segment(0); }
  uint64_t buckets_count() { return segment().layout().buckets_count; }

  RealClock clock_;
  HastyClock hasty_clock_;
  TestServer server_;
  TestReaders readers_;
  RetryClock retry_clock_{&readers_};
  Scheduler scheduler_{{.clock = &retry_clock_, .name = "reader_test"}};
  std::unique_ptr<TableWriter> writer_;
};

// Goal: a hit costs one READ, one more for each bucket of the chain before it and for an object; a
// miss costs two and the chain.
TEST_F(ReaderTest, GetsCostTheReadsThatTheDesignSays) {
  const std::vector<std::string> keys = KeysOfHome("key", 3, buckets_count(), 14);
  EXPECT_EQ(ReadsOf(keys[0]), 2u);
  for (size_t i = 0; i < 12; ++i) Put(keys[i], i == 1 ? std::string(100, 'v') : "v");
  EXPECT_EQ(ReadsOf(keys[0]), 1u);
  EXPECT_EQ(ReadsOf(keys[1]), 2u);
  EXPECT_EQ(ReadsOf(keys[5]), 1u) << "in the next bucket";
  // Six in the neighbourhood, two chained buckets; the younger one comes first.
  EXPECT_EQ(ReadsOf(keys[11]), 2u);
  EXPECT_EQ(ReadsOf(keys[6]), 3u);
  EXPECT_EQ(ReadsOf(keys[13]), 4u);
}

// Goal: when the server is gone both readers say so, also when the record is still to be seen.
TEST_F(ReaderTest, ServerThatIsGoneIsUnavailable) {
  Put("key", "value");
  ExpectBoth("key", absl::StatusCode::kOk);
  writer_.reset();
  server_.CloseRegions();
  ExpectBoth("key", absl::StatusCode::kUnavailable);
  ExpectBoth("absent", absl::StatusCode::kUnavailable);
}

// Goal: words of a server that is gone validate nothing, though they are still to be seen as they were.
TEST_F(ReaderTest, NothingStandsOfAServerThatIsGone) {
  Put("key", "value");
  std::string value;
  ReadMark marks[2];
  ASSERT_TRUE(readers_.mapped()->GetMarked("key", &value, &marks[0]).ok());
  ASSERT_TRUE(absl::IsNotFound(readers_.mapped()->GetMarked("absent", &value, &marks[1])));
  const auto validate = [this, &marks](bool by_mapping, absl::optional<size_t>* changed) {
    if (by_mapping) return readers_.mapped()->Validate(marks, changed);
    return scheduler_.RunUntilDone(
        readers_.remote()->Validate(marks, changed, TestReaders::kNoDeadlineNs));
  };
  for (const bool is_gone : {false, true}) {
    if (is_gone) {
      writer_.reset();
      server_.CloseRegions();
    }
    for (const bool by_mapping : {true, false}) {
      absl::optional<size_t> changed = 7;
      const absl::Status status = validate(by_mapping, &changed);
      EXPECT_EQ(absl::IsUnavailable(status), is_gone) << status;
      EXPECT_FALSE(changed.has_value());
    }
  }
  EXPECT_TRUE(absl::IsUnavailable(readers_.mapped()->GetMarked("key", &value, &marks[0])));
  MarkedGet get = {"key", &value, {}, {}};
  scheduler_.RunUntilDone(readers_.remote()->MultiGetMarked({&get, 1}, TestReaders::kNoDeadlineNs));
  EXPECT_TRUE(absl::IsUnavailable(get.status)) << get.status;
}

// Goal: a READ shows by itself that the directory by which it was sent is old: the bucket is of another segment,
// or of another incarnation of it.
TEST_F(ReaderTest, StaleDirectoryIsNoticedByTheRead) {
  Put("key", "value");
  Bucket* const home = HomeOf("key");
  const uint64_t identity = segment().layout().identity;
  for (const uint64_t other : {identity + 1, identity + (uint64_t{1} << 32)}) {
    for (Bucket* const bucket : {home, home + 1}) {
      bucket->identity.Store(other, std::memory_order_release);
      EXPECT_EQ(RemoteGet("key").code(), absl::StatusCode::kUnavailable) << RemoteGet("key");
      bucket->identity.Store(identity, std::memory_order_release);
    }
  }
  EXPECT_EQ(RemoteGet("key").code(), absl::StatusCode::kOk);
}

// Goal: both readers see the epochs of the server pass.
TEST_F(ReaderTest, EpochsAreSeen) {
  for (uint64_t epoch = 2; epoch < 7; ++epoch) {
    server_.Tick();
    EXPECT_EQ(readers_.mapped()->ServerEpoch(), epoch);
    const absl::StatusOr<uint64_t> remote =
        scheduler_.RunUntilDone(readers_.remote()->ServerEpoch());
    ASSERT_TRUE(remote.ok()) << remote.status();
    EXPECT_EQ(*remote, epoch);
  }
}

// A server of a cluster, and its readers.
class ShareTest : public ::testing::Test {
 public:
  static constexpr KeyShare kShare{.servers_count = 3, .server_index = 1};

  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(server_.Open(&clock_, 4, 1 << 20, 50, kShare));
    writer_ = std::make_unique<TableWriter>(server_.table(), &scheduler_);
    ASSERT_NO_FATAL_FAILURE(readers_.Connect(&clock_, &server_));
    ASSERT_NO_FATAL_FAILURE(
        readers_.Open(&scheduler_, nullptr, TestReaders::kNoDeadlineNs, kShare));
  }

  RealClock clock_;
  Scheduler scheduler_{{.clock = &clock_, .name = "share_test"}};
  TestServer server_;
  TestReaders readers_;
  std::unique_ptr<TableWriter> writer_;
};

// Goal: the server and both readers agree in which segment a key is, and whose it is: a key of another server
// is never "not found".
TEST_F(ShareTest, ForeignKeysAreRefusedAndOwnOnesFound) {
  uint64_t own = 0;
  uint64_t foreign = 0;
  std::vector<std::string> keys;
  for (int i = 0; i < 300; ++i) {
    // Both kinds of key that readers tell apart, and both kinds of record.
    keys.push_back(i % 2 == 0 ? absl::StrCat("key", i)
                              : absl::StrCat("key ", 1000 + i, "       +"));
    const std::string& key = keys.back();
    const std::string value(i % 3 == 0 ? 100 : 8, 'v');
    const absl::Status put = scheduler_.RunUntilDone(writer_->Put(key, value));
    std::string found;
    const absl::Status mapped = readers_.mapped()->Get(key, &found);
    const absl::Status remote = readers_.RemoteGet(key, &found);
    if (kShare.Holds(HashKey(key))) {
      ++own;
      EXPECT_EQ(put, absl::OkStatus());
      EXPECT_EQ(scheduler_.RunUntilDone(writer_->Get(key, &found)), absl::OkStatus());
      EXPECT_EQ(mapped, absl::OkStatus());
      EXPECT_EQ(remote, absl::OkStatus());
      EXPECT_EQ(found, value);
    } else {
      foreign += 3;
      EXPECT_TRUE(absl::IsOutOfRange(put)) << put;
      EXPECT_TRUE(absl::IsOutOfRange(scheduler_.RunUntilDone(writer_->Get(key, &found))));
      EXPECT_TRUE(absl::IsOutOfRange(scheduler_.RunUntilDone(writer_->Delete(key))));
      EXPECT_TRUE(absl::IsOutOfRange(mapped)) << mapped;
      EXPECT_TRUE(absl::IsOutOfRange(remote)) << remote;
    }
  }
  EXPECT_GT(own, 50u);
  EXPECT_EQ(server_.table()->Stats().records, own);
  EXPECT_EQ(server_.table()->Stats().keys_refused, foreign);
  for (size_t i = 0; i < 4; ++i) EXPECT_GT(server_.segment(i).CheckInvariants(), 5u);

  const std::vector<absl::string_view> views(keys.begin(), keys.end());
  std::vector<std::string> values(keys.size());
  std::vector<absl::Status> statuses(keys.size());
  for (const bool is_mapped : {true, false}) {
    if (is_mapped) {
      readers_.mapped()->MultiGet(views, absl::MakeSpan(values), absl::MakeSpan(statuses));
    } else {
      readers_.RemoteMultiGet(views, absl::MakeSpan(values), absl::MakeSpan(statuses));
    }
    for (size_t i = 0; i < keys.size(); ++i) {
      EXPECT_EQ(statuses[i].code(), kShare.Holds(HashKey(keys[i])) ? absl::StatusCode::kOk
                                                                   : absl::StatusCode::kOutOfRange);
    }
  }
}

// Goal: a key that nobody has put is not found at its own server, and only there.
TEST_F(ShareTest, MissesAreBelievedOfOwnKeysOnly) {
  for (int i = 0; i < 30; ++i) {
    const std::string key = absl::StrCat("absent", i);
    std::string found;
    const absl::StatusCode expected =
        kShare.Holds(HashKey(key)) ? absl::StatusCode::kNotFound : absl::StatusCode::kOutOfRange;
    EXPECT_EQ(readers_.mapped()->Get(key, &found).code(), expected);
    EXPECT_EQ(readers_.RemoteGet(key, &found).code(), expected);
    EXPECT_EQ(scheduler_.RunUntilDone(writer_->Get(key, &found)).code(), expected);
  }
}

// Goal: a record or a home that stays locked is Unavailable once patience is over, no hang; the
// neighbours stay readable, and all is well when the lock goes.
TEST_F(ReaderTest, RecordThatStaysLockedIsUnavailable) {
  const std::vector<std::string> keys = KeysOfHome("key", 3, buckets_count(), 3);
  Put(keys[0], "locked");
  Put(keys[1], "free");
  Slot* const slot = Find(keys[0]).slot;
  const SlotWord before = slot->first();
  StartSlot(slot);
  ExpectBoth(keys[0], absl::StatusCode::kUnavailable);
  ExpectBoth(keys[1], absl::StatusCode::kOk);
  FinishSlot(slot, before);
  ExpectBoth(keys[0], absl::StatusCode::kOk);

  SharedWord* const version = &HomeOf(keys[0])->structure_version;
  version->Store(version->Load(std::memory_order_relaxed) + 1, std::memory_order_release);
  ExpectBoth(keys[2], absl::StatusCode::kUnavailable);
  ExpectBoth(keys[0], absl::StatusCode::kOk);
  version->Store(version->Load(std::memory_order_relaxed) + 1, std::memory_order_release);
  ExpectBoth(keys[2], absl::StatusCode::kNotFound);
}

// Goal: a mapped read's patience is the caller's, and the keys of a MultiGet share it.
TEST_F(ReaderTest, MappedReaderWaitsNoLongerThanItsCaller) {
  const std::vector<std::string> keys = KeysOfHome("key", 3, buckets_count(), 6);
  for (const std::string& key : keys) {
    Put(key, "locked");
    StartSlot(Find(key).slot);
  }
  const auto wait_ns = [this](uint64_t patience_ns, const std::vector<std::string>& of) {
    readers_.Close();
    readers_.Open(&scheduler_, &hasty_clock_, patience_ns);
    const std::vector<absl::string_view> views(of.begin(), of.end());
    std::vector<std::string> values(of.size());
    std::vector<absl::Status> statuses(of.size());
    const uint64_t start_ns = hasty_clock_.NowNs();
    readers_.mapped()->MultiGet(views, absl::MakeSpan(values), absl::MakeSpan(statuses));
    for (const absl::Status& status : statuses) EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    return hasty_clock_.NowNs() - start_ns;
  };
  EXPECT_GT(wait_ns(TestReaders::kNoDeadlineNs, {keys[0]}), 1'000'000'000u);
  EXPECT_LT(wait_ns(TestReaders::kNoDeadlineNs, {keys[0]}), 2'000'000'000u);
  EXPECT_LT(wait_ns(250'000'000, {keys[0]}), 800'000'000u);
  // Each looks at the clock, and the first waits.
  EXPECT_LT(wait_ns(TestReaders::kNoDeadlineNs, keys), 2'500'000'000u);
}

// Goal: a transaction's patience is that of the call, for all its keys together, and never more than the reader's.
TEST_F(ReaderTest, MarkedReadsWaitNoLongerThanTheirCall) {
  const std::vector<std::string> keys = KeysOfHome("key", 3, buckets_count(), 6);
  for (const std::string& key : keys) {
    Put(key, "locked");
    StartSlot(Find(key).slot);
  }
  std::vector<std::string> values(keys.size());
  std::vector<MarkedGet> gets(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) gets[i] = {keys[i], &values[i], {}, {}};
  const auto wait_ns = [&](uint64_t patience_ns) {
    const uint64_t start_ns = hasty_clock_.NowNs();
    readers_.mapped()->MultiGetMarked(absl::MakeSpan(gets), patience_ns);
    for (const MarkedGet& get : gets) EXPECT_TRUE(absl::IsUnavailable(get.status)) << get.status;
    return hasty_clock_.NowNs() - start_ns;
  };
  // Each looks at the clock, and the first waits.
  EXPECT_LT(wait_ns(1'000'000), 1'000'000'000u);
  EXPECT_GT(wait_ns(MappedReader::kUsualPatienceNs), 1'000'000'000u);
  EXPECT_LT(wait_ns(MappedReader::kUsualPatienceNs), 2'500'000'000u);
}

// Goal: places and lengths outside of the server's memory are DataLoss, whatever names them.
TEST_F(ReaderTest, MemoryThatMakesNoSenseIsDataLoss) {
  const auto relaxed = std::memory_order_relaxed;
  Put("inline", "value");
  Slot* const inline_slot = Find("inline").slot;
  WriteSlot(inline_slot, SlotWord(100, SlotKind::kInline, false, 6, 63), nullptr, 0);
  ExpectBoth("inline", absl::StatusCode::kDataLoss);

  Put("object", std::string(1000, 'v'));
  Slot* const object_slot = Find("object").slot;
  SlotCopy good;
  LoadSlot(*object_slot, &good);
  const SegmentLayout& layout = segment().layout();
  const uint32_t region = TestServer::kFirstRegionId;
  const uint64_t end = layout.heap_offset_bytes + layout.heap_bytes;
  for (const uint64_t address :
       {uint64_t{0}, GlobalAddress(region + 1, good.object_address().offset_bytes()).bits(),
        GlobalAddress(region, 4096).bits(), GlobalAddress(region, uint32_t(end - 64)).bits(),
        GlobalAddress(region, 0xffffffc0).bits(), good.words[2] + 8}) {
    object_slot->words[2].Store(address, relaxed);
    ExpectBoth("object", absl::StatusCode::kDataLoss);
  }
  object_slot->words[2].Store(good.words[2], relaxed);
  object_slot->words[3].Store(uint64_t{6} << 32 | 0xffffffff, relaxed);
  ExpectBoth("object", absl::StatusCode::kDataLoss);
  object_slot->words[3].Store(good.words[3], relaxed);
  ExpectBoth("object", absl::StatusCode::kOk);

  for (const uint64_t address : {GlobalAddress(region, 4096).bits(), ~uint64_t{0}, uint64_t{64},
                                 GlobalAddress(region, uint32_t(end - 192)).bits()}) {
    HomeOf("absent")->overflow.Store(address, relaxed);
    ExpectBoth("absent", absl::StatusCode::kDataLoss);
  }
}

// Goal: a chain that leads in a circle ends, on both paths, without a hang: the server is given up if its
// home stood still meanwhile, else it may have been a writer.
TEST_F(ReaderTest, ChainInACircleEnds) {
  const std::vector<std::string> keys = KeysOfHome("key", 3, buckets_count(), 8);
  for (size_t i = 0; i < 7; ++i) Put(keys[i], "v");
  Bucket* const home = HomeOf(keys[0]);
  Bucket* const overflow = Find(keys[6]).overflow;
  ASSERT_NE(overflow, nullptr);
  overflow->overflow.Store(home->overflow.Load(std::memory_order_relaxed),
                           std::memory_order_release);
  ExpectBoth(keys[7], absl::StatusCode::kDataLoss);
  ExpectBoth(keys[6], absl::StatusCode::kOk);
  home->structure_version.Store(home->structure_version.Load(std::memory_order_relaxed) + 1,
                                std::memory_order_release);
  ExpectBoth(keys[7], absl::StatusCode::kUnavailable);
}

// Goal: whatever a hostile server has in its memory, a reader survives it and ends with one of the
// answers of kvs/reader.h.
TEST_F(ReaderTest, HostileMemoryIsSurvived) {
  Random random(1);
  std::vector<std::string> keys;
  for (int i = 0; i < 150; ++i) {
    // Half of the keys are whole words: they take another way.
    keys.push_back(absl::StrCat("key ", 1000 + i, i % 2 == 0 ? "" : "?"));
    Put(keys.back(), std::string(random.Uniform(4) == 0 ? 200 : 20, 'v'));
  }
  SharedWord* const words = segment().words();
  const SegmentLayout& layout = segment().layout();
  const uint64_t index_words = layout.BucketOffset(layout.buckets_count + 1) / kWordBytes;
  const uint64_t first_word = layout.BucketOffset(0) / kWordBytes;
  int answers[2] = {};
  for (int round = 0; round < 300; ++round) {
    std::vector<std::pair<uint64_t, uint64_t>> saved;
    for (uint64_t n = 1 + random.Uniform(60); n > 0; --n) {
      // In the index, or among the chains and objects at the start of the heap.
      const uint64_t at = random.Uniform(4) != 0
                              ? first_word + random.Uniform(index_words - first_word)
                              : layout.heap_offset_bytes / kWordBytes + random.Uniform(8192);
      const uint64_t old = words[at].Load(std::memory_order_relaxed);
      saved.emplace_back(at, old);
      const uint64_t damage[] = {random.Next(), old ^ uint64_t{1} << random.Uniform(64),
                                 words[first_word + random.Uniform(index_words - first_word)].Load(
                                     std::memory_order_relaxed)};
      words[at].Store(damage[random.Uniform(3)], std::memory_order_relaxed);
    }
    for (int i = 0; i < 30; ++i) {
      const std::string& key = keys[random.Uniform(keys.size())];
      for (const absl::Status& status : {MappedGet(key), RemoteGet(key)}) {
        EXPECT_TRUE(status.ok() || absl::IsNotFound(status) || absl::IsUnavailable(status) ||
                    absl::IsDataLoss(status))
            << status;
        ++answers[status.ok()];
      }
    }
    while (!saved.empty()) {
      words[saved.back().first].Store(saved.back().second, std::memory_order_relaxed);
      saved.pop_back();
    }
  }
  EXPECT_GT(answers[0], 100) << "nothing was damaged";
  EXPECT_GT(answers[1], 100);
  EXPECT_EQ(segment().CheckInvariants(), keys.size());
}

}  // namespace
}  // namespace acre::kvs
