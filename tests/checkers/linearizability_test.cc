// Histories of one key, written by hand: what is legal, and each kind of violation that the checker
// must find.

#include "tests/checkers/linearizability.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/checkers/history.h"
#include "tests/checkers/history_test_util.h"

namespace acre::checkers {
namespace {

using testing::HasSubstr;

struct Case {
  const char* name;
  const char* lines;  // Of home 0; `k` is the key.
  const char* why;    // Of a violation: what the words about it say. Else null.
};

constexpr Case kLegal[] = {
    {"nothing", "", nullptr},
    {"absent at first", R"(c1 h0 1 2 ok get "k" absent)", nullptr},
    {"one after the other", R"(
c1 h0 1 2 ok put "k" "a"
c1 h0 3 4 ok get "k" "a"
c1 h0 5 6 ok delete "k" found
c1 h0 7 8 ok delete "k" missing
c1 h0 9 10 ok get "k" absent)",
     nullptr},
    {"a Get beside a Put sees either", R"(
c1 h0 1 9 ok put "k" "a"
c2 h0 2 3 ok get "k" absent
c3 h0 4 5 ok get "k" "a"
c2 h0 6 7 ok get "k" "a")",
     nullptr},
    {"touching at one moment is overlapping", R"(
c1 h0 1 2 ok put "k" "a"
c2 h0 2 3 ok get "k" absent)",
     nullptr},
    {"an unknown Put shows late", R"(
c1 h0 1 2 unknown put "k" "a"
c2 h0 3 4 ok get "k" absent
c2 h0 5 6 ok put "k" "b"
c2 h0 7 8 ok get "k" "b"
c2 h0 9 10 ok get "k" "a")",
     nullptr},
    {"an unknown Put never shows", R"(
c1 h0 1 - unknown put "k" "a"
c2 h0 3 4 ok get "k" absent
c2 h0 9 10 ok delete "k" missing)",
     nullptr},
    {"an unknown Put is found by a Delete", R"(
c1 h0 1 - unknown put "k" "a"
c2 h0 3 4 ok get "k" absent
c2 h0 9 10 ok delete "k" found)",
     nullptr},
    {"an unknown Delete shows late", R"(
c1 h0 1 2 ok put "k" "a"
c1 h0 3 - unknown delete "k"
c2 h0 5 6 ok get "k" "a"
c2 h0 7 8 ok get "k" absent)",
     nullptr},
    {"what failed did not happen", R"(
c1 h0 1 2 ok put "k" "a"
c1 h0 3 4 failed put "k" "b"
c1 h0 5 6 failed delete "k"
c1 h0 7 8 failed get "k"
c2 h0 9 10 ok get "k" "a")",
     nullptr},
    {"the same value twice", R"(
c1 h0 1 2 ok put "k" "a"
c1 h0 3 4 ok put "k" "b"
c2 h0 5 6 ok get "k" "b"
c1 h0 7 8 ok put "k" "a"
c2 h0 9 10 ok get "k" "a")",
     nullptr},
    {"a cut empties the key", R"(
c1 h0 1 2 ok put "k" "a"
cut h0 5
c2 h0 6 7 ok get "k" absent
c2 h0 8 9 ok put "k" "b"
c2 h0 10 11 ok get "k" "b")",
     nullptr},
    {"a Get that spans a cut sees the old incarnation", R"(
c1 h0 1 2 ok put "k" "a"
c2 h0 3 9 ok get "k" "a"
cut h0 5
c3 h0 6 7 ok get "k" absent)",
     nullptr},
    {"a Get that spans a cut sees the new incarnation", R"(
c1 h0 1 2 ok put "k" "a"
c2 h0 3 9 ok get "k" "b"
cut h0 5
c3 h0 6 7 ok put "k" "b")",
     nullptr},
    {"a Get that spans a cut sees nothing", R"(
c1 h0 1 2 ok put "k" "a"
c2 h0 3 9 ok get "k" absent
cut h0 5
c3 h0 6 7 ok put "k" "b")",
     nullptr},
    {"a Put under way at the cut showed before it", R"(
c1 h0 1 - unknown put "k" "a"
c2 h0 3 4 ok get "k" "a"
cut h0 5
c3 h0 6 7 ok get "k" absent)",
     nullptr},
    {"a Put whose answer came after the cut", R"(
c1 h0 1 9 ok put "k" "a"
c2 h0 3 4 ok get "k" absent
cut h0 5
c3 h0 6 7 ok get "k" absent)",
     nullptr},
    {"an unknown Put begun after the cut shows", R"(
cut h0 5
c1 h0 6 7 unknown put "k" "a"
c2 h0 8 9 ok get "k" absent
c2 h0 10 11 ok get "k" "a")",
     nullptr},
    {"at the moment of the cut either is right", R"(
c1 h0 5 - unknown put "k" "a"
c1 h0 5 9 ok put "k" "b"
cut h0 5
c2 h0 10 11 ok get "k" "a"
c3 h0 4 12 ok get "k" "b")",
     nullptr},
    {"a crossing Put reached the new incarnation", R"(
c1 h0 4 9 ok put "k" "a" crossing
cut h0 5
c2 h0 6 7 ok get "k" absent
c2 h0 10 11 ok get "k" "a")",
     nullptr},
    {"a crossing Put that was given up is there till the next cut", R"(
c1 h0 4 6 unknown put "k" "a" crossing
cut h0 5
c2 h0 7 8 ok get "k" absent
c2 h0 9 10 ok get "k" "a"
cut h0 11
c2 h0 12 13 ok get "k" absent)",
     nullptr},
    {"a crossing Delete reached the new incarnation", R"(
c1 h0 4 9 ok delete "k" found crossing
cut h0 5
c2 h0 6 7 ok put "k" "a"
c2 h0 10 11 ok get "k" absent)",
     nullptr},
    {"a Delete that spans a cut finds nothing", R"(
c1 h0 1 2 ok put "k" "a"
c2 h0 3 9 ok delete "k" missing
c3 h0 3 4 ok get "k" "a"
cut h0 5)",
     nullptr},
};

