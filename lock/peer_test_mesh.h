// Processes that take locks of one home, with doors and links, for tests: on whatever fabric the test is linked with.

#ifndef ACRE_LOCK_PEER_TEST_MESH_H_
#define ACRE_LOCK_PEER_TEST_MESH_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "lock/lock_test_mesh.h"
#include "lock/peer_door.h"
#include "lock/peer_links.h"
#include "lock/peer_wire.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/conformance/test_fabric.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre {

constexpr uint32_t kPeerHomeId = 1;
constexpr uint32_t kFirstId = 2;  // Of the clients, and up.
constexpr PeerTicket kTestTicket = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
constexpr uint64_t kLongNs = 60'000'000'000;

using FoundPeer = absl::StatusOr<LockPeers::Peer>;

constexpr uint32_t kPeerBudget = 3;

// A thread that has no locks, only a port.
struct PeerThread {
  PeerThread(transport::Fabric* fabric, Clock* clock, uint64_t seed)
      : scheduler({.clock = clock, .seed = seed, .poll_mode = PollMode::kBusy}) {
    auto made = fabric->CreateCompletionQueue();
    CHECK(made.ok()) << made.status();
    queue = *std::move(made);
    port = std::make_unique<transport::Port>(&scheduler, queue.get());
  }

  std::unique_ptr<transport::CompletionQueue> queue;
  Scheduler scheduler;
  std::unique_ptr<transport::Port> port;
};

// A process: a thread that takes locks (the node's), and a service thread with the door.
struct PeerClient {
  PeerClient(std::unique_ptr<transport::Fabric> fabric, Clock* clock, uint32_t id)
      : node(std::move(fabric), clock, id, {.poll_mode = PollMode::kBusy}),
        service(node.fabric(), clock, id + 1000) {
    OpenDoor({});
  }
  ~PeerClient() {
    if (links != nullptr) links->Close();
    node.Close();
    links.reset();
    door.reset();
  }
  void OpenDoor(PeerDoor::Options options) {
    door.reset();
    options.fabric = node.fabric();
    options.port = service.port.get();
    auto made = PeerDoor::Create(options);
    CHECK(made.ok()) << made.status();
    door = *std::move(made);
    const absl::Status served = door->Serve(node.descriptors(), kTestTicket);
    CHECK(served.ok()) << served;
  }
  uint32_t id() const { return node.descriptors()->process_id(); }
  size_t visitors() const { return door->connections_count(id()); }
  void Pass() {
    node.scheduler().RunOnce();
    service.scheduler.RunOnce();
  }

  LockNode node;
  PeerThread service;
  std::unique_ptr<PeerDoor> door;
  std::unique_ptr<PeerLinks> links;
};

// All of them take turns on this thread. For tests that derive from it.
class PeerMesh : public ::testing::Test {
 public:  // For coroutines, which take the test as a parameter.
  void Make(uint32_t clients_count) {
    for (uint32_t i = 0; i < clients_count; ++i) {
      clients_.push_back(std::make_unique<PeerClient>(MakeFabric(), &clock_, kFirstId + i));
      PeerClient& client = *clients_.back();
      endpoints_[client.id()] = client.door->endpoint();
      client.links = MakeLinks(client.node.fabric(), client.node.port(), client.id());
    }
  }
  std::unique_ptr<transport::Fabric> MakeFabric() {
    auto fabric = transport::MakeTestFabric(&clock_);
    CHECK(fabric.ok()) << fabric.status();
    return *std::move(fabric);
  }
  PeerLinks::Options LinksOptions(transport::Fabric* fabric, transport::Port* port, uint32_t id) {
    PeerLinks::Options options;
    options.fabric = fabric;
    options.port = port;
    options.lock_id = id;
    options.ticket = kTestTicket;
    options.attempt_ns_max = kLongNs;
    Scheduler* const scheduler = port->scheduler();
    options.find_endpoint = [this, scheduler](uint32_t of) { return FindEndpoint(scheduler, of); };
    options.report_unreachable = [this, scheduler](uint32_t of) { return Report(scheduler, of); };
    return options;
  }
  std::unique_ptr<PeerLinks> MakeLinks(transport::Fabric* fabric, transport::Port* port,
                                       uint32_t id) {
    return std::make_unique<PeerLinks>(LinksOptions(fabric, port, id));
  }
  void MakeLocks(uint32_t count) {
    home_ = std::make_unique<LockNode>(MakeFabric(), &clock_, kPeerHomeId,
                                       Scheduler::Options{.poll_mode = PollMode::kBusy});
    home_->MakeLocks(count);
    for (const auto& client : clients_) {
      client->node.SetPeers(client->links.get());
      LockNode::JoinHome(&client->node, home_.get(), LockKind::kALock, kPeerBudget,
                         [this] { Pass(); });
    }
  }
  ~PeerMesh() override {
    clients_.clear();
    if (home_ != nullptr) home_->Close();
  }

  void Pass() {
    if (home_ != nullptr) home_->scheduler().RunOnce();
    for (const auto& client : clients_) client->Pass();
    for (PeerThread* const thread : others_) thread->scheduler.RunOnce();
  }
  template <class IsDone>
  [[nodiscard]] bool PassUntil(const IsDone& is_done) {
    return transport::StepUntil(&clock_, is_done, [this] { Pass(); });
  }

  Task<absl::StatusOr<std::string>> FindEndpoint(Scheduler* scheduler, uint32_t of);
  Task<void> Report(Scheduler* scheduler, uint32_t of);
  static Task<void> FindInto(PeerLinks* links, uint32_t of, absl::optional<FoundPeer>* found);
  // Finds, and says how that went.
  FoundPeer Find(PeerLinks* links, Scheduler* scheduler, uint32_t of) {
    absl::optional<FoundPeer> found;
    SpawnHandle finding = scheduler->Spawn(FindInto(links, of, &found));
    EXPECT_TRUE(PassUntil([&] { return found.has_value(); }));
    finding.Cancel();
    return found.has_value() ? *found : absl::InternalError("it hangs");
  }
  FoundPeer Find(size_t from, size_t to) {
    PeerClient& client = *clients_[from];
    return Find(client.links.get(), &client.node.scheduler(), kFirstId + static_cast<uint32_t>(to));
  }

  RealClock clock_;
  std::unique_ptr<LockNode> home_;
  std::vector<std::unique_ptr<PeerClient>> clients_;
  std::vector<PeerThread*> others_;
  // What the home knows, and when it answers.
  std::map<uint32_t, std::string> endpoints_;
  bool tells_ = true;
  bool hears_ = true;
  int asked_count_ = 0;
  int reports_under_way_ = 0;
  std::vector<uint32_t> reports_;
};

}  // namespace acre

#endif  // ACRE_LOCK_PEER_TEST_MESH_H_
