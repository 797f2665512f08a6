// Programs that tests start, watch and kill, and kv_server among them.
//
// Threads: one at a time. Nothing here sleeps: it waits for output, for an end, or for a connection, each
// with a deadline that only a broken program meets.

#ifndef ACRE_TESTS_PROCESS_H_
#define ACRE_TESTS_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/scoped_fd.h"

namespace acre::tests {

// What is left of a program that has ended.
struct Outcome {
  int exit_code = -1;  // Of one that ended by itself, else -1.
  int signal = 0;      // That killed it, else 0.
  std::string stdout_text;
  std::string stderr_text;
};

class Process {
 public:
  // Errors: those of the kernel.
  static absl::StatusOr<std::unique_ptr<Process>> Start(std::vector<std::string> command);
  // Kills it, if it still runs.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  // Reads stdout till it holds `text`: gives the line that it stands in. DeadlineExceeded, or Unavailable
  // if the program ends before; the message has its stderr.
  absl::StatusOr<std::string> WaitForOutput(absl::string_view text, int timeout_ms = 60'000);
  void Signal(int number);
  // SIGSTOP, and all its threads stand still when it returns. SIGCONT lets it go on.
  void Freeze();
  // The same of one that others may kill. Whether it stands still; else it has ended.
  bool FreezeUnlessEnded();
  // Till it has ended by itself or by a signal. CHECKs that it does within a minute.
  Outcome Wait();
  // Whether it has. Its outcome is still to be had.
  bool HasEnded() const;
  // What it has said on stderr by now.
  std::string StderrSoFar() const;
  // CPU time that it has used, in milliseconds.
  int64_t CpuMs() const;
  // Open descriptors, as /proc lists them.
  int DescriptorsCount() const;

 private:
  Process() = default;
  bool ReadSome(int timeout_ms);

  pid_t pid_ = -1;
  int exit_status_ = 0;
  bool ended_ = false;
  ScopedFd stdout_;
  std::string stdout_text_;
  std::string stderr_path_;
};

// Waits for `timeout_us`, or till one of the processes has ended: which, or null. None of them may be one that
// was waited for.
Process* FirstToEnd(const std::vector<Process*>& processes, int64_t timeout_us);

// Starts kv_server, which must be among the test's data, and waits till it listens.
struct ServerFlags {
  std::string listen = "127.0.0.1:0";
  std::string memory = "64M";
  std::vector<std::string> more = {};
};
class KvServer {
 public:
  static absl::StatusOr<std::unique_ptr<KvServer>> Start(ServerFlags flags = {});

  const std::string& address() const { return address_; }
  Process& process() { return *process_; }
  // SIGTERM. Its outcome.
  Outcome Stop();
  // SIGKILL, and gone when it returns.
  void Kill();
  // Starts it anew on the same address, and waits till it listens.
  absl::Status StartAgain();
  // The two halves of that.
  absl::Status Launch();
  absl::Status WaitTillListening();
  // Replaces ServerFlags::more, from the next start on.
  void SetFlags(std::vector<std::string> more) { flags_.more = std::move(more); }

 private:
  explicit KvServer(ServerFlags flags) : flags_(std::move(flags)) {}

  ServerFlags flags_;
  std::string address_;
  std::unique_ptr<Process> process_;
};

// kv_server with the state folder of tests, and these flags: the outcome of one that fails to start.
Outcome RunKvServer(std::vector<std::string> flags);
std::string StateFolder();

}  // namespace acre::tests

#endif  // ACRE_TESTS_PROCESS_H_
