// A table whose words somebody wrote who should not: a client that the server trusts, astray (docs/updates.md). What an
// operation meets it tells, in bounded time, and goes nowhere else. Of the locks' words nothing is promised but that: who
// takes those astray has them.

#include <array>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "gtest/gtest.h"
#include "kvs/object.h"
#include "kvs/table.h"
#include "kvs/table_test_util.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"

namespace acre::kvs {
namespace {

constexpr size_t kSegmentBytes = 1 << 20;
constexpr uint64_t kHome = 3;
const char* const kOutOfLine =
    "out of line, since it is longer than what has a place in a slot: so it goes";

class SpoiltMemoryTest : public testing::Test {
 protected:
  // Few buckets, much heap: homes have chains.
  SpoiltMemoryTest() { Make(); }

  void Make() {
    writer_.reset();
    server_ = std::make_unique<TestServer>();
    server_->Open(&clock_, 1, kSegmentBytes, /*index_percent=*/1);
    writer_ = std::make_unique<TableWriter>(server_->table(), &scheduler_);
  }
  ~SpoiltMemoryTest() override { writer_.reset(); }

  Segment& segment() { return server_->segment(0); }
  uint64_t buckets_count() { return segment().layout().buckets_count; }
  uint64_t spoilt() { return server_->table()->Stats().memory_spoilt; }
  absl::Status Put(const std::string& key, const std::string& value) {
    return scheduler_.RunUntilDone(writer_->Put(key, value));
  }
  absl::Status Delete(const std::string& key) {
    return scheduler_.RunUntilDone(writer_->Delete(key));
  }
  // Unavailable: it would be waited for.
  absl::Status Get(const std::string& key, std::string* value) {
    absl::Status status;
    if (!writer_->GetAtOnce(key, value, &status)) return absl::UnavailableError("odd");
    return status;
  }
  Bucket* HomeBucketOf(uint64_t home) {
    return reinterpret_cast<Bucket*>(segment().words() +
                                     segment().layout().BucketOffset(home) / kWordBytes);
  }
  Bucket* ChainedTo(const Bucket* bucket) {
    const uint64_t address = bucket->overflow.Load(std::memory_order_relaxed);
    CHECK_NE(address, 0u);
    return reinterpret_cast<Bucket*>(segment().words() +
                                     GlobalAddress::FromBits(address).offset_bytes() / kWordBytes);
  }
  std::vector<std::string> Fill(uint64_t home, size_t count) {
    std::vector<std::string> keys =
        KeysOfHome(absl::StrCat("h", home, ":"), home, buckets_count(), count);
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ(Put(keys[i], i % 4 == 0 ? kOutOfLine : "v"), absl::OkStatus());
    }
    return keys;
  }
  // Every operation on each key is over, with an answer. How many said DataLoss.
  int Use(const std::vector<std::string>& keys) {
    int lost = 0;
    const auto judge = [&](const absl::Status& status) {
      const bool is_answer = status.ok() || absl::IsNotFound(status) || absl::IsDataLoss(status) ||
                             absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
      EXPECT_TRUE(is_answer) << status;
      if (absl::IsDataLoss(status)) ++lost;
    };
    for (const std::string& key : keys) {
      std::string value;
      judge(Get(key, &value));
      judge(Put(key, kOutOfLine));
      judge(Put(key, "short"));
      judge(Delete(key));
      judge(Put(key, "again"));
    }
    return lost;
  }

