#include "lock/kill/messages.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "glog/logging.h"

namespace acre::lock_kill {

void Message::SetText(absl::string_view text) {
  const size_t bytes = std::min(text.size(), kTextMax - 1);
  std::memcpy(text_bytes, text.data(), bytes);  // private memory
  text_bytes[bytes] = 0;
}

void Message::SetDead(absl::Span<const uint32_t> ids) {
  CHECK_LE(ids.size(), kDeadMax);
  std::copy(ids.begin(), ids.end(), dead);
  dead_count = static_cast<uint32_t>(ids.size());
}

std::pair<Control, ScopedFd> Control::MakePair() {
  int ends[2];
  PCHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  return {Control(ScopedFd(ends[0])), ScopedFd(ends[1])};
}

bool Control::Send(const Message& message) const {
  return send(fd_.get(), &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL) ==
         static_cast<ssize_t>(sizeof(message));
}

bool Control::Receive(Message* message) const {
  return recv(fd_.get(), message, sizeof(*message), MSG_DONTWAIT) ==
         static_cast<ssize_t>(sizeof(*message));
}

bool Control::Await(Message* message) const {
  return recv(fd_.get(), message, sizeof(*message), 0) == static_cast<ssize_t>(sizeof(*message));
}

}  // namespace acre::lock_kill
