// check_history as a user meets it.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/checkers/history.h"
#include "tests/process.h"

namespace acre::checkers {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

tests::Outcome RunProgram(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "tests/checkers/check_history");
  auto process = tests::Process::Start(arguments);
  CHECK(process.ok()) << process.status();
  return (*process)->Wait();
}

std::string FileOf(const std::string& name, const std::string& lines) {
  const std::string path = absl::StrCat(testing::TempDir(), "/", name);
  const absl::StatusOr<History> history = ParseHistory("acre-history 1\n" + lines);
  CHECK(history.ok()) << history.status();
  CHECK(SaveHistory(*history, path).ok());
  return path;
}

constexpr char kGood[] =
    "c1 h0 1 2 ok put \"k\" \"a\"\n"
    "c2 h0 3 4 ok get \"k\" \"a\"\n";
constexpr char kBad[] =
    "c1 h0 1 2 ok put \"k\" \"a\"\n"
    "c2 h0 3 4 ok get \"k\" absent\n";

TEST(CheckHistoryTest, ExitCodeIsTheVerdict) {
  const tests::Outcome good = RunProgram({FileOf("good", kGood)});
  EXPECT_EQ(good.exit_code, 0);
  EXPECT_EQ(good.stdout_text, "linearizable: 2 operations on 1 keys\n");

  const tests::Outcome bad = RunProgram({FileOf("bad", kBad)});
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_THAT(bad.stdout_text, HasSubstr("key \"k\" of home 0 is not linearizable"));
  EXPECT_THAT(bad.stdout_text, HasSubstr("NOT linearizable: 1 keys, of 2 operations on 1 keys\n"));

  const tests::Outcome hard = RunProgram({"--work_max=0", FileOf("hard", kGood)});
  EXPECT_EQ(hard.exit_code, 3);
  EXPECT_THAT(hard.stdout_text, HasSubstr("undecided: 1 keys"));
}

TEST(CheckHistoryTest, WrongUseIsSaid) {
  EXPECT_EQ(RunProgram({}).exit_code, 2);
  EXPECT_EQ(RunProgram({"a", "b"}).exit_code, 2);
  EXPECT_EQ(RunProgram({"--no_such_flag", "a"}).exit_code, 2);
  const tests::Outcome missing = RunProgram({"/no/such/file"});
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.stderr_text, HasSubstr("/no/such/file"));
  const tests::Outcome help = RunProgram({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.stdout_text, StartsWith("check_history: is a recorded history"));
  EXPECT_THAT(help.stdout_text, HasSubstr("--work_max"));
}

}  // namespace
}  // namespace acre::checkers
