// Deaths that the kernel marks: kill -9 in real processes, what is removed stays unmarked.

#include "transport/shm/owner_thread.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "transport/region_lease.h"
#include "transport/shm/shm_test_peer.h"
#include "transport/socket.h"

namespace acre::transport {
namespace {

constexpr size_t kHeaders = 5;

// Headers that a child process shares with us.
class OwnerThreadTest : public testing::Test {
 protected:
  OwnerThreadTest()
      : headers_(static_cast<RegionHeader*>(mmap(nullptr, kHeaders * sizeof(RegionHeader),
                                                 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                                                 -1, 0))) {
    CHECK(headers_ != MAP_FAILED);
  }
  ~OwnerThreadTest() override { munmap(headers_, kHeaders * sizeof(RegionHeader)); }

  // Runs `act` in a child with an OwnerThread, kills it when it is done.
  template <class Act>
  void KillAfter(Act act) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(ready[0]);
      const std::unique_ptr<OwnerThread> owner = OwnerThread::Create();
      CHECK(owner != nullptr) << "this kernel has no robust futexes";
      act(owner.get());
      CHECK_EQ(write(ready[1], "x", 1), 1);
      while (true) pause();
    }
    close(ready[1]);  // The child's end alone: if it dies before it is ready, the read ends.
    char byte;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    for (size_t i = 0; i < kHeaders; ++i) EXPECT_FALSE(IsMarked(i)) << i;
    ASSERT_EQ(kill(child, SIGKILL), 0);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    close(ready[0]);
  }
  bool IsMarked(size_t i) const {
    return (headers_[i].owner.Load(std::memory_order_acquire) & kOwnerDied) != 0;
  }

  RegionHeader* const headers_;
};

TEST_F(OwnerThreadTest, AllHeadersOfAKilledProcessAreMarked) {
  KillAfter([this](OwnerThread* owner) {
    for (size_t i = 0; i < kHeaders; ++i) CHECK(owner->Add(&headers_[i]));
  });
  for (size_t i = 0; i < kHeaders; ++i) EXPECT_TRUE(IsMarked(i)) << i;
}

// Goal: the list stays whole whichever entry leaves it: first, last, one in the middle.
TEST_F(OwnerThreadTest, RemovedHeadersStayUnmarkedAndTheOthersDoNot) {
  for (size_t removed = 0; removed < kHeaders; ++removed) {
    for (size_t i = 0; i < kHeaders; ++i) headers_[i].owner.Store(0, std::memory_order_relaxed);
    KillAfter([this, removed](OwnerThread* owner) {
      for (size_t i = 0; i < kHeaders; ++i) CHECK(owner->Add(&headers_[i]));
      owner->Remove(&headers_[removed]);
    });
    for (size_t i = 0; i < kHeaders; ++i) EXPECT_EQ(IsMarked(i), i != removed) << removed << i;
  }
}

// A server as far as the order of its end goes: threads at work and asleep, memory, a port that listens.
// Writes the port's number to `to`.
[[noreturn]] void ServeTillKilled(RegionHeader* header, int to) {
  constexpr size_t kMemoryBytes = size_t{32} << 20;
  const std::unique_ptr<OwnerThread> owner = OwnerThread::Create();
  CHECK(owner != nullptr) << "this kernel has no robust futexes";
  CHECK(owner->Add(header));
  const SharedMemory memory =
      Take(MakeSharedMemory("test", kMemoryBytes, HugePages::kOff, PeerAccess::kReadOnly));
  for (size_t i = 0; i < kMemoryBytes / kWordBytes; i += 512) {
    memory.mapping.words()[i].Store(1, std::memory_order_relaxed);
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([is_busy = i == 0] {
      while (is_busy) asm volatile("");
      while (true) pause();
    });
  }
  const ScopedFd listening = Take(BindSocket(*ParseAddress({"127.0.0.1", 0})));
  CHECK(StartListening(listening.get()).ok());
  const uint16_t port = LocalAddress(listening.get()).port();
  CHECK_EQ(write(to, &port, sizeof(port)), static_cast<ssize_t>(sizeof(port)));
  while (true) pause();
}

// Goal: what docs/leases.md rests on: the mark is there before anybody else can have the dead server's
// port.
TEST_F(OwnerThreadTest, MarkIsThereBeforeThePortIsFree) {
  constexpr int kRounds = 50;
  for (int round = 0; round < kRounds; ++round) {
    headers_[0].owner.Store(0, std::memory_order_relaxed);
    int port_pipe[2];
    ASSERT_EQ(pipe(port_pipe), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(port_pipe[0]);
      ServeTillKilled(&headers_[0], port_pipe[1]);
    }
    close(port_pipe[1]);
    uint16_t port = 0;
    ASSERT_EQ(read(port_pipe[0], &port, sizeof(port)), static_cast<ssize_t>(sizeof(port)));
    close(port_pipe[0]);
    const SocketAddress address = *ParseAddress({"127.0.0.1", port});
    EXPECT_FALSE(IsMarked(0));
    ASSERT_EQ(kill(child, SIGKILL), 0);
    // No waitpid: that would wait for the end of it all.
    while (true) {
      const auto socket = BindSocket(address);
      if (socket.ok() && StartListening(socket->get()).ok()) break;
    }
    EXPECT_TRUE(IsMarked(0)) << "round " << round;
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
  }
}

