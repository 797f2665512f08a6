// ChildProcess: a copy of this process that runs one function.
//
// Ownership:  a ChildProcess owns its process: killed, if it still runs, and reaped when the object goes.
// Threads:    confined to one, and the process that forks has no other: nobody could hold a lock that the copy would
//             then wait for.

#ifndef ACRE_CLIENT_VERIFY_CHILD_H_
#define ACRE_CLIENT_VERIFY_CHILD_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace acre::verify {

class ChildProcess {
 public:
  // The child runs `run` and ends with what that returns as its exit code, without destroying
  // anything else. It dies with its parent, and leaves the terminal's interrupts to it. Errors: the
  // kernel's.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Fork(const std::function<int()>& run);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  // It has ended, by itself or by a signal. Does not wait.
  bool HasEnded();
  // SIGKILL, and gone when it returns.
  void Kill();
  // Requires: HasEnded(). -1: by a signal.
  int exit_code() const;
  // "exit code 3", "signal 11". Requires: HasEnded().
  std::string HowItEnded() const;

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}
  void Reap(int options);

  const pid_t pid_;
  bool has_ended_ = false;
  int wait_status_ = 0;
};

}  // namespace acre::verify

#endif  // ACRE_CLIENT_VERIFY_CHILD_H_
