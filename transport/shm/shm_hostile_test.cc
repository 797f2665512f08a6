// Peers that lie, keep silent, or send what nobody asked for: they lose their connection, and
// nothing else happens.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "transport/region_header.h"
#include "transport/shm/shm_listener.h"
#include "transport/shm/shm_test_peer.h"

namespace acre::transport {
namespace {

class ShmHostileTest : public testing::Test {
 protected:
  // Sends a hello by hand, with as many descriptors as one likes.
  static void SendRaw(const PacketSocket& socket, const void* bytes, size_t size,
                      const std::vector<int>& fds) {
    iovec vector = {const_cast<void*>(bytes), size};
    std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
    msghdr message = {};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* part = CMSG_FIRSTHDR(&message);
      part->cmsg_level = SOL_SOCKET;
      part->cmsg_type = SCM_RIGHTS;
      part->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(part), fds.data(), fds.size() * sizeof(int));  // private memory
    }
    ASSERT_EQ(sendmsg(socket.fd(), &message, MSG_NOSIGNAL), static_cast<ssize_t>(size));
  }

  // The listener drops whoever sent this, and shows the caller nothing.
  void ExpectDropped(RawPeer* peer) {
    ASSERT_TRUE(WaitReadable(listener_->fd()));
    while (IsReadable(listener_->fd())) EXPECT_EQ(listener_->Poll(), nullptr);
    Packet packet;
    EXPECT_EQ(peer->socket.Receive(&packet), ReceiveResult::kGone);
  }

  // A connection between the fabric and a raw peer that has behaved so far.
  std::unique_ptr<QueuePair> Welcome(RawPeer* peer) {
    peer->SayHello();
    auto queue_pair = Take(AwaitRequest(listener_.get())->Accept(queue_.get(), ""));
    CHECK(peer->AwaitPacket().kind() == PacketKind::kHello);
    return queue_pair;
  }

  void ExpectBroken(const QueuePair& queue_pair) {
    const Completion completion = AwaitAsleep(queue_.get());
    EXPECT_EQ(completion.kind, CompletionKind::kDisconnected);
    EXPECT_EQ(queue_pair.state(), QueuePairState::kBroken);
  }

