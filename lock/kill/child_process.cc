#include "lock/kill/child_process.h"

#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

extern char** environ;

namespace acre::lock_kill {

ChildProcess::ChildProcess(const std::string& program) {
  auto [mine, its] = Control::MakePair();
  control_ = std::move(mine);
  std::string name = program;
  char* arguments[] = {name.data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, its.get(), kControlFd);
  const int error = posix_spawn(&pid_, name.c_str(), &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  CHECK_EQ(error, 0) << program;
  pidfd_ = ScopedFd(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  PCHECK(pidfd_.is_open());
}

ChildProcess::~ChildProcess() {
  if (is_reaped_) return;
  Signal(SIGKILL);
  PCHECK(waitpid(pid_, &status_, 0) == pid_);
}

void ChildProcess::Signal(int number) const {
  PCHECK(syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0) == 0);
}

void ChildProcess::Freeze() const {
  Signal(SIGSTOP);
  siginfo_t stopped{};
  PCHECK(waitid(P_PID, static_cast<id_t>(pid_), &stopped, WSTOPPED) == 0);
  CHECK_EQ(stopped.si_code, CLD_STOPPED);
}

bool ChildProcess::HasStopped() const {
  siginfo_t stopped{};
  PCHECK(waitid(P_PID, static_cast<id_t>(pid_), &stopped, WSTOPPED | WNOHANG) == 0);
  return stopped.si_pid == pid_;
}

void ChildProcess::Reap() {
  PCHECK(waitpid(pid_, &status_, WNOHANG) == pid_);
  is_reaped_ = true;
}

std::string ChildProcess::EndText() const {
  if (WIFSIGNALED(status_)) return absl::StrCat("signal ", WTERMSIG(status_));
  return absl::StrCat("exit code ", WEXITSTATUS(status_));
}
bool ChildProcess::EndedWell() const { return WIFEXITED(status_) && WEXITSTATUS(status_) == 0; }
bool ChildProcess::WasKilled() const {
  return WIFSIGNALED(status_) && WTERMSIG(status_) == SIGKILL;
}

}  // namespace acre::lock_kill
