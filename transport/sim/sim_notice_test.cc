// Notices between two simulated processes, one of which gives the other up at any moment, while the network, the
// CPUs and a scenario do what they may: what the sender was told to be placed is taken, once and in order; nobody
// hangs; and the judge finds a gate that is closed without its fence.
//
// ACRE_NOTICE_SEEDS: how many seeds are run.

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/planted_bug.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/sim/seeds.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/rpc.h"
#include "transport/sim/sim_fabric.h"
#include "transport/sim/sim_network.h"
#include "transport/sim/sim_rpc_test_util.h"

namespace acre::transport {
namespace {

constexpr uint64_t kPatienceNs = 2'000 * kMs;

// What one sender says: which it is, and the how manieth notice.
struct Word {
  uint64_t sender;
  uint64_t number;
};

// What comes to pass besides the network's faults, drawn from the seed.
struct Plan {
  SimDevice device = SimDevice::kCard;
  uint64_t senders = 1;
  uint64_t taken_max = 0;        // So many, then the sender is given up.
  uint64_t give_up_ns = 0;       // Or then, whichever comes first.
  uint64_t nap_ns = 0;           // Without a look at the ring, before that.
  uint64_t rest_ns = 0;          // After the ring was drained.
  bool ends_queue_pair = false;  // Before the ring is drained.
  bool is_busy_polling = false;
  bool kills_client = false;
  bool pauses_client = false;
  uint64_t trouble_ns = 0;
};

Plan DrawPlan(uint64_t seed) {
  Random random(seed);
  Plan plan;
  plan.device = random.Uniform(2) == 0 ? SimDevice::kCard : SimDevice::kSharedMemory;
  plan.senders = 1 + random.Uniform(4);
  plan.taken_max = random.Uniform(40);
  plan.give_up_ns = 20 * kMs;
  plan.nap_ns = random.Uniform(20 * kUs);
  plan.rest_ns = random.Uniform(20 * kUs);
  plan.ends_queue_pair = random.Uniform(2) == 0;
  plan.is_busy_polling = random.Uniform(2) == 0;
  plan.kills_client = random.Uniform(6) == 0;
  plan.pauses_client = random.Uniform(6) == 0;
  plan.trouble_ns = random.Uniform(2 * kMs);
  return plan;
}

// Takes notices, and knows what each sender has said.
class Home final : public RpcHandler {
 public:
  Task<absl::Status> Handle(RpcContext* context) override {
    context->response.assign(context->request.data(), context->request.size());
    co_return absl::OkStatus();
  }
  absl::Status OnNotice(uint16_t, uint64_t, absl::string_view notice) override {
    Word word = {};
    CHECK_EQ(notice.size(), sizeof(word));
    std::memcpy(&word, notice.data(), sizeof(word));  // Private memory.
    CHECK_LT(word.sender, taken.size());
    if (word.number != taken[word.sender]) ++out_of_order;
    ++taken[word.sender];
    ++taken_in_all;
    return absl::OkStatus();
  }

