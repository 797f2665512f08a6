// RemoteReader on a card that samples the lines of a READ in any order and slowly: between any two
// words of a READ the owner may change records. One thread, seeds, no luck needed.
//
// The same judge refuses readers with one bug each: so it would see these bugs in RemoteReader.

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kvs/card_test_util.h"
#include "kvs/hash.h"
#include "kvs/key_history_test_util.h"
#include "kvs/object.h"
#include "kvs/table_test_util.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "transport/fabric.h"

namespace acre::kvs {
namespace {

// One line of a READ that is under way.
struct Line {
  const SharedWord* from;
  uint64_t* to;
  size_t words;
};

// Copies lines in a random order, each ascending or descending, as F5 and F7 of transport/fabric.h
// allow. `between` runs between words.
void CopySlowly(std::vector<Line> lines, Random* random, const std::function<void()>& between) {
  while (!lines.empty()) {
    std::swap(lines[random->Uniform(lines.size())], lines.back());
    const Line line = lines.back();
    lines.pop_back();
    const bool ascending = random->Uniform(2) == 0;
    for (size_t i = 0; i < line.words; ++i) {
      const size_t word = ascending ? i : line.words - 1 - i;
      line.to[word] = line.from[word].Load(std::memory_order_acquire);
      if (i == 0 || i + 1 == line.words || random->Uniform(4) == 0) between();
    }
  }
}

void AppendLines(const SharedWord* from, uint64_t* to, size_t words, std::vector<Line>* lines) {
  constexpr size_t kLineWords = kLineBytes / kWordBytes;
  for (size_t i = 0; i < words; i += kLineWords) {
    lines->push_back({from + i, to + i, std::min(kLineWords, words - i)});
  }
}

// A card to the table's only region.
class SlowCard : public TestCard {
 public:
  SlowCard(const SharedWord* words, Random* random, std::function<void()> between)
      : words_(words), random_(random), between_(std::move(between)) {}

  absl::Status DoPost(absl::Span<const transport::WorkRequest> batch) override {
    std::vector<Line> lines;
    for (const transport::WorkRequest& request : batch) {
      EXPECT_EQ(request.opcode, transport::Opcode::kRead);
      AppendLines(words_ + request.remote_offset_bytes / kWordBytes,
                  reinterpret_cast<uint64_t*>(request.local), request.length_bytes / kWordBytes,
                  &lines);
      Complete(request);
    }
    CopySlowly(std::move(lines), random_, between_);
    return absl::OkStatus();
  }
  size_t Poll(absl::Span<transport::Completion> completions) override {
    // Now and then a completion is late: its task has to wait.
    if (!has_completions() || random_->Uniform(4) == 0) return 0;
    return TestCard::Poll(completions);
  }

 private:
  const SharedWord* const words_;
  Random* const random_;
  const std::function<void()> between_;
};

// What a reader may get wrong. kNone: it is right.
enum class Bug {
  kNone,
  kOneCollect,   // Believes a miss after one collect.
  kHeadersOnly,  // Compares the headers of two collects, not the slots.
  kNoSelfProof,  // Believes a slot whose first and last word differ.
  kNoChecksum,   // Believes an object without its checksum.
};

// RemoteReader's logic again, in few lines and without a fabric, with one bug.
class PlantedReader {
 public:
  PlantedReader(const SharedWord* words, const SegmentLayout& layout, Bug bug, Random* random,
                std::function<void()> between)
      : words_(words), layout_(layout), bug_(bug), random_(random), between_(std::move(between)) {}

  absl::Status Get(absl::string_view key, std::string* value) {
    const LookupKey lookup(key);
    const uint64_t home = HomeBucket(lookup.hash, layout_.buckets_count);
    while (true) {
      BucketCopy first[2];
      Read(layout_.BucketOffset(home), first, sizeof(first));
      LookupResult result = Search(lookup, first, 2, value);
      uint64_t address = first[0].overflow;
      while (result == LookupResult::kMiss && address != 0) {
        BucketCopy chained[1];
        Read(GlobalAddress::FromBits(address).offset_bytes(), chained, sizeof(chained));
        result = chained[0].floor_or_home == home ? Search(lookup, chained, 1, value)
                                                  : LookupResult::kRetry;
        address = chained[0].overflow;
      }
      if (result == LookupResult::kHit) return absl::OkStatus();
      if (result == LookupResult::kRetry) continue;
      if (bug_ == Bug::kOneCollect) return absl::NotFoundError("");
      BucketCopy second[2];
      Read(layout_.BucketOffset(home), second, sizeof(second));
      if (StoodStill(first, second)) return absl::NotFoundError("");
    }
  }

