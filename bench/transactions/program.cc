#include "bench/transactions/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"
#include "runtime/scoped_fd.h"

namespace acre::bench {
namespace {

constexpr std::chrono::minutes kStartMax{2};
constexpr std::chrono::milliseconds kLook{10};
// How long a program may take to end before it is killed.
constexpr std::chrono::seconds kEndMax{10};

// True: it has ended, and is reaped.
bool HasEnded(pid_t pid) {
  int exit_status = 0;
  const pid_t reaped = waitpid(pid, &exit_status, WNOHANG);
  PCHECK(reaped >= 0 || errno == EINTR);
  return reaped == pid;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Program>> Program::Start(std::vector<std::string> command,
                                                        std::string log) {
  const ScopedFd output(open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!output.is_open()) return absl::ErrnoToStatus(errno, log);
  std::vector<char*> words;
  for (std::string& word : command) words.push_back(word.data());
  words.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return absl::ErrnoToStatus(errno, "fork");
  if (pid == 0) {
    // Only what may be called between fork and exec.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127);  // It died before that.
    dup2(output.get(), STDOUT_FILENO);
    dup2(output.get(), STDERR_FILENO);
    execvp(words[0], words.data());
    _exit(127);
  }
  return absl::WrapUnique(new Program(command[0], pid, std::move(log)));
}

Program::~Program() {
  if (pid_ == 0) return;
  kill(pid_, SIGTERM);
  const auto deadline = std::chrono::steady_clock::now() + kEndMax;
  while (!HasEnded(pid_)) {
    if (std::chrono::steady_clock::now() > deadline) kill(pid_, SIGKILL);
    std::this_thread::sleep_for(kLook);
  }
}

absl::StatusOr<std::string> Program::WaitForLine(absl::string_view text) {
  const auto deadline = std::chrono::steady_clock::now() + kStartMax;
  for (;;) {
    // Whether it lives is looked at first: what it said before it ended is read then.
    const absl::Status alive = CheckAlive();
    const std::string log = ReadLog();
    for (const absl::string_view line : absl::StrSplit(log, '\n')) {
      if (absl::StrContains(line, text)) return std::string(line);
    }
    if (!alive.ok()) return alive;
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat(name_, " does not start:\n", log));
    }
    std::this_thread::sleep_for(kLook);
  }
}

absl::Status Program::CheckAlive() {
  if (pid_ != 0 && HasEnded(pid_)) pid_ = 0;
  if (pid_ != 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(name_, " has ended:\n", ReadLog()));
}

std::string Program::ReadLog() const {
  std::ifstream file(log_);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::StatusOr<std::string> FindProgram(const std::string& path) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  for (const std::filesystem::path& root :
       {std::filesystem::path("."), self.parent_path().parent_path()}) {
    const std::string candidate = (root / path).string();
    if (access(candidate.c_str(), X_OK) == 0 && !std::filesystem::is_directory(candidate, error)) {
      return candidate;
    }
  }
  const std::vector<std::string> words = absl::StrSplit(path, '/');
  return absl::NotFoundError(absl::StrCat(words.back(),
                                          " is not built: bazel build --config=opt //",
                                          words.front(), ":", words.back()));
}

absl::StatusOr<std::unique_ptr<ScratchFolder>> ScratchFolder::Create() {
  const char* parent = std::getenv("TEST_TMPDIR");
  if (parent == nullptr) parent = std::getenv("TMPDIR");
  std::string path = absl::StrCat(parent == nullptr ? "/tmp" : parent, "/acre-bench.XXXXXX");
  if (mkdtemp(path.data()) == nullptr) return absl::ErrnoToStatus(errno, path);
  return absl::WrapUnique(new ScratchFolder(std::move(path)));
}

ScratchFolder::~ScratchFolder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  LOG_IF(WARNING, error.operator bool()) << path_ << " was not removed: " << error.message();
}

}  // namespace acre::bench
