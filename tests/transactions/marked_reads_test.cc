// Reads that give marks, and their validation, by both readers: what a mark is, what makes it fall, what it costs.

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kvs/limits.h"
#include "tests/transactions/home_scene.h"

namespace acre::kvs {
namespace {

constexpr uint64_t kPatienceNs = 1'000'000;

enum class Reader { kMapped, kRemote };

class MarkedReadsTest : public testing::TestWithParam<Reader>, public HomeScene {
 protected:
  struct Answer {
    absl::Status status;
    std::string value;
    ReadMark mark;
  };

  void SetUp() override { ASSERT_NO_FATAL_FAILURE(Open()); }

  bool is_mapped() const { return GetParam() == Reader::kMapped; }
  uint64_t deadline_ns() { return scheduler().NowNs() + kPatienceNs; }
  uint64_t NoDeadlineNs() const { return TestReaders::kNoDeadlineNs; }

  // All with one call.
  std::vector<Answer> ReadAll(const std::vector<std::string>& keys, uint64_t deadline_ns) {
    std::vector<Answer> answers(keys.size());
    std::vector<MarkedGet> gets(keys.size());
    for (size_t i = 0; i < keys.size(); ++i) gets[i] = {keys[i], &answers[i].value, {}, {}};
    if (is_mapped()) {
      readers().mapped()->MultiGetMarked(absl::MakeSpan(gets), kPatienceNs);
    } else {
      scheduler().RunUntilDone(
          readers().remote()->MultiGetMarked(absl::MakeSpan(gets), deadline_ns));
    }
    for (size_t i = 0; i < keys.size(); ++i) {
      answers[i].status = gets[i].status;
      answers[i].mark = gets[i].mark;
    }
    return answers;
  }
  Answer ReadOne(const std::string& key, uint64_t deadline_ns) {
    if (!is_mapped()) return ReadAll({key}, deadline_ns)[0];
    Answer answer;
    answer.status = readers().mapped()->GetMarked(key, &answer.value, &answer.mark, kPatienceNs);
    return answer;
  }
  // The index of the first that does not stand, -1 if all do, -2 if there is no answer.
  int FirstChanged(const std::vector<ReadMark>& marks) {
    absl::optional<size_t> changed = 12345;
    const absl::Status status = is_mapped() ? readers().mapped()->Validate(marks, &changed)
                                            : scheduler().RunUntilDone(readers().remote()->Validate(
                                                  marks, &changed, NoDeadlineNs()));
    EXPECT_TRUE(status.ok()) << status;
    if (!status.ok()) return -2;
    return changed.has_value() ? static_cast<int>(*changed) : -1;
  }
  std::vector<ReadMark> MarksOf(const std::vector<std::string>& keys) {
    std::vector<ReadMark> marks;
    for (const Answer& answer : ReadAll(keys, NoDeadlineNs())) {
      EXPECT_TRUE(answer.status.ok() || absl::IsNotFound(answer.status)) << answer.status;
      marks.push_back(answer.mark);
    }
    EXPECT_EQ(FirstChanged(marks), -1);
    return marks;
  }
  void ExpectAsWalked(const std::string& key, const Answer& answer) {
    const MarkedRead walked = Read(key);
    EXPECT_EQ(answer.status.ok(), walked.found) << answer.status;
    EXPECT_TRUE(walked.found || absl::IsNotFound(answer.status)) << answer.status;
    if (walked.found) {
      EXPECT_EQ(answer.value, walked.value);
    }
    EXPECT_EQ(answer.mark.word, walked.mark.word) << key;
    EXPECT_EQ(answer.mark.bits, walked.mark.bits) << key;
  }
  void Delete(const std::string& key) {
    const absl::Status status = scheduler().RunUntilDone(writer().Delete(key));
    ASSERT_TRUE(status.ok()) << status;
    model().erase(key);
  }
  const std::string large_ = std::string(5000, 'x');
};

// Goal: inline and out of line, by whole words and not, in both buckets and in a chain, and what is missing there: the
// mark is that of the slot, or of the home.
TEST_P(MarkedReadsTest, MarksAreThoseOfAPlainWalk) {
  std::vector<std::string> keys;
  for (const uint64_t home : {5, 6, 20, 40}) {
    for (std::string& key : KeysOf(home, 14)) keys.push_back(std::move(key));
  }
  for (std::string& key : KeysOfHome("aligned_", 41, segment().layout().buckets_count, 3)) {
    key.resize((key.size() + 7) / 8 * 8, ' ');
    keys.push_back(std::move(key));
  }
  const auto [one, other] = KeysOfOneHash(77);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (i % 5 == 3 || (i >= 28 && i < 42)) continue;
    Put(keys[i], i % 3 == 0 ? large_ + keys[i] : absl::StrCat("v", i));
  }
  keys.push_back(one);
  keys.push_back(other);
  Put(other, large_);
  Put(one, large_ + "one");
  keys.push_back("nowhere");
  ASSERT_GT(table()->Stats().overflow_buckets, 0u);
  const std::vector<Answer> answers = ReadAll(keys, NoDeadlineNs());
  for (size_t i = 0; i < keys.size(); ++i) {
    ExpectAsWalked(keys[i], answers[i]);
    ExpectAsWalked(keys[i], ReadOne(keys[i], NoDeadlineNs()));
  }
}

TEST_P(MarkedReadsTest, KeysThatCannotBeAreTold) {
  Put("key", "value");
  const std::vector<std::string> keys = {"key", "", "key", std::string(kKeyBytesMax + 1, 'k'),
                                         "key"};
  const std::vector<Answer> answers = ReadAll(keys, NoDeadlineNs());
  for (const size_t i : {0, 2, 4}) ExpectAsWalked("key", answers[i]);
  for (const size_t i : {1, 3}) EXPECT_TRUE(absl::IsInvalidArgument(answers[i].status));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadOne("", NoDeadlineNs()).status));
}

