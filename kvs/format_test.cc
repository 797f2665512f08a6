// The formats of shared memory: slots that prove themselves, tags, layouts, objects.

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kvs/bucket.h"
#include "kvs/hash.h"
#include "kvs/limits.h"
#include "kvs/object.h"
#include "kvs/segment_layout.h"
#include "kvs/slot.h"
#include "runtime/random.h"

namespace acre::kvs {
namespace {

std::string RandomBytes(Random* random, size_t bytes) {
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random->Next());
  return text;
}

// ---- A slot proves its own consistency.

using SlotWords = std::array<uint64_t, kSlotWords>;

struct Store {
  size_t word;
  uint64_t value;
};

SlotWord EvenWord(uint64_t version) { return SlotWord(version, SlotKind::kInline, false, 8, 40); }

// The slot before any of the writes below: all of its body is of version 2.
SlotWords FirstWords() {
  SlotWords words;
  words.fill(2);
  words[0] = words[kSlotWords - 1] = EvenWord(2).bits();
  return words;
}

// How a writer marks a slot. kNoOddMark and kLateMark are planted bugs.
enum class Marking { kLastWordFirst, kFirstWordFirst, kNoOddMark, kLateMark };

// The stores of one write, in order: body words 1 and 6 get `version`, as do both version words.
void AppendWrite(uint64_t version, Marking marking, std::vector<Store>* stores) {
  const uint64_t odd = EvenWord(version - 2).MadeOdd().bits();
  const uint64_t even = EvenWord(version).bits();
  const size_t first = marking == Marking::kFirstWordFirst ? 0 : kSlotWords - 1;
  const size_t second = kSlotWords - 1 - first;
  const std::vector<Store> marks = {{first, odd}, {second, odd}};
  const std::vector<Store> body = {{1, version}, {6, version}};
  if (marking == Marking::kLastWordFirst || marking == Marking::kFirstWordFirst) {
    stores->insert(stores->end(), marks.begin(), marks.end());
  }
  stores->insert(stores->end(), body.begin(), body.end());
  if (marking == Marking::kLateMark) stores->insert(stores->end(), marks.begin(), marks.end());
  stores->push_back({first, even});
  stores->push_back({second, even});
}

// Takes copies of a slot at every interleaving of the writer's stores with the loads of a copy.
class Interleavings {
 public:
  // A load takes `words_per_load` words at once: 1, or 4 where the machine loads half lines.
  Interleavings(const std::vector<Store>& stores, bool ascending, size_t words_per_load)
      : ascending_(ascending), words_per_load_(words_per_load) {
    SlotWords words = FirstWords();
    states_.push_back(words);
    for (const Store& store : stores) {
      words[store.word] = store.value;
      states_.push_back(words);
    }
  }

  void Run() { Load(0, 0); }
  uint64_t accepted() const { return accepted_; }
  uint64_t mixed() const { return mixed_; }

 private:
  // Load number `index` samples the memory after any number of stores, no fewer than `stores_done`.
  void Load(size_t index, size_t stores_done) {
    const size_t loads = kSlotWords / words_per_load_;
    if (index == loads) return Judge();
    const size_t begin = (ascending_ ? index : loads - 1 - index) * words_per_load_;
    for (size_t done = stores_done; done < states_.size(); ++done) {
      std::copy_n(states_[done].begin() + begin, words_per_load_, copy_.words + begin);
      Load(index + 1, done);
    }
  }
  void Judge() {
    if (!copy_.IsConsistent()) return;
    ++accepted_;
    const uint64_t version = copy_.first().version();
    if (copy_.words[1] != version || copy_.words[6] != version || copy_.words[3] != 2) ++mixed_;
  }