 private:
  template <class Copy>
  void Read(uint64_t offset_bytes, Copy* to, size_t bytes) {
    std::vector<Line> lines;
    AppendLines(words_ + offset_bytes / kWordBytes, reinterpret_cast<uint64_t*>(to),
                bytes / kWordBytes, &lines);
    CopySlowly(std::move(lines), random_, between_);
  }
  bool Believes(const SlotCopy& slot) const {
    return slot.IsConsistent() || (bug_ == Bug::kNoSelfProof && !slot.first().is_odd());
  }
  LookupResult Search(const LookupKey& key, const BucketCopy* buckets, size_t count,
                      std::string* value) {
    bool is_torn = false;
    for (size_t position = 0; position < count * kSlotsPerBucket; ++position) {
      const SlotCopy& slot = SlotAt(buckets, position);
      if (!Believes(slot)) {
        is_torn = true;
      } else if (key.words.IsInlineIn(slot)) {
        value->assign(slot.inline_value().data(), slot.inline_value().size());
        return LookupResult::kHit;
      } else if (MayBeObjectOf(slot, key)) {
        const LookupResult result = ReadObject(key, slot, value);
        if (result != LookupResult::kMiss) return result;
      }
    }
    return is_torn ? LookupResult::kRetry : LookupResult::kMiss;
  }
  LookupResult ReadObject(const LookupKey& key, const SlotCopy& slot, std::string* value) {
    const size_t bytes = ObjectBytes(slot.object_key_bytes(), slot.object_value_bytes());
    std::vector<uint64_t> copy(bytes / kWordBytes);
    Read(slot.object_address().offset_bytes(), copy.data(), bytes);
    const ObjectView object = ParseObject(copy.data(), slot.object_key_bytes(),
                                          slot.object_value_bytes(), slot.object_checksum());
    if (bug_ != Bug::kNoChecksum && !object.valid) return LookupResult::kRetry;
    if (bug_ != Bug::kNoChecksum && object.key != key.words.key()) return LookupResult::kMiss;
    value->assign(object.value.data(), object.value.size());
    return LookupResult::kHit;
  }
  bool StoodStill(const BucketCopy* first, const BucketCopy* second) const {
    bool headers = first->structure_version % 2 == 0 &&
                   first->structure_version == second->structure_version &&
                   first->overflow == second->overflow;
    bool slots = true;
    for (size_t i = 0; i < kNeighbourhood; ++i) {
      slots = slots && SlotAt(first, i).first() == SlotAt(second, i).first();
    }
    return headers && (slots || bug_ == Bug::kHeadersOnly);
  }

  const SharedWord* const words_;
  const SegmentLayout layout_;
  const Bug bug_;
  Random* const random_;
  const std::function<void()> between_;
};

// A small, overfull table, whose records change near the key that is being read.
class SlowReadTest : public ::testing::Test {
 public:
  static constexpr size_t kKeys = 220;  // For 117 slots. Some are long, and so out of line.
  static constexpr int kGets = 6000;

  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(server_.Open(&clock_, 1, 1 << 20, 1));
    writer_ = std::make_unique<TableWriter>(server_.table(), &writer_scheduler_);
    for (size_t i = 0; i < kKeys; ++i) {
      keys_[i].key = absl::StrCat("key ", i);
      if (i % 4 == 0) keys_[i].key.resize(40, '.');
      keys_[i].is_always_there = i % 3 == 0;
      Change(&keys_[i]);
    }
  }
  void TearDown() override { writer_.reset(); }

  Segment& segment() { return server_.segment(0); }
  uint64_t HomeOf(const KeyState& state) {
    return HomeBucket(HashKey(state.key), segment().layout().buckets_count);
  }
  void Change(KeyState* state) {
    const uint64_t change = state->started.load(std::memory_order_relaxed) + 1;
    state->started.store(change, std::memory_order_relaxed);
    const std::string value = ValueOf(*state, change);
    const absl::Status status =
        state->IsThereAfter(change)
            ? writer_scheduler_.RunUntilDone(writer_->Put(state->key, value))
            : writer_scheduler_.RunUntilDone(writer_->Delete(state->key));
    ASSERT_TRUE(status.ok()) << status;
    state->done.store(change, std::memory_order_relaxed);
  }
  // Between two words of a READ: maybe changes a record whose home is close to that of the key
  // read.
  void Between() {
    if (changes_left_ == 0 || random_.Uniform(3) != 0) return;
    --changes_left_;
    for (int tries = 0; tries < 20; ++tries) {
      KeyState* const state = &keys_[random_.Uniform(kKeys)];
      const uint64_t home = HomeOf(*state);
      if (home + 2 < home_read_ || home > home_read_ + 2) continue;
      Change(state);
      // What was freed is used again at once: no reader is known to the epochs.
      server_.Tick();
      server_.Tick();
      return;
    }
  }
  // Reads random keys, of which the records change meanwhile, but not for ever. The first wrong
  // answer, or "".
  template <class Get>
  std::string ReadAll(const Get& get) {
    std::string value;
    for (int i = 0; i < kGets; ++i) {
      KeyState* const state = &keys_[random_.Uniform(kKeys)];
      home_read_ = HomeOf(*state);
      changes_left_ = random_.Uniform(12);
      const uint64_t done = state->done.load(std::memory_order_relaxed);
      const absl::Status status = get(state->key, &value);
      const uint64_t started = state->started.load(std::memory_order_relaxed);
      std::string why = WhyWrong(*state, done, started, status, value);
      if (!why.empty()) return absl::StrCat("Get ", i, " of ", state->key, ": ", why);
    }
    return "";
  }
  std::string ReadAllWith(Bug bug) {
    PlantedReader reader(segment().words(), segment().layout(), bug, &random_,
                         [this] { Between(); });
    return ReadAll(
        [&reader](absl::string_view key, std::string* value) { return reader.Get(key, value); });
  }

