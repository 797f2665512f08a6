// bench/locks, as users run it: nodes that are processes, all kinds of lock in turns. A smoke test: how fast they are is
// of no interest here; that each lock kept others away the program itself checks, with the counters that they guard.

#include <signal.h>
#include <sys/types.h>

#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/process.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

std::unique_ptr<Process> Start(std::vector<std::string> flags) {
  std::vector<std::string> command = {"bench/locks"};
  command.insert(command.end(), flags.begin(), flags.end());
  auto process = Process::Start(command);
  CHECK(process.ok()) << process.status();
  return *std::move(process);
}

// Runs with --json and gives the rows.
nlohmann::json RunForRows(std::vector<std::string> flags) {
  const std::string file = absl::StrCat(testing::TempDir(), "/locks.json");
  flags.push_back(absl::StrCat("--json=", file));
  const Outcome outcome = Start(std::move(flags))->Wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
  std::ifstream stream(file);
  return nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
}

double Sum(const nlohmann::json& numbers) {
  double sum = 0;
  for (const nlohmann::json& number : numbers) sum += number.get<double>();
  return sum;
}

// Goal: every kind runs on every table between nodes, keeps others away, and costs what it must in the network.
TEST(LockTableTest, EveryKindRunsBetweenNodesAndKeepsOthersAway) {
  for (const char* fabric : {"shm", "tcp"}) {
    const std::string plot = absl::StrCat(testing::TempDir(), "/locks.png");
    const nlohmann::json rows =
        RunForRows({absl::StrCat("--fabric=", fabric), "--nodes=2", "--threads=2", "--locks=2,20",
                    "--locality=50,100", "--seconds=0.1", "--rounds=2", "--counts",
                    absl::StrCat("--plot=", plot)});
    ASSERT_EQ(rows.size(), 12u) << fabric;
    for (const nlohmann::json& row : rows) {
      EXPECT_EQ(row["fabric"], fabric);
      EXPECT_EQ(row["operations_by_thread"].size(), 4u);
      EXPECT_EQ(Sum(row["operations_by_thread"]), row["operations"]);
      EXPECT_GT(row["operations"], 0) << row;
      EXPECT_GE(row["acquire_us"]["max"], row["acquire_us"]["p50"]);
      const bool has_others = row["locality_percent"] == 50;
      EXPECT_EQ(row["verbs_per_others_op"].is_number(), has_others) << row;
      if (row["kind"] == "alock") {
        EXPECT_EQ(row["verbs_per_own_op"], 0) << row;
        EXPECT_EQ(row["round_trips_per_own_op"], 0) << row;
      } else {
        // A COMPARE_SWAP to lock, one to unlock, and the counter's READ and WRITE.
        EXPECT_GE(row["verbs_per_own_op"], 4) << row;
      }
    }
    EXPECT_TRUE(std::ifstream(plot).is_open());
  }
}

// Goal: without contention the figures are those of the protocol, to the verb.
TEST(LockTableTest, UncontendedLocksCostWhatTheProtocolSays) {
  for (const auto& [kind, verbs] :
       std::vector<std::pair<std::string, int>>{{"alock", 4}, {"mcs", 2}, {"spin", 2}}) {
    // Each thread takes the one lock of the other node only, of which there is no other thread.
    const nlohmann::json rows = RunForRows({"--locks=2", "--locality=0", "--seconds=0.05",
                                            "--rounds=1", absl::StrCat("--kind=", kind)});
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_EQ(rows[0]["verbs_per_others_op"], verbs) << rows[0];
    EXPECT_EQ(rows[0]["round_trips_per_others_op"], 2) << rows[0];
    EXPECT_TRUE(rows[0]["verbs_per_own_op"].is_null());
  }
}

// Goal: processes of one node share their locks' memory, and exclude each other there.
TEST(LockTableTest, ProcessesOfANodeShareItsLocks) {
  const nlohmann::json rows =
      RunForRows({"--nodes=1", "--processes=2", "--threads=2", "--locks=1,20", "--locality=100",
                  "--kind=alock,ticket,cpu_spin", "--seconds=0.1", "--rounds=2", "--counts"});
  ASSERT_EQ(rows.size(), 6u);
  for (const nlohmann::json& row : rows) {
    EXPECT_GT(row["operations"], 0) << row;
    EXPECT_EQ(row["verbs_per_own_op"], 0) << row;
  }
}

