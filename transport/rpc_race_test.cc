// Calls between threads that sleep, and that fill each other's rings.

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/rpc_test_util.h"

namespace acre::transport {
namespace {

constexpr uint16_t kEcho = 1;

// Runs a node's scheduler on a thread of its own, from Start() to the end.
class NodeThread {
 public:
  explicit NodeThread(RpcNode* node) : node_(node) {
    node_->scheduler.DetachFromThread();
    thread_ = std::thread([this] { node_->scheduler.Run(); });
  }
  ~NodeThread() {
    node_->scheduler.Stop();
    thread_.join();
    node_->scheduler.DetachFromThread();
  }

 private:
  RpcNode* const node_;
  std::thread thread_;
};

// Calls one after the other; each response must be the request's.
Task<void> CallMany(RpcPeer* peer, int id, int calls, size_t bytes_max, int* answered) {
  std::string response;
  for (int i = 0; i < calls; ++i) {
    std::string request = absl::StrCat(id, "/", i);
    request.resize(std::max(request.size(), (static_cast<size_t>(i) * 37) % (bytes_max + 1)), '.');
    const absl::Status status = co_await peer->Call(kEcho, "", request, &response);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(response == request) << id << "/" << i;
    if (!status.ok()) co_return;
    ++*answered;
  }
}

Task<void> CallConcurrently(Scheduler* scheduler, RpcPeer* peer, int callers, int calls,
                            size_t bytes_max, int* answered) {
  std::vector<SpawnHandle> handles;
  for (int id = 0; id < callers; ++id) {
    handles.push_back(scheduler->Spawn(CallMany(peer, id, calls, bytes_max, answered)));
  }
  for (SpawnHandle& handle : handles) co_await handle.Join();
}

struct Case {
  PollMode client_mode;
  PollMode server_mode;
};

class RpcRaceTest : public ::testing::TestWithParam<Case> {};

// Goal: whoever sleeps is woken by every message, and by every report of room, over many rounds. A
// lost wake-up hangs the test.
TEST_P(RpcRaceTest, SleepersAreWokenEveryTime) {
  RealClock clock;
  RpcNode client(&clock, GetParam().client_mode);
  RpcNode server(&clock, GetParam().server_mode);
  EchoHandler echo;
  ASSERT_NO_FATAL_FAILURE(JoinChannels(&client, &server, {.ring_bytes = kRingBytesMin}));
  client.StartRpc(client.peers[0].get(), nullptr);
  server.StartRpc(server.peers[0].get(), &echo);
  const NodeThread thread(&server);
  RpcPeer* const peer = client.peers[0]->rpc.get();
  // One at a time: both sleep between messages.
  int answered = 0;
  client.scheduler.RunUntilDone(CallMany(peer, 0, 3000, 100, &answered));
  EXPECT_EQ(answered, 3000);
  // Many: senders sleep till there is room, also for payloads that are READ.
  answered = 0;
  client.scheduler.RunUntilDone(CallConcurrently(&client.scheduler, peer, 50, 50, 600, &answered));
  EXPECT_EQ(answered, 2500);
}

INSTANTIATE_TEST_SUITE_P(Modes, RpcRaceTest,
                         ::testing::Values(Case{PollMode::kAdaptive, PollMode::kAdaptive},
                                           Case{PollMode::kBusy, PollMode::kAdaptive},
                                           Case{PollMode::kAdaptive, PollMode::kBusy}));

// Goal: many senders into one thread, all rings full most of the time.
TEST(RpcManyChannelsTest, ManySendersFillTheirRings) {
  constexpr int kClients = 4;
  RealClock clock;
  RpcNode server(&clock, PollMode::kAdaptive);
  EchoHandler echo;
  std::vector<std::unique_ptr<RpcNode>> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<RpcNode>(&clock, PollMode::kAdaptive));
    ASSERT_NO_FATAL_FAILURE(
        JoinChannels(clients.back().get(), &server, {.ring_bytes = kRingBytesMin}));
    clients.back()->StartRpc(clients.back()->peers[0].get(), nullptr);
    server.StartRpc(server.peers.back().get(), &echo);
  }
  std::vector<int> answered(kClients);
  {
    const NodeThread server_thread(&server);
    std::vector<std::thread> threads;
    for (int i = 0; i < kClients; ++i) {
      RpcNode* const client = clients[static_cast<size_t>(i)].get();
      int* const count = &answered[static_cast<size_t>(i)];
      client->scheduler.DetachFromThread();
      threads.emplace_back([client, count] {
        client->scheduler.RunUntilDone(
            CallConcurrently(&client->scheduler, client->peers[0]->rpc.get(), 64, 40, 300, count));
        client->scheduler.DetachFromThread();
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(answered, std::vector<int>(kClients, 64 * 40));
  EXPECT_EQ(echo.requests, uint64_t{kClients} * 64 * 40);
}

}  // namespace
}  // namespace acre::transport
