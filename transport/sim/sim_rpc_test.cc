// Calls between two simulated processes, each with a scheduler, while the network, the CPUs and a scenario do
// what they may: every call is answered, and rightly, or fails with Unavailable once its connection broke;
// nothing hangs once the faults have stopped; and a seed's run repeats, event for event.

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/scheduler.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/channel.h"
#include "transport/port.h"
#include "transport/rpc.h"
#include "transport/sim/sim_fabric.h"
#include "transport/sim/sim_network.h"

namespace acre::transport {
namespace {

constexpr uint64_t kUs = 1'000;
constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kFaultsEndNs = 60 * kMs;
constexpr uint64_t kServerNapNs = 4'000 * kMs;
constexpr int kCallersMax = 4;
constexpr int kCallsInAll = 96;

// What the two tell each other past the fabric, as over a byte stream.
struct Exchange {
  std::string endpoint;
  absl::optional<ChannelOffer> from_client;
  absl::optional<ChannelOffer> from_server;
  bool is_client_done = false;
  bool is_server_done = false;
};

// Answers with what it was asked, at once or after a while.
class Echo final : public RpcHandler {
 public:
  explicit Echo(Scheduler* scheduler) : scheduler_(scheduler) {}
  Task<absl::Status> Handle(RpcContext* context) override {
    if (context->method == 1) co_await scheduler_->SleepFor(scheduler_->random().Uniform(50 * kUs));
    context->response.assign(context->request.data(), context->request.size());
    co_return absl::OkStatus();
  }

