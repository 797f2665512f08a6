// How long large histories take. The time is printed; what is judged is what does not depend on the machine: the
// verdict, that edges are linear in operations, and the work spent on examples.

#include <algorithm>
#include <iostream>
#include <string>

#include "client/isolation/checker.h"
#include "client/isolation/history.h"
#include "client/isolation/history_test_util.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"

namespace acre::isolation {
namespace {

Report TimedCheck(const char* name, const History& history) {
  RealClock clock;
  const uint64_t begin_ns = clock.NowNs();
  absl::StatusOr<Report> report = Check(history);
  const uint64_t end_ns = clock.NowNs();
  CHECK(report.ok()) << report.status();
  std::cout << name << ": " << history.transactions.size() << " transactions, " << report->keys
            << " keys, " << report->edges << " edges, in "
            << static_cast<double>(end_ns - begin_ns) / 1e9 << " s; " << report->work
            << " looks for examples\n";
  return *std::move(report);
}

SimulatedHistory Large(uint32_t transactions) {
  SimulatedHistory options;
  options.processes = 16;
  options.transactions = transactions;
  options.keys = 100;
  options.writes_per_key = 32;
  options.unknown_percent = 1;
  options.aborted_percent = 5;
  return options;
}

TEST(CheckerSpeedTest, AMillionTransactionsOnLists) {
  const History history = Simulate(Large(1'000'000), 1);
  const Report report = TimedCheck("lists", history);
  EXPECT_TRUE(report.findings.empty()) << ToText(report);
  EXPECT_LT(report.edges, 10 * history.transactions.size());
}

TEST(CheckerSpeedTest, ManyTransactionsOnRegisters) {
  SimulatedHistory options = Large(300'000);
  options.register_percent = 100;
  options.writes_per_key = 1000;
  const History history = Simulate(options, 2);
  const Report report = TimedCheck("registers", history);
  EXPECT_TRUE(report.findings.empty()) << ToText(report);
  EXPECT_LT(report.edges, 20 * history.transactions.size());
}

TEST(CheckerSpeedTest, TheTextOfManyTransactions) {
  RealClock clock;
  const History history = Simulate(Large(300'000), 3);
  const uint64_t begin_ns = clock.NowNs();
  const std::string text = ToText(history);
  const uint64_t written_ns = clock.NowNs();
  const absl::StatusOr<History> again = ParseHistory(text);
  const uint64_t read_ns = clock.NowNs();
  std::cout << text.size() / 1'000'000 << " MB written in "
            << static_cast<double>(written_ns - begin_ns) / 1e9 << " s, read in "
            << static_cast<double>(read_ns - written_ns) / 1e9 << " s\n";
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->transactions.size(), history.transactions.size());
}

// Goal: the smallest example, although it ties a large part of the history into one knot.
TEST(CheckerSpeedTest, AStaleReadAmongAMillion) {
  History history = Simulate(Large(1'000'000), 4);
  // Some list that was read long ago is read again as it was.
  const size_t count = history.transactions.size();
  Transaction* late = nullptr;
  for (size_t i = 0; i < count && late == nullptr; ++i) {
    Transaction& transaction = history.transactions[count - 1 - i];
    if (transaction.outcome == Outcome::kCommitted) late = &transaction;
  }
  ASSERT_NE(late, nullptr);
  for (const Transaction& early : history.transactions) {
    const auto read = std::find_if(early.ops.begin(), early.ops.end(), [](const Op& op) {
      return op.seen == Seen::kList && op.list.size() == 5;
    });
    if (early.outcome != Outcome::kCommitted || read == early.ops.end()) continue;
    late->ops = {*read};
    late->process = -1;  // Else its own process would know better, if by many detours.
    break;
  }
  const Report report = TimedCheck("lists, one stale read", history);
  EXPECT_TRUE(report.Keeps(Level::kSessionSerializable)) << ToText(report);
  const Finding* finding = report.Find("G-single-realtime");
  ASSERT_NE(finding, nullptr) << ToText(report);
  EXPECT_EQ(finding->transactions.size(), 2u) << finding->text;
}

TEST(CheckerSpeedTest, ManyTransactionsOfASnapshotStore) {
  SimulatedHistory options = Large(300'000);
  options.kind = StoreKind::kSnapshot;
  const History history = Simulate(options, 5);
  const Report report = TimedCheck("lists, write skews", history);
  EXPECT_TRUE(report.Keeps(Level::kSnapshotIsolation)) << ToText(report);
  const Finding* finding = report.Find("G2-item");
  ASSERT_NE(finding, nullptr) << ToText(report);
  EXPECT_EQ(finding->transactions.size(), 2u) << finding->text;
}

}  // namespace
}  // namespace acre::isolation
