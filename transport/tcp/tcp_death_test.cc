// The end of peers and regions, and memory of other providers: kill -9, stopped applications, descriptors.

#include <signal.h>
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
#include "transport/region_header.h"
#include "transport/shm/shm_fabric.h"
#include "transport/tcp/tcp_test_peer.h"

namespace acre::transport {
namespace {

constexpr uint64_t kDataOffset = kRegionHeaderBytes;
constexpr size_t kDataWord = kRegionHeaderBytes / kWordBytes;

size_t OpenFds() {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                                           std::filesystem::directory_iterator()));
}

std::unique_ptr<MemoryRegion> MakeRegion(Fabric* fabric, uint32_t region_id, uint32_t rights) {
  RegionOptions options;
  options.region_id = region_id;
  options.size_bytes = 1 << 16;
  options.peer_rights = rights;
  return Take(fabric->CreateRegion(options));
}

struct Node {
  // Longer than any test: a peer's death is not to be noticed by a timeout.
  explicit Node(Clock* clock)
      : fabric(Take(TcpFabric::Create({.clock = clock, .unreachable_ms = 600'000}))) {}
  std::unique_ptr<TcpFabric> fabric;
  std::unique_ptr<CompletionQueue> queue = Take(fabric->CreateCompletionQueue());
  std::unique_ptr<MemoryRegion> local = MakeRegion(fabric.get(), 1, 0);
};

WorkRequest Request(const Node& node, Opcode opcode, RemoteKey key) {
  WorkRequest request;
  request.opcode = opcode;
  request.id = 1;
  request.local = node.local->words() + kDataWord;
  request.local_region = node.local.get();
  request.length_bytes = kWordBytes;
  request.remote_key = key;
  request.remote_offset_bytes = kDataOffset;
  request.swap_or_add = 1;
  return request;
}

CompletionStatus Execute(const Node& node, QueuePair* queue_pair, const WorkRequest& request) {
  CHECK(queue_pair->Post({&request, 1}).ok());
  const Completion completion = AwaitAsleep(node.queue.get());
  CHECK(completion.kind == CompletionKind::kSend);
  return completion.status;
}

struct Pair {
  Pair(Node* client_node, Node* server_node, Listener* listener) {
    client = Take(client_node->fabric->Connect(listener->endpoint(), client_node->queue.get(), ""));
    server = Take(AwaitRequest(listener)->Accept(server_node->queue.get(), ""));
    CHECK(AwaitAsleep(client_node->queue.get()).kind == CompletionKind::kConnected);
  }
  std::unique_ptr<QueuePair> client;
  std::unique_ptr<QueuePair> server;
};

// A process that grants a region whose first word is 42, tells endpoint and key through a pipe, and does
// nothing more: its application's thread sleeps for good.
class ServingProcess {
 public:
  ServingProcess() {
    std::array<int, 2> pipe_fds;
    PCHECK(pipe(pipe_fds.data()) == 0);
    ScopedFd read_end(pipe_fds[0]);
    ScopedFd write_end(pipe_fds[1]);
    pid_ = fork();
    PCHECK(pid_ >= 0);
    if (pid_ == 0) Serve(write_end.get());
    tells_ = std::move(read_end);
  }
  ~ServingProcess() { Kill(); }

  std::string Hear(size_t bytes_max) {
    std::string text(bytes_max, '\0');
    const ssize_t bytes = read(tells_.get(), text.data(), text.size());
    CHECK_GT(bytes, 0);
    text.resize(static_cast<size_t>(bytes));
    return text;
  }
  void Signal(int number) { PCHECK(kill(pid_, number) == 0); }
  void Kill() {
    if (pid_ == 0) return;
    Signal(SIGKILL);
    PCHECK(waitpid(pid_, nullptr, 0) == pid_);
    pid_ = 0;
  }

 private:
  [[noreturn]] static void Serve(int tell_fd) {
    RealClock clock;
    Node node(&clock);
    const auto region = MakeRegion(node.fabric.get(), 7, kRightsAll);
    region->words()[kDataWord].Store(42, std::memory_order_release);
    const auto listener = Take(node.fabric->Listen());
    const std::string endpoint = listener->endpoint();
    PCHECK(write(tell_fd, endpoint.data(), endpoint.size()) ==
           static_cast<ssize_t>(endpoint.size()));
    const auto queue_pair = Take(AwaitRequest(listener.get())->Accept(node.queue.get(), ""));
    const RemoteKey key = Take(queue_pair->Grant(*region, kRightsAll));
    PCHECK(write(tell_fd, &key, sizeof(key)) == sizeof(key));
    while (true) pause();
  }

  pid_t pid_ = 0;
  ScopedFd tells_;
};

class TcpDeathTest : public testing::Test {
 protected:
  // Forks first: no thread runs yet.
  ServingProcess process_;
  RealClock clock_;
  Node client_{&clock_};
  std::unique_ptr<QueuePair> queue_pair_ =
      Take(client_.fabric->Connect(process_.Hear(100), client_.queue.get(), ""));
  RemoteKey Connected() {
    CHECK(AwaitAsleep(client_.queue.get()).kind == CompletionKind::kConnected);
    const std::string bytes = process_.Hear(sizeof(RemoteKey));
    RemoteKey key;
    std::memcpy(&key, bytes.data(), sizeof(key));  // private memory
    return key;
  }
};

TEST_F(TcpDeathTest, MemoryOfASleepingApplicationIsServed) {
  const RemoteKey key = Connected();
  EXPECT_EQ(Execute(client_, queue_pair_.get(), Request(client_, Opcode::kRead, key)),
            CompletionStatus::kOk);
  EXPECT_EQ(client_.local->words()[kDataWord].Load(std::memory_order_acquire), 42u);
  EXPECT_EQ(Execute(client_, queue_pair_.get(), Request(client_, Opcode::kFetchAdd, key)),
            CompletionStatus::kOk);
  EXPECT_EQ(Execute(client_, queue_pair_.get(), Request(client_, Opcode::kRead, key)),
            CompletionStatus::kOk);
  EXPECT_EQ(client_.local->words()[kDataWord].Load(std::memory_order_acquire), 43u);
}

TEST_F(TcpDeathTest, KilledPeerIsNoticedAtOnceByWhoSleeps) {
  (void)Connected();
  process_.Kill();
  // Not armed, nothing outstanding.
  ASSERT_TRUE(WaitReadable(client_.queue->fd()));
  EXPECT_EQ(AwaitAsleep(client_.queue.get()).kind, CompletionKind::kDisconnected);
  EXPECT_EQ(queue_pair_->state(), QueuePairState::kBroken);
}

// Goal: requests under way when the peer dies complete, flushed, before the end is reported.
TEST_F(TcpDeathTest, RequestsUnderWayAreFlushedWhenThePeerDies) {
  const RemoteKey key = Connected();
  process_.Signal(SIGSTOP);
  const WorkRequest read = Request(client_, Opcode::kRead, key);
  const std::vector<WorkRequest> batch(10, read);
  ASSERT_TRUE(queue_pair_->Post(batch).ok());
  process_.Kill();
  int flushed = 0;
  while (true) {
    const Completion completion = AwaitAsleep(client_.queue.get());
    if (completion.kind == CompletionKind::kDisconnected) break;
    // A stop takes effect a moment later than the signal.
    if (completion.status == CompletionStatus::kOk) continue;
    EXPECT_EQ(completion.status, CompletionStatus::kFlushed);
    ++flushed;
  }
  EXPECT_LE(flushed, 10);
}

// Goal: READs and WRITEs longer than all buffers come through, in pieces.
TEST(TcpLongTest, AWholeRegionMovesBothWays) {
  constexpr uint64_t kBytes = uint64_t{8} << 20;
  RealClock clock;
  Node client(&clock);
  Node server(&clock);
  const auto listener = Take(server.fabric->Listen());
  RegionOptions options;
  options.region_id = 7;
  options.size_bytes = kBytes;
  options.peer_rights = kRightsAll;
  const auto there = Take(server.fabric->CreateRegion(options));
  const auto here = Take(client.fabric->CreateRegion(options));
  const size_t words = (kBytes - kRegionHeaderBytes) / kWordBytes;
  for (size_t i = 0; i < words; ++i) {
    here->words()[kDataWord + i].Store(i * 3, std::memory_order_relaxed);
  }
  {
    Pair pair(&client, &server, listener.get());
    WorkRequest request =
        Request(client, Opcode::kWrite, Take(pair.server->Grant(*there, kRightsAll)));
    request.local = here->words() + kDataWord;
    request.local_region = here.get();
    request.length_bytes = static_cast<uint32_t>(words * kWordBytes);
    ASSERT_EQ(Execute(client, pair.client.get(), request), CompletionStatus::kOk);
    for (size_t i = 0; i < words; ++i) {
      ASSERT_EQ(there->words()[kDataWord + i].Load(std::memory_order_acquire), i * 3) << i;
      here->words()[kDataWord + i].Store(0, std::memory_order_relaxed);
    }
    request.opcode = Opcode::kRead;
    ASSERT_EQ(Execute(client, pair.client.get(), request), CompletionStatus::kOk);
    for (size_t i = 0; i < words; ++i) {
      ASSERT_EQ(here->words()[kDataWord + i].Load(std::memory_order_acquire), i * 3) << i;
    }
  }
}

TEST(TcpLeakTest, ConnectionsThatComeAndGoLeaveNoDescriptors) {
  RealClock clock;
  Node client(&clock);
  Node server(&clock);
  const auto listener = Take(server.fabric->Listen());
  { Pair first(&client, &server, listener.get()); }
  const size_t before = OpenFds();
  for (int i = 0; i < 50; ++i) {
    Pair pair(&client, &server, listener.get());
    if (i % 2 == 0) pair.client.reset();
    if (i % 3 == 0) {
      // One that fails: its stream lingers, but not for long.
      const WorkRequest bad = Request(client, Opcode::kRead, RemoteKey{1});
      if (pair.client != nullptr) {
        EXPECT_EQ(Execute(client, pair.client.get(), bad), CompletionStatus::kBadKey);
      }
    }
  }
  const uint64_t till_ns = clock.NowNs() + 20'000'000'000;
  while (OpenFds() > before && clock.NowNs() < till_ns) {
    Completion completion;
    (void)client.queue->Poll({&completion, 1});
  }
  EXPECT_LE(OpenFds(), before);
}

// ---- RegisterRegion.

class TcpRegisterTest : public testing::Test {
 protected:
  RealClock clock_;
  std::unique_ptr<ShmFabric> shm_ = Take(ShmFabric::Create({.clock = &clock_}));
  std::unique_ptr<MemoryRegion> memory_ = MakeRegion(shm_.get(), 7, kRightRead);
  Node server_{&clock_};
  Node client_{&clock_};
  std::unique_ptr<Listener> listener_ = Take(server_.fabric->Listen());
  std::unique_ptr<MemoryRegion> door_ =
      Take(server_.fabric->RegisterRegion(memory_.get(), kRightsAll));
  Pair pair_{&client_, &server_, listener_.get()};
  RemoteKey key_ = Take(pair_.server->Grant(*door_, kRightsAll));
};

TEST_F(TcpRegisterTest, MemoryOfAnotherProviderIsReadAndWritten) {
  EXPECT_EQ(door_->words(), memory_->words());
  EXPECT_EQ(door_->region_id(), 7u);
  memory_->words()[kDataWord].Store(5, std::memory_order_release);
  EXPECT_EQ(Execute(client_, pair_.client.get(), Request(client_, Opcode::kRead, key_)),
            CompletionStatus::kOk);
  EXPECT_EQ(client_.local->words()[kDataWord].Load(std::memory_order_acquire), 5u);
  client_.local->words()[kDataWord].Store(6, std::memory_order_release);
  EXPECT_EQ(Execute(client_, pair_.client.get(), Request(client_, Opcode::kWrite, key_)),
            CompletionStatus::kOk);
  EXPECT_EQ(Execute(client_, pair_.client.get(), Request(client_, Opcode::kRead, key_)),
            CompletionStatus::kOk);
  EXPECT_EQ(memory_->words()[kDataWord].Load(std::memory_order_acquire), 6u);
}

TEST_F(TcpRegisterTest, ItsAtomicsAreTheMakersAlone) {
  EXPECT_EQ(Execute(client_, pair_.client.get(), Request(client_, Opcode::kFetchAdd, key_)),
            CompletionStatus::kAtomicDomain);
  EXPECT_EQ(memory_->words()[kDataWord].Load(std::memory_order_acquire), 0u);
}

TEST_F(TcpRegisterTest, ClosingTheOriginalClosesTheDoor) {
  memory_->Close();
  EXPECT_EQ(Execute(client_, pair_.client.get(), Request(client_, Opcode::kRead, key_)),
            CompletionStatus::kBadKey);
}

TEST_F(TcpRegisterTest, DestroyingTheDoorLeavesTheOriginalOpen) {
  door_.reset();
  EXPECT_EQ(Execute(client_, pair_.client.get(), Request(client_, Opcode::kRead, key_)),
            CompletionStatus::kBadKey);
  const auto* header = reinterpret_cast<const RegionHeader*>(memory_->words());
  EXPECT_EQ(header->state.Load(std::memory_order_acquire), uint64_t{kRegionLive});
}

TEST_F(TcpRegisterTest, OthersSayThatTheyCannot) {
  const auto own = MakeRegion(server_.fabric.get(), 9, kRightRead);
  const absl::Status refused = shm_->RegisterRegion(own.get(), kRightRead).status();
  EXPECT_TRUE(absl::IsUnimplemented(refused)) << refused;
  EXPECT_NE(refused.message().find("shm"), absl::string_view::npos);
  EXPECT_TRUE(absl::IsInvalidArgument(server_.fabric->RegisterRegion(memory_.get(), 64).status()));
}

TEST(TcpOptionsTest, WhoListensAtAllAddressesTellsTheOneThatWasReached) {
  RealClock clock;
  const auto fabric = Take(TcpFabric::Create({.clock = &clock, .listen_host = "0.0.0.0"}));
  const auto listener = Take(fabric->Listen());
  const std::string endpoint = listener->endpoint();
  EXPECT_EQ(endpoint.find("127.0.0.1:"), 0u) << endpoint;
  const std::string port = endpoint.substr(endpoint.rfind(':'));
  EXPECT_EQ(listener->EndpointFor("192.0.2.1"), "192.0.2.1" + port);
  const auto one = Take(TcpFabric::Create({.clock = &clock, .listen_host = "127.0.0.1"}));
  const auto at_one = Take(one->Listen());
  EXPECT_EQ(at_one->EndpointFor("192.0.2.1"), at_one->endpoint());
}

TEST(TcpOptionsTest, ListenHostsThatAreNoneOfThisMachineAreRefused) {
  RealClock clock;
  for (const char* host : {"localhost", "", "192.0.2.1"}) {
    const auto fabric = Take(TcpFabric::Create({.clock = &clock, .listen_host = host}));
    EXPECT_TRUE(absl::IsInvalidArgument(fabric->Listen().status())) << host;
  }
}

}  // namespace
}  // namespace acre::transport
