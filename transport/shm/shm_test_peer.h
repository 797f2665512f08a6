// For the provider's own tests: a node, and a peer that speaks the protocol by hand, as a hostile
// one would.

#ifndef ACRE_TRANSPORT_SHM_SHM_TEST_PEER_H_
#define ACRE_TRANSPORT_SHM_SHM_TEST_PEER_H_

#include <poll.h>

#include <array>
#include <memory>
#include <string>
#include <utility>

#include "glog/logging.h"
#include "transport/fabric.h"
#include "transport/shm/shm_fabric.h"
#include "transport/shm/shm_handshake.h"
#include "transport/shm/shm_memory.h"
#include "transport/shm/shm_socket.h"

namespace acre::transport {

template <typename T>
T Take(absl::StatusOr<T> made) {
  CHECK(made.ok()) << made.status();
  return *std::move(made);
}

// Waits far longer than anything here takes.
inline bool WaitReadable(int fd) {
  pollfd event = {.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&event, 1, 20'000) == 1;
}
inline bool IsReadable(int fd) {
  pollfd event = {.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&event, 1, 0) == 1;
}

// The next completion, waited for as a sleeping thread does.
inline Completion AwaitAsleep(CompletionQueue* queue) {
  Completion completion;
  while (true) {
    queue->Arm();
    if (queue->Poll({&completion, 1}) == 1) break;
    CHECK(WaitReadable(queue->fd())) << "no completion came";
  }
  queue->Disarm();
  return completion;
}

inline std::unique_ptr<ConnectionRequest> AwaitRequest(Listener* listener) {
  while (true) {
    CHECK(WaitReadable(listener->fd())) << "nobody connected";
    if (auto request = listener->Poll()) return request;
  }
}

// One end of a connection by hand.
struct RawPeer {
  static RawPeer ConnectTo(const Listener& listener) {
    const std::string endpoint = listener.endpoint();
    RawPeer peer;
    peer.socket = Take(PacketSocket::Connect(endpoint.substr(kShmEndpointPrefix.size())));
    return peer;
  }

  // A hello that is as it should be.
  static HelloPacket GoodHello() {
    HelloPacket hello = {};
    hello.kind = PacketKind::kHello;
    hello.version = kShmVersion;
    hello.magic = kShmMagic;
    hello.atomicity = static_cast<uint32_t>(Atomicity::kGlobal);
    hello.receive_queue_depth = 16;
    return hello;
  }

  void SayHello() {
    const std::array<int, 2> fds = {ring.fd.get(), wake_page.fd.get()};
    CHECK(socket.SendStruct(GoodHello(), fds) == SendResult::kSent);
  }

  // The next packet, which must come.
  Packet AwaitPacket() {
    Packet packet;
    CHECK(WaitReadable(socket.fd()));
    CHECK(socket.Receive(&packet) == ReceiveResult::kPacket);
    return packet;
  }

  PacketSocket socket;
  SharedMemory ring = Take(MakeReceiveRing(16));
  SharedMemory wake_page = Take(
      MakeSharedMemory("test-wake-page", sizeof(WakePage), HugePages::kOff, PeerAccess::kReadOnly));
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_SHM_TEST_PEER_H_
