#include "bench/plot.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "bench/subprocess.h"
#include "glog/logging.h"

extern char** environ;

namespace acre::bench {
namespace {

// The text of plot.py, as a raw string literal that the build makes.
constexpr char kScript[] =
#include "bench/plot_script.inc"
    ;

// Debian's, whose package the matplotlib of tools/setup is for; another one first in PATH lacks it.
constexpr char kPython[] = "/usr/bin/python3";

// Runs the script, which reads `input`.
absl::Status RunScript(std::string argument, const std::string& input) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair");
  }
  ScopedFd ours(ends[0]);
  ScopedFd theirs(ends[1]);
  std::string words[] = {kPython, "-c", kScript, std::move(argument)};
  char* pointers[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), STDIN_FILENO);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, pointers[0], &actions, nullptr, pointers, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "--plot needs ", kPython, ": ", strerror(error), "; apt-get install python3-matplotlib"));
  }
  theirs.Close();
  // One that ends without reading says why on stderr, and by its exit code.
  SendBytes(ours.get(), input.data(), input.size()).IgnoreError();
  ours.Close();
  int exit_status = 0;
  pid_t reaped = -1;
  do {
    reaped = waitpid(pid, &exit_status, 0);
  } while (reaped < 0 && errno == EINTR);
  PCHECK(reaped == pid);
  if (WIFEXITED(exit_status) && WEXITSTATUS(exit_status) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError("--plot: no picture was drawn");
}

}  // namespace

absl::Status CheckPlot() { return RunScript("--check", ""); }

absl::Status Plot(const nlohmann::json& rows, const std::string& file) {
  return RunScript(file, rows.dump());
}

}  // namespace acre::bench
