// A node of a provider (conformance/test_fabric.h) with a scheduler, a port and one or more peers: for tests of calls.

#ifndef ACRE_TRANSPORT_RPC_TEST_UTIL_H_
#define ACRE_TRANSPORT_RPC_TEST_UTIL_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/channel.h"
#include "transport/conformance/test_fabric.h"
#include "transport/port.h"
#include "transport/rpc.h"

namespace acre::transport {

// One end of a connection.
struct TestPeer {
  std::unique_ptr<QueuePair> queue_pair;
  std::unique_ptr<Channel> channel;
  std::unique_ptr<RpcPeer> rpc;
};

class RpcNode {
 public:
  explicit RpcNode(Clock* clock, PollMode poll_mode = PollMode::kBusy, uint64_t spin_ns = 0)
      : scheduler({.clock = clock, .seed = 1, .poll_mode = poll_mode, .spin_ns = spin_ns}) {
    auto created = MakeTestFabric(clock);
    CHECK(created.ok()) << created.status();
    fabric = *std::move(created);
    auto queue = fabric->CreateCompletionQueue();
    CHECK(queue.ok()) << queue.status();
    completion_queue = *std::move(queue);
    port = std::make_unique<Port>(&scheduler, completion_queue.get());
  }
  ~RpcNode() {
    scheduler.DetachFromThread();
    CloseAll();
    port.reset();
  }

  bool adaptive() const { return scheduler.poll_mode() == PollMode::kAdaptive; }

  void CreateChannel(TestPeer* peer, ChannelOptions options) {
    options.region_id = ++regions_count_;
    options.busy_polling = !adaptive();
    auto created = Channel::Create(fabric.get(), peer->queue_pair.get(), options);
    ASSERT_TRUE(created.ok()) << created.status();
    peer->channel = *std::move(created);
    port->SetSink(peer->queue_pair.get(), peer->channel.get());
  }
  void StartRpc(TestPeer* peer, RpcHandler* handler) {
    peer->rpc = std::make_unique<RpcPeer>(&scheduler, peer->channel.get(), handler);
    scheduler.AddPoller(peer->rpc.get());
  }
  // As an owner would, what broke or not.
  void StopRpc(TestPeer* peer) {
    if (peer->rpc == nullptr) return;
    scheduler.RemovePoller(peer->rpc.get());
    peer->rpc.reset();
  }
  void Close(size_t index) {
    TestPeer* const peer = peers[index].get();
    StopRpc(peer);
    port->Forget(peer->queue_pair.get());
    peer->channel.reset();
    peer->queue_pair.reset();
    peers.erase(peers.begin() + static_cast<ptrdiff_t>(index));
  }
  // As one who gives the peer up would: what it was told to be placed is taken, then all is closed. Returns
  // how many notices that were.
  size_t GiveUp(size_t index) {
    TestPeer* const peer = peers[index].get();
    scheduler.RemovePoller(peer->rpc.get());
    peer->channel->CloseGate();
    peer->channel->Break(absl::UnavailableError("given up"));
    port->Forget(peer->queue_pair.get());
    peer->queue_pair.reset();
    const size_t notices = peer->rpc->Drain();
    peers.erase(peers.begin() + static_cast<ptrdiff_t>(index));
    return notices;
  }
  void CloseAll() {
    while (!peers.empty()) Close(peers.size() - 1);
  }

  Scheduler scheduler;
  std::unique_ptr<Fabric> fabric;
  std::unique_ptr<CompletionQueue> completion_queue;
  std::unique_ptr<Port> port;
  std::vector<std::unique_ptr<TestPeer>> peers;

 private:
  uint32_t regions_count_ = 0;
};

// Joins two nodes by a channel, one more peer on each, from the calling thread. No rpc yet.
inline void JoinChannels(RpcNode* from, RpcNode* to, const ChannelOptions& options = {}) {
  auto from_peer = std::make_unique<TestPeer>();
  auto to_peer = std::make_unique<TestPeer>();
  auto listener = to->fabric->Listen();
  ASSERT_TRUE(listener.ok()) << listener.status();
  auto connecting =
      from->fabric->Connect((*listener)->endpoint(), from->completion_queue.get(), "test");
  ASSERT_TRUE(connecting.ok()) << connecting.status();
  from_peer->queue_pair = *std::move(connecting);
  while (from_peer->queue_pair->state() == QueuePairState::kConnecting) {
    if (const auto request = (*listener)->Poll()) {
      auto accepted = request->Accept(to->completion_queue.get(), "");
      ASSERT_TRUE(accepted.ok()) << accepted.status();
      to_peer->queue_pair = *std::move(accepted);
    }
    from->scheduler.RunOnce();
  }
  ASSERT_EQ(from_peer->queue_pair->state(), QueuePairState::kReady);
  ASSERT_NO_FATAL_FAILURE(from->CreateChannel(from_peer.get(), options));
  ASSERT_NO_FATAL_FAILURE(to->CreateChannel(to_peer.get(), options));
  ASSERT_TRUE(from_peer->channel->Attach(to_peer->channel->offer()).ok());
  ASSERT_TRUE(to_peer->channel->Attach(from_peer->channel->offer()).ok());
  from->peers.push_back(std::move(from_peer));
  to->peers.push_back(std::move(to_peer));
}

// Answers with what it was asked.
class EchoHandler : public RpcHandler {
 public:
  Task<absl::Status> Handle(RpcContext* context) override {
    ++requests;
    context->response.assign(context->request.data(), context->request.size());
    co_return absl::OkStatus();
  }
  uint64_t requests = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_RPC_TEST_UTIL_H_
