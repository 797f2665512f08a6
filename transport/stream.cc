#include "transport/stream.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cstring>
#include <utility>

#include "glog/logging.h"
#include "runtime/deadline.h"
#include "transport/socket.h"

namespace acre::transport {
namespace {

bool MustWait(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

}  // namespace

// Edge-triggered, both directions at once: a socket is watched once, and a task that finds it not
// ready waits for any change and tries again.
Stream::Stream(Scheduler* scheduler, ScopedFd fd)
    : scheduler_(scheduler), fd_(std::move(fd)), changed_(scheduler) {
  CHECK(fd_.is_open());
  watch_status_ = scheduler_->WatchFd(fd_.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                      [this](uint32_t) { changed_.NotifyAll(); });
}

Stream::~Stream() { Release(); }

ScopedFd Stream::Release() {
  if (fd_.is_open()) scheduler_->UnwatchFd(fd_.get());
  return std::move(fd_);
}

std::string Stream::LocalHost() const {
  return ParseHostPort(LocalAddress(fd_.get()).ToString()).value_or(HostPort()).host;
}

void Stream::Abort() {
  if (fd_.is_open()) shutdown(fd_.get(), SHUT_RDWR);  // Fails when it is not connected: as good.
  changed_.NotifyAll();
}

Task<void> Stream::WaitTillReady() { co_await changed_.Wait(); }

Task<absl::Status> Stream::FinishConnect(uint64_t deadline_ns) {
  if (!watch_status_.ok()) co_return watch_status_;
  for (;;) {
    int error = 0;
    socklen_t length_bytes = sizeof(error);
    PCHECK(getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length_bytes) == 0);
    if (error != 0) co_return absl::UnavailableError(strerror(error));
    sockaddr_storage peer;
    length_bytes = sizeof(peer);
    if (getpeername(fd_.get(), reinterpret_cast<sockaddr*>(&peer), &length_bytes) == 0) {
      co_return absl::OkStatus();
    }
    absl::Status waited = co_await WithDeadline(*scheduler_, deadline_ns, WaitTillReady());
    if (!waited.ok()) co_return waited;
  }
}

Task<absl::Status> Stream::Read(void* to, size_t bytes, uint64_t deadline_ns) {
  if (!watch_status_.ok()) co_return watch_status_;
  char* next = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = recv(fd_.get(), next, bytes, 0);
    if (got > 0) {
      next += got;
      bytes -= static_cast<size_t>(got);
    } else if (got == 0) {
      co_return absl::UnavailableError("the peer closed the connection");
    } else if (MustWait(errno)) {
      absl::Status waited = co_await WithDeadline(*scheduler_, deadline_ns, WaitTillReady());
      if (!waited.ok()) co_return waited;
    } else if (errno != EINTR) {
      co_return absl::UnavailableError(strerror(errno));
    }
  }
  co_return absl::OkStatus();
}

Task<void> Stream::FinishWriting(size_t bytes_max, uint64_t deadline_ns) {
  shutdown(fd_.get(), SHUT_WR);  // Fails when the peer has gone: so will the reading.
  char unread[4096];
  for (size_t bytes = 0; bytes < bytes_max; bytes += sizeof(unread)) {
    const absl::Status status = co_await Read(unread, sizeof(unread), deadline_ns);
    if (!status.ok()) co_return;
  }
}

Task<absl::Status> Stream::Write(std::string bytes, uint64_t deadline_ns) {
  if (!watch_status_.ok()) co_return watch_status_;
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t sent = send(fd_.get(), bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (sent >= 0) {
      done += static_cast<size_t>(sent);
    } else if (MustWait(errno)) {
      absl::Status waited = co_await WithDeadline(*scheduler_, deadline_ns, WaitTillReady());
      if (!waited.ok()) co_return waited;
    } else if (errno != EINTR) {
      co_return absl::UnavailableError(strerror(errno));
    }
  }
  co_return absl::OkStatus();
}

}  // namespace acre::transport