  const bool ascending_;
  const size_t words_per_load_;
  std::vector<SlotWords> states_;  // After each number of stores.
  SlotCopy copy_ = {};
  uint64_t accepted_ = 0;
  uint64_t mixed_ = 0;
};

struct Outcome {
  uint64_t accepted = 0;
  uint64_t mixed = 0;
};

// Two writes in a row, copied in both orders, word by word and by half lines.
Outcome CopyAtEveryInterleaving(Marking marking) {
  std::vector<Store> stores;
  AppendWrite(4, marking, &stores);
  AppendWrite(6, marking, &stores);
  Outcome outcome;
  for (const bool ascending : {true, false}) {
    for (const size_t words_per_load : {size_t{1}, size_t{4}}) {
      Interleavings copies(stores, ascending, words_per_load);
      copies.Run();
      outcome.accepted += copies.accepted();
      outcome.mixed += copies.mixed();
    }
  }
  return outcome;
}

// Goal: no copy in ascending or descending order, at whatever interleaving with two writes, is
// accepted with words of two bodies; which of the two marks is stored first does not matter.
TEST(SlotTest, NoInterleavingOfACopyShowsAMixedBody) {
  for (const Marking marking : {Marking::kLastWordFirst, Marking::kFirstWordFirst}) {
    const Outcome outcome = CopyAtEveryInterleaving(marking);
    EXPECT_GE(outcome.accepted, 3u * 4) << "each of the three bodies, in each way to copy";
    EXPECT_EQ(outcome.mixed, 0u);
  }
}

// Goal: the enumeration has teeth: writers that forget the mark, or set it late, are caught.
TEST(SlotTest, InterleavingsCatchAWriterThatMarksWrongly) {
  EXPECT_GT(CopyAtEveryInterleaving(Marking::kNoOddMark).mixed, 0u);
  EXPECT_GT(CopyAtEveryInterleaving(Marking::kLateMark).mixed, 0u);
}

// Goal: the real writer is refused by readers at each step from StartSlot to FinishSlot, and
// accepted before and after, with the old and the new body.
TEST(SlotTest, RealWriterIsRefusedBetweenStartAndFinish) {
  const auto slot = std::make_unique<Slot>();
  const SlotContent before = SlotContent::Inline("key", "old value");
  WriteSlot(slot.get(), before.Word(2, false), before.body, before.body_words);
  SlotCopy copy;
  LoadSlot(*slot, &copy);
  ASSERT_TRUE(copy.IsConsistent());
  EXPECT_EQ(copy.inline_value(), "old value");

  const SlotContent after = SlotContent::Inline("key", "a newer, longer value");
  StartSlot(slot.get());
  EXPECT_TRUE(slot->first().is_odd());
  EXPECT_EQ(slot->first().version(), 3u);
  for (size_t i = 0; i < after.body_words; ++i) {
    LoadSlot(*slot, &copy);
    EXPECT_FALSE(copy.IsConsistent()) << "before body word " << i;
    EXPECT_EQ(copy.words[0], copy.words[kSlotWords - 1]);
    slot->words[1 + i].Store(after.body[i], std::memory_order_release);
  }
  LoadSlot(*slot, &copy);
  EXPECT_FALSE(copy.IsConsistent());
  FinishSlot(slot.get(), after.Word(4, false));
  LoadSlot(*slot, &copy);
  ASSERT_TRUE(copy.IsConsistent());
  EXPECT_EQ(copy.first().version(), 4u);
  EXPECT_EQ(copy.inline_key(), "key");
  EXPECT_EQ(copy.inline_value(), "a newer, longer value");
}

// Goal: every field of a slot's word comes back, at its extremes and in any mix.
TEST(SlotTest, WordCarriesItsFields) {
  Random random(1);
  for (int i = 0; i < 10'000; ++i) {
    const uint64_t version = random.Next() >> (16 + random.Uniform(48));
    const auto kind = static_cast<SlotKind>(random.Uniform(3));
    const bool previous = random.Uniform(2) == 0;
    const size_t key_bytes = random.Uniform(kInlineKeyBytesMax + 1);
    const size_t value_bytes = random.Uniform(kSlotBodyBytes);
    const SlotWord word(version, kind, previous, key_bytes, value_bytes);
    EXPECT_EQ(word.version(), version);
    EXPECT_EQ(word.is_odd(), version % 2 != 0);
    EXPECT_EQ(word.kind(), kind);
    EXPECT_EQ(word.home_is_previous(), previous);
    EXPECT_EQ(word.key_bytes(), key_bytes);
    EXPECT_EQ(word.value_bytes(), value_bytes);
    EXPECT_EQ(word.MadeOdd().version(), version | 1);
  }
}

// Goal: every record that fits inline is stored and found again whole; the largest key and value
// too.
TEST(SlotTest, AllInlineSizesSurvive) {
  Random random(2);
  const auto slot = std::make_unique<Slot>();
  uint64_t version = 0;
  for (size_t key_bytes = 1; key_bytes <= kInlineKeyBytesMax; ++key_bytes) {
    for (size_t value_bytes = 0; FitsInline(key_bytes, value_bytes); ++value_bytes) {
      const std::string key = RandomBytes(&random, key_bytes);
      const std::string value = RandomBytes(&random, value_bytes);
      const SlotContent content = SlotContent::Inline(key, value);
      WriteSlot(slot.get(), content.Word(version += 2, false), content.body, content.body_words);
      SlotCopy copy;
      LoadSlot(*slot, &copy);
      ASSERT_TRUE(copy.IsConsistent() && copy.InlineFits());
      ASSERT_EQ(copy.inline_key(), key);
      ASSERT_EQ(copy.inline_value(), value);
    }
  }
  EXPECT_FALSE(FitsInline(kInlineKeyBytesMax + 1, 0));
  EXPECT_FALSE(FitsInline(1, kSlotBodyBytes));
}

// Goal: a peer's inline lengths that do not fit the body are told from those that do.
TEST(SlotTest, InlineLengthsOfAPeerAreJudged) {
  SlotCopy copy = {};
  for (size_t key_bytes = 0; key_bytes < 32; ++key_bytes) {
    for (size_t value_bytes = 0; value_bytes < 64; ++value_bytes) {
      copy.words[0] = SlotWord(2, SlotKind::kInline, false, key_bytes, value_bytes).bits();
      const bool fits = key_bytes > 0 && key_bytes + value_bytes <= kSlotBodyBytes;
      EXPECT_EQ(copy.InlineFits(), fits) << key_bytes << " " << value_bytes;
    }
  }
}

// Goal: KeyWords agrees with memcmp on keys of all lengths, also on near misses: one byte changed,
// one byte more or less, the same bytes with other bytes of the body behind them.
TEST(SlotTest, KeyWordsAgreeWithMemcmp) {
  Random random(3);
  for (int i = 0; i < 40'000; ++i) {
    const std::string stored = RandomBytes(&random, random.Uniform(kInlineKeyBytesMax + 1));
    std::string asked = stored;
    const uint64_t change = random.Uniform(4);
    if (change == 1 && !asked.empty()) asked[random.Uniform(asked.size())] ^= char{1};
    if (change == 2 && !asked.empty()) asked.pop_back();
    if (change == 3) asked.push_back(static_cast<char>(random.Uniform(2)));
    SlotCopy copy;
    for (uint64_t& word : copy.words) word = random.Next();
    copy.words[0] = SlotWord(2, SlotKind::kInline, false, stored.size(), 0).bits();
    std::memcpy(&copy.words[1], stored.data(), stored.size());  // private memory
    EXPECT_EQ(KeyWords(asked).IsInlineIn(copy), asked == stored);
    copy.words[0] = SlotWord(2, SlotKind::kOutOfLine, false, stored.size(), 0).bits();
    EXPECT_FALSE(KeyWords(asked).IsInlineIn(copy));
  }
  // Longer keys are never inline, whatever the five bits of a slot's key length say.
  SlotCopy copy = {};
  for (const size_t bytes : {size_t{32}, size_t{33}, size_t{64}, kKeyBytesMax}) {
    copy.words[0] = SlotWord(2, SlotKind::kInline, false, bytes % 32, 0).bits();
    EXPECT_FALSE(KeyWords(std::string(bytes, '\0')).IsInlineIn(copy));
  }
}

// Goal: the short way for keys of whole words agrees with the long one, for all sizes and near misses,
// and replaces what was in *value.
TEST(SlotTest, AlignedMatchAgreesWithTheCopy) {
  Random random(9);
  const auto slot = std::make_unique<Slot>();
  uint64_t version = 0;
  for (int i = 0; i < 20'000; ++i) {
    const size_t key_bytes = 8 * (1 + random.Uniform(3));
    const std::string stored = RandomBytes(&random, key_bytes);
    const size_t value_bytes = random.Uniform(kSlotBodyBytes - key_bytes + 1);
    const std::string expected = RandomBytes(&random, value_bytes);
    const SlotContent content = SlotContent::Inline(stored, expected);
    WriteSlot(slot.get(), content.Word(version += 2, i % 2 == 0), content.body, content.body_words);
    std::string asked = stored;
    if (i % 3 == 0) asked[random.Uniform(key_bytes)] ^= static_cast<char>(1 << random.Uniform(8));
    if (i % 7 == 0) asked.resize(8 * (1 + random.Uniform(3)));
    ASSERT_TRUE(IsAlignedKey(asked));
    std::string value(i % 5 == 0 ? value_bytes : random.Uniform(60), 'x');
    const bool matches = MatchAlignedInline(*slot, asked, &value);
    ASSERT_EQ(matches, asked == stored);
    if (matches) {
      ASSERT_EQ(value, expected);
    }
    SlotCopy copy;
    LoadSlot(*slot, &copy);
    std::string copied(random.Uniform(60), 'x');
    AssignInlineValue(copy, &copied);
    ASSERT_EQ(copied, expected);
  }
}

// Goal: the short way takes nothing from a slot that a writer is at work on, of another kind, or whose
// ends differ, and no lengths of a hostile owner lead it out of the slot.
TEST(SlotTest, AlignedMatchJudgesTheSlot) {
  // Alone in its memory: asan sees whoever leaves it.
  const auto slot = std::make_unique<Slot>();
  const SlotContent content = SlotContent::Inline("8 bytes.", "value");
  WriteSlot(slot.get(), content.Word(2, false), content.body, content.body_words);
  const absl::string_view key = "8 bytes.";
  std::string value;
  ASSERT_TRUE(MatchAlignedInline(*slot, key, &value));
  const uint64_t good = slot->first().bits();
  const auto relaxed = std::memory_order_relaxed;
  for (size_t bit = 0; bit < 64; ++bit) {
    slot->words[7].Store(good ^ uint64_t{1} << bit, relaxed);
    EXPECT_FALSE(MatchAlignedInline(*slot, key, &value)) << bit;
  }
  for (size_t lengths = 0; lengths < 1 << 11; ++lengths) {
    const SlotWord word(4, SlotKind::kInline, false, lengths >> 6, lengths & 0x3f);
    slot->words[7].Store(word.bits(), relaxed);
    slot->words[0].Store(word.bits(), relaxed);
    // Whatever length the caller's memory has, also one that no slot has, or that the slot claims.
    for (const size_t before :
         {size_t{0}, size_t{5}, lengths & 0x3f, size_t{5} + 64, size_t{100}}) {
      value.assign(before, 'x');
      if (MatchAlignedInline(*slot, key, &value)) {
        EXPECT_LE(value.size(), kSlotBodyBytes - 8);
        EXPECT_EQ(value.size(), lengths & 0x3f);
      }
    }
  }
  StartSlot(slot.get());
  EXPECT_FALSE(MatchAlignedInline(*slot, key, &value));
  FinishSlot(slot.get(), SlotWord(6, SlotKind::kEmpty, false, 8, 5));
  EXPECT_FALSE(MatchAlignedInline(*slot, key, &value));
}

// ---- Tags and positions.

// Goal: the table of offsets says what the arithmetic says.
TEST(BucketTest, FirstMatchIsTheSlotOfTheLowestTag) {
  alignas(kLineBytes) static Bucket buckets[2];
  for (size_t position = 0; position < kNeighbourhood; ++position) {
    const uint64_t tags = WithTag(WithTag(0, position, 9), kNeighbourhood - 1, 9);
    const uint64_t match = MatchTags(tags, 9);
    EXPECT_EQ(&FirstMatch(&buckets[0], match), &SlotAt(&buckets[0], position)) << position;
  }
}

// Goal: every position with the tag is matched, the lowest match is always a true one, and false
// ones stand above a true one only.
TEST(BucketTest, MatchTagsFindsEveryTrueMatch) {
  Random random(4);
  for (int i = 0; i < 100'000; ++i) {
    uint64_t tags = 0;
    std::array<uint8_t, kNeighbourhood> expected = {};
    // Few values, so that equal and neighbouring tags are frequent.
    const uint64_t values = i % 2 == 0 ? 4 : 256;
    for (size_t position = 0; position < kNeighbourhood; ++position) {
      expected[position] = static_cast<uint8_t>(random.Uniform(values));
      tags = WithTag(tags, position, static_cast<uint8_t>(random.Next()));
      tags = WithTag(tags, position, expected[position]);
    }
    ASSERT_EQ(tags >> 48, 0u);
    const uint8_t tag = static_cast<uint8_t>(1 + random.Uniform(values - 1));
    bool any_true = false;
    std::set<size_t> matched;
    for (uint64_t match = MatchTags(tags, tag); match != 0; match &= match - 1) {
      const size_t position = PositionOf(match);
      ASSERT_LT(position, kNeighbourhood);
      matched.insert(position);
      any_true = any_true || expected[position] == tag;
      EXPECT_TRUE(any_true) << "a false match below every true one";
    }
    for (size_t position = 0; position < kNeighbourhood; ++position) {
      if (expected[position] == tag) {
        EXPECT_EQ(matched.count(position), 1u);
      }
    }
  }
}

// Goal: positions 0 to 2 are the home's slots, 3 to 5 the next bucket's.
TEST(BucketTest, SlotAtFollowsTheNeighbourhood) {
  const auto pair = std::make_unique<std::array<BucketCopy, 2>>();
  for (size_t position = 0; position < kNeighbourhood; ++position) {
    const SlotCopy* const expected =
        &(*pair)[position / kSlotsPerBucket].slots[position % kSlotsPerBucket];
    EXPECT_EQ(&SlotAt(pair->data(), position), expected);
  }
}

// Goal: whatever the hash, home, segment and tag are within their ranges, and all homes are used.
TEST(BucketTest, HashPartsStayInRange) {
  Random random(5);
  for (const uint64_t count : {uint64_t{1}, uint64_t{2}, uint64_t{7}, (uint64_t{1} << 32) - 1}) {
    for (const uint64_t hash : {uint64_t{0}, ~uint64_t{0}, random.Next(), random.Next()}) {
      EXPECT_LT(HomeBucket(hash, count), count);
      EXPECT_LT(SegmentIndex(hash, std::min<uint64_t>(count, 1000)), count);
      EXPECT_NE(TagOf(hash), 0);
    }
  }
  std::set<uint64_t> homes;
  for (int i = 0; i < 1000; ++i) homes.insert(HomeBucket(random.Next(), 7));
  EXPECT_EQ(homes.size(), 7u);
}

// ---- Layouts.

// 128 bits, so that the test's own sums cannot overflow.
__extension__ using Wide = unsigned __int128;

// What must hold of a layout that a reader is going to use on a region of this size.
void ExpectInside(const SegmentLayout& layout, uint64_t region_bytes) {
  const Wide buckets_end =
      Wide{layout.buckets_offset_bytes} + (Wide{layout.buckets_count} + 1) * Wide{kBucketBytes};
  EXPECT_GE(layout.buckets_offset_bytes, kSegmentHeaderOffset + sizeof(SegmentHeader));
  EXPECT_EQ(layout.buckets_offset_bytes % kBucketBytes, 0u);
  EXPECT_GT(layout.buckets_count, 0u);
  EXPECT_TRUE(buckets_end <= layout.heap_offset_bytes);
  EXPECT_TRUE(Wide{layout.heap_offset_bytes} + layout.heap_bytes <= region_bytes);
  // The pair of the last home ends before the heap.
  const uint64_t last = HomeBucket(~uint64_t{0}, layout.buckets_count);
  EXPECT_TRUE(Wide{layout.BucketOffset(last)} + 2 * kBucketBytes <= region_bytes);
}

TEST(SegmentLayoutTest, PlanCutsEveryRegionIntoPartsThatFit) {
  Random random(6);
  for (int i = 0; i < 20'000; ++i) {
    const uint64_t region_bytes = (kSegmentBytesMin >> 1) + (random.Next() >> (32 + i % 12));
    const int percent = static_cast<int>(random.Uniform(103)) - 1;
    const auto layout = SegmentLayout::Plan(7, random.Next(), region_bytes, percent);
    if (region_bytes < kSegmentBytesMin || percent < 1 || percent > 99) {
      EXPECT_EQ(layout.status().code(), absl::StatusCode::kInvalidArgument);
      continue;
    }
    ASSERT_TRUE(layout.ok()) << layout.status() << " " << region_bytes << " " << percent;
    ExpectInside(*layout, region_bytes);
    EXPECT_EQ(layout->heap_offset_bytes % kHeapAlignment, 0u);
    EXPECT_EQ(layout->heap_bytes % kHeapAlignment, 0u);
    EXPECT_GT(layout->heap_bytes, 0u);
    EXPECT_EQ(layout->identity >> 32, 7u);

    SegmentHeader header;
    layout->Write(&header);
    uint64_t words[sizeof(SegmentHeader) / kWordBytes];
    CopyFromShared(words, &header.magic, std::size(words), CopyOrder::kAscending);
    const auto parsed = SegmentLayout::Parse(words, 7, region_bytes);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->identity, layout->identity);
    EXPECT_EQ(parsed->buckets_count, layout->buckets_count);
    EXPECT_EQ(parsed->heap_bytes, layout->heap_bytes);
    EXPECT_FALSE(SegmentLayout::Parse(words, 8, region_bytes).ok());
    EXPECT_FALSE(SegmentLayout::Parse(words, 7, layout->heap_offset_bytes).ok());
    words[0] ^= 1;
    EXPECT_EQ(SegmentLayout::Parse(words, 7, region_bytes).status().code(),
              absl::StatusCode::kDataLoss);
  }
}

