// Threads of several processes that take locks of one home find each other: PeerLinks on a real fabric.

#include "lock/peer_links.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lock/locker.h"
#include "lock/peer_test_mesh.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/fabric.h"

namespace acre {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using transport::QueuePairState;

constexpr uint64_t kShortNs = 20'000'000;

class PeerLinksTest : public PeerMesh {
 public:
  Task<void> HoldUntilOpen(size_t client, int name) {
    RemoteLocker* const locker = clients_[client]->node.remote_locker();
    absl::StatusOr<HeldLock> held = co_await locker->Acquire(TestLockAddress(0));
    if (!held.ok()) co_return;
    turns_.push_back(name);
    while (!open_) co_await clients_[client]->node.scheduler().Yield();
    const absl::Status released = co_await locker->Release(*std::move(held));
    EXPECT_TRUE(released.ok()) << released;
  }
  // Spawns it and sees it stand in the queue.
  SpawnHandle Queue(size_t client, int name) {
    const SharedWord& tail = home_->WordsOf(0)->remote_tail;
    const uint64_t before = tail.Load(std::memory_order_acquire);
    SpawnHandle handle = clients_[client]->node.scheduler().Spawn(HoldUntilOpen(client, name));
    EXPECT_TRUE(PassUntil([&] { return tail.Load(std::memory_order_acquire) != before; }));
    return handle;
  }

  static bool AreDone(const std::vector<SpawnHandle>& tasks) {
    return std::all_of(tasks.begin(), tasks.end(),
                       [](const SpawnHandle& task) { return task.done(); });
  }

