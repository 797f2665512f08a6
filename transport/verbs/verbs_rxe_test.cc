// Hostile, silent and dying peers, fences, threads, and that nothing is left behind. Needs a card:
// //transport/verbs:verbs_rxe_vm_test runs it on Soft-RoCE, in a virtual machine.

#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "transport/verbs/verbs_completion_queue.h"
#include "transport/verbs/verbs_context.h"
#include "transport/verbs/verbs_key.h"
#include "transport/verbs/verbs_listener.h"
#include "transport/verbs/verbs_test_util.h"
#include "transport/verbs/verbs_wire.h"

#ifdef __SANITIZE_ADDRESS__
// g++ does not bring asan's header for it.
extern "C" size_t __sanitizer_get_current_allocated_bytes();
#endif

namespace acre::transport {
namespace {

class VerbsTest : public ::testing::Test {
 protected:
  static void ExpectDisconnected(const VerbsNode& node, const QueuePair* queue_pair) {
    const Completion gone = node.Await();
    EXPECT_EQ(gone.kind, CompletionKind::kDisconnected) << static_cast<int>(gone.kind);
    EXPECT_EQ(gone.queue_pair, queue_pair);
    EXPECT_EQ(queue_pair->state(), QueuePairState::kBroken);
  }
};

// A server of ours, an honest connection to it, and one to a raw peer.
class VerbsHostileTest : public VerbsTest {
 protected:
  void ConnectRaw(const std::string& hello = EncodeVerbsHello(16, 1, "")) {
    const std::unique_ptr<Listener> listener = Take(server_.fabric->Listen());
    raw_ = std::make_unique<RawPeer>(client_.address,
                                     Take(ParseVerbsEndpoint(listener->endpoint())), hello);
    std::thread connecting([this] { EXPECT_TRUE(raw_->Connect()); });
    std::unique_ptr<ConnectionRequest> request;
    while (request == nullptr) request = listener->Poll();
    victim_ = Take(request->Accept(server_.queue.get(), ""));
    connecting.join();
  }
  // The honest connection has taken no notice. The server hears of `others` knocks of the victim before.
  void ExpectHonestWorks(uint32_t others = 0) {
    ASSERT_TRUE(honest_.client->Post(std::vector<WorkRequest>{Knock(7)}).ok());
    EXPECT_EQ(client_.Await().status, CompletionStatus::kOk);
    Completion knock = server_.Await();
    for (uint32_t i = 0; i < others; ++i, knock = server_.Await()) {
      EXPECT_EQ(knock.queue_pair, victim_.get());
      EXPECT_EQ(knock.immediate, i);
    }
    EXPECT_EQ(knock.queue_pair, honest_.server.get());
    EXPECT_EQ(knock.immediate, 7u);
  }