// A number that a hostile server might choose: small, large, near the region's end, near overflow.
uint64_t HostileNumber(Random* random, uint64_t region_bytes) {
  switch (random->Uniform(7)) {
    case 0:
      return random->Uniform(8);
    case 1:
      return region_bytes - random->Uniform(2 * kBucketBytes);
    case 2:
      return region_bytes / kBucketBytes - random->Uniform(20);
    case 3:
      return random->Uniform(64) * kBucketBytes;
    case 4:
      return ~uint64_t{0} - random->Uniform(2 * kBucketBytes);
    case 5:
      return ~uint64_t{0} / kBucketBytes - random->Uniform(4);
    default:
      return random->Next() >> random->Uniform(64);
  }
}

// Goal: whatever a hostile header says, a layout that Parse accepts leads nowhere outside the
// region, and HeapContains says yes only to what lies in the heap.
TEST(SegmentLayoutTest, HostileHeadersNeverLeadOutside) {
  Random random(7);
  constexpr uint64_t kRegionBytes = kSegmentBytesMin;
  int accepted = 0;
  for (int i = 0; i < 400'000; ++i) {
    const uint64_t words[] = {kSegmentMagic,
                              kSegmentShape,
                              uint64_t{7} << 32 | 5,
                              HostileNumber(&random, kRegionBytes),
                              HostileNumber(&random, kRegionBytes),
                              HostileNumber(&random, kRegionBytes),
                              HostileNumber(&random, kRegionBytes),
                              0};
    const auto layout = SegmentLayout::Parse(words, 7, kRegionBytes);
    if (!layout.ok()) continue;
    ++accepted;
    ExpectInside(*layout, kRegionBytes);
    const uint64_t offset = HostileNumber(&random, kRegionBytes) & ~uint64_t{kLineBytes - 1};
    const uint64_t bytes = HostileNumber(&random, kRegionBytes);
    const bool inside =
        offset >= layout->heap_offset_bytes &&
        Wide{offset} + bytes <= Wide{layout->heap_offset_bytes} + Wide{layout->heap_bytes};
    EXPECT_EQ(layout->HeapContains(offset, bytes), inside) << offset << " " << bytes;
    EXPECT_FALSE(layout->HeapContains(offset + kWordBytes, kWordBytes));
  }
  EXPECT_GT(accepted, 100) << "the numbers are too wild to test anything";
}

