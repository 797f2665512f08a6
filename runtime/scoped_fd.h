// ScopedFd: an owner of what the kernel lends by number.

#ifndef ACRE_RUNTIME_SCOPED_FD_H_
#define ACRE_RUNTIME_SCOPED_FD_H_

#include <unistd.h>

#include <utility>

namespace acre {

// Closes its descriptor when it goes. -1: none.
class ScopedFd {
 public:
  ScopedFd() = default;
  explicit ScopedFd(int fd) : fd_(fd) {}
  ScopedFd(ScopedFd&& other) noexcept : fd_(other.Release()) {}
  ScopedFd& operator=(ScopedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~ScopedFd() { Close(); }

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  // Gives it away: the caller closes it.
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }
  void Close() {
    if (fd_ >= 0) close(Release());
  }

 private:
  int fd_ = -1;
};

}  // namespace acre

#endif  // ACRE_RUNTIME_SCOPED_FD_H_
