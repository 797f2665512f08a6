// Two simulated processes that call each other: for tests of what runs on channels.

#ifndef ACRE_TRANSPORT_SIM_SIM_RPC_TEST_UTIL_H_
#define ACRE_TRANSPORT_SIM_SIM_RPC_TEST_UTIL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/types/optional.h"
#include "glog/logging.h"
#include "runtime/scheduler.h"
#include "runtime/sim/world.h"
#include "transport/channel.h"
#include "transport/port.h"
#include "transport/rpc.h"
#include "transport/sim/sim_fabric.h"
#include "transport/sim/sim_network.h"

namespace acre::transport {

constexpr uint64_t kUs = 1'000;
constexpr uint64_t kMs = 1'000'000;

// What the two tell each other past the fabric, as over a byte stream.
struct Exchange {
  std::string endpoint;
  absl::optional<ChannelOffer> from_client;
  absl::optional<ChannelOffer> from_server;
  bool is_client_done = false;
  bool is_server_done = false;
};

// What one process has. Made and used by its thread.
struct End {
  End(SimNetwork* network, sim::Process* process, SimDevice device, uint64_t seed)
      : world(network->world()),
        scheduler({.clock = process->machine()->clock(),
                   .seed = seed,
                   .poll_mode = PollMode::kAdaptive,
                   .spin_ns = 2 * kUs}) {
    auto made = SimFabric::Create(network, process, {.device = device, .receive_queue_depth = 2});
    CHECK(made.ok()) << made.status();
    fabric = *std::move(made);
    auto made_queue = fabric->CreateCompletionQueue();
    CHECK(made_queue.ok());
    queue = *std::move(made_queue);
    port = std::make_unique<Port>(&scheduler, queue.get());
  }
  ~End() {
    if (rpc != nullptr) scheduler.RemovePoller(rpc.get());
    rpc.reset();
    if (queue_pair != nullptr) port->Forget(queue_pair.get());
    channel.reset();
    queue_pair.reset();
    port.reset();
    queue.reset();
    fabric.reset();
  }

  void Wait() {
    scheduler.RunOnce();
    world->Sleep(kUs);
  }
  // Till it is ready, or broken.
  void Connect(const Exchange& exchange) {
    while (exchange.endpoint.empty()) Wait();
    auto connecting = fabric->Connect(exchange.endpoint, queue.get(), "");
    if (!connecting.ok()) return;
    queue_pair = *std::move(connecting);
    while (queue_pair->state() == QueuePairState::kConnecting) Wait();
  }
  // Till somebody has come, or the client is done without. The listener goes before this.
  std::unique_ptr<Listener> AcceptOne(Exchange* exchange) {
    auto listener = fabric->Listen();
    CHECK(listener.ok());
    exchange->endpoint = (*listener)->endpoint();
    while (queue_pair == nullptr && !exchange->is_client_done) {
      Wait();
      const auto request = (*listener)->Poll();
      if (request == nullptr) continue;
      auto accepted = request->Accept(queue.get(), "");
      if (accepted.ok()) queue_pair = *std::move(accepted);
    }
    return *std::move(listener);
  }
  bool is_ready() const {
    return queue_pair != nullptr && queue_pair->state() == QueuePairState::kReady;
  }
  // Trades offers, starts the channel and the calls on it. False: the connection broke.
  bool Start(absl::optional<ChannelOffer>* own, const absl::optional<ChannelOffer>& peers,
             RpcHandler* handler, bool busy_polling = false) {
    ChannelOptions options;
    options.busy_polling = busy_polling;
    options.region_id = 1;
    options.ring_bytes = 1 << 16;
    auto made = Channel::Create(fabric.get(), queue_pair.get(), options);
    if (!made.ok()) return false;
    channel = *std::move(made);
    port->SetSink(queue_pair.get(), channel.get());
    *own = channel->offer();
    while (!peers.has_value()) {
      if (!is_ready()) return false;
      Wait();
    }
    CHECK(channel->Attach(*peers).ok());
    rpc = std::make_unique<RpcPeer>(&scheduler, channel.get(), handler);
    scheduler.AddPoller(rpc.get());
    return true;
  }

  sim::World* const world;
  Scheduler scheduler;
  std::unique_ptr<SimFabric> fabric;
  std::unique_ptr<CompletionQueue> queue;
  std::unique_ptr<Port> port;
  std::unique_ptr<QueuePair> queue_pair;
  std::unique_ptr<Channel> channel;
  std::unique_ptr<RpcPeer> rpc;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_RPC_TEST_UTIL_H_