// ---- Objects.

struct alignas(kLineBytes) ObjectMemory {
  SharedWord words[kObjectBytesMax / kWordBytes + 1];
};

class ObjectTest : public ::testing::Test {
 protected:
  std::vector<uint64_t> Copy(size_t bytes) const {
    std::vector<uint64_t> copy(bytes / kWordBytes);
    CopyFromShared(copy.data(), memory_->words, copy.size(), CopyOrder::kAscending);
    return copy;
  }
  Random random_{8};
  const std::unique_ptr<ObjectMemory> memory_ = std::make_unique<ObjectMemory>();
};

TEST_F(ObjectTest, ObjectsOfAllSizesSurvive) {
  const std::vector<std::pair<size_t, size_t>> sizes = {{1, 48},
                                                        {31, 18},
                                                        {32, 0},
                                                        {4096, 0},
                                                        {1, kValueBytesMax},
                                                        {5, 65536},
                                                        {kKeyBytesMax, kValueBytesMax},
                                                        {17, 1000},
                                                        {1, 0}};
  for (const auto& [key_bytes, value_bytes] : sizes) {
    const std::string key = RandomBytes(&random_, key_bytes);
    const std::string value = RandomBytes(&random_, value_bytes);
    const size_t bytes = ObjectBytes(key_bytes, value_bytes);
    EXPECT_EQ(bytes % kWordBytes, 0u);
    EXPECT_LE(bytes, kObjectBytesMax);
    memory_->words[bytes / kWordBytes].Store(77, std::memory_order_relaxed);
    const uint64_t checksum = WriteObject(memory_->words, 5, key, value);
    EXPECT_EQ(memory_->words[bytes / kWordBytes].Load(std::memory_order_relaxed), 77u)
        << "wrote past its end";
    const std::vector<uint64_t> copy = Copy(bytes);
    const ObjectView view = ParseObject(copy.data(), key_bytes, value_bytes, checksum);
    ASSERT_TRUE(view.valid);
    EXPECT_EQ(view.key, key);
    EXPECT_EQ(view.value, value);
  }
}

