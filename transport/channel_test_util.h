// Two nodes of a provider (conformance/test_fabric.h) in one thread, joined by a channel: for tests of what
// runs on channels.

#ifndef ACRE_TRANSPORT_CHANNEL_TEST_UTIL_H_
#define ACRE_TRANSPORT_CHANNEL_TEST_UTIL_H_

#include <array>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "transport/channel.h"
#include "transport/conformance/test_fabric.h"
#include "transport/fabric.h"

namespace acre::transport {

// One end: a device, a queue pair, a channel on it.
struct TestNode {
  std::unique_ptr<Fabric> fabric;
  std::unique_ptr<CompletionQueue> completion_queue;
  std::unique_ptr<QueuePair> queue_pair;
  std::unique_ptr<Channel> channel;

  TestNode() = default;
  TestNode(TestNode&&) = default;
  TestNode& operator=(TestNode&&) = default;
  ~TestNode() { Close(); }

  void Open(Clock* clock, const TestFabricOptions& options = {}) {
    auto opened = MakeTestFabric(clock, options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    ASSERT_NO_FATAL_FAILURE(Open(*std::move(opened)));
  }
  // On a fabric that need not be of the tests' provider.
  void Open(std::unique_ptr<Fabric> of) {
    fabric = std::move(of);
    auto queue = fabric->CreateCompletionQueue();
    ASSERT_TRUE(queue.ok()) << queue.status();
    completion_queue = *std::move(queue);
  }
  // Hands completions to the channel, and counts those of requests that are not a channel's. Returns how
  // many there were.
  size_t PollCompletions() {
    std::array<Completion, 16> completions;
    const size_t count = completion_queue->Poll(absl::MakeSpan(completions));
    for (size_t i = 0; i < count; ++i) {
      const Completion& completion = completions[i];
      if (channel != nullptr) channel->OnCompletion(completion);
      if (completion.kind == CompletionKind::kSend && (completion.id & kSinkIdBit) == 0) {
        ++own_requests_completed;
      }
    }
    return count;
  }
  void Create(ChannelOptions options) {
    options.region_id = ++regions_count;
    auto created = Channel::Create(fabric.get(), queue_pair.get(), options);
    ASSERT_TRUE(created.ok()) << created.status();
    channel = *std::move(created);
  }
  // What dies with a process.
  void Close() {
    queue_pair.reset();
    channel.reset();
    completion_queue.reset();
    fabric.reset();
  }

  uint32_t regions_count = 0;
  uint64_t own_requests_completed = 0;
};

// Both open, ends with both queue pairs ready.
inline void Connect(TestNode* from, TestNode* to) {
  auto listener = to->fabric->Listen();
  ASSERT_TRUE(listener.ok()) << listener.status();
  auto connecting =
      from->fabric->Connect((*listener)->endpoint(), from->completion_queue.get(), "test");
  ASSERT_TRUE(connecting.ok()) << connecting.status();
  from->queue_pair = *std::move(connecting);
  while (from->queue_pair->state() == QueuePairState::kConnecting) {
    if (const auto request = (*listener)->Poll()) {
      auto accepted = request->Accept(to->completion_queue.get(), "");
      ASSERT_TRUE(accepted.ok()) << accepted.status();
      to->queue_pair = *std::move(accepted);
    }
    from->PollCompletions();
  }
  ASSERT_EQ(from->queue_pair->state(), QueuePairState::kReady);
}

// Two nodes with a channel between them.
inline void Join(Clock* clock, TestNode* a, TestNode* b, const ChannelOptions& options_a = {},
                 const ChannelOptions& options_b = {}) {
  a->Open(clock);
  b->Open(clock);
  Connect(a, b);
  a->Create(options_a);
  b->Create(options_b);
  ASSERT_TRUE(a->channel->Attach(b->channel->offer()).ok());
  ASSERT_TRUE(b->channel->Attach(a->channel->offer()).ok());
}

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_CHANNEL_TEST_UTIL_H_
