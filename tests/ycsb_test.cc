// The load generator, as quickstart and users run it, against a kv_server process. A smoke test: what it
// measures is of no interest here.

#include <errno.h>
#include <signal.h>

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
using testing::Not;

class YcsbTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = KvServer::Start();
    CHECK(server.ok()) << server.status();
    server_ = server->release();
    const Outcome early = Run({});
    EXPECT_EQ(early.exit_code, 1);
    EXPECT_THAT(early.stderr_text, HasSubstr("--load"));
    const Outcome loaded = Run({"--load"});
    CHECK_EQ(loaded.exit_code, 0) << loaded.stderr_text;
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }

  static Outcome Run(std::vector<std::string> flags) {
    std::vector<std::string> command = {"bench/ycsb", "--records=5000", "--seconds=0.2",
                                        "--warmup=0.1",
                                        absl::StrCat("--servers=", server_->address())};
    command.insert(command.end(), flags.begin(), flags.end());
    auto process = Process::Start(command);
    CHECK(process.ok()) << process.status();
    return (*process)->Wait();
  }
  // Runs with --json and gives the rows.
  static nlohmann::json RunForRows(std::vector<std::string> flags) {
    const std::string file = absl::StrCat(testing::TempDir(), "/rows.json");
    flags.push_back(absl::StrCat("--json=", file));
    const Outcome outcome = Run(std::move(flags));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
    std::ifstream stream(file);
    return nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
  }
  static std::string WriteFile(const std::string& name, const std::string& text) {
    const std::string path = absl::StrCat(testing::TempDir(), "/", name);
    std::ofstream(path) << text;
    return path;
  }

  static KvServer* server_;
};
KvServer* YcsbTest::server_ = nullptr;

TEST_F(YcsbTest, EveryWorkloadRunsOnEveryPath) {
  for (const char* workload : {"a", "b", "c", "d", "f"}) {
    for (const char* batch : {"1", "8"}) {
      const nlohmann::json rows =
          RunForRows({absl::StrCat("--workload=", workload), absl::StrCat("--batch=", batch),
                      "--path=mapped,one_sided,rpc,tcp"});
      ASSERT_EQ(rows.size(), 4u);
      for (const nlohmann::json& row : rows) {
        EXPECT_EQ(row["workload"], workload);
        EXPECT_EQ(row["errors"], 0);
        EXPECT_GT(row["ops_per_second"], 0);
        EXPECT_GT(row["latency_us"]["p999"], 0);
        EXPECT_GE(row["latency_us"]["max"], row["latency_us"]["p50"]);
        const bool is_read_remotely = row["path"] == "mapped" || row["path"] == "one_sided";
        EXPECT_EQ(row["reads_per_get"].is_null(), !is_read_remotely);
        if (is_read_remotely) {
          EXPECT_GE(row["reads_per_get"], 1);
        }
        EXPECT_TRUE(row.contains("threads") && row.contains("machine") && row.contains("fabric"));
      }
    }
  }
}

TEST_F(YcsbTest, SeveralThreadsShareTheInserts) {
  const nlohmann::json rows =
      RunForRows({"--workload=d", "--threads=3", "--path=auto,rpc,tcp", "--batch=4"});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["threads"], 3);
}

// Goal: every kind of operation goes at its time on every path; one row for each rate and path. What it
// achieves may be anything but more than was to begin.
TEST_F(YcsbTest, OpenLoopKeepsToItsRateOnEveryPath) {
  for (const char* workload : {"b", "d", "f"}) {
    for (const char* batch : {"1", "8"}) {
      const nlohmann::json rows = RunForRows(
          {absl::StrCat("--workload=", workload), absl::StrCat("--batch=", batch), "--seconds=0.3",
           "--target_ops=400,0.8K", "--path=mapped,one_sided,rpc,tcp", "--connections=3"});
      ASSERT_EQ(rows.size(), 8u);
      for (size_t i = 0; i < rows.size(); ++i) {
        EXPECT_EQ(rows[i]["target_ops_per_second"], i < 4 ? 400.0 : 800.0);
        EXPECT_EQ(rows[i]["path"], rows[i % 4]["path"]);
        EXPECT_EQ(rows[i]["errors"], 0);
        EXPECT_GT(rows[i]["operations"], 0);
        EXPECT_LT(rows[i]["ops_per_second"],
                  1000);  // Ten deviations; a closed loop does thousands.
        EXPECT_GT(rows[i]["latency_us"]["max"], 0);
      }
    }
  }
}