// Goal: a copy with any one bit changed, with another checksum, or of other lengths is refused.
TEST_F(ObjectTest, DamagedObjectsAreRefused) {
  constexpr size_t kKeyBytes = 9;
  constexpr size_t kValueBytes = 60;  // Three bytes of padding.
  const size_t bytes = ObjectBytes(kKeyBytes, kValueBytes);
  const uint64_t checksum = WriteObject(memory_->words, 5, RandomBytes(&random_, kKeyBytes),
                                        RandomBytes(&random_, kValueBytes));
  std::vector<uint64_t> copy = Copy(bytes);
  ASSERT_TRUE(ParseObject(copy.data(), kKeyBytes, kValueBytes, checksum).valid);
  for (size_t bit = 0; bit < bytes * 8; ++bit) {
    copy[bit / 64] ^= uint64_t{1} << bit % 64;
    EXPECT_FALSE(ParseObject(copy.data(), kKeyBytes, kValueBytes, checksum).valid) << bit;
    copy[bit / 64] ^= uint64_t{1} << bit % 64;
  }
  EXPECT_FALSE(ParseObject(copy.data(), kKeyBytes, kValueBytes, checksum + 1).valid);
  EXPECT_FALSE(ParseObject(copy.data(), kKeyBytes + 1, kValueBytes - 1, checksum).valid);
  EXPECT_FALSE(ParseObject(copy.data(), kKeyBytes, kValueBytes - 1, checksum).valid);
  EXPECT_FALSE(ParseObject(copy.data(), kValueBytes, kKeyBytes, checksum).valid);
}

// Goal: the same record written again is another object: a reader with the old slot notices.
TEST_F(ObjectTest, StampsTellEqualRecordsApart) {
  const uint64_t first = WriteObject(memory_->words, 5, "key", "value");
  const uint64_t second = WriteObject(memory_->words, 6, "key", "value");
  EXPECT_NE(first, second);
  const std::vector<uint64_t> copy = Copy(ObjectBytes(3, 5));
  EXPECT_FALSE(ParseObject(copy.data(), 3, 5, first).valid);
  EXPECT_TRUE(ParseObject(copy.data(), 3, 5, second).valid);
}

// ---- Limits.

TEST(LimitsTest, SizesAreJudgedAtTheirLimits) {
  EXPECT_EQ(CheckKey("").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(CheckKey("k").ok());
  EXPECT_TRUE(CheckKey(std::string(kKeyBytesMax, 'k')).ok());
  EXPECT_EQ(CheckKey(std::string(kKeyBytesMax + 1, 'k')).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(CheckValue("").ok());
  EXPECT_TRUE(CheckValue(std::string(kValueBytesMax, 'v')).ok());
  EXPECT_EQ(CheckValue(std::string(kValueBytesMax + 1, 'v')).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace acre::kvs