  std::vector<uint64_t> taken = std::vector<uint64_t>(8);
  uint64_t taken_in_all = 0;
  uint64_t drained = 0;
  uint64_t out_of_order = 0;
};

struct Results {
  std::vector<uint64_t> placed = std::vector<uint64_t>(8);
  uint64_t senders_done = 0;
  std::string finding;
  uint64_t drained = 0;
  uint64_t placed_in_all = 0;
};

// One notice after the other till one fails, some in room of their own, with calls between them.
Task<void> NotifyTillGivenUp(End* end, const Plan* plan, uint64_t sender, Results* results,
                             Event* done) {
  for (Word word = {.sender = sender, .number = 0};; ++word.number) {
    const absl::string_view notice(reinterpret_cast<const char*>(&word), sizeof(word));
    absl::Status status;
    absl::StatusOr<NoticeRoom> room = absl::UnknownError("not asked");
    if (word.number % 3 == 2) room = end->rpc->ReserveNotice();
    if (room.ok()) {
      status = co_await end->rpc->Notify(*std::move(room), 1, notice);
    } else {
      status = co_await end->rpc->Notify(1, notice);
    }
    if (!status.ok()) break;
    ++results->placed[sender];
    if (word.number % 8 != sender) continue;
    std::string answer;
    status = co_await end->rpc->Call(1, "", std::string(word.number % 16 * 300, 'c'), &answer);
    if (!status.ok()) break;
  }
  EXPECT_FALSE(end->channel->ok());
  if (++results->senders_done == plan->senders) done->Set();
}

Task<void> WaitFor(Event* event) { co_await event->Wait(); }

void RunClient(SimNetwork* network, sim::Process* process, const Plan& plan, Exchange* exchange,
               Results* results) {
  {
    End end(network, process, plan.device, 1);
    end.Connect(*exchange);
    if (end.is_ready() && end.Start(&exchange->from_client, exchange->from_server, nullptr)) {
      Event done(&end.scheduler);
      for (uint64_t sender = 0; sender < plan.senders; ++sender) {
        end.scheduler.Spawn(NotifyTillGivenUp(&end, &plan, sender, results, &done)).Detach();
      }
      end.scheduler.RunUntilDone(WaitFor(&done));
    }
  }
  exchange->is_client_done = true;
}

void GiveUp(End* end, const Plan& plan, Home* home) {
  end->scheduler.RemovePoller(end->rpc.get());
  end->channel->CloseGate();
  if (plan.ends_queue_pair) {
    end->channel->Break(absl::UnavailableError("given up"));
    end->port->Forget(end->queue_pair.get());
    end->queue_pair.reset();
  }
  home->drained = end->rpc->Drain();
  // It has other things to do before it is rid of the connection.
  end->world->Spend(plan.rest_ns);
  end->rpc.reset();
}

void RunServer(SimNetwork* network, sim::Process* process, const Plan& plan, Exchange* exchange,
               Home* home) {
  {
    End end(network, process, plan.device, 2);
    const std::unique_ptr<Listener> listener = end.AcceptOne(exchange);
    if (end.is_ready() &&
        end.Start(&exchange->from_server, exchange->from_client, home, plan.is_busy_polling)) {
      const uint64_t give_up_ns = end.world->NowNs() + plan.give_up_ns;
      while (home->taken_in_all < plan.taken_max && end.channel->ok() &&
             end.world->NowNs() < give_up_ns) {
        end.Wait();
      }
      end.world->Spend(plan.nap_ns);
      GiveUp(&end, plan, home);
    }
  }
  exchange->is_server_done = true;
}

Results RunSeed(uint64_t seed, const Plan& plan) {
  sim::World world({.seed = seed});
  SimNetwork network(&world, {});
  sim::Machine* const one = world.AddMachine("one");
  const bool is_shared = plan.device == SimDevice::kSharedMemory;
  sim::Machine* const other = is_shared ? one : world.AddMachine("other");
  sim::Process* const client = world.AddProcess(one, "client");
  sim::Process* const server = world.AddProcess(other, "server");
  Exchange exchange;
  Results results;
  Home home;
  server->Spawn("main", [&] { RunServer(&network, server, plan, &exchange, &home); });
  client->Spawn("main", [&] { RunClient(&network, client, plan, &exchange, &results); });
  world.After(plan.trouble_ns, [&] {
    if (plan.pauses_client) client->Pause();
    if (plan.kills_client) client->Kill();
  });
  world.After(plan.trouble_ns + 5 * kMs, [&] { client->Resume(); });
  if (!world.RunUntil([&] { return exchange.is_client_done || client->is_dead(); }, kPatienceNs) ||
      (exchange.is_client_done &&
       !world.RunUntil([&] { return exchange.is_server_done; }, 2 * kPatienceNs))) {
    results.finding = "somebody hangs";
  }
  // A killed client may never have connected, and the server waits for it then.
  exchange.is_client_done = true;
  if (!world.RunUntil([&] { return exchange.is_server_done; }, 3 * kPatienceNs)) {
    results.finding = "the server hangs";
  }
  for (size_t sender = 0; sender < results.placed.size(); ++sender) {
    results.placed_in_all += results.placed[sender];
    if (results.placed[sender] > home.taken[sender]) results.finding = "placed, and not taken";
  }
  if (home.out_of_order > 0) results.finding = "out of order, or twice";
  results.drained = home.drained;
  return results;
}

TEST(SimNoticeTest, WhatWasPlacedIsTaken) {
  const uint64_t seeds = SeedsOr("ACRE_NOTICE_SEEDS", 400);
  uint64_t placed = 0;
  uint64_t drained = 0;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    const Results results = RunSeed(seed, DrawPlan(seed));
    ASSERT_EQ(results.finding, "") << "seed " << seed;
    placed += results.placed_in_all;
    drained += results.drained;
  }
  LOG(INFO) << placed << " placed, " << drained << " taken out of the ring of one who was given up";
  EXPECT_GT(placed, 5 * seeds);
  EXPECT_GT(drained, seeds / 10);
}

// Goal: the judge sees what the fence behind the gate is for.
TEST(SimNoticeTest, MissingFenceIsFoundOut) {
  constexpr uint64_t kSeedsMax = 2'000;
  planted_bugs = PlantedBit(PlantedBug::kGateWithoutFence);
  uint64_t found = 0;
  for (uint64_t seed = 1; found == 0 && seed <= kSeedsMax; ++seed) {
    Plan plan = DrawPlan(seed);
    // Where a CPU's store buffer is all that is in the way, and no system call empties it.
    plan.device = SimDevice::kSharedMemory;
    plan.ends_queue_pair = false;
    if (RunSeed(seed, plan).finding == "placed, and not taken") found = seed;
  }
  planted_bugs = 0;
  LOG(INFO) << "no fence behind the gate: found at seed " << found;
  EXPECT_NE(found, 0u);
}

}  // namespace
}  // namespace acre::transport