  static ScopedFd Memfd(size_t bytes, int seals) {
    ScopedFd fd(memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    CHECK(ftruncate(fd.get(), static_cast<off_t>(bytes)) == 0);
    CHECK(fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
    return fd;
  }

  static constexpr int kGoodSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

  ManualClock clock_;
  std::unique_ptr<ShmFabric> fabric_ = Take(ShmFabric::Create({.clock = &clock_}));
  std::unique_ptr<CompletionQueue> queue_ = Take(fabric_->CreateCompletionQueue());
  std::unique_ptr<Listener> listener_ = Take(fabric_->Listen());
};

TEST_F(ShmHostileTest, BadHellosAreDropped) {
  const std::vector<std::function<void(HelloPacket*)>> lies = {
      [](HelloPacket* hello) { hello->magic ^= 1; },
      [](HelloPacket* hello) { hello->version += 1; },
      [](HelloPacket* hello) { hello->kind = PacketKind::kGrant; },
      [](HelloPacket* hello) { hello->atomicity = 9; },
      [](HelloPacket* hello) { hello->reserved0 = 1; },
      [](HelloPacket* hello) { hello->private_data_bytes = kPrivateDataBytesMax + 1; },
      [](HelloPacket* hello) { hello->receive_queue_depth = 0; },
      [](HelloPacket* hello) { hello->receive_queue_depth = 24; },
      [](HelloPacket* hello) { hello->receive_queue_depth = 1u << 31; },
      // The ring that comes along is smaller than this.
      [](HelloPacket* hello) { hello->receive_queue_depth = 4096; },
  };
  for (size_t i = 0; i < lies.size(); ++i) {
    SCOPED_TRACE(i);
    RawPeer peer = RawPeer::ConnectTo(*listener_);
    HelloPacket hello = RawPeer::GoodHello();
    lies[i](&hello);
    SendRaw(peer.socket, &hello, sizeof(hello), {peer.ring.fd.get(), peer.wake_page.fd.get()});
    ExpectDropped(&peer);
  }
}

TEST_F(ShmHostileTest, PacketsOfAnyLengthAreDropped) {
  const HelloPacket hello = RawPeer::GoodHello();
  std::vector<char> bytes(4096);
  std::memcpy(bytes.data(), &hello, sizeof(hello));  // private memory
  for (const size_t length :
       {size_t{1}, size_t{3}, sizeof(hello) - 1, sizeof(hello) + 1, bytes.size()}) {
    SCOPED_TRACE(length);
    RawPeer peer = RawPeer::ConnectTo(*listener_);
    SendRaw(peer.socket, bytes.data(), length, {peer.ring.fd.get(), peer.wake_page.fd.get()});
    ExpectDropped(&peer);
  }
}

TEST_F(ShmHostileTest, BadDescriptorsOfAHelloAreDropped) {
  const size_t page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const ScopedFd unsealed = Memfd(page_bytes, 0);
  const ScopedFd shrinkable = Memfd(page_bytes, F_SEAL_GROW | F_SEAL_SEAL);
  const ScopedFd not_writable = Memfd(page_bytes, kGoodSeals | F_SEAL_WRITE);
  const ScopedFd too_large = Memfd(2 * page_bytes, kGoodSeals);
  const ScopedFd no_memory(open("/dev/zero", O_RDWR | O_CLOEXEC));
  const HelloPacket hello = RawPeer::GoodHello();
  RawPeer good = RawPeer::ConnectTo(*listener_);
  const int ring = good.ring.fd.get();
  const int page = good.wake_page.fd.get();
  for (const std::vector<int>& fds : std::vector<std::vector<int>>{{},
                                                                   {ring},
                                                                   {ring, page, page},
                                                                   std::vector<int>(100, ring),
                                                                   {unsealed.get(), page},
                                                                   {shrinkable.get(), page},
                                                                   {not_writable.get(), page},
                                                                   {too_large.get(), page},
                                                                   {no_memory.get(), page},
                                                                   {ring, unsealed.get()},
                                                                   {ring, too_large.get()},
                                                                   {ring, listener_->fd()}}) {
    SCOPED_TRACE(fds.size());
    RawPeer peer = RawPeer::ConnectTo(*listener_);
    SendRaw(peer.socket, &hello, sizeof(hello), fds);
    ExpectDropped(&peer);
  }
}

TEST_F(ShmHostileTest, BadGrantsBreakTheConnectionOnly) {
  const size_t bytes = 1 << 16;
  // A region as its owner would make it, by hand.
  SharedMemory region =
      Take(MakeSharedMemory("region", bytes, HugePages::kOff, PeerAccess::kReadOnly));
  auto* header = reinterpret_cast<RegionHeader*>(region.mapping.words());
  header->region_id.Store(5, std::memory_order_relaxed);
  header->size_bytes.Store(bytes, std::memory_order_relaxed);
  header->generation.Store(6, std::memory_order_relaxed);
  header->magic.Store(kRegionMagic, std::memory_order_release);
  GrantPacket good = {};
  good.kind = PacketKind::kGrant;
  good.rights = kRightRead;
  good.key_bits = MakeKey(0, kRightRead).bits;
  good.region_id = 5;
  good.size_bytes = bytes;
  good.generation = 6;
  const std::vector<std::function<void(GrantPacket*)>> lies = {
      [](GrantPacket* grant) { grant->rights = 0; },
      [](GrantPacket* grant) { grant->rights = 64; },
      // It is sealed against this.
      [](GrantPacket* grant) {
        grant->rights = kRightWrite, grant->key_bits = MakeKey(0, kRightWrite).bits;
      },
      [](GrantPacket* grant) { grant->key_bits = MakeKey(1, kRightRead).bits; },
      [](GrantPacket* grant) { grant->key_bits = 0; },
      [](GrantPacket* grant) { grant->region_id = 6; },
      [](GrantPacket* grant) { grant->region_id = 0; },
      [](GrantPacket* grant) { grant->size_bytes += 4096; },
      [](GrantPacket* grant) { grant->size_bytes = ~uint64_t{0}; },
      [](GrantPacket* grant) { grant->generation = 7; },
      [](GrantPacket* grant) { grant->kind = PacketKind::kHello; },
      [](GrantPacket* grant) { grant->kind = PacketKind{77}; },
  };
  for (size_t i = 0; i <= lies.size(); ++i) {
    SCOPED_TRACE(i);
    RawPeer peer = RawPeer::ConnectTo(*listener_);
    auto queue_pair = Welcome(&peer);
    GrantPacket grant = good;
    if (i < lies.size()) lies[i](&grant);
    SendRaw(peer.socket, &grant, sizeof(grant), {region.fd.get()});
    if (i < lies.size()) {
      ExpectBroken(*queue_pair);
    } else {
      EXPECT_TRUE(queue_pair->Map(MakeKey(0, kRightRead)).ok()) << "the same, without a lie";
    }
  }
  RawPeer peer = RawPeer::ConnectTo(*listener_);
  auto queue_pair = Welcome(&peer);
  SendRaw(peer.socket, &good, sizeof(good), {});
  ExpectBroken(*queue_pair);
}

TEST_F(ShmHostileTest, WakeUpWithoutEndKeepsNobodyFromPolling) {
  RawPeer peer = RawPeer::ConnectTo(*listener_);
  auto queue_pair = Welcome(&peer);
  const WakePacket wake = {.kind = PacketKind::kWake, .reserved0 = 0};
  Completion none;
  for (int i = 0; i < 100; ++i) {
    while (peer.socket.SendStruct(wake, {}) == SendResult::kSent) {
    }
    queue_->Arm();
    EXPECT_EQ(queue_->Poll({&none, 1}), 0u);
  }
  EXPECT_EQ(queue_pair->state(), QueuePairState::kReady);
}

// The packet may belong to an entry that was taken before; its sender sends no second one for this Arm().
TEST_F(ShmHostileTest, WakeUpThatBringsNothingArmsAnew) {
  RawPeer peer = RawPeer::ConnectTo(*listener_);
  peer.SayHello();
  auto queue_pair = Take(AwaitRequest(listener_.get())->Accept(queue_.get(), ""));
  Packet hello = peer.AwaitPacket();
  const ScopedMapping page =
      Take(MapPeerMemory(hello.fds[1].get(), 4096, PeerAccess::kReadOnly, 0));
  const SharedWord& armed = reinterpret_cast<const WakePage*>(page.words())->armed;
  EXPECT_EQ(armed.Load(std::memory_order_acquire), 0u);
  queue_->Arm();
  const uint64_t first = armed.Load(std::memory_order_acquire);
  EXPECT_NE(first, 0u);
  const WakePacket wake = {.kind = PacketKind::kWake, .reserved0 = 0};
  ASSERT_EQ(peer.socket.SendStruct(wake, {}), SendResult::kSent);

  Completion none;
  EXPECT_EQ(queue_->Poll({&none, 1}), 0u);

  EXPECT_NE(armed.Load(std::memory_order_acquire), 0u);
  EXPECT_NE(armed.Load(std::memory_order_acquire), first);
  queue_->Disarm();
  EXPECT_EQ(armed.Load(std::memory_order_acquire), 0u);
}

TEST_F(ShmHostileTest, LyingReceiveRingBreaksTheConnectionOnly) {
  for (const bool lies_as_receiver : {true, false}) {
    RawPeer peer = RawPeer::ConnectTo(*listener_);
    peer.SayHello();
    auto queue_pair = Take(AwaitRequest(listener_.get())->Accept(queue_.get(), ""));
    Packet hello = peer.AwaitPacket();
    if (lies_as_receiver) {
      // The head of our own ring claims that more was taken than was ever sent.
      reinterpret_cast<ReceiveRing*>(peer.ring.mapping.words())
          ->head.Store(1000, std::memory_order_release);
      WorkRequest knock;
      knock.opcode = Opcode::kWriteWithImm;
      const std::vector<WorkRequest> batch(17, knock);
      ASSERT_TRUE(queue_pair->Post(batch).ok());
      for (int i = 0; i < 16; ++i)
        EXPECT_EQ(AwaitAsleep(queue_.get()).status, CompletionStatus::kOk);
      EXPECT_EQ(AwaitAsleep(queue_.get()).status, CompletionStatus::kFlushed);
    } else {
      const ScopedMapping ring =
          Take(MapPeerMemory(hello.fds[0].get(), 4096, PeerAccess::kReadWrite, 0));
      reinterpret_cast<ReceiveRing*>(ring.words())
          ->tail.Store(~uint64_t{5}, std::memory_order_release);
    }
    ExpectBroken(*queue_pair);
  }
}

TEST_F(ShmHostileTest, SilentPeersLoseTheirPlaceInTime) {
  RawPeer silent = RawPeer::ConnectTo(*listener_);
  ASSERT_TRUE(WaitReadable(listener_->fd()));
  EXPECT_EQ(listener_->Poll(), nullptr);
  EXPECT_FALSE(IsReadable(silent.socket.fd()));

  clock_.AdvanceNs(ShmListener::kHelloNsMax);

  ASSERT_TRUE(WaitReadable(listener_->fd()));  // Its timer.
  EXPECT_EQ(listener_->Poll(), nullptr);
  Packet packet;
  EXPECT_EQ(silent.socket.Receive(&packet), ReceiveResult::kGone);
}

TEST_F(ShmHostileTest, SilentPeersDoNotKeepOthersOut) {
  std::vector<RawPeer> silent;
  for (size_t i = 0; i < 3 * ShmListener::kWaitingMax; ++i) {
    silent.push_back(RawPeer::ConnectTo(*listener_));
    EXPECT_EQ(listener_->Poll(), nullptr);
  }
  RawPeer peer = RawPeer::ConnectTo(*listener_);
  EXPECT_EQ(Welcome(&peer)->state(), QueuePairState::kReady);
}

}  // namespace
}  // namespace acre::transport
