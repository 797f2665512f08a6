// Who is let in to write into a process's descriptors, who is not, and who is shown out: PeerDoor on a real fabric.

#include "lock/peer_door.h"

#include <dirent.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "lock/peer_test_mesh.h"
#include "transport/fabric.h"
#include "transport/wire_bytes.h"

namespace acre {
namespace {

using transport::QueuePair;
using transport::QueuePairState;

std::string HelloBytes(const PeerHello& hello) {
  std::string bytes;
  transport::AppendWire(&bytes, hello);
  return bytes;
}

PeerHello Hello(uint32_t from, uint32_t to) {
  PeerHello hello;
  hello.from_lock_id = from;
  hello.to_lock_id = to;
  hello.ticket = kTestTicket;
  return hello;
}

size_t OpenDescriptorsCount() {
  DIR* const dir = opendir("/proc/self/fd");
  CHECK(dir != nullptr);
  size_t count = 0;
  while (readdir(dir) != nullptr) ++count;
  closedir(dir);
  return count;
}

class PeerDoorTest : public PeerMesh {
 public:
  // Somebody who does not speak our protocol, or not all of it: how its connection to the first client ended.
  absl::Status ConnectRaw(PeerThread* thread, absl::string_view private_data) {
    const uint64_t refused_before = RefusalsCount();
    auto made =
        thread_fabric_->Connect(clients_[0]->door->endpoint(), thread->queue.get(), private_data);
    if (!made.ok()) return made.status();
    const std::unique_ptr<QueuePair> queue_pair = *std::move(made);
    EXPECT_TRUE(PassUntil([&] {
      return queue_pair->state() == QueuePairState::kBroken && RefusalsCount() > refused_before;
    }));
    thread->port->Forget(queue_pair.get());
    return queue_pair->status();
  }
  uint64_t RefusalsCount() const {
    uint64_t count = 0;
    for (size_t i = 0; i < kPeerRefusalsCount; ++i) {
      count += clients_[0]->door->refusals_count(static_cast<PeerRefusal>(i));
    }
    return count;
  }

