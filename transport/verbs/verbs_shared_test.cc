// Threads that share a queue pair of the card: each gets its own, none is harmed by another. Needs a card, as
// verbs_rxe_test.cc does.

#include <sched.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <vector>

#include "transport/verbs/verbs_queue_pair.h"
#include "transport/verbs/verbs_shared_test_util.h"
#include "transport/verbs/verbs_test_util.h"

namespace acre::transport {
namespace {

TEST_F(VerbsSharedTest, ThreadsShareOneAndEachGetsItsOwn) {
  std::vector<VerbsConnection> lanes;
  for (const auto& queue : queues_) lanes.push_back(ConnectFrom(queue.get()));
  // client_'s own thread made the group's first queue: with two more it is full.
  EXPECT_EQ(client_.fabric->card_queue_pairs(), 2);
  EXPECT_EQ(server_.fabric->card_queue_pairs(), 2);
  for (uint32_t i = 0; i < kThreads; ++i) {
    ExpectWorks(lanes[i], queues_[i].get(), i);
    ASSERT_TRUE(lanes[i].server->Post(std::vector<WorkRequest>{Knock(kImmediateMax - i)}).ok());
    EXPECT_EQ(Next(server_.queue.get()).queue_pair, lanes[i].server.get());
    const Completion knock = Next(queues_[i].get());
    EXPECT_EQ(knock.queue_pair, lanes[i].client.get());
    EXPECT_EQ(knock.immediate, kImmediateMax - i);
  }
}

TEST_F(VerbsSharedTest, AThreadMayHaveSeveralAndMoreThanFitTakeAnother) {
  std::vector<VerbsConnection> lanes;
  for (uint32_t i = 0; i < kThreads + 1; ++i) lanes.push_back(ConnectFrom(client_.queue.get()));
  EXPECT_EQ(client_.fabric->card_queue_pairs(), 2);
  for (uint32_t i = 0; i < lanes.size(); ++i) ExpectWorks(lanes[i], client_.queue.get(), i);
}

TEST_F(VerbsSharedTest, OneThatGoesLeavesTheOthersAndItsNumberIsTakenAgain) {
  VerbsConnection stays = ConnectFrom(client_.queue.get());
  for (uint32_t round = 0; round < 50; ++round) {
    VerbsConnection goes = ConnectFrom(queues_[0].get());
    ASSERT_EQ(client_.fabric->card_queue_pairs(), 1);
    ExpectWorks(goes, queues_[0].get(), round);
    std::thread leaving([&] { goes.client.reset(); });
    ExpectGone(server_.queue.get(), goes.server.get());
    leaving.join();
    goes.server.reset();
    ExpectWorks(stays, client_.queue.get(), round);
  }
}

// Goal: the first to come may be the first to go.
TEST_F(VerbsSharedTest, TheFirstMayGoFirstAndTheLastTakesAllAlong) {
  VerbsConnection first = ConnectFrom(client_.queue.get());
  VerbsConnection second = ConnectFrom(queues_[0].get());
  std::thread leaving([&] { first.client.reset(); });
  ExpectGone(server_.queue.get(), first.server.get());
  leaving.join();
  ExpectWorks(second, queues_[0].get(), 1);
  second.client.reset();
  EXPECT_EQ(client_.fabric->card_queue_pairs(), 0);
  ExpectGone(server_.queue.get(), second.server.get());
  first.server.reset();
  second.server.reset();
  EXPECT_EQ(server_.fabric->card_queue_pairs(), 0);
}

TEST_F(VerbsSharedTest, TheSideThatAcceptsMayGoFirst) {
  VerbsConnection stays = ConnectFrom(client_.queue.get());
  VerbsConnection goes = ConnectFrom(queues_[0].get());
  goes.server.reset();
  ExpectGone(queues_[0].get(), goes.client.get());
  ASSERT_TRUE(goes.client->Post(std::vector<WorkRequest>{Knock(1)}).ok());
  EXPECT_EQ(Next(queues_[0].get()).status, CompletionStatus::kFlushed);
  ExpectWorks(stays, client_.queue.get(), 2);
  goes.client.reset();
  VerbsConnection next = ConnectFrom(queues_[0].get());
  EXPECT_EQ(client_.fabric->card_queue_pairs(), 1);
  ExpectWorks(next, queues_[0].get(), 3);
}

TEST_F(VerbsSharedTest, AMistakeEndsItsOwnLaneOnly) {
  VerbsConnection right = ConnectFrom(client_.queue.get());
  VerbsConnection wrong = ConnectFrom(queues_[0].get());
  ASSERT_TRUE(wrong.client
                  ->Post(std::vector<WorkRequest>{
                      client_.Request(Opcode::kRead, 0, RemoteKey{12345}), Knock(1)})
                  .ok());
  EXPECT_EQ(Next(queues_[0].get()).status, CompletionStatus::kBadKey);
  EXPECT_EQ(Next(queues_[0].get()).status, CompletionStatus::kFlushed);
  ExpectGone(queues_[0].get(), wrong.client.get());
  ExpectGone(server_.queue.get(), wrong.server.get());
  ExpectWorks(right, client_.queue.get(), 5);
}

TEST_F(VerbsSharedTest, RejectedOrUnheardOneHarmsNoOther) {
  VerbsConnection stays = ConnectFrom(client_.queue.get());
  auto rejected = Take(client_.fabric->Connect(listener_->endpoint(), queues_[0].get(), ""));
  AwaitRequest(queues_[0].get()).reset();
  ExpectGone(queues_[0].get(), rejected.get());
  // One that gives up before it was answered.
  auto unheard = Take(client_.fabric->Connect(listener_->endpoint(), queues_[0].get(), ""));
  std::unique_ptr<ConnectionRequest> request = AwaitRequest(client_.queue.get());
  unheard.reset();
  auto accepted = Take(request->Accept(server_.queue.get(), ""));
  // The client's process hears of the answer by any of its threads.
  Completion gone;
  while (server_.queue->Poll({&gone, 1}) == 0) EXPECT_EQ(client_.queue->Poll({&gone, 1}), 0u);
  EXPECT_EQ(gone.kind, CompletionKind::kDisconnected);
  EXPECT_EQ(gone.queue_pair, accepted.get());
  accepted.reset();
  ExpectWorks(stays, client_.queue.get(), 1);
  VerbsConnection next = ConnectFrom(queues_[0].get());
  EXPECT_EQ(client_.fabric->card_queue_pairs(), 1);
  ExpectWorks(next, queues_[0].get(), 2);
}

// Goal: fairness. Who neither polls nor reads what comes stalls itself only.
TEST_F(VerbsSharedTest, OneThatTakesNothingStallsNobodyElse) {
  VerbsConnection busy = ConnectFrom(client_.queue.get());
  VerbsConnection lazy = ConnectFrom(queues_[0].get());
  // The server fills the lazy lane beyond its credit; the client's thread of it never polls.
  constexpr uint32_t kKnocks = 20;
  static_assert(kKnocks > 16);
  for (uint32_t i = 0; i < kKnocks; ++i) {
    ASSERT_TRUE(lazy.server->Post(std::vector<WorkRequest>{Knock(i)}).ok());
  }
  // And the client's thread fills its own part of the queue, and reaps nothing.
  uint32_t posted = 0;
  while (lazy.client->Post(std::vector<WorkRequest>{Knock(posted)}).ok()) ++posted;
  EXPECT_EQ(posted, client_.fabric->device().send_queue_depth_max);
  for (uint32_t i = 0; i < 500; ++i) {
    ASSERT_TRUE(busy.client->Post(std::vector<WorkRequest>{Knock(i)}).ok());
    EXPECT_EQ(Next(client_.queue.get()).status, CompletionStatus::kOk);
    Completion knock;
    do {
      knock = Next(server_.queue.get());
    } while (knock.queue_pair != busy.server.get());
    EXPECT_EQ(knock.immediate, i);
  }
  // Once it polls, it gets all of its own, in order.
  uint32_t knocks = 0;
  uint32_t dones = 0;
  while (knocks < kKnocks || dones < posted) {
    Completion completion;
    (void)server_.queue->Poll({&completion, 1});
    if (queues_[0]->Poll({&completion, 1}) == 0) continue;
    ASSERT_EQ(completion.queue_pair, lazy.client.get());
    ASSERT_EQ(completion.status, CompletionStatus::kOk);
    if (completion.kind == CompletionKind::kReceive) {
      ASSERT_EQ(completion.immediate, knocks++);
    } else {
      ASSERT_EQ(completion.id, dones++);
    }
  }
}

TEST_F(VerbsSharedTest, SleepingThreadIsWokenForItsOwn) {
  VerbsConnection polls = ConnectFrom(client_.queue.get());
  VerbsConnection sleeps = ConnectFrom(queues_[0].get());
  for (uint32_t round = 0; round < 20; ++round) {
    queues_[0]->Arm();
    Completion none;
    while (queues_[0]->Poll({&none, 1}) != 0) {
    }
    ASSERT_TRUE(sleeps.server->Post(std::vector<WorkRequest>{Knock(round)}).ok());
    EXPECT_EQ(Next(server_.queue.get()).status, CompletionStatus::kOk);
    // Another thread may take it out of the card's queue, and then it is that one that wakes the sleeper.
    if (round % 2 == 0) {
      for (int i = 0; i < 1'000; ++i) EXPECT_EQ(client_.queue->Poll({&none, 1}), 0u);
    }
    pollfd event = {.fd = queues_[0]->fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(poll(&event, 1, 20'000), 1);
    EXPECT_EQ(Next(queues_[0].get()).immediate, round);
    queues_[0]->Disarm();
  }
}

TEST_F(VerbsSharedTest, KilledPeerEndsAllThatItsThreadsHad) {
  VerbsConnection other = ConnectFrom(client_.queue.get());
  Child child("--shared_child", listener_->endpoint());
  std::vector<std::unique_ptr<QueuePair>> accepted;
  while (accepted.size() < kThreads) {
    accepted.push_back(Take(AwaitRequest(client_.queue.get())->Accept(server_.queue.get(), "")));
  }
  EXPECT_EQ(server_.fabric->card_queue_pairs(), 2);
  // It has said so when all of its threads were connected.
  for (uint32_t i = 0; i < kThreads; ++i) EXPECT_EQ(Next(server_.queue.get()).immediate, 1u);
  child.Kill();
  std::vector<const QueuePair*> gone;
  for (uint32_t i = 0; i < kThreads; ++i) {
    const Completion end = Next(server_.queue.get());
    EXPECT_EQ(end.kind, CompletionKind::kDisconnected);
    gone.push_back(end.queue_pair);
  }
  for (const auto& lane : accepted) EXPECT_EQ(std::count(gone.begin(), gone.end(), lane.get()), 1);
  ExpectWorks(other, client_.queue.get(), 4);
}

// Goal: news of a peer's end wakes who never armed, also when another thread is the first to hear of it.
TEST_F(VerbsSharedTest, PeersEndWakesAThreadThatNeverArmed) {
  VerbsConnection polls = ConnectFrom(client_.queue.get());
  VerbsConnection sleeps = ConnectFrom(queues_[0].get());
  sleeps.server.reset();
  Completion none;
  while (sleeps.client->state() == QueuePairState::kReady) {
    ASSERT_EQ(client_.queue->Poll({&none, 1}), 0u);
    ASSERT_EQ(server_.queue->Poll({&none, 1}), 0u);
  }
  pollfd event = {.fd = queues_[0]->fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(poll(&event, 1, 20'000), 1);
  ExpectGone(queues_[0].get(), sleeps.client.get());
}

// Goal: a thread that takes the card's event, and no more than one of its own completions, and then never polls
// again, has not taken what the event told another thread of.
TEST_F(VerbsSharedTest, EventThatAnotherTookIsNotLost) {
  VerbsConnection takes = ConnectFrom(client_.queue.get());
  VerbsConnection sleeps = ConnectFrom(queues_[0].get());
  for (uint32_t round = 0; round < 20; ++round) {
    queues_[0]->Arm();
    Completion completion;
    while (queues_[0]->Poll({&completion, 1}) != 0) {
    }
    for (uint32_t i = 0; i < 3; ++i) {
      ASSERT_TRUE(takes.server->Post(std::vector<WorkRequest>{Knock(i)}).ok());
      EXPECT_EQ(Next(server_.queue.get()).status, CompletionStatus::kOk);
    }
    ASSERT_TRUE(sleeps.server->Post(std::vector<WorkRequest>{Knock(round)}).ok());
    EXPECT_EQ(Next(server_.queue.get()).status, CompletionStatus::kOk);
    EXPECT_EQ(Next(client_.queue.get()).immediate, 0u);
    pollfd event = {.fd = queues_[0]->fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(poll(&event, 1, 20'000), 1);
    EXPECT_EQ(Next(queues_[0].get()).immediate, round);
    queues_[0]->Disarm();
    for (uint32_t i = 1; i < 3; ++i) EXPECT_EQ(Next(client_.queue.get()).immediate, i);
  }
}

TEST_F(VerbsSharedTest, TheLastOnesMayLeaveAtOnce) {
  for (uint32_t round = 0; round < 30; ++round) {
    std::array<VerbsConnection, 2> lanes = {ConnectFrom(queues_[0].get()),
                                            ConnectFrom(queues_[1].get())};
    std::array<std::thread, 2> leaving;
    for (uint32_t i = 0; i < 2; ++i) leaving[i] = std::thread([&, i] { lanes[i].client.reset(); });
    for (uint32_t i = 0; i < 2; ++i) {
      EXPECT_EQ(Next(server_.queue.get()).kind, CompletionKind::kDisconnected);
    }
    for (std::thread& thread : leaving) thread.join();
    for (VerbsConnection& lane : lanes) lane.server.reset();
    Completion none;
    while (client_.fabric->card_queue_pairs() + server_.fabric->card_queue_pairs() > 0) {
      ASSERT_EQ(client_.queue->Poll({&none, 1}), 0u);
      ASSERT_EQ(server_.queue->Poll({&none, 1}), 0u);
    }
  }
}

TEST_F(VerbsSharedTest, ListenerThatGoesRejectsThoseItHasNotHeard) {
  VerbsConnection stays = ConnectFrom(client_.queue.get());
  const auto unheard = Take(client_.fabric->Connect(listener_->endpoint(), queues_[0].get(), ""));
  pollfd event = {.fd = listener_->fd(), .events = POLLIN, .revents = 0};
  Completion none;
  while (poll(&event, 1, 0) == 0) ASSERT_EQ(server_.queue->Poll({&none, 1}), 0u);
  listener_.reset();
  ExpectGone(queues_[0].get(), unheard.get());
  const auto late = Take(client_.fabric->Connect(endpoint_, queues_[0].get(), ""));
  while (late->state() == QueuePairState::kConnecting) {
    ASSERT_EQ(server_.queue->Poll({&none, 1}), 0u);
    (void)queues_[0]->Poll({&none, 1});
  }
  EXPECT_EQ(late->state(), QueuePairState::kBroken);
  ExpectWorks(stays, client_.queue.get(), 1);
}

TEST_F(VerbsSharedTest, RequestOutlivesTheThreadsThatItCameTo) {
  VerbsConnection stays = ConnectFrom(client_.queue.get());
  const auto unheard = Take(client_.fabric->Connect(endpoint_, queues_[0].get(), ""));
  const std::unique_ptr<ConnectionRequest> request = AwaitRequest(queues_[0].get());
  stays.server.reset();
  server_.queue.reset();
  EXPECT_EQ(server_.fabric->card_queue_pairs(), 0);
  const auto other = Take(server_.fabric->CreateCompletionQueue());
  EXPECT_EQ(request->Accept(other.get(), "").status().code(), absl::StatusCode::kInvalidArgument);
  ExpectGone(queues_[0].get(), unheard.get());
  ExpectGone(client_.queue.get(), stays.client.get());
}

// Goal: a lane that the server neither accepts nor rejects holds up nobody, and ends.
TEST_F(VerbsSharedTest, UnansweredLaneEndsAndHoldsUpNobody) {
  VerbsConnection stays = ConnectFrom(client_.queue.get());
  const auto unanswered = Take(client_.fabric->Connect(endpoint_, queues_[0].get(), ""));
  const std::unique_ptr<ConnectionRequest> request = AwaitRequest(queues_[0].get());
  ExpectGone(queues_[0].get(), unanswered.get());
  ExpectWorks(stays, client_.queue.get(), 1);
  VerbsConnection next = ConnectFrom(queues_[0].get());
  EXPECT_EQ(client_.fabric->card_queue_pairs(), 2) << "waits behind the one that hangs";
  // The answer comes after all, to nobody.
  const auto late = Take(request->Accept(server_.queue.get(), ""));
  Completion gone;
  while (server_.queue->Poll({&gone, 1}) == 0) ASSERT_EQ(client_.queue->Poll({&gone, 1}), 0u);
  EXPECT_EQ(gone.kind, CompletionKind::kDisconnected);
  EXPECT_EQ(gone.queue_pair, late.get());
  ExpectWorks(next, queues_[0].get(), 2);
}

TEST_F(VerbsSharedTest, ThousandLanesLeaveNothingBehind) {
  VerbsConnection stays = ConnectFrom(client_.queue.get());
  const auto come_and_go = [&](int round) {
    VerbsConnection lane = ConnectFrom(queues_[0].get());
    if (round % 2 == 0) {
      std::thread leaving([&] { lane.client.reset(); });
      ExpectGone(server_.queue.get(), lane.server.get());
      leaving.join();
    } else {
      lane.server.reset();
      ExpectGone(queues_[0].get(), lane.client.get());
    }
  };
  for (int round = 0; round < 20; ++round) ASSERT_NO_FATAL_FAILURE(come_and_go(round));
  const size_t descriptors = CountDescriptors();
  const std::string at_cards = CountAtCards();
  for (int round = 0; round < 1'000; ++round) ASSERT_NO_FATAL_FAILURE(come_and_go(round));
  EXPECT_EQ(CountDescriptors(), descriptors);
  EXPECT_EQ(CountAtCards(), at_cards);
  ExpectWorks(stays, client_.queue.get(), 1);
}

// ---- Threads at once, with READs and atomics, connecting and leaving meanwhile.

class VerbsSharedRaceTest : public VerbsSharedTest {
 protected:
  static constexpr uint64_t kRounds = 8;
  static constexpr uint64_t kAdds = 100;

  void RunThread(uint32_t t, RemoteKey key) {
    CompletionQueue* const queue = queues_[t].get();
    const auto local = client_.MakeRegion(100 + t, kRightRead);
    const auto await = [&](CompletionKind kind) {
      Completion completion;
      while (queue->Poll({&completion, 1}) == 0) sched_yield();
      CHECK(completion.kind == kind) << completion.queue_pair->status();
      CHECK(completion.status == CompletionStatus::kOk) << completion.queue_pair->status();
      return completion;
    };
    for (uint64_t round = 0; round < kRounds; ++round) {
      const auto lane = Take(client_.fabric->Connect(endpoint_, queue, ""));
      await(CompletionKind::kConnected);
      for (uint64_t i = 0; i < kAdds; ++i) {
        WorkRequest add = client_.Request(Opcode::kFetchAdd, 0, key);
        add.local = local->words() + kDataWord;
        add.local_region = local.get();
        add.swap_or_add = 1;
        add.signaled = false;
        WorkRequest read = client_.Request(Opcode::kRead, 0, key);
        read.local = local->words() + kDataWord + 1;
        read.local_region = local.get();
        read.id = i;
        CHECK(lane->Post(std::vector<WorkRequest>{add, read}).ok());
        CHECK_EQ(await(CompletionKind::kSend).id, i);
        CHECK_GT(local->words()[kDataWord + 1].Load(std::memory_order_relaxed),
                 local->words()[kDataWord].Load(std::memory_order_relaxed));
      }
    }
  }
  // Two threads, while this one accepts. The region's first word counts what they added.
  void Race() {
    const auto region = server_.MakeRegion(7, kRightsAll);
    VerbsNode other(0);
    const VerbsConnection granter = Connect(other, server_);
    const RemoteKey key = Take(granter.server->Grant(*region, kRightsAll));
    std::vector<std::thread> threads;
    for (uint32_t t = 0; t < 2; ++t) threads.emplace_back([this, t, key] { RunThread(t, key); });
    std::vector<std::unique_ptr<QueuePair>> accepted;
    uint64_t gone = 0;
    while (gone < 2 * kRounds) {
      if (const auto request = listener_->Poll()) {
        accepted.push_back(Take(request->Accept(server_.queue.get(), "")));
      }
      Completion completion;
      if (server_.queue->Poll({&completion, 1}) == 0) continue;
      ASSERT_EQ(completion.kind, CompletionKind::kDisconnected);
      ++gone;
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(region->words()[kDataWord].Load(std::memory_order_acquire), 2 * kRounds * kAdds);
  }
};

TEST_F(VerbsSharedRaceTest, BesideOneThatStays) {
  VerbsConnection stays = ConnectFrom(client_.queue.get());
  Race();
  ExpectWorks(stays, client_.queue.get(), 9);
  EXPECT_EQ(client_.fabric->card_queue_pairs(), 1);
}

// Goal: the last lane leaves while another comes.
TEST_F(VerbsSharedRaceTest, AmongThemselves) {
  for (int round = 0; round < 3; ++round) Race();
}

}  // namespace

void RunSharedChild(const char* endpoint) {
  VerbsNode node(0, /*receive_queue_depth=*/16, kThreads);
  const auto second = Take(node.fabric->CreateCompletionQueue());
  const auto third = Take(node.fabric->CreateCompletionQueue());
  std::vector<std::unique_ptr<QueuePair>> lanes;
  for (CompletionQueue* const queue : {node.queue.get(), second.get(), third.get()}) {
    lanes.push_back(Take(node.fabric->Connect(endpoint, queue, "")));
    Completion connected;
    while (queue->Poll({&connected, 1}) == 0) {
    }
    CHECK(connected.kind == CompletionKind::kConnected);
  }
  for (const auto& lane : lanes) CHECK(lane->Post(std::vector<WorkRequest>{Knock(1)}).ok());
  for (;;) node.Await();
}

}  // namespace acre::transport