  RealClock clock_;
  TestServer server_;
  Scheduler writer_scheduler_{{.clock = &clock_, .name = "writer"}};
  // Busy: the card wakes nobody (kvs/card_test_util.h).
  Scheduler reader_scheduler_{{.clock = &clock_, .poll_mode = PollMode::kBusy, .name = "reader"}};
  std::unique_ptr<TableWriter> writer_;
  KeyState keys_[kKeys];
  Random random_{1};
  uint64_t home_read_ = 0;
  uint64_t changes_left_ = 0;
};

// A RemoteReader on a slow card, with what it needs.
class SlowRemoteReader {
 public:
  SlowRemoteReader(SlowReadTest* test, SlowCard* card) : scheduler_(&test->reader_scheduler_) {
    transport::ShmFabric::Options options;
    options.clock = &test->clock_;
    fabric_ = *transport::ShmFabric::Create(options);
    port_ = std::make_unique<transport::Port>(scheduler_, card);
    const RegionEntry entry = {TestServer::kFirstRegionId, {1}, 1 << 20};
    auto reader = scheduler_->RunUntilDone(RemoteReader::Create(
        fabric_.get(), port_.get(), card, {entry}, 1, TestReaders::kNoDeadlineNs));
    CHECK(reader.ok()) << reader.status();
    reader_ = *std::move(reader);
  }
  RemoteReader* operator->() { return reader_.get(); }