// Goal: whatever a plain writer does to one record shows at its mark, and at no other hit's.
TEST_P(MarkedReadsTest, EveryChangeOfARecordShows) {
  std::vector<std::string> keys = KeysOf(5, 8);  // Six in two buckets, two in the chain.
  for (size_t i = 0; i < keys.size(); ++i) Put(keys[i], i % 2 == 0 ? "old" : large_);
  for (size_t i = 0; i < keys.size(); ++i) {
    // Also if it is the value that it had; and from inline to out of line and back.
    for (const std::string& value : {model()[keys[i]], large_, std::string("new")}) {
      const std::vector<ReadMark> marks = MarksOf(keys);
      Put(keys[i], value);
      EXPECT_EQ(FirstChanged(marks), static_cast<int>(i));
      std::vector<ReadMark> others = marks;
      others.erase(others.begin() + static_cast<ptrdiff_t>(i));
      EXPECT_EQ(FirstChanged(others), -1);
    }
  }
  // Gone, and back as it was, in the very place.
  const std::vector<ReadMark> marks = MarksOf({keys[7], keys[6]});
  const std::string value = model()[keys[6]];
  Delete(keys[6]);
  EXPECT_EQ(FirstChanged(marks), 1);
  Put(keys[6], value);
  EXPECT_EQ(FirstChanged(marks), 1);
}

