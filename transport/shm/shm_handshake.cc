#include "transport/shm/shm_handshake.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"

namespace acre::transport {
namespace {

size_t RoundUpToPages(size_t bytes) {
  const size_t page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page_bytes - 1) / page_bytes * page_bytes;
}

}  // namespace

absl::StatusOr<SharedMemory> MakeReceiveRing(uint32_t depth) {
  return MakeSharedMemory("acre-receive-ring", ReceiveRing::SizeBytes(depth), HugePages::kOff,
                          PeerAccess::kReadWrite);
}

absl::Status SendHello(const ShmContext& context, absl::string_view private_data,
                       int receive_ring_fd, int wake_page_fd, PacketSocket* socket) {
  if (private_data.size() > kPrivateDataBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("private data of ", private_data.size(),
                                                   " bytes; at most ", kPrivateDataBytesMax));
  }
  HelloPacket hello = {};
  hello.kind = PacketKind::kHello;
  hello.version = kShmVersion;
  hello.magic = kShmMagic;
  hello.atomic_domain = context.atomic_domain;
  hello.atomicity = static_cast<uint32_t>(context.device.atomicity);
  hello.receive_queue_depth = context.device.receive_queue_depth;
  hello.private_data_bytes = static_cast<uint32_t>(private_data.size());
  std::copy(private_data.begin(), private_data.end(), hello.private_data);
  const std::array<int, 2> fds = {receive_ring_fd, wake_page_fd};
  switch (socket->SendStruct(hello, fds)) {
    case SendResult::kSent:
      return absl::OkStatus();
    case SendResult::kFull:
      // The first packet of a socket finds room, unless the machine has none.
      return absl::UnavailableError("the kernel has no room for a hello: try again");
    case SendResult::kGone:
      break;
  }
  return absl::UnavailableError("the peer closed the connection while it was made");
}

absl::StatusOr<PeerSide> JudgeHello(const Packet& packet, const PacketSocket::Peer& identity) {
  HelloPacket hello;
  if (!packet.CopyTo(&hello))
    return absl::InvalidArgumentError("the peer's hello has a wrong length");
  if (const auto why = WhyInvalid(hello))
    return absl::InvalidArgumentError(absl::StrCat("the peer: ", *why));
  if (packet.fds_count != 2) {
    return absl::InvalidArgumentError("the peer's hello does not carry two descriptors");
  }
  PeerSide peer;
  peer.identity = identity;
  peer.atomicity = static_cast<Atomicity>(hello.atomicity);
  peer.atomic_domain = hello.atomic_domain;
  peer.receive_queue_depth = hello.receive_queue_depth;
  peer.private_data.assign(hello.private_data, hello.private_data_bytes);
  absl::StatusOr<ScopedMapping> ring = MapPeerMemory(
      packet.fds[0].get(), RoundUpToPages(ReceiveRing::SizeBytes(hello.receive_queue_depth)),
      PeerAccess::kReadWrite, identity.uid);
  if (!ring.ok()) return ring.status();
  peer.receive_ring = *std::move(ring);
  absl::StatusOr<ScopedMapping> page = MapPeerMemory(
      packet.fds[1].get(), RoundUpToPages(sizeof(WakePage)), PeerAccess::kReadOnly, identity.uid);
  if (!page.ok()) return page.status();
  peer.wake_page = *std::move(page);
  return peer;
}

}  // namespace acre::transport
