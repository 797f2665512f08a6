// Port: who waits for a completion gets it, whatever else goes on on the completion queue.

#include "transport/port.h"

#include <array>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/channel_test_util.h"
#include "transport/fabric.h"
#include "transport/region_header.h"

namespace acre::transport {
namespace {

constexpr uint32_t kSendQueueDepth = 64;
constexpr uint32_t kReceiveQueueDepth = 2;
// More than the port takes out of the queue at once.
constexpr uint64_t kManyCompletions = 40;
// No test needs as many passes of the loop.
constexpr int kPassesMax = 100'000;

RegionOptions RegionOf(uint32_t region_id) {
  RegionOptions options;
  options.region_id = region_id;
  options.size_bytes = 1 << 16;
  options.peer_rights = kRightsAll;
  return options;
}

class Sink : public CompletionSink {
 public:
  void OnCompletion(const Completion& completion) override {
    completions.push_back(completion);
    if (on_completion != nullptr) on_completion(completion);
  }
  std::vector<Completion> completions;
  std::function<void(const Completion&)> on_completion;
};

// A client, whose port is tested, joined to two peers by queue pairs on one completion queue.
class PortTest : public ::testing::Test {
 public:  // For coroutines, which take the test as a parameter.
  // A peer, with a region that the client may use in every way.
  struct Peer {
    TestNode node;
    std::unique_ptr<MemoryRegion> region;
    RemoteKey key;
    std::unique_ptr<QueuePair> queue_pair;  // The client's.
    Sink sink;
  };

  void SetUp() override {
    const TestFabricOptions options = {.send_queue_depth = kSendQueueDepth,
                                       .receive_queue_depth = kReceiveQueueDepth};
    ASSERT_NO_FATAL_FAILURE(client_.Open(&clock_, options));
    auto local = client_.fabric->CreateRegion(RegionOf(100));
    ASSERT_TRUE(local.ok()) << local.status();
    local_ = *std::move(local);
    for (Peer& peer : peers_) {
      ASSERT_NO_FATAL_FAILURE(peer.node.Open(&clock_, options));
      auto region = peer.node.fabric->CreateRegion(RegionOf(1));
      ASSERT_TRUE(region.ok()) << region.status();
      peer.region = *std::move(region);
      ASSERT_NO_FATAL_FAILURE(Connect(&client_, &peer.node));
      peer.queue_pair = std::move(client_.queue_pair);
      const auto key = peer.node.queue_pair->Grant(*peer.region, kRightsAll);
      ASSERT_TRUE(key.ok()) << key.status();
      peer.key = *key;
    }
    port_ = std::make_unique<Port>(&scheduler_, client_.completion_queue.get());
    for (Peer& peer : peers_) port_->SetSink(peer.queue_pair.get(), &peer.sink);
  }
  void TearDown() override {
    port_.reset();
    for (Peer& peer : peers_) {
      peer.queue_pair.reset();
      peer.node.queue_pair.reset();
      peer.region.reset();
    }
    local_.reset();
  }

  SharedWord* Local(size_t index) { return local_->words() + kRegionHeaderBytes / 8 + index; }
  // The peer's word number `index`, and its offset.
  static uint64_t OffsetOf(size_t index) { return kRegionHeaderBytes + index * kWordBytes; }
  static uint64_t WordOf(const Peer& peer, size_t index) {
    return peer.region->words()[OffsetOf(index) / 8].Load(std::memory_order_acquire);
  }
  // A request that moves one word between Local(index) and the peer's.
  WorkRequest Request(const Peer& peer, Opcode opcode, size_t index) {
    WorkRequest request;
    request.opcode = opcode;
    request.local = Local(index);
    request.local_region = local_.get();
    request.length_bytes = kWordBytes;
    request.remote_key = peer.key;
    request.remote_offset_bytes = OffsetOf(index);
    request.swap_or_add = 1;
    return request;
  }
  // Posts READs past the port, whose completions are for the sink: they fill the send queue.
  void PostForSink(Peer* peer, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      WorkRequest request = Request(*peer, Opcode::kRead, 200);
      request.id = kSinkIdBit | i;
      ASSERT_TRUE(peer->queue_pair->Post(absl::MakeSpan(&request, 1)).ok());
    }
  }
  // Executes `count` requests, the first of them a FETCH_ADD of the peer's word 0 into
  // Local(local).
  Task<void> AddThenRead(Peer* peer, size_t local, size_t count, CompletionStatus* status) {
    std::vector<WorkRequest> batch(count, Request(*peer, Opcode::kRead, 201));
    batch[0] = Request(*peer, Opcode::kFetchAdd, 0);
    batch[0].local = Local(local);
    *status = co_await port_->Execute(peer->queue_pair.get(), absl::MakeSpan(batch));
  }
  Task<void> FillFromTask(Peer* peer, uint64_t count) {
    PostForSink(peer, count);
    co_return;
  }
  // Until the completion queue of the client and the tasks have nothing left to do.
  void RunUntilDone(const SpawnHandle& handle) {
    for (int i = 0; i < kPassesMax && !handle.done(); ++i) scheduler_.RunOnce();
    ASSERT_TRUE(handle.done());
  }

