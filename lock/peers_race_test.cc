// PeerDoor on its thread and PeerLinks on theirs, all at once, under tsan.

#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "lock/peer_door.h"
#include "lock/peer_links.h"
#include "lock/remote_descriptors.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/conformance/test_fabric.h"
#include "transport/fabric.h"
#include "transport/port.h"
#include "transport/region_header.h"

namespace acre {
namespace {

constexpr uint32_t kDoorId = 2;
constexpr uint32_t kFirstVisitorId = 3;
constexpr uint32_t kVisitors = 2;
constexpr int kRounds = 100;
constexpr PeerTicket kTicket = {42};

std::unique_ptr<transport::Fabric> MakeFabric(Clock* clock) {
  auto fabric = transport::MakeTestFabric(clock);
  CHECK(fabric.ok()) << fabric.status();
  return *std::move(fabric);
}

// A thread's loop and port. Made and used by that thread.
struct Loop {
  Loop(transport::Fabric* fabric, Clock* clock, uint64_t seed)
      : scheduler({.clock = clock, .seed = seed}) {
    auto made = fabric->CreateCompletionQueue();
    CHECK(made.ok()) << made.status();
    queue = *std::move(made);
    port = std::make_unique<transport::Port>(&scheduler, queue.get());
  }
  std::unique_ptr<transport::CompletionQueue> queue;
  Scheduler scheduler;
  std::unique_ptr<transport::Port> port;
};

// One that links again and again: each time it finds the door, and its WRITE lands.
class Visitor {
 public:
  Visitor(Clock* clock, uint32_t id, std::string endpoint)
      : clock_(clock), id_(id), endpoint_(std::move(endpoint)), fabric_(MakeFabric(clock)) {
    auto made = fabric_->CreateRegion(
        {.region_id = 1, .size_bytes = transport::kRegionHeaderBytes + kLineBytes});
    CHECK(made.ok()) << made.status();
    region_ = *std::move(made);
  }

  // On its thread.
  void Run(RemoteWord descriptor) {
    Loop loop(fabric_.get(), clock_, id_);
    for (int round = 0; round < kRounds; ++round) {
      const std::unique_ptr<PeerLinks> links = MakeLinks(&loop);
      loop.scheduler.RunUntilDone(LinkOnce(links.get(), &loop, descriptor));
    }
  }
  // The door is closed to it by now.
  absl::Status Look() {
    Loop loop(fabric_.get(), clock_, id_);
    const std::unique_ptr<PeerLinks> links = MakeLinks(&loop);
    return loop.scheduler.RunUntilDone(links->Find(kDoorId)).status();
  }
  int linked() const { return linked_; }

 private:
  std::unique_ptr<PeerLinks> MakeLinks(Loop* loop) {
    PeerLinks::Options options;
    options.fabric = fabric_.get();
    options.port = loop->port.get();
    options.lock_id = id_;
    options.ticket = kTicket;
    options.find_endpoint = [this](uint32_t /*of*/) { return FindEndpoint(); };
    options.report_unreachable = [](uint32_t /*of*/) -> Task<void> { co_return; };
    return std::make_unique<PeerLinks>(std::move(options));
  }
  Task<absl::StatusOr<std::string>> FindEndpoint() { co_return endpoint_; }
  Task<void> LinkOnce(PeerLinks* links, Loop* loop, RemoteWord descriptor) {
    const absl::StatusOr<LockPeers::Peer> peer = co_await links->Find(kDoorId);
    if (!peer.ok()) co_return;
    transport::WorkRequest link;
    link.opcode = transport::Opcode::kWrite;
    link.local = region_->words() + transport::kRegionHeaderBytes / kWordBytes;
    link.local->Store(RemoteWord(id_, 0, 1).bits(), std::memory_order_relaxed);
    link.local_region = region_.get();
    link.length_bytes = kWordBytes;
    link.remote_key = peer->descriptors;
    link.remote_offset_bytes = RemoteDescriptors::NextOffset(descriptor);
    const auto status = co_await loop->port->Execute(peer->queue_pair, {&link, 1});
    if (status == transport::CompletionStatus::kOk) ++linked_;
  }

  Clock* const clock_;
  const uint32_t id_;
  const std::string endpoint_;
  const std::unique_ptr<transport::Fabric> fabric_;
  std::unique_ptr<transport::MemoryRegion> region_;
  int linked_ = 0;
};

// Goal: the thread of a door, those that take locks, and those that come, share nothing but what may be shared.
TEST(PeersRaceTest, VisitorsComeWhileTheOwnerUsesItsDescriptors) {
  RealClock clock;
  const auto fabric = MakeFabric(&clock);
  auto descriptors = RemoteDescriptors::Create(fabric.get(), 1, kDoorId, 4);
  ASSERT_TRUE(descriptors.ok()) << descriptors.status();
  const RemoteWord word = (*descriptors)->Claim();
  (*descriptors)->Begin(word);
  Loop loop(fabric.get(), &clock, 1);
  auto door = PeerDoor::Create({.fabric = fabric.get(), .port = loop.port.get()});
  ASSERT_TRUE(door.ok()) << door.status();
  ASSERT_TRUE((*door)->Serve(descriptors->get(), kTicket).ok());
  std::vector<std::unique_ptr<Visitor>> visitors;
  for (uint32_t i = 0; i < kVisitors; ++i) {
    visitors.push_back(std::make_unique<Visitor>(&clock, kFirstVisitorId + i, (*door)->endpoint()));
  }
  loop.scheduler.DetachFromThread();
  std::thread service([&] {
    loop.scheduler.Run();
    loop.scheduler.DetachFromThread();
  });
  std::vector<std::thread> threads;
  for (const auto& visitor : visitors) threads.emplace_back([&] { visitor->Run(word); });
  // Meanwhile its owner looks for a successor, as in R2.
  bool try_again = false;
  while ((*descriptors)->Successor(word, &try_again).is_null()) std::this_thread::yield();
  EXPECT_FALSE(try_again);
  for (std::thread& thread : threads) thread.join();
  for (const auto& visitor : visitors) EXPECT_EQ(visitor->linked(), kRounds);

  std::promise<void> closed;
  loop.scheduler.Post([&] {
    (*door)->CloseTo(kDoorId, {kFirstVisitorId, kFirstVisitorId + 1});
    closed.set_value();
  });
  closed.get_future().wait();
  for (const auto& visitor : visitors) EXPECT_TRUE(absl::IsUnavailable(visitor->Look()));
  loop.scheduler.Stop();
  service.join();
  EXPECT_EQ((*door)->connections_count(kDoorId), 0u);
  EXPECT_EQ((*door)->refusals_count(PeerRefusal::kDead), kVisitors);
  (*descriptors)->SetLeft(word);
  (*descriptors)->Free(word);
}

}  // namespace
}  // namespace acre
