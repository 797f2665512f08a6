// Puts that clients write into the server's memory by themselves (docs/updates.md), as users have them: a server with
// --trust, clients in processes and threads of their own, kill -9, processes that stand still. With ways_trusted_*.cc.

#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "tests/or_die.h"
#include "tests/process.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kPatienceNs = 60'000 * kNsPerMs;

// A value that shows whether it is whole.
std::string ValueOf(uint64_t number) { return absl::StrCat(number, ":", number * 7 + 3); }
bool IsWhole(absl::string_view value) {
  const size_t colon = value.find(':');
  uint64_t number;
  return colon != absl::string_view::npos && absl::SimpleAtoi(value.substr(0, colon), &number) &&
         value == ValueOf(number);
}

std::vector<Way> WaysOfOneSidedPuts() {
  std::vector<Way> ways;
  for (const Way& way : AllWays()) {
    if (way.put_path == PutPath::kOneSided) ways.push_back(way);
  }
  return ways;
}

class UpdatesTest : public testing::TestWithParam<Way> {
 protected:
  std::unique_ptr<Client> Writer() { return ConnectOrDie(server_->address(), GetParam()); }
  Way WayOfCalls() const { return {Path::kRpc, GetParam().fabric.c_str(), PutPath::kRpc}; }
  std::unique_ptr<Client> Caller() { return ConnectOrDie(server_->address(), WayOfCalls()); }
  // A process that updates the records 0 to 9 of ycsb, one-sided, till it is killed.
  std::unique_ptr<Process> StartHammer() {
    return StartYcsb(
        GetParam(), {"--records=10", "--workload=a", "--threads=2", "--seconds=600", "--warmup=0"});
  }
  // Writes all of them by RPC, which takes their locks.
  void WriteTen() {
    const Outcome outcome = StartYcsb(WayOfCalls(), {"--records=10", "--load"})->Wait();
    CHECK_EQ(outcome.exit_code, 0) << outcome.stderr_text;
  }
  // Asks the server till a number of its stats is at least so much.
  void AwaitStat(Client* client, const std::string& name, uint64_t at_least) {
    RealClock clock;
    const uint64_t give_up_ns = clock.NowNs() + kPatienceNs;
    while (StatOf(client, name) < at_least) {
      CHECK_LT(clock.NowNs(), give_up_ns) << client->ServerStats().value();
    }
  }
  std::unique_ptr<Process> StartYcsb(const Way& way, const std::vector<std::string>& more) {
    std::vector<std::string> command = CommandFor("bench/ycsb", server_->address(), way);
    command.insert(command.end(), more.begin(), more.end());
    auto process = Process::Start(std::move(command));
    CHECK(process.ok()) << process.status();
    return *std::move(process);
  }
  const std::unique_ptr<KvServer> server_ = StartOrDie({.more = {"--threads=2"}});
};

INSTANTIATE_TEST_SUITE_P(All, UpdatesTest, testing::ValuesIn(WaysOfOneSidedPuts()),
                         [](const auto& of) { return of.param.Name(); });

TEST_P(UpdatesTest, WritesWithoutTheServersCpuAndAllSeeIt) {
  const auto writer = Writer();
  const auto other_writer = Writer();
  const auto caller = Caller();
  const auto socket = ConnectOrDie(server_->address(), Path::kTcp);
  ASSERT_EQ(writer->Put("key", ValueOf(0)), absl::OkStatus()) << "an insert goes by RPC";
  EXPECT_EQ(writer->writer_stats().updates, 0u);
  const uint64_t puts_before = StatOf(caller.get(), "puts_rpc");
  const uint64_t rounds = WaysAreSlow() ? 100 : 300;
  for (uint64_t i = 1; i <= rounds; ++i) {
    Client* const by = i % 2 == 0 ? writer.get() : other_writer.get();
    ASSERT_EQ(by->Put("key", ValueOf(i)), absl::OkStatus());
    ASSERT_EQ(caller->Get("key").value(), ValueOf(i));
    ASSERT_EQ(socket->Get("key").value(), ValueOf(i));
    ASSERT_EQ(writer->Get("key").value(), ValueOf(i));
  }
  EXPECT_EQ(StatOf(caller.get(), "puts_rpc"), puts_before);
  EXPECT_EQ(writer->writer_stats().updates + other_writer->writer_stats().updates, rounds);
  // And what the server writes is not lost on them.
  ASSERT_EQ(caller->Put("key", ValueOf(1000)), absl::OkStatus());
  ASSERT_EQ(writer->Get("key").value(), ValueOf(1000));
  EXPECT_EQ(StatOf(caller.get(), "writers"), 2u);
}

