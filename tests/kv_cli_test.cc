// kv_cli as a user's shell meets it, against a kv_server process.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/process.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

Outcome RunShell(const std::string& script) {
  auto process = Process::Start({"/bin/sh", "-c", script});
  CHECK(process.ok()) << process.status();
  return (*process)->Wait();
}

class KvCliTest : public testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() {
    auto server = KvServer::Start();
    CHECK(server.ok()) << server.status();
    server_ = server->release();
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }

  // `$CLI` in the script runs the program with this test's server.
  Outcome Run(const std::string& script, const std::string& flags = "") {
    return RunShell(absl::StrCat("CLI='client/kv_cli --servers=", server_->address(), " ", flags,
                                 "'\n", script));
  }

  static KvServer* server_;
};
KvServer* KvCliTest::server_ = nullptr;

TEST_F(KvCliTest, OneShotCommandsAndTheirExitCodes) {
  EXPECT_EQ(Run("$CLI put shot 'a value'").exit_code, 0);
  const Outcome got = Run("$CLI get shot");
  EXPECT_EQ(got.exit_code, 0);
  EXPECT_EQ(got.stdout_text, "a value");
  EXPECT_EQ(Run("$CLI del shot").exit_code, 0);
  const Outcome gone = Run("$CLI get shot");
  EXPECT_EQ(gone.exit_code, 1);
  EXPECT_EQ(gone.stdout_text, "");
  EXPECT_THAT(gone.stderr_text, HasSubstr("not found"));
  EXPECT_EQ(Run("$CLI del shot").exit_code, 1);
}

TEST_F(KvCliTest, EveryPathIsTaken) {
  EXPECT_EQ(Run("$CLI put paths value").exit_code, 0);
  for (const char* path : {"auto", "mapped", "one_sided", "rpc", "tcp"}) {
    const Outcome got = Run("$CLI get paths", absl::StrCat("--path=", path));
    EXPECT_EQ(got.exit_code, 0) << path << got.stderr_text;
    EXPECT_EQ(got.stdout_text, "value") << path;
  }
}

TEST_F(KvCliTest, BytesGoThroughUnchanged) {
  EXPECT_EQ(Run(R"($CLI put '"k\x00\xff"' '"a\x00\n\"b"')").exit_code, 0);
  EXPECT_EQ(Run(R"($CLI get '"k\x00\xff"')").stdout_text, std::string("a\0\n\"b", 5));
  // A file in, the same file out: its checksum is compared, all byte values and no line end among them.
  const Outcome file =
      Run("head -c 500000 /dev/urandom > \"$TEST_TMPDIR/in\" &&"
          "$CLI put blob - < \"$TEST_TMPDIR/in\" && $CLI get blob | cmp - \"$TEST_TMPDIR/in\"");
  EXPECT_EQ(file.exit_code, 0) << file.stderr_text;
}

TEST_F(KvCliTest, LinesFromStandardInput) {
  const Outcome lines =
      Run(R"(printf 'put a 1\n\nput "b c" "x\\ny"\nget a\nmget a "b c" d\n' | $CLI)");
  EXPECT_EQ(lines.stdout_text, "OK\nOK\n1\n\"1\"\n\"x\\ny\"\n(not found)\n");
  EXPECT_EQ(lines.exit_code, 1);  // Of the key that was not found.
  const Outcome good = Run("printf 'put a 1\\nget a\\nquit\\nget nothing\\n' | $CLI");
  EXPECT_EQ(good.exit_code, 0);
  EXPECT_EQ(good.stdout_text, "OK\n1\n");
}

TEST_F(KvCliTest, StatsAreLinesOfNameAndValue) {
  const Outcome stats = Run("$CLI stats");
  EXPECT_EQ(stats.exit_code, 0);
  EXPECT_THAT(stats.stdout_text, HasSubstr("gets_rpc "));
}

TEST_F(KvCliTest, WrongUseIsExitCodeTwo) {
  for (const char* command : {"$CLI nonsense", "$CLI get", "$CLI put k", "$CLI put k v w",
                              "$CLI --path=telepathy get k", "$CLI --no_such_flag get k",
                              "$CLI --servers=127.0.0.1:1,nonsense get k", R"($CLI get '"\q"')"}) {
    const Outcome outcome = Run(command);
    EXPECT_EQ(outcome.exit_code, 2) << command << outcome.stderr_text;
    EXPECT_NE(outcome.stderr_text, "") << command;
  }
}

TEST_F(KvCliTest, LimitsAreTold) {
  const Outcome empty = Run("$CLI put '' v");
  EXPECT_NE(empty.exit_code, 0);
  EXPECT_THAT(empty.stderr_text, HasSubstr("key is empty"));
  const Outcome large = Run("head -c 1048577 /dev/zero | $CLI put k -");
  EXPECT_EQ(large.exit_code, 1);
  EXPECT_THAT(large.stderr_text, HasSubstr("1048577"));
}

TEST_F(KvCliTest, NoServerIsOneClearLine) {
  const Outcome outcome = RunShell("client/kv_cli --servers=127.0.0.1:1 get k");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.stderr_text, HasSubstr("127.0.0.1:1"));
}

// Whatever the servers: there need not be one.
TEST_F(KvCliTest, CardForAFabricThatUsesNoneIsOneClearLine) {
  for (const char* fabric : {"shm", "tcp"}) {
    const Outcome outcome = RunShell(absl::StrCat(
        "client/kv_cli --servers=127.0.0.1:1 --device=mlx5_0 --fabric=", fabric, " get k"));
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(
        outcome.stderr_text,
        HasSubstr(absl::StrCat("device \"mlx5_0\" is an RDMA card's, and fabric ", fabric)));
    EXPECT_EQ(std::count(outcome.stderr_text.begin(), outcome.stderr_text.end(), '\n'), 1)
        << outcome.stderr_text;
  }
}

TEST_F(KvCliTest, HelpIsSuccess) {
  const Outcome help = RunShell("client/kv_cli --help");
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.stdout_text, HasSubstr("put KEY VALUE"));
}

}  // namespace
}  // namespace acre::tests
