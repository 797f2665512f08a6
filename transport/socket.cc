#include "transport/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cstring>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "glog/logging.h"

namespace acre::transport {
namespace {

constexpr int kBacklog = 1024;

absl::StatusOr<ScopedFd> NewSocket(int family) {
  ScopedFd fd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return absl::ErrnoToStatus(errno, "cannot make a socket");
  return fd;
}

void SetOption(int fd, int level, int name) {
  const int on = 1;
  PCHECK(setsockopt(fd, level, name, &on, sizeof(on)) == 0);
}

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

AddressList LookUp(const HostPort& host_port, int flags, int* error) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | flags;
  addrinfo* found = nullptr;
  *error =
      getaddrinfo(host_port.host.c_str(), absl::StrCat(host_port.port).c_str(), &hints, &found);
  return AddressList(found, &freeaddrinfo);
}

absl::Status InUse(const SocketAddress& address) {
  return absl::AlreadyExistsError(
      absl::StrCat("another program listens on ", address.ToString(),
                   ": stop it, or choose another port (port 0 picks a free one)"));
}

}  // namespace

std::string HostPort::ToString() const {
  if (host.find(':') != std::string::npos) return absl::StrCat("[", host, "]:", port);
  return absl::StrCat(host, ":", port);
}

absl::StatusOr<HostPort> ParseHostPort(absl::string_view text) {
  const auto bad = [text](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no HOST:PORT: ", why,
                                                   "; for example 127.0.0.1:7400 or [::1]:7400"));
  };
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return bad("there is no colon");
  absl::string_view host = text.substr(0, colon);
  uint32_t port;
  if (!absl::SimpleAtoi(text.substr(colon + 1), &port) || port > 65535) {
    return bad("the port is no number from 0 to 65535");
  }
  const bool brackets = absl::ConsumePrefix(&host, "[");
  if (brackets != absl::ConsumeSuffix(&host, "]")) return bad("a bracket is missing");
  if (!brackets && host.find(':') != absl::string_view::npos) {
    return bad("an IPv6 address stands in brackets");
  }
  if (host.empty()) return bad("there is no host");
  return HostPort{std::string(host), static_cast<uint16_t>(port)};
}

SocketAddress::SocketAddress(const sockaddr* address, socklen_t length_bytes)
    : length_bytes_(length_bytes) {
  CHECK_LE(length_bytes, sizeof(storage_));
  std::memcpy(&storage_, address, length_bytes);  // private memory
}

uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
  if (family() == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port);
  }
  return 0;
}

bool SocketAddress::is_loopback() const {
  if (family() == AF_INET) {
    return (ntohl(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr.s_addr) >> 24) == 127;
  }
  if (family() == AF_INET6) {
    return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr);
  }
  return false;
}

std::string SocketAddress::ToString() const {
  char host[NI_MAXHOST];
  if (getnameinfo(get(), length_bytes_, host, sizeof(host), nullptr, 0, NI_NUMERICHOST) != 0) {
    return "(no address)";
  }
  return HostPort{host, port()}.ToString();
}

absl::optional<SocketAddress> ParseAddress(const HostPort& host_port) {
  int error;
  const AddressList found = LookUp(host_port, AI_NUMERICHOST, &error);
  if (error != 0) return absl::nullopt;
  return SocketAddress(found->ai_addr, found->ai_addrlen);
}

absl::StatusOr<std::vector<SocketAddress>> Resolve(const HostPort& host_port) {
  int error;
  const AddressList found = LookUp(host_port, /*flags=*/0, &error);
  if (error != 0) {
    return absl::UnavailableError(absl::StrCat("no address for host \"", host_port.host, "\" (",
                                               gai_strerror(error), "): check its name"));
  }
  std::vector<SocketAddress> addresses;
  for (const addrinfo* info = found.get(); info != nullptr; info = info->ai_next) {
    addresses.emplace_back(info->ai_addr, info->ai_addrlen);
  }
  return addresses;
}

absl::StatusOr<ScopedFd> BindSocket(const SocketAddress& address) {
  absl::StatusOr<ScopedFd> fd = NewSocket(address.family());
  if (!fd.ok()) return fd;
  // Connections of a server that has gone linger in TIME_WAIT: they are no reason to wait.
  SetOption(fd->get(), SOL_SOCKET, SO_REUSEADDR);
  if (bind(fd->get(), address.get(), address.length_bytes()) == 0) return fd;
  switch (errno) {
    case EADDRINUSE:
      return InUse(address);
    case EACCES:
      return absl::PermissionDeniedError(absl::StrCat(
          "this user may not listen on ", address.ToString(), ": choose a port of 1024 or above"));
    case EADDRNOTAVAIL:
      return absl::InvalidArgumentError(
          absl::StrCat(address.ToString(), " is no address of this machine"));
    default:
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot bind to ", address.ToString()));
  }
}

absl::Status StartListening(int fd) {
  if (listen(fd, kBacklog) == 0) return absl::OkStatus();
  if (errno == EADDRINUSE) return InUse(LocalAddress(fd));
  return absl::ErrnoToStatus(errno, "cannot listen");
}

SocketAddress LocalAddress(int fd) {
  sockaddr_storage storage{};
  socklen_t length_bytes = sizeof(storage);
  PCHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length_bytes) == 0);
  return SocketAddress(reinterpret_cast<const sockaddr*>(&storage), length_bytes);
}

SocketAddress PeerAddress(int fd) {
  sockaddr_storage storage{};
  socklen_t length_bytes = sizeof(storage);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length_bytes) != 0) return {};
  return SocketAddress(reinterpret_cast<const sockaddr*>(&storage), length_bytes);
}

ScopedFd AcceptSocket(int listening_fd, int* error) {
  ScopedFd fd(accept4(listening_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  *error = fd.is_open() ? 0 : errno;
  if (fd.is_open()) SetOption(fd.get(), IPPROTO_TCP, TCP_NODELAY);
  return fd;
}

absl::StatusOr<ScopedFd> StartConnect(const SocketAddress& address) {
  absl::StatusOr<ScopedFd> fd = NewSocket(address.family());
  if (!fd.ok()) return fd;
  SetOption(fd->get(), IPPROTO_TCP, TCP_NODELAY);
  if (connect(fd->get(), address.get(), address.length_bytes()) == 0 || errno == EINPROGRESS) {
    return fd;
  }
  return absl::UnavailableError(strerror(errno));
}

}  // namespace acre::transport
