// bench/messages, as users run it: two processes, rings and TCP in turns. A smoke test: what it measures is of
// no interest here.

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

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
#include "runtime/scoped_fd.h"
#include "tests/process.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

std::unique_ptr<Process> Start(std::vector<std::string> flags) {
  std::vector<std::string> command = {"bench/messages", "--poll=adaptive"};
  command.insert(command.end(), flags.begin(), flags.end());
  auto process = Process::Start(command);
  CHECK(process.ok()) << process.status();
  return *std::move(process);
}

// The number that stands behind "server process: ".
pid_t ServerPid(Process* process) {
  const absl::StatusOr<std::string> line = process->WaitForOutput("server process:");
  CHECK(line.ok()) << line.status();
  const std::vector<absl::string_view> words = absl::StrSplit(*line, ' ');
  pid_t pid = 0;
  CHECK(absl::SimpleAtoi(words.back(), &pid)) << *line;
  return pid;
}

// Goal: each load goes both ways, the rows that the reach compares are there, and all are drawn.
TEST(MessagesTest, EveryLoadIsMeasuredBothWays) {
  const std::string json = absl::StrCat(testing::TempDir(), "/messages.json");
  const std::string plot = absl::StrCat(testing::TempDir(), "/messages.png");
  const Outcome outcome =
      Start({"--bytes=0,16,4096", "--connections=1,16", "--outstanding=1,3,16", "--seconds=0.02",
             "--rounds=2", absl::StrCat("--json=", json), absl::StrCat("--plot=", plot)})
          ->Wait();
  ASSERT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
  std::ifstream stream(json);
  const nlohmann::json rows = nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
  int ways[2] = {};
  int paced_count = 0;
  int reaches_count = 0;
  for (const nlohmann::json& row : rows) {
    if (row.contains("reach")) {
      ++reaches_count;
      EXPECT_GT(row["ratio"], 0);
      continue;
    }
    EXPECT_GT(row["calls_per_second"], 0);
    EXPECT_GT(row["latency_us"]["p50"], 0);
    EXPECT_GE(row["latency_us"]["p99"], row["latency_us"]["p50"]);
    EXPECT_EQ(row["fabric"], row["way"] == "ring" ? "shm" : "socket");
    for (const char* cost : {"verbs_per_call", "round_trips_per_call", "server_verbs_per_call"}) {
      EXPECT_EQ(row[cost].is_number(), row["way"] == "ring") << cost;
    }
    if (row["target_calls_per_second"].is_null()) {
      ++ways[row["way"] == "ring"];
    } else {
      ++paced_count;
    }
  }
  EXPECT_EQ(ways[0], 18);
  EXPECT_EQ(ways[1], 18);
  EXPECT_EQ(paced_count, 3);
  EXPECT_EQ(reaches_count, 6);
  EXPECT_THAT(outcome.stdout_text, HasSubstr("wanted  9"));
  EXPECT_THAT(outcome.stdout_text, HasSubstr("wanted 40"));
  EXPECT_TRUE(std::ifstream(plot).is_open());
}

TEST(MessagesTest, WrongFlagsAreOneClearLine) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"--fabric=pigeon", "pigeon"},
      {"--poll=never", "never"},
      {"--bytes=16,x", "\"x\""},
      {"--connections=0", "0"},
      {"--outstanding=1,1", "twice"},
      {"--seconds=0", "seconds"},
      {"--rounds=0", "rounds"},
      {"word", "word"},
      {"--device=rxe0", "choose fabric verbs"},
      {"--server_device=rxe0", "--server_device: device \"rxe0\""}};
  for (const auto& [flag, why] : cases) {
    const Outcome outcome = Start({flag})->Wait();
    EXPECT_EQ(outcome.exit_code, 1) << flag;
    EXPECT_THAT(outcome.stderr_text, HasSubstr(why)) << flag;
  }
}

// Goal: a server that dies ends the run with its name, whichever way is being measured.
TEST(MessagesTest, DeadServerIsTold) {
  for (const char* bytes : {"16", "512"}) {
    const std::unique_ptr<Process> process =
        Start({"--seconds=1000", "--rounds=1000", absl::StrCat("--bytes=", bytes)});
    ASSERT_EQ(kill(ServerPid(process.get()), SIGKILL), 0);
    const Outcome outcome = process->Wait();
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(outcome.stderr_text, HasSubstr("signal 9"));
  }
}

// Goal: a client that is killed leaves no server behind.
TEST(MessagesTest, ServerEndsWithItsClient) {
  const std::unique_ptr<Process> process = Start({"--seconds=1000", "--rounds=1000"});
  const pid_t server = ServerPid(process.get());
  const ScopedFd end(static_cast<int>(syscall(SYS_pidfd_open, server, 0)));
  ASSERT_TRUE(end.is_open());
  process->Signal(SIGKILL);
  EXPECT_EQ(process->Wait().signal, SIGKILL);
  pollfd ready = {.fd = end.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&ready, 1, /*timeout_ms=*/60'000), 1) << "the server goes on";
}

}  // namespace
}  // namespace acre::tests