  VerbsNode client_{0};
  VerbsNode server_{1};
  std::unique_ptr<MemoryRegion> region_ = server_.MakeRegion(7, kRightsAll);
  VerbsConnection honest_ = Connect(client_, server_);
  std::unique_ptr<QueuePair> victim_;  // The server's end of the raw peer's connection.
  std::unique_ptr<RawPeer> raw_;
};

TEST_F(VerbsHostileTest, WhoDoesNotSayHelloIsRejected) {
  const std::unique_ptr<Listener> listener = Take(server_.fabric->Listen());
  RawPeer raw(client_.address, Take(ParseVerbsEndpoint(listener->endpoint())), "good morning");
  ExpectRejected(&raw, listener.get());
  ExpectHonestWorks();
}

TEST_F(VerbsHostileTest, CreditThatWasNeverUsedCannotBeGivenBack) {
  for (const uint32_t credits : {0u, 1u, 17u, ~0u}) {
    SCOPED_TRACE(credits);
    ConnectRaw();
    raw_->Send(IBV_WR_SEND_WITH_IMM, credits);
    ExpectDisconnected(server_, victim_.get());
    victim_.reset();
    raw_.reset();
  }
  ExpectHonestWorks();
}

TEST_F(VerbsHostileTest, MessagesOfOtherKindsBreakTheirConnectionOnly) {
  for (const uint32_t bytes : {0u, 8u, 4096u}) {
    SCOPED_TRACE(bytes);
    ConnectRaw();
    raw_->Send(IBV_WR_SEND, 0, bytes);
    ExpectDisconnected(server_, victim_.get());
    victim_.reset();
    raw_.reset();
  }
  ExpectHonestWorks();
}

TEST_F(VerbsHostileTest, KnockingBeyondItsCreditHarmsOnlyTheKnocker) {
  ConnectRaw();
  // As many as the server has posted receives, those for credits too.
  constexpr uint32_t kTaken = 16 + kControlReceivesPerLane;
  for (uint32_t i = 0; i < kTaken; ++i) {
    ASSERT_EQ(raw_->Send(IBV_WR_RDMA_WRITE_WITH_IMM, i), IBV_WC_SUCCESS);
  }
  raw_->Post(IBV_WR_RDMA_WRITE_WITH_IMM, kTaken);
  ExpectHonestWorks(kTaken);
  raw_.reset();
  ExpectDisconnected(server_, victim_.get());
  ExpectHonestWorks();
}

// Goal: the card enforces what a key says, whatever a peer makes of it.
TEST_F(VerbsHostileTest, ForgedKeysReachNothing) {
  auto read_only = server_.MakeRegion(8, kRightRead);
  struct Case {
    ibv_wr_opcode opcode;
    uint64_t offset;
    uint32_t bytes;
  };
  for (const Case& c :
       {Case{IBV_WR_RDMA_WRITE, kDataOffset, 8}, Case{IBV_WR_RDMA_READ, (1 << 16) - 8, 16},
        Case{IBV_WR_RDMA_READ, uint64_t{1} << 40, 8}, Case{IBV_WR_RDMA_READ, ~uint64_t{7}, 16}}) {
    SCOPED_TRACE(absl::StrCat(c.opcode, " at ", c.offset));
    ConnectRaw();
    const RemoteKey key = Take(victim_->Grant(*read_only, kRightRead));
    EXPECT_EQ(raw_->Send(c.opcode, 0, c.bytes, DecodeVerbsKey(key)->card_key, c.offset),
              IBV_WC_REM_ACCESS_ERR);
    EXPECT_EQ(read_only->words()[kDataWord].Load(std::memory_order_acquire), 0u);
    raw_.reset();
    ExpectDisconnected(server_, victim_.get());
    victim_.reset();
  }
  ExpectHonestWorks();
}

// Goal: a peer that says nothing and answers nothing is missed although nothing is asked of it.
TEST_F(VerbsHostileTest, PeerThatFallsSilentIsMissed) {
  ConnectRaw();
  // The last that it does is a request of which nobody hears that it was done.
  WorkRequest unheard = Knock(1);
  unheard.signaled = false;
  ASSERT_TRUE(victim_->Post(std::vector<WorkRequest>{unheard}).ok());
  Completion none;
  while (!raw_->TakeReceive()) ASSERT_EQ(server_.queue->Poll({&none, 1}), 0u);
  raw_->FallSilent();
  ExpectDisconnected(server_, victim_.get());
  EXPECT_EQ(victim_->status().code(), absl::StatusCode::kUnavailable);
  ExpectHonestWorks();
}

TEST_F(VerbsHostileTest, RequestsToAPeerThatFellSilentEnd) {
  ConnectRaw();
  raw_->FallSilent();
  ASSERT_TRUE(victim_->Post(std::vector<WorkRequest>{Knock(1), Knock(2)}).ok());
  const Completion failed = server_.Await();
  EXPECT_EQ(failed.status, CompletionStatus::kRetryExceeded);
  EXPECT_EQ(server_.Await().status, CompletionStatus::kFlushed);
  ExpectDisconnected(server_, victim_.get());
}

// Goal: an unsignaled request that completed before the end, of which the card says nothing more, delays
// no end.
TEST_F(VerbsHostileTest, SilentlyCompletedRequestsDelayNoEnd) {
  const RemoteKey key = Take(honest_.server->Grant(*region_, kRightsAll));
  WorkRequest write = client_.Request(Opcode::kWrite, 0, key);
  write.signaled = false;
  client_.local->words()[kDataWord].Store(5, std::memory_order_relaxed);
  ASSERT_TRUE(honest_.client->Post(std::vector<WorkRequest>{write}).ok());
  while (region_->words()[kDataWord].Load(std::memory_order_acquire) != 5) {
  }
  honest_.server.reset();
  const uint64_t start_ns = client_.clock.NowNs();
  Completion gone = client_.Await();
  // Its acknowledgement and the end may cross.
  if (gone.kind == CompletionKind::kSend) gone = client_.Await();
  EXPECT_EQ(gone.kind, CompletionKind::kDisconnected);
  EXPECT_LT(client_.clock.NowNs() - start_ns, kTickNs) << "the card is waited for in vain";
}

// ---- Processes that die.

[[noreturn]] void RunChild(const char* endpoint) {
  VerbsNode node(0);
  const auto queue_pair = Take(node.fabric->Connect(endpoint, node.queue.get(), "child"));
  for (;;) node.Await();
}

class VerbsDeathTest : public VerbsTest {
 protected:
  std::unique_ptr<QueuePair> AcceptChild() {
    const std::unique_ptr<Listener> listener = Take(server_.fabric->Listen());
    child_ = std::make_unique<Child>("--child", listener->endpoint());
    std::unique_ptr<ConnectionRequest> request;
    while (request == nullptr) request = listener->Poll();
    EXPECT_EQ(request->private_data(), "child");
    return Take(request->Accept(server_.queue.get(), ""));
  }