  RealClock clock_;
  Scheduler scheduler_{{.clock = &clock_}};
  std::unique_ptr<TestServer> server_;
  std::unique_ptr<TableWriter> writer_;
};

// Goal: a chain that leads anywhere but to the home's next bucket is DataLoss for what may be behind it; what lies
// before it, and every other home, goes on; put right it is as it was.
TEST_F(SpoiltMemoryTest, LinksThatLeadElsewhere) {
  const std::vector<std::string> keys = Fill(kHome, 18);
  const std::vector<std::string> others = Fill(kHome + 3, 18);
  Bucket* const home = HomeBucketOf(kHome);
  const uint64_t first = home->overflow.Load(std::memory_order_relaxed);
  const uint64_t of_other = HomeBucketOf(kHome + 3)->overflow.Load(std::memory_order_relaxed);
  const uint32_t region_id = segment().region_id();
  const uint64_t object =
      segment().layout().heap_offset_bytes + segment().layout().heap_bytes - kHeapPageBytes;
  Bucket* const chained = ChainedTo(home);
  const std::string absent = KeysOfHome("absent", kHome, buckets_count(), 1)[0];
  for (Bucket* const from : {home, chained}) {
    const uint64_t link = from->overflow.Load(std::memory_order_relaxed);
    ASSERT_NE(link, 0u);
    for (const uint64_t to :
         {uint64_t{1}, ~uint64_t{0}, link + 64, link + 1, link ^ uint64_t{1} << 32, of_other,
          GlobalAddress(region_id, static_cast<uint32_t>(segment().layout().BucketOffset(0)))
              .bits(),
          GlobalAddress(region_id, static_cast<uint32_t>(object)).bits(),
          GlobalAddress(region_id, kSegmentBytes).bits(), from == home ? of_other : first}) {
      from->overflow.Store(to, std::memory_order_relaxed);
      const uint64_t before = spoilt();
      EXPECT_TRUE(absl::IsDataLoss(Put(absent, "new"))) << to;
      EXPECT_TRUE(absl::IsDataLoss(Delete(absent))) << to;
      EXPECT_GE(spoilt(), before + 2);
      from->overflow.Store(link, std::memory_order_relaxed);
    }
  }
  for (const std::string& key : others) EXPECT_EQ(Put(key, "beside"), absl::OkStatus());
  for (const std::string& key : keys) {
    std::string value;
    EXPECT_EQ(Get(key, &value), absl::OkStatus());
  }
  segment().CheckInvariants(spoilt());
}

// Goal: an overflow bucket whose words lie about whose it is, or that holds what nobody writes there.
TEST_F(SpoiltMemoryTest, OverflowBucketsThatAreNone) {
  Fill(kHome, 18);
  Bucket* const chained = ChainedTo(HomeBucketOf(kHome));
  const std::string absent = KeysOfHome("absent", kHome, buckets_count(), 1)[0];
  for (SharedWord* const word :
       {&chained->identity, &chained->floor_or_home, &chained->slots[1].words[0],
        &chained->slots[2].words[kSlotWords - 1]}) {
    const uint64_t was = word->Load(std::memory_order_relaxed);
    word->Store(was ^ uint64_t{1} << 16, std::memory_order_relaxed);
    EXPECT_TRUE(absl::IsDataLoss(Put(absent, "new")));
    EXPECT_TRUE(absl::IsDataLoss(Delete(absent)));
    word->Store(was, std::memory_order_relaxed);
  }
  segment().CheckInvariants(spoilt());
  EXPECT_GE(spoilt(), 8u);
}

// Goal: a chain whose first bucket is empty, or half-written, is not pulled from; what is deleted is gone all the same.
TEST_F(SpoiltMemoryTest, NothingIsPulledOutOfASpoiltBucket) {
  for (const bool is_emptied : {true, false}) {
    Make();
    const std::vector<std::string> keys = Fill(kHome, 18);
    Bucket* const chained = ChainedTo(HomeBucketOf(kHome));
    for (Slot& slot : chained->slots) {
      const uint64_t word = slot.words[0].Load(std::memory_order_relaxed);
      slot.words[0].Store(is_emptied ? word & ~uint64_t{0xf} : word | uint64_t{1} << 16,
                          std::memory_order_relaxed);
      if (is_emptied) {
        slot.words[kSlotWords - 1].Store(word & ~uint64_t{0xf}, std::memory_order_relaxed);
      }
    }
    const uint64_t before = spoilt();
    const absl::Status status = Delete(keys[1]);  // In its neighbourhood: the first to come.
    EXPECT_EQ(status, absl::OkStatus());
    EXPECT_GT(spoilt(), before);
    std::string value;
    EXPECT_FALSE(Get(keys[1], &value).ok());
  }
}

// Goal: a slot that names an object which is none, or another's, costs that record; the heap takes back what it handed
// out and nothing else, once.
TEST_F(SpoiltMemoryTest, ObjectsThatAreNone) {
  const std::vector<std::string> keys = KeysOfHome("key", kHome, buckets_count(), 2);
  const std::string& key = keys[0];
  ASSERT_EQ(Put(key, kOutOfLine), absl::OkStatus());
  Slot& slot = HomeBucketOf(kHome)->slots[0];
  SlotCopy copy;
  LoadSlot(slot, &copy);
  ASSERT_EQ(copy.first().kind(), SlotKind::kOutOfLine);
  const uint64_t lengths = copy.words[3];
  const auto spoil = [&](size_t word, uint64_t bits) {
    slot.words[word].Store(bits, std::memory_order_relaxed);
  };
  for (const uint64_t address :
       {uint64_t{0}, ~uint64_t{0}, copy.words[2] + 1, copy.words[2] + 8,
        copy.words[2] ^ uint64_t{1} << 40, copy.words[2] + kSegmentBytes}) {
    spoil(2, address);
    EXPECT_TRUE(absl::IsDataLoss(Put(key, "new"))) << address;
    EXPECT_TRUE(absl::IsDataLoss(Delete(key))) << address;
  }
  spoil(2, copy.words[2]);
  spoil(3, lengths | 0xffffffff);
  EXPECT_TRUE(absl::IsDataLoss(Put(key, "new")));
  // Within bounds, but not the object that was handed out: the record is replaced, and the heap refuses it.
  const uint64_t free_before = segment().heap().stats().bytes_free;
  spoil(3, lengths + 1000);
  const uint64_t before = spoilt();
  EXPECT_EQ(Put(key, "new"), absl::OkStatus());
  EXPECT_EQ(spoilt(), before + 1);
  EXPECT_EQ(segment().heap().stats().bytes_free, free_before);
  EXPECT_EQ(segment().heap().stats().bytes_resting, 0u);
  // Two slots that name one object: it is taken back once.
  ASSERT_EQ(Put(key, kOutOfLine), absl::OkStatus());
  ASSERT_EQ(Put(keys[1], kOutOfLine), absl::OkStatus());
  LoadSlot(slot, &copy);
  Slot& other = HomeBucketOf(kHome)->slots[1];
  other.words[2].Store(copy.words[2], std::memory_order_relaxed);
  EXPECT_EQ(Delete(key), absl::OkStatus());
  EXPECT_EQ(spoilt(), before + 1);
  (void)Put(keys[1], "new");
  EXPECT_LE(spoilt(), before + 2);
  EXPECT_GT(segment().heap().stats().bytes_resting, 0u);
  std::string large(100'000, 'x');
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(Put(absl::StrCat("large", i % 2), large), absl::OkStatus());
  }
}

// Goal: an odd structure version, with nobody at work, is put right by the next one who has the lock: no Get of what
// is not there waits for ever, and no change is refused.
TEST_F(SpoiltMemoryTest, AnOddStructureVersionIsPutRight) {
  const std::vector<std::string> keys = Fill(kHome, 4);
  Bucket* const home = HomeBucketOf(kHome);
  const std::string absent = KeysOfHome("absent", kHome, buckets_count(), 1)[0];
  std::string value;
  for (const bool by_put : {true, false}) {
    home->structure_version.Store(~uint64_t{0}, std::memory_order_relaxed);
    EXPECT_TRUE(absl::IsUnavailable(Get(absent, &value)));
    if (by_put) {
      EXPECT_EQ(Put(keys[1], "new"), absl::OkStatus());
    } else {
      EXPECT_EQ(Delete(keys[1]), absl::OkStatus());
    }
    EXPECT_TRUE(absl::IsNotFound(Get(absent, &value)));
  }
  segment().CheckInvariants(/*spoilt_expected=*/2);
}

// Goal: whatever a floor says, what is inserted above it is whole.
TEST_F(SpoiltMemoryTest, FloorsOfAnyNumber) {
  const std::vector<std::string> keys = Fill(kHome, 4);
  for (const uint64_t floor : {uint64_t{1}, uint64_t{12345}, uint64_t{1} << 47, ~uint64_t{0}}) {
    HomeBucketOf(kHome)->floor_or_home.Store(floor, std::memory_order_relaxed);
    ASSERT_EQ(Delete(keys[1]), absl::OkStatus());
    ASSERT_EQ(Put(keys[1], "new"), absl::OkStatus());
    std::string value;
    EXPECT_EQ(Get(keys[1], &value), absl::OkStatus());
    EXPECT_EQ(value, "new");
  }
  segment().CheckInvariants();
}

// A stray WRITE: any word but those of locks becomes another one, by a bit, or altogether.
class Stray {
 public:
  Stray(Segment* segment, uint64_t seed) : segment_(segment), random_(seed) {}

