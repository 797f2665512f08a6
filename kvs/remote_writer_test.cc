// Updates through the fabric, on a real one: who sees them, what they cost, what they leave to the server, and what
// the server does while somebody holds its buckets.

#include "kvs/remote_writer.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kvs/redo.h"
#include "kvs/remote_writer_test_util.h"
#include "lock/lock_test_mesh.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/conformance/test_fabric.h"
#include "transport/fabric.h"

namespace acre::kvs {
namespace {

using transport::VerbCounters;

class RemoteWriterTest : public ::testing::Test {
 public:
  void Make(int clients) {
    Scheduler::Options options;
    options.poll_mode = PollMode::kBusy;
    const auto make_node = [&](uint32_t id) {
      auto fabric = transport::MakeTestFabric(&clock_);
      CHECK(fabric.ok()) << fabric.status();
      return std::make_unique<LockNode>(*std::move(fabric), &clock_, id, options);
    };
    home_node_ = make_node(1);
    MakeTableRegion(home_node_.get());
    home_ = std::make_unique<TestHome>(home_node_.get());
    const auto progress = [this] { Pass(); };
    for (int i = 0; i < clients; ++i) nodes_.push_back(make_node(static_cast<uint32_t>(i + 2)));
    for (const auto& node : nodes_) {
      LockNode::JoinHome(node.get(), home_node_.get(), LockKind::kALock, 3, progress);
      for (const auto& other : nodes_) {
        if (other != node) LockNode::JoinPeer(node.get(), other.get(), progress);
      }
      clients_.push_back(std::make_unique<TestClient>(node.get()));
      Run(node.get(), clients_.back()->Open(home_node_->lock_region()->size_bytes()));
    }
  }
  ~RemoteWriterTest() override {
    home_.reset();
    for (const auto& client : clients_) client->Close();
    for (const auto& node : nodes_) node->Close();
    if (home_node_ != nullptr) home_node_->Close();
  }

  void Pass() {
    home_node_->scheduler().RunOnce();
    for (const auto& node : nodes_) node->scheduler().RunOnce();
  }
  template <class IsDone>
  [[nodiscard]] bool PassUntil(const IsDone& is_done) {
    return transport::StepUntil(&clock_, is_done, [this] { Pass(); });
  }
  void PassOften() {
    const int passes = std::min(4 * transport::TestFabricIdlePasses(), 400);
    for (int i = 0; i < passes; ++i) Pass();
  }
  template <class T>
  static Task<void> Into(Task<T> task, absl::optional<T>* result) {
    *result = co_await std::move(task);
  }
  void Run(LockNode* node, Task<void> task) {
    const SpawnHandle handle = node->scheduler().Spawn(std::move(task));
    ASSERT_TRUE(PassUntil([&] { return handle.done(); }));
  }
  template <class T>
  T RunTask(LockNode* node, Task<T> task) {
    absl::optional<T> result;
    Run(node, Into(std::move(task), &result));
    return *std::move(result);
  }

  absl::Status Put(const std::string& key, const std::string& value) {
    return RunTask(home_node_.get(), home_->writer()->Put(key, value));
  }
  absl::StatusOr<bool> Update(size_t client, const std::string& key, const std::string& value) {
    return RunTask(nodes_[client].get(),
                   clients_[client]->writer()->Update(key, value, kNoDeadline));
  }
  // As the server and every client see it.
  void Expect(const std::string& key, const std::string& value) {
    std::string found;
    EXPECT_EQ(RunTask(home_node_.get(), home_->writer()->Get(key, &found)), absl::OkStatus());
    EXPECT_EQ(found, value) << "the server";
    for (size_t i = 0; i < clients_.size(); ++i) {
      EXPECT_EQ(RunTask(nodes_[i].get(), clients_[i]->reader()->Get(key, &found, kNoDeadline)),
                absl::OkStatus());
      EXPECT_EQ(found, value) << "client " << i;
    }
  }
  void ExpectNotHere(const std::string& key, const std::string& value) {
    const WriterStats before = clients_[0]->writer()->stats();
    const absl::StatusOr<bool> updated = Update(0, key, value);
    ASSERT_TRUE(updated.ok()) << updated.status();
    EXPECT_FALSE(*updated);
    EXPECT_EQ(clients_[0]->writer()->stats().not_here, before.not_here + 1);
    EXPECT_EQ(clients_[0]->writer()->stats().writes, before.writes);
  }
  bool IsFree(uint64_t bucket) const {
    return home_->LockOf(bucket)->remote_tail.Load(std::memory_order_acquire) == 0 &&
           home_->LockOf(bucket)->local_tail.Load(std::memory_order_acquire) == 0;
  }