// Goal: who asks for more than can be is told, on every path; latencies count from the intended start, so
// they have the length of the run in them.
TEST_F(YcsbTest, SaturatedOpenLoopSaysSo) {
  const std::string file = absl::StrCat(testing::TempDir(), "/saturated.json");
  const Outcome outcome = Run({"--target_ops=1G", "--path=mapped,one_sided,rpc,tcp", "--batch=4",
                               absl::StrCat("--json=", file)});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
  std::ifstream stream(file);
  const nlohmann::json rows = nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
  ASSERT_EQ(rows.size(), 4u);
  for (const nlohmann::json& row : rows) {
    EXPECT_EQ(row["saturated"], true);
    EXPECT_LT(row["ops_per_second"], 1e9);
    EXPECT_GT(row["latency_us"]["max"], 10'000) << row["path"];
    const auto path = row["path"].get<std::string>();
    EXPECT_THAT(outcome.stdout_text, HasSubstr(absl::StrCat(path, " is saturated")));
  }
}

TEST_F(YcsbTest, ClosedLoopHasNoTarget) {
  const nlohmann::json rows = RunForRows({"--path=mapped"});
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_TRUE(rows[0]["target_ops_per_second"].is_null());
  EXPECT_EQ(rows[0]["saturated"], false);
  EXPECT_EQ(rows[0]["processes"], 1);
}

// Goal: processes share the work, and their counts add up: not an operation is lost or counted twice.
TEST_F(YcsbTest, SeveralProcessesAddUpToOneTable) {
  const std::string file = WriteFile("counted.properties",
                                     "recordcount=5000\noperationcount=1200\nreadproportion=0.5\n"
                                     "updateproportion=0.5\nfieldcount=1\nfieldlength=32\n");
  for (const char* target : {"--target_ops=100K", "--target_ops="}) {
    const std::string json = absl::StrCat(testing::TempDir(), "/processes.json");
    // Without --seconds, which would win over the file's count.
    auto process = Process::Start({"bench/ycsb", absl::StrCat("--servers=", server_->address()),
                                   "--warmup=0", absl::StrCat("--workload=", file), "--processes=3",
                                   "--threads=2", "--path=one_sided,rpc,tcp", "--connections=2",
                                   target, absl::StrCat("--json=", json)});
    ASSERT_TRUE(process.ok());
    const Outcome outcome = (*process)->Wait();
    ASSERT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
    std::ifstream stream(json);
    const nlohmann::json rows = nlohmann::json::parse(stream, nullptr, /*allow_exceptions=*/false);
    ASSERT_EQ(rows.size(), 3u);
    for (const nlohmann::json& row : rows) {
      EXPECT_EQ(row["operations"], 1200) << row["path"];
      EXPECT_EQ(row["errors"], 0);
      EXPECT_EQ(row["processes"], 3);
      EXPECT_EQ(row["threads"], 2);
      EXPECT_GT(row["ops_per_second"], 0);
    }
  }
}

// Goal: a process that dies under load makes the run fail, says so, and leaves nobody behind.
TEST_F(YcsbTest, DeadProcessIsToldAndLeavesNobody) {
  auto process = Process::Start({"bench/ycsb", "--records=5000", "--seconds=600",
                                 absl::StrCat("--servers=", server_->address()), "--processes=3",
                                 "--path=mapped,rpc"});
  ASSERT_TRUE(process.ok());
  const absl::StatusOr<std::string> line = (*process)->WaitForOutput("load processes:");
  ASSERT_TRUE(line.ok()) << line.status();
  std::vector<pid_t> pids;
  for (const absl::string_view word : absl::StrSplit(*line, ' ')) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(word, &pid)) pids.push_back(pid);
  }
  ASSERT_EQ(pids.size(), 3u);
  ASSERT_EQ(kill(pids[1], SIGKILL), 0);
  const Outcome outcome = (*process)->Wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.stderr_text, HasSubstr("load process 2 of 3"));
  EXPECT_THAT(outcome.stderr_text, HasSubstr("signal 9"));
  EXPECT_THAT(outcome.stdout_text, Not(HasSubstr("operations/s")));
  for (const pid_t pid : pids) {
    EXPECT_EQ(kill(pid, 0), -1);
    EXPECT_EQ(errno, ESRCH);
  }
}