// Goal: a mark that peers could write would be worth nothing.
TEST_F(OwnerThreadTest, RegionThatPeersWriteHasNoMark) {
  ManualClock clock;
  const auto fabric = Take(ShmFabric::Create({.clock = &clock}));
  for (const uint32_t rights : {uint32_t{kRightWrite}, uint32_t{kRightAtomic}}) {
    const auto region = fabric->CreateRegion(
        {.region_id = 1, .size_bytes = 4096, .peer_rights = rights, .death_mark = true});
    EXPECT_TRUE(absl::IsInvalidArgument(region.status())) << region.status();
  }
}

// Goal: where there are no marks, the lease is what it was.
TEST_F(OwnerThreadTest, FabricWithoutMarksKeepsTheLease) {
  ManualClock clock;
  const auto fabric = Take(ShmFabric::Create({.clock = &clock, .death_marks = false}));
  const auto region = Take(fabric->CreateRegion(
      {.region_id = 1, .size_bytes = 4096, .lease_ns = 1'000'000'000, .death_mark = true}));
  auto* const header = reinterpret_cast<RegionHeader*>(region->words());
  const RegionLease lease(header, header->generation.Load(std::memory_order_relaxed), &clock);
  EXPECT_EQ(header->owner.Load(std::memory_order_relaxed), 0u);
  EXPECT_TRUE(lease.IsLive());
  clock.AdvanceNs(1'000'000'000);
  EXPECT_FALSE(lease.IsLive());
}

// Goal: closed is final and needs no end of the region: its owner goes on, readers do not.
TEST_F(OwnerThreadTest, ClosedRegionIsRefusedWhileItStands) {
  ManualClock clock;
  const auto fabric = Take(ShmFabric::Create({.clock = &clock}));
  const auto region =
      Take(fabric->CreateRegion({.region_id = 1, .size_bytes = 4096, .death_mark = true}));
  auto* const header = reinterpret_cast<RegionHeader*>(region->words());
  const RegionLease lease(header, header->generation.Load(std::memory_order_relaxed), &clock);
  EXPECT_TRUE(lease.IsLive());
  region->Close();
  region->Close();
  region->RenewLease(clock.NowNs());
  EXPECT_FALSE(lease.IsLive());
  EXPECT_NE(lease.WhyNot().message().find("closed"), absl::string_view::npos) << lease.WhyNot();
}

// Goal: the thread that made the fabric is nobody in particular: its end marks nothing.
TEST_F(OwnerThreadTest, EndOfAnotherThreadMarksNothing) {
  std::unique_ptr<OwnerThread> owner;
  std::thread([&] {
    owner = OwnerThread::Create();
    CHECK(owner->Add(&headers_[0]));
  }).join();
  EXPECT_NE(headers_[0].owner.Load(std::memory_order_acquire), 0u);
  EXPECT_FALSE(IsMarked(0));
  owner->Remove(&headers_[0]);
}

// Goal: what readers ask. A region with a mark needs no lease, however late its owner is; killed, it is
// refused at once.
TEST_F(OwnerThreadTest, ReaderBelievesTheMarkAndNotTheClock) {
  ManualClock clock;
  const auto fabric = Take(ShmFabric::Create({.clock = &clock}));
  const auto region = Take(fabric->CreateRegion(
      {.region_id = 1, .size_bytes = 4096, .lease_ns = 1'000'000'000, .death_mark = true}));
  auto* const header = reinterpret_cast<RegionHeader*>(region->words());
  const RegionLease lease(header, header->generation.Load(std::memory_order_relaxed), &clock);
  EXPECT_TRUE(lease.IsLive());
  clock.AdvanceNs(1'000'000'000'000);
  EXPECT_TRUE(lease.IsLive());
  const uint64_t owner = header->owner.Load(std::memory_order_relaxed);
  EXPECT_NE(owner, 0u);
  header->owner.Store(owner | kOwnerDied, std::memory_order_relaxed);  // As the kernel does.
  EXPECT_FALSE(lease.IsLive());
  EXPECT_NE(lease.WhyNot().message().find("died"), absl::string_view::npos) << lease.WhyNot();
}

}  // namespace
}  // namespace acre::transport
