// Connecting, queues that fill up, WRITE_WITH_IMM, wake-ups, and the end of a connection: E2, E3.

#include <string>
#include <vector>

#include "transport/conformance/conformance.h"

namespace acre::transport {
namespace {

class ConnectionTest : public ConformanceTest {
 protected:
  ConnectionTest() : client_(provider_), server_(provider_) {}

  // A WRITE_WITH_IMM of one word, local word `index`, to word `index` of the target.
  static WorkRequest WriteWithImm(const Node& node, size_t index, RemoteKey key,
                                  uint32_t immediate) {
    WorkRequest request =
        Request(Opcode::kWriteWithImm, node, index, key, kDataOffset + index * kWordBytes);
    request.immediate = immediate;
    return request;
  }
  // One that only knocks: no bytes, no key.
  static WorkRequest Knock(uint32_t immediate) {
    WorkRequest request;
    request.opcode = Opcode::kWriteWithImm;
    request.id = immediate;
    request.immediate = immediate;
    return request;
  }

  // Knocks, from 0 on, till the server has no room for another. How often.
  uint32_t FillReceiveQueue(QueuePair* client) {
    const uint32_t depth = server_.fabric->device().receive_queue_depth;
    for (uint32_t i = 0; i < depth; ++i) {
      Post(client, {Knock(i)});
      EXPECT_EQ(Await(client_.queue.get()).id, i);
    }
    return depth;
  }

