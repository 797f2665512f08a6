// A process that dies (kill -9) while half a frame of it lies in the ring.

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/rpc_test_util.h"

namespace acre::transport {
namespace {

constexpr uint16_t kEcho = 1;
constexpr uint64_t kHalfFrame[] = {uint64_t{kFrameTag} << 32 | 1 << 16 | 10, 0xe5c, 0xe5c, 48, 7};

template <class T>
void Tell(int socket, const T& value) {
  PCHECK(send(socket, &value, sizeof(value), MSG_NOSIGNAL) == sizeof(value));
}
template <class T>
T Hear(int socket) {
  T value;
  PCHECK(recv(socket, &value, sizeof(value), MSG_WAITALL) == sizeof(value));
  return value;
}
using Endpoint = std::array<char, 256>;

// What the child does until it is killed: connects, and WRITEs the beginning of a frame.
[[noreturn]] void RunChild(int socket) {
  RealClock clock;
  RpcNode node(&clock);
  TestPeer peer;
  const auto endpoint = Hear<Endpoint>(socket);
  auto connecting = node.fabric->Connect(endpoint.data(), node.completion_queue.get(), "child");
  CHECK(connecting.ok()) << connecting.status();
  peer.queue_pair = *std::move(connecting);
  while (peer.queue_pair->state() == QueuePairState::kConnecting) node.scheduler.RunOnce();
  CHECK(peer.queue_pair->state() == QueuePairState::kReady) << peer.queue_pair->status();
  node.CreateChannel(&peer, {});
  Tell(socket, peer.channel->offer());
  const auto offer = Hear<ChannelOffer>(socket);
  CHECK(peer.channel->Attach(offer).ok());

  auto region = node.fabric->CreateRegion({.region_id = 99, .size_bytes = 4096, .name = "half"});
  CHECK(region.ok()) << region.status();
  SharedWord* const local = (*region)->words() + 64;
  CopyToShared(local, kHalfFrame, std::size(kHalfFrame), CopyOrder::kAscending);
  const WorkRequest request = {.opcode = Opcode::kWrite,
                               .local = local,
                               .local_region = region->get(),
                               .length_bytes = sizeof(kHalfFrame),
                               .remote_key = {offer.region_key},
                               .remote_offset_bytes = offer.ring_offset_bytes};
  CHECK(peer.queue_pair->Post({request}).ok());
  Tell(socket, 'w');
  for (;;) pause();
}

struct Outcome {
  absl::Status status = absl::UnknownError("not done");
  std::string response;
};
Task<void> RunCall(RpcPeer* peer, Outcome* outcome) {
  outcome->status = co_await peer->Call(kEcho, "", "request", &outcome->response);
}

// Accepts the child's connection, as one more peer of `node`, with calls both ways.
void AcceptChild(RpcNode* node, int socket, RpcHandler* handler) {
  auto listener = node->fabric->Listen();
  ASSERT_TRUE(listener.ok()) << listener.status();
  Endpoint endpoint = {};
  (*listener)->endpoint().copy(endpoint.data(), endpoint.size() - 1);
  Tell(socket, endpoint);
  std::unique_ptr<ConnectionRequest> request;
  while (request == nullptr) request = (*listener)->Poll();
  auto peer = std::make_unique<TestPeer>();
  auto accepted = request->Accept(node->completion_queue.get(), "");
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  peer->queue_pair = *std::move(accepted);
  ASSERT_NO_FATAL_FAILURE(node->CreateChannel(peer.get(), {}));
  Tell(socket, peer->channel->offer());
  ASSERT_TRUE(peer->channel->Attach(Hear<ChannelOffer>(socket)).ok());
  node->StartRpc(peer.get(), handler);
  node->peers.push_back(std::move(peer));
}

// Goal: the receiver ends with a broken channel and answered callers, and serves all others.
TEST(RpcDeathTest, SenderKilledInMidFrameBreaksItsChannelAlone) {
  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  const pid_t child = fork();  // Before there are threads or devices.
  ASSERT_GE(child, 0);
  if (child == 0) RunChild(sockets[1]);
  close(sockets[1]);

  RealClock clock;
  RpcNode server(&clock);
  RpcNode client(&clock);
  EchoHandler echo;
  ASSERT_NO_FATAL_FAILURE(JoinChannels(&client, &server));
  client.StartRpc(client.peers[0].get(), nullptr);
  server.StartRpc(server.peers[0].get(), &echo);
  ASSERT_NO_FATAL_FAILURE(AcceptChild(&server, sockets[0], &echo));
  const TestPeer& doomed = *server.peers[1];
  std::vector<Outcome> outcomes(10);
  for (Outcome& outcome : outcomes) {
    (void)server.scheduler.Spawn(RunCall(doomed.rpc.get(), &outcome));
  }
  ASSERT_EQ(Hear<char>(sockets[0]), 'w');
  for (int i = 0; i < 100; ++i) server.scheduler.RunOnce();
  EXPECT_TRUE(doomed.channel->ok()) << "half a frame is no error: " << doomed.channel->status();
  EXPECT_EQ(echo.requests, 0u);

  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  while (doomed.channel->ok()) server.scheduler.RunOnce();
  for (int i = 0; i < 10; ++i) server.scheduler.RunOnce();
  EXPECT_TRUE(absl::IsUnavailable(doomed.channel->status())) << doomed.channel->status();
  for (const Outcome& outcome : outcomes) {
    EXPECT_TRUE(absl::IsUnavailable(outcome.status)) << outcome.status;
  }
  EXPECT_EQ(echo.requests, 0u);

  Outcome alive;
  const SpawnHandle call = client.scheduler.Spawn(RunCall(client.peers[0]->rpc.get(), &alive));
  while (!call.done()) {
    client.scheduler.RunOnce();
    server.scheduler.RunOnce();
  }
  EXPECT_TRUE(alive.status.ok()) << alive.status;
  EXPECT_EQ(alive.response, "request");
  close(sockets[0]);
}

}  // namespace
}  // namespace acre::transport
