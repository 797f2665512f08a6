// The benchmark of transactions, as users run it: a smoke test of every workload, and the budget of verbs that a
// transaction is held to. What it measures besides is of no interest here.

#include <signal.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bench/transactions/transfer.h"
#include "bench/transactions/workload.h"
#include "client/client.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/or_die.h"
#include "tests/process.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

std::vector<std::string> Command(std::vector<std::string> flags) {
  std::vector<std::string> command = {"bench/txn",      "--accounts=500", "--subscribers=300",
                                      "--rounds=2",     "--seconds=0.2",  "--warmup=0.02",
                                      "--outstanding=8"};
  command.insert(command.end(), flags.begin(), flags.end());
  return command;
}

Outcome RunTxn(std::vector<std::string> flags) {
  auto process = Process::Start(Command(std::move(flags)));
  CHECK(process.ok()) << process.status();
  return (*process)->Wait();
}

// Runs with --json and gives the rows.
nlohmann::json RunForRows(std::vector<std::string> flags) {
  const std::string file = absl::StrCat(testing::TempDir(), "/rows.json");
  flags.push_back(absl::StrCat("--json=", file));
  const Outcome outcome = RunTxn(std::move(flags));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stderr_text << outcome.stdout_text;
  std::ifstream stream(file);
  return nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
}

uint64_t AbortsOf(const nlohmann::json& row) {
  uint64_t sum = 0;
  for (const auto& [phase, count] : row["aborts"].items()) sum += count.get<uint64_t>();
  return sum;
}

void ExpectSound(const nlohmann::json& row) {
  EXPECT_EQ(row["system"], "acre");
  EXPECT_GT(row["commits_per_second"], 0);
  EXPECT_GE(row["commits_per_second_max"], row["commits_per_second_min"]);
  EXPECT_EQ(row["errors"], 0);
  EXPECT_EQ(row["unknown"], 0);
  EXPECT_GE(row["attempts_per_commit"], 1);
  EXPECT_GT(row["latency_us"]["p50"], 0);
  EXPECT_GE(row["latency_us"]["max"], row["latency_us"]["p999"]);
  uint64_t committed = 0;
  for (const nlohmann::json& kind : row["kinds"]) committed += kind["committed"].get<uint64_t>();
  EXPECT_EQ(row["committed"], committed);
  EXPECT_TRUE(row.contains("machine") && row.contains("path") && row.contains("fairness"));
}

// On both networks, on one server and on two.
class TxnTest : public testing::TestWithParam<std::pair<const char*, int>> {
 protected:
  static std::vector<std::string> Flags(const std::string& workload) {
    return {absl::StrCat("--fabric=", GetParam().first),
            absl::StrCat("--servers=", GetParam().second), "--workload=" + workload, "--threads=2"};
  }
  static nlohmann::json RunWorkload(const std::string& workload) {
    const nlohmann::json rows = RunForRows(Flags(workload));
    EXPECT_EQ(rows.size(), 1u);
    ExpectSound(rows[0]);
    EXPECT_EQ(rows[0]["workload"], workload);
    EXPECT_EQ(rows[0]["fabric"], GetParam().first);
    EXPECT_EQ(rows[0]["servers"], GetParam().second);
    EXPECT_EQ(rows[0]["committed_by_thread"].size(), 2u);
    return rows[0];
  }
};

// Goal: money is neither made nor lost. That the exit code is 0 says so of the others, too, whose sums may change.
TEST_P(TxnTest, Transfer) {
  const nlohmann::json row = RunWorkload("transfer");
  EXPECT_EQ(row["audit_before"], 500 * 1000);
  EXPECT_EQ(row["audit_after"], 500 * 1000);
  EXPECT_EQ(row["refused_percent"], 0);
}

TEST_P(TxnTest, SmallBank) {
  const nlohmann::json row = RunWorkload("smallbank");
  EXPECT_EQ(row["kinds"].size(), 6u);
  EXPECT_NE(row["audit_before"], row["audit_after"]);
}

TEST_P(TxnTest, Tatp) {
  const nlohmann::json row = RunWorkload("tatp");
  EXPECT_EQ(row["kinds"].size(), 7u);
  EXPECT_GT(row["refused_percent"], 5);
  EXPECT_LT(row["refused_percent"], 50);
}

INSTANTIATE_TEST_SUITE_P(All, TxnTest,
                         testing::Values(std::make_pair("shm", 1), std::make_pair("shm", 2),
                                         std::make_pair("tcp", 1), std::make_pair("tcp", 2)),
                         [](const auto& test) {
                           return absl::StrCat(test.param.first, "_on_", test.param.second);
                         });

