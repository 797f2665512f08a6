// kill_rounds as users run it: a short run finds nothing, and each fault that is planted is found. The whole run is
// the program's own: see "Kill and restart" in docs/checkers.md.

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/process.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

Outcome KillRounds(std::vector<std::string> flags) {
  std::vector<std::string> command = {"tests/kill/kill_rounds"};
  command.insert(command.end(), flags.begin(), flags.end());
  auto process = Process::Start(std::move(command));
  CHECK(process.ok()) << process.status();
  return (*process)->Wait();
}

// Goal: the store's promises, among servers and clients that die; and that each kind of death came up, and of life.
TEST(KillTest, RoundsFindNothing) {
  const Outcome outcome =
      KillRounds({"--rounds=18", "--rounds_per_life=2", "--churn=32", "--seed=5", "--trust=none"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stdout_text << outcome.stderr_text;
  for (const char* what : {"server frozen:",
                           "server stopped:",
                           "server killed:",
                           "server killed while it stopped:",
                           "server killed while it was frozen:",
                           "server killed, and the next one while it started:",
                           "clients killed:",
                           "clients frozen:",
                           "operations cut off by their client's death:",
                           "rounds with a secret:",
                           "rounds without a secret:",
                           "rounds with a server alone:",
                           "rounds with a server in a cluster of 1:",
                           "rounds with 2 servers:",
                           "rounds with 3 servers:",
                           "rounds with clients by fabric shm:",
                           "rounds with clients by fabric tcp:",
                           "rounds with clients by fabric auto:",
                           "rounds with clients by path tcp:",
                           "rounds with clients by all ways:"}) {
    EXPECT_THAT(outcome.stdout_text, HasSubstr(what));
  }
}

// Goal: the same where clients write into the servers' memory by themselves.
TEST(KillTest, TrustedRoundsFindNothing) {
  for (const char* trust : {"shm", "tcp"}) {
    const Outcome outcome = KillRounds({"--rounds=6", "--rounds_per_life=3", "--churn=16",
                                        "--seed=1", absl::StrCat("--trust=", trust)});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.stdout_text << outcome.stderr_text;
    for (const std::string& what : {absl::StrCat("rounds with trust by fabric ", trust, ": 6"),
                                    std::string("clients killed:"), std::string("clients frozen:"),
                                    std::string("updates by clients themselves:")}) {
      EXPECT_THAT(outcome.stdout_text, HasSubstr(what));
    }
  }
}

struct Fault {
  const char* name;
  const char* words;  // Of the finding.
  const char* trust = "none";
};

class PlantedTest : public testing::TestWithParam<Fault> {};

// Goal: the whole way, from what a process does to the printed finding, lets nothing through.
TEST_P(PlantedTest, IsFound) {
  const Outcome outcome = KillRounds({absl::StrCat("--plant=", GetParam().name), "--rounds=6",
                                      "--rounds_per_life=3", "--servers=2", "--churn=0", "--seed=3",
                                      absl::StrCat("--trust=", GetParam().trust)});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.stdout_text << outcome.stderr_text;
  EXPECT_THAT(outcome.stdout_text, HasSubstr("FOUND, seed 3: "));
  EXPECT_THAT(outcome.stdout_text, HasSubstr(GetParam().words));
  EXPECT_THAT(outcome.stdout_text, HasSubstr("kill_rounds -- --seed=3 --rounds=6"));
}

INSTANTIATE_TEST_SUITE_P(All, PlantedTest,
                         testing::Values(Fault{"cut_too_early", "is not linearizable"},
                                         Fault{"cut_too_late", "is not linearizable"},
                                         Fault{"no_cut", "is not linearizable"},
                                         Fault{"cut_elsewhere", "is not linearizable"},
                                         Fault{"cut_everywhere", "is not linearizable"},
                                         Fault{"stale_gets", ": in round "},
                                         Fault{"client_leaks", "descriptors of /dev/null"},
                                         Fault{"forgotten_process", "processes are left"},
                                         Fault{"lock_left", "lock word not zero", "tcp"},
                                         Fault{"slot_left", "odd slot", "shm"},
                                         Fault{"record_broken", "which nobody wrote", "shm"}),
                         [](const auto& test) { return test.param.name; });

TEST(KillTest, WrongUseIsRefused) {
  for (const char* flag :
       {"--plant=nonsense", "--rounds=-1", "--servers=4", "--trust=nonsense", "word"}) {
    const Outcome outcome = KillRounds({flag});
    EXPECT_EQ(outcome.exit_code, 2) << flag;
    EXPECT_THAT(outcome.stderr_text, HasSubstr("--help")) << flag;
  }
}

}  // namespace
}  // namespace acre::tests
