// Doors and links between simulated processes, each with a thread that takes locks and one for its door, over cards
// that do all they may: locks are handed on over links that come up meanwhile (no connection breaks by itself there:
// nobody would repair the queue), and behind CloseTo() nothing of a zombie lands.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "lock/lock_test_mesh.h"
#include "lock/peer_door.h"
#include "lock/peer_links.h"
#include "lock/sim_test_faults.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"
#include "transport/sim/sim_fabric.h"
#include "transport/sim/sim_network.h"

namespace acre {
namespace {

using transport::SimFaults;
using transport::SimNetwork;

constexpr uint64_t kUs = 1'000;
constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kS = 1'000'000'000;
constexpr uint32_t kFirstId = 2;
constexpr uint32_t kClients = 3;
constexpr int kRounds = 6;
constexpr PeerTicket kTicket = {7};

struct SimClient {
  SimClient(std::unique_ptr<transport::Fabric> fabric, Clock* clock, uint32_t id)
      : node(std::move(fabric), clock, id, {.spin_ns = 2 * kUs}),
        service({.clock = clock, .seed = id + 100, .spin_ns = 2 * kUs}) {
    auto made_queue = node.fabric()->CreateCompletionQueue();
    CHECK(made_queue.ok()) << made_queue.status();
    queue = *std::move(made_queue);
    port = std::make_unique<transport::Port>(&service, queue.get());
    auto made = PeerDoor::Create({.fabric = node.fabric(), .port = port.get()});
    CHECK(made.ok()) << made.status();
    door = *std::move(made);
    const absl::Status served = door->Serve(node.descriptors(), kTicket);
    CHECK(served.ok()) << served;
  }
  uint32_t id() const { return node.descriptors()->process_id(); }
  void Close() {
    node.scheduler().DetachFromThread();
    service.DetachFromThread();
    links->Close();
    node.Close();
    door.reset();
    port.reset();
  }

  LockNode node;
  std::unique_ptr<transport::CompletionQueue> queue;
  Scheduler service;
  std::unique_ptr<transport::Port> port;
  std::unique_ptr<PeerDoor> door;
  std::unique_ptr<PeerLinks> links;
  sim::Process* process = nullptr;
};

class Scene {
 public:
  Scene(uint64_t seed, uint32_t clients, const SimFaults& faults)
      : world_({.seed = seed}), network_(&world_, {.faults = SimFaults::None()}), random_(seed) {
    auto home_fabric = MakeFabric(1);
    home_ = std::make_unique<LockNode>(std::move(home_fabric), machine_->clock(), 1);
    home_->MakeLocks(1);
    const auto progress = [this] { world_.RunUntil([] { return false; }, world_.NowNs() + kUs); };
    for (uint32_t i = 0; i < clients; ++i) {
      auto fabric = MakeFabric(kFirstId + i);
      clients_.push_back(
          std::make_unique<SimClient>(std::move(fabric), machine_->clock(), kFirstId + i));
      SimClient& client = *clients_.back();
      client.process = process_;
      MakeLinks(&client);
      client.node.SetPeers(client.links.get());
      LockNode::JoinHome(&client.node, home_.get(), LockKind::kALock, /*budget=*/2, progress);
      client.node.scheduler().DetachFromThread();
      client.service.DetachFromThread();
    }
    network_.SetFaults(faults);
  }
  ~Scene() {
    if (!is_done_) {  // Threads stand still in the middle of things: what they have is left to them.
      for (auto& client : clients_) (void)client.release();
      (void)home_.release();
      return;
    }
    for (const auto& client : clients_) client->Close();
    clients_.clear();
    home_->Close();
  }

  // Everybody takes the lock, again and again. Empty: all went well.
  std::string RunLocks() {
    for (const auto& client : clients_) {
      StartService(client.get());
      client->process->Spawn("app", [this, client = client.get()] {
        int left = 1;
        client->node.scheduler().Spawn(TakeLock(client, &left)).Detach();
        RunLoop(&client->node.scheduler(),
                [&] { return left == 0 && client->node.remote_locker()->idle(); });
        ++ready_;
        ++threads_done_;
      });
    }
    if (!Run(2 * clients_.size())) return "it hangs";
    if (!home_->IsFree(0)) return "the lock is not free in the end";
    return finding_;
  }

  // The second one writes to the first, as a zombie does, until it cannot. Gives how many WRITEs it knows of.
  std::string RunZombie(uint64_t* written) {
    SimClient* const owner = clients_[0].get();
    SimClient* const zombie = clients_[1].get();
    zombie->process->Spawn("app", [&, zombie] {
      int left = 1;
      zombie->node.scheduler().Spawn(WriteOn(zombie, owner->id(), written, &left)).Detach();
      RunLoop(&zombie->node.scheduler(), [&] { return left == 0; });
      ++threads_done_;
    });
    owner->process->Spawn("service", [&, owner] {
      const uint64_t close_ns = world_.NowNs() + random_.Uniform(300 * kUs);
      RunLoop(&owner->service, [&] { return world_.NowNs() >= close_ns; });
      owner->door->CloseTo(owner->id(), {zombie->id()});
      const SharedWord& next =
          owner->node.descriptors()
              ->region()
              .words()[RemoteDescriptors::NextOffset(RemoteWord(owner->id(), 0, 0)) / kWordBytes];
      const uint64_t last = next.Load(std::memory_order_acquire);
      RunLoop(&owner->service, [&] { return threads_done_ == 1; });
      const uint64_t end_ns = world_.NowNs() + 5 * kMs;
      RunLoop(&owner->service, [&] { return world_.NowNs() >= end_ns; });
      if (next.Load(std::memory_order_acquire) != last) finding_ = "a zombie's WRITE has landed";
      ++threads_done_;
    });
    if (!Run(2)) return "it hangs";
    if (owner->door->connections_count(owner->id()) != 0) return "the zombie is in";
    return finding_;
  }

