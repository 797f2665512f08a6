#include "transport/shm/shm_socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::transport {
namespace {

struct AbstractAddress {
  sockaddr_un address = {};
  socklen_t length = 0;
};

// An abstract name begins with a zero byte, and has a length instead of an end.
absl::StatusOr<AbstractAddress> MakeAddress(absl::string_view abstract_name) {
  AbstractAddress made;
  if (abstract_name.empty() || abstract_name.size() + 1 > sizeof(made.address.sun_path)) {
    return absl::InvalidArgumentError("an shm endpoint's name is too long, or empty");
  }
  made.address.sun_family = AF_UNIX;
  std::copy(abstract_name.begin(), abstract_name.end(), made.address.sun_path + 1);
  made.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + abstract_name.size());
  return made;
}

absl::StatusOr<ScopedFd> MakeSocket() {
  ScopedFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return absl::ErrnoToStatus(errno, "cannot make a Unix socket");
  return fd;
}

// Takes the descriptors of a message, closing those beyond the limit. False: there were such, or
// some were lost on the way.
bool TakeFds(const msghdr& message, Packet* packet) {
  bool all_taken = (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) == 0;
  for (const cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(const_cast<msghdr*>(&message), const_cast<cmsghdr*>(part))) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int raw_fd;
      std::memcpy(&raw_fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));  // private memory
      ScopedFd fd(raw_fd);
      if (packet->fds_count == kPacketFdsMax) {
        all_taken = false;
      } else {
        packet->fds[packet->fds_count++] = std::move(fd);
      }
    }
  }
  return all_taken;
}

}  // namespace

absl::StatusOr<PacketSocket> PacketSocket::Connect(absl::string_view abstract_name) {
  absl::StatusOr<AbstractAddress> address = MakeAddress(abstract_name);
  if (!address.ok()) return address.status();
  absl::StatusOr<ScopedFd> fd = MakeSocket();
  if (!fd.ok()) return fd.status();
  if (connect(fd->get(), reinterpret_cast<sockaddr*>(&address->address), address->length) != 0) {
    if (errno == EAGAIN) {
      return absl::UnavailableError(
          absl::StrCat("the listener ", abstract_name, " has too many who wait: try again"));
    }
    return absl::UnavailableError(
        absl::StrCat("nobody listens at ", abstract_name, " on this machine, ", strerror(errno),
                     ": the server has gone, or is on another one, where shared memory does not "
                     "reach"));
  }
  return PacketSocket(*std::move(fd));
}

absl::StatusOr<ScopedFd> PacketSocket::Listen(absl::string_view abstract_name) {
  absl::StatusOr<AbstractAddress> address = MakeAddress(abstract_name);
  if (!address.ok()) return address.status();
  absl::StatusOr<ScopedFd> fd = MakeSocket();
  if (!fd.ok()) return fd.status();
  if (bind(fd->get(), reinterpret_cast<sockaddr*>(&address->address), address->length) != 0 ||
      listen(fd->get(), SOMAXCONN) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot listen at ", abstract_name));
  }
  return fd;
}

SendResult PacketSocket::Send(absl::Span<const char> bytes, absl::Span<const int> fds) {
  CHECK_LE(fds.size(), kPacketFdsMax);
  if (!is_open()) return SendResult::kGone;
  iovec vector = {const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kPacketFdsMax * sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(part), fds.data(), fds.size() * sizeof(int));  // private memory
  }
  ssize_t sent;
  do {
    sent = sendmsg(fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent == static_cast<ssize_t>(bytes.size())) return SendResult::kSent;
  // ETOOMANYREFS: too many descriptors are on their way between all processes of this user.
  if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS) {
    return SendResult::kFull;
  }
  return SendResult::kGone;
}

ReceiveResult PacketSocket::Receive(Packet* packet) {
  *packet = Packet();
  if (!is_open()) return ReceiveResult::kGone;
  iovec vector = {packet->bytes.data(), packet->bytes.size()};
  // Room for one more than allowed, so that a packet with too many is told from one whose
  // descriptors were lost because this process has too many open.
  alignas(cmsghdr) char control[CMSG_SPACE((kPacketFdsMax + 1) * sizeof(int))];
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t received;
  do {
    received = recvmsg(fd(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return errno == EAGAIN ? ReceiveResult::kNothing : ReceiveResult::kGone;
  const bool all_taken = TakeFds(message, packet);
  if (received == 0) return ReceiveResult::kGone;
  packet->bytes_count = static_cast<size_t>(received);
  return all_taken ? ReceiveResult::kPacket : ReceiveResult::kBad;
}

PacketSocket::Peer PacketSocket::peer() const {
  ucred credentials = {};
  socklen_t length = sizeof(credentials);
  if (getsockopt(fd(), SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return {};
  return {.pid = credentials.pid, .uid = credentials.uid};
}

}  // namespace acre::transport
