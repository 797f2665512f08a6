// Two threads, each with its node, that sleep whenever they have nothing to do: no wake-up is lost,
// nothing overtakes, whatever stalls goes on.

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "transport/region_header.h"
#include "transport/shm/shm_test_peer.h"

namespace acre::transport {
namespace {

constexpr size_t kFirstWord = kRegionHeaderBytes / kWordBytes;
constexpr uint32_t kRounds = 20'000;

// One thread's end: queue, queue pair, and a region that the other end writes.
struct End {
  explicit End(Clock* clock)
      : fabric(Take(ShmFabric::Create({.clock = clock, .receive_queue_depth = 8}))),
        queue(Take(fabric->CreateCompletionQueue())),
        region(Take(fabric->CreateRegion(
            {.region_id = 1, .size_bytes = 4096, .peer_rights = kRightRead | kRightWrite}))) {}

  // Word 0 of our region becomes `value`, then word 0 of the peer's, and the peer is told.
  void Send(uint64_t value) {
    region->words()[kFirstWord + 8].Store(value, std::memory_order_relaxed);
    WorkRequest request;
    request.opcode = Opcode::kWriteWithImm;
    request.signaled = value % 4 == 0;
    request.local = region->words() + kFirstWord + 8;
    request.local_region = region.get();
    request.length_bytes = kWordBytes;
    request.inline_data = true;
    request.remote_key = key;
    request.remote_offset_bytes = kRegionHeaderBytes;
    request.immediate = static_cast<uint32_t>(value);
    CHECK(queue_pair->Post({&request, 1}).ok());
  }

  std::unique_ptr<ShmFabric> fabric;
  std::unique_ptr<CompletionQueue> queue;
  std::unique_ptr<MemoryRegion> region;
  std::unique_ptr<QueuePair> queue_pair;
  RemoteKey key;
};

class ShmRaceTest : public testing::Test {
 protected:
  ShmRaceTest() {
    auto listener = Take(server_.fabric->Listen());
    client_.queue_pair =
        Take(client_.fabric->Connect(listener->endpoint(), client_.queue.get(), ""));
    server_.queue_pair = Take(AwaitRequest(listener.get())->Accept(server_.queue.get(), ""));
    CHECK(AwaitAsleep(client_.queue.get()).kind == CompletionKind::kConnected);
    client_.key = Take(server_.queue_pair->Grant(*server_.region, kRightRead | kRightWrite));
    server_.key = Take(client_.queue_pair->Grant(*client_.region, kRightRead | kRightWrite));
  }

  RealClock clock_;
  End client_{&clock_};
  End server_{&clock_};
};

TEST_F(ShmRaceTest, NoWakeUpIsLostBetweenTwoThatSleep) {
  const auto await = [](End* end, uint32_t round) {
    Completion completion;
    do {
      completion = AwaitAsleep(end->queue.get());
    } while (completion.kind == CompletionKind::kSend);
    ASSERT_EQ(completion.kind, CompletionKind::kReceive);
    ASSERT_EQ(completion.immediate, round);
    ASSERT_EQ(end->region->words()[kFirstWord].Load(std::memory_order_acquire), round);
  };
  std::thread server([&] {
    for (uint32_t round = 1; round <= kRounds; ++round) {
      await(&server_, round);
      server_.Send(round);
    }
  });
  for (uint32_t round = 1; round <= kRounds; ++round) {
    client_.Send(round);
    await(&client_, round);
  }
  server.join();
}

TEST_F(ShmRaceTest, StalledSendersGoOnInOrderWhileBothSleep) {
  std::thread server([&] {
    uint64_t last_seen = 0;
    for (uint32_t round = 1; round <= kRounds; ++round) {
      const Completion completion = AwaitAsleep(server_.queue.get());
      ASSERT_EQ(completion.kind, CompletionKind::kReceive);
      ASSERT_EQ(completion.immediate, round);
      // Later WRITEs may have landed already, earlier ones have.
      const uint64_t seen = server_.region->words()[kFirstWord].Load(std::memory_order_acquire);
      ASSERT_GE(seen, round);
      ASSERT_GE(seen, last_seen);
      last_seen = seen;
    }
  });
  // As far ahead as the send queue lets it, so that the ring of 8 is full nearly always.
  uint32_t confirmed = 0;
  for (uint32_t round = 1; round <= kRounds; ++round) {
    client_.Send(round);
    if (round - confirmed < 64) continue;
    ASSERT_EQ(AwaitAsleep(client_.queue.get()).status, CompletionStatus::kOk);
    confirmed += 4;
  }
  while (confirmed < kRounds) {
    ASSERT_EQ(AwaitAsleep(client_.queue.get()).status, CompletionStatus::kOk);
    confirmed += 4;
  }
  server.join();
}

TEST_F(ShmRaceTest, EndOfOneSideIsSeenOnceByTheOther) {
  for (int round = 0; round < 200; ++round) {
    std::thread server([&] {
      int ends = 0;
      while (ends == 0) {
        if (AwaitAsleep(server_.queue.get()).kind == CompletionKind::kDisconnected) ++ends;
      }
      Completion none;
      while (server_.queue->Poll({&none, 1}) == 1)
        ASSERT_NE(none.kind, CompletionKind::kDisconnected);
    });
    for (int i = 1; i <= round % 16; ++i) client_.Send(static_cast<uint64_t>(4 * i + 1));
    client_.queue_pair.reset();
    server.join();
    server_.queue_pair.reset();
    auto listener = Take(server_.fabric->Listen());
    client_.queue_pair =
        Take(client_.fabric->Connect(listener->endpoint(), client_.queue.get(), ""));
    server_.queue_pair = Take(AwaitRequest(listener.get())->Accept(server_.queue.get(), ""));
    ASSERT_EQ(AwaitAsleep(client_.queue.get()).kind, CompletionKind::kConnected);
    client_.key = Take(server_.queue_pair->Grant(*server_.region, kRightRead | kRightWrite));
  }
}

}  // namespace
}  // namespace acre::transport