 private:
  std::unique_ptr<transport::Fabric> MakeFabric(uint32_t process_id) {
    machine_ = world_.AddMachine(absl::StrCat("m", process_id));
    process_ = world_.AddProcess(machine_, absl::StrCat("p", process_id));
    auto fabric = transport::SimFabric::Create(&network_, process_, {});
    CHECK(fabric.ok()) << fabric.status();
    return *std::move(fabric);
  }
  void MakeLinks(SimClient* client) {
    PeerLinks::Options options;
    options.fabric = client->node.fabric();
    options.port = client->node.port();
    options.lock_id = client->id();
    options.ticket = kTicket;
    Scheduler* const scheduler = &client->node.scheduler();
    options.find_endpoint = [this, scheduler](uint32_t of) { return FindEndpoint(scheduler, of); };
    options.report_unreachable = [this](uint32_t of) { return Report(of); };
    client->links = std::make_unique<PeerLinks>(std::move(options));
  }
  Task<absl::StatusOr<std::string>> FindEndpoint(Scheduler* scheduler, uint32_t of) {
    co_await scheduler->SleepFor(random_.Uniform(20 * kUs));
    co_return clients_[of - kFirstId]->door->endpoint();
  }
  Task<void> Report(uint32_t of) {
    finding_ = absl::StrCat("client ", of, " is said to be out of reach");
    co_return;
  }

  template <class IsDone>
  void RunLoop(Scheduler* scheduler, const IsDone& is_done) {
    while (!is_done()) {
      scheduler->RunOnce();
      world_.Spend(50);
    }
  }
  void StartService(SimClient* client) {
    client->process->Spawn("service", [this, client] {
      RunLoop(&client->service, [this] { return ready_ == clients_.size(); });
      ++threads_done_;
    });
  }
  bool Run(size_t threads) {
    is_done_ = world_.RunUntil([&] { return threads_done_ == threads; }, world_.NowNs() + 20 * kS);
    return is_done_;
  }

  Task<void> TakeLock(SimClient* client, int* left) {
    for (int round = 0; round < kRounds; ++round) {
      auto held = co_await client->node.remote_locker()->Acquire(TestLockAddress(0));
      CHECK(held.ok()) << held.status();
      if (++inside_ != 1) finding_ = "two are inside";
      co_await client->node.scheduler().SleepFor(random_.Uniform(5 * kUs));
      --inside_;
      const absl::Status released =
          co_await client->node.remote_locker()->Release(*std::move(held));
      CHECK(released.ok()) << released;
    }
    *left = 0;
  }
  Task<void> WriteOn(SimClient* from, uint32_t to, uint64_t* written, int* left) {
    transport::RegionOptions options;
    options.region_id = 10;
    options.size_bytes = transport::kRegionHeaderBytes + kLineBytes;
    auto buffer = from->node.fabric()->CreateRegion(options);
    CHECK(buffer.ok()) << buffer.status();
    SharedWord* const word = (*buffer)->words() + transport::kRegionHeaderBytes / kWordBytes;
    for (uint64_t number = 1;; ++number) {
      const auto peer = co_await from->links->Find(to);
      if (!peer.ok()) break;
      word->Store(number, std::memory_order_relaxed);
      transport::WorkRequest write;
      write.opcode = transport::Opcode::kWrite;
      write.local = word;
      write.local_region = buffer->get();
      write.length_bytes = kWordBytes;
      write.remote_key = peer->descriptors;
      write.remote_offset_bytes = RemoteDescriptors::NextOffset(RemoteWord(to, 0, 0));
      const auto status = co_await from->node.port()->Execute(peer->queue_pair, {&write, 1});
      if (status == transport::CompletionStatus::kOk) ++*written;
    }
    *left = 0;
  }

  sim::World world_;
  SimNetwork network_;
  Random random_;
  sim::Machine* machine_ = nullptr;  // The last one made.
  sim::Process* process_ = nullptr;
  std::unique_ptr<LockNode> home_;
  std::vector<std::unique_ptr<SimClient>> clients_;
  std::string finding_;
  int inside_ = 0;
  size_t ready_ = 0;
  size_t threads_done_ = 0;
  bool is_done_ = false;
};

TEST(PeersSimTest, LocksAreHandedOnOverLinksThatComeUp) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Scene scene(seed, kClients, DrawWithoutBreaks(seed));
    ASSERT_EQ(scene.RunLocks(), "") << "seed " << seed;
  }
}

TEST(PeersSimTest, NothingOfAZombieLands) {
  uint64_t written = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    Random draw(seed);
    Scene scene(seed, 2, SimFaults::Draw(&draw));
    ASSERT_EQ(scene.RunZombie(&written), "") << "seed " << seed;
  }
  EXPECT_GT(written, 100u) << "it was out before it had begun";
}

}  // namespace
}  // namespace acre
