// Death, pause, restart, partitions, and what a broken connection leaves behind: E7, E8, E10.

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "transport/region_lease.h"
#include "transport/sim/sim_test_util.h"

namespace acre::transport {
namespace {

constexpr uint64_t kSeeds = 30;

class SimDeathTest : public testing::Test {
 protected:
  void Make(uint64_t seed, const SimFaults& faults, bool on_one_machine = false,
            const SimFabric::Options& options = {}) {
    connection_ = {};
    region_.reset();
    server_.reset();
    client_.reset();
    test_ = std::make_unique<SimTestWorld>(seed, faults);
    client_machine_ = test_->world()->AddMachine("client");
    server_machine_ = on_one_machine ? client_machine_ : test_->world()->AddMachine("server");
    client_ = std::make_unique<SimTestNode>(test_.get(), client_machine_, options);
    server_ = std::make_unique<SimTestNode>(test_.get(), server_machine_, options);
    region_ = server_->MakeRegion(7, kRightsAll, 10 * kMs);
    connection_ = ConnectNodes(client_.get(), server_.get());
    key_ = GrantAll(connection_.server.get(), *region_);
  }
  ~SimDeathTest() override { connection_ = {}; }

  SharedWord& Word(size_t index) { return SimTestNode::Word(*region_, index); }
  uint64_t Value(size_t index) { return Word(index).Load(std::memory_order_relaxed); }
  WorkRequest Write(size_t index, uint64_t value, uint32_t words = 1) {
    for (size_t w = 0; w < words; ++w) {
      client_->Local(index + w)->Store(value, std::memory_order_relaxed);
    }
    return client_->Request(Opcode::kWrite, key_, index, index, words);
  }
  void Post(const WorkRequest& request) {
    ASSERT_TRUE(connection_.client->Post({&request, 1}).ok());
  }
  // What the client's queue brings until it says kDisconnected.
  std::vector<Completion> AwaitEnd(SimTestNode* node) {
    std::vector<Completion> all;
    do {
      all.push_back(node->Await());
    } while (all.back().kind != CompletionKind::kDisconnected);
    test_->RunFor(100 * kMs);
    Completion more;
    EXPECT_EQ(node->queue()->Poll({&more, 1}), 0u) << "after kDisconnected";
    return all;
  }

  std::unique_ptr<SimTestWorld> test_;
  sim::Machine* client_machine_ = nullptr;
  sim::Machine* server_machine_ = nullptr;
  std::unique_ptr<SimTestNode> client_;
  std::unique_ptr<SimTestNode> server_;
  std::unique_ptr<MemoryRegion> region_;
  SimTestConnection connection_;
  RemoteKey key_;
};

TEST_F(SimDeathTest, PeersHearOfADeathOnceAndNotAtOnce) {
  uint64_t earliest_ns = ~uint64_t{0};
  uint64_t latest_ns = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SimFaults faults;
    faults.timed_out_death = 0.5;
    Make(seed, faults);
    const uint64_t from_ns = test_->world()->NowNs();
    server_->process()->Kill();
    const Completion gone = client_->Await();
    EXPECT_EQ(gone.kind, CompletionKind::kDisconnected);
    EXPECT_EQ(connection_.client->state(), QueuePairState::kBroken);
    const uint64_t after_ns = test_->world()->NowNs() - from_ns;
    earliest_ns = std::min(earliest_ns, after_ns);
    latest_ns = std::max(latest_ns, after_ns);
    test_->RunFor(100 * kMs);
    Completion more;
    EXPECT_EQ(client_->queue()->Poll({&more, 1}), 0u);
  }
  EXPECT_GE(earliest_ns, kUs / 2);
  EXPECT_LT(earliest_ns, kMs);
  EXPECT_GT(latest_ns, 2 * kMs) << "only silence tells in some runs";
}

TEST_F(SimDeathTest, RequestsToADeadProcessFail) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SimFaults faults;
    faults.timed_out_death = 1;
    faults.teardown_ns_max = 0;
    Make(seed, faults);
    server_->process()->Kill();
    test_->RunFor(10 * kUs);
    Post(Write(0, 1));
    Post(Write(1, 1));
    const std::vector<Completion> all = AwaitEnd(client_.get());
    ASSERT_EQ(all.size(), 3u);
    EXPECT_NE(all[0].status, CompletionStatus::kOk);
    EXPECT_EQ(all[1].status, CompletionStatus::kFlushed);
    EXPECT_EQ(Value(0), 0u);
  }
}