  transport::Fabric* thread_fabric_ = nullptr;
};

TEST_F(PeerDoorTest, StrangersAreTurnedAwayAndCounted) {
  Make(2);
  const std::unique_ptr<transport::Fabric> fabric = MakeFabric();
  {
    PeerThread stranger(fabric.get(), &clock_, 99);
    others_.push_back(&stranger);
    thread_fabric_ = fabric.get();
    const auto count = [this](PeerRefusal why) { return clients_[0]->door->refusals_count(why); };
    const auto is_refused = [&](const PeerHello& hello, PeerRefusal why) {
      const uint64_t before = count(why);
      const absl::Status ended = ConnectRaw(&stranger, HelloBytes(hello));
      return !ended.ok() && count(why) == before + 1;
    };
    PeerHello hello = Hello(kFirstId + 1, kFirstId);
    hello.ticket[15] ^= 1;
    EXPECT_TRUE(is_refused(hello, PeerRefusal::kTicket));
    EXPECT_TRUE(is_refused(Hello(kFirstId + 1, kFirstId + 1), PeerRefusal::kNotServed));
    EXPECT_TRUE(is_refused(Hello(0, kFirstId), PeerRefusal::kNonsense));
    hello = Hello(kFirstId + 1, kFirstId);
    hello.magic ^= 1;
    EXPECT_TRUE(is_refused(hello, PeerRefusal::kNonsense));
    hello = Hello(kFirstId + 1, kFirstId);
    hello.version = 2;
    EXPECT_TRUE(is_refused(hello, PeerRefusal::kNonsense));
    hello = Hello(kFirstId + 1, kFirstId);
    hello.reserved0 = 1;
    EXPECT_TRUE(is_refused(hello, PeerRefusal::kNonsense));
    const std::string whole = HelloBytes(Hello(kFirstId + 1, kFirstId));
    for (const std::string& bytes : {std::string(), whole.substr(0, 31), whole + '\0'}) {
      const uint64_t before = count(PeerRefusal::kNonsense);
      EXPECT_FALSE(ConnectRaw(&stranger, bytes).ok());
      EXPECT_EQ(count(PeerRefusal::kNonsense), before + 1) << bytes.size();
    }
    others_.clear();
  }
  EXPECT_EQ(clients_[0]->visitors(), 0u);
  // Expect: who belongs here is let in.
  EXPECT_TRUE(Find(1, 0).ok());
}

TEST_F(PeerDoorTest, WhoIsServedNoMoreLosesItsVisitors) {
  Make(2);
  const FoundPeer first = Find(0, 1);
  ASSERT_TRUE(first.ok()) << first.status();
  PeerDoor* const door = clients_[1]->door.get();
  RemoteDescriptors* const descriptors = clients_[1]->node.descriptors();
  EXPECT_TRUE(absl::IsAlreadyExists(door->Serve(descriptors, kTestTicket)));
  door->Unserve(kFirstId + 1);
  EXPECT_EQ(clients_[1]->visitors(), 0u);
  EXPECT_TRUE(PassUntil([&] { return clients_[0]->links->links_count() == 0; }));
  EXPECT_TRUE(absl::IsUnavailable(Find(0, 1).status()));
  EXPECT_EQ(door->refusals_count(PeerRefusal::kNotServed), 1u);
  // Stimulus: it comes back. Expect: so does the link.
  ASSERT_TRUE(door->Serve(descriptors, kTestTicket).ok());
  EXPECT_TRUE(Find(0, 1).ok());
}

TEST_F(PeerDoorTest, WhoSpeaksIsShownOut) {
  Make(2);
  const FoundPeer found = Find(0, 1);
  ASSERT_TRUE(found.ok()) << found.status();
  transport::WorkRequest words;
  words.opcode = transport::Opcode::kWriteWithImm;
  words.id = transport::kSinkIdBit;
  words.signaled = false;
  ASSERT_TRUE(found->queue_pair->Post({&words, 1}).ok());
  EXPECT_TRUE(PassUntil(
      [&] { return clients_[1]->visitors() == 0 && clients_[0]->links->links_count() == 0; }));
  EXPECT_EQ(clients_[1]->door->refusals_count(PeerRefusal::kNonsense), 1u);
}

TEST_F(PeerDoorTest, ACrowdIsBounded) {
  Make(2);
  clients_[1]->OpenDoor({.connections_max = 2});
  endpoints_[kFirstId + 1] = clients_[1]->door->endpoint();
  PeerThread second(clients_[0]->node.fabric(), &clock_, 99);
  others_.push_back(&second);
  std::vector<std::unique_ptr<PeerLinks>> links;
  for (int i = 0; i < 3; ++i) {
    links.push_back(MakeLinks(clients_[0]->node.fabric(), second.port.get(), kFirstId));
    EXPECT_EQ(Find(links.back().get(), &second.scheduler, kFirstId + 1).ok(), i < 2);
  }
  EXPECT_EQ(clients_[1]->door->refusals_count(PeerRefusal::kCrowd), 1u);
  // Stimulus: one leaves. Expect: there is room for another.
  links[0]->Close();
  EXPECT_TRUE(PassUntil([&] { return clients_[1]->visitors() == 1; }));
  EXPECT_TRUE(Find(links[2].get(), &second.scheduler, kFirstId + 1).ok());
  links.clear();
  others_.clear();
}

// Goal: fencing. What the home asks when a neighbour has died is answered on the ground that nothing lands any more.
TEST_F(PeerDoorTest, NothingOfADeadOneLands) {
  Make(2);
  const FoundPeer found = Find(0, 1);
  ASSERT_TRUE(found.ok()) << found.status();
  RemoteDescriptors* const descriptors = clients_[1]->node.descriptors();
  const RemoteWord word = descriptors->Claim();
  descriptors->Begin(word);
  transport::RegionOptions options;
  options.region_id = 55;
  options.size_bytes = transport::kRegionHeaderBytes + kLineBytes;
  auto region = clients_[0]->node.fabric()->CreateRegion(options);
  ASSERT_TRUE(region.ok()) << region.status();
  transport::WorkRequest grant;
  grant.opcode = transport::Opcode::kWrite;
  grant.id = transport::kSinkIdBit;
  grant.local = (*region)->words() + transport::kRegionHeaderBytes / kWordBytes;
  grant.local->Store(LockGrant::Of(word.sequence(), 1).bits(), std::memory_order_relaxed);
  grant.local_region = region->get();
  grant.length_bytes = kWordBytes;
  grant.remote_key = found->descriptors;
  grant.remote_offset_bytes = RemoteDescriptors::GrantOffset(word);
  clients_[1]->door->CloseTo(kFirstId + 1, {kFirstId});
  // On shm whoever posts executes till it has heard of the end: there the home has killed it before.
  const bool executes_itself = clients_[0]->node.fabric()->device().provider == "shm";
  if (!executes_itself) {
    EXPECT_TRUE(found->queue_pair->Post({&grant, 1}).ok());
  }
  EXPECT_TRUE(PassUntil([&] { return clients_[0]->links->links_count() == 0; }));
  EXPECT_FALSE(descriptors->HasGrant(word));
  descriptors->SetLeft(word);
  descriptors->Free(word);
  // Expect: it does not come back, and everybody else comes.
  EXPECT_TRUE(absl::IsUnavailable(Find(0, 1).status()));
  EXPECT_EQ(clients_[1]->door->refusals_count(PeerRefusal::kDead), 1u);
  EXPECT_TRUE(Find(1, 1).ok());
}

TEST_F(PeerDoorTest, ManyComeAndGoAndLeaveNothing) {
  Make(2);
  PeerClient& client = *clients_[0];
  PeerClient& other = *clients_[1];
  const int rounds = transport::TestFabricRounds(1000);
  size_t descriptors_open = 0;
  for (int round = 0; round < rounds; ++round) {
    const FoundPeer found = Find(0, 1);
    ASSERT_TRUE(found.ok()) << found.status();
    // By turns either side ends it.
    if (round % 2 == 0) {
      other.door->Unserve(other.id());
      ASSERT_TRUE(other.door->Serve(other.node.descriptors(), kTestTicket).ok());
    } else {
      client.links = MakeLinks(client.node.fabric(), client.node.port(), client.id());
    }
    ASSERT_TRUE(
        PassUntil([&] { return client.links->links_count() == 0 && other.visitors() == 0; }));
    if (round == 10) descriptors_open = OpenDescriptorsCount();
  }
  // Kernels, and a fabric's thread, take their time to let go of the last ones.
  EXPECT_TRUE(PassUntil([&] { return OpenDescriptorsCount() <= descriptors_open; }));
}

}  // namespace
}  // namespace acre