class TxnBudgetTest : public testing::TestWithParam<const char*> {
 protected:
  // What a transaction cost that nobody disturbed, each READ a READ.
  static nlohmann::json CostOf(std::vector<std::string> flags) {
    flags.insert(
        flags.end(),
        {absl::StrCat("--fabric=", GetParam()), "--path=one_sided", "--outstanding=1",
         "--threads=1", "--seconds=1",
         // So many that hardly any is read while its last commit is on its way to the home: such
         // a read is a READ again and again.
         "--accounts=50000"});
    const nlohmann::json rows = RunForRows(std::move(flags));
    EXPECT_EQ(rows.size(), 1u);
    EXPECT_NEAR(rows[0]["attempts_per_commit"], 1, 0.1);
    const nlohmann::json cost = rows[0]["per_transaction"];
    // What the queue pairs counted says the same, but for looks at each server's epoch, ten a second, and news of ring heads
    // now and then. Messages that leave together are one WRITE there.
    const double looks_per_second = 20 * rows[0]["servers"].get<double>();
    const double looks =
        looks_per_second * rows[0]["seconds"].get<double>() / rows[0]["committed"].get<double>();
    EXPECT_LE(cost["client_verbs"].get<double>() + cost["answers"].get<double>() -
                  cost["opacity_validations"].get<double>(),
              cost["verbs"].get<double>() + looks + kNowAndThen)
        << rows[0];
    return cost;
  }

  // A verb too many would be a whole one.
  static constexpr double kNowAndThen = 0.5;
};

// Goal: the budget: 2 READs, 2 calls, 2 answers, 2 notices; and 3 round trips.
TEST_P(TxnBudgetTest, TwoKeysOnTwoServers) {
  const nlohmann::json cost = CostOf({"--servers=2", "--distributed=100"});
  EXPECT_LE(cost["verbs"], 8 + kNowAndThen) << cost;
  EXPECT_LE(cost["round_trips"], 3 + kNowAndThen) << cost;
  EXPECT_NEAR(cost["reads"], 2, kNowAndThen) << cost;
  EXPECT_NEAR(cost["calls"], 2, 0.1) << cost;
}

// Goal: the only home does all of it in one call.
TEST_P(TxnBudgetTest, TwoKeysOnOneServer) {
  const nlohmann::json cost = CostOf({"--servers=1"});
  EXPECT_NEAR(cost["calls"], 1, 0.1) << cost;
  EXPECT_LE(cost["verbs"], 4 + kNowAndThen) << cost;
  EXPECT_LE(cost["round_trips"], 2 + kNowAndThen) << cost;
}

// Goal: who writes nothing locks nothing: n READs and n validations.
TEST_P(TxnBudgetTest, ReadersOnlyReadAndValidate) {
  const nlohmann::json cost = CostOf({"--servers=2", "--distributed=100", "--reads=100"});
  EXPECT_NEAR(cost["reads"], 2, kNowAndThen) << cost;
  EXPECT_LE(cost["commit_validations"], 2.1) << cost;
  EXPECT_EQ(cost["calls"], 0) << cost;
  EXPECT_EQ(cost["notices"], 0) << cost;
  EXPECT_LE(cost["answers"], kNowAndThen) << cost;
}

INSTANTIATE_TEST_SUITE_P(All, TxnBudgetTest, testing::Values("shm", "tcp"));

// Goal: transactions that get in each other's way are told, by reason, and still none is lost.
TEST(TxnProgramTest, ContentionIsTold) {
  const nlohmann::json rows = RunForRows({"--workload=smallbank", "--servers=2", "--hot=95",
                                          "--hot_keys=4", "--threads=2", "--outstanding=16"});
  ASSERT_EQ(rows.size(), 1u);
  ExpectSound(rows[0]);
  EXPECT_GT(AbortsOf(rows[0]), 0u);
  EXPECT_GT(rows[0]["attempts_per_commit"], 1);
  EXPECT_GT(rows[0]["attempts_max"], 1);
}