  std::vector<int> turns_;
  bool open_ = false;
};

// Goal: links and grants of real lockers go over connections that are made when they are needed, and no others.
TEST_F(PeerLinksTest, LocksAreHandedOnOverLinks) {
  Make(3);
  MakeLocks(1);
  std::vector<SpawnHandle> turns;
  for (int client = 0; client < 3; ++client) {
    turns.push_back(Queue(static_cast<size_t>(client), client));
  }
  // Expect: who came tells the one before it.
  EXPECT_TRUE(PassUntil([&] { return clients_[0]->visitors() + clients_[1]->visitors() == 2; }));
  EXPECT_EQ(clients_[2]->visitors(), 0u);
  open_ = true;
  EXPECT_TRUE(PassUntil([&] { return AreDone(turns) && home_->IsFree(0); }));
  EXPECT_THAT(turns_, ElementsAre(0, 1, 2));
  // Expect: and who left the one behind it.
  EXPECT_EQ(clients_[0]->visitors(), 1u);
  EXPECT_EQ(clients_[1]->visitors(), 2u);
  EXPECT_EQ(clients_[2]->visitors(), 1u);

  // Stimulus: again and again, by turns. Expect: no further connection.
  for (int round = 0; round < 20; ++round) {
    open_ = false;
    turns_.clear();
    for (int client = 0; client < 3; ++client) {
      turns.push_back(Queue(static_cast<size_t>(client), client));
    }
    open_ = true;
    EXPECT_TRUE(PassUntil([&] { return AreDone(turns) && home_->IsFree(0); }));
    EXPECT_THAT(turns_, ElementsAre(0, 1, 2));
  }
  EXPECT_EQ(clients_[1]->visitors(), 2u);
  EXPECT_EQ(asked_count_, 4);
  EXPECT_THAT(reports_, ElementsAre());
  EXPECT_TRUE(PassUntil([&] { return clients_[2]->node.remote_locker()->idle(); }));
}

TEST_F(PeerLinksTest, FindsOfOnePeerShareAnAttempt) {
  Make(2);
  tells_ = false;
  absl::optional<FoundPeer> found[3];
  std::vector<SpawnHandle> finding;
  PeerClient& client = *clients_[0];
  for (auto& into : found) {
    finding.push_back(
        client.node.scheduler().Spawn(FindInto(client.links.get(), kFirstId + 1, &into)));
  }
  EXPECT_TRUE(PassUntil([&] { return asked_count_ == 1; }));
  tells_ = true;
  EXPECT_TRUE(PassUntil([&] { return found[0] && found[1] && found[2]; }));
  for (const auto& one : found) {
    ASSERT_TRUE((*one).ok()) << (*one).status();
    EXPECT_EQ((*one)->queue_pair, (*found[0])->queue_pair);
    EXPECT_EQ((*one)->descriptors, (*found[0])->descriptors);
  }
  EXPECT_EQ(asked_count_, 1);
  EXPECT_EQ(clients_[1]->visitors(), 1u);
}

TEST_F(PeerLinksTest, TwoThreadsHaveALinkEach) {
  Make(2);
  PeerThread second(clients_[0]->node.fabric(), &clock_, 99);
  others_.push_back(&second);
  const auto links = MakeLinks(clients_[0]->node.fabric(), second.port.get(), kFirstId);
  const FoundPeer one = Find(0, 1);
  const FoundPeer other = Find(links.get(), &second.scheduler, kFirstId + 1);
  ASSERT_TRUE(one.ok()) << one.status();
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(clients_[1]->visitors(), 2u);
  // Stimulus: one of them goes. Expect: the other stays.
  links->Close();
  EXPECT_TRUE(PassUntil([&] { return clients_[1]->visitors() == 1; }));
  EXPECT_EQ(one->queue_pair->state(), QueuePairState::kReady);
  // Expect: dead is dead on all threads.
  clients_[1]->door->CloseTo(kFirstId + 1, {kFirstId});
  EXPECT_EQ(clients_[1]->visitors(), 0u);
  others_.clear();
}

TEST_F(PeerLinksTest, ATicketThatIsWrongIsUnavailable) {
  Make(2);
  PeerLinks::Options options =
      LinksOptions(clients_[0]->node.fabric(), clients_[0]->node.port(), kFirstId);
  options.ticket[0] ^= 1;
  PeerLinks links(std::move(options));
  const FoundPeer found = Find(&links, &clients_[0]->node.scheduler(), kFirstId + 1);
  EXPECT_TRUE(absl::IsUnavailable(found.status())) << found.status();
  EXPECT_THAT(std::string(found.status().message()), HasSubstr("client 3"));
  EXPECT_EQ(links.links_count(), 0u);
  EXPECT_EQ(clients_[1]->door->refusals_count(PeerRefusal::kTicket), 1u);
  // Expect: nobody is there to be asked for, either.
  const FoundPeer nobody = Find(&links, &clients_[0]->node.scheduler(), 77);
  EXPECT_TRUE(absl::IsUnavailable(nobody.status())) << nobody.status();
}

// Goal: a door that does not keep to the protocol costs one attempt, and nothing else.
TEST_F(PeerLinksTest, DoorsThatTellNoKey) {
  Make(1);
  const std::unique_ptr<transport::Fabric> fabric = MakeFabric();
  {
    PeerThread door(fabric.get(), &clock_, 99);
    others_.push_back(&door);
    auto listener = fabric->Listen();
    ASSERT_TRUE(listener.ok()) << listener.status();
    endpoints_[7] = (*listener)->endpoint();
    PeerLinks::Options options =
        LinksOptions(clients_[0]->node.fabric(), clients_[0]->node.port(), kFirstId);
    const transport::RemoteKey key = {0x123456789abcdef0};
    struct Case {
      std::vector<uint32_t> immediates;
      bool closes;
      const char* error;
    };
    const Case cases[] = {
        {{KeyPiece(key, 0), KeyPiece(key, 1)}, true, ""},                  // In the middle.
        {{}, true, ""},                                                    // At once.
        {{KeyPiece(key, 0), KeyPiece(key, 2)}, false, "no key"},           // Out of order.
        {{KeyPiece(key, 0), KeyPiece(key, 0)}, false, "no key"},           // Twice.
        {{0, 1u << kKeyPieceBits, 2u << kKeyPieceBits}, false, "no key"},  // 0.
        {{0, 1u << kKeyPieceBits, transport::kImmediateMax}, false, "no key"},
        {{KeyPiece(key, 0), KeyPiece(key, 1)}, false, "deadline"},  // And no more.
    };
    for (const Case& one : cases) {
      const bool is_silent = absl::string_view(one.error) == "deadline";
      options.attempt_ns_max = is_silent ? kShortNs : kLongNs;
      PeerLinks links(options);
      absl::optional<FoundPeer> found;
      SpawnHandle finding = clients_[0]->node.scheduler().Spawn(FindInto(&links, 7, &found));
      std::unique_ptr<transport::ConnectionRequest> request;
      ASSERT_TRUE(PassUntil([&] {
        request = (*listener)->Poll();
        return request != nullptr || found.has_value();
      }));
      if (request == nullptr) {
        EXPECT_TRUE(is_silent);
        continue;
      }
      PeerHello hello;
      EXPECT_FALSE(ReadPeerHello(request->private_data(), &hello).has_value());
      auto accepted = request->Accept(door.queue.get(), "");
      ASSERT_TRUE(accepted.ok()) << accepted.status();
      for (const uint32_t immediate : one.immediates) {
        transport::WorkRequest piece;
        piece.opcode = transport::Opcode::kWriteWithImm;
        piece.immediate = immediate;
        piece.id = transport::kSinkIdBit;
        ASSERT_TRUE((*accepted)->Post({&piece, 1}).ok());
      }
      const auto close = [&] {
        door.port->Forget(accepted->get());
        accepted->reset();
      };
      if (one.closes) close();
      EXPECT_TRUE(PassUntil([&] { return found.has_value(); }));
      EXPECT_TRUE(absl::IsUnavailable(found->status())) << found->status();
      EXPECT_THAT(std::string(found->status().message()), HasSubstr(one.error));
      EXPECT_EQ(links.links_count(), 0u);
      if (!one.closes) close();
    }
    others_.clear();
  }
}

// Goal: who loses its neighbour in the middle of the queue says so, and goes on with others.
TEST_F(PeerLinksTest, ALockIsHandedOnToOneThatIsGone) {
  Make(3);
  MakeLocks(1);
  SpawnHandle first = Queue(0, 0);
  EXPECT_TRUE(PassUntil([&] { return turns_.size() == 1; }));
  SpawnHandle second = Queue(1, 1);
  EXPECT_TRUE(PassUntil([&] { return clients_[0]->visitors() == 1; }));
  SpawnHandle third = Queue(2, 2);
  EXPECT_TRUE(PassUntil([&] { return clients_[1]->visitors() == 1; }));
  // Stimulus: the second is told that the third is dead, the third that the second is, while both wait.
  clients_[1]->door->CloseTo(kFirstId + 1, {kFirstId + 2});
  clients_[1]->links->CloseTo({kFirstId + 2});
  clients_[2]->door->CloseTo(kFirstId + 2, {kFirstId + 1});
  clients_[2]->links->CloseTo({kFirstId + 1});
  EXPECT_EQ(clients_[2]->links->links_count(), 0u);
  open_ = true;
  // Expect: the lock goes to the second, from which it leads nowhere; nobody writes to the third.
  EXPECT_TRUE(PassUntil([&] { return turns_.size() == 2; }));
  EXPECT_THAT(turns_, ElementsAre(0, 1));
  EXPECT_EQ(clients_[2]->visitors(), 0u);
  // It has left to nobody, or, where the third's link had not landed yet, waits for one till the home repairs the queue.
  second.Cancel();
  third.Cancel();
}

TEST_F(PeerLinksTest, AFindEndsWhenItsPeerIsDeadOrItsThreadLeaves) {
  Make(2);
  tells_ = false;
  PeerClient& client = *clients_[0];
  absl::optional<FoundPeer> found[2];
  SpawnHandle finding =
      client.node.scheduler().Spawn(FindInto(client.links.get(), kFirstId + 1, &found[0]));
  EXPECT_TRUE(PassUntil([&] { return asked_count_ == 1; }));
  client.links->CloseTo({kFirstId + 1});
  EXPECT_TRUE(PassUntil([&] { return found[0].has_value(); }));
  EXPECT_THAT(std::string(found[0]->status().message()), HasSubstr("dead"));
  // Expect: the home's answer comes too late, also to a later Find.
  tells_ = true;
  EXPECT_TRUE(absl::IsUnavailable(Find(0, 1).status()));
  EXPECT_EQ(asked_count_, 1);

  tells_ = false;
  SpawnHandle other = client.node.scheduler().Spawn(FindInto(client.links.get(), 7, &found[1]));
  EXPECT_TRUE(PassUntil([&] { return asked_count_ == 2; }));
  client.links->Close();
  EXPECT_TRUE(PassUntil([&] { return found[1].has_value(); }));
  EXPECT_TRUE(absl::IsUnavailable(found[1]->status())) << found[1]->status();
  EXPECT_TRUE(absl::IsUnavailable(Find(0, 0).status()));
}

// Goal: tasks that are destroyed anywhere on the way to a peer leave nothing behind that others would trip over.
TEST_F(PeerLinksTest, FindsThatAreCancelledAnywhere) {
  Make(2);
  PeerClient& client = *clients_[0];
  Scheduler& scheduler = client.node.scheduler();
  for (int passes = 0; passes < 40; ++passes) {
    const auto links = MakeLinks(client.node.fabric(), client.node.port(), kFirstId);
    absl::optional<FoundPeer> found;
    SpawnHandle finding = scheduler.Spawn(FindInto(links.get(), kFirstId + 1, &found));
    for (int i = 0; i < passes; ++i) Pass();
    finding.Cancel();
    // Expect: the attempt goes on for the next one; or, every third time, everything goes.
    if (passes % 3 != 0) {
      EXPECT_TRUE(Find(links.get(), &scheduler, kFirstId + 1).ok());
    }
  }
  // A card's queue pair may take long to notice that the other side gave up while it was connecting.
  clients_[1]->door->Unserve(kFirstId + 1);
  EXPECT_EQ(clients_[1]->visitors(), 0u);
}

TEST_F(PeerLinksTest, OneReportAtATime) {
  Make(1);
  hears_ = false;
  PeerLinks* const links = clients_[0]->links.get();
  links->OnUnreachable(7);
  EXPECT_TRUE(PassUntil([&] { return reports_under_way_ == 1; }));
  // Stimulus: two more, while the home has not heard of the first; and one on somebody else.
  links->OnUnreachable(7);
  links->OnUnreachable(7);
  links->OnUnreachable(8);
  EXPECT_TRUE(PassUntil([&] { return reports_under_way_ == 2; }));
  hears_ = true;
  EXPECT_TRUE(PassUntil([&] { return reports_.size() == 3; }));
  EXPECT_THAT(reports_, ::testing::UnorderedElementsAre(7, 7, 8));
  // Expect: later ones are told again. None on the dead.
  links->OnUnreachable(7);
  EXPECT_TRUE(PassUntil([&] { return reports_.size() == 4; }));
  links->CloseTo({7});
  links->OnUnreachable(7);
  links->OnUnreachable(8);
  EXPECT_TRUE(PassUntil([&] { return reports_.size() == 5; }));
  EXPECT_EQ(reports_.back(), 8u);
  // Expect: one under way goes with the links.
  hears_ = false;
  links->OnUnreachable(8);
  EXPECT_TRUE(PassUntil([&] { return reports_under_way_ == 1; }));
  links->Close();
}

}  // namespace
}  // namespace acre
