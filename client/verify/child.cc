#include "client/verify/child.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::verify {

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Fork(const std::function<int()>& run) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) {
    return absl::UnavailableError(absl::StrCat("cannot fork: ", std::strerror(errno)));
  }
  if (pid > 0) return std::unique_ptr<ChildProcess>(new ChildProcess(pid));
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGINT, SIG_IGN);
  signal(SIGTERM, SIG_DFL);
  // The parent may have died before it could be heard of.
  _exit(getppid() == parent ? run() : 1);
}

ChildProcess::~ChildProcess() { Kill(); }

void ChildProcess::Reap(int options) {
  if (has_ended_) return;
  pid_t reaped;
  do {
    reaped = waitpid(pid_, &wait_status_, options);
  } while (reaped < 0 && errno == EINTR);
  PCHECK(reaped >= 0);
  has_ended_ = reaped == pid_;
}

bool ChildProcess::HasEnded() {
  Reap(WNOHANG);
  return has_ended_;
}

void ChildProcess::Kill() {
  if (HasEnded()) return;
  PCHECK(kill(pid_, SIGKILL) == 0);
  Reap(0);
}

int ChildProcess::exit_code() const {
  CHECK(has_ended_);
  return WIFEXITED(wait_status_) ? WEXITSTATUS(wait_status_) : -1;
}

std::string ChildProcess::HowItEnded() const {
  CHECK(has_ended_);
  if (WIFSIGNALED(wait_status_)) return absl::StrCat("signal ", WTERMSIG(wait_status_));
  return absl::StrCat("exit code ", exit_code());
}

}  // namespace acre::verify