  void Write() {
    const SegmentLayout& layout = segment_->layout();
    SharedWord* const words = segment_->words();
    // The heap's first pages are in use.
    const uint64_t first = layout.buckets_offset_bytes / kWordBytes;
    const uint64_t heap = layout.heap_offset_bytes / kWordBytes;
    const uint64_t end = heap + 12 * kHeapPageBytes / kWordBytes;
    const uint64_t at = first + random_.Uniform(end - first);
    const bool is_bucket = at < layout.BucketOffset(layout.buckets_count + 1) / kWordBytes;
    if (is_bucket && (at - first) % kBucketWords < sizeof(LockWords) / kWordBytes) return;
    const uint64_t was = words[at].Load(std::memory_order_relaxed);
    switch (random_.Uniform(4)) {
      case 0:
        return words[at].Store(was ^ uint64_t{1} << random_.Uniform(64), std::memory_order_relaxed);
      case 1:
        return words[at].Store(random_.Next(), std::memory_order_relaxed);
      case 2:
        return words[at].Store(0, std::memory_order_relaxed);
      default:
        return words[at].Store(
            words[first + random_.Uniform(end - first)].Load(std::memory_order_relaxed),
            std::memory_order_relaxed);
    }
  }

 private:
  Segment* const segment_;
  Random random_;
};

// Goal: whatever is written astray, each operation ends, with an answer of those that the header names.
TEST_F(SpoiltMemoryTest, RandomWordsEndNoOperationOtherwise) {
  uint64_t lost = 0;
  uint64_t found = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    Make();
    std::vector<std::string> keys;
    for (uint64_t home = 0; home < buckets_count(); home += 3) {
      for (std::string& key : Fill(home, 14)) keys.push_back(std::move(key));
    }
    Stray stray(&segment(), seed);
    Random random(seed);
    for (int i = 0; i < 150; ++i) {
      for (uint64_t writes = random.Uniform(4); writes > 0; --writes) stray.Write();
      lost += static_cast<uint64_t>(Use({keys[random.Uniform(keys.size())]}));
    }
    found += spoilt();
  }
  EXPECT_GT(lost, 100u);
  EXPECT_GT(found, 100u);
}

// Goal: the same while the words change in the middle of operations.
TEST_F(SpoiltMemoryTest, RandomWordsDuringOperations) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    Make();
    std::vector<std::string> keys;
    for (uint64_t home = 0; home < buckets_count(); home += 3) {
      for (std::string& key : Fill(home, 14)) keys.push_back(std::move(key));
    }
    SharedWord is_over{};
    std::thread thread([&] {
      Stray stray(&segment(), seed);
      while (is_over.Load(std::memory_order_relaxed) == 0) stray.Write();
    });
    Random random(seed);
    for (int i = 0; i < 400; ++i) (void)Use({keys[random.Uniform(keys.size())]});
    is_over.Store(1, std::memory_order_relaxed);
    thread.join();
  }
}

}  // namespace
}  // namespace acre::kvs