// Goal: a record that moves is taken for changed, by displacement and by a chain that is tidied.
TEST_P(MarkedReadsTest, MovesShow) {
  const std::vector<std::string> keys = KeysOf(5, 7);
  const std::vector<std::string> next = KeysOf(6, 3);
  for (size_t i = 0; i < 3; ++i) Put(keys[i], "own");
  for (const std::string& key : next) Put(key, "next");
  std::vector<ReadMark> marks = MarksOf(next);
  const std::vector<ReadMark> own = MarksOf({keys[0], keys[1], keys[2]});
  Put(keys[3], "displaces");
  ASSERT_EQ(table()->Stats().displacements, 1u);
  int moved = 0;
  for (size_t i = 0; i < 3; ++i) {
    const bool has_moved = Read(next[i]).mark.word != marks[i].word;
    EXPECT_EQ(FirstChanged({marks[i]}), has_moved ? 0 : -1);
    moved += has_moved ? 1 : 0;
  }
  EXPECT_EQ(moved, 1);
  EXPECT_EQ(FirstChanged(own), -1);

  const std::vector<std::string> chained = KeysOf(30, 7);
  for (const std::string& key : chained) Put(key, "value");
  ASSERT_EQ(table()->Stats().overflow_buckets, 1u);
  marks = MarksOf(chained);
  Delete(chained[1]);
  ASSERT_EQ(table()->Stats().overflow_buckets, 0u);
  EXPECT_EQ(FirstChanged(marks), 1);
  EXPECT_EQ(FirstChanged({marks[0], marks[2], marks[3], marks[4], marks[5]}), -1);
  EXPECT_EQ(FirstChanged({marks[6]}), 0);
  ExpectSound();
}

// Goal: a miss falls by what is inserted, deleted or moved in its home, and by nothing else.
TEST_P(MarkedReadsTest, MissesFallByTheirHome) {
  const std::vector<std::string> keys = KeysOf(5, 9);
  const std::vector<std::string> elsewhere = KeysOf(6, 4);
  const auto miss = [this, &keys] { return MarksOf({keys[8]}); };
  std::vector<ReadMark> mark = miss();
  for (size_t i = 0; i < 8; ++i) {
    Put(keys[i], "value");
    EXPECT_EQ(FirstChanged(mark), 0) << i;
    mark = miss();
  }
  Put(keys[0], "an update");
  Put(elsewhere[0], "another home");
  EXPECT_EQ(FirstChanged(mark), -1);
  Delete(keys[7]);
  EXPECT_EQ(FirstChanged(mark), 0);
  mark = miss();
  Put(keys[8], "the very key");
  EXPECT_EQ(FirstChanged(mark), 0);
  Delete(keys[8]);
  EXPECT_EQ(FirstChanged(mark), 0);
}

// Goal: what a transaction has locked does not stand, and cannot be read; after an abort it stands again, since it was
// not touched, and after a commit it does not.
TEST_P(MarkedReadsTest, LocksShowAndAbortsDoNot) {
  const std::vector<std::string> keys = KeysOf(5, 4);
  Put(keys[0], "updated");
  Put(keys[1], large_);
  Put(keys[3], "bystander");
  const std::vector<ReadMark> marks = MarksOf({keys[3], keys[0], keys[1], keys[2]});
  for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
    const std::vector<TransactionWrite> writes = {BlindPut(keys[0], large_), BlindDelete(keys[1]),
                                                  BlindPut(keys[2], "inserted")};
    ASSERT_TRUE(home().Lock(Id(sequence), {}, writes, {}).is_yes());
    EXPECT_EQ(FirstChanged(marks), 1);
    EXPECT_EQ(FirstChanged({marks[2]}), 0);
    EXPECT_EQ(FirstChanged({marks[3]}), 0);
    const std::vector<Answer> locked = ReadAll({keys[3], keys[0], keys[1], keys[2]}, deadline_ns());
    EXPECT_TRUE(locked[0].status.ok()) << locked[0].status;
    EXPECT_EQ(locked[0].value, "bystander");
    EXPECT_EQ(locked[0].mark.bits, marks[0].bits);
    for (size_t i = 1; i < 4; ++i) {
      EXPECT_TRUE(absl::IsUnavailable(locked[i].status)) << locked[i].status;
    }
    EXPECT_TRUE(absl::IsUnavailable(ReadOne(keys[0], deadline_ns()).status));
    const bool commits = sequence == 3;
    ASSERT_TRUE((commits ? home().Commit(Id(sequence)) : home().Abort(Id(sequence))).ok());
    EXPECT_EQ(FirstChanged(marks), commits ? 1 : -1);
    EXPECT_EQ(FirstChanged({marks[2]}), commits ? 0 : -1);
    EXPECT_EQ(FirstChanged({marks[3]}), commits ? 0 : -1);
  }
  EXPECT_EQ(FirstChanged({marks[0]}), -1);
}