  static constexpr uint64_t kNoDeadline = UINT64_MAX;

  RealClock clock_;
  std::unique_ptr<LockNode> home_node_;
  std::unique_ptr<TestHome> home_;
  std::vector<std::unique_ptr<LockNode>> nodes_;
  std::vector<std::unique_ptr<TestClient>> clients_;
};

TEST_F(RemoteWriterTest, EverybodySeesAnUpdateAndTheVersionRises) {
  Make(2);
  ASSERT_EQ(Put("key", "old"), absl::OkStatus());
  const SlotWord before = home_->Find("key").slot->first();
  const std::string values[] = {"new", "", std::string(45, 'x'), "new again"};
  uint64_t version = before.version();
  for (const std::string& value : values) {
    const absl::StatusOr<bool> updated = Update(0, "key", value);
    ASSERT_TRUE(updated.ok()) << updated.status();
    EXPECT_TRUE(*updated);
    Expect("key", value);
    const SlotWord after = home_->Find("key").slot->first();
    EXPECT_EQ(after.version(), version + 2);
    EXPECT_EQ(after.home_is_previous(), before.home_is_previous());
    version = after.version();
  }
  EXPECT_TRUE(IsFree(home_->HomeOf("key")));
  EXPECT_TRUE(nodes_[0]->remote_locker()->idle());
  // The other way round: the server's Put on top of it.
  ASSERT_EQ(Put("key", "server"), absl::OkStatus());
  Expect("key", "server");
  home_->segment().CheckInvariants();
}

// Goal: docs/updates.md gives the true budget.
TEST_F(RemoteWriterTest, CostsTenVerbsAndFourRoundTrips) {
  Make(1);
  ASSERT_EQ(Put("key", "old"), absl::OkStatus());
  ASSERT_TRUE(Update(0, "key", "warm").ok());
  const VerbCounters before = nodes_[0]->home_queue_pair()->verbs();
  const WriterStats stats = clients_[0]->writer()->stats();
  ASSERT_TRUE(Update(0, "key", "new").ok());
  VerbCounters cost = nodes_[0]->home_queue_pair()->verbs();
  cost -= before;
  EXPECT_EQ(cost.reads, 3u) << "the pair; the lock's line; the slot";
  EXPECT_EQ(cost.writes, 5u) << "the intent; redo; three of the slot";
  EXPECT_EQ(cost.atomics, 2u);
  EXPECT_EQ(cost.round_trips, 4u);
  EXPECT_EQ(clients_[0]->writer()->stats().round_trips - stats.round_trips, 4u);
  EXPECT_EQ(clients_[0]->writer()->stats().reads - stats.reads, 2u);
  EXPECT_EQ(clients_[0]->writer()->stats().writes - stats.writes, 4u);
}

// Goal: records in the next bucket are updated under that one's lock; what is in a chain is the server's.
TEST_F(RemoteWriterTest, NextBucketYesChainNo) {
  Make(1);
  constexpr uint64_t kHome = 100;
  const std::vector<std::string> keys = home_->KeysOf(kHome, 8);
  for (const std::string& key : keys) ASSERT_EQ(Put(key, "old"), absl::OkStatus());
  int in_next = 0;
  int in_chain = 0;
  for (const std::string& key : keys) {
    const Segment::Place place = home_->Find(key);
    ASSERT_TRUE(place.found());
    if (place.overflow != nullptr) {
      ++in_chain;
      ExpectNotHere(key, "new");
      Expect(key, "old");
      continue;
    }
    in_next += place.in_next() ? 1 : 0;
    const absl::StatusOr<bool> updated = Update(0, key, "new");
    ASSERT_TRUE(updated.ok()) << updated.status();
    EXPECT_TRUE(*updated);
    Expect(key, "new");
  }
  EXPECT_EQ(in_next, 3);
  EXPECT_EQ(in_chain, 2);
  home_->segment().CheckInvariants();
}

TEST_F(RemoteWriterTest, WhatIsNotThereOrNotInlineIsTheServers) {
  Make(1);
  ASSERT_EQ(Put("inline", "value"), absl::OkStatus());
  ASSERT_EQ(Put("object", std::string(500, 'o')), absl::OkStatus());
  ExpectNotHere("absent", "new");
  ExpectNotHere("object", "new");
  ExpectNotHere("inline", std::string(43, 'x'));  // Six bytes of key: one too many.
  ExpectNotHere(std::string(32, 'k'), "");
  Expect("inline", "value");
  EXPECT_TRUE(absl::IsInvalidArgument(Update(0, "", "value").status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Update(0, "k", std::string(kValueBytesMax + 1, 'x')).status()));
}

// Goal: what was READ before the lock was held is not believed: the record has moved, or gone, since.
TEST_F(RemoteWriterTest, RecordThatMovedBeforeTheLockWasHeldIsLookedForAgain) {
  Make(2);
  constexpr uint64_t kHome = 150;
  const std::vector<std::string> keys = home_->KeysOf(kHome, 2);
  for (const bool is_gone : {false, true}) {
    ASSERT_EQ(Put(keys[0], "old"), absl::OkStatus());
    absl::StatusOr<HeldLock> held =
        RunTask(nodes_[1].get(),
                nodes_[1]->remote_locker()->Acquire(home_->segment().LockOf(kHome).address));
    ASSERT_TRUE(held.ok());
    absl::optional<absl::StatusOr<bool>> updated;
    const SpawnHandle update = nodes_[0]->scheduler().Spawn(
        Into(clients_[0]->writer()->Update(keys[0], "new", kNoDeadline), &updated));
    PassOften();
    ASSERT_FALSE(updated.has_value());
    // What others may do under the lock.
    const Slot* const before = home_->Find(keys[0]).slot;
    ASSERT_TRUE(home_->segment().Delete(kHome, home_->Find(keys[0])).ok());
    ASSERT_TRUE(home_->segment().InsertAtHome(kHome, HashKey(keys[1]),
                                              SlotContent::Inline(keys[1], "another")));
    if (!is_gone) {
      ASSERT_TRUE(home_->segment().InsertAtHome(kHome, HashKey(keys[0]),
                                                SlotContent::Inline(keys[0], "moved")));
      ASSERT_NE(home_->Find(keys[0]).slot, before);
    }
    const uint64_t retries = clients_[0]->writer()->stats().retries;
    EXPECT_EQ(RunTask(nodes_[1].get(), nodes_[1]->remote_locker()->Release(*std::move(held))),
              absl::OkStatus());
    ASSERT_TRUE(PassUntil([&] { return updated.has_value(); }));
    ASSERT_TRUE(updated->ok()) << updated->status();
    EXPECT_EQ(**updated, !is_gone);
    EXPECT_EQ(clients_[0]->writer()->stats().retries, retries + 1);
    if (!is_gone) Expect(keys[0], "new");
    Expect(keys[1], "another");
    EXPECT_TRUE(IsFree(kHome));
    ASSERT_EQ(RunTask(home_node_.get(), home_->writer()->Delete(keys[1])), absl::OkStatus());
  }
  home_->segment().CheckInvariants();
}

// Goal: a deadline while others hold the lock changes nothing, says so, and leaves nothing behind.
TEST_F(RemoteWriterTest, DeadlineBeforeTheLockIsHeldChangesNothing) {
  Make(2);
  ASSERT_EQ(Put("key", "old"), absl::OkStatus());
  const uint64_t bucket = home_->HomeOf("key") + (home_->Find("key").in_next() ? 1 : 0);
  absl::StatusOr<HeldLock> held =
      RunTask(nodes_[1].get(),
              nodes_[1]->remote_locker()->Acquire(home_->segment().LockOf(bucket).address));
  ASSERT_TRUE(held.ok());
  const absl::StatusOr<bool> updated = RunTask(
      nodes_[0].get(), clients_[0]->writer()->Update("key", "new", clock_.NowNs() + 2'000'000));
  EXPECT_TRUE(absl::IsDeadlineExceeded(updated.status())) << updated.status();
  EXPECT_NE(updated.status().message().find("nothing was changed"), std::string::npos);
  EXPECT_EQ(clients_[0]->writer()->updates_under_way(), 0u);
  EXPECT_EQ(RunTask(nodes_[1].get(), nodes_[1]->remote_locker()->Release(*std::move(held))),
            absl::OkStatus());
  ASSERT_TRUE(PassUntil([&] { return IsFree(bucket) && nodes_[0]->remote_locker()->idle(); }));
  Expect("key", "old");
}

// Goal: while a remote holder stands still in the middle of an update, the server's threads go on: what they cannot
// answer waits, and blocks nobody else.
TEST_F(RemoteWriterTest, ServerGoesOnBesideAHolderThatStandsStill) {
  Make(1);
  constexpr uint64_t kHome = 200;
  const std::vector<std::string> keys = home_->KeysOf(kHome, 5);
  for (const std::string& key : keys) ASSERT_EQ(Put(key, "old"), absl::OkStatus());
  for (const bool in_next : {false, true}) {
    const auto of_bucket = [&](const std::string& key) {
      return home_->Find(key).in_next() == in_next;
    };
    const std::string key = *std::find_if(keys.begin(), keys.end(), of_bucket);
    const std::string other = *std::find_if_not(keys.begin(), keys.end(), of_bucket);
    const uint64_t bucket = kHome + (in_next ? 1 : 0);
    // The holder, by hand.
    absl::StatusOr<HeldLock> held =
        RunTask(nodes_[0].get(),
                nodes_[0]->remote_locker()->Acquire(home_->segment().LockOf(bucket).address));
    ASSERT_TRUE(held.ok());
    Slot* const slot = home_->Find(key).slot;
    const SlotWord even = slot->first();
    StartSlot(slot);

    std::string value;
    absl::Status status;
    EXPECT_FALSE(home_->writer()->GetAtOnce(key, &value, &status));
    EXPECT_TRUE(home_->writer()->GetAtOnce(other, &value, &status));
    EXPECT_EQ(status, absl::OkStatus());
    absl::optional<absl::Status> got, put, deleted;
    std::string got_value;
    auto& scheduler = home_node_->scheduler();
    const std::vector<SpawnHandle> waiting = [&] {
      std::vector<SpawnHandle> handles;
      handles.push_back(scheduler.Spawn(Into(home_->writer()->Get(key, &got_value), &got)));
      handles.push_back(scheduler.Spawn(Into(home_->writer()->Put(key, "put"), &put)));
      handles.push_back(scheduler.Spawn(Into(home_->writer()->Delete(key), &deleted)));
      return handles;
    }();
    PassOften();
    EXPECT_FALSE(got.has_value() || put.has_value() || deleted.has_value());
    FinishSlot(slot, SlotWord(even.bits() + (uint64_t{2} << 16)));
    EXPECT_TRUE(PassUntil([&] { return got.has_value(); }));
    EXPECT_EQ(*got, absl::OkStatus());
    EXPECT_EQ(got_value, "old");
    EXPECT_FALSE(put.has_value()) << "it does not have the lock";
    const absl::Status released =
        RunTask(nodes_[0].get(), nodes_[0]->remote_locker()->Release(*std::move(held)));
    EXPECT_EQ(released, absl::OkStatus());
    EXPECT_TRUE(PassUntil([&] { return put.has_value() && deleted.has_value(); }));
    EXPECT_EQ(*put, absl::OkStatus());
    EXPECT_EQ(*deleted, absl::OkStatus());
    ASSERT_EQ(Put(key, "old"), absl::OkStatus());
    home_->segment().CheckInvariants();
  }
}

// Goal: a slot that a trusted client left half-written under a free lock costs that record, not the server.
TEST_F(RemoteWriterTest, HalfWrittenRecordIsDataLossAndNothingElseIs) {
  Make(1);
  constexpr uint64_t kHome = 300;
  const std::vector<std::string> keys = home_->KeysOf(kHome, 6);
  for (const std::string& key : keys) ASSERT_EQ(Put(key, "old"), absl::OkStatus());
  for (const bool in_next : {false, true}) {
    const auto of_bucket = [&](const std::string& key) {
      return home_->Find(key).in_next() == in_next;
    };
    const std::string key = *std::find_if(keys.begin(), keys.end(), of_bucket);
    Slot* const slot = home_->Find(key).slot;
    const SlotWord even = slot->first();
    StartSlot(slot);
    EXPECT_TRUE(absl::IsDataLoss(Put(key, "new")));
    EXPECT_TRUE(absl::IsDataLoss(RunTask(home_node_.get(), home_->writer()->Delete(key))));
    ExpectNotHere(key, "new");
    for (const std::string& other : keys) {
      if (other == key) continue;
      ASSERT_EQ(Put(other, "beside"), absl::OkStatus());
      Expect(other, "beside");
    }
    // An insert that must displace what it cannot move goes into the chain.
    const std::vector<std::string> more = home_->KeysOf(kHome, 1, 1'000'000);
    ASSERT_EQ(Put(more[0], "chained"), absl::OkStatus());
    std::string value;
    EXPECT_EQ(RunTask(home_node_.get(), home_->writer()->Get(more[0], &value)), absl::OkStatus());
    EXPECT_EQ(value, "chained");
    ASSERT_EQ(RunTask(home_node_.get(), home_->writer()->Delete(more[0])), absl::OkStatus());
    FinishSlot(slot, even);
  }
  EXPECT_GT(home_->segment().spoilt(), 0u);
  home_->segment().CheckInvariants(home_->segment().spoilt());
}

}  // namespace
}  // namespace acre::kvs
