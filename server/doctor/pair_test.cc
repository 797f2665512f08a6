// Both sides of a pair in one process, on the fabrics that every machine has.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/system_random.h"
#include "server/doctor/pair_checks.h"
#include "server/doctor/pair_host.h"
#include "transport/secret.h"
#include "transport/socket.h"

namespace acre::doctor {
namespace {

using Secret = std::shared_ptr<const transport::Secret>;

Secret SecretOf(absl::string_view text) {
  return transport::Secret::FromBytes(std::string(text)).value();
}

std::unique_ptr<PairHost> StartHost(Clock* clock, std::vector<std::string> fabrics,
                                    Secret secret = nullptr) {
  PairHostOptions options;
  options.clock = clock;
  options.listen = {"127.0.0.1", 0};
  options.fabrics = std::move(fabrics);
  options.secret = std::move(secret);
  options.fill_random = FillSystemRandom;
  options.say = [](absl::string_view) {};
  return PairHost::Start(std::move(options)).value();
}

std::vector<Check> CheckAgainst(Clock* clock, absl::string_view peer,
                                std::vector<std::string> fabrics, Secret secret = nullptr) {
  PairOptions options;
  options.clock = clock;
  options.peer = transport::ParseHostPort(peer).value();
  options.fabrics = std::move(fabrics);
  options.credentials = {std::move(secret), FillSystemRandom};
  Findings findings;
  CheckPair(options, &findings);
  return findings.all();
}

std::string AsText(const std::vector<Check>& checks) {
  return absl::StrJoin(checks, "", [](std::string* text, const Check& check) {
    text->append(FormatCheck(check, /*in_colour=*/false));
  });
}

TEST(PairTest, BothWaysOnEachFabric) {
  RealClock clock;
  const auto host = StartHost(&clock, {"shm", "tcp"});
  const std::vector<Check> checks = CheckAgainst(&clock, host->address(), {"shm", "tcp"});
  ASSERT_EQ(checks.size(), 3u) << AsText(checks);
  for (const Check& check : checks) EXPECT_EQ(check.verdict, Verdict::kOk) << AsText(checks);
  EXPECT_EQ(checks[1].what, "pair shm");
  EXPECT_EQ(checks[2].what, "pair tcp");
  for (const int i : {1, 2}) {
    EXPECT_EQ(checks[i].figures.size(), 6u);
    for (const auto& [name, value] : checks[i].figures) EXPECT_GT(value, 0) << name;
  }
}

TEST(PairTest, SeveralPeersOneAfterTheOther) {
  RealClock clock;
  const auto host = StartHost(&clock, {"tcp"});
  // More than may be there at a time: those that left make room.
  for (size_t i = 0; i < PairHost::kPeersMax + 2; ++i) {
    const std::vector<Check> checks = CheckAgainst(&clock, host->address(), {"tcp"});
    for (const Check& check : checks) ASSERT_EQ(check.verdict, Verdict::kOk) << AsText(checks);
  }
}

TEST(PairTest, WhatThePeerHasNotIsBadOnlyIfNamed) {
  RealClock clock;
  const auto host = StartHost(&clock, {"tcp"});
  const std::vector<Check> named = CheckAgainst(&clock, host->address(), {"shm", "tcp"});
  ASSERT_EQ(named.size(), 3u) << AsText(named);
  EXPECT_EQ(named[1].verdict, Verdict::kBad) << AsText(named);
  EXPECT_EQ(named[1].found, "the peer has tcp only");
  EXPECT_EQ(named[2].verdict, Verdict::kOk) << AsText(named);
  for (const Check& check : CheckAgainst(&clock, host->address(), {"auto"})) {
    EXPECT_NE(check.verdict, Verdict::kBad) << FormatCheck(check, false);
  }
}

TEST(PairTest, TheSecretIsProved) {
  RealClock clock;
  const auto host = StartHost(&clock, {"tcp"}, SecretOf("0123456789abcdef"));
  const std::vector<Check> right =
      CheckAgainst(&clock, host->address(), {"tcp"}, SecretOf("0123456789abcdef"));
  for (const Check& check : right) EXPECT_EQ(check.verdict, Verdict::kOk) << AsText(right);
  for (const Secret& secret : {Secret(), SecretOf("another-secret-0")}) {
    const std::vector<Check> wrong = CheckAgainst(&clock, host->address(), {"tcp"}, secret);
    ASSERT_EQ(wrong.size(), 1u) << AsText(wrong);
    EXPECT_EQ(wrong[0].verdict, Verdict::kBad);
    EXPECT_TRUE(absl::StrContains(wrong[0].mend.at(0), "scp acre.secret")) << AsText(wrong);
  }
}

TEST(PairTest, NobodyThereIsBadWithTheCommandThatStartsOne) {
  RealClock clock;
  std::string address;
  { address = StartHost(&clock, {"tcp"})->address(); }
  const std::vector<Check> checks = CheckAgainst(&clock, address, {"tcp"});
  ASSERT_EQ(checks.size(), 1u) << AsText(checks);
  EXPECT_EQ(checks[0].what, "handshake");
  EXPECT_EQ(checks[0].verdict, Verdict::kBad);
  EXPECT_TRUE(absl::StartsWith(checks[0].mend.at(0), "kv_doctor --serve --listen=" + address))
      << AsText(checks);
}

TEST(PairTest, OtherMachinesNeedASecret) {
  RealClock clock;
  PairHostOptions options;
  options.clock = &clock;
  options.listen = {"0.0.0.0", 0};
  options.fabrics = {"tcp"};
  options.fill_random = FillSystemRandom;
  options.say = [](absl::string_view) {};
  const absl::Status status = PairHost::Start(options).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "--secret_file")) << status;
}

}  // namespace
}  // namespace acre::doctor
