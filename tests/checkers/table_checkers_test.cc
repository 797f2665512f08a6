// The checkers of tables against real tables: sound ones pass at every step of random histories, and
// every kind of damage is named.

#include <algorithm>
#include <functional>
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
#include "tests/checkers/segment_walk.h"
#include "tests/checkers/table_invariants.h"
#include "tests/checkers/version_watcher.h"

namespace acre::checkers {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// A table of one segment with some forty buckets, and its model.
class SmallTable {
 public:
  void Open(size_t segments = 1) {
    ASSERT_NO_FATAL_FAILURE(server_.Open(&clock_, segments, 1 << 20, 1));
    writer_ = std::make_unique<kvs::TableWriter>(server_.table(), &scheduler_);
  }
  void Put(const std::string& key, const std::string& value) {
    const absl::Status status = scheduler_.RunUntilDone(writer_->Put(key, value));
    ASSERT_TRUE(status.ok()) << status;
    model_[key] = value;
  }
  void Delete(const std::string& key) {
    const absl::Status status = scheduler_.RunUntilDone(writer_->Delete(key));
    ASSERT_EQ(status.ok(), model_.erase(key) == 1) << status;
  }
  // Inline and large records, chains, resting objects, holes.
  void Fill() {
    for (int i = 0; i < 150; ++i) Put(Key(i), Value(i, 0));
    for (int i = 0; i < 150; i += 7) Put(Key(i), Value(i, 1));
    for (int i = 0; i < 150; i += 10) Delete(Key(i));
  }
  static std::string Key(int i) { return absl::StrCat("key", i); }
  static std::string Value(int i, int round) {
    const size_t bytes = i % 5 == 0 ? 100 + 1000 * static_cast<size_t>(i % 7) : 8;
    return absl::StrCat(i, "-", round, std::string(i == 75 ? 50'000 : bytes, 'x'));
  }
  void Step(Random* random) {
    const int i = static_cast<int>(random->Uniform(180));
    const uint64_t what = random->Uniform(100);
    if (what < 60) {
      Put(Key(i), Value(i, static_cast<int>(random->Uniform(1000))));
    } else if (what < 98) {
      Delete(Key(i));
    } else {
      server_.Tick();
    }
  }

  Model& model() { return model_; }
  kvs::Table& table() { return *server_.table(); }
  kvs::Segment& segment() { return server_.segment(0); }
  kvs::Heap& heap() { return segment().heap(); }
  kvs::Bucket* Bucket(uint64_t index) {
    return reinterpret_cast<kvs::Bucket*>(At(segment().layout().BucketOffset(index)));
  }
  SharedWord* At(uint64_t offset_bytes) { return segment().words() + offset_bytes / kWordBytes; }
  uint64_t spare() { return segment().layout().buckets_count; }
  uint64_t HomeOf(const std::string& key) {
    return kvs::HomeBucket(kvs::HashKey(key), segment().layout().buckets_count);
  }

  struct Place {
    kvs::Slot* slot = nullptr;
    size_t position = 0;
    uint64_t home = 0;
    std::string key;
  };
  // The first record of a main bucket that `fits`.
  Place Find(const std::function<bool(const Place&)>& fits) {
    for (const auto& [key, value] : model_) {
      const uint64_t home = HomeOf(key);
      const kvs::Segment::Place found =
          segment().Find(home, kvs::HashKey(key), key, /*holds_next=*/true);
      const Place place = {found.slot, found.position, home, key};
      if (found.position < kvs::kNeighbourhood && fits(place)) return place;
    }
    ADD_FAILURE() << "the table has no such record";
    return {};
  }
  Place FindInline() {
    return Find([](const Place& place) {
      return place.slot->first().kind() == kvs::SlotKind::kInline && place.position < 3;
    });
  }
  Place FindObject() {
    return Find(
        [](const Place& place) { return place.slot->first().kind() == kvs::SlotKind::kOutOfLine; });
  }
  // A main bucket with a chain, the `nth`.
  kvs::Bucket* FindChained(int nth) {
    for (uint64_t i = 0; i < spare(); ++i) {
      if (Bucket(i)->overflow.Load(kRelaxed) != 0 && nth-- == 0) return Bucket(i);
    }
    ADD_FAILURE() << "the table has no such chain";
    return nullptr;
  }
  kvs::Bucket* ChainOf(const kvs::Bucket* home) {
    const uint64_t address = home->overflow.Load(kRelaxed);
    return reinterpret_cast<kvs::Bucket*>(At(GlobalAddress::FromBits(address).offset_bytes()));
  }

 private:
  RealClock clock_;
  kvs::TestServer server_;
  Scheduler scheduler_{{.clock = &clock_, .name = "table_checkers_test"}};
  std::unique_ptr<kvs::TableWriter> writer_;
  Model model_;
};

void Rewrite(kvs::Slot* slot, kvs::SlotWord word) {
  const kvs::SlotCopy copy = CopyOf(*slot);
  kvs::WriteSlot(slot, word, &copy.words[1], kvs::kSlotBodyWords);
}
void CopySlot(const kvs::Slot& from, kvs::Slot* to, kvs::SlotWord word) {
  const kvs::SlotCopy copy = CopyOf(from);
  kvs::WriteSlot(to, word, &copy.words[1], kvs::kSlotBodyWords);
}
void Empty(kvs::Slot* slot) {
  const uint64_t version = slot->first().version() + 2;
  Rewrite(slot, kvs::SlotWord(version, kvs::SlotKind::kEmpty, false, 0, 0));
}
void SetTag(kvs::Bucket* home, size_t position, uint8_t tag) {
  home->tags.Store(kvs::WithTag(home->tags.Load(kRelaxed), position, tag), kRelaxed);
}
void AddTo(SharedWord* word, uint64_t what) { word->Store(word->Load(kRelaxed) + what, kRelaxed); }
kvs::SlotWord With(kvs::SlotWord word, kvs::SlotKind kind, bool home_is_previous, size_t key_bytes,
                   size_t value_bytes) {
  return {word.version(), kind, home_is_previous, key_bytes, value_bytes};
}

// Whether memory alone shows it, with neither a model nor the owner's books.
bool ShowsInMemory(Damage damage) {
  switch (damage) {
    case Damage::kHeader:
    case Damage::kUnknownKey:
    case Damage::kWrongValue:
    case Damage::kMissingKey:
    case Damage::kUnreachable:
    case Damage::kRecordsCount:
    case Damage::kFreeBucketNotEmpty:
    case Damage::kHeapTwice:
    case Damage::kHeapLeak:
    case Damage::kHeapKind:
    case Damage::kHeapStats:
      return false;
    default:
      return true;
  }
}

bool Names(const std::vector<Finding>& findings, Damage damage) {
  return std::any_of(findings.begin(), findings.end(),
                     [damage](const Finding& finding) { return finding.damage == damage; });
}

struct Planted {
  const char* name;
  Damage damage;
  std::function<void(SmallTable*)> plant;
};

void JudgeAll(const std::vector<Planted>& all) {
  for (const Planted& planted : all) {
    SCOPED_TRACE(planted.name);
    SmallTable table;
    ASSERT_NO_FATAL_FAILURE(table.Open());
    ASSERT_NO_FATAL_FAILURE(table.Fill());
    ASSERT_EQ(ToText(CheckSegment(&table.segment(), table.model())), "");
    Model records;
    ASSERT_EQ(ToText(CheckMemory(SegmentMemory::Of(&table.segment()), &records)), "");
    ASSERT_EQ(records, table.model());
    planted.plant(&table);
    const std::vector<Finding> findings = CheckSegment(&table.segment(), table.model());
    EXPECT_TRUE(Names(findings, planted.damage)) << "not named: " << NameOf(planted.damage) << "\n"
                                                 << ToText(findings);
    if (!ShowsInMemory(planted.damage)) continue;
    const std::vector<Finding> in_memory =
        CheckMemory(SegmentMemory::Of(&table.segment()), &records);
    EXPECT_TRUE(Names(in_memory, planted.damage))
        << "not seen in memory: " << NameOf(planted.damage) << "\n"
        << ToText(in_memory);
  }
}

TEST(TableInvariantsTest, SoundTablesPass) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    SmallTable table;
    ASSERT_NO_FATAL_FAILURE(table.Open(1 + seed % 2));
    Random random(seed);
    VersionWatcher watchers[2];
    for (int i = 0; i < 1500; ++i) {
      ASSERT_NO_FATAL_FAILURE(table.Step(&random));
      for (size_t s = 0; s < table.table().segments().size(); ++s) {
        const auto wrong = watchers[s].Scan(table.table().segments()[s].get());
        ASSERT_TRUE(wrong.empty()) << "seed " << seed << ", step " << i << ": " << wrong[0];
      }
      if (i % 25 != 0) continue;
      ASSERT_EQ(ToText(CheckTable(table.table(), table.model())), "") << "seed " << seed;
    }
    while (!table.model().empty()) table.Delete(std::string(table.model().begin()->first));
    ASSERT_EQ(ToText(CheckTable(table.table(), table.model())), "") << "seed " << seed;
  }
}

TEST(TableInvariantsTest, DamagedHeadersAreNamed) {
  JudgeAll({
      {"segment header", Damage::kHeader,
       [](SmallTable* t) { AddTo(t->At(kvs::kSegmentHeaderOffset + 24), 1); }},
      {"identity", Damage::kIdentity, [](SmallTable* t) { AddTo(&t->Bucket(3)->identity, 1); }},
      {"identity in a chain", Damage::kIdentity,
       [](SmallTable* t) { AddTo(&t->ChainOf(t->FindChained(0))->identity, 1); }},
      {"local tail", Damage::kLockHeld,
       [](SmallTable* t) { AddTo(&t->Bucket(3)->lock.local_tail, 64); }},
      {"remote tail", Damage::kLockHeld,
       [](SmallTable* t) { AddTo(&t->Bucket(3)->lock.remote_tail, 64); }},
      {"victim", Damage::kLockHeld, [](SmallTable* t) { AddTo(&t->Bucket(3)->lock.victim, 3); }},
      {"structure version", Damage::kOddStructure,
       [](SmallTable* t) { AddTo(&t->Bucket(3)->structure_version, 1); }},
      {"floor", Damage::kOddFloor, [](SmallTable* t) { AddTo(&t->Bucket(3)->floor_or_home, 1); }},
      {"spare bucket", Damage::kSpareBucket,
       [](SmallTable* t) { AddTo(&t->Bucket(t->spare())->structure_version, 2); }},
      {"tag gone", Damage::kTags,
       [](SmallTable* t) {
         const auto place = t->FindInline();
         SetTag(t->Bucket(place.home), place.position, 0);
       }},
      {"tag gone, so not found", Damage::kUnreachable,
       [](SmallTable* t) {
         const auto place = t->FindInline();
         SetTag(t->Bucket(place.home), place.position, 0);
       }},
      {"tag too many", Damage::kTags,
       [](SmallTable* t) {
         const auto place = t->FindInline();
         Empty(place.slot);
         t->model().erase(place.key);
       }},
      {"reserved tag", Damage::kTags, [](SmallTable* t) { SetTag(t->Bucket(3), 7, 1); }},
  });
}

TEST(TableInvariantsTest, DamagedSlotsAreNamed) {
  using kvs::SlotKind;
  JudgeAll({
      {"last word", Damage::kTornSlot,
       [](SmallTable* t) { AddTo(&t->FindInline().slot->words[7], uint64_t{2} << 16); }},
      {"odd", Damage::kOddSlot, [](SmallTable* t) { kvs::StartSlot(t->FindInline().slot); }},
      {"kind", Damage::kBadSlot,
       [](SmallTable* t) {
         kvs::Slot* const slot = t->FindInline().slot;
         Rewrite(slot, With(slot->first(), static_cast<SlotKind>(7), false, 4, 4));
       }},
      {"lengths", Damage::kBadSlot,
       [](SmallTable* t) {
         kvs::Slot* const slot = t->FindInline().slot;
         Rewrite(slot, With(slot->first(), SlotKind::kInline, false, 31, 63));
       }},
      {"empty with flags", Damage::kBadSlot,
       [](SmallTable* t) {
         kvs::Slot* const slot = t->FindInline().slot;
         Rewrite(slot, With(slot->first(), SlotKind::kEmpty, true, 0, 0));
       }},
      {"object's bytes", Damage::kBadObject,
       [](SmallTable* t) {
         const uint64_t address = CopyOf(*t->FindObject().slot).words[2];
         AddTo(t->At(GlobalAddress::FromBits(address).offset_bytes()) + 3, 1);
       }},
      {"object's address", Damage::kBadObject,
       [](SmallTable* t) { t->FindObject().slot->words[2].Store(64, kRelaxed); }},
      {"object's hash", Damage::kBadObject,
       [](SmallTable* t) { AddTo(&t->FindObject().slot->words[1], 1); }},
  });
}

TEST(TableInvariantsTest, WrongRecordsAreNamed) {
  JudgeAll({
      {"flag", Damage::kMisplaced,
       [](SmallTable* t) {
         kvs::Slot* const slot = t->FindInline().slot;
         Rewrite(slot, kvs::SlotWord(slot->first().bits() ^ 1 << 4));
       }},
      {"another bucket", Damage::kMisplaced,
       [](SmallTable* t) {
         const auto place = t->FindInline();
         kvs::Slot* const to = &t->Bucket((place.home + 5) % t->spare())->slots[0];
         CopySlot(*place.slot, to, place.slot->first());
       }},
      {"twice", Damage::kKeyTwice,
       [](SmallTable* t) {
         const auto place = t->FindInline();
         const size_t other = (place.position + 1) % 3;
         CopySlot(*place.slot, &t->Bucket(place.home)->slots[other], place.slot->first());
         SetTag(t->Bucket(place.home), other, kvs::TagOf(kvs::HashKey(place.key)));
       }},
      {"value", Damage::kWrongValue,
       [](SmallTable* t) {
         kvs::Slot* const slot = t->FindInline().slot;
         const size_t byte = slot->first().key_bytes();
         AddTo(&slot->words[1 + byte / 8], uint64_t{1} << (byte % 8 * 8));
       }},
      {"value, as a lookup sees it", Damage::kUnreachable,
       [](SmallTable* t) { t->model()[t->FindInline().key] = "another"; }},
      {"key of no model", Damage::kUnknownKey,
       [](SmallTable* t) { t->model().erase(t->model().begin()); }},
      {"key gone", Damage::kMissingKey,
       [](SmallTable* t) {
         const auto place = t->FindInline();
         Empty(place.slot);
         SetTag(t->Bucket(place.home), place.position, 0);
       }},
      {"count", Damage::kRecordsCount,
       [](SmallTable* t) {
         const auto place = t->FindInline();
         Empty(place.slot);
         SetTag(t->Bucket(place.home), place.position, 0);
         t->model().erase(place.key);
       }},
  });
}

TEST(TableInvariantsTest, DamagedChainsAreNamed) {
  JudgeAll({
      {"address", Damage::kBadChain,
       [](SmallTable* t) { t->FindChained(0)->overflow.Store(4096, kRelaxed); }},
      {"home", Damage::kBadChain,
       [](SmallTable* t) { AddTo(&t->ChainOf(t->FindChained(0))->floor_or_home, 1); }},
      {"home, so not found", Damage::kUnreachable,
       [](SmallTable* t) { AddTo(&t->ChainOf(t->FindChained(0))->floor_or_home, 1); }},
      {"tags", Damage::kBadChain,
       [](SmallTable* t) { AddTo(&t->ChainOf(t->FindChained(0))->tags, 1); }},
      {"two homes", Damage::kSharedBucket,
       [](SmallTable* t) {
         t->FindChained(0)->overflow.Store(t->FindChained(1)->overflow.Load(kRelaxed), kRelaxed);
       }},
      {"circle", Damage::kSharedBucket,
       [](SmallTable* t) {
         kvs::Bucket* const home = t->FindChained(0);
         t->ChainOf(home)->overflow.Store(home->overflow.Load(kRelaxed), kRelaxed);
       }},
      {"empty", Damage::kEmptyBucket,
       [](SmallTable* t) {
         for (kvs::Slot& slot : t->ChainOf(t->FindChained(0))->slots) Empty(&slot);
       }},
      {"flag", Damage::kMisplaced,
       [](SmallTable* t) {
         for (kvs::Slot& slot : t->ChainOf(t->FindChained(0))->slots) {
           if (slot.first().kind() == kvs::SlotKind::kEmpty) continue;
           Rewrite(&slot, kvs::SlotWord(slot.first().bits() ^ 1 << 4));
         }
       }},
      {"cut off", Damage::kHeapLeak,
       [](SmallTable* t) { t->FindChained(0)->overflow.Store(0, kRelaxed); }},
      {"free and not empty", Damage::kFreeBucketNotEmpty,
       [](SmallTable* t) {
         const uint64_t offset = *t->heap().AllocateOverflowBucket();
         auto* const bucket = reinterpret_cast<kvs::Bucket*>(t->At(offset));
         CopySlot(*t->FindInline().slot, &bucket->slots[1], t->FindInline().slot->first());
         t->heap().FreeOverflowBucket(offset);
       }},
  });
}

TEST(TableInvariantsTest, DamagedHeapsAreNamed) {
  const auto object_of = [](SmallTable* t) {
    const kvs::SlotCopy copy = CopyOf(*t->FindObject().slot);
    return std::make_pair(uint64_t{copy.object_address().offset_bytes()},
                          kvs::ObjectBytes(copy.object_key_bytes(), copy.object_value_bytes()));
  };
  JudgeAll({
      {"object leaked", Damage::kHeapLeak, [](SmallTable* t) { (void)*t->heap().Allocate(100); }},
      {"large object leaked", Damage::kHeapLeak,
       [](SmallTable* t) { (void)*t->heap().Allocate(40'000); }},
      {"bucket leaked", Damage::kHeapLeak,
       [](SmallTable* t) { (void)*t->heap().AllocateOverflowBucket(); }},
      {"bucket counted", Damage::kHeapStats,
       [](SmallTable* t) { (void)*t->heap().AllocateOverflowBucket(); }},
      {"object freed", Damage::kHeapTwice,
       [&](SmallTable* t) { t->heap().Free(object_of(t).first, object_of(t).second); }},
      {"object retired", Damage::kHeapTwice,
       [&](SmallTable* t) { t->heap().Retire(object_of(t).first, object_of(t).second); }},
      {"bucket freed", Damage::kHeapTwice,
       [](SmallTable* t) {
         const uint64_t address = t->FindChained(0)->overflow.Load(kRelaxed);
         t->heap().FreeOverflowBucket(GlobalAddress::FromBits(address).offset_bytes());
       }},
      {"object in memory of buckets", Damage::kHeapKind,
       [](SmallTable* t) {
         const auto place = t->FindObject();
         const uint64_t offset = *t->heap().AllocateOverflowBucket();
         const GlobalAddress address(t->segment().region_id(), static_cast<uint32_t>(offset));
         place.slot->words[2].Store(address.bits(), kRelaxed);
       }},
  });
}

// Goal: what the watcher must tell, and what it must not.
class VersionWatcherTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(table_.Open());
    ASSERT_NO_FATAL_FAILURE(table_.Fill());
    ASSERT_TRUE(Scan().empty());
    place_ = table_.FindInline();
  }
  std::vector<std::string> Scan() { return watcher_.Scan(&table_.segment()); }
  kvs::Bucket* home() { return table_.Bucket(place_.home); }
  kvs::SlotWord WithVersion(uint64_t version) {
    return kvs::SlotWord(version << 16 | (place_.slot->first().bits() & 0xffff));
  }
  uint64_t version() { return place_.slot->first().version(); }

  SmallTable table_;
  VersionWatcher watcher_;
  SmallTable::Place place_;
};

TEST_F(VersionWatcherTest, AFallIsTold) {
  Rewrite(place_.slot, WithVersion(version() + 10));
  EXPECT_TRUE(Scan().empty());
  Rewrite(place_.slot, WithVersion(version() - 2));
  EXPECT_EQ(Scan().size(), 2u);  // Of the slot and of the key.
}

TEST_F(VersionWatcherTest, AChangeWithoutAVersionIsTold) {
  const size_t byte = place_.slot->first().key_bytes();
  AddTo(&place_.slot->words[1 + byte / 8], uint64_t{1} << (byte % 8 * 8));
  EXPECT_EQ(Scan().size(), 2u);
}

TEST_F(VersionWatcherTest, AMoveWithoutAVersionIsTold) {
  kvs::Slot* const to = &home()->slots[(place_.position + 1) % 3];
  const kvs::SlotWord word = WithVersion(std::max(version(), to->first().version()) + 10);
  Rewrite(place_.slot, word);
  EXPECT_TRUE(Scan().empty());
  CopySlot(*place_.slot, to, word);
  Empty(place_.slot);
  ASSERT_EQ(Scan().size(), 1u);
}

// Goal: a key that was deleted comes back below its old version, in a slot that is younger.
TEST_F(VersionWatcherTest, AReturnBelowTheFloorIsTold) {
  kvs::Slot* const to = &home()->slots[(place_.position + 1) % 3];
  Rewrite(place_.slot, WithVersion(to->first().version() + 100));
  EXPECT_TRUE(Scan().empty());
  const kvs::SlotWord word = WithVersion(to->first().version() + 2);
  Empty(place_.slot);
  EXPECT_TRUE(Scan().empty());
  CopySlot(*place_.slot, to, word);
  ASSERT_EQ(Scan().size(), 1u);
}

TEST_F(VersionWatcherTest, HeadersThatFallAreTold) {
  AddTo(&home()->structure_version, uint64_t{0} - 2);
  EXPECT_EQ(Scan().size(), 1u);
  AddTo(&home()->floor_or_home, 10);
  EXPECT_TRUE(Scan().empty());
  AddTo(&home()->floor_or_home, uint64_t{0} - 2);
  EXPECT_EQ(Scan().size(), 1u);
}

// Goal: a move that stands still after each of its stores is no fault.
TEST_F(VersionWatcherTest, AChangeThatIsUnderWayIsNone) {
  kvs::Slot* const to = &home()->slots[(place_.position + 1) % 3];
  AddTo(&home()->structure_version, 1);
  EXPECT_TRUE(Scan().empty());
  kvs::StartSlot(to);
  EXPECT_TRUE(Scan().empty());
  CopySlot(*place_.slot, to, WithVersion(std::max(version(), to->first().version()) + 2));
  EXPECT_TRUE(Scan().empty());
  kvs::StartSlot(place_.slot);
  EXPECT_TRUE(Scan().empty());
  Empty(place_.slot);
  EXPECT_TRUE(Scan().empty());
  AddTo(&home()->structure_version, 1);
  EXPECT_TRUE(Scan().empty());
}

}  // namespace
}  // namespace acre::checkers
