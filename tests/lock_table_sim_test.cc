// bench/locks --fabric=sim, as users run it: the program finds its simulator, its rows are those of other fabrics, and what
// the locks guard, which it checks itself, is whole.

#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/process.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

Outcome RunLocks(std::vector<std::string> flags) {
  std::vector<std::string> command = {"bench/locks", "--fabric=sim", "--seed=5"};
  command.insert(command.end(), flags.begin(), flags.end());
  auto process = Process::Start(command);
  CHECK(process.ok()) << process.status();
  return (*process)->Wait();
}

TEST(LockTableSimTest, RowsAreThoseOfAllFabricsAndTheSameAgain) {
  std::vector<nlohmann::json> runs;
  for (const char* name : {"/one.json", "/other.json"}) {
    const std::string file = testing::TempDir() + name;
    const Outcome outcome =
        RunLocks({"--nodes=4", "--threads=2", "--locks=4,40", "--locality=85,100",
                  "--seconds=0.0004", "--rounds=2", "--counts", absl::StrCat("--json=", file)});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
    std::ifstream stream(file);
    runs.push_back(nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false));
  }
  ASSERT_EQ(runs[0].size(), 12u);
  for (const nlohmann::json& row : runs[0]) {
    EXPECT_EQ(row["fabric"], "sim");
    EXPECT_EQ(row["seed"], 5);
    EXPECT_EQ(row["operations_by_thread"].size(), 8u);
    EXPECT_GT(row["operations"], 0) << row;
    // Virtual times know no busy neighbours: an own lock stays in the machine, and is soon had.
    if (row["kind"] == "alock" && row["locality_percent"] == 100) {
      EXPECT_EQ(row["verbs_per_own_op"], 0) << row;
      EXPECT_LT(row["acquire_us"]["max"], 10) << row;
    }
    if (row["kind"] == "mcs") {
      EXPECT_GT(row["alock_times"], 1.5) << row;
    }
  }
  EXPECT_EQ(runs[0], runs[1]);
}

TEST(LockTableSimTest, WrongFlagsAreOneClearLine) {
  const std::vector<std::pair<std::vector<std::string>, const char*>> cases = {
      {{"--devices=rxe0"}, "--devices"},
      {{"--threads=63"}, "62 cores"},
      {{"--locks=1"}, "do not do for 2 nodes"}};
  for (const auto& [flags, why] : cases) {
    const Outcome outcome = RunLocks(flags);
    EXPECT_EQ(outcome.exit_code, 1) << flags[0];
    EXPECT_THAT(outcome.stderr_text, HasSubstr(why)) << flags[0];
  }
}

}  // namespace
}  // namespace acre::tests
