#include "transport/tcp/tcp_stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::transport {
namespace {

// Of an address where nobody answers at all: attempts to connect, about 7 s.
constexpr int kSynAttempts = 3;
constexpr int kProbesMax = 127;  // The kernel's limit.

void SetOption(int fd, int level, int name, int value) {
  PCHECK(setsockopt(fd, level, name, &value, sizeof(value)) == 0);
}

StreamResult ResultOf(ssize_t moved) {
  if (moved > 0) return {.kind = StreamResult::Kind::kMoved, .bytes = static_cast<size_t>(moved)};
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return {};
  return {.kind = StreamResult::Kind::kBroken, .bytes = 0, .error = errno};
}

}  // namespace

StreamResult ReceiveFrom(int fd, void* to, size_t bytes_max) {
  const ssize_t received = recv(fd, to, bytes_max, MSG_DONTWAIT);
  if (received == 0) return {.kind = StreamResult::Kind::kEnd};
  return ResultOf(received);
}

StreamResult SendTo(int fd, const void* from, size_t bytes) {
  return ResultOf(send(fd, from, bytes, MSG_DONTWAIT | MSG_NOSIGNAL));
}

void PrepareStream(int fd, uint32_t unreachable_ms) {
  const int idle_s = std::max(1, static_cast<int>(unreachable_ms / 2000));
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, std::min(idle_s, kProbesMax));
  SetOption(fd, IPPROTO_TCP, TCP_SYNCNT, kSynAttempts);
  // Also counts for the probes above.
  SetOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(unreachable_ms));
}

absl::Status WhyEnded(const StreamResult& result) {
  if (result.kind == StreamResult::Kind::kEnd || result.error == ECONNRESET ||
      result.error == EPIPE) {
    return absl::UnavailableError("the peer closed the connection or died");
  }
  if (result.error == ETIMEDOUT) return absl::UnavailableError("the peer does not answer");
  return absl::UnavailableError(
      absl::StrCat("the connection to the peer broke: ", strerror(result.error)));
}

CompletionStatus FirstStatusAfter(const StreamResult& result) {
  return result.error == ETIMEDOUT || result.error == EHOSTUNREACH
             ? CompletionStatus::kRetryExceeded
             : CompletionStatus::kFlushed;
}

}  // namespace acre::transport
