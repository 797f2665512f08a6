// Threads of applications beside the fabric's own: connections that come and go, regions that close, and
// queues that sleep, while requests are executed. For tsan.

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "transport/region_header.h"
#include "transport/tcp/tcp_test_peer.h"

namespace acre::transport {
namespace {

constexpr size_t kDataWord = kRegionHeaderBytes / kWordBytes;

std::unique_ptr<MemoryRegion> MakeRegion(Fabric* fabric, uint32_t region_id, uint32_t rights) {
  RegionOptions options;
  options.region_id = region_id;
  options.size_bytes = 1 << 14;
  options.peer_rights = rights;
  return Take(fabric->CreateRegion(options));
}

WorkRequest Request(Opcode opcode, const MemoryRegion& local, RemoteKey key) {
  WorkRequest request;
  request.opcode = opcode;
  request.local = local.words() + kDataWord;
  request.local_region = &local;
  request.length_bytes = kWordBytes;
  request.remote_key = key;
  request.remote_offset_bytes = kRegionHeaderBytes;
  request.swap_or_add = 1;
  return request;
}

class TcpRaceTest : public testing::Test {
 protected:
  // The server's application: takes whoever comes, grants `region_`, tells the key as an immediate (it
  // fits, as the first grant of a connection), and polls asleep, till `clients` have gone.
  void ServeTill(int clients) {
    auto queue = Take(server_->CreateCompletionQueue());
    std::vector<std::unique_ptr<QueuePair>> queue_pairs;
    int gone = 0;
    while (gone < clients) {
      if (auto request = listener_->Poll()) {
        auto accepted = request->Accept(queue.get(), "");
        ASSERT_TRUE(accepted.ok()) << accepted.status();
        (void)(*accepted)->Grant(*region_, kRightsAll);  // May have gone by now.
        WorkRequest knock;
        knock.opcode = Opcode::kWriteWithImm;
        EXPECT_TRUE((*accepted)->Post({&knock, 1}).ok());
        queue_pairs.push_back(*std::move(accepted));
      }
      Completion completion;
      if (queue->Poll({&completion, 1}) == 0) continue;
      if (completion.kind != CompletionKind::kDisconnected) continue;
      ++gone;
      std::erase_if(queue_pairs, [&completion](const std::unique_ptr<QueuePair>& queue_pair) {
        return queue_pair.get() == completion.queue_pair;
      });
    }
  }

  // A connection that has been granted the region.
  std::unique_ptr<QueuePair> Connect(CompletionQueue* queue) {
    auto queue_pair = Take(client_->Connect(listener_->endpoint(), queue, ""));
    bool is_granted = false;
    while (!is_granted) is_granted = AwaitAsleep(queue).kind == CompletionKind::kReceive;
    return queue_pair;
  }

  RealClock clock_;
  std::unique_ptr<TcpFabric> server_ = Take(TcpFabric::Create({.clock = &clock_}));
  std::unique_ptr<TcpFabric> client_ = Take(TcpFabric::Create({.clock = &clock_}));
  std::unique_ptr<MemoryRegion> region_ = MakeRegion(server_.get(), 7, kRightsAll);
  std::unique_ptr<Listener> listener_ = Take(server_->Listen());
  const RemoteKey key_ = MakeTcpKey(0, kRightsAll);
};

TEST_F(TcpRaceTest, ClientsComeAndGoWhileOthersAreServed) {
  constexpr int kThreads = 3;
  constexpr int kRounds = 15;
  constexpr uint64_t kAdds = 20;
  std::thread application([this] { ServeTill(kThreads * kRounds); });
  std::vector<std::thread> clients;
  for (uint32_t id = 0; id < kThreads; ++id) {
    clients.emplace_back([this, id] {
      auto queue = Take(client_->CreateCompletionQueue());
      for (int round = 0; round < kRounds; ++round) {
        const auto local = MakeRegion(client_.get(), 100 + id, 0);
        const auto queue_pair = Connect(queue.get());
        const std::vector<WorkRequest> adds(kAdds, Request(Opcode::kFetchAdd, *local, key_));
        ASSERT_TRUE(queue_pair->Post(adds).ok());
        for (uint64_t i = 0; i < kAdds; ++i) {
          ASSERT_EQ(AwaitAsleep(queue.get()).status, CompletionStatus::kOk);
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  application.join();
  EXPECT_EQ(region_->words()[kDataWord].Load(std::memory_order_seq_cst),
            uint64_t{kThreads} * kRounds * kAdds);
}

// Goal: a region may go at any moment while peers read and write it.
TEST_F(TcpRaceTest, RegionsGoUnderTheirReaders) {
  constexpr int kRounds = 30;
  std::thread application([this] { ServeTill(kRounds); });
  auto queue = Take(client_->CreateCompletionQueue());
  const auto local = MakeRegion(client_.get(), 100, 0);
  for (int round = 0; round < kRounds; ++round) {
    const auto queue_pair = Connect(queue.get());
    // The first connection sees it go; those after it find it closed.
    std::thread closer([this, round] {
      if (round == 0) region_->Close();
    });
    CompletionStatus status = CompletionStatus::kOk;
    for (const Opcode opcode : {Opcode::kRead, Opcode::kWrite}) {
      const WorkRequest request = Request(opcode, *local, key_);
      while (status == CompletionStatus::kOk) {
        ASSERT_TRUE(queue_pair->Post({&request, 1}).ok());
        status = AwaitAsleep(queue.get()).status;
      }
    }
    EXPECT_EQ(status, CompletionStatus::kBadKey);
    closer.join();
    while (AwaitAsleep(queue.get()).kind != CompletionKind::kDisconnected) {
    }
  }
  application.join();
}

// Goal: no wake-up is lost between two sleepers that wait for each other.
TEST_F(TcpRaceTest, SleepersWakeEachOther) {
  constexpr uint32_t kKnocks = 2000;
  const auto play = [](QueuePair* queue_pair, CompletionQueue* queue, bool begins) {
    WorkRequest knock;
    knock.opcode = Opcode::kWriteWithImm;
    knock.signaled = false;
    uint32_t received = 0;
    if (begins) CHECK(queue_pair->Post({&knock, 1}).ok());
    while (received < kKnocks) {
      const Completion completion = AwaitAsleep(queue);
      if (completion.kind == CompletionKind::kSend) continue;
      ASSERT_EQ(completion.kind, CompletionKind::kReceive);
      ASSERT_EQ(completion.immediate, received++);
      if (received == kKnocks && begins) return;
      knock.immediate = begins ? received : received - 1;
      // Now and then one that frees the places of all.
      knock.signaled = received % 64 == 0;
      CHECK(queue_pair->Post({&knock, 1}).ok());
    }
  };
  auto client_queue = Take(client_->CreateCompletionQueue());
  auto server_queue = Take(server_->CreateCompletionQueue());
  auto client = Take(client_->Connect(listener_->endpoint(), client_queue.get(), ""));
  auto server = Take(AwaitRequest(listener_.get())->Accept(server_queue.get(), ""));
  ASSERT_EQ(AwaitAsleep(client_queue.get()).kind, CompletionKind::kConnected);
  std::thread other([&] { play(server.get(), server_queue.get(), /*begins=*/false); });
  play(client.get(), client_queue.get(), /*begins=*/true);
  other.join();
}

}  // namespace
}  // namespace acre::transport
