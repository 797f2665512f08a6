// For the provider's own tests: a peer that speaks the protocol by hand, as a hostile one would, and how to
// wait for things.

#ifndef ACRE_TRANSPORT_TCP_TCP_TEST_PEER_H_
#define ACRE_TRANSPORT_TCP_TCP_TEST_PEER_H_

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "glog/logging.h"
#include "runtime/scoped_fd.h"
#include "transport/fabric.h"
#include "transport/socket.h"
#include "transport/tcp/tcp_fabric.h"
#include "transport/tcp/tcp_wire.h"

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

// A stream by hand.
class RawStream {
 public:
  explicit RawStream(const Listener& listener)
      : fd_(Take(StartConnect(*ParseAddress(Take(ParseHostPort(listener.endpoint())))))) {
    pollfd event = {.fd = fd_.get(), .events = POLLOUT, .revents = 0};
    CHECK(poll(&event, 1, 20'000) == 1);
  }

  // False: the other side has closed.
  bool Send(absl::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EAGAIN) {
        pollfd event = {.fd = fd_.get(), .events = POLLOUT, .revents = 0};
        CHECK(poll(&event, 1, 20'000) == 1);
        continue;
      }
      if (sent < 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  template <class T>
  bool SendStruct(const T& wire) {
    return Send({reinterpret_cast<const char*>(&wire), sizeof(wire)});
  }
  // Exactly so many bytes; nothing if the other side closes before.
  absl::optional<std::string> Receive(size_t bytes) {
    std::string received;
    while (received.size() < bytes) {
      CHECK(WaitReadable(fd_.get())) << "nothing comes";
      char some[4096];
      const ssize_t count =
          recv(fd_.get(), some, std::min(sizeof(some), bytes - received.size()), 0);
      if (count <= 0) return absl::nullopt;
      received.append(some, static_cast<size_t>(count));
    }
    return received;
  }
  template <class T>
  absl::optional<T> ReceiveStruct() {
    const auto bytes = Receive(sizeof(T));
    if (!bytes.has_value()) return absl::nullopt;
    T wire;
    std::memcpy(&wire, bytes->data(), sizeof(T));  // private memory
    return wire;
  }
  // Whether the other side closes, whatever it may send before.
  bool IsClosed() {
    while (Receive(1).has_value()) {
    }
    return true;
  }
  int fd() const { return fd_.get(); }
  void ShutDown() { shutdown(fd_.get(), SHUT_WR); }

 private:
  ScopedFd fd_;
};

inline TcpHello GoodHello(TcpRole role, uint8_t token = 7) {
  TcpHello hello = {};
  hello.magic = kTcpMagic;
  hello.version = kTcpVersion;
  hello.role = role;
  hello.token.fill(token);
  return hello;
}

inline TcpRequestWire GoodRequest(TcpOpcode opcode, RemoteKey key, uint64_t offset_bytes,
                                  uint32_t length_bytes) {
  TcpRequestWire wire = {};
  wire.opcode = opcode;
  wire.length_bytes = length_bytes;
  wire.key = key.bits;
  wire.offset_bytes = offset_bytes;
  return wire;
}

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_TEST_PEER_H_