TEST_F(SimDeathTest, TheCardServesForAWhileAfterADeath) {
  int served = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Make(seed, SimFaults::None());
    server_->process()->Kill();
    Post(Write(0, 1));
    AwaitEnd(client_.get());
    if (Value(0) == 1) ++served;
  }
  EXPECT_GT(served, 0);
}

TEST_F(SimDeathTest, APausedProcessIsServedByItsCard) {
  Make(1, SimFaults::All());
  SimFaults faults = SimFaults::All();
  faults.lost_connection = 0;
  test_->network()->SetFaults(faults);
  server_->process()->Pause();
  for (uint64_t i = 1; i <= 100; ++i) {
    ASSERT_EQ(client_->Execute(connection_.client.get(), Write(0, i)), CompletionStatus::kOk);
    ASSERT_EQ(
        client_->Execute(connection_.client.get(), client_->Request(Opcode::kRead, key_, 1, 0)),
        CompletionStatus::kOk);
    ASSERT_EQ(client_->Local(1)->Load(std::memory_order_relaxed), i);
  }
}

TEST_F(SimDeathTest, APausedClientsRequestsArrive) {
  Make(1, SimFaults::None());
  Post(Write(0, 5));
  client_->process()->Pause();
  test_->RunFor(10 * kUs);
  EXPECT_EQ(Value(0), 5u);
}

TEST_F(SimDeathTest, WritesOfADyingProcessLandOrNotOrInPart) {
  int whole = 0;
  int none = 0;
  int torn = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SimFaults faults;
    faults.split_write = 1;
    faults.torn_write = 0.5;
    faults.late_execution = 0.5;
    faults.line_ns_max = kUs;
    faults.teardown_ns_max = 5 * kUs;
    Make(seed, faults);
    Post(Write(0, 1, 64));
    client_->process()->Kill();
    test_->RunFor(kMs);
    uint64_t sum = 0;
    for (size_t w = 0; w < 64; ++w) sum += Value(w);
    whole += sum == 64 ? 1 : 0;
    none += sum == 0 ? 1 : 0;
    torn += sum != 64 && sum != 0 ? 1 : 0;
  }
  EXPECT_GT(whole, 0);
  EXPECT_GT(none, 0);
  EXPECT_GT(torn, 0);
}

// Goal: a WRITE that was acknowledged before it landed (E4) is not lost when the target's side ends, in whatever way.
TEST_F(SimDeathTest, WhatWasAcknowledgedLandsWhateverEndsTheTargetsSide) {
  const std::function<void()> ends[] = {
      [this] { connection_.server.reset(); }, [this] { server_->process()->Kill(); },
      [this] {  // The server's side breaks: the key of its own request is nobody's.
        WorkRequest request = server_->Request(Opcode::kWrite, {}, 0, 0);
        ASSERT_TRUE(connection_.server->Post({&request, 1}).ok());
        AwaitEnd(server_.get());
      }};
  for (const auto& end : ends) {
    uint64_t under_way = 0;
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
      SimFaults faults;
      faults.early_ack = 1;
      faults.visibility_ns_max = kMs;
      Make(seed, faults);
      ASSERT_EQ(client_->Execute(connection_.client.get(), Write(0, 1)), CompletionStatus::kOk);
      under_way += 1 - Value(0);
      end();
      test_->RunFor(10 * kMs);
      ASSERT_EQ(Value(0), 1u) << "seed " << seed;
    }
    EXPECT_GT(under_way, kSeeds / 2) << "too few were under way";
  }
}

TEST_F(SimDeathTest, AFailedWriteMayHaveHappened) {
  int happened = 0;
  int failed = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SimFaults faults;
    faults.lost_connection = 0.3;
    Make(seed, faults);
    for (size_t i = 0; i < 10; ++i) Post(Write(i, 1));
    for (size_t i = 0; i < 10; ++i) {
      if (client_->Await().status == CompletionStatus::kOk) continue;
      ++failed;
      if (Value(i) == 1) ++happened;
    }
  }
  EXPECT_GT(happened, 0);
  EXPECT_GT(failed, happened);
}