TEST_P(UpdatesTest, WhatDoesNotLieInlineGoesByRpc) {
  const auto writer = Writer();
  const auto caller = Caller();
  const std::string long_value(1000, 'v');
  ASSERT_EQ(writer->Put("key", "short"), absl::OkStatus());
  ASSERT_EQ(writer->Put("key", long_value), absl::OkStatus());
  EXPECT_EQ(caller->Get("key").value(), long_value);
  // It would fit, but the record does not lie there.
  ASSERT_EQ(writer->Put("key", "short again"), absl::OkStatus());
  EXPECT_EQ(caller->Get("key").value(), "short again");
  ASSERT_EQ(writer->Put("key", "now in place"), absl::OkStatus());
  EXPECT_EQ(caller->Get("key").value(), "now in place");
  EXPECT_EQ(writer->writer_stats().updates, 1u);
  ASSERT_EQ(writer->Delete("key"), absl::OkStatus());
  ASSERT_EQ(writer->Put("key", "anew"), absl::OkStatus());
  EXPECT_EQ(caller->Get("key").value(), "anew");
}

// Goal: threads that write the same few records, by themselves and by the server, and one that reads: never a torn
// value; what each wrote last, with nobody else writing, stands.
TEST_P(UpdatesTest, ManyWritersOfFewRecords) {
  const uint64_t rounds = WaysAreSlow() ? 100 : 400;
  constexpr uint64_t kThreads = 4;
  const auto caller = Caller();
  for (int key = 0; key < 3; ++key) {
    ASSERT_EQ(caller->Put(absl::StrCat("key", key), ValueOf(0)), absl::OkStatus());
  }
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto client = t == 0 ? Caller() : Writer();
      for (uint64_t i = 1; i <= rounds; ++i) {
        const std::string key = absl::StrCat("key", (i + t) % 3);
        CHECK_EQ(client->Put(key, ValueOf(t * rounds + i)), absl::OkStatus());
        const std::string got = client->Get(key).value();
        CHECK(IsWhole(got)) << got;
      }
      CHECK_EQ(client->Put(absl::StrCat("own", t), "x"), absl::OkStatus());
      for (uint64_t i = 1; i <= rounds; ++i) {
        CHECK_EQ(client->Put(absl::StrCat("own", t), ValueOf(i)), absl::OkStatus());
        CHECK_EQ(client->Get(absl::StrCat("own", t)).value(), ValueOf(i));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Goal: a client that dies in the middle of updates leaves no lock taken and no record torn, whenever that is.
TEST_P(UpdatesTest, KilledWritersLeaveNothingBehind) {
  WriteTen();
  const auto caller = Caller();
  const uint64_t rounds = WaysAreSlow() ? 2 : 5;
  for (uint64_t round = 1; round <= rounds; ++round) {
    const auto one = StartHammer();
    const auto other = StartHammer();
    AwaitStat(caller.get(), "writers_joined", 4 * round);
    one->Signal(SIGKILL);
    EXPECT_EQ(one->Wait().signal, SIGKILL);
    AwaitStat(caller.get(), "writers_fenced", 4 * round - 2);
    WriteTen();
    other->Signal(SIGKILL);
    EXPECT_EQ(other->Wait().signal, SIGKILL);
    AwaitStat(caller.get(), "writers_fenced", 4 * round);
    WriteTen();
  }
  EXPECT_EQ(StatOf(caller.get(), "writers"), 0u);
}

// Goal: one that stands still, with locks or without, holds up nobody for long; when it goes on it changes nothing.
TEST_P(UpdatesTest, StoppedWritersHoldUpNobody) {
  WriteTen();
  const auto caller = Caller();
  const uint64_t rounds = WaysAreSlow() ? 2 : 3;
  for (uint64_t round = 1; round <= rounds; ++round) {
    const auto hammer = StartHammer();
    AwaitStat(caller.get(), "writers_joined", 2 * round);
    hammer->Freeze();
    WriteTen();
    hammer->Signal(SIGCONT);
    WriteTen();
    hammer->Signal(SIGKILL);
    (void)hammer->Wait();
  }
}

TEST_P(UpdatesTest, WhoLeavesInOrderIsNotKilled) {
  ASSERT_EQ(Caller()->Put("key", "before"), absl::OkStatus());
  for (int i = 0; i < 3; ++i) {
    std::vector<std::string> command = CommandFor("client/kv_cli", server_->address(), GetParam());
    for (const std::string& word :
         {std::string("put"), std::string("key"), absl::StrCat("after", i)})
      command.push_back(word);
    auto process = Process::Start(std::move(command));
    ASSERT_TRUE(process.ok());
    const Outcome outcome = (*process)->Wait();
    EXPECT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
    EXPECT_EQ(Caller()->Get("key").value(), absl::StrCat("after", i));
  }
  const auto caller = Caller();
  AwaitStat(caller.get(), "writers_fenced", 3);
  EXPECT_EQ(StatOf(caller.get(), "writers_killed"), 0u);
  EXPECT_EQ(StatOf(caller.get(), "puts_rpc"), 1u);
}

TEST_P(UpdatesTest, AServerThatStopsSendsWritersAwayAlive) {
  const auto writer = Writer();
  ASSERT_EQ(writer->Put("key", "1"), absl::OkStatus());
  ASSERT_EQ(writer->Put("key", "2"), absl::OkStatus());
  EXPECT_EQ(server_->Stop().exit_code, 0);
  EXPECT_TRUE(absl::IsUnavailable(writer->Put("key", "3")));
  ASSERT_EQ(server_->Launch(), absl::OkStatus());
  ASSERT_EQ(server_->WaitTillListening(), absl::OkStatus());
  ASSERT_EQ(writer->Put("key", "4"), absl::OkStatus());
  ASSERT_EQ(writer->Put("key", "5"), absl::OkStatus());
  EXPECT_EQ(writer->Get("key").value(), "5");
  EXPECT_EQ(writer->writer_stats().updates, 2u);
}

// Goal: auto finds out by itself, over a network; on one machine there is nothing to find out.
TEST_P(UpdatesTest, AutoMeasuresBothWays) {
  const auto client =
      ConnectOrDie(server_->address(), {GetParam().path, GetParam().fabric.c_str()});
  const bool is_network = GetParam().fabric != "shm";
  RealClock clock;
  const uint64_t give_up_ns = clock.NowNs() + kPatienceNs;
  uint64_t puts = 0;
  // The first try only begins to join, beside further Puts.
  while (puts < 1'500 || (is_network && client->writer_stats().updates == 0)) {
    ASSERT_EQ(client->Put("key", ValueOf(++puts)), absl::OkStatus());
    ASSERT_LT(clock.NowNs(), give_up_ns);
  }
  EXPECT_EQ(client->Get("key").value(), ValueOf(puts));
  EXPECT_EQ(StatOf(client.get(), "writers_joined"), is_network ? 1u : 0u);
}

TEST(UpdatesWithoutTrust, AreRefusedInWords) {
  const auto server = StartOrDie({.more = {"--fabric=shm,tcp", "--device=", "--trust=false"}});
  const auto one_sided = ConnectOrDie(server->address(), {Path::kAuto, "auto", PutPath::kOneSided});
  const absl::Status refused = one_sided->Put("key", "value");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("--trust"));
  const auto automatic = ConnectOrDie(server->address(), {Path::kOneSided, "tcp"});
  for (int i = 0; i < 1'500; ++i) ASSERT_EQ(automatic->Put("key", "value"), absl::OkStatus());
  EXPECT_EQ(automatic->writer_stats().updates, 0u);
}

TEST(UpdatesOnAnotherFabric, AreRefusedInWords) {
  const auto server = StartOrDie({.more = {"--fabric=shm,tcp", "--device=", "--trust"}});
  const auto over_tcp =
      ConnectOrDie(server->address(), {Path::kOneSided, "tcp", PutPath::kOneSided});
  const absl::Status refused = over_tcp->Put("key", "value");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("fabric"));
  EXPECT_EQ(ConnectOrDie(server->address(), {Path::kOneSided, "tcp"})->Put("key", "value"),
            absl::OkStatus());
}

}  // namespace
}  // namespace acre::tests