// Goal: every increment counts once, and nobody is left out.
TEST(TxnProgramTest, FairnessCountsEachIncrement) {
  const nlohmann::json rows =
      RunForRows({"--fairness", "--outstanding=1", "--warmup=0", "--seconds=1"});
  ASSERT_EQ(rows.size(), 1u);
  const nlohmann::json& row = rows[0];
  EXPECT_EQ(row["workload"], "counter");
  EXPECT_EQ(row["audit_before"], 0);
  EXPECT_EQ(row["audit_after"], row["committed"]);
  ASSERT_EQ(row["committed_by_thread"].size(), 4u);
  for (const nlohmann::json& committed : row["committed_by_thread"]) EXPECT_GT(committed, 0);
  EXPECT_LE(row["attempts_max"], 100);
}

TEST(TxnProgramTest, RedisTakesTurns) {
  const nlohmann::json rows = RunForRows({"--compare=redis"});
  ASSERT_EQ(rows.size(), 3u);
  ExpectSound(rows[0]);
  EXPECT_GT(rows[0]["times_redis_pipelined"], 0);
  EXPECT_GT(rows[0]["times_redis_one_by_one"], 0);
  EXPECT_EQ(rows[1]["connections"], 16);
  EXPECT_EQ(rows[2]["connections"], 1);
  for (size_t i = 1; i < 3; ++i) {
    EXPECT_THAT(rows[i]["system"].get<std::string>(), HasSubstr("redis"));
    EXPECT_GT(rows[i]["commits_per_second"], 0);
  }
}

TEST(TxnProgramTest, ListsAreRowsAndAPicture) {
  const std::string file = absl::StrCat(testing::TempDir(), "/txn.png");
  const nlohmann::json rows =
      RunForRows({"--threads=1,2", "--outstanding=1,4,8", absl::StrCat("--plot=", file)});
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_EQ(rows[1]["threads"], 1);
  EXPECT_EQ(rows[1]["outstanding"], 4);
  EXPECT_EQ(rows[3]["threads"], 2);
  std::string magic(8, '\0');
  std::ifstream(file).read(magic.data(), 8);
  EXPECT_EQ(magic, "\x89PNG\r\n\x1a\n");
}

// Goal: money that comes from nowhere makes the run fail: somebody else writes an account meanwhile.
TEST(TxnProgramTest, WrongSumIsAnError) {
  const auto server = StartOrDie();
  const auto client = ConnectOrDie(server->address());
  auto process =
      Process::Start(Command({absl::StrCat("--servers=", server->address()), "--accounts=4"}));
  ASSERT_TRUE(process.ok());
  const std::string account = bench::TransferKey(bench::TxnKeys(1), 0);
  for (int64_t balance = 1'000'000; !(*process)->HasEnded(); balance += 1'000'000) {
    ASSERT_EQ(client->Put(account, bench::EncodeNumber(balance)), absl::OkStatus());
  }
  const Outcome outcome = (*process)->Wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.stderr_text, HasSubstr("should be"));
}

TEST(TxnProgramTest, DeadServerIsTold) {
  auto process = Process::Start(Command({"--accounts=1000000", "--servers=2"}));
  ASSERT_TRUE(process.ok());
  const absl::StatusOr<std::string> line = (*process)->WaitForOutput("server processes:");
  ASSERT_TRUE(line.ok()) << line.status();
  const std::vector<std::string> words = absl::StrSplit(*line, ' ');
  pid_t pid = 0;
  ASSERT_TRUE(absl::SimpleAtoi(words.back(), &pid));
  ASSERT_EQ(kill(pid, SIGKILL), 0);
  const Outcome outcome = (*process)->Wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.stderr_text, HasSubstr("has ended"));
}

TEST(TxnProgramTest, WrongFlagsAreOneClearLine) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"--workload=tpcc", "tpcc"},
      {"--servers=5", "--servers"},
      {"--servers=0", "--servers"},
      {"--accounts=1", "--accounts"},
      {"--distributed=50", "one server"},
      {"--distributed=101", "--distributed"},
      {"--hot=101", "--hot"},
      {"--path=rpc", "--path"},
      {"--path=telepathy", "telepathy"},
      {"--outstanding=0", "--outstanding"},
      {"--threads=1,1", "--threads"},
      {"--compare=postgres", "--compare"},
      {"--seconds=0", "--seconds"},
      {"--rounds=0", "--rounds"},
      {"--poll=lazy", "lazy"},
      {"--servers=127.0.0.1:1", "127.0.0.1:1"},
      {"word", "word"}};
  for (const auto& [flag, why] : cases) {
    const Outcome outcome = RunTxn({flag});
    EXPECT_EQ(outcome.exit_code, 1) << flag;
    EXPECT_THAT(outcome.stderr_text, HasSubstr(why)) << flag;
  }
}

}  // namespace
}  // namespace acre::tests