// E7: what was held up on its way arrives although its queue pair is broken, until the target's side breaks too.
TEST_F(SimDeathTest, ABrokenQueuePairsWriteArrivesLate) {
  int late = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SimFaults faults;
    Make(seed, faults);
    faults.slow_queue_pair = 1;
    faults.slow_queue_pair_ns_max = 40 * kMs;
    faults.late_execution = 1;
    test_->network()->SetFaults(faults);
    Post(Write(0, 1));
    // The notice of the break gets lost: a one-way partition, which does not hold up the WRITE.
    test_->network()->SetLink(server_machine_, client_machine_, false);
    client_->Await();
    if (Value(0) != 0) continue;
    test_->RunFor(50 * kMs);
    if (Value(0) == 1) ++late;
  }
  EXPECT_EQ(late, 0) << "the target's side has heard of the break";
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SimFaults faults;
    Make(seed, faults);
    faults.slow_queue_pair = 1;
    faults.slow_queue_pair_ns_max = 4 * kMs;
    faults.late_execution = 1;
    faults.retry_ns_min = kMs;
    faults.retry_ns_max = 2 * kMs;
    test_->network()->SetFaults(faults);
    test_->network()->SetCardSlowness(client_machine_, 5'000);  // The notice takes ms as well.
    Post(Write(0, 1));
    while (client_->Await().kind != CompletionKind::kSend) continue;
    if (Value(0) != 0) continue;
    test_->RunFor(50 * kMs);
    if (Value(0) == 1) ++late;
  }
  EXPECT_GT(late, 0);
}

TEST_F(SimDeathTest, APartitionThatHealsInTimeIsNotNoticed) {
  for (const bool answers : {false, true}) {
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
      Make(seed, SimFaults::None());
      SimNetwork* const network = test_->network();
      if (answers) {
        network->SetLink(server_machine_, client_machine_, false);
      } else {
        network->SetLink(client_machine_, server_machine_, false);
      }
      WorkRequest add = client_->Request(Opcode::kFetchAdd, key_, 0, 0);
      add.swap_or_add = 1;
      Post(add);
      Post(add);
      test_->RunFor(kMs);
      EXPECT_EQ(Value(0), answers ? 2u : 0u);
      Completion completion;
      EXPECT_EQ(client_->queue()->Poll({&completion, 1}), 0u);
      network->HealAll();
      EXPECT_EQ(client_->Await().status, CompletionStatus::kOk);
      EXPECT_EQ(client_->Await().status, CompletionStatus::kOk);
      EXPECT_EQ(Value(0), 2u) << "E8: repeated packets are executed once";
    }
  }
}

TEST_F(SimDeathTest, APartitionThatLastsBreaksBothSides) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Make(seed, SimFaults::None());
    test_->network()->Partition(client_machine_, server_machine_);
    Post(Write(0, 1));
    Post(Write(1, 1));
    EXPECT_EQ(client_->Await().status, CompletionStatus::kRetryExceeded);
    EXPECT_EQ(client_->Await().status, CompletionStatus::kFlushed);
    EXPECT_EQ(client_->Await().kind, CompletionKind::kDisconnected);
    EXPECT_EQ(server_->Await().kind, CompletionKind::kDisconnected);
    test_->network()->HealAll();
    test_->RunFor(50 * kMs);
    EXPECT_EQ(Value(0), 0u);
    // A new connection works.
    SimTestConnection again = ConnectNodes(client_.get(), server_.get());
    key_ = GrantAll(again.server.get(), *region_);
    EXPECT_EQ(client_->Execute(again.client.get(), Write(0, 1)), CompletionStatus::kOk);
  }
}

TEST_F(SimDeathTest, ACrashedMachineIsSilent) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Make(seed, SimFaults::None());
    const uint64_t from_ns = test_->world()->NowNs();
    server_machine_->Crash();
    Post(Write(0, 1));
    EXPECT_NE(client_->Await().status, CompletionStatus::kOk);
    EXPECT_EQ(client_->Await().kind, CompletionKind::kDisconnected);
    EXPECT_GE(test_->world()->NowNs() - from_ns, 2 * kMs);
    EXPECT_EQ(Value(0), 0u);
  }
}

TEST_F(SimDeathTest, KeysOfAnEarlierIncarnationAreUnknown) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Make(seed, SimFaults::None());
    const RemoteKey old_key = key_;
    server_->process()->Kill();
    EXPECT_EQ(client_->Await().kind, CompletionKind::kDisconnected);
    SimTestNode next(test_.get(), server_machine_);
    auto region = next.MakeRegion(7, kRightsAll);
    SimTestConnection again = ConnectNodes(client_.get(), &next);
    key_ = GrantAll(again.server.get(), *region);
    EXPECT_NE(key_, old_key);
    EXPECT_EQ(client_->Execute(again.client.get(), Write(0, 1)), CompletionStatus::kOk);
    key_ = old_key;
    EXPECT_EQ(client_->Execute(again.client.get(), Write(0, 1)), CompletionStatus::kBadKey);
  }
}