 private:
  Scheduler* const scheduler_;
  std::unique_ptr<transport::Fabric> fabric_;
  std::unique_ptr<transport::Port> port_;
  std::unique_ptr<RemoteReader> reader_;
};

// Goal: whatever changes between two words of its READs, Get is right.
TEST_F(SlowReadTest, GetIsRightOnASlowCard) {
  SlowCard card(segment().words(), &random_, [this] { Between(); });
  SlowRemoteReader reader(this, &card);
  EXPECT_EQ(
      ReadAll([this, &reader](absl::string_view key, std::string* value) {
        return reader_scheduler_.RunUntilDone(reader->Get(key, value, TestReaders::kNoDeadlineNs));
      }),
      "");
  const ReaderStats& stats = reader->stats();
  std::cout << stats.gets << " gets, " << stats.reads << " READs, " << stats.retries << " retries, "
            << stats.misses << " misses\n";
  EXPECT_GT(stats.retries, 100u) << "too few conflicts to prove anything";
  EXPECT_GT(stats.misses, 100u);
}

// Goal: the same of MultiGet, whose READs are under way together.
TEST_F(SlowReadTest, MultiGetIsRightOnASlowCard) {
  SlowCard card(segment().words(), &random_, [this] { Between(); });
  SlowRemoteReader reader(this, &card);
  constexpr size_t kCount = 20;
  for (int i = 0; i < kGets / 10; ++i) {
    std::vector<KeyState*> states;
    std::vector<absl::string_view> keys;
    std::vector<uint64_t> dones;
    for (size_t k = 0; k < kCount; ++k) {
      states.push_back(&keys_[random_.Uniform(kKeys)]);
      keys.push_back(states[k]->key);
      dones.push_back(states[k]->done.load(std::memory_order_relaxed));
    }
    home_read_ = HomeOf(*states[0]);
    changes_left_ = random_.Uniform(30);
    std::vector<std::string> values(kCount);
    std::vector<absl::Status> statuses(kCount);
    reader_scheduler_.RunUntilDone(reader->MultiGet(
        keys, absl::MakeSpan(values), absl::MakeSpan(statuses), TestReaders::kNoDeadlineNs));
    for (size_t k = 0; k < kCount; ++k) {
      const uint64_t started = states[k]->started.load(std::memory_order_relaxed);
      ASSERT_EQ(WhyWrong(*states[k], dones[k], started, statuses[k], values[k]), "") << keys[k];
    }
  }
}

// Goal: two keys out of line have the same hash and lie side by side in a chain. While the first is
// updated in place its slot is torn at times; that the second is another key's makes it no miss.
TEST_F(SlowReadTest, TornSlotBesideAKeyOfTheSameHashIsNoMiss) {
  const auto [one, other] = KeysOfOneHash(12345);
  ASSERT_EQ(HashKey(one), HashKey(other));
  const uint64_t count = segment().layout().buckets_count;
  const uint64_t home = HomeBucket(HashKey(one), count);
  for (const KeyState& state : keys_) {
    if (!state.IsThereAfter(state.done)) continue;
    ASSERT_TRUE(writer_scheduler_.RunUntilDone(writer_->Delete(state.key)).ok());
  }
  const auto put = [this](const std::string& key, uint64_t number) {
    const std::string value = absl::StrCat(number, std::string(60, '.'));
    ASSERT_TRUE(writer_scheduler_.RunUntilDone(writer_->Put(key, value)).ok());
  };
  for (const std::string& key : KeysOfHome("fill", home, count, kNeighbourhood)) put(key, 0);
  put(one, 0);
  put(other, 0);
  const Segment::Place place = segment().Find(home, HashKey(one), one, /*holds_next=*/true);
  ASSERT_NE(place.overflow, nullptr) << "not in the chain";
  ASSERT_EQ(place.slot, &place.overflow->slots[0]);

  uint64_t number = 0;
  int budget = 0;
  SlowCard card(segment().words(), &random_, [&] {
    if (budget > 0 && random_.Uniform(4) == 0) {
      --budget;
      put(one, ++number);
    }
  });
  SlowRemoteReader reader(this, &card);
  for (int i = 0; i < kGets; ++i) {
    budget = static_cast<int>(random_.Uniform(4));
    const uint64_t before = number;
    std::string value;
    const absl::Status status =
        reader_scheduler_.RunUntilDone(reader->Get(one, &value, TestReaders::kNoDeadlineNs));
    ASSERT_TRUE(status.ok()) << "Get " << i << ": " << status;
    ASSERT_GE(std::strtoull(value.c_str(), nullptr, 10), before);
  }
}

// Goal: a reader with any of these bugs is caught, and the same reader without them is not.
TEST_F(SlowReadTest, JudgeCatchesPlantedBugs) {
  EXPECT_EQ(ReadAllWith(Bug::kNone), "");
  for (const Bug bug : {Bug::kOneCollect, Bug::kHeadersOnly, Bug::kNoSelfProof, Bug::kNoChecksum}) {
    const std::string why = ReadAllWith(bug);
    EXPECT_NE(why, "") << "bug " << static_cast<int>(bug) << " was not caught";
    std::cout << "bug " << static_cast<int>(bug) << ": " << why << "\n";
  }
}

// Goal: the judge accepts what may be, and refuses each kind of wrong answer.
TEST(KeyHistoryTest, JudgeRefusesEachKindOfWrongAnswer) {
  KeyState always;
  always.key = "always";
  always.is_always_there = true;
  KeyState churning;
  churning.key = "churning";
  const absl::Status ok;
  const absl::Status missing = absl::NotFoundError("");
  EXPECT_EQ(WhyWrong(always, 4, 5, ok, ValueOf(always, 4)), "");
  EXPECT_EQ(WhyWrong(always, 4, 5, ok, ValueOf(always, 5)), "");
  EXPECT_EQ(WhyWrong(churning, 4, 4, missing, ""), "");
  EXPECT_EQ(WhyWrong(churning, 3, 4, missing, ""), "");

  EXPECT_NE(WhyWrong(always, 4, 5, missing, ""), "");
  EXPECT_NE(WhyWrong(always, 4, 5, ok, ValueOf(always, 3)), "") << "stale";
  EXPECT_NE(WhyWrong(always, 4, 5, ok, ValueOf(always, 6)), "") << "of the future";
  EXPECT_NE(WhyWrong(always, 4, 5, ok, ValueOf(churning, 5)), "") << "foreign";
  EXPECT_NE(WhyWrong(churning, 3, 3, missing, ""), "");
  EXPECT_NE(WhyWrong(churning, 3, 5, ok, ValueOf(churning, 4)), "") << "never written";
  EXPECT_NE(WhyWrong(always, 4, 5, absl::UnavailableError(""), ""), "");
  std::string torn = ValueOf(always, 4);
  torn.replace(0, 8, ValueOf(always, 5).substr(0, 8));
  EXPECT_NE(WhyWrong(always, 4, 5, ok, torn), "") << "torn";
}

}  // namespace
}  // namespace acre::kvs