// Goal: what keeps a process from its work is told once, by the parent.
TEST_F(YcsbTest, ProcessesThatCannotWorkSayWhy) {
  // The first path is there: only the processes look at the second.
  const Outcome fabric = Run({"--processes=2", "--path=tcp,rpc", "--fabric=pigeon"});
  EXPECT_EQ(fabric.exit_code, 1);
  EXPECT_THAT(fabric.stderr_text, HasSubstr("pigeon"));
  EXPECT_EQ(fabric.stderr_text.find("ycsb:"), fabric.stderr_text.rfind("ycsb:"));
}

TEST_F(YcsbTest, CurveIsDrawn) {
  const std::string file = absl::StrCat(testing::TempDir(), "/load.png");
  const Outcome outcome =
      Run({"--target_ops=100,1G", "--path=mapped,tcp", absl::StrCat("--plot=", file)});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
  std::string magic(8, '\0');
  std::ifstream(file).read(magic.data(), 8);
  EXPECT_EQ(magic, "\x89PNG\r\n\x1a\n");

  const Outcome nowhere = Run({"--path=mapped", "--plot=/no/such/folder/load.png"});
  EXPECT_EQ(nowhere.exit_code, 1);
  EXPECT_THAT(nowhere.stderr_text, HasSubstr("/no/such/folder/load.png"));
}

TEST_F(YcsbTest, PropertyFileIsFollowed) {
  const std::string file =
      WriteFile("mix.properties",
                "recordcount=5000\noperationcount=400\nreadproportion=0.5\nupdateproportion=0.25\n"
                "insertproportion=0.25\nrequestdistribution=uniform\nfieldcount=1\nfieldlength=24\n"
                "someproperty=1\n");
  const Outcome outcome = Run({absl::StrCat("--workload=", file), "--path=rpc"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
  EXPECT_THAT(outcome.stdout_text, HasSubstr("16 B + 24 B"));
  EXPECT_THAT(outcome.stderr_text, HasSubstr("someproperty"));
}

TEST_F(YcsbTest, ScansAreRefused) {
  const Outcome preset = Run({"--workload=e"});
  EXPECT_EQ(preset.exit_code, 1);
  EXPECT_THAT(preset.stderr_text, HasSubstr("ordered index"));
  const std::string file = WriteFile("scan.properties", "readproportion=0.5\nscanproportion=0.5\n");
  EXPECT_THAT(Run({absl::StrCat("--workload=", file)}).stderr_text, HasSubstr("ordered index"));
}

TEST_F(YcsbTest, WrongFlagsAreOneClearLine) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"--records=0", "records"},        {"--path=telepathy", "telepathy"},
      {"--value_bytes=8", "16"},         {"--key_bytes=3", "key_bytes"},
      {"--threads=0", "threads"},        {"--processes=0", "processes"},
      {"--target_ops=fast", "fast"},     {"--target_ops=100,,200", "--target_ops"},
      {"--distribution=odd", "uniform"}, {"--servers=127.0.0.1:1", "127.0.0.1:1"},
      {"--fabric=pigeon", "pigeon"},     {"word", "word"}};
  for (const auto& [flag, why] : cases) {
    const Outcome outcome = Run({flag});
    EXPECT_EQ(outcome.exit_code, 1) << flag;
    EXPECT_THAT(outcome.stderr_text, HasSubstr(why)) << flag;
  }
}

// Goal: values that another program wrote are noticed, counted, and make the run fail.
TEST_F(YcsbTest, ForeignValuesAreErrors) {
  const Outcome loaded = Run({"--load", "--records=10", "--key_bytes=20"});
  ASSERT_EQ(loaded.exit_code, 0) << loaded.stderr_text;
  auto process = Process::Start({"client/kv_cli", absl::StrCat("--servers=", server_->address()),
                                 "put", "user0000000000000003", "not what was loaded"});
  ASSERT_TRUE(process.ok());
  ASSERT_EQ((*process)->Wait().exit_code, 0);
  for (const char* path : {"mapped", "one_sided", "rpc", "tcp"}) {
    const Outcome outcome = Run({"--records=10", "--key_bytes=20", absl::StrCat("--path=", path)});
    EXPECT_EQ(outcome.exit_code, 1) << path;
    EXPECT_THAT(outcome.stderr_text, HasSubstr("record 3")) << path;
  }
}

}  // namespace
}  // namespace acre::tests