TEST_F(SimDeathTest, ARegionThatClosesUnderWayIsUntouchedAfterwards) {
  int refused = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SimFaults faults;
    faults.split_write = 1;
    faults.line_ns_max = kUs;
    Make(seed, faults);
    const auto mapped = connection_.client->Map(key_);
    EXPECT_FALSE(mapped.ok()) << "cards map nothing by default";
    SharedWord* const words = region_->words() + kDataOffset / kWordBytes;
    Post(Write(0, 1, 64));
    test_->RunFor(kUs + seed * 100);
    region_.reset();
    std::vector<uint64_t> at_close(64);
    // The bytes stay for a while, for stores that are on their way.
    for (size_t w = 0; w < 64; ++w) at_close[w] = words[w].Load(std::memory_order_relaxed);
    const CompletionStatus status = client_->Await().status;
    if (status == CompletionStatus::kBadKey) ++refused;
    for (size_t w = 0; w < 64; ++w) {
      ASSERT_EQ(words[w].Load(std::memory_order_relaxed), at_close[w]);
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_LT(refused, 100);
}

TEST_F(SimDeathTest, MappedMemoryOfADeadProcessIsReadableUntilItsLeaseIsOver) {
  SimFabric::Options options;
  options.device = SimDevice::kSharedMemory;
  Make(1, SimFaults::None(), /*on_one_machine=*/true, options);
  const auto mapped = connection_.client->Map(key_);
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  const auto* const header = reinterpret_cast<const RegionHeader*>(mapped->words);
  Word(0).Store(4, std::memory_order_relaxed);
  const RegionLease lease(header, header->generation.Load(std::memory_order_relaxed),
                          client_machine_->clock());
  EXPECT_TRUE(lease.IsLive());
  server_->process()->Kill();
  EXPECT_TRUE(lease.IsLive());
  EXPECT_EQ(mapped->words[kDataOffset / kWordBytes].Load(std::memory_order_relaxed), 4u);
  test_->RunFor(11 * kMs);
  EXPECT_FALSE(lease.IsLive());
  EXPECT_EQ(mapped->words[kDataOffset / kWordBytes].Load(std::memory_order_relaxed), 4u);
  EXPECT_EQ(client_->Await().kind, CompletionKind::kDisconnected);
}

TEST_F(SimDeathTest, ADeathIsMarkedBeforeAnybodyIsTold) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SimFabric::Options options;
    options.device = SimDevice::kSharedMemory;
    Make(seed, SimFaults::None(), /*on_one_machine=*/true, options);
    RegionOptions region_options;
    region_options.region_id = 8;
    region_options.size_bytes = 4096;
    region_options.peer_rights = kRightRead;
    region_options.lease_ns = kMs;
    region_options.death_mark = true;
    const auto marked = server_->fabric()->CreateRegion(region_options);
    ASSERT_TRUE(marked.ok()) << marked.status();
    const auto key = connection_.server->Grant(**marked, kRightRead);
    ASSERT_TRUE(key.ok()) << key.status();
    const auto mapped = connection_.client->Map(*key);
    ASSERT_TRUE(mapped.ok()) << mapped.status();
    const auto* const header = reinterpret_cast<const RegionHeader*>(mapped->words);
    const RegionLease lease(header, header->generation.Load(std::memory_order_relaxed),
                            client_machine_->clock());
    test_->RunFor(10 * kMs);
    EXPECT_TRUE(lease.IsLive()) << "it has no lease";
    bool was_marked = false;
    server_->process()->OnDeath([&] { was_marked = !lease.IsLive(); });
    server_->process()->Kill();
    EXPECT_EQ(client_->Await().kind, CompletionKind::kDisconnected);
    EXPECT_TRUE(was_marked) << "those who hear of the death find the mark";
  }
}

TEST_F(SimDeathTest, AFabricThatMarksNoDeathsKeepsTheLease) {
  SimFabric::Options options;
  options.device = SimDevice::kSharedMemory;
  options.marks_deaths = false;
  Make(1, SimFaults::None(), /*on_one_machine=*/true, options);
  RegionOptions region_options;
  region_options.region_id = 8;
  region_options.size_bytes = 4096;
  region_options.lease_ns = 1'000 * kMs;
  region_options.death_mark = true;
  const auto region = server_->fabric()->CreateRegion(region_options);
  ASSERT_TRUE(region.ok()) << region.status();
  const auto* const header = reinterpret_cast<const RegionHeader*>((*region)->words());
  EXPECT_EQ(header->owner.Load(std::memory_order_relaxed), 0u);
  const RegionLease lease(header, header->generation.Load(std::memory_order_relaxed),
                          client_machine_->clock());
  EXPECT_TRUE(lease.IsLive());
  test_->RunFor(1'001 * kMs);
  EXPECT_FALSE(lease.IsLive());
}

}  // namespace
}  // namespace acre::transport
