// The judging of kv_verify, without a server: sessions against stores that keep what they promise,
// or do not.

#include "client/verify/session.h"

#include <memory>
#include <string>
#include <vector>

#include "client/isolation/checker.h"
#include "client/isolation/history.h"
#include "client/verify/journal.h"
#include "client/verify/judge.h"
#include "client/verify/loose_store.h"
#include "client/verify/plan.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/shared_word.h"

namespace acre::verify {
namespace {

using isolation::History;
using isolation::Level;
using isolation::Outcome;
using isolation::Report;
using testing::Contains;
using testing::StartsWith;

constexpr size_t kJournalNumbers = 4 << 20;

struct Judged {
  History history;
  Counts counts;
  Report report;
  std::vector<std::string> names;  // Of the findings.
};

// One epoch of sixteen coroutines on one thread.
Judged RunOn(Fault fault, uint32_t unknown_percent = 0, PlanOptions plan = {},
             uint64_t transactions = 4000) {
  RealClock clock;
  Scheduler scheduler({.clock = &clock, .seed = 1});
  LooseStore store(&scheduler, fault, unknown_percent);
  std::vector<SharedWord> words(KeyCounters::WordsFor(plan.keys));
  KeyCounters counters(plan, absl::MakeSpan(words));
  PlanSource plans(plan, &counters, /*seed=*/3);
  std::vector<uint32_t> room(kJournalNumbers);
  SharedWord length{}, next_process{}, begun{}, stopped_epoch{};
  JournalWriter journal(&length, absl::MakeSpan(room));
  const Epoch epoch = {.prefix = "test", .number = 1};
  Session session(
      &scheduler, &store, &plans, &journal, {&next_process, &begun, &stopped_epoch},
      {.plan = plan, .epoch = epoch, .outstanding = 16, .transactions_max = transactions});
  scheduler.RunUntilDone(session.Run());

  HistoryBuilder builder(epoch);
  const absl::Status added =
      builder.Add(absl::MakeConstSpan(room).first(length.Load(std::memory_order_acquire)));
  CHECK(added.ok()) << added;
  Judged run;
  run.history = builder.Take(/*first_place=*/0);
  run.counts = builder.counts();
  auto report = isolation::Check(run.history);
  CHECK(report.ok()) << report.status();
  run.report = *std::move(report);
  for (const isolation::Finding& finding : run.report.findings) {
    run.names.push_back(isolation::NameOf(finding));
  }
  return run;
}

TEST(SessionTest, StrictStorePasses) {
  const Judged run = RunOn(Fault::kNone);
  EXPECT_TRUE(run.report.Keeps(Level::kOpaque)) << isolation::ToText(run.report);
  EXPECT_GE(run.counts.transactions, 4000u);  // Attempts of RunTransaction() come on top.
  EXPECT_EQ(run.counts.unknown, 0u);
  EXPECT_EQ(run.counts.committed + run.counts.failed, run.counts.transactions);
  EXPECT_GT(run.counts.failed, 100u);  // They do meet.
  EXPECT_GT(run.counts.committed, 1000u);
  EXPECT_TRUE(run.counts.errors.empty());
}

// Goal: each kind of operation, each way and each size takes part.
TEST(SessionTest, HistoryHasAllThereIs) {
  const Judged run = RunOn(Fault::kNone);
  std::vector<uint64_t> sizes(7), kinds(3);
  uint64_t elements_max = 0;
  for (const isolation::Transaction& transaction : run.history.transactions) {
    ASSERT_LE(transaction.ops.size(), 6u);
    ++sizes[transaction.ops.size()];
    for (const isolation::Op& op : transaction.ops) {
      ++kinds[static_cast<size_t>(op.kind)];
      elements_max = std::max<uint64_t>(elements_max, op.list.size());
    }
  }
  for (size_t size = 1; size <= 6; ++size) EXPECT_GT(sizes[size], 100u) << size;
  for (const uint64_t kind : kinds) EXPECT_GT(kind, 1000u);
  // Of 32: what failed is left out.
  EXPECT_GT(elements_max, 16u);
  EXPECT_LE(elements_max, 32u);
  EXPECT_GT(run.history.keys.size(), 64u);
  EXPECT_GT(run.counts.aborts[kPhaseRead], 0u);
  EXPECT_GT(run.counts.aborts[kPhaseValidate], 0u);
  EXPECT_GT(run.counts.aborts[0], 0u);
}

TEST(SessionTest, UnknownOutcomesAreNoViolation) {
  const Judged run = RunOn(Fault::kNone, /*unknown_percent=*/5);
  EXPECT_TRUE(run.report.Keeps(Level::kOpaque)) << isolation::ToText(run.report);
  EXPECT_GT(run.counts.unknown, 50u);
  EXPECT_GT(run.report.committed, run.counts.committed);  // Some of them were seen.
}

TEST(SessionTest, TextOfTheHistoryIsTheSameHistory) {
  const Judged run = RunOn(Fault::kNone, /*unknown_percent=*/5, {}, /*transactions=*/300);
  const auto parsed = isolation::ParseHistory(isolation::ToText(run.history));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(isolation::ToText(*parsed), isolation::ToText(run.history));
}

struct FaultCase {
  Fault fault;
  const char* name;
  std::vector<std::string> findings;  // One of them at least.
};

class FaultTest : public testing::TestWithParam<FaultCase> {};

TEST_P(FaultTest, IsFoundWithAnExample) {
  const Judged run = RunOn(GetParam().fault);
  EXPECT_FALSE(run.report.Keeps(Level::kOpaque));
  std::vector<testing::Matcher<std::string>> any;
  for (const std::string& finding : GetParam().findings) any.push_back(StartsWith(finding));
  EXPECT_THAT(run.names, Contains(testing::AnyOfArray(any)));
  // The excerpt of the worst finding is small, and shows a violation by itself.
  ASSERT_FALSE(run.report.findings.empty());
  const History excerpt = Excerpt(run.history, run.report.findings.front().transactions);
  EXPECT_LE(excerpt.transactions.size(), 300u);
  const auto again = isolation::Check(excerpt);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_FALSE(again->Keeps(Level::kOpaque)) << run.report.findings.front().text;
}

INSTANTIATE_TEST_SUITE_P(
    All, FaultTest,
    testing::Values(
        FaultCase{Fault::kNoValidation, "NoValidation", {"lost-update", "incompatible-order"}},
        FaultCase{Fault::kNoReadValidation, "NoReadValidation", {"G2-item", "G-single"}},
        FaultCase{Fault::kNoOpacity, "NoOpacity", {"uncommitted-"}},
        FaultCase{Fault::kTornInstall, "TornInstall", {"G-single", "G1c"}},
        FaultCase{Fault::kForgottenDeletes, "ForgottenDeletes", {"garbage-read"}},
        FaultCase{Fault::kStaleGets, "StaleGets", {"G-single-realtime", "G-single-process"}},
        FaultCase{Fault::kWrongFailures, "WrongFailures", {"G1a"}},
        FaultCase{Fault::kForeignBytes, "ForeignBytes", {"garbage-read"}}),
    [](const testing::TestParamInfo<FaultCase>& fault) { return std::string(fault.param.name); });

// Goal: what a process that was killed had begun is known, and is open; its keys are told.
TEST(JournalTest, CutAnywhereItHoldsWhatHadBegun) {
  std::vector<uint32_t> room(1 << 20);
  SharedWord length{};
  JournalWriter writer(&length, absl::MakeSpan(room));
  const KeyId list = {Family::kList, 7};
  const KeyId reg = {Family::kRegister, 2};
  writer.Invoke(1, 100, {{isolation::OpKind::kAppend, list, 5}});
  writer.Invoke(2, 110, {{isolation::OpKind::kRead, list, 0}, {isolation::OpKind::kWrite, reg, 9}});
  const size_t before_return = length.Load(std::memory_order_acquire);
  writer.Return(1, 120, {Outcome::kCommitted}, {Told{}});
  const size_t end = length.Load(std::memory_order_acquire);

  const auto both = KeysUnderWay(absl::MakeConstSpan(room).first(before_return));
  ASSERT_TRUE(both.ok());
  EXPECT_THAT(*both, testing::UnorderedElementsAre(list, reg));
  const auto journal = absl::MakeConstSpan(room).first(end);
  HistoryBuilder builder({.prefix = "p", .number = 3});
  ASSERT_TRUE(builder.Add(journal).ok());
  const History history = builder.Take(/*first_place=*/50);
  EXPECT_EQ(isolation::ToText(history),
            "{:index 50, :type :invoke, :process 1, :time 100, :f :txn, "
            ":value [[:append \"p/3/l7\" 5]]}\n"
            "{:index 51, :type :invoke, :process 2, :time 110, :f :txn, "
            ":value [[:r \"p/3/l7\" nil] [:w \"p/3/r2\" 9]]}\n"
            "{:index 52, :type :ok, :process 1, :time 120, :f :txn, "
            ":value [[:append \"p/3/l7\" 5]]}\n");
  EXPECT_EQ(builder.counts().unknown, 1u);

  // A replacement goes on behind it.
  JournalWriter next(&length, absl::MakeSpan(room));
  next.Invoke(3, 130, {{isolation::OpKind::kRead, reg, 0}});
  HistoryBuilder longer({.prefix = "p", .number = 3});
  EXPECT_TRUE(
      longer.Add(absl::MakeConstSpan(room).first(length.Load(std::memory_order_acquire))).ok());
  EXPECT_EQ(longer.counts().transactions, 3u);
}

// Goal: any bytes are refused or read, never more than is there.
TEST(JournalTest, WhatNobodyWritesIsRefused) {
  std::vector<uint32_t> room(1000);
  SharedWord length{};
  JournalWriter writer(&length, absl::MakeSpan(room));
  writer.Invoke(1, 100, {{isolation::OpKind::kAppend, {Family::kList, 7}, 5}});
  writer.Return(1, 120, {Outcome::kCommitted}, {Told{isolation::Seen::kList, {1, 2, 3}}});
  const size_t end = length.Load(std::memory_order_acquire);
  const size_t first_record_end = 7;
  for (size_t cut = 1; cut < end; ++cut) {
    HistoryBuilder builder({.prefix = "p", .number = 1});
    const absl::Status status = builder.Add(absl::MakeConstSpan(room).first(cut));
    EXPECT_EQ(status.ok(), cut == first_record_end) << cut;
  }
  for (size_t at = 0; at < end; ++at) {
    std::vector<uint32_t> damaged(room.begin(), room.begin() + static_cast<int64_t>(end));
    damaged[at] ^= 0xf0000000;
    HistoryBuilder builder({.prefix = "p", .number = 1});
    builder.Add(absl::MakeConstSpan(damaged)).IgnoreError();  // Sanitizers watch.
  }
}

}  // namespace
}  // namespace acre::verify
