// kv_doctor as users run it, on a machine without an RDMA card. (With one, real or emulated:
// //server/doctor:machine_guest_test and pair_guest_test.)

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/process.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

Outcome RunDoctor(std::vector<std::string> flags) {
  flags.insert(flags.begin(), {"server/kv_doctor", "--memory=64M"});
  return Process::Start(std::move(flags)).value()->Wait();
}

bool HasCard() { return std::filesystem::exists("/sys/class/infiniband"); }

TEST(DoctorTest, WithoutACardAllIsWellForWhoWantsNone) {
  for (const char* flag : {"--fabric=shm,tcp", "--fabric=tcp"}) {
    const Outcome outcome = RunDoctor({flag});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.stdout_text << outcome.stderr_text;
    EXPECT_THAT(outcome.stdout_text, HasSubstr("\nok    --fabric"));
    EXPECT_THAT(outcome.stdout_text, HasSubstr(" 0 BAD\n"));
  }
  if (HasCard()) return;
  const Outcome outcome = RunDoctor({});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stdout_text << outcome.stderr_text;
  EXPECT_THAT(outcome.stdout_text, HasSubstr("auto gives shm and tcp\n"));
  EXPECT_THAT(outcome.stdout_text, HasSubstr("this machine has no RDMA device"));
}

TEST(DoctorTest, WithoutACardWhoWantsVerbsIsToldWhatToDo) {
  const std::string json_path = testing::TempDir() + "/doctor.json";
  // Nobody's card, on any machine.
  std::vector<std::string> flags = {"--fabric=verbs", "--device=no_card_0", "--json=" + json_path};
  const Outcome outcome = RunDoctor(flags);
  EXPECT_EQ(outcome.exit_code, 1) << outcome.stdout_text;
  EXPECT_THAT(outcome.stdout_text, HasSubstr("\nBAD   device"));
  if (!HasCard()) {
    EXPECT_THAT(outcome.stdout_text, HasSubstr("mend:  modprobe rdma_rxe && rdma link add"));
  }
  std::ifstream file(json_path);
  const nlohmann::json json =
      nlohmann::json::parse(std::string(std::istreambuf_iterator<char>(file), {}));
  EXPECT_GE(json["bad"], 1);
  for (const nlohmann::json& check : json["checks"]) {
    EXPECT_TRUE(check["verdict"] != "BAD" || !check["mend"].empty()) << check;
  }
}

TEST(DoctorTest, APairOfProcesses) {
  const auto host =
      Process::Start({"server/kv_doctor", "--serve", "--listen=127.0.0.1:0", "--fabric=shm,tcp"})
          .value();
  const std::string line = host->WaitForOutput("waits for a peer on ").value();
  const std::string address = line.substr(line.find(" on ") + 4);
  const Outcome outcome = RunDoctor({address.substr(0, address.find(' ')), "--fabric=shm,tcp"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stdout_text << outcome.stderr_text;
  EXPECT_THAT(outcome.stdout_text, HasSubstr("\nok    pair shm"));
  EXPECT_THAT(outcome.stdout_text, HasSubstr("\nok    pair tcp"));
  host->Signal(SIGTERM);
  EXPECT_EQ(host->Wait().exit_code, 0);
}

// Neither takes the other for one of its kind.
TEST(DoctorTest, AServerIsNoDoctor) {
  const auto server = KvServer::Start().value();
  const Outcome outcome = RunDoctor({server->address(), "--fabric=tcp"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.stdout_text, HasSubstr("\nBAD   handshake"));
  EXPECT_THAT(outcome.stdout_text, HasSubstr("a kv_server is none"));
  EXPECT_EQ(server->Stop().exit_code, 0);
}

TEST(DoctorTest, FlagsThatMakeNoSenseAreRefused) {
  const std::vector<std::vector<std::string>> wrong = {
      {"--fabric=infiniband"},
      {"--fabric="},
      {"--device=mlx5_0", "--fabric=shm,tcp"},
      {"--device=mlx5_0", "--fabric=tcp", "--serve"},
      {"--memory=much"},
      {"HOST"},
      {"a:1", "b:2"},
      {"--serve", "a:1"},
      {"--listen=nowhere"},
      {"--secret_file="},
      {"--json=/nowhere/at/all"},
      {"--no_such_flag"},
      {"--serve", "--listen=0.0.0.0:0"}};
  for (const std::vector<std::string>& flags : wrong) {
    const Outcome outcome = RunDoctor(flags);
    EXPECT_EQ(outcome.exit_code, 1) << flags[0];
    EXPECT_FALSE(outcome.stderr_text.empty()) << flags[0];
  }
}

}  // namespace
}  // namespace acre::tests
