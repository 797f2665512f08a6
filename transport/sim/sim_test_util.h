// A world with a network and a few nodes: for tests of the simulated provider.

#ifndef ACRE_TRANSPORT_SIM_SIM_TEST_UTIL_H_
#define ACRE_TRANSPORT_SIM_SIM_TEST_UTIL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/shared_word.h"
#include "runtime/sim/world.h"
#include "transport/fabric.h"
#include "transport/region_header.h"
#include "transport/sim/sim_fabric.h"
#include "transport/sim/sim_network.h"

namespace acre::transport {

constexpr uint64_t kUs = 1'000;
constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kDataOffset = kRegionHeaderBytes;

// A world in which nobody is interrupted, so that what is seen comes from the network.
class SimTestWorld {
 public:
  SimTestWorld(uint64_t seed, const SimFaults& faults, bool store_buffers = false)
      : world_({.seed = seed, .store_buffers = store_buffers, .stalls = false}),
        network_(&world_, {.faults = faults}) {}

  sim::World* world() { return &world_; }
  SimNetwork* network() { return &network_; }
  const SimCounts& counts() const { return std::as_const(network_).counts(); }

  void RunFor(uint64_t ns) {
    world_.RunUntil([] { return false; }, world_.NowNs() + ns);
  }
  // False: it did not come true in two seconds.
  bool RunUntil(const std::function<bool()>& done) {
    return world_.RunUntil(done, world_.NowNs() + 2'000 * kMs);
  }
  // Runs `body` as a thread of `process` till it returns.
  void Run(sim::Process* process, const std::function<void()>& body) {
    bool is_done = false;
    process->Spawn("test", [&] {
      body();
      is_done = true;
    });
    CHECK(RunUntil([&] { return is_done; }));
  }

 private:
  sim::World world_;
  SimNetwork network_;
};

// A process with a fabric, a completion queue and a region for local buffers. Used from its own threads, or
// from outside: then time passes in SimTestWorld::Run*.
class SimTestNode {
 public:
  SimTestNode(SimTestWorld* test, sim::Machine* machine,
              const SimFabric::Options& options = SimFabric::Options())
      : test_(test), process_(test->world()->AddProcess(machine, "node")) {
    auto made = SimFabric::Create(test->network(), process_, options);
    CHECK(made.ok()) << made.status();
    fabric_ = *std::move(made);
    auto queue = fabric_->CreateCompletionQueue();
    CHECK(queue.ok());
    queue_ = *std::move(queue);
    local_ = MakeRegion(1, 0);
  }

  sim::Process* process() const { return process_; }
  SimFabric* fabric() const { return fabric_.get(); }
  CompletionQueue* queue() const { return queue_.get(); }
  const MemoryRegion& local() const { return *local_; }

  std::unique_ptr<MemoryRegion> MakeRegion(uint32_t region_id, uint32_t peer_rights,
                                           uint64_t lease_ns = 0) {
    RegionOptions options;
    options.region_id = region_id;
    options.size_bytes = 1 << 16;
    options.peer_rights = peer_rights;
    options.lease_ns = lease_ns;
    auto made = fabric_->CreateRegion(options);
    CHECK(made.ok()) << made.status();
    return *std::move(made);
  }

  // The word at `index` of the local region, and of `region`, behind the header.
  SharedWord* Local(size_t index) const {
    return local_->words() + kDataOffset / kWordBytes + index;
  }
  static SharedWord& Word(const MemoryRegion& region, size_t index) {
    return region.words()[kDataOffset / kWordBytes + index];
  }

  WorkRequest Request(Opcode opcode, RemoteKey key, size_t local_index, size_t index,
                      uint32_t words = 1) const {
    WorkRequest request;
    request.opcode = opcode;
    request.local = Local(local_index);
    request.local_region = local_.get();
    request.length_bytes = words * static_cast<uint32_t>(kWordBytes);
    request.remote_key = key;
    request.remote_offset_bytes = kDataOffset + index * kWordBytes;
    return request;
  }

  // The next completion. From inside of a thread, or from outside.
  Completion Await() {
    Completion completion;
    while (queue_->Poll({&completion, 1}) == 0) Wait();
    return completion;
  }
  // Posts one request and returns what it completes with.
  CompletionStatus Execute(QueuePair* queue_pair, const WorkRequest& request) {
    CHECK(queue_pair->Post({&request, 1}).ok());
    return Await().status;
  }
  void Wait() {
    if (test_->world()->current_thread() != nullptr) return test_->world()->Spend(100);
    test_->RunFor(kUs);
  }

 private:
  SimTestWorld* const test_;
  sim::Process* const process_;
  std::unique_ptr<SimFabric> fabric_;
  std::unique_ptr<CompletionQueue> queue_;
  std::unique_ptr<MemoryRegion> local_;
};

struct SimTestConnection {
  std::unique_ptr<QueuePair> client;
  std::unique_ptr<QueuePair> server;
};

// From outside of threads.
inline SimTestConnection ConnectNodes(SimTestNode* client, SimTestNode* server) {
  auto listener = server->fabric()->Listen();
  CHECK(listener.ok());
  SimTestConnection made;
  auto connecting = client->fabric()->Connect((*listener)->endpoint(), client->queue(), "");
  CHECK(connecting.ok()) << connecting.status();
  made.client = *std::move(connecting);
  std::unique_ptr<ConnectionRequest> request;
  while ((request = (*listener)->Poll()) == nullptr) client->Wait();
  auto accepted = request->Accept(server->queue(), "");
  CHECK(accepted.ok()) << accepted.status();
  made.server = *std::move(accepted);
  CHECK(client->Await().kind == CompletionKind::kConnected);
  return made;
}

inline RemoteKey GrantAll(QueuePair* queue_pair, const MemoryRegion& region) {
  auto key = queue_pair->Grant(region, kRightsAll);
  CHECK(key.ok()) << key.status();
  return *key;
}

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_TEST_UTIL_H_