// Goal: any number of marks; the first that fell is named.
TEST_P(MarkedReadsTest, ManyMarks) {
  EXPECT_EQ(FirstChanged({}), -1);
  const std::vector<std::string> keys = KeysOf(5, 3);
  for (const std::string& key : keys) Put(key, "value");
  const std::vector<ReadMark> few = MarksOf(keys);
  std::vector<ReadMark> marks(700, few[0]);
  for (const size_t at : {699, 650, 256, 255, 128, 127, 1, 0}) {
    marks[at] = few[1];
    Put(keys[1], "changed");
    EXPECT_EQ(FirstChanged(marks), static_cast<int>(at));
  }
}

// Goal: a mark that no read has made is our own bug.
TEST_P(MarkedReadsTest, ForeignMarksAreNotTaken) {
  Put("key", "value");
  const ReadMark good = MarksOf({"key"})[0];
  const SegmentLayout& layout = segment().layout();
  const auto end = static_cast<uint32_t>(layout.heap_offset_bytes + layout.heap_bytes);
  ReadMark last = good;
  last.word = GlobalAddress(good.word.region_id(), end - 8);
  EXPECT_EQ(FirstChanged({last}), 0);
  for (const GlobalAddress word :
       {GlobalAddress(), GlobalAddress(good.word.region_id() + 1, good.word.offset_bytes()),
        GlobalAddress(good.word.region_id(), good.word.offset_bytes() + 4),
        GlobalAddress(good.word.region_id(), 64), GlobalAddress(good.word.region_id(), end)}) {
    ReadMark bad = good;
    bad.word = word;
    EXPECT_DEATH((void)FirstChanged({good, bad}), "which no read of this server has made");
  }
}

INSTANTIATE_TEST_SUITE_P(Readers, MarkedReadsTest,
                         testing::Values(Reader::kMapped, Reader::kRemote), [](const auto& reader) {
                           return reader.param == Reader::kMapped ? "Mapped" : "Remote";
                         });

// Goal: n hits are n READs and one doorbell, and so are their validations.
class MarkedReadsBudgetTest : public testing::Test, public HomeScene {};

TEST_F(MarkedReadsBudgetTest, OneReadEachAndOneDoorbell) {
  constexpr size_t kCount = 16;
  ASSERT_NO_FATAL_FAILURE(Open());
  std::vector<std::string> keys;
  std::vector<std::string> values(kCount);
  std::vector<MarkedGet> gets(kCount);
  std::vector<ReadMark> marks;
  for (size_t i = 0; i < kCount; ++i) keys.push_back(KeysOf(2 * i, 1)[0]);
  for (size_t i = 0; i < kCount; ++i) {
    Put(keys[i], "inline");
    gets[i] = {keys[i], &values[i], {}, {}};
  }
  transport::QueuePair* const queue_pair = readers().node().queue_pair.get();
  const auto spent = [queue_pair, before = queue_pair->verbs()] {
    transport::VerbCounters verbs = queue_pair->verbs();
    verbs -= before;
    return verbs;
  };
  const transport::VerbCounters one_each = {.reads = kCount, .doorbells = 1, .round_trips = 1};
  scheduler().RunUntilDone(
      readers().remote()->MultiGetMarked(absl::MakeSpan(gets), TestReaders::kNoDeadlineNs));
  EXPECT_EQ(spent(), one_each);
  for (const MarkedGet& get : gets) {
    EXPECT_TRUE(get.status.ok()) << get.status;
    marks.push_back(get.mark);
  }
  absl::optional<size_t> changed;
  EXPECT_TRUE(
      scheduler()
          .RunUntilDone(readers().remote()->Validate(marks, &changed, TestReaders::kNoDeadlineNs))
          .ok());
  transport::VerbCounters twice = one_each;
  twice += one_each;
  EXPECT_EQ(spent(), twice);
  EXPECT_EQ(readers().remote()->stats().reads, kCount);
  EXPECT_EQ(readers().remote()->stats().validations, kCount);
}

}  // namespace
}  // namespace acre::kvs
