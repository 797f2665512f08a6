#include "bench/subprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "glog/logging.h"

extern char** environ;

namespace acre::bench {
namespace {

absl::Status Gone() { return absl::UnavailableError("the other process has gone"); }

pid_t Reap(pid_t pid, int* exit_status) {
  pid_t reaped = -1;
  do {
    reaped = waitpid(pid, exit_status, 0);
  } while (reaped < 0 && errno == EINTR);
  PCHECK(reaped == pid);
  return reaped;
}

}  // namespace

absl::Status SendBytes(int socket, const void* bytes, size_t count) {
  const char* at = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t sent = send(socket, at, count, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return Gone();
    at += sent;
    count -= static_cast<size_t>(sent);
  }
  return absl::OkStatus();
}

absl::Status ReceiveBytes(int socket, void* bytes, size_t count) {
  char* at = static_cast<char*>(bytes);
  while (count > 0) {
    const ssize_t got = recv(socket, at, count, MSG_WAITALL);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Gone();
    at += got;
    count -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

absl::Status SendMessage(int socket, absl::string_view message) {
  CHECK_LE(message.size(), kMessageBytesMax);
  const uint64_t bytes = message.size();
  const absl::Status status = SendBytes(socket, &bytes, sizeof(bytes));
  return status.ok() ? SendBytes(socket, message.data(), message.size()) : status;
}

absl::StatusOr<std::string> ReceiveMessage(int socket) {
  uint64_t bytes = 0;
  absl::Status status = ReceiveBytes(socket, &bytes, sizeof(bytes));
  if (!status.ok()) return status;
  if (bytes > kMessageBytesMax) return absl::DataLossError("the other process talks nonsense");
  std::string message(bytes, '\0');
  status = ReceiveBytes(socket, message.data(), message.size());
  if (!status.ok()) return status;
  return message;
}

bool CanReceive(int socket, int timeout_ms) {
  pollfd ready = {.fd = socket, .events = POLLIN, .revents = 0};
  return poll(&ready, 1, timeout_ms) > 0;
}

std::string ErrorAnswer(const absl::Status& status) {
  return absl::StrCat("error ", static_cast<int>(status.code()), " ", status.message());
}

absl::Status NonsenseError(absl::string_view message) {
  return absl::DataLossError(
      absl::StrCat("the other process said \"", message.substr(0, 100), "\", which is nonsense"));
}

absl::StatusOr<std::string> ParseAnswer(absl::string_view word, absl::string_view answer) {
  absl::string_view rest = answer;
  if (absl::ConsumePrefix(&rest, "error ")) {
    const std::vector<absl::string_view> parts = absl::StrSplit(rest, absl::MaxSplits(' ', 1));
    int code = 0;
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &code) || code <= 0) {
      return NonsenseError(answer);
    }
    return absl::Status(static_cast<absl::StatusCode>(code), parts[1]);
  }
  if (!absl::ConsumePrefix(&rest, word)) return NonsenseError(answer);
  return std::string(rest.empty() ? rest : rest.substr(1));
}

absl::StatusOr<std::unique_ptr<Subprocess>> Subprocess::Start(
    const std::vector<std::string>& arguments, int shared) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair");
  }
  ScopedFd ours(ends[0]);
  const ScopedFd theirs(ends[1]);
  // A copy whose number is not kChildSocket, which in the child is the socket before this one is copied.
  ScopedFd shared_copy;
  if (shared >= 0) {
    shared_copy = ScopedFd(fcntl(shared, F_DUPFD_CLOEXEC, kChildShared));
    if (!shared_copy.is_open()) return absl::ErrnoToStatus(errno, "F_DUPFD_CLOEXEC");
  }
  std::vector<std::string> words = {"/proc/self/exe"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  // The copies stay open across the exec, also where the two numbers are the same.
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), kChildSocket);
  if (shared_copy.is_open()) {
    posix_spawn_file_actions_adddup2(&actions, shared_copy.get(), kChildShared);
  }
  pid_t pid = 0;
  const int error = posix_spawn(&pid, pointers[0], &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return absl::ErrnoToStatus(error, "cannot start another process");
  return std::unique_ptr<Subprocess>(new Subprocess(pid, std::move(ours)));
}

Subprocess::~Subprocess() {
  if (pid_ == 0) return;
  kill(pid_, SIGKILL);
  int exit_status = 0;
  Reap(pid_, &exit_status);
}

absl::Status Subprocess::Finish() {
  socket_.Close();
  if (pid_ == 0) return absl::OkStatus();
  int exit_status = 0;
  const pid_t pid = Reap(std::exchange(pid_, 0), &exit_status);
  if (WIFSIGNALED(exit_status)) {
    return absl::UnavailableError(absl::StrCat("process ", pid, " was killed by signal ",
                                               WTERMSIG(exit_status), " (",
                                               strsignal(WTERMSIG(exit_status)), ")"));
  }
  if (WEXITSTATUS(exit_status) != 0) {
    return absl::UnavailableError(
        absl::StrCat("process ", pid, " ended with exit code ", WEXITSTATUS(exit_status)));
  }
  return absl::OkStatus();
}

}  // namespace acre::bench
