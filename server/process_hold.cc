#include "server/process_hold.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::server {
namespace {

int Signal(int fd, int number) {
  return syscall(SYS_pidfd_send_signal, fd, number, nullptr, 0) == 0 ? 0 : errno;
}

}  // namespace

absl::StatusOr<ProcessHold> ProcessHold::Open(int pid) {
  if (pid == 0) {
    return absl::PermissionDeniedError(
        "the server cannot kill the process: it is in another container");
  }
  ScopedFd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  // Signal 0 tells whether another one would arrive.
  const int error = fd.is_open() ? Signal(fd.get(), 0) : errno;
  switch (error) {
    case 0:
      return ProcessHold(std::move(fd), pid);
    case EPERM:
      return absl::PermissionDeniedError(
          absl::StrCat("the server may not kill process ", pid,
                       ": run both as the same user, or the server as root"));
    case ESRCH:
      return absl::UnavailableError(absl::StrCat("process ", pid, " has ended"));
    default:
      return absl::UnimplementedError(
          absl::StrCat("no hold on process ", pid, " (", strerror(error), ")"));
  }
}

bool ProcessHold::HasEnded() const {
  pollfd readable{fd_.get(), POLLIN, 0};
  return poll(&readable, 1, 0) == 1;
}

void ProcessHold::Kill() const {
  const int error = Signal(fd_.get(), SIGKILL);
  LOG_IF(ERROR, error != 0 && error != ESRCH)
      << "process " << pid_ << " cannot be killed: " << strerror(error);
}

}  // namespace acre::server