  Node client_;
  Node server_;
};
ACRE_CONFORMANCE_SUITE(ConnectionTest);

TEST_P(ConnectionTest, PrivateDataArriveBothWays) {
  for (const size_t bytes : {size_t{0}, size_t{1}, kPrivateDataBytesMax}) {
    const std::string there(bytes, '\xff');
    const std::string back = std::string(bytes, '\0');
    auto listener = server_.fabric->Listen();
    ASSERT_TRUE(listener.ok());
    auto client = client_.fabric->Connect((*listener)->endpoint(), client_.queue.get(), there);
    ASSERT_TRUE(client.ok()) << client.status();
    EXPECT_EQ((*client)->state(), QueuePairState::kConnecting);
    EXPECT_EQ((*client)->Post(std::vector<WorkRequest>{Knock(1)}).code(),
              absl::StatusCode::kFailedPrecondition);

    auto request = AwaitRequest(client_, listener->get());
    EXPECT_EQ(request->private_data(), there);
    auto server = request->Accept(server_.queue.get(), back);
    ASSERT_TRUE(server.ok()) << server.status();

    EXPECT_EQ(Await(client_.queue.get()).kind, CompletionKind::kConnected);
    EXPECT_EQ((*client)->state(), QueuePairState::kReady);
    EXPECT_EQ((*server)->state(), QueuePairState::kReady);
    EXPECT_EQ((*client)->peer_private_data(), back);
    EXPECT_EQ((*server)->peer_private_data(), there);
  }
}

TEST_P(ConnectionTest, TooLongPrivateDataAreRefused) {
  auto listener = server_.fabric->Listen();
  ASSERT_TRUE(listener.ok());
  const std::string data(kPrivateDataBytesMax + 1, 'x');
  EXPECT_EQ((*listener)->Poll(), nullptr);
  EXPECT_EQ(
      client_.fabric->Connect((*listener)->endpoint(), client_.queue.get(), data).status().code(),
      absl::StatusCode::kInvalidArgument);
}

TEST_P(ConnectionTest, RejectedConnectionSaysSo) {
  auto listener = server_.fabric->Listen();
  ASSERT_TRUE(listener.ok());
  auto client = client_.fabric->Connect((*listener)->endpoint(), client_.queue.get(), "");
  ASSERT_TRUE(client.ok()) << client.status();

  AwaitRequest(client_, listener->get()).reset();

  ExpectDisconnected(client_, client->get());
  EXPECT_EQ((*client)->status().code(), absl::StatusCode::kUnavailable);
}

TEST_P(ConnectionTest, NobodyListensAnyMore) {
  std::string endpoint;
  {
    auto listener = server_.fabric->Listen();
    ASSERT_TRUE(listener.ok());
    endpoint = (*listener)->endpoint();
  }
  auto client = client_.fabric->Connect(endpoint, client_.queue.get(), "");
  if (!client.ok()) {
    EXPECT_EQ(client.status().code(), absl::StatusCode::kUnavailable);
  } else {
    ExpectDisconnected(client_, client->get());
  }
}

TEST_P(ConnectionTest, FullSendQueueRefusesUntilPolled) {
  Connection connection = Connect(client_, server_);
  auto region = server_.MakeRegion(7, kRightsAll);
  const RemoteKey key = Grant(connection.server.get(), *region, kRightsAll);
  const uint32_t depth = client_.fabric->device().send_queue_depth_max;
  WorkRequest silent = FetchAdd(client_, 0, key, 1);
  silent.signaled = false;
  std::vector<WorkRequest> batch(depth - 1, silent);
  Post(connection.client.get(), batch);

  // Two do not fit, so none of the two is posted; one does.
  const std::vector<WorkRequest> two(2, FetchAdd(client_, 1, key, 1000));
  EXPECT_EQ(connection.client->Post(two).code(), absl::StatusCode::kResourceExhausted);
  Post(connection.client.get(), {FetchAdd(client_, 2, key, 1)});
  EXPECT_EQ(connection.client->Post(std::vector<WorkRequest>{silent}).code(),
            absl::StatusCode::kResourceExhausted);

  EXPECT_EQ(Await(client_.queue.get()).id, 102u);
  EXPECT_EQ(GetLocal(client_, 2), depth - 1);
  batch.back().signaled = true;
  Post(connection.client.get(), batch);  // The completion freed all places.
  Await(client_.queue.get());
  EXPECT_EQ(GetLocal(client_, 0), uint64_t{2} * depth - 2);
}

TEST_P(ConnectionTest, ImmediateTellsOfDataThatAreThere) {
  Connection connection = Connect(client_, server_);
  auto region = server_.MakeRegion(7, kRightWrite);
  const RemoteKey key = Grant(connection.server.get(), *region, kRightWrite);
  for (uint32_t i = 0; i < 100; ++i) {
    SetLocal(client_, i % 8, 1000 + i);
    Post(connection.client.get(), {WriteWithImm(client_, i % 8, key, ~i & kImmediateMax)});

    const Completion received = Await(server_.queue.get());
    EXPECT_EQ(received.kind, CompletionKind::kReceive);
    EXPECT_EQ(received.immediate, ~i & kImmediateMax);
    EXPECT_EQ(received.length_bytes, kWordBytes);
    EXPECT_EQ(received.queue_pair, connection.server.get());
    EXPECT_EQ(Target(*region, i % 8).Load(std::memory_order_acquire), 1000 + i);
    EXPECT_EQ(Await(client_.queue.get()).kind, CompletionKind::kSend);
  }
}

TEST_P(ConnectionTest, ImmediatesStallWhenTheReceiverDoesNotPollAndKeepTheirOrder) {
  Connection connection = Connect(client_, server_);
  auto region = server_.MakeRegion(7, kRightRead | kRightWrite);
  const RemoteKey key = Grant(connection.server.get(), *region, kRightRead | kRightWrite);
  const uint32_t depth = FillReceiveQueue(connection.client.get());
  // One too many, with inline bytes; a WRITE and a READ behind it must wait as well.
  SharedWord inline_word;
  inline_word.Store(5, std::memory_order_relaxed);
  WorkRequest stalled = WriteWithImm(client_, 0, key, depth);
  stalled.inline_data = client_.fabric->device().inline_bytes_max >= kWordBytes;
  if (stalled.inline_data) stalled.local = &inline_word, stalled.local_region = nullptr;
  SetLocal(client_, 0, 5);
  SetLocal(client_, 1, 6);
  Post(connection.client.get(), {stalled, Request(Opcode::kWrite, client_, 1, key)});
  Post(connection.client.get(), {Request(Opcode::kRead, client_, 2, key)});
  inline_word.Store(0, std::memory_order_relaxed);
  ExpectQuiet(client_.queue.get());
  EXPECT_EQ(Target(*region).Load(std::memory_order_acquire), 0u);

  for (uint32_t i = 0; i < depth; ++i) EXPECT_EQ(Await(server_.queue.get()).immediate, i);

  for (uint64_t id = 100; id < 103; ++id) EXPECT_EQ(Await(client_.queue.get()).id, id);
  EXPECT_EQ(Await(server_.queue.get()).immediate, depth);
  EXPECT_EQ(GetLocal(client_, 2), 6u);
}

// Goal: a READ at once keeps its place behind what stalls: it is not done, and can be posted.
TEST_P(ConnectionTest, NothingIsReadAtOnceBehindAStalledImmediate) {
  if (!provider_->reads_at_once()) return;
  Connection connection = Connect(client_, server_);
  auto region = server_.MakeRegion(7, kRightRead | kRightWrite);
  const RemoteKey key = Grant(connection.server.get(), *region, kRightRead | kRightWrite);
  const uint32_t depth = FillReceiveQueue(connection.client.get());
  const WorkRequest read = Request(Opcode::kRead, client_, 1, key);
  CompletionStatus status = CompletionStatus::kLocalError;
  EXPECT_TRUE(connection.client->ReadAtOnce(read, &status)) << "the queue is full, nothing stalls";
  EXPECT_EQ(status, CompletionStatus::kOk);
  SetLocal(client_, 0, 5);
  Post(connection.client.get(), {WriteWithImm(client_, 0, key, depth)});
  status = CompletionStatus::kLocalError;
  EXPECT_FALSE(connection.client->ReadAtOnce(read, &status));
  EXPECT_EQ(status, CompletionStatus::kLocalError) << "nothing was done";
  EXPECT_EQ(GetLocal(client_, 1), 0u);

  for (uint32_t i = 0; i < depth; ++i) EXPECT_EQ(Await(server_.queue.get()).immediate, i);

  EXPECT_EQ(Await(client_.queue.get()).opcode, Opcode::kWriteWithImm);
  EXPECT_EQ(Await(server_.queue.get()).immediate, depth);
  EXPECT_TRUE(connection.client->ReadAtOnce(read, &status));
  EXPECT_EQ(GetLocal(client_, 1), 5u);
}

TEST_P(ConnectionTest, StalledRequestsAreFlushedWhenThePeerGoes) {
  Connection connection = Connect(client_, server_);
  const uint32_t depth = FillReceiveQueue(connection.client.get());
  Post(connection.client.get(), {Knock(depth)});

  connection.server.reset();

  const Completion flushed = Await(client_.queue.get());
  EXPECT_EQ(flushed.status, CompletionStatus::kFlushed);
  EXPECT_EQ(flushed.id, depth);
  ExpectDisconnected(client_, connection.client.get());
  ExpectQuiet(client_.queue.get());
}

TEST_P(ConnectionTest, ManyQueuePairsReportToOneQueue) {
  constexpr uint32_t kConnections = 40;
  std::vector<Connection> connections;
  for (uint32_t i = 0; i < kConnections; ++i) connections.push_back(Connect(client_, server_));
  for (uint32_t i = 0; i < kConnections; ++i) {
    Post(connections[i].client.get(), {Knock(i)});
    EXPECT_EQ(Await(client_.queue.get()).queue_pair, connections[i].client.get());
  }
  std::vector<bool> seen(kConnections);
  for (uint32_t i = 0; i < kConnections; ++i) {
    const Completion received = Await(server_.queue.get());
    ASSERT_LT(received.immediate, kConnections);
    EXPECT_EQ(received.queue_pair, connections[received.immediate].server.get());
    EXPECT_FALSE(seen[received.immediate]);
    seen[received.immediate] = true;
  }
  // One that goes takes nothing of the others along.
  connections[7].client.reset();
  ExpectDisconnected(server_, connections[7].server.get());
  Post(connections[8].client.get(), {Knock(8)});
  EXPECT_EQ(Await(server_.queue.get()).immediate, 8u);
}

TEST_P(ConnectionTest, PeersEndIsReportedOnceAfterWhatItHadSent) {
  Connection connection = Connect(client_, server_);
  auto region = client_.MakeRegion(7, kRightRead);
  Post(connection.client.get(), {Knock(1), Knock(2)});
  Await(client_.queue.get());

  connection.client.reset();

  EXPECT_EQ(Await(server_.queue.get()).immediate, 1u);
  EXPECT_EQ(Await(server_.queue.get()).immediate, 2u);
  ExpectDisconnected(server_, connection.server.get());
  ExpectQuiet(server_.queue.get());
  EXPECT_EQ(connection.server->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(connection.server->Map(RemoteKey{1}).status().code(), absl::StatusCode::kUnavailable);
  auto own = server_.MakeRegion(7, kRightRead);
  EXPECT_EQ(connection.server->Grant(*own, kRightRead).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_P(ConnectionTest, DestroyedQueuePairReportsNothingMore) {
  Connection connection = Connect(client_, server_);
  Post(connection.client.get(), {Knock(1)});
  connection.client.reset();
  ExpectQuiet(client_.queue.get());
}

TEST_P(ConnectionTest, ArmedQueueWakesForAReceive) {
  Connection connection = Connect(client_, server_);
  for (uint32_t round = 0; round < 20; ++round) {
    server_.queue->Arm();
    ExpectQuiet(server_.queue.get());
    EXPECT_FALSE(provider_->IsReadable(server_.queue->fd()));

    Post(connection.client.get(), {Knock(round)});
    Await(client_.queue.get());

    EXPECT_TRUE(provider_->WaitReadable(server_.queue->fd()));
    EXPECT_EQ(Await(server_.queue.get()).immediate, round);
    server_.queue->Disarm();
    ExpectQuiet(server_.queue.get());
    EXPECT_FALSE(provider_->IsReadable(server_.queue->fd())) << "a wake-up is used up by polling";
  }
}

TEST_P(ConnectionTest, PollAfterArmFindsWhatCameBefore) {
  Connection connection = Connect(client_, server_);
  Post(connection.client.get(), {Knock(3)});
  Await(client_.queue.get());
  server_.queue->Arm();
  EXPECT_EQ(Await(server_.queue.get()).immediate, 3u);
}

TEST_P(ConnectionTest, ArmedQueueWakesForAnOwnCompletion) {
  Connection connection = Connect(client_, server_);
  client_.queue->Arm();
  ExpectQuiet(client_.queue.get());
  Post(connection.client.get(), {Knock(3)});
  EXPECT_TRUE(provider_->WaitReadable(client_.queue->fd()));
  EXPECT_EQ(Await(client_.queue.get()).id, 3u);
}

TEST_P(ConnectionTest, ArmedSenderWakesWhenItsStalledRequestCanGoOn) {
  Connection connection = Connect(client_, server_);
  const uint32_t depth = FillReceiveQueue(connection.client.get());
  Post(connection.client.get(), {Knock(depth)});
  client_.queue->Arm();
  ExpectQuiet(client_.queue.get());

  for (uint32_t i = 0; i < depth; ++i) EXPECT_EQ(Await(server_.queue.get()).immediate, i);

  EXPECT_TRUE(provider_->WaitReadable(client_.queue->fd()));
  EXPECT_EQ(Await(client_.queue.get()).id, depth);
  EXPECT_EQ(Await(server_.queue.get()).immediate, depth);
}

TEST_P(ConnectionTest, PeersEndWakesArmedOrNot) {
  for (const bool armed : {true, false}) {
    Connection connection = Connect(client_, server_);
    if (armed) server_.queue->Arm();
    ExpectQuiet(server_.queue.get());
    connection.client.reset();
    EXPECT_TRUE(provider_->WaitReadable(server_.queue->fd()));
    ExpectDisconnected(server_, connection.server.get());
    server_.queue->Disarm();
  }
}

}  // namespace
}  // namespace acre::transport
