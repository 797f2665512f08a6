// The end of peers, regions and descriptors: kill -9, leases, closed regions, leaks, no descriptors
// left.

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "transport/region_lease.h"
#include "transport/shm/shm_test_peer.h"

namespace acre::transport {
namespace {

size_t OpenFds() {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                                           std::filesystem::directory_iterator()));
}

WorkRequest Knock() {
  WorkRequest request;
  request.opcode = Opcode::kWriteWithImm;
  return request;
}

struct Node {
  explicit Node(Clock* clock) : fabric(Take(ShmFabric::Create({.clock = clock}))) {}
  std::unique_ptr<ShmFabric> fabric;
  std::unique_ptr<CompletionQueue> queue = Take(fabric->CreateCompletionQueue());
};

struct Pair {
  Pair(Node* client_node, Node* server_node, Listener* listener) {
    client = Take(client_node->fabric->Connect(listener->endpoint(), client_node->queue.get(), ""));
    server = Take(AwaitRequest(listener)->Accept(server_node->queue.get(), ""));
    CHECK(AwaitAsleep(client_node->queue.get()).kind == CompletionKind::kConnected);
  }
  std::unique_ptr<QueuePair> client;
  std::unique_ptr<QueuePair> server;
};

// The child's part: connects to the endpoint that it is told, knocks, and waits to be killed.
[[noreturn]] void ConnectAndWaitForDeath(int endpoint_fd) {
  std::array<char, 256> endpoint;
  const ssize_t bytes = read(endpoint_fd, endpoint.data(), endpoint.size());
  CHECK_GT(bytes, 0);
  RealClock clock;
  Node node(&clock);
  auto queue_pair = Take(node.fabric->Connect({endpoint.data(), static_cast<size_t>(bytes)},
                                              node.queue.get(), "child"));
  CHECK(AwaitAsleep(node.queue.get()).kind == CompletionKind::kConnected);
  CHECK(queue_pair->Post(std::vector<WorkRequest>{Knock()}).ok());
  while (true) pause();
}

TEST(ShmDeathTest, KilledPeerIsSeenAtOnceBySleeperAndPoller) {
  for (const bool sleeps : {true, false}) {
    std::array<int, 2> pipe_fds;
    ASSERT_EQ(pipe(pipe_fds.data()), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) ConnectAndWaitForDeath(pipe_fds[0]);
    RealClock clock;
    Node node(&clock);
    auto listener = Take(node.fabric->Listen());
    const std::string endpoint = listener->endpoint();
    ASSERT_EQ(write(pipe_fds[1], endpoint.data(), endpoint.size()),
              static_cast<ssize_t>(endpoint.size()));
    auto queue_pair = Take(AwaitRequest(listener.get())->Accept(node.queue.get(), ""));
    EXPECT_EQ(queue_pair->peer_private_data(), "child");
    EXPECT_EQ(queue_pair->peer_pid(), child);
    EXPECT_EQ(AwaitAsleep(node.queue.get()).kind, CompletionKind::kReceive);

    Completion completion;
    if (sleeps) {
      node.queue->Arm();
      ASSERT_EQ(node.queue->Poll({&completion, 1}), 0u);
      ASSERT_EQ(kill(child, SIGKILL), 0);
      ASSERT_TRUE(WaitReadable(node.queue->fd()));
      ASSERT_EQ(node.queue->Poll({&completion, 1}), 1u) << "the first poll after the wake-up tells";
    } else {
      ASSERT_EQ(kill(child, SIGKILL), 0);
      while (node.queue->Poll({&completion, 1}) == 0) {
      }
    }

    EXPECT_EQ(completion.kind, CompletionKind::kDisconnected);
    EXPECT_EQ(completion.queue_pair, queue_pair.get());
    EXPECT_FALSE(queue_pair->status().ok());
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
  }
}

class ShmLeaseTest : public testing::Test {
 protected:
  static constexpr uint64_t kLeaseNs = 500'000'000;

  WorkRequest Request(Opcode opcode) {
    WorkRequest request;
    request.opcode = opcode;
    request.local = local_->words() + kRegionHeaderBytes / kWordBytes;
    request.local_region = local_.get();
    request.length_bytes = kWordBytes;
    request.remote_key = key_;
    request.remote_offset_bytes = kRegionHeaderBytes;
    request.swap_or_add = 1;
    return request;
  }
  CompletionStatus StatusOf(Opcode opcode) {
    CHECK(pair_.client->Post(std::vector<WorkRequest>{Request(opcode)}).ok());
    return AwaitAsleep(client_.queue.get()).status;
  }

  ManualClock clock_;
  Node client_{&clock_};
  Node server_{&clock_};
  std::unique_ptr<Listener> listener_ = Take(server_.fabric->Listen());
  std::unique_ptr<MemoryRegion> local_ =
      Take(client_.fabric->CreateRegion({.region_id = 1, .size_bytes = 4096}));
  std::unique_ptr<MemoryRegion> region_ = Take(server_.fabric->CreateRegion(
      {.region_id = 2, .size_bytes = 4096, .peer_rights = kRightsAll, .lease_ns = kLeaseNs}));
  Pair pair_{&client_, &server_, listener_.get()};
  RemoteKey key_ = Take(pair_.server->Grant(*region_, kRightsAll));
};

TEST_F(ShmLeaseTest, RenewedLeaseKeepsTheRegionReadable) {
  for (int i = 0; i < 50; ++i) {
    clock_.AdvanceNs(kLeaseNs / 5);
    region_->RenewLease(clock_.NowNs());
    EXPECT_EQ(StatusOf(Opcode::kRead), CompletionStatus::kOk);
  }
  clock_.AdvanceNs(kLeaseNs - 1);
  EXPECT_EQ(StatusOf(Opcode::kRead), CompletionStatus::kOk);
  clock_.AdvanceNs(1);
  EXPECT_EQ(StatusOf(Opcode::kRead), CompletionStatus::kBadKey);
}