constexpr Case kIllegal[] = {
    {"stale read", R"(
c1 h0 1 2 ok put "k" "a"
c1 h0 3 4 ok put "k" "b"
c2 h0 5 6 ok get "k" "a")",
     "An order that obeys the times comes no further than: #1 #2. Then the key holds \"b\""},
    {"lost update", R"(
c1 h0 1 2 ok put "k" "a"
c2 h0 3 4 ok get "k" absent)",
     "#1"},
    {"lost update behind another", R"(
c1 h0 1 2 ok put "k" "a"
c1 h0 3 9 ok put "k" "b"
c2 h0 3 9 ok put "k" "c"
c2 h0 10 11 ok get "k" "a")",
     "is not linearizable: 3 of its 4 operations"},
    {"read of a value never written", R"(
c1 h0 1 2 ok put "k" "a"
c2 h0 3 4 ok get "k" "b")",
     "#1 saw \"b\", which nobody wrote"},
    {"read of a failed Put", R"(
c1 h0 1 2 failed put "k" "a"
c2 h0 3 4 ok get "k" "a")",
     "#1 saw \"a\", but its Put failed: c1 h0 1 2"},
    {"read before the Put began", R"(
c2 h0 1 2 ok get "k" "a"
c1 h0 3 4 ok put "k" "a")",
     "#1 saw \"a\" before its Put began: c1 h0 3 4"},
    {"resurrection after a Delete", R"(
c1 h0 1 2 ok put "k" "a"
c1 h0 3 4 ok delete "k"
c2 h0 5 6 ok get "k" "a")",
     "#2"},
    {"a Delete had no effect for one reader", R"(
c1 h0 1 2 ok put "k" "a"
c1 h0 3 4 ok delete "k" found
c2 h0 5 6 ok get "k" absent
c2 h0 7 8 ok get "k" "a")",
     "is not linearizable: 3 of its 4 operations"},
    {"new-old inversion between two readers", R"(
c1 h0 1 2 ok put "k" "a"
c1 h0 3 20 ok put "k" "b"
c2 h0 5 6 ok get "k" "b"
c3 h0 7 8 ok get "k" "a")",
     "#"},
    {"an unknown Put shows, unshows, shows", R"(
c1 h0 1 2 ok put "k" "a"
c1 h0 3 4 unknown put "k" "b"
c2 h0 5 6 ok get "k" "b"
c2 h0 7 8 ok get "k" "a"
c2 h0 9 10 ok get "k" "b")",
     "#"},
    {"an unknown Put shows twice with a Delete between", R"(
c1 h0 1 2 unknown put "k" "a"
c2 h0 3 4 ok get "k" "a"
c2 h0 5 6 ok delete "k" found
c2 h0 7 8 ok get "k" absent
c2 h0 9 10 ok get "k" "a")",
     "#"},
    {"an unknown Delete shows twice", R"(
c1 h0 1 2 ok put "k" "a"
c1 h0 3 4 unknown delete "k"
c2 h0 5 6 ok get "k" absent
c2 h0 7 8 ok get "k" "a")",
     "#"},
    {"a Put flickers before it ends", R"(
c1 h0 1 20 ok put "k" "a"
c2 h0 3 4 ok get "k" "a"
c2 h0 5 6 ok get "k" absent)",
     "#"},
    {"a Delete found nothing where there was something", R"(
c1 h0 1 2 ok put "k" "a"
c2 h0 3 4 ok delete "k" missing)",
     "saw absent"},
    {"two Deletes found the same record", R"(
c1 h0 1 2 ok put "k" "a"
c2 h0 3 9 ok delete "k" found
c3 h0 3 9 ok delete "k" found)",
     "found a record"},
    {"result of an old incarnation after the cut", R"(
c1 h0 1 2 ok put "k" "a"
c2 h0 3 4 ok get "k" "a"
cut h0 5
c2 h0 6 7 ok get "k" "a")",
     "of an incarnation that had ended before: its Put was c1 h0 1 2"},
    {"a Put under way at the cut shows after it", R"(
c1 h0 1 - unknown put "k" "a"
cut h0 5
c2 h0 6 7 ok get "k" absent
c2 h0 8 9 ok get "k" "a")",
     "of an incarnation that had ended before"},
    {"a Put answered after the cut shows after it", R"(
c1 h0 4 7 ok put "k" "a"
cut h0 5
c2 h0 6 9 ok get "k" "a")",
     "of an incarnation that had ended before"},
    {"a crossing Put that had returned shows after the cut", R"(
c1 h0 1 4 ok put "k" "a" crossing
cut h0 5
c2 h0 6 9 ok get "k" "a")",
     "of an incarnation that had ended before"},
    {"a crossing Put that was given up survives the next cut", R"(
c1 h0 4 6 unknown put "k" "a" crossing
cut h0 5
cut h0 11
c2 h0 12 13 ok get "k" "a")",
     "of an incarnation that had ended before"},
    {"a crossing Put takes effect twice", R"(
c1 h0 3 9 ok put "k" "a" crossing
c2 h0 4 4 ok get "k" "a"
cut h0 5
c2 h0 10 11 ok get "k" "a")",
     "comes no further than"},
    {"a Delete under way at the cut shows after it", R"(
c1 h0 4 - unknown delete "k"
cut h0 5
c2 h0 6 7 ok put "k" "a"
c2 h0 8 9 ok get "k" absent)",
     "#"},
    {"a spanning Get mixes incarnations' order", R"(
c1 h0 1 2 ok put "k" "a"
cut h0 5
c2 h0 6 7 ok get "k" absent
c3 h0 4 9 ok get "k" "a"
c4 h0 3 3 ok delete "k")",
     "#"},
    {"data survive one of two cuts", R"(
c1 h0 1 2 ok put "k" "a"
cut h0 5
c1 h0 6 7 ok put "k" "b"
cut h0 9
c2 h0 10 11 ok get "k" "b")",
     "of an incarnation that had ended before: its Put was c1 h0 6 7"},
    {"an answered Put is missing, with values written twice", R"(
c1 h0 1 2 ok put "k" "a"
c1 h0 3 4 ok put "k" "b"
c1 h0 5 6 ok put "k" "a"
c2 h0 7 8 ok get "k" "b")",
     "#"},
};

