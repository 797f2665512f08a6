// What the kernel keeps a peer from doing, seen from the peer: it has the descriptor and does its
// worst.

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "transport/region_header.h"
#include "transport/shm/shm_test_peer.h"

namespace acre::transport {
namespace {

class ShmRightsTest : public testing::Test {
 protected:
  // The server grants a region with these options to a raw peer. Returns the descriptor that it
  // received.
  ScopedFd Receive(const RegionOptions& options, uint32_t rights) {
    auto made = fabric_->CreateRegion(options);
    if (!made.ok()) return ScopedFd();
    region_ = *std::move(made);
    peer_.SayHello();
    queue_pair_ = Take(AwaitRequest(listener_.get())->Accept(queue_.get(), ""));
    CHECK(queue_pair_->Grant(*region_, rights).ok());
    CHECK(peer_.AwaitPacket().kind() == PacketKind::kHello);
    Packet grant = peer_.AwaitPacket();
    CHECK(grant.kind() == PacketKind::kGrant && grant.fds_count == 1);
    return std::move(grant.fds[0]);
  }

  static bool CanMap(int fd, int protection, size_t bytes) {
    void* memory = mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) return false;
    munmap(memory, bytes);
    return true;
  }

  // Everything that would change what the owner sees, or take its memory away.
  void ExpectHarmless(int fd) {
    const size_t bytes = region_->size_bytes();
    EXPECT_TRUE(CanMap(fd, PROT_READ, bytes));
    EXPECT_FALSE(CanMap(fd, PROT_READ | PROT_WRITE, bytes));
    void* memory = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
    ASSERT_NE(memory, MAP_FAILED);
    EXPECT_NE(mprotect(memory, bytes, PROT_READ | PROT_WRITE), 0);
    EXPECT_NE(madvise(memory, bytes, MADV_REMOVE), 0);
    munmap(memory, bytes);
    EXPECT_LT(pwrite(fd, "x", 1, 0), 0);
    EXPECT_NE(ftruncate(fd, 0), 0);
    EXPECT_NE(ftruncate(fd, static_cast<off_t>(2 * bytes)), 0);
    EXPECT_NE(
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)), 0);
    EXPECT_NE(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
  }

  static ScopedFd Reopen(int fd) {
    return ScopedFd(open(absl::StrCat("/proc/self/fd/", fd).c_str(), O_RDWR | O_CLOEXEC));
  }

  RealClock clock_;
  std::unique_ptr<ShmFabric> fabric_ = Take(ShmFabric::Create({.clock = &clock_}));
  std::unique_ptr<CompletionQueue> queue_ = Take(fabric_->CreateCompletionQueue());
  std::unique_ptr<Listener> listener_ = Take(fabric_->Listen());
  RawPeer peer_ = RawPeer::ConnectTo(*listener_);
  std::unique_ptr<MemoryRegion> region_;
  std::unique_ptr<QueuePair> queue_pair_;
};

TEST_F(ShmRightsTest, ReadableRegionCannotBeWrittenNorTruncatedAlsoAfterReopening) {
  const ScopedFd received =
      Receive({.region_id = 1, .size_bytes = 1 << 16, .peer_rights = kRightRead}, kRightRead);
  ASSERT_TRUE(received.is_open());
  ExpectHarmless(received.get());
  const ScopedFd reopened = Reopen(received.get());
  ASSERT_TRUE(reopened.is_open()) << "reopening itself works, and is why seals are needed";
  ExpectHarmless(reopened.get());
}

// Reserves a huge page for the length of a test, if the machine lets us.
class ReservedHugePage {
 public:
  ReservedHugePage() : before_(Read()) { Write(before_ + 1); }
  ~ReservedHugePage() { Write(before_); }

 private:
  static constexpr char kPath[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
  static int Read() {
    int pages = 0;
    std::ifstream(kPath) >> pages;
    return pages;
  }
  static void Write(int pages) { std::ofstream(kPath) << pages; }
  int before_;
};

TEST_F(ShmRightsTest, SoForHugePages) {
  const ReservedHugePage reserved;
  const ScopedFd received = Receive({.region_id = 1,
                                     .size_bytes = 1 << 21,
                                     .peer_rights = kRightRead,
                                     .huge_pages = HugePages::k2M},
                                    kRightRead);
  if (!received.is_open()) {
    std::cout << "this machine gives us no huge page: nothing to see\n";
    return;
  }
  EXPECT_EQ(region_->page_bytes(), size_t{1} << 21);
  EXPECT_EQ(region_->page_note(), "");
  ExpectHarmless(received.get());
  const ScopedFd reopened = Reopen(received.get());
  ASSERT_TRUE(reopened.is_open());
  ExpectHarmless(reopened.get());
}

TEST_F(ShmRightsTest, WritableRegionStillCannotBeTruncated) {
  const ScopedFd received =
      Receive({.region_id = 1, .size_bytes = 1 << 16, .peer_rights = kRightsAll}, kRightsAll);
  ASSERT_TRUE(received.is_open());
  EXPECT_TRUE(CanMap(received.get(), PROT_READ | PROT_WRITE, region_->size_bytes()));
  EXPECT_NE(ftruncate(received.get(), 0), 0);
  EXPECT_NE(ftruncate(Reopen(received.get()).get(), 0), 0);
}

TEST_F(ShmRightsTest, GrantThatTheKernelCannotEnforceIsRefused) {
  const ScopedFd received =
      Receive({.region_id = 1, .size_bytes = 1 << 16, .peer_rights = kRightsAll}, kRightsAll);
  EXPECT_EQ(queue_pair_->Grant(*region_, kRightRead).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ShmRightsTest, HugePagesFallBackWithANote) {
  const RegionOptions options = {
      .region_id = 1, .size_bytes = size_t{1} << 40, .huge_pages = HugePages::k1G};
  EXPECT_EQ(fabric_->CreateRegion(options).status().code(), absl::StatusCode::kInvalidArgument);

  RegionOptions automatic = {
      .region_id = 1, .size_bytes = size_t{3} << 30, .huge_pages = HugePages::kAuto};
  auto region = Take(fabric_->CreateRegion(automatic));
  if (region->page_bytes() == size_t{1} << 30) return;  // A machine with pages to spare.
  EXPECT_NE(region->page_note().find("nr_hugepages"), absl::string_view::npos)
      << region->page_note();

  RegionOptions stated = {
      .region_id = 2, .size_bytes = size_t{4} << 30, .huge_pages = HugePages::k1G};
  const auto refused = fabric_->CreateRegion(stated);
  if (!refused.ok()) {
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(ShmRightsTest, BadOptionsAreRefused) {
  for (const RegionOptions& options :
       {RegionOptions{.region_id = 0, .size_bytes = 4096},
        RegionOptions{.region_id = 1, .size_bytes = 0},
        RegionOptions{.region_id = 1, .size_bytes = (size_t{4} << 30) + 1},
        RegionOptions{.region_id = 1, .size_bytes = 4096, .peer_rights = 8}}) {
    EXPECT_EQ(fabric_->CreateRegion(options).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace acre::transport