// Goal: the counters tell of a lock that keeps nobody away. Nearly all the time somebody has read and not yet written,
// so that threads that share one core lose counts, too.
TEST(LockTableTest, CountersTellOfALockThatIsNone) {
  const Outcome outcome =
      Start({"--nodes=1", "--processes=2", "--threads=2", "--locks=1", "--locality=100",
             "--kind=none", "--hold_ns=2000", "--seconds=0.5", "--counts"})
          ->Wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.stderr_text, HasSubstr("holders were not alone"));
}

TEST(LockTableTest, UncontendedPairsAreCompared) {
  const nlohmann::json rows = RunForRows({"--uncontended", "--seconds=0.05"});
  ASSERT_EQ(rows.size(), 6u);
  for (int i = 0; i < 4; ++i) EXPECT_GT(rows[i]["ns"], 0) << rows[i];
  for (int i = 4; i < 6; ++i) EXPECT_TRUE(rows[i]["value"].is_number()) << rows[i];
}

TEST(LockTableTest, WrongFlagsAreOneClearLine) {
  const std::vector<std::pair<std::vector<std::string>, const char*>> cases = {
      {{"--fabric=pigeon"}, "pigeon"},
      {{"--fabric=sim"}, "--config=opt"},  // This test's config is another one.
      {{"--kind=alock,padlock"}, "padlock"},
      {{"--kind=alock,alock"}, "twice"},
      {{"--locks=0"}, "--locks"},
      {{"--locks=3", "--nodes=4"}, "do not do for 4 nodes"},
      {{"--locality=101"}, "101"},
      {{"--nodes=1"}, "--locality=100"},
      {{"--nodes=0"}, "--nodes=0"},
      {{"--kind=ticket"}, "--locality=100 only"},
      {{"--processes=2", "--fabric=tcp"}, "--fabric=shm"},
      {{"--local_budget=0"}, "--local_budget=0"},
      {{"--hold_ns=2000000000"}, "--hold_ns"},
      {{"--seconds=0"}, "seconds"},
      {{"--rounds=0"}, "rounds"},
      {{"--poll=never"}, "never"},
      {{"--devices=rxe0"}, "choose fabric verbs"},
      {{"--uncontended", "--plot=x.png"}, "no curve"},
      {{"word"}, "word"}};
  for (const auto& [flags, why] : cases) {
    const Outcome outcome = Start(flags)->Wait();
    EXPECT_EQ(outcome.exit_code, 1) << flags[0];
    EXPECT_THAT(outcome.stderr_text, HasSubstr(why)) << flags[0];
  }
}

// Goal: a node that dies while others wait for its locks ends the run with an error that names it.
TEST(LockTableTest, DeadNodeIsTold) {
  for (const char* fabric : {"shm", "tcp"}) {
    for (size_t victim : {0, 1}) {
      const std::unique_ptr<Process> process =
          Start({absl::StrCat("--fabric=", fabric), "--locks=2", "--locality=50", "--seconds=1000",
                 "--rounds=1000"});
      const absl::StatusOr<std::string> line = process->WaitForOutput("processes:");
      ASSERT_TRUE(line.ok()) << line.status();
      const std::vector<absl::string_view> words = absl::StrSplit(*line, ' ');
      pid_t pid = 0;
      ASSERT_TRUE(words.size() == 3 && absl::SimpleAtoi(words[1 + victim], &pid)) << *line;
      ASSERT_EQ(kill(pid, SIGKILL), 0);
      const Outcome outcome = process->Wait();
      EXPECT_EQ(outcome.exit_code, 1);
      EXPECT_THAT(outcome.stderr_text,
                  HasSubstr(absl::StrCat("process ", victim + 1, " of 2, a node's, is gone")));
      EXPECT_THAT(outcome.stderr_text, HasSubstr("signal 9"));
    }
  }
}

}  // namespace
}  // namespace acre::tests