// Both judges.
void Judge(const Case& test) {
  SCOPED_TRACE(test.name);
  const absl::StatusOr<History> history =
      ParseHistory(absl::StrCat("acre-history 1\n", test.lines));
  ASSERT_TRUE(history.ok()) << history.status();
  KeyHistory key_history;
  key_history.operations = history->operations;
  for (const Cut& cut : history->cuts) key_history.cuts.push_back(cut.at);
  const CheckResult result = CheckLinearizability(*history);
  const bool is_legal = test.why == nullptr;
  EXPECT_EQ(IsLinearizableByTrial(key_history), is_legal);
  ASSERT_EQ(result.verdict, is_legal ? Verdict::kOk : Verdict::kViolation);
  ASSERT_EQ(result.violations.size(), is_legal ? 0u : 1u);
  if (is_legal) return;
  EXPECT_THAT(result.violations[0].text, HasSubstr(test.why));
  EXPECT_FALSE(IsLinearizableByTrial(result.violations[0].example)) << result.violations[0].text;
}

TEST(LinearizabilityTest, LegalHistoriesPass) {
  for (const Case& test : kLegal) Judge(test);
}

TEST(LinearizabilityTest, EachViolationIsFoundAndExplained) {
  for (const Case& test : kIllegal) Judge(test);
}

