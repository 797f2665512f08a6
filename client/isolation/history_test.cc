// The text form: what is written is read again, what Elle's tools write is read, and what is wrong is refused by line
// and reason.

#include "client/isolation/history.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/isolation/edn.h"
#include "client/isolation/history_test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace acre::isolation {
namespace {

using testing::HasSubstr;

TEST(HistoryTest, WhatIsWrittenIsReadAgain) {
  SimulatedHistory options;
  options.register_percent = 50;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    History history = Simulate(options, seed);
    // The text tells nothing of a transaction that it does not need.
    const absl::StatusOr<History> again = ParseHistory(ToText(history));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(ToText(*again), ToText(history)) << "seed " << seed;
    ASSERT_EQ(again->transactions.size(), history.transactions.size());
  }
}

TEST(HistoryTest, TheTextIsThatOfElle) {
  History history;
  KeyNames names(&history);
  Transaction transaction;
  transaction.process = 2;
  transaction.outcome = Outcome::kCommitted;
  transaction.invoked_ns = 100;
  transaction.returned_ns = 180;
  transaction.returned_at = 0;
  Op append{OpKind::kAppend, Seen::kUntold, names.NumberOf("8"), 5, {}};
  Op read_list{OpKind::kRead, Seen::kList, names.NumberOf("8"), 0, {1, 2, 5}};
  Op read_nothing{OpKind::kRead, Seen::kAbsent, names.NumberOf("3"), 0, {}};
  Op write{OpKind::kWrite, Seen::kUntold, names.NumberOf("4"), 7, {}};
  Op read_value{OpKind::kRead, Seen::kValue, names.NumberOf("4"), 7, {}};
  transaction.ops = {append, read_list, read_nothing, write, read_value};
  history.transactions.push_back(transaction);
  OrderByTime(&history);
  EXPECT_EQ(ToText(history),
            "{:index 0, :type :invoke, :process 2, :time 100, :f :txn, :value [[:append 8 5] "
            "[:r 8 nil] [:r 3 nil] [:w 4 7] [:r 4 nil]]}\n"
            "{:index 1, :type :ok, :process 2, :time 180, :f :txn, :value [[:append 8 5] "
            "[:r 8 [1 2 5]] [:r 3 nil] [:w 4 7] [:r 4 7]]}\n");
  const absl::StatusOr<History> again = ParseHistory(ToText(history));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->transactions, history.transactions);
  EXPECT_EQ(again->keys, history.keys);
}

TEST(HistoryTest, AtOneMomentInvocationsComeFirst) {
  History history;
  history.transactions.resize(2);
  history.transactions[0].invoked_ns = 5;
  history.transactions[0].returned_ns = 10;
  history.transactions[0].returned_at = 0;
  history.transactions[1].invoked_ns = 10;  // It never returns.
  OrderByTime(&history);
  EXPECT_EQ(history.transactions[0].invoked_at, 0u);
  EXPECT_EQ(history.transactions[1].invoked_at, 1u);
  EXPECT_EQ(history.transactions[0].returned_at, 2u);
  EXPECT_EQ(history.transactions[1].returned_at, kNever);
}

TEST(HistoryTest, OthersWriteItInOtherWays) {
  const absl::StatusOr<History> history =
      ParseHistory(R"(; A comment, and brackets around the whole.
    [#jepsen.history.Op{:process 0 :type :invoke :f :txn :value [[:append :x 1] [:r "y" nil]]
       :error #{"any" \] (thing [1.5 {:a nil}])} #_ #_ dropped dropped},
     {:type :info, :f :kill, :process :nemesis, :value {:n1 "killed"}}
     {:process 1, :type :invoke, :value ([:r :x nil] [:r z [7]])}
     {:value [[:append :x 1] [:r "y" 4]] :process 0, :type :ok}
     {:process 1, :type :fail, :value nil, :error [:aborted]}
     {:process -3, :type :invoke, :value []}])");
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_EQ(history->keys, (std::vector<std::string>{":x", "\"y\"", "z"}));
  ASSERT_EQ(history->transactions.size(), 3u);
  const Transaction& first = history->transactions[0];
  EXPECT_EQ(first.outcome, Outcome::kCommitted);
  EXPECT_EQ(first.invoked_at, 0u);
  EXPECT_EQ(first.returned_at, 3u);
  EXPECT_EQ(ToText(*history, first.ops), "[[:append :x 1] [:r \"y\" 4]]");
  const Transaction& second = history->transactions[1];
  EXPECT_EQ(second.outcome, Outcome::kAborted);
  EXPECT_EQ(second.ops[1].seen, Seen::kUntold);  // An invocation has seen nothing.
  const Transaction& third = history->transactions[2];
  EXPECT_EQ(third.process, -3);
  EXPECT_EQ(third.outcome, Outcome::kUnknown);
  EXPECT_EQ(third.returned_at, kNever);
}

