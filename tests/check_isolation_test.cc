// check_isolation as a user meets it.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/isolation/history.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/process.h"

namespace acre::isolation {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

tests::Outcome RunProgram(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "client/isolation/check_isolation");
  auto process = tests::Process::Start(arguments);
  CHECK(process.ok()) << process.status();
  return (*process)->Wait();
}

std::string FileOf(const std::string& name, const std::string& text) {
  const std::string path = absl::StrCat(testing::TempDir(), "/", name);
  const absl::StatusOr<History> history = ParseHistory(text);
  CHECK(history.ok()) << history.status();
  CHECK(SaveHistory(*history, path).ok());
  return path;
}

constexpr char kGood[] =
    "{:type :invoke :process 0 :value [[:append x 1]]}\n"
    "{:type :ok     :process 0 :value [[:append x 1]]}\n"
    "{:type :invoke :process 1 :value [[:r x nil]]}\n"
    "{:type :ok     :process 1 :value [[:r x [1]]]}\n";
constexpr char kStale[] =
    "{:type :invoke :process 0 :value [[:append x 1]]}\n"
    "{:type :ok     :process 0 :value [[:append x 1]]}\n"
    "{:type :invoke :process 1 :value [[:r x nil]]}\n"
    "{:type :ok     :process 1 :value [[:r x nil]]}\n";
constexpr char kTwice[] =
    "{:type :invoke :process 0 :value [[:append x 1]]}\n"
    "{:type :invoke :process 1 :value [[:append x 1]]}\n";

TEST(CheckIsolationTest, ExitCodeIsTheVerdict) {
  const std::string good_file = FileOf("good", kGood);
  const tests::Outcome good = RunProgram({good_file});
  EXPECT_EQ(good.exit_code, 0);
  EXPECT_THAT(good.stdout_text, HasSubstr("  kept    opaque\n"));
  EXPECT_THAT(good.stdout_text, HasSubstr(good_file + ": strictly serializable, 2 transactions, "
                                                      "2 of them committed, on 1 keys\n"));

  const std::string stale_file = FileOf("stale", kStale);
  const tests::Outcome stale = RunProgram({stale_file});
  EXPECT_EQ(stale.exit_code, 1);
  EXPECT_THAT(stale.stdout_text, StartsWith("G-single-realtime: "));
  EXPECT_THAT(stale.stdout_text,
              HasSubstr("T2 before T0: T2 saw [:r x nil], not yet [:append x 1] of T0.\n"));
  EXPECT_THAT(stale.stdout_text,
              HasSubstr("T0 before T2: T0 had returned (at 1) before T2 was invoked (at 2).\n"));
  EXPECT_THAT(stale.stdout_text, HasSubstr(": NOT strictly serializable, "));

  EXPECT_EQ(RunProgram({"--level=session serializable", stale_file}).exit_code, 0);
  EXPECT_EQ(RunProgram({good_file, stale_file}).exit_code, 1);
}

TEST(CheckIsolationTest, WrongUseIsSaid) {
  EXPECT_EQ(RunProgram({}).exit_code, 2);
  EXPECT_EQ(RunProgram({"--no_such_flag", "a"}).exit_code, 2);
  EXPECT_EQ(RunProgram({"--level=perfect", FileOf("good", kGood)}).exit_code, 2);
  const tests::Outcome missing = RunProgram({"/no/such/file"});
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.stderr_text, HasSubstr("/no/such/file"));
  const tests::Outcome twice = RunProgram({FileOf("twice", kTwice)});
  EXPECT_EQ(twice.exit_code, 2);
  EXPECT_THAT(twice.stderr_text, HasSubstr("writes 1 to key x again"));
  const tests::Outcome help = RunProgram({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.stdout_text, StartsWith("check_isolation: which isolation level"));
  EXPECT_THAT(help.stdout_text, HasSubstr("--level"));
}

}  // namespace
}  // namespace acre::isolation