// Goal: the same key at two homes is two keys, and a cut is one home's.
TEST(LinearizabilityTest, HomesAreApart) {
  const std::string puts =
      "acre-history 1\n"
      "c1 h0 1 2 ok put \"k\" \"a\"\n"
      "c1 h1 3 4 ok put \"k\" \"b\"\n"
      "cut h1 5\n"
      "c2 h0 6 7 ok get \"k\" \"a\"\n";
  EXPECT_EQ(CheckLinearizability(*ParseHistory(puts)).verdict, Verdict::kOk);
  const CheckResult result =
      CheckLinearizability(*ParseHistory(puts + "c2 h1 6 7 ok get \"k\" \"b\"\n"));
  ASSERT_EQ(result.verdict, Verdict::kViolation);
  EXPECT_EQ(result.violations[0].home, 1u);
}

// Goal: of several keys each is named; only so many are printed; the rest is counted.
TEST(LinearizabilityTest, AllViolatedKeysAreCounted) {
  History history;
  for (int i = 0; i < 5; ++i) {
    Operation get;
    get.outcome = Outcome::kOk;
    get.returned_at = 1;
    get.key = absl::StrCat("key", i);
    if (i != 2) get.value = "x";
    history.operations.push_back(get);
  }
  CheckOptions options;
  options.violations_max = 3;
  const CheckResult result = CheckLinearizability(history, options);
  EXPECT_EQ(result.keys_violated, 4u);
  ASSERT_EQ(result.violations.size(), 3u);
  EXPECT_EQ(result.violations[2].key, "key3");
  EXPECT_THAT(ToText(result), HasSubstr("and 1 more keys"));
}

// Goal: little work allowed gives no verdict, neither a good nor a bad one.
TEST(LinearizabilityTest, TooHardIsNoVerdict) {
  SimulatedHistory simulated;
  simulated.operations = 1000;
  const History history = Simulate(simulated, 1);
  CheckOptions options;
  options.work_max_per_key = 10;
  const CheckResult result = CheckLinearizability(history, options);
  EXPECT_EQ(result.verdict, Verdict::kTooHard);
  EXPECT_EQ(result.keys_too_hard, std::vector<std::string>{"key0"});
  EXPECT_THAT(ToText(result), HasSubstr("too hard"));
}

// Goal: hundreds of Puts and Deletes that may still happen are no burden, legal or not.
TEST(LinearizabilityTest, ManyUnknownOutcomesAreNoBurden) {
  std::string text = "acre-history 1\n";
  uint64_t now = 0;
  for (int i = 0; i < 500; ++i) {
    absl::StrAppend(&text, "c1 h0 ", ++now, " - unknown put \"k\" \"v", i, "\"\n");
    if (i % 3 == 0) absl::StrAppend(&text, "c1 h0 ", ++now, " - unknown delete \"k\"\n");
  }
  // They show in another order, with the key absent in between.
  for (int i = 0; i < 500; i += 4) {
    const int shown = (i * 7) % 500;
    absl::StrAppend(&text, "c2 h0 ", now + 1, " ", now + 2, " ok get \"k\" \"v", shown, "\"\n");
    now += 3;
    if (i % 12 != 0) continue;
    absl::StrAppend(&text, "c2 h0 ", now + 1, " ", now + 2, " ok get \"k\" absent\n");
    now += 3;
  }
  const CheckResult legal = CheckLinearizability(*ParseHistory(text));
  EXPECT_EQ(legal.verdict, Verdict::kOk) << ToText(legal);
  EXPECT_LT(legal.work, 200'000u);
  absl::StrAppend(&text, "c2 h0 ", now + 1, " ", now + 2, " ok get \"k\" \"v0\"\n");
  const CheckResult illegal = CheckLinearizability(*ParseHistory(text));
  EXPECT_EQ(illegal.verdict, Verdict::kViolation);
  EXPECT_LT(illegal.work, 200'000u);
  ASSERT_EQ(illegal.violations.size(), 1u);
  EXPECT_THAT(illegal.violations[0].text, HasSubstr(" 4 of its 835 operations"));
}

}  // namespace
}  // namespace acre::checkers