TEST(HistoryTest, NilIsAbsentOnlyWhereItCommitted) {
  for (const auto& [type, seen] :
       {std::make_pair(":ok", Seen::kAbsent), std::make_pair(":fail", Seen::kUntold),
        std::make_pair(":info", Seen::kUntold)}) {
    const absl::StatusOr<History> history =
        ParseHistory(absl::StrCat("{:type :invoke :process 0 :value [[:r 1 nil]]}"
                                  "{:process 0 :value [[:r 1 nil]] :type ",
                                  type, "}"));
    ASSERT_TRUE(history.ok()) << history.status();
    EXPECT_EQ(history->transactions[0].ops[0].seen, seen) << type;
  }
}

std::string Refusal(absl::string_view text) {
  const absl::StatusOr<History> history = ParseHistory(text);
  return history.ok() ? "none" : std::string(history.status().message());
}

// What stands around the operations of one event.
std::string Invoked(absl::string_view value) {
  return absl::StrCat("\n{:type :invoke, :process 0, :value ", value, "}");
}

TEST(HistoryTest, WhatIsWrongWithAnEventIsSaid) {
  EXPECT_EQ(Refusal(""), "line 1: no history: it is empty");
  EXPECT_EQ(Refusal("; nothing\n"), "line 1: no history: it is empty");
  EXPECT_EQ(Refusal("\n\n7"), "line 3: `7` where an event's { belongs");
  EXPECT_EQ(Refusal("{:type :invoke\n"),
            "line 2: the text ends where the name of an event's entry belongs");
  EXPECT_EQ(Refusal("{:type \"x"), "line 1: a string does not end");
  EXPECT_EQ(Refusal("{:type :done, :process 1}"),
            "line 1: `:done` where :invoke, :ok, :fail or :info belongs");
  EXPECT_EQ(Refusal("{:type :ok}"), "line 1: an event without a :process");
  EXPECT_EQ(Refusal("{:process 1}"), "line 1: an event without a :type");
  EXPECT_EQ(Refusal("{:process 1 :process 1}"), "line 1: :process stands there twice");
  EXPECT_EQ(Refusal("{:process 1 :error}"), "line 1: :error has no value that ends");
  EXPECT_EQ(Refusal("{:process 1 :error [}}"), "line 1: :error has no value that ends");
  EXPECT_EQ(Refusal("{:process 99999999999999999999}"),
            "line 1: `99999999999999999999` where :process, an integer of 64 bits, belongs");
  EXPECT_EQ(Refusal("{:process 1 :type :invoke :f :read :value []}"),
            "line 1: its :f is :read and not :txn");
  EXPECT_EQ(Refusal("{:process 1 :type :invoke}"), "line 1: an :invoke without a :value");
  EXPECT_EQ(Refusal("[{:process 1 :type :invoke :value []}"),
            "line 1: the text ends where an event's { belongs");
  EXPECT_EQ(Refusal("[{:process 1 :type :invoke :value []}] 7"),
            "line 1: there is more behind the history's end");
}