  RealClock clock_;
  TestNode client_;
  std::unique_ptr<MemoryRegion> local_;
  std::array<Peer, 2> peers_;
  Scheduler scheduler_{{.clock = &clock_, .name = "port_test"}};
  std::unique_ptr<Port> port_;
  bool in_task_ = false;
};

// Goal: a batch that completes at once does not suspend its task, and its effects are there.
TEST_F(PortTest, BatchThatCompletesAtOnceDoesNotSuspend) {
  Local(1)->Store(11, std::memory_order_relaxed);
  std::array<WorkRequest, 3> batch = {Request(peers_[0], Opcode::kWrite, 1),
                                      Request(peers_[0], Opcode::kRead, 1),
                                      Request(peers_[0], Opcode::kFetchAdd, 1)};
  batch[1].local = Local(2);
  batch[2].local = Local(3);
  CompletionStatus status = CompletionStatus::kFlushed;
  const auto run = [](Port* port, QueuePair* queue_pair, absl::Span<WorkRequest> requests,
                      CompletionStatus* result) -> Task<void> {
    *result = co_await port->Execute(queue_pair, requests);
  };
  SpawnHandle handle = scheduler_.Spawn(
      run(port_.get(), peers_[0].queue_pair.get(), absl::MakeSpan(batch), &status));
  scheduler_.RunOnce();
  EXPECT_TRUE(handle.done());
  EXPECT_EQ(status, CompletionStatus::kOk);
  EXPECT_EQ(Local(2)->Load(std::memory_order_relaxed), 11u);
  EXPECT_EQ(Local(3)->Load(std::memory_order_relaxed), 11u);
  EXPECT_EQ(WordOf(peers_[0], 1), 12u);
  EXPECT_TRUE(peers_[0].sink.completions.empty()) << "a task's completion went to the sink";
}

// Goal: a batch gives the status of its first failed request, also of an unsignaled one; what comes
// later on the broken queue pair is flushed, and another queue pair goes on.
TEST_F(PortTest, FirstErrorOfABatchIsGivenAndLaterBatchesAreFlushed) {
  std::array<WorkRequest, 3> batch = {Request(peers_[0], Opcode::kRead, 1),
                                      Request(peers_[0], Opcode::kRead, 2),
                                      Request(peers_[0], Opcode::kWrite, 3)};
  batch[1].remote_offset_bytes = 1 << 16;
  Local(3)->Store(5, std::memory_order_relaxed);
  const auto run = [](Port* port, QueuePair* queue_pair,
                      absl::Span<WorkRequest> requests) -> Task<CompletionStatus> {
    const CompletionStatus status = co_await port->Execute(queue_pair, requests);
    co_return status;
  };
  QueuePair* const queue_pair = peers_[0].queue_pair.get();
  EXPECT_EQ(scheduler_.RunUntilDone(run(port_.get(), queue_pair, absl::MakeSpan(batch))),
            CompletionStatus::kBounds);
  EXPECT_EQ(WordOf(peers_[0], 3), 0u);
  EXPECT_EQ(queue_pair->state(), QueuePairState::kBroken);
  EXPECT_EQ(scheduler_.RunUntilDone(run(port_.get(), queue_pair, absl::MakeSpan(batch))),
            CompletionStatus::kFlushed);
  CompletionStatus status = CompletionStatus::kFlushed;
  RunUntilDone(scheduler_.Spawn(AddThenRead(&peers_[1], 0, 2, &status)));
  EXPECT_EQ(status, CompletionStatus::kOk);
}

// Goal: tasks that find the send queue full are served in the order in which they came, also when a
// later one's smaller batch would have fitted.
TEST_F(PortTest, FullSendQueueServesInOrder) {
  constexpr size_t kTasks = 6;
  std::array<CompletionStatus, kTasks> statuses;
  statuses.fill(CompletionStatus::kFlushed);
  std::vector<SpawnHandle> handles;
  handles.push_back(scheduler_.Spawn(FillFromTask(&peers_[0], kSendQueueDepth)));
  for (size_t i = 0; i < kTasks; ++i) {
    // Large and small ones in turn.
    const size_t count = i % 2 == 0 ? kSendQueueDepth - 1 : 1;
    handles.push_back(scheduler_.Spawn(AddThenRead(&peers_[0], i, count, &statuses[i])));
  }
  scheduler_.RunOnce();
  EXPECT_FALSE(handles[1].done()) << "the queue was not full";
  for (const SpawnHandle& handle : handles) RunUntilDone(handle);
  for (size_t i = 0; i < kTasks; ++i) {
    EXPECT_EQ(statuses[i], CompletionStatus::kOk);
    EXPECT_EQ(Local(i)->Load(std::memory_order_relaxed), i) << "task " << i << " was overtaken";
  }
}

// Goal: a full send queue of one peer, which takes nothing, holds up nobody who wants another peer.
TEST_F(PortTest, FullSendQueueHoldsUpItsOwnPeerOnly) {
  // Immediates that the peer does not take stall, and all requests behind them.
  for (uint32_t i = 0; i < kSendQueueDepth; ++i) {
    WorkRequest request = Request(peers_[0], Opcode::kWriteWithImm, 5);
    request.id = kSinkIdBit | i;
    ASSERT_TRUE(peers_[0].queue_pair->Post(absl::MakeSpan(&request, 1)).ok());
  }
  for (int i = 0; i < 10; ++i) scheduler_.RunOnce();
  ASSERT_EQ(peers_[0].sink.completions.size(), kReceiveQueueDepth);
  std::array<CompletionStatus, 2> statuses;
  statuses.fill(CompletionStatus::kFlushed);
  SpawnHandle held =
      scheduler_.Spawn(AddThenRead(&peers_[0], 0, kSendQueueDepth / 2, &statuses[0]));
  SpawnHandle free = scheduler_.Spawn(AddThenRead(&peers_[1], 1, 1, &statuses[1]));
  RunUntilDone(free);
  EXPECT_EQ(statuses[1], CompletionStatus::kOk);
  EXPECT_FALSE(held.done());
  // The peer takes them after all.
  for (int i = 0; i < kPassesMax && !held.done(); ++i) {
    peers_[0].node.PollCompletions();
    scheduler_.RunOnce();
  }
  EXPECT_TRUE(held.done());
  EXPECT_EQ(statuses[0], CompletionStatus::kOk);
}

// Goal: a task that is cancelled while it waits for room posts nothing, and those behind it go on.
TEST_F(PortTest, CancelledWhileItWaitsForRoomPostsNothing) {
  std::array<CompletionStatus, 3> statuses;
  statuses.fill(CompletionStatus::kFlushed);
  scheduler_.Spawn(FillFromTask(&peers_[0], kSendQueueDepth)).Detach();
  std::vector<SpawnHandle> handles;
  for (size_t i = 0; i < 3; ++i) {
    handles.push_back(scheduler_.Spawn(AddThenRead(&peers_[0], i, 2, &statuses[i])));
  }
  scheduler_.RunOnce();
  handles[0].Cancel();
  RunUntilDone(handles[2]);
  EXPECT_EQ(WordOf(peers_[0], 0), 2u);
  EXPECT_EQ(statuses[0], CompletionStatus::kFlushed);
  EXPECT_EQ(statuses[1], CompletionStatus::kOk);
  EXPECT_EQ(statuses[2], CompletionStatus::kOk);

  // All of those that waited are cancelled: who comes next does not wait for ever.
  scheduler_.Spawn(FillFromTask(&peers_[0], kSendQueueDepth)).Detach();
  SpawnHandle last = scheduler_.Spawn(AddThenRead(&peers_[0], 0, 2, &statuses[0]));
  scheduler_.RunOnce();
  last.Cancel();
  RunUntilDone(scheduler_.Spawn(AddThenRead(&peers_[0], 1, 2, &statuses[1])));
  EXPECT_EQ(WordOf(peers_[0], 0), 3u);
}

// Goal: a task that is cancelled with its requests under way leaves no trace: its completion wakes
// nobody, and its place serves later batches, each of which gets its own completion.
TEST_F(PortTest, CancelledUnderWayLeavesNoTrace) {
  std::array<CompletionStatus, 4> statuses;
  statuses.fill(CompletionStatus::kFlushed);
  for (int round = 0; round < 20; ++round) {
    scheduler_.Spawn(FillFromTask(&peers_[0], kManyCompletions)).Detach();
    SpawnHandle first = scheduler_.Spawn(AddThenRead(&peers_[0], 0, 2, &statuses[0]));
    SpawnHandle second = scheduler_.Spawn(AddThenRead(&peers_[1], 1, 2, &statuses[1]));
    scheduler_.RunOnce();
    first.Cancel();
    RunUntilDone(second);
    EXPECT_EQ(statuses[1], CompletionStatus::kOk);
    for (size_t i = 2; i < 4; ++i) {
      statuses[i] = CompletionStatus::kFlushed;
      RunUntilDone(scheduler_.Spawn(AddThenRead(&peers_[i % 2], i, 1, &statuses[i])));
      EXPECT_EQ(statuses[i], CompletionStatus::kOk);
    }
  }
}

// Goal: the sink of each queue pair gets its completions in order, each once, none of the tasks',
// and never from inside a task, although tasks poll the same queue.
TEST_F(PortTest, SinksGetTheirCompletionsInOrderOutsideOfTasks) {
  for (Peer& peer : peers_) {
    peer.sink.on_completion = [this](const Completion&) { EXPECT_FALSE(in_task_); };
  }
  const auto mix = [](PortTest* test) -> Task<void> {
    for (int round = 0; round < 30; ++round) {
      test->in_task_ = true;
      for (Peer& peer : test->peers_) {
        for (uint64_t i = 0; i < 2; ++i) {
          WorkRequest request = test->Request(peer, Opcode::kRead, 200);
          request.id = kSinkIdBit | (2 * round + i);
          EXPECT_TRUE(peer.queue_pair->Post(absl::MakeSpan(&request, 1)).ok());
        }
      }
      WorkRequest request = test->Request(test->peers_[round % 2], Opcode::kRead, 201);
      const CompletionStatus status = co_await test->port_->Execute(
          test->peers_[round % 2].queue_pair.get(), absl::MakeSpan(&request, 1));
      EXPECT_EQ(status, CompletionStatus::kOk);
      test->in_task_ = false;
      if (round % 7 == 0) co_await test->scheduler_.Yield();
    }
  };
  RunUntilDone(scheduler_.Spawn(mix(this)));
  for (int i = 0; i < 10; ++i) scheduler_.RunOnce();
  for (const Peer& peer : peers_) {
    ASSERT_EQ(peer.sink.completions.size(), 60u);
    for (size_t i = 0; i < 60; ++i) {
      EXPECT_EQ(peer.sink.completions[i].id, kSinkIdBit | i);
      EXPECT_EQ(peer.sink.completions[i].queue_pair, peer.queue_pair.get());
    }
  }
}

// Goal: a queue pair that is forgotten flushes whoever waits on it, for a completion or for room,
// and nobody else; its sink hears nothing more.
TEST_F(PortTest, ForgetFlushesItsWaitersOnly) {
  std::array<CompletionStatus, 4> statuses;
  statuses.fill(CompletionStatus::kOk);
  for (Peer& peer : peers_) {
    scheduler_.Spawn(FillFromTask(&peer, kSendQueueDepth - 2)).Detach();
  }
  std::vector<SpawnHandle> handles;
  for (size_t i = 0; i < 4; ++i) {  // 0 and 1 are posted, 2 and 3 want all of the room.
    const size_t count = i < 2 ? 2 : kSendQueueDepth;
    handles.push_back(scheduler_.Spawn(AddThenRead(&peers_[i % 2], i, count, &statuses[i])));
  }
  // As a task, so that nothing is polled in between.
  const auto forget = [](Port* port, Peer* peer,
                         const std::vector<SpawnHandle>* waiting) -> Task<void> {
    for (const SpawnHandle& handle : *waiting) EXPECT_FALSE(handle.done());
    port->Forget(peer->queue_pair.get());
    co_return;
  };
  scheduler_.Spawn(forget(port_.get(), &peers_[0], &handles)).Detach();
  scheduler_.RunOnce();
  const size_t heard = peers_[0].sink.completions.size();
  for (const SpawnHandle& handle : handles) RunUntilDone(handle);
  EXPECT_EQ(statuses[0], CompletionStatus::kFlushed);
  EXPECT_EQ(statuses[1], CompletionStatus::kOk);
  EXPECT_EQ(statuses[2], CompletionStatus::kFlushed);
  EXPECT_EQ(statuses[3], CompletionStatus::kOk);
  EXPECT_EQ(WordOf(peers_[0], 0), 1u) << "what waited for room was posted after all";
  // Its last completions come in after that: they are nobody's, whoever has the places now.
  for (int i = 0; i < 10; ++i) {
    scheduler_.RunOnce();
    CompletionStatus status = CompletionStatus::kFlushed;
    RunUntilDone(scheduler_.Spawn(AddThenRead(&peers_[1], 0, 1, &status)));
    EXPECT_EQ(status, CompletionStatus::kOk);
  }
  EXPECT_EQ(peers_[0].sink.completions.size(), heard);
}

// Goal: a sink that forgets and destroys its queue pair when the peer goes, as servers do, leaves
// no task behind, also not one that waits for room.
TEST_F(PortTest, SinkMayDestroyItsQueuePairWhileTasksWait) {
  peers_[0].sink.on_completion = [this](const Completion& completion) {
    if (completion.kind != CompletionKind::kDisconnected) return;
    port_->Forget(peers_[0].queue_pair.get());
    peers_[0].queue_pair.reset();
  };
  for (uint32_t i = 0; i < kSendQueueDepth; ++i) {
    WorkRequest request = Request(peers_[0], Opcode::kWriteWithImm, 5);
    request.id = kSinkIdBit | i;
    ASSERT_TRUE(peers_[0].queue_pair->Post(absl::MakeSpan(&request, 1)).ok());
  }
  std::array<CompletionStatus, 3> statuses;
  statuses.fill(CompletionStatus::kOk);
  std::vector<SpawnHandle> handles;
  for (size_t i = 0; i < 3; ++i) {
    handles.push_back(
        scheduler_.Spawn(AddThenRead(&peers_[0], i, kSendQueueDepth / 2, &statuses[i])));
  }
  for (int i = 0; i < 10; ++i) scheduler_.RunOnce();
  peers_[0].node.queue_pair.reset();
  for (const SpawnHandle& handle : handles) RunUntilDone(handle);
  for (const CompletionStatus status : statuses) EXPECT_EQ(status, CompletionStatus::kFlushed);
  for (int i = 0; i < kPassesMax && peers_[0].queue_pair != nullptr; ++i) scheduler_.RunOnce();
  EXPECT_EQ(peers_[0].queue_pair, nullptr);
}

// Goal: the thread spins for batches that come soon. For those that come late it does not, but for a try in
// a while, from which it learns that they come soon again. What sinks wait for has no part in it.
TEST_F(PortTest, LateBatchesAreNotSpunFor) {
  ManualClock clock;
  Scheduler scheduler({.clock = &clock});
  Port port(&scheduler, client_.completion_queue.get());
  // The peer's receive queue is full: each batch is under way until the peer takes something out.
  for (uint32_t i = 0; i < kReceiveQueueDepth; ++i) {
    WorkRequest request = Request(peers_[0], Opcode::kWriteWithImm, 5);
    request.id = kSinkIdBit | i;
    ASSERT_TRUE(peers_[0].queue_pair->Post(absl::MakeSpan(&request, 1)).ok());
  }
  const auto write = [](PortTest* test, Port* port_used, bool* is_done) -> Task<void> {
    WorkRequest request = test->Request(test->peers_[0], Opcode::kWriteWithImm, 5);
    const CompletionStatus status =
        co_await port_used->Execute(test->peers_[0].queue_pair.get(), absl::MakeSpan(&request, 1));
    EXPECT_EQ(status, CompletionStatus::kOk);
    *is_done = true;
  };
  // Of `count` batches that take `ns` each, for how many the thread would spin. While each is under way the loop runs
  // out of work `pieces` times.
  const auto count_spins = [&](int count, uint64_t ns, int pieces = 1) {
    int spins = 0;
    for (int i = 0; i < count; ++i) {
      bool is_done = false;
      scheduler.Spawn(write(this, &port, &is_done)).Detach();
      for (int pass = 0; pass < 3; ++pass) scheduler.RunOnce();
      EXPECT_FALSE(is_done);
      spins += port.ShouldSpin();
      for (int piece = 0; piece < pieces; ++piece) {
        clock.AdvanceNs(ns / static_cast<uint64_t>(pieces));
        if (piece + 1 < pieces) (void)port.ShouldSpin();
      }
      Completion received;
      for (int pass = 0; pass < kPassesMax && !is_done; ++pass) {
        if (pass % 1000 == 0) peers_[0].node.completion_queue->Poll(absl::MakeSpan(&received, 1));
        scheduler.RunOnce();
      }
      EXPECT_TRUE(is_done);
      EXPECT_TRUE(port.ShouldSpin()) << "no batch is under way";
    }
    return spins;
  };
  EXPECT_EQ(count_spins(100, 5'000), 100);
  EXPECT_LT(count_spins(100, 200'000), 30);
  EXPECT_GE(count_spins(100, 5'000), 100 - 31);
  EXPECT_EQ(count_spins(100, 5'000), 100);
  // Late ones are late also where messages and timers come all the time meanwhile.
  EXPECT_LT(count_spins(100, 200'000, /*pieces=*/10), 30);
}

// Goal: a task that waits for a completion is woken when the peer goes, and the sink is told once,
// also when the thread sleeps meanwhile.
TEST_F(PortTest, DisconnectWakesWhoWaits) {
  for (uint32_t i = 0; i < kReceiveQueueDepth; ++i) {
    WorkRequest request = Request(peers_[0], Opcode::kWriteWithImm, 5);
    request.id = kSinkIdBit | i;
    ASSERT_TRUE(peers_[0].queue_pair->Post(absl::MakeSpan(&request, 1)).ok());
  }
  const auto wait = [](PortTest* test) -> Task<CompletionStatus> {
    WorkRequest request = test->Request(test->peers_[0], Opcode::kWriteWithImm, 5);
    const CompletionStatus status = co_await test->port_->Execute(test->peers_[0].queue_pair.get(),
                                                                  absl::MakeSpan(&request, 1));
    co_return status;
  };
  // The peer goes when this thread has slept, as its own timer tells.
  const auto close = [](PortTest* test) -> Task<void> {
    while (test->scheduler_.sleeps_count() == 0) co_await test->scheduler_.SleepFor(1'000'000);
    test->peers_[0].node.queue_pair.reset();
  };
  scheduler_.Spawn(close(this)).Detach();
  EXPECT_NE(scheduler_.RunUntilDone(wait(this)), CompletionStatus::kOk);
  EXPECT_GT(scheduler_.sleeps_count(), 0u);
  for (int i = 0; i < 10; ++i) scheduler_.RunOnce();
  size_t disconnects = 0;
  for (const Completion& completion : peers_[0].sink.completions) {
    disconnects += completion.kind == CompletionKind::kDisconnected;
  }
  EXPECT_EQ(disconnects, 1u);
}

}  // namespace
}  // namespace acre::transport