 private:
  Scheduler* const scheduler_;
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
  bool is_ready() const {
    return queue_pair != nullptr && queue_pair->state() == QueuePairState::kReady;
  }
  // Trades offers, starts the channel and the calls on it. False: the connection broke.
  bool Start(absl::optional<ChannelOffer>* own, const absl::optional<ChannelOffer>& peers,
             RpcHandler* handler) {
    ChannelOptions options;
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

struct Results {
  int answered = 0;
  int unavailable = 0;
  int callers_done = 0;
  uint64_t trace_hash = 0;
  SimCounts counts;
};

std::string Question(int caller, int number) {
  static constexpr size_t kBytes[] = {0, 1, 8, 63, 500, 1500, 5000, 12000};
  const size_t bytes = kBytes[static_cast<size_t>(caller * 7 + number) % 8];
  std::string question = absl::StrCat(caller, ".", number, ".");
  while (question.size() < bytes) question.append(question);
  question.resize(std::max(bytes, question.size()));
  return question;
}

Task<void> CallOverAndOver(End* end, int caller, int callers, Results* results, Event* done) {
  for (int number = 0; number < kCallsInAll / callers; ++number) {
    const std::string question = Question(caller, number);
    std::string answer;
    const uint16_t method = number % 4 == 0 ? 1 : 0;
    const absl::Status status = co_await end->rpc->Call(method, "", question, &answer);
    if (status.ok()) {
      ++results->answered;
      EXPECT_EQ(answer, question);
      continue;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_FALSE(end->channel->ok());
    ++results->unavailable;
    break;
  }
  if (++results->callers_done == callers) done->Set();
}

Task<void> WaitFor(Event* event) { co_await event->Wait(); }

// No timer of these two would cover up for a wake-up that was lost: the client is done long before.
Task<void> ServeUntilDone(End* end, const bool* is_done) {
  while (!*is_done) co_await end->scheduler.SleepFor(kServerNapNs);
}

void RunClient(SimNetwork* network, sim::Process* process, SimDevice device, uint64_t seed,
               Exchange* exchange, Results* results) {
  {
    End end(network, process, device, 1);
    while (exchange->endpoint.empty()) end.Wait();
    auto connecting = end.fabric->Connect(exchange->endpoint, end.queue.get(), "");
    if (connecting.ok()) {
      end.queue_pair = *std::move(connecting);
      while (end.queue_pair->state() == QueuePairState::kConnecting) end.Wait();
    }
    if (end.is_ready() && end.Start(&exchange->from_client, exchange->from_server, nullptr)) {
      Event done(&end.scheduler);
      const int callers = 1 + static_cast<int>(seed % kCallersMax);
      for (int caller = 0; caller < callers; ++caller) {
        end.scheduler.Spawn(CallOverAndOver(&end, caller, callers, results, &done)).Detach();
      }
      end.scheduler.RunUntilDone(WaitFor(&done));
    }
  }
  exchange->is_client_done = true;
}

void RunServer(SimNetwork* network, sim::Process* process, SimDevice device, Exchange* exchange) {
  {
    End end(network, process, device, 2);
    Echo echo(&end.scheduler);
    auto listener = end.fabric->Listen();
    CHECK(listener.ok());
    exchange->endpoint = (*listener)->endpoint();
    while (end.queue_pair == nullptr && !exchange->is_client_done) {
      end.Wait();
      const auto request = (*listener)->Poll();
      if (request == nullptr) continue;
      auto accepted = request->Accept(end.queue.get(), "");
      if (accepted.ok()) end.queue_pair = *std::move(accepted);
    }
    if (end.is_ready() && end.Start(&exchange->from_server, exchange->from_client, &echo)) {
      end.scheduler.RunUntilDone(ServeUntilDone(&end, &exchange->is_client_done));
    }
    listener->reset();
  }
  exchange->is_server_done = true;
}

// Trouble that a scenario makes, at a time drawn from the seed.
enum class Trouble { kNone, kPartition, kOneWay, kPause, kKill, kCrash, kSlow };

void MakeTrouble(SimNetwork* network, Trouble trouble, sim::Process* client, sim::Process* server) {
  sim::World* const world = network->world();
  sim::Machine* const near = client->machine();
  sim::Machine* const far = server->machine();
  const uint64_t at_ns = 100 * kUs + network->random().Uniform(2 * kMs);
  const uint64_t lasts_ns = network->random().Uniform(30 * kMs);
  world->After(at_ns, [=] {
    switch (trouble) {
      case Trouble::kNone:
        return;
      case Trouble::kPartition:
        return network->Partition(near, far);
      case Trouble::kOneWay:
        return network->SetLink(far, near, false);
      case Trouble::kPause:
        return server->Pause();
      case Trouble::kKill:
        return server->Kill();
      case Trouble::kCrash:
        return far->Crash();
      case Trouble::kSlow:
        network->SetCardSlowness(far, 50);
        return far->SetSlowness(20);
    }
  });
  world->After(at_ns + lasts_ns, [=] {
    network->HealAll();
    server->Resume();
    network->SetCardSlowness(far, 1);
    far->SetSlowness(1);
  });
}

Results RunSeed(uint64_t seed, SimDevice device, Trouble trouble,
                const absl::optional<SimFaults>& faults = absl::nullopt) {
  sim::World world({.seed = seed});
  SimNetwork network(&world, {.faults = faults});
  sim::Machine* const one = world.AddMachine("one");
  sim::Machine* const other = device == SimDevice::kSharedMemory ? one : world.AddMachine("other");
  sim::Process* const client = world.AddProcess(one, "client");
  sim::Process* const server = world.AddProcess(other, "server");
  Exchange exchange;
  Results results;
  server->Spawn("main", [&] { RunServer(&network, server, device, &exchange); });
  client->Spawn("main", [&] { RunClient(&network, client, device, seed, &exchange, &results); });
  MakeTrouble(&network, trouble, client, server);
  world.After(kFaultsEndNs, [&] { network.SetFaults(SimFaults::None()); });
  EXPECT_TRUE(world.RunUntil([&] { return exchange.is_client_done || client->is_dead(); },
                             kServerNapNs / 2))
      << "seed " << seed << " hangs: " << results.answered << " answered, " << results.unavailable
      << " unavailable";
  EXPECT_TRUE(world.RunUntil([&] { return exchange.is_server_done || server->is_dead(); },
                             3 * kServerNapNs));
  results.trace_hash = world.trace_hash();
  results.counts = std::as_const(network).counts();
  return results;
}

TEST(SimRpcTest, EveryCallIsAnsweredOverAWholeNetwork) {
  for (const SimDevice device : {SimDevice::kCard, SimDevice::kSharedMemory}) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      const Results results = RunSeed(seed, device, Trouble::kNone, SimFaults::None());
      EXPECT_EQ(results.answered, kCallsInAll) << "seed " << seed;
    }
  }
}

TEST(SimRpcTest, EveryCallIsAnsweredOrUnavailable) {
  int answered = 0;
  int unavailable = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    const auto trouble = static_cast<Trouble>(seed % 7);
    const Results results = RunSeed(seed, SimDevice::kCard, trouble);
    answered += results.answered;
    unavailable += results.unavailable;
    if (testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
  EXPECT_GT(answered, 100 * kCallsInAll);
  EXPECT_GT(unavailable, 0);
}

TEST(SimRpcTest, SharedMemoryWakesItsSleepers) {
  uint64_t wakes = 0;
  uint64_t stalls = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    const Results results = RunSeed(seed, SimDevice::kSharedMemory, Trouble::kNone);
    EXPECT_EQ(results.answered, kCallsInAll);
    wakes += results.counts.wakes;
    stalls += results.counts.receive_stalls;
    if (testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
  EXPECT_GT(wakes, 1'000u);
  EXPECT_GT(stalls, 0u);
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    const Trouble trouble = seed % 2 == 0 ? Trouble::kKill : Trouble::kPause;
    RunSeed(seed, SimDevice::kSharedMemory, trouble);
    if (testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
}

TEST(SimRpcTest, ASeedsRunRepeats) {
  std::set<uint64_t> hashes;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    for (const SimDevice device : {SimDevice::kCard, SimDevice::kSharedMemory}) {
      const auto trouble = static_cast<Trouble>(seed % 7);
      const Results first = RunSeed(seed, device, trouble);
      const Results second = RunSeed(seed, device, trouble);
      EXPECT_EQ(first.trace_hash, second.trace_hash) << "seed " << seed;
      EXPECT_EQ(first.answered, second.answered);
      hashes.insert(first.trace_hash);
    }
  }
  EXPECT_EQ(hashes.size(), 40u);
}

}  // namespace
}  // namespace acre::transport
