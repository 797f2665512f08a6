// A sender of notices that is given up at any moment: whatever it was told to be placed is taken.

#include <cstdint>
#include <cstring>
#include <random>
#include <thread>

#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/this_thread.h"
#include "transport/rpc_test_util.h"

namespace acre::transport {
namespace {

constexpr uint16_t kTell = 1;

// Takes notices that count from 0 on.
class Counter : public RpcHandler {
 public:
  Task<absl::Status> Handle(RpcContext*) override { co_return absl::OkStatus(); }
  absl::Status OnNotice(uint16_t, uint64_t, absl::string_view notice) override {
    uint64_t number = 0;
    EXPECT_EQ(notice.size(), sizeof(number));
    std::memcpy(&number, notice.data(), sizeof(number));  // Private memory.
    EXPECT_EQ(number, taken);
    ++taken;
    return absl::OkStatus();
  }
  uint64_t taken = 0;
};

// One after the other till one fails. Returns how many were placed.
Task<uint64_t> NotifyTillGivenUp(RpcPeer* peer) {
  for (uint64_t number = 0;; ++number) {
    const absl::string_view notice(reinterpret_cast<const char*>(&number), sizeof(number));
    const absl::Status status = co_await peer->Notify(kTell, notice);
    if (status.ok()) continue;
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    co_return number;
  }
}

TEST(NoticeRaceTest, WhatWasPlacedIsTakenWheneverTheGateCloses) {
  RealClock clock;
  std::mt19937_64 random(3);
  uint64_t taken_in_all = 0;
  uint64_t drained_in_all = 0;
  const int rounds = TestFabricRounds(400);
  for (int round = 0; round < rounds; ++round) {
    RpcNode client(&clock);
    RpcNode server(&clock);
    Counter counter;
    ASSERT_NO_FATAL_FAILURE(JoinChannels(&client, &server));
    client.StartRpc(client.peers[0].get(), nullptr);
    server.StartRpc(server.peers[0].get(), &counter);
    const uint64_t polled = random() % 30;
    const uint64_t pauses = random() % 20'000;
    server.scheduler.DetachFromThread();
    uint64_t drained = 0;
    std::thread thread([&] {
      while (counter.taken < polled) server.scheduler.RunOnce();
      for (uint64_t pause = 0; pause < pauses; ++pause) PauseThread();
      drained = server.GiveUp(0);
      server.scheduler.DetachFromThread();
    });
    const uint64_t placed =
        client.scheduler.RunUntilDone(NotifyTillGivenUp(client.peers[0]->rpc.get()));
    thread.join();
    ASSERT_GE(counter.taken, placed) << "round " << round;
    taken_in_all += counter.taken;
    drained_in_all += drained;
  }
  EXPECT_GT(taken_in_all, static_cast<uint64_t>(rounds));
  EXPECT_GT(drained_in_all, 0u);
}

}  // namespace
}  // namespace acre::transport
