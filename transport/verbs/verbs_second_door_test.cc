// Memory that shm made, served by a card as well: what the server of a cluster does. Needs a card.

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "transport/fabric.h"
#include "transport/shm/shm_fabric.h"
#include "transport/verbs/verbs_test_util.h"

namespace acre::transport {
namespace {

class VerbsSecondDoorTest : public ::testing::Test {
 protected:
  VerbsSecondDoorTest() {
    region_->words()[kDataWord].Store(41, std::memory_order_relaxed);
    door_ = Take(server_.fabric->RegisterRegion(region_.get(), kRightsAll));
  }

  std::unique_ptr<MemoryRegion> MakeRegion() const {
    RegionOptions options;
    options.region_id = 9;
    options.size_bytes = 1 << 16;
    options.peer_rights = kRightRead;
    options.death_mark = true;
    return Take(shm_->CreateRegion(options));
  }
  CompletionStatus Do(Opcode opcode, RemoteKey key, uint64_t word = 0) {
    client_.local->words()[kDataWord].Store(word, std::memory_order_relaxed);
    WorkRequest request = client_.Request(opcode, 0, key);
    request.swap_or_add = 1;
    CHECK(connection_.client->Post({&request, 1}).ok());
    return client_.Await().status;
  }
  uint64_t Result() const {
    return client_.local->words()[kDataWord].Load(std::memory_order_acquire);
  }
  uint64_t Memory() const { return region_->words()[kDataWord].Load(std::memory_order_acquire); }
  RemoteKey Grant(uint32_t rights) { return Take(connection_.server->Grant(*door_, rights)); }

  VerbsNode client_{0};
  VerbsNode server_{1};
  std::unique_ptr<ShmFabric> shm_ = Take(ShmFabric::Create({.clock = &server_.clock}));
  std::unique_ptr<MemoryRegion> region_ = MakeRegion();
  std::unique_ptr<MemoryRegion> door_;
  VerbsConnection connection_ = Connect(client_, server_);
};

TEST_F(VerbsSecondDoorTest, LeadsToTheSameMemory) {
  EXPECT_EQ(door_->words(), region_->words());
  EXPECT_EQ(door_->size_bytes(), region_->size_bytes());
  EXPECT_EQ(door_->region_id(), region_->region_id());
  EXPECT_EQ(Do(Opcode::kRead, Grant(kRightRead)), CompletionStatus::kOk);
  EXPECT_EQ(Result(), 41u);
  EXPECT_EQ(Do(Opcode::kWrite, Grant(kRightWrite), 42), CompletionStatus::kOk);
  // The WRITE's completion says only that the card took it; the READ behind it finds it (F2, F3).
  EXPECT_EQ(Do(Opcode::kRead, Grant(kRightRead)), CompletionStatus::kOk);
  EXPECT_EQ(Result(), 42u);
  EXPECT_EQ(Memory(), 42u);
}

TEST_F(VerbsSecondDoorTest, TakesNoAtomicsSinceTheyComeThroughTheOther) {
  EXPECT_EQ(Do(Opcode::kFetchAdd, Grant(kRightsAll)), CompletionStatus::kAtomicDomain);
  EXPECT_EQ(Memory(), 41u);
}

TEST_F(VerbsSecondDoorTest, ClosesWithTheMemory) {
  const RemoteKey key = Grant(kRightRead);
  EXPECT_EQ(Do(Opcode::kRead, key), CompletionStatus::kOk);
  region_->Close();
  EXPECT_NE(Do(Opcode::kRead, key, 7), CompletionStatus::kOk);
  EXPECT_EQ(Result(), 7u);
  EXPECT_EQ(client_.Await().kind, CompletionKind::kDisconnected);
  const VerbsConnection other = Connect(client_, server_);
  EXPECT_EQ(other.server->Grant(*door_, kRightRead).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(VerbsSecondDoorTest, DoorToClosedMemoryIsShut) {
  region_->Close();
  const auto late = Take(server_.fabric->RegisterRegion(region_.get(), kRightRead));
  EXPECT_FALSE(connection_.server->Grant(*late, kRightRead).ok());
}

TEST_F(VerbsSecondDoorTest, GoesWithoutTheMemory) {
  const RemoteKey key = Grant(kRightRead);
  const auto other = Take(server_.fabric->RegisterRegion(region_.get(), kRightRead));
  const RemoteKey other_key = Take(connection_.server->Grant(*other, kRightRead));
  door_.reset();
  EXPECT_EQ(Do(Opcode::kRead, other_key), CompletionStatus::kOk);
  EXPECT_EQ(Memory(), 41u);
  EXPECT_NE(Do(Opcode::kRead, key), CompletionStatus::kOk);
}

TEST_F(VerbsSecondDoorTest, RightsThatThereAreNotAreRefused) {
  EXPECT_EQ(server_.fabric->RegisterRegion(region_.get(), 8).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace acre::transport