  VerbsNode server_{1};
  std::unique_ptr<Child> child_;
};

TEST_F(VerbsDeathTest, EndOfAnIdlePeerWakesAtOnce) {
  const std::unique_ptr<QueuePair> queue_pair = AcceptChild();
  ASSERT_TRUE(queue_pair->Post(std::vector<WorkRequest>{Knock(1)}).ok());
  EXPECT_EQ(server_.Await().status, CompletionStatus::kOk);
  child_->Kill();
  // Never armed. A wake-up may also be the slow timer's, or tell that the card begins to give back receives.
  Completion gone;
  int wakes = 0;
  while (server_.queue->Poll({&gone, 1}) == 0) {
    ASSERT_TRUE(server_.WaitReadable(20'000));
    ASSERT_LT(++wakes, 100) << "wakes for nothing";
  }
  EXPECT_EQ(gone.kind, CompletionKind::kDisconnected);
  EXPECT_EQ(queue_pair->state(), QueuePairState::kBroken);
}

TEST_F(VerbsDeathTest, WhatStalledAtADeadPeerIsFlushed) {
  const std::unique_ptr<QueuePair> queue_pair = AcceptChild();
  // It polls, so it gives credit back; in the end some are on their way when it dies.
  std::vector<WorkRequest> knocks;
  for (uint32_t i = 0; i < 64; ++i) knocks.push_back(Knock(i));
  ASSERT_TRUE(queue_pair->Post(knocks).ok());
  EXPECT_EQ(server_.Await().id, 0u);
  child_->Kill();
  Completion completion = server_.Await();
  for (uint32_t i = 1; i < 64; ++i, completion = server_.Await()) EXPECT_EQ(completion.id, i);
  EXPECT_EQ(completion.kind, CompletionKind::kDisconnected);
}

// Goal: a broken queue pair is made anew, beside one that goes on.
TEST_F(VerbsDeathTest, SuccessorConnectsBesideAnotherPeer) {
  VerbsNode client(0);
  const VerbsConnection other = Connect(client, server_);
  for (int i = 0; i < 3; ++i) {
    const std::unique_ptr<QueuePair> queue_pair = AcceptChild();
    ASSERT_TRUE(queue_pair->Post(std::vector<WorkRequest>{Knock(1)}).ok());
    EXPECT_EQ(server_.Await().status, CompletionStatus::kOk);
    child_->Kill();
    ExpectDisconnected(server_, queue_pair.get());
    ASSERT_TRUE(other.client->Post(std::vector<WorkRequest>{Knock(2)}).ok());
    EXPECT_EQ(client.Await().status, CompletionStatus::kOk);
    EXPECT_EQ(server_.Await().immediate, 2u);
  }
}

// ---- Cards and memory.

TEST_F(VerbsTest, CardIsPickedByNameOrAddress) {
  const std::vector<std::string> addresses = VerbsFabric::Addresses();
  RealClock clock;
  for (const std::string& address : addresses) {
    const auto by_address = Take(VerbsFabric::Create({.clock = &clock, .address = address}));
    const VerbsFacts& facts = by_address->facts();
    EXPECT_EQ(facts.address, address);
    EXPECT_EQ(by_address->device().device, absl::StrCat(facts.card, " (", address, ")"));
    const auto by_name = Take(VerbsFabric::Create({.clock = &clock, .device = facts.card}));
    EXPECT_EQ(by_name->facts().card, facts.card);
    EXPECT_EQ(
        VerbsFabric::Create({.clock = &clock, .device = "no", .address = address}).status().code(),
        absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_EQ(Take(VerbsFabric::Create({.clock = &clock}))->facts().address, addresses[0]);
  EXPECT_EQ(VerbsFabric::Create({.clock = &clock, .device = "no"}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(VerbsFabric::Create({.clock = &clock, .address = "192.0.2.1"}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(VerbsFabric::Create({.clock = &clock, .address = "a.b"}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// Goal: queues as deep as asked for, or as the card has them.
TEST_F(VerbsTest, DepthsAreTheCards) {
  RealClock clock;
  const auto deep = Take(VerbsFabric::Create(
      {.clock = &clock, .send_queue_depth = 8'192, .receive_queue_depth = 8'192}));
  EXPECT_LE(deep->device().send_queue_depth_max, 8'192u);
  EXPECT_GE(deep->device().send_queue_depth_max, 1'024u);
  EXPECT_EQ(VerbsFabric::Create({.clock = &clock, .send_queue_depth = 0}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(VerbsFabric::Create({.clock = &clock, .receive_queue_depth = 1}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(VerbsTest, HugePagesAreReadThroughTheCard) {
  VerbsNode client(0);
  VerbsNode server(1);
  const auto region = Take(server.fabric->CreateRegion({.region_id = 7,
                                                        .size_bytes = size_t{4} << 20,
                                                        .peer_rights = kRightRead,
                                                        .huge_pages = HugePages::k2M}));
  EXPECT_EQ(region->page_bytes(), size_t{2} << 20);
  const size_t last_word = region->size_bytes() / kWordBytes - 1;
  region->words()[last_word].Store(42, std::memory_order_release);
  const VerbsConnection connection = Connect(client, server);
  WorkRequest read =
      client.Request(Opcode::kRead, 0, Take(connection.server->Grant(*region, kRightRead)));
  read.remote_offset_bytes = last_word * kWordBytes;
  ASSERT_TRUE(connection.client->Post(std::vector<WorkRequest>{read}).ok());
  EXPECT_EQ(client.Await().status, CompletionStatus::kOk);
  EXPECT_EQ(client.local->words()[kDataWord].Load(std::memory_order_acquire), 42u);
}

// ---- Order under load.

// Goal: fenced WRITEs never overtake READs before them, through thousands of batches of all shapes.
TEST_F(VerbsTest, FencedWritesNeverOvertakeReads) {
  VerbsNode client(0);
  VerbsNode server(1);
  auto region = server.MakeRegion(7, kRightsAll);
  const VerbsConnection connection = Connect(client, server);
  const RemoteKey key = Take(connection.server->Grant(*region, kRightsAll));
  for (uint64_t round = 1; round <= 3'000; ++round) {
    client.local->words()[kDataWord + 1].Store(round, std::memory_order_relaxed);
    WorkRequest read = client.Request(Opcode::kRead, 0, key);
    read.signaled = round % 2 == 0;
    WorkRequest add = client.Request(Opcode::kFetchAdd, 2, key);
    add.remote_offset_bytes += kWordBytes;
    add.swap_or_add = 1;
    add.signaled = false;
    WorkRequest write = client.Request(Opcode::kWrite, 1, key);
    write.fence = true;
    write.inline_data = round % 3 == 0;
    if (round % 5 == 0) {
      ASSERT_TRUE(connection.client->Post(std::vector<WorkRequest>{read}).ok());
      ASSERT_TRUE(connection.client->Post(std::vector<WorkRequest>{add, write}).ok());
    } else {
      ASSERT_TRUE(connection.client->Post(std::vector<WorkRequest>{read, add, write}).ok());
    }
    Completion done = client.Await();
    if (read.signaled) done = client.Await();
    ASSERT_EQ(done.status, CompletionStatus::kOk);
    ASSERT_EQ(done.id, write.id);
    ASSERT_EQ(client.local->words()[kDataWord].Load(std::memory_order_relaxed), round - 1);
    ASSERT_EQ(client.local->words()[kDataWord + 2].Load(std::memory_order_relaxed), round - 1);
  }
}

// Goal: both sides knock at once, far beyond their credit, and all arrive in order.
TEST_F(VerbsTest, CreditReturnsBothWays) {
  VerbsNode a(0, /*receive_queue_depth=*/2);
  VerbsNode b(1, /*receive_queue_depth=*/5);
  const VerbsConnection connection = Connect(a, b);
  struct End {
    const VerbsNode* node;
    QueuePair* queue_pair;
    uint32_t posted = 0;
    uint32_t sent = 0;
    uint32_t received = 0;
  };
  constexpr uint32_t kKnocks = 2'000;
  std::array<End, 2> ends = {End{&a, connection.client.get()}, End{&b, connection.server.get()}};
  while (ends[0].received < kKnocks || ends[1].received < kKnocks || ends[0].sent < kKnocks ||
         ends[1].sent < kKnocks) {
    for (End& end : ends) {
      while (end.posted < kKnocks &&
             end.queue_pair->Post(std::vector<WorkRequest>{Knock(end.posted)}).ok()) {
        ++end.posted;
      }
      std::array<Completion, 8> completions;
      const size_t count = end.node->queue->Poll(absl::MakeSpan(completions));
      for (size_t i = 0; i < count; ++i) {
        ASSERT_EQ(completions[i].status, CompletionStatus::kOk);
        if (completions[i].kind == CompletionKind::kSend) {
          ASSERT_EQ(completions[i].id, end.sent++);
        } else {
          ASSERT_EQ(completions[i].kind, CompletionKind::kReceive) << end.queue_pair->status();
          ASSERT_EQ(completions[i].immediate, end.received++);
        }
      }
    }
  }
}

// Goal: a completion queue outgrows what the card puts into one, and still hears of everybody, asleep too.
TEST_F(VerbsTest, QueuePairsBeyondOneQueueOfTheCard) {
  VerbsNode client(0);
  VerbsNode server(1, /*receive_queue_depth=*/1'024);
  std::vector<VerbsConnection> connections;
  for (uint32_t i = 0; i < 20; ++i) connections.push_back(Connect(client, server));
  for (uint32_t round = 0; round < 3; ++round) {
    for (uint32_t i = 0; i < connections.size(); ++i) {
      server.queue->Arm();
      Completion none;
      EXPECT_EQ(server.queue->Poll({&none, 1}), 0u);
      ASSERT_TRUE(connections[i].client->Post(std::vector<WorkRequest>{Knock(i)}).ok());
      EXPECT_EQ(client.Await().status, CompletionStatus::kOk);
      EXPECT_TRUE(server.WaitReadable(20'000));
      const Completion knock = server.Await();
      EXPECT_EQ(knock.queue_pair, connections[i].server.get());
      EXPECT_EQ(knock.immediate, i);
    }
    // Room of those that go is taken by those that come.
    for (uint32_t i = round; i < connections.size(); i += 3) {
      connections[i].client.reset();
      ExpectDisconnected(server, connections[i].server.get());
      connections[i] = Connect(client, server);
    }
  }
}

// Goal: threads of one process use a Fabric at once, each with queue pairs of its own.
TEST_F(VerbsTest, ThreadsShareACard) {
  constexpr uint64_t kThreads = 3;
  constexpr uint64_t kConnections = 10;
  constexpr uint64_t kAdds = 200;
  VerbsNode client(0);
  VerbsNode server(1);
  const auto region = server.MakeRegion(7, kRightsAll);
  const std::unique_ptr<Listener> listener = Take(server.fabric->Listen());
  SharedWord key_bits;  // 0, or the region's key: always the same one. Stored by the server.
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto queue = Take(client.fabric->CreateCompletionQueue());
      const auto await = [&queue](CompletionKind kind) {
        Completion completion;
        while (queue->Poll({&completion, 1}) == 0) sched_yield();
        CHECK(completion.kind == kind) << completion.queue_pair->status();
        CHECK(completion.status == CompletionStatus::kOk);
      };
      for (uint64_t i = 0; i < kConnections; ++i) {
        const auto region_id = static_cast<uint32_t>(100 + t * kConnections + i);
        const auto local = client.MakeRegion(region_id, kRightRead);
        const auto queue_pair = Take(client.fabric->Connect(listener->endpoint(), queue.get(), ""));
        await(CompletionKind::kConnected);
        while (key_bits.Load(std::memory_order_acquire) == 0) sched_yield();
        WorkRequest add = client.Request(Opcode::kFetchAdd, 0,
                                         RemoteKey{key_bits.Load(std::memory_order_acquire)});
        add.local = local->words() + kDataWord;
        add.local_region = local.get();
        add.swap_or_add = 1;
        for (uint64_t j = 0; j < kAdds; ++j) {
          CHECK(queue_pair->Post({&add, 1}).ok());
          await(CompletionKind::kSend);
        }
      }
    });
  }
  std::vector<std::unique_ptr<QueuePair>> accepted;
  Completion completion;
  for (uint64_t gone = 0; gone < kThreads * kConnections;) {
    if (const auto request = listener->Poll()) {
      accepted.push_back(Take(request->Accept(server.queue.get(), "")));
      const RemoteKey key = Take(accepted.back()->Grant(*region, kRightsAll));
      key_bits.Store(key.bits, std::memory_order_release);
    }
    if (server.queue->Poll({&completion, 1}) == 1) {
      ASSERT_EQ(completion.kind, CompletionKind::kDisconnected);
      ++gone;
    }
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(region->words()[kDataWord].Load(std::memory_order_acquire),
            kThreads * kConnections * kAdds);
}

// ---- What is left behind.

size_t AllocatedBytes() {
#ifdef __SANITIZE_ADDRESS__
  return __sanitizer_get_current_allocated_bytes();
#else
  return mallinfo2().uordblks;
#endif
}

TEST_F(VerbsTest, ThousandConnectionsLeaveNothingBehind) {
  VerbsNode client(0);
  VerbsNode server(1);
  const auto connect_once = [&](int round) {
    const auto region = server.MakeRegion(static_cast<uint32_t>(2 + round), kRightsAll);
    VerbsConnection connection = Connect(client, server);
    const RemoteKey key = Take(connection.server->Grant(*region, kRightRead));
    ASSERT_TRUE(
        connection.client->Post(std::vector<WorkRequest>{client.Request(Opcode::kRead, 0, key)})
            .ok());
    ASSERT_EQ(client.Await().status, CompletionStatus::kOk);
    // Either side may go first, with the other knowing or not.
    if (round % 3 == 0) {
      connection.client.reset();
      ExpectDisconnected(server, connection.server.get());
    } else if (round % 3 == 1) {
      connection.server.reset();
    }
  };
  for (int round = 0; round < 20; ++round) ASSERT_NO_FATAL_FAILURE(connect_once(round));
  const size_t descriptors = CountDescriptors();
  const std::string at_cards = CountAtCards();
  const size_t bytes = AllocatedBytes();
  for (int round = 20; round < 1'020; ++round) ASSERT_NO_FATAL_FAILURE(connect_once(round));
  EXPECT_EQ(CountDescriptors(), descriptors);
  EXPECT_EQ(CountAtCards(), at_cards);
  EXPECT_NE(at_cards.find(" qp 1 "), std::string::npos) << "rdma counts: " << at_cards;
  EXPECT_LT(AllocatedBytes(), bytes + (64 << 10)) << "from " << bytes;
}

}  // namespace
}  // namespace acre::transport

int main(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "--child") == 0) acre::transport::RunChild(argv[2]);
  if (argc == 3 && strcmp(argv[1], "--shared_child") == 0) acre::transport::RunSharedChild(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