TEST(HistoryTest, WhatIsWrongWithAnOperationIsSaid) {
  EXPECT_EQ(Refusal(Invoked("7")), "line 2: `7` where the [ of a :value belongs");
  EXPECT_EQ(Refusal(Invoked("[7]")), "line 2: `7` where the [ of an operation belongs");
  EXPECT_EQ(Refusal(Invoked("[\n[:cas 1 2]]")), "line 3: `:cas` where :r, :w or :append belongs");
  EXPECT_EQ(Refusal(Invoked("[[:r]]")), "line 2: `]` where a key belongs");
  EXPECT_EQ(Refusal(Invoked("[[:r [1] 2]]")), "line 2: `[` where a key belongs");
  EXPECT_EQ(Refusal(Invoked("[[:r nil 2]]")), "line 2: `nil` where a key belongs");
  EXPECT_EQ(Refusal(Invoked("[[:r 1 :x]]")),
            "line 2: `:x` where a read's value, an integer of 64 bits, belongs");
  EXPECT_EQ(Refusal(Invoked("[[:r 1 [1 :x]]]")),
            "line 2: `:x` where an element, an integer of 64 bits, belongs");
  EXPECT_EQ(Refusal(Invoked("[[:w 1 nil]]")),
            "line 2: `nil` where a value, an integer of 64 bits, belongs");
  EXPECT_EQ(Refusal(Invoked("[[:append 1 2 3]]")), "line 2: `3` where an operation's ] belongs");
}

TEST(HistoryTest, WhatIsWrongWithTheirOrderIsSaid) {
  const std::string invoke = "{:type :invoke :process 0 :value [[:w 1 1] [:r 1 nil]]}\n";
  EXPECT_EQ(Refusal(invoke + invoke),
            "line 2: process 0 begins another one before it has returned");
  EXPECT_EQ(Refusal("{:type :ok :process 0 :value []}"),
            "line 1: process 0 returns and has not invoked anything");
  EXPECT_EQ(Refusal(invoke + "{:type :ok :process 0}"), "line 2: an :ok without a :value");
  const std::string other = "line 2: its operations are not those of its invocation";
  EXPECT_EQ(Refusal(invoke + "{:type :ok :process 0 :value [[:w 1 1]]}"), other);
  EXPECT_EQ(Refusal(invoke + "{:type :fail :process 0 :value [[:w 1 2] [:r 1 1]]}"), other);
  EXPECT_EQ(Refusal(invoke + "{:type :ok :process 0 :value [[:w 1 1] [:r 2 1]]}"), other);
  const std::string at = "{:type :invoke :process 0 :value [] :index 5}\n";
  EXPECT_EQ(Refusal(at + "{:type :ok :process 0 :value [] :index 5}"),
            "line 2: its :index does not rise");
  EXPECT_EQ(Refusal(at + "{:type :ok :process 0 :value []}"),
            "line 2: some events have an :index, and some have none");
}

TEST(HistoryTest, DeepNestingIsRefused) {
  const auto nested = [](size_t depth, absl::string_view form) {
    std::string text = "{:process 0 :type :invoke :value [] :x ";
    for (size_t i = 0; i < depth; ++i) absl::StrAppend(&text, form);
    return text;
  };
  EXPECT_EQ(Refusal(nested(100'000, "[")), "line 1: :x has no value that ends");
  EXPECT_EQ(Refusal(nested(100'000, "#_ ")), "line 1: :x has no value that ends");
  EXPECT_EQ(Refusal(nested(100'000, "#x ")), "line 1: :x has no value that ends");
}

TEST(HistoryTest, FilesAreNamed) {
  const absl::StatusOr<History> missing = LoadHistory("/no/such/file");
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("cannot read /no/such/file: "));
  const std::string path = absl::StrCat(testing::TempDir(), "/history.edn");
  const History history = HistoryOf({{"[[:append x 1]]"}, {"[[:r x [1]]]"}});
  ASSERT_TRUE(SaveHistory(history, path).ok());
  const absl::StatusOr<History> loaded = LoadHistory(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(ToText(*loaded), ToText(history));
  EXPECT_THAT(std::string(SaveHistory(history, "/no/such/folder/file").message()),
              HasSubstr("cannot write /no/such/folder/file: "));
}

}  // namespace
}  // namespace acre::isolation
