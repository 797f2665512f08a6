// The load generator, as quickstart and users run it, against a kv_server process. A smoke test: what it
// measures is of no interest here.

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
      {"--records=0", "records"},
      {"--path=telepathy", "telepathy"},
      {"--value_bytes=8", "16"},
      {"--key_bytes=3", "key_bytes"},
      {"--threads=0", "threads"},
      {"--distribution=odd", "uniform"},
      {"--servers=127.0.0.1:1", "127.0.0.1:1"},
      {"--fabric=pigeon", "pigeon"},
      {"word", "word"}};
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
