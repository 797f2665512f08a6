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
#include "transport/sim/sim_rpc_test_util.h"

namespace acre::transport {
namespace {

constexpr uint64_t kFaultsEndNs = 60 * kMs;
constexpr uint64_t kServerNapNs = 4'000 * kMs;
constexpr int kCallersMax = 4;
constexpr int kCallsInAll = 96;

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
    end.Connect(*exchange);
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
    const std::unique_ptr<Listener> listener = end.AcceptOne(exchange);
    if (end.is_ready() && end.Start(&exchange->from_server, exchange->from_client, &echo)) {
      end.scheduler.RunUntilDone(ServeUntilDone(&end, &exchange->is_client_done));
    }
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
