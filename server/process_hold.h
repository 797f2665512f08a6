// ProcessHold: a hold on another process of this machine that the kernel guarantees: it names that process and no
// later one with the same number, it can kill it, and it becomes readable when it has ended.
//
// Threads: any, one at a time.

#ifndef ACRE_SERVER_PROCESS_HOLD_H_
#define ACRE_SERVER_PROCESS_HOLD_H_

#include "absl/status/statusor.h"
#include "runtime/scoped_fd.h"

namespace acre::server {

class ProcessHold {
 public:
  ProcessHold() = default;
  // `pid`: as the kernel names it to us, of a process that is alive for as long as this call takes.
  // PermissionDenied: we may not kill it, or the kernel has no name for it here (0). Unavailable: it has ended. Unimplemented: a kernel before Linux 5.3.
  static absl::StatusOr<ProcessHold> Open(int pid);

  bool is_open() const { return fd_.is_open(); }
  int pid() const { return pid_; }
  // Readable (epoll) once it has ended: none of its threads runs any more.
  int fd() const { return fd_.get(); }
  bool HasEnded() const;
  // SIGKILL. No effect if it has ended.
  void Kill() const;

 private:
  ProcessHold(ScopedFd fd, int pid) : fd_(std::move(fd)), pid_(pid) {}

  ScopedFd fd_;  // A pidfd.
  int pid_ = 0;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_PROCESS_HOLD_H_
