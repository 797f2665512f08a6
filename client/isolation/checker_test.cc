// Anomalies by hand: one history for each kind, and the examples of the literature, each with all that may be found
// in it and nothing else.

#include "client/isolation/checker.h"

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/optional.h"
#include "client/isolation/history.h"
#include "client/isolation/history_test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace acre::isolation {
namespace {

using testing::HasSubstr;
using testing::UnorderedElementsAreArray;

struct Case {
  std::string name;
  std::vector<Told> told;
  std::vector<std::string> findings;
  absl::optional<Level> broken;  // The weakest; none: all are kept.
};
std::ostream& operator<<(std::ostream& out, const Case& one) { return out << one.name; }

class CheckerTest : public testing::TestWithParam<Case> {};

TEST_P(CheckerTest, FindsThisAndNothingElse) {
  const Case& one = GetParam();
  const History history = HistoryOf(one.told);
  const absl::StatusOr<Report> report = Check(history);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(NamesOf(*report), UnorderedElementsAreArray(one.findings)) << ToText(*report);
  for (size_t i = 0; i < kLevels; ++i) {
    const auto level = static_cast<Level>(i);
    EXPECT_EQ(report->Keeps(level), !one.broken.has_value() || level < *one.broken)
        << NameOf(level) << "\n"
        << ToText(*report);
  }
}

std::string NameOfCase(const testing::TestParamInfo<Case>& info) { return info.param.name; }

const Level kNotRu = Level::kReadUncommitted;
const Level kNotRc = Level::kReadCommitted;
const Level kNotSi = Level::kSnapshotIsolation;
const Level kNotSer = Level::kSerializable;
const Level kNotSession = Level::kSessionSerializable;
const Level kNotStrict = Level::kStrictSerializable;
const Level kNotOpaque = Level::kOpaque;

std::vector<Case> Sound() {
  return {
      {"Nothing", {{"[]"}}, {}, {}},
      {"SerialLists",
       {At(0, 1, "[[:append x 1] [:append y 1]]"), At(2, 3, "[[:r x [1]] [:append x 2]]"),
        At(4, 5, "[[:r x [1 2]] [:r y [1]] [:append y 2] [:r y [1 2]]]")},
       {},
       {}},
      {"SerialRegisters",
       {At(0, 1, "[[:r x nil] [:w x 1] [:r x 1]]"), At(2, 3, "[[:r x 1] [:w x 2] [:w x 3]]"),
        At(4, 5, "[[:r x 3] [:r y nil]]")},
       {},
       {}},
      {"UnknownThatWasSeen",
       {Unknown("[[:append x 1] [:append y 1]]"), {"[[:r x [1]] [:r y [1]]]"}},
       {},
       {}},
      {"UnknownThatNobodySaw",
       {Unknown("[[:append x 1]]"), At(2000, 2001, "[[:r x nil]]")},
       {},
       {}},
      {"UnknownThatTookEffectLate",
       {{"[[:append x 1]]", Outcome::kUnknown, 0, 1},
        At(2, 3, "[[:r x nil]]"),
        At(4, 5, "[[:r x [1]]]")},
       {},
       {}},
      {"UnknownRegisterThatTookEffectLate",
       {{"[[:w x 1]]", Outcome::kUnknown, 0, 1}, At(2, 3, "[[:r x nil]]"), At(4, 5, "[[:r x 1]]")},
       {},
       {}},
      {"UnknownThatWasSeenByAnUnknownThatWasSeen",
       {Unknown("[[:append x 1]]"), Unknown("[[:r x [1]] [:append y 1]]"), {"[[:r y [1]]]"}},
       {},
       {}},
      {"AbortedThatSawWhatWas",
       {At(0, 1, "[[:append x 1]]"), Aborted("[[:r x [1]] [:append x 2]]"),
        At(2000, 2001, "[[:append x 3]]"), At(2002, 2003, "[[:r x [1 3]]]")},
       {},
       {}},
  };
}
INSTANTIATE_TEST_SUITE_P(Sound, CheckerTest, testing::ValuesIn(Sound()), NameOfCase);

std::vector<Case> ByThemselves() {
  return {
      {"Garbage", {{"[[:append x 1]]"}, {"[[:r x [1 7]]]"}}, {"garbage-read"}, kNotRu},
      {"GarbageInARegister", {{"[[:w x 1]]"}, {"[[:r x 7]]"}}, {"garbage-read"}, kNotRu},
      {"Duplicate", {{"[[:append x 1]]"}, {"[[:r x [1 1]]]"}}, {"duplicate-elements"}, kNotRu},
      {"TwoOrders",
       {{"[[:append x 1]]"}, {"[[:append x 2]]"}, {"[[:r x [1 2]]]"}, {"[[:r x [2 1]]]"}},
       {"incompatible-order"},
       kNotRu},
      {"OneOfTwoAppendsMissing",
       {{"[[:append x 1] [:append x 2]]"}, {"[[:r x [2]]]"}},
       {"incompatible-order"},
       kNotRu},
      {"AppendsOfOneSwapped",
       {{"[[:append x 1] [:append x 2]]"}, {"[[:r x [2 1]]]"}},
       {"incompatible-order", "G1b"},
       kNotRu},
      {"OwnAppendMissing", {{"[[:append x 1] [:r x nil]]"}}, {"internal"}, kNotRu},
      {"OwnWriteMissing", {{"[[:w x 1] [:r x nil]]"}}, {"internal"}, kNotRu},
      {"OwnAppendMissingLater",
       {{"[[:append x 1]]"}, {"[[:r x [1]] [:append x 2] [:r x [1]]]"}},
       {"internal"},
       kNotRu},
      {"OwnAppendTooEarly", {{"[[:r x [1]] [:append x 1]]"}}, {"internal"}, kNotRu},
      {"OwnWriteTooEarly", {{"[[:r x 1] [:w x 1]]"}}, {"internal"}, kNotRu},
      {"OwnFirstWriteSeenLast", {{"[[:w x 1] [:w x 2] [:r x 1]]"}}, {"internal"}, kNotRu},
      {"ReadsDiffer",
       {{"[[:append x 1]]"}, {"[[:append x 2]]"}, {"[[:r x [1]] [:r x [1 2]]]"}},
       {"unrepeatable-read", "G-single"},
       kNotSi},
      {"RegisterReadsDiffer",
       {{"[[:w x 1]]"}, {"[[:r x nil] [:r x 1]]"}},
       {"unrepeatable-read", "G-single"},
       kNotSi},
      {"AbortedRead", {Aborted("[[:append x 1]]"), {"[[:r x [1]]]"}}, {"G1a"}, kNotRc},
      {"AbortedReadOfARegister", {Aborted("[[:w x 1]]"), {"[[:r x 1]]"}}, {"G1a"}, kNotRc},
      {"IntermediateRead",
       {{"[[:append x 1] [:append x 2]]"}, {"[[:r x [1]]]"}, {"[[:r x [1 2]]]"}},
       {"G1b"},
       kNotRc},
      {"IntermediateReadOfTheLast",
       {{"[[:append x 1] [:append x 2]]"}, {"[[:r x [1]]]"}},
       {"G1b"},
       kNotRc},
      {"IntermediateReadOfARegister", {{"[[:w x 1] [:w x 2]]"}, {"[[:r x 1]]"}}, {"G1b"}, kNotRc},
      {"DirtyUpdate",
       {Aborted("[[:append x 1]]"), {"[[:append x 2]]"}, {"[[:r x [1 2]]]"}},
       {"G1a", "dirty-update"},
       kNotRc},
      {"DirtyUpdateOfARegister",
       {Aborted("[[:w x 1]]"), {"[[:r x 1] [:w x 2]]"}},
       {"G1a", "dirty-update"},
       kNotRc},
      {"AbortedAppendsAreNoOrder",  // Both read what never was, and that they differ in it is no more.
       {Aborted("[[:append x 1]]"), {"[[:append x 2]]"}, {"[[:r x [1]]]"}, {"[[:r x [2]]]"}},
       {"G1a"},
       kNotRc},
      {"LostUpdate",
       {{"[[:r x nil] [:append x 1]]"}, {"[[:r x nil] [:append x 2]]"}, {"[[:r x [2]]]"}},
       {"lost-update", "G-single"},
       kNotSi},
      {"LostUpdateWithoutALaterRead",
       {{"[[:w x 1]]"}, {"[[:r x 1] [:w x 2]]"}, {"[[:r x 1] [:w x 3]]"}},
       {"lost-update", "G2-item"},
       kNotSi},
  };
}
INSTANTIATE_TEST_SUITE_P(ByThemselves, CheckerTest, testing::ValuesIn(ByThemselves()), NameOfCase);

std::vector<Case> Cycles() {
  return {
      {"G0",
       {{"[[:append x 1] [:append y 1]]"},
        {"[[:append x 2] [:append y 2]]"},
        {"[[:r x [1 2]]]"},
        {"[[:r y [2 1]]]"}},
       {"G0"},
       kNotRu},
      {"G0OfOneKey",  // One transaction's appends on both sides of another's.
       {{"[[:append x 1] [:append x 3]]"}, {"[[:append x 2]]"}, {"[[:r x [1 2 3]]]"}},
       {"G0"},
       kNotRu},
      {"G1c", {{"[[:append x 1] [:r y [1]]]"}, {"[[:append y 1] [:r x [1]]]"}}, {"G1c"}, kNotRc},
      {"G1cOfRegisters", {{"[[:w x 1] [:r y 1]]"}, {"[[:w y 1] [:r x 1]]"}}, {"G1c"}, kNotRc},
      {"G1cOfThree",
       {{"[[:w x 1] [:r z 1]]"}, {"[[:w y 1] [:r x 1]]"}, {"[[:w z 1] [:r y 1]]"}},
       {"G1c"},
       kNotRc},
      {"ReadSkew",
       {{"[[:append x 1] [:append y 1]]"}, {"[[:r x [1]] [:r y nil]]"}},
       {"G-single"},
       kNotSi},
      {"ReadSkewOfRegisters",
       {{"[[:w x 1] [:w y 1]]"}, {"[[:r x 1] [:r y nil]]"}},
       {"G-single"},
       kNotSi},
      {"ReadSkewByAnUnknown",  // It was seen, so it did all that it wanted to do.
       {Unknown("[[:append x 1] [:append y 1]]"), {"[[:r x [1]] [:r y nil]]"}},
       {"G-single"},
       kNotSi},
      {"LongFork",
       {{"[[:append x 1]]"},
        {"[[:append y 1]]"},
        {"[[:r x [1]] [:r y nil]]"},
        {"[[:r x nil] [:r y [1]]]"}},
       {"G-nonadjacent"},
       kNotSi},
      {"LongForkOfRegisters",
       {{"[[:w x 1]]"}, {"[[:w y 1]]"}, {"[[:r x 1] [:r y nil]]"}, {"[[:r x nil] [:r y 1]]"}},
       {"G-nonadjacent"},
       kNotSi},
      {"LongForkTiedToAWriteSkew",  // The shorter cycle must not hide the worse one.
       {{"[[:append x 1]]"},
        {"[[:append y 1]]"},
        {"[[:r x [1]] [:r y nil] [:r p nil] [:append q 1]]"},
        {"[[:r x nil] [:r y [1]]]"},
        {"[[:r q nil] [:append p 1]]"}},
       {"G-nonadjacent", "G2-item"},
       kNotSi},
      {"WriteSkew",
       {{"[[:r x nil] [:r y nil] [:append x 1]]"}, {"[[:r x nil] [:r y nil] [:append y 1]]"}},
       {"G2-item"},
       kNotSer},
      {"WriteSkewOfRegisters",
       {{"[[:r x nil] [:w y 1]]"}, {"[[:r y nil] [:w x 1]]"}},
       {"G2-item"},
       kNotSer},
      {"WriteSkewOfThree",
       {{"[[:r x nil] [:append y 1]]"},
        {"[[:r y nil] [:append z 1]]"},
        {"[[:r z nil] [:append x 1]]"}},
       {"G2-item"},
       kNotSer},
  };
}
INSTANTIATE_TEST_SUITE_P(Cycles, CheckerTest, testing::ValuesIn(Cycles()), NameOfCase);

std::vector<Case> InTime() {
  return {
      {"StaleReadOfOnesOwn",
       {At(0, 1, "[[:append x 1]]", 7), At(2, 3, "[[:r x nil]]", 7)},
       {"G-single-process"},
       kNotSession},
      {"StaleReadBehindAnUnknownOfOnesOwn",
       {At(0, 1, "[[:append x 1]]", 7),
        {"[[:append z 1]]", Outcome::kUnknown, 2, 3, 7},
        At(4, 6, "[[:r x nil]]", 7),
        At(5, 7, "[[:r z [1]]]")},
       {"G-single-process"},
       kNotSession},
      {"StaleRead",
       {At(0, 1, "[[:append x 1]]"), At(2, 3, "[[:r x nil]]")},
       {"G-single-realtime"},
       kNotStrict},
      {"StaleReadOfALostAppend",  // Somebody saw more, but never that one.
       {At(0, 1, "[[:append x 1]]"), At(2, 3, "[[:append x 2]]"), At(4, 5, "[[:r x [2]]]")},
       {"G0-realtime"},
       kNotStrict},
      {"WritesAgainstTime",
       {At(0, 1, "[[:append x 1]]"),
        At(2, 3, "[[:append x 2]]"),
        {"[[:r x [2 1]]]", Outcome::kCommitted, 4, 5}},
       {"G0-realtime"},
       kNotStrict},
      {"WritesAgainstAProcess",
       {At(0, 1, "[[:append x 1]]", 7), At(2, 3, "[[:append x 2]]", 7), At(4, 5, "[[:r x [2 1]]]")},
       {"G0-process"},
       kNotSession},
      {"ReadFromTheFuture",
       {At(0, 1, "[[:r x [1]]]"), At(2, 3, "[[:append x 1]]")},
       {"G1c-realtime"},
       kNotStrict},
      {"ReadFromOnesOwnFuture",
       {At(0, 1, "[[:r x 1]]", 7), At(2, 3, "[[:w x 1]]", 7)},
       {"G1c-process"},
       kNotSession},
      {"ReadFromTheFutureOfAnUnknown",
       {At(0, 1, "[[:r x [1]]]"), {"[[:append x 1]]", Outcome::kUnknown, 2, 3}},
       {"G1c-realtime"},
       kNotStrict},
      {"ReadsThatMissOneAfterTheOther",
       {At(1, 2, "[[:append z 1]]"), At(3, 9, "[[:r x nil]]"),
        At(0, 8, "[[:append x 1] [:r z nil]]")},
       {"G2-item-realtime"},
       kNotStrict},
      {"ReadsThatMissApart",
       {At(2, 3, "[[:append z 1]]"), At(4, 9, "[[:r x nil]]"), At(0, 8, "[[:append x 1]]"),
        At(1, 7, "[[:r x [1]] [:r z nil]]")},
       {"G-nonadjacent-realtime"},
       kNotStrict},
      {"StaleRegister",  // That 2 came after 1 is known by time only, and so is the contrary.
       {At(0, 1, "[[:w x 1]]"), At(2, 3, "[[:w x 2]]"), At(4, 5, "[[:r x 1]]")},
       {"G0-realtime", "G-single-realtime"},
       kNotStrict},
      {"RegisterThereAndBack",  // The writes overlap; those who met them do not.
       {At(0, 10, "[[:w x 1]]"), At(1, 11, "[[:w x 2]]"), At(12, 13, "[[:r x 1]]"),
        At(14, 15, "[[:r x 2]]"), At(16, 17, "[[:r x 1]]")},
       {"G0-realtime", "G-single-realtime"},
       kNotStrict},
      {"RegisterThatVanishes",
       {At(0, 1, "[[:w x 1]]"), At(2, 3, "[[:r x nil]]")},
       {"G-single-realtime"},
       kNotStrict},
  };
}
INSTANTIATE_TEST_SUITE_P(InTime, CheckerTest, testing::ValuesIn(InTime()), NameOfCase);

std::vector<Case> OfUncommitted() {
  return {
      {"AbortedSawASkew",
       {{"[[:append x 1] [:append y 1]]"}, Aborted("[[:r x [1]] [:r y []]]")},
       {"uncommitted-G-single"},
       kNotOpaque},
      {"AbortedSawARegisterSkew",
       {At(0, 1, "[[:w x 1] [:w y 1]]"),
        {"[[:r x 1] [:w x 2] [:r y 1] [:w y 2]]"},
        {"[[:r x 1] [:r y 2]]", Outcome::kAborted, 4000, 4001}},
       {"uncommitted-G-single"},
       kNotOpaque},
      {"UnknownSawASkew",
       {{"[[:append x 1] [:append y 1]]"}, Unknown("[[:r x [1]] [:r y []] [:append z 1]]")},
       {"uncommitted-G-single"},
       kNotOpaque},
      {"AbortedSawOnlyTheStale",
       {At(0, 1, "[[:append x 1]]"), {"[[:r x []]]", Outcome::kAborted, 2, 3}},
       {"uncommitted-G-single-realtime"},
       kNotOpaque},
      {"AbortedSawAborted",
       {Aborted("[[:append x 1]]"), Aborted("[[:r x [1]]]")},
       {"uncommitted-G1a"},
       kNotOpaque},
      {"AbortedSawAnIntermediate",
       {{"[[:w x 1] [:w x 2]]"}, Aborted("[[:r x 1]]")},
       {"uncommitted-G1b"},
       kNotOpaque},
      {"AbortedSawNotItsOwn",
       {Aborted("[[:append x 1] [:r x []]]")},
       {"uncommitted-internal"},
       kNotOpaque},
      {"AbortedSawAnotherOrder",
       {{"[[:append x 1]]"}, {"[[:append x 2]]"}, {"[[:r x [1 2]]]"}, Aborted("[[:r x [2 1]]]")},
       {"uncommitted-incompatible-order"},
       kNotOpaque},
      {"OneAbortedAndOneCommittedSawALongFork",
       {{"[[:append x 1]]"},
        {"[[:append y 1]]"},
        {"[[:r x [1]] [:r y nil]]"},
        Aborted("[[:r x []] [:r y [1]]]")},
       {"uncommitted-G-nonadjacent"},
       kNotOpaque},
  };
}
INSTANTIATE_TEST_SUITE_P(OfUncommitted, CheckerTest, testing::ValuesIn(OfUncommitted()),
                         NameOfCase);

// Examples that others have written about. Names of keys and values are ours.
std::vector<Case> FromTheLiterature() {
  return {
      {"AdyaWriteCycle",
       {{"[[:append x 1] [:append y 1]]"},
        {"[[:append x 2] [:append y 2]]"},
        {"[[:r x [1 2]] [:r y [2 1]]]"}},
       {"G0"},
       kNotRu},
      {"AdyaCircularFlow", {{"[[:w x 1] [:r y 2]]"}, {"[[:w y 2] [:r x 1]]"}}, {"G1c"}, kNotRc},
      {"AdyaWriteSkew",  // Two accounts that together must not be overdrawn.
       {At(0, 1, "[[:w x 5] [:w y 5]]"), At(2, 8, "[[:r x 5] [:r y 5] [:w x -4]]"),
        At(3, 9, "[[:r x 5] [:r y 5] [:w y -4]]")},
       {"G2-item"},
       kNotSer},
      {"BerensonReadSkew",  // A5A.
       {At(0, 1, "[[:w x 50] [:w y 50]]"), At(2, 8, "[[:r x 50] [:r y 90]]"),
        At(3, 7, "[[:r x 50] [:w x 10] [:r y 50] [:w y 90]]")},
       {"G-single"},
       kNotSi},
      {"BerensonLostUpdate",  // P4: one adds 30, the other 20.
       {At(0, 1, "[[:w x 100]]"), At(2, 8, "[[:r x 100] [:w x 130]]"),
        At(3, 9, "[[:r x 100] [:w x 120]]"), At(10, 11, "[[:r x 130]]")},
       {"lost-update", "G2-item"},
       kNotSi},
      {"FeketeReadOnlyAnomaly",  // A withdrawal with a fee, a deposit, and a statement that shows one of them.
       {{"[[:r x nil] [:r y nil] [:append x -11]]"},
        {"[[:r y nil] [:append y 20]]"},
        {"[[:r x nil] [:r y [20]]]"}},
       {"G2-item"},
       kNotSer},
      {"BailisFracturedRead",
       {At(0, 1, "[[:w x 1] [:w y 1]]"), At(2, 7, "[[:r x 1] [:w x 2] [:r y 1] [:w y 2]]"),
        At(3, 8, "[[:r x 2] [:r y 1]]")},
       {"G-single"},
       kNotSi},
      {"LloydCausality",  // An answer is seen, and not what it answers.
       {{"[[:append x 1]]"}, {"[[:r x [1]] [:append y 1]]"}, {"[[:r y [1]] [:r x nil]]"}},
       {"G-single"},
       kNotSi},
      {"ElleTiDB",  // A retry wrote by what an earlier attempt had read.
       {At(0, 1, "[[:append x 1] [:append x 2]]"),
        At(2, 8, "[[:r x [1 2]] [:append y 1] [:append x 4]]"), At(3, 7, "[[:append x 3]]"),
        At(9, 10, "[[:r x [1 2 3 4]]]")},
       {"G-single"},
       kNotSi},
      {"ElleYugaByte",  // Several anti-dependencies, while a leader moved.
       {{"[[:append y 1]]"}, {"[[:r y [1]] [:r z nil]]"}, {"[[:append z 1] [:r y nil]]"}},
       {"G2-item"},
       kNotSer},
      {"ElleFaunaDB", {{"[[:append x 6] [:r x nil]]"}}, {"internal"}, kNotRu},
      {"ElleDgraph",  // A register that was written comes back absent, while records moved.
       {At(0, 1, "[[:r x nil] [:w x 1]]"), At(2, 3, "[[:r x 1] [:w y 1]]"),
        At(4, 5, "[[:r x nil] [:r y 1]]")},
       {"G-single"},
       kNotSi},
  };
}
INSTANTIATE_TEST_SUITE_P(FromTheLiterature, CheckerTest, testing::ValuesIn(FromTheLiterature()),
                         NameOfCase);

TEST(CheckerRefusalTest, WhatCannotBeJudgedIsSaid) {
  const auto message = [](const std::vector<Told>& told) {
    return std::string(Check(HistoryOf(told)).status().message());
  };
  EXPECT_EQ(message({{"[[:append x 1]]"}, Aborted("[[:append x 1]]")}),
            "the transaction invoked at 101 writes 1 to key x again: a reader could not know whose "
            "write it saw");
  EXPECT_EQ(message({{"[[:append x 1]]"}, {"[[:w x 2]]"}}),
            "the transaction invoked at 101 takes key x for a register, and others do not");
  EXPECT_EQ(message({{"[[:r x [1]]]"}, {"[[:w x 1]]"}}),
            "the transaction invoked at 101 takes key x for a register, and others do not");
}

TEST(CheckerTextTest, ACycleIsToldInSentences) {
  const absl::StatusOr<Report> report = Check(
      HistoryOf({At(0, 4, "[[:append x 1] [:append y 1]]"), At(1, 3, "[[:r x [1]] [:r y nil]]")}));
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(ToText(*report),
            "G-single: a circle in which one read missed a write. It breaks: snapshot isolation.\n"
            "  T1  process 101, from 1 to 3, committed: [[:r x [1]] [:r y nil]]\n"
            "  T0  process 100, from 0 to 4, committed: [[:append x 1] [:append y 1]]\n"
            "  T1 before T0: T1 saw [:r y nil], not yet [:append y 1] of T0.\n"
            "  T0 before T1: T1 saw [:r x [1]], and so what T0 did: [:append x 1].\n"
            "  So T1 came before itself.\n"
            "\n"
            "  kept    read uncommitted\n"
            "  kept    read committed\n"
            "  BROKEN  snapshot isolation\n"
            "  BROKEN  serializable\n"
            "  BROKEN  session serializable\n"
            "  BROKEN  strictly serializable\n"
            "  BROKEN  opaque\n");
}

}  // namespace
}  // namespace acre::isolation
