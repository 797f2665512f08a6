// A process whose threads share queue pairs, and one that accepts by a single thread, for tests that have a card.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_SHARED_TEST_UTIL_H_
#define ACRE_TRANSPORT_VERBS_VERBS_SHARED_TEST_UTIL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "transport/verbs/verbs_test_util.h"

namespace acre::transport {

constexpr uint32_t kThreads = 3;

class VerbsSharedTest : public ::testing::Test {
 protected:
  VerbsSharedTest() {
    for (uint32_t i = 0; i < kThreads; ++i) {
      queues_[i] = Take(client_.fabric->CreateCompletionQueue());
    }
  }

  VerbsConnection ConnectFrom(CompletionQueue* queue) {
    VerbsConnection made;
    made.client = Take(client_.fabric->Connect(listener_->endpoint(), queue, "one more"));
    const std::unique_ptr<ConnectionRequest> request = AwaitRequest(queue);
    EXPECT_EQ(request->private_data(), "one more");
    made.server = Take(request->Accept(server_.queue.get(), "welcome"));
    const Completion connected = Next(queue);
    CHECK(connected.kind == CompletionKind::kConnected) << made.client->status();
    CHECK(connected.queue_pair == made.client.get());
    EXPECT_EQ(made.client->peer_private_data(), "welcome");
    return made;
  }
  // Both sides must poll, by whichever thread of those that share.
  std::unique_ptr<ConnectionRequest> AwaitRequest(CompletionQueue* queue) {
    for (;;) {
      Completion completion;
      CHECK_EQ(server_.queue->Poll({&completion, 1}), 0u);
      CHECK_EQ(queue->Poll({&completion, 1}), 0u);
      if (auto request = listener_->Poll()) return request;
    }
  }
  Completion Next(CompletionQueue* queue) {
    Completion completion;
    while (queue->Poll({&completion, 1}) == 0) {
    }
    return completion;
  }
  void ExpectWorks(const VerbsConnection& connection, CompletionQueue* queue, uint32_t immediate) {
    ASSERT_TRUE(connection.client->Post(std::vector<WorkRequest>{Knock(immediate)}).ok());
    const Completion done = Next(queue);
    EXPECT_EQ(done.queue_pair, connection.client.get());
    EXPECT_EQ(done.status, CompletionStatus::kOk) << connection.client->status();
    const Completion knock = Next(server_.queue.get());
    EXPECT_EQ(knock.queue_pair, connection.server.get());
    EXPECT_EQ(knock.immediate, immediate);
  }
  void ExpectGone(CompletionQueue* queue, const QueuePair* queue_pair) {
    const Completion gone = Next(queue);
    EXPECT_EQ(gone.kind, CompletionKind::kDisconnected);
    EXPECT_EQ(gone.queue_pair, queue_pair);
    EXPECT_EQ(queue_pair->state(), QueuePairState::kBroken);
    EXPECT_EQ(queue_pair->status().code(), absl::StatusCode::kUnavailable);
  }

  VerbsNode client_{0, /*receive_queue_depth=*/16, kThreads};
  VerbsNode server_{1};
  std::unique_ptr<Listener> listener_ = Take(server_.fabric->Listen());
  const std::string endpoint_ = listener_->endpoint();
  std::array<std::unique_ptr<CompletionQueue>, kThreads> queues_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_SHARED_TEST_UTIL_H_