TEST_F(ShmLeaseTest, RenewingLateDoesNotShortenALease) {
  region_->RenewLease(0);
  EXPECT_EQ(StatusOf(Opcode::kRead), CompletionStatus::kOk);
}

TEST_F(ShmLeaseTest, AfterItsEndNothingIsWritten) {
  for (const Opcode opcode : {Opcode::kWrite, Opcode::kFetchAdd, Opcode::kCompareSwap}) {
    Pair pair(&client_, &server_, listener_.get());
    pair_ = std::move(pair);
    key_ = Take(pair_.server->Grant(*region_, kRightsAll));
    region_->RenewLease(clock_.NowNs());
    EXPECT_EQ(StatusOf(Opcode::kRead), CompletionStatus::kOk);
    local_->words()[kRegionHeaderBytes / kWordBytes].Store(9, std::memory_order_relaxed);

    clock_.AdvanceNs(kLeaseNs);

    EXPECT_EQ(StatusOf(opcode), CompletionStatus::kBadKey);
    EXPECT_EQ(AwaitAsleep(client_.queue.get()).kind, CompletionKind::kDisconnected);
    EXPECT_EQ(AwaitAsleep(server_.queue.get()).kind, CompletionKind::kDisconnected);
    EXPECT_EQ(region_->words()[kRegionHeaderBytes / kWordBytes].Load(std::memory_order_acquire),
              0u);
  }
}

TEST_F(ShmLeaseTest, MappedReaderIsTold) {
  const MappedRegion mapped = Take(pair_.client->Map(key_));
  const auto* header = reinterpret_cast<const RegionHeader*>(mapped.words);
  const uint64_t generation = mapped.generation;
  EXPECT_EQ(generation, header->generation.Load(std::memory_order_acquire));
  RegionLease lease(header, generation, &clock_);
  EXPECT_TRUE(lease.IsLive());
  EXPECT_FALSE(RegionLease(header, generation + 1, &clock_).IsLive());
  EXPECT_EQ(RegionLease(header, generation + 1, &clock_).WhyNot().code(),
            absl::StatusCode::kUnavailable);

  clock_.AdvanceNs(kLeaseNs);
  EXPECT_FALSE(lease.IsLive());
  EXPECT_NE(lease.WhyNot().message().find("lease"), absl::string_view::npos);

  region_->RenewLease(clock_.NowNs());
  // Who was told no before the renewal, and asks why behind it, must not take the answer for a yes.
  EXPECT_EQ(lease.WhyNot().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(lease.IsLive());
  region_.reset();
  EXPECT_FALSE(lease.IsLive());
  EXPECT_NE(lease.WhyNot().message().find("closed"), absl::string_view::npos);
}

TEST(RegionLeaseTest, ReaderGivesUpEarlierThanTheCoarseClockIsLate) {
  RealClock clock;
  auto fabric = Take(ShmFabric::Create({.clock = &clock}));
  auto region = Take(
      fabric->CreateRegion({.region_id = 1, .size_bytes = 4096, .lease_ns = 3'600'000'000'000}));
  auto* header = reinterpret_cast<RegionHeader*>(region->words());
  RegionLease lease(header, header->generation.Load(std::memory_order_relaxed), &clock);
  EXPECT_TRUE(lease.IsLive());
  header->lease_deadline_ns.Store(clock.NowNs(), std::memory_order_release);
  EXPECT_FALSE(lease.IsLive());
  header->lease_deadline_ns.Store(kNoLeaseNs, std::memory_order_release);
  EXPECT_TRUE(lease.IsLive());
}

TEST(ShmDescriptorsTest, AThousandConnectionsLeaveNoneOpen) {
  RealClock clock;
  Node client(&clock);
  Node server(&clock);
  auto listener = Take(server.fabric->Listen());
  const auto connect = [&] {
    Pair pair(&client, &server, listener.get());
    auto region = Take(server.fabric->CreateRegion(
        {.region_id = 1, .size_bytes = 4096, .peer_rights = kRightRead}));
    const RemoteKey key = Take(pair.server->Grant(*region, kRightRead));
    ASSERT_TRUE(pair.client->Map(key).ok());
  };
  connect();
  const size_t before = OpenFds();
  for (int i = 0; i < 1000; ++i) connect();
  EXPECT_EQ(OpenFds(), before);
}

TEST(ShmDescriptorsTest, ListenerWithoutDescriptorsWaitsAndDoesNotSpin) {
  RealClock clock;
  Node client(&clock);
  Node server(&clock);
  auto listener = Take(server.fabric->Listen());
  auto connecting = Take(client.fabric->Connect(listener->endpoint(), client.queue.get(), ""));
  ASSERT_TRUE(WaitReadable(listener->fd()));
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 3;  // All that there are stay open; no new one is given.
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);

  int wakes = 0;
  for (int i = 0; i < 2000; ++i) {
    if (!IsReadable(listener->fd())) continue;
    ++wakes;
    EXPECT_EQ(listener->Poll(), nullptr);
  }
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);

  EXPECT_LT(wakes, 1000);
  auto accepted = Take(AwaitRequest(listener.get())->Accept(server.queue.get(), ""));
  EXPECT_EQ(AwaitAsleep(client.queue.get()).kind, CompletionKind::kConnected);
}

}  // namespace
}  // namespace acre::transport
