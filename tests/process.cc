#include "tests/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"

extern char** environ;

namespace acre::tests {
namespace {

constexpr int kEndTimeoutMs = 60'000;
constexpr char kKvServer[] = "server/kv_server";

std::string TempFolder() {
  const char* folder = std::getenv("TEST_TMPDIR");
  return folder == nullptr ? "/tmp" : folder;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Process>> Process::Start(std::vector<std::string> command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe2");
  std::unique_ptr<Process> process(new Process);
  process->stdout_ = ScopedFd(ends[0]);
  const ScopedFd write_end(ends[1]);
  process->stderr_path_ = absl::StrCat(TempFolder(), "/stderr.XXXXXX");
  const ScopedFd stderr_file(mkostemp(process->stderr_path_.data(), O_CLOEXEC));
  if (!stderr_file.is_open()) return absl::ErrnoToStatus(errno, process->stderr_path_);

  std::vector<char*> arguments;
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, stderr_file.get(), STDERR_FILENO);
  const int error =
      posix_spawn(&process->pid_, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return absl::ErrnoToStatus(error, command[0]);
  return process;
}

Process::~Process() {
  if (!ended_ && pid_ > 0) {
    Signal(SIGKILL);
    Wait();
  }
  if (!stderr_path_.empty()) unlink(stderr_path_.c_str());
}

bool Process::ReadSome(int timeout_ms) {
  pollfd ready{.fd = stdout_.get(), .events = POLLIN, .revents = 0};
  if (poll(&ready, 1, timeout_ms) <= 0) return false;
  char bytes[4096];
  const ssize_t got = read(stdout_.get(), bytes, sizeof(bytes));
  if (got <= 0) return false;
  stdout_text_.append(bytes, static_cast<size_t>(got));
  return true;
}

absl::StatusOr<std::string> Process::WaitForOutput(absl::string_view text, int timeout_ms) {
  for (;;) {
    for (absl::string_view line : absl::StrSplit(stdout_text_, '\n')) {
      if (absl::StrContains(line, text)) return std::string(line);
    }
    if (!ReadSome(timeout_ms)) break;
  }
  return absl::DeadlineExceededError(absl::StrCat(
      "no \"", text, "\" on stdout, but \"", stdout_text_, "\"; stderr: ", ReadFile(stderr_path_)));
}

void Process::Signal(int number) { PCHECK(kill(pid_, number) == 0); }

void Process::Freeze() { CHECK(FreezeUnlessEnded()) << "process " << pid_ << " has ended"; }

bool Process::FreezeUnlessEnded() {
  Signal(SIGSTOP);
  siginfo_t stopped{};
  // Its end stays to be waited for.
  PCHECK(waitid(P_PID, static_cast<id_t>(pid_), &stopped, WSTOPPED | WEXITED | WNOWAIT) == 0);
  return stopped.si_code == CLD_STOPPED;
}

Outcome Process::Wait() {
  if (!ended_) {
    const ScopedFd end(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
    PCHECK(end.is_open());
    pollfd ready{.fd = end.get(), .events = POLLIN, .revents = 0};
    CHECK_EQ(poll(&ready, 1, kEndTimeoutMs), 1) << "process " << pid_ << " does not end";
    PCHECK(waitpid(pid_, &exit_status_, 0) == pid_);
    ended_ = true;
    while (ReadSome(/*timeout_ms=*/0)) {
    }
  }
  Outcome outcome;
  if (WIFEXITED(exit_status_)) outcome.exit_code = WEXITSTATUS(exit_status_);
  if (WIFSIGNALED(exit_status_)) outcome.signal = WTERMSIG(exit_status_);
  outcome.stdout_text = stdout_text_;
  outcome.stderr_text = ReadFile(stderr_path_);
  return outcome;
}

bool Process::HasEnded() const {
  if (ended_) return true;
  siginfo_t end{};
  PCHECK(waitid(P_PID, static_cast<id_t>(pid_), &end, WEXITED | WNOHANG | WNOWAIT) == 0);
  return end.si_pid != 0;
}

Process* FirstToEnd(const std::vector<Process*>& processes, int64_t timeout_us) {
  std::vector<ScopedFd> ends;
  std::vector<pollfd> ready;
  for (const Process* process : processes) {
    ends.emplace_back(static_cast<int>(syscall(SYS_pidfd_open, process->pid(), 0)));
    PCHECK(ends.back().is_open());
    ready.push_back({.fd = ends.back().get(), .events = POLLIN, .revents = 0});
  }
  timespec timeout;
  timeout.tv_sec = timeout_us / 1'000'000;
  timeout.tv_nsec = timeout_us % 1'000'000 * 1'000;
  PCHECK(ppoll(ready.data(), ready.size(), &timeout, nullptr) >= 0);
  for (size_t i = 0; i < ready.size(); ++i) {
    if (ready[i].revents != 0) return processes[i];
  }
  return nullptr;
}

std::string Process::StderrSoFar() const { return ReadFile(stderr_path_); }

int64_t Process::CpuMs() const {
  const std::string stat = ReadFile(absl::StrCat("/proc/", pid_, "/stat"));
  // The second field is the program's name in parentheses; utime and stime are the 14th and 15th.
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(stat).substr(stat.rfind(')') + 2), ' ');
  int64_t user_ticks = 0;
  int64_t system_ticks = 0;
  CHECK(fields.size() > 12 && absl::SimpleAtoi(fields[11], &user_ticks) &&
        absl::SimpleAtoi(fields[12], &system_ticks));
  return (user_ticks + system_ticks) * 1000 / sysconf(_SC_CLK_TCK);
}

int Process::DescriptorsCount() const {
  const std::filesystem::directory_iterator entries(absl::StrCat("/proc/", pid_, "/fd"));
  return static_cast<int>(std::distance(begin(entries), end(entries)));
}

std::string StateFolder() { return TempFolder() + "/state"; }

absl::StatusOr<std::unique_ptr<KvServer>> KvServer::Start(ServerFlags flags) {
  std::unique_ptr<KvServer> server(new KvServer(std::move(flags)));
  if (absl::Status status = server->StartAgain(); !status.ok()) return status;
  server->flags_.listen = server->address_;
  return server;
}

absl::Status KvServer::StartAgain() {
  if (absl::Status status = Launch(); !status.ok()) return status;
  return WaitTillListening();
}

absl::Status KvServer::Launch() {
  std::vector<std::string> command = {kKvServer, "--listen=" + flags_.listen,
                                      "--memory=" + flags_.memory, "--huge_pages=off",
                                      "--state_dir=" + StateFolder()};
  command.insert(command.end(), flags_.more.begin(), flags_.more.end());
  auto process = Process::Start(std::move(command));
  if (!process.ok()) return process.status();
  process_ = *std::move(process);
  return absl::OkStatus();
}

absl::Status KvServer::WaitTillListening() {
  constexpr absl::string_view kMark = "listening on ";
  const absl::StatusOr<std::string> line = process_->WaitForOutput(kMark);
  if (!line.ok()) return line.status();
  absl::string_view rest = *line;
  rest.remove_prefix(rest.find(kMark) + kMark.size());
  address_ = std::string(rest.substr(0, rest.find(' ')));
  return absl::OkStatus();
}

Outcome KvServer::Stop() {
  process_->Signal(SIGTERM);
  return process_->Wait();
}

void KvServer::Kill() {
  process_->Signal(SIGKILL);
  process_->Wait();
}

Outcome RunKvServer(std::vector<std::string> flags) {
  std::vector<std::string> command = {kKvServer, "--state_dir=" + StateFolder()};
  command.insert(command.end(), flags.begin(), flags.end());
  auto process = Process::Start(std::move(command));
  CHECK(process.ok()) << process.status();
  return (*process)->Wait();
}

}  // namespace acre::tests
