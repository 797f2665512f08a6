#include "bench/message_rounds.h"

#include <sys/socket.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "runtime/clock.h"
#include "runtime/scoped_fd.h"
#include "transport/fabric.h"

namespace acre::bench {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

MessageRow Row(MessageWay way, uint64_t connections, uint64_t outstanding,
               std::vector<double> calls_per_second, std::vector<double> p50_us) {
  return {.way = way,
          .bytes = 64,
          .connections = connections,
          .outstanding = outstanding,
          .paced = false,
          .calls_per_second = calls_per_second,
          .target_per_second = {},
          .p50_us = p50_us,
          .p99_us = p50_us};
}

// Goal: each reach compares the loads that it names, the right way round.
TEST(ReachesTest, CompareTheLoadsOfTheIssue) {
  std::vector<MessageRow> rows = {
      Row(MessageWay::kRing, 1, 16, {1000, 2000, 3000}, {5, 5, 5}),
      Row(MessageWay::kTcp, 1, 16, {1, 1, 1}, {1, 1, 1}),
      Row(MessageWay::kRing, 16, 1, {7, 7, 7}, {7, 7, 7}),
      Row(MessageWay::kTcp, 16, 1, {100, 100, 100}, {80, 90, 100}),
      Row(MessageWay::kRing, 1, 16, {100, 100, 100}, {2, 2, 2}),
  };
  rows.back().paced = true;
  rows.back().target_per_second = {100, 100, 100};
  const std::vector<Reach> reaches = Reaches(rows);
  ASSERT_EQ(reaches.size(), 2u);
  EXPECT_EQ(reaches[0].what, "rate");
  EXPECT_EQ(reaches[0].ratio, 20);
  EXPECT_EQ(reaches[1].what, "p50");
  EXPECT_EQ(reaches[1].ratio, 45);
  EXPECT_THAT(FormatReaches(reaches), HasSubstr("reached"));
  // The paced row stands apart: it belongs to no pair.
  const std::string table = FormatMessages(rows);
  EXPECT_THAT(table, HasSubstr("open loop"));
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 4);

  EXPECT_TRUE(Reaches({rows[0], rows[1]}).empty());
  EXPECT_EQ(FormatReaches({}), "");
}

TEST(CostTest, IsToldPerCallOfRingsAndNotOfTcp) {
  MessageRow ring = Row(MessageWay::kRing, 1, 1, {100}, {1});
  ring.client_cost = {.calls = 8, .verbs = {.reads = 1, .writes = 9, .round_trips = 9}};
  ring.server_cost = {.calls = 0, .verbs = {.writes = 2, .atomics = 1}};
  const MessageRow tcp = Row(MessageWay::kTcp, 1, 1, {100}, {1});
  const std::string table = FormatMessages({ring, tcp});
  EXPECT_THAT(table, ContainsRegex(" 1.250 +1.125 +0.375 .* - "));
  const nlohmann::json json = MessagesToJson(RoundsOptions(), {ring, tcp}, {});
  EXPECT_EQ(json[0]["verbs_per_call"], 1.25);
  EXPECT_EQ(json[0]["round_trips_per_call"], 1.125);
  EXPECT_EQ(json[0]["server_verbs_per_call"], 0.375);
  for (const char* name : {"verbs_per_call", "round_trips_per_call", "server_verbs_per_call"}) {
    EXPECT_TRUE(json[1].at(name).is_null()) << name;
  }
}

struct Network {
  std::string fabric;
  std::string client_device;
  std::string server_device;
};

// Goal: a call over a ring is one WRITE of each side and one round trip; with several calls under way on a
// connection a WRITE carries what there is, never more of them than calls.
void ExpectCallsWithinBudget(const Network& network) {
  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  ScopedFd client_socket(sockets[0]);
  const ScopedFd server_socket(sockets[1]);
  RealClock clock;
  RoundsOptions options = {.sides = {.clock = &clock,
                                     .poll = PollMode::kAdaptive,
                                     .fabric = network.fabric,
                                     .device = network.client_device,
                                     .connections = 2},
                           .bytes = {64},
                           .connections = {1, 2},
                           .outstanding = {1, 16},
                           .rounds = 2,
                           .seconds = 0.1};
  RoundsOptions server_options = options;
  server_options.sides.device = network.server_device;
  absl::Status served;
  std::thread server([&] { served = ServeRounds(server_options, server_socket.get()); });
  const absl::StatusOr<std::vector<MessageRow>> rows =
      RunRounds(options, client_socket.get(), /*progress=*/false);
  client_socket.Close();
  server.join();
  ASSERT_EQ(served, absl::OkStatus());
  ASSERT_EQ(rows.status(), absl::OkStatus());
  ASSERT_EQ(rows->size(), 8u);
  for (const MessageRow& row : *rows) {
    SCOPED_TRACE(testing::Message()
                 << row.connections << " connections, " << row.outstanding << " outstanding");
    const transport::VerbCounters& client = row.client_cost.verbs;
    const transport::VerbCounters& server_verbs = row.server_cost.verbs;
    if (row.way == MessageWay::kTcp) {
      EXPECT_EQ(client, transport::VerbCounters());
      EXPECT_EQ(server_verbs, transport::VerbCounters());
      continue;
    }
    const uint64_t calls = row.client_cost.calls;
    EXPECT_GT(calls, 2u);  // One, and a pause, in each round.
    EXPECT_EQ(row.server_cost.calls, 0u);
    EXPECT_EQ(client.round_trips, calls);
    EXPECT_EQ(client.reads + client.atomics + server_verbs.reads + server_verbs.atomics, 0u);
    for (const uint64_t writes : {client.writes, server_verbs.writes}) {
      // Each side tells its ring's head once in a while, also in the first call of a slice.
      EXPECT_LE(writes, calls + calls / 10 + options.rounds);
      if (row.outstanding == 1) {
        EXPECT_GE(writes, calls);
      }
    }
  }
}

TEST(BudgetTest, CallOverShmIsOneWriteOfEachSide) { ExpectCallsWithinBudget({"shm", "", ""}); }

TEST(BudgetTest, CallOverTcpFabricIsOneWriteOfEachSide) {
  ExpectCallsWithinBudget({"tcp", "", ""});
}

// In a virtual machine with two cards: message_budget_verbs_test asks for it by its name.
TEST(BudgetTest, DISABLED_CallOverVerbsIsOneWriteOfEachSide) {
  ExpectCallsWithinBudget({"verbs", "rxe0", "rxe1"});
}

}  // namespace
}  // namespace acre::bench
