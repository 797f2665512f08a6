// TCP addresses and sockets, as far as the handshake and the socket baseline need them.
//
// Threads: all functions may be called from any thread. Sockets are non-blocking and close-on-exec.

#ifndef ACRE_TRANSPORT_SOCKET_H_
#define ACRE_TRANSPORT_SOCKET_H_

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "runtime/scoped_fd.h"

namespace acre::transport {

// What a user writes: a name or a number, and a port. "[::1]:7400" for IPv6.
struct HostPort {
  std::string host;
  uint16_t port = 0;

  std::string ToString() const;
};

// InvalidArgument: says what is wrong and how it should look.
absl::StatusOr<HostPort> ParseHostPort(absl::string_view text);

// An address as the kernel takes it.
class SocketAddress {
 public:
  SocketAddress() = default;
  SocketAddress(const sockaddr* address, socklen_t length_bytes);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t length_bytes() const { return length_bytes_; }
  int family() const { return storage_.ss_family; }
  uint16_t port() const;
  bool is_loopback() const;
  std::string ToString() const;  // Numeric HOST:PORT.

 private:
  sockaddr_storage storage_{};
  socklen_t length_bytes_ = 0;
};

// The address of a host that is a number; nothing if it is a name. Never blocks.
absl::optional<SocketAddress> ParseAddress(const HostPort& host_port);

// At least one address, in the order in which to try them. Asks the resolver: a name may block for
// seconds, a number never; tasks use transport/resolver.h.
// Errors: Unavailable - no such host, or nobody knows just now.
absl::StatusOr<std::vector<SocketAddress>> Resolve(const HostPort& host_port);

// A socket bound to `address` that does not listen yet: clients are refused, nobody else gets the port
// once it listens. Errors: AlreadyExists - the port is in use. PermissionDenied. InvalidArgument - the
// address is none of this machine.
absl::StatusOr<ScopedFd> BindSocket(const SocketAddress& address);
// AlreadyExists: somebody else listens there by now.
absl::Status StartListening(int fd);
SocketAddress LocalAddress(int fd);
// Of a connected socket's other end; empty when that has gone.
SocketAddress PeerAddress(int fd);
// The next client, or none (get() < 0) with errno in *error: EAGAIN when nobody waits.
ScopedFd AcceptSocket(int listening_fd, int* error);
// Starts to connect; Stream::FinishConnect waits for it. Unavailable: refused at once.
absl::StatusOr<ScopedFd> StartConnect(const SocketAddress& address);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SOCKET_H_
