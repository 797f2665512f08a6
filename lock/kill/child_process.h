// A child process as its home sees it: started, killed, seen to end.
//
// Threads: one at a time.

#ifndef ACRE_LOCK_KILL_CHILD_PROCESS_H_
#define ACRE_LOCK_KILL_CHILD_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "lock/kill/messages.h"
#include "runtime/scoped_fd.h"

namespace acre::lock_kill {

class ChildProcess {
 public:
  // Starts `program`, which finds the other end of control() as kControlFd.
  explicit ChildProcess(const std::string& program);
  // Kills it, if it still runs, and waits for its end.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  const Control& control() const { return control_; }
  // Readable when it has ended: none of its threads runs any more, all that they stored is there.
  int end_fd() const { return pidfd_.get(); }
  void Signal(int number) const;
  // SIGSTOP, and all its threads stand still when it returns.
  void Freeze() const;
  // All its threads stand still, by its own hand.
  bool HasStopped() const;
  // Takes its end from the kernel. CHECKs that it has ended.
  void Reap();
  bool is_reaped() const { return is_reaped_; }
  // "signal 9", "exit code 0"
  std::string EndText() const;
  bool EndedWell() const;
  bool WasKilled() const;

 private:
  Control control_;
  pid_t pid_ = -1;
  ScopedFd pidfd_;
  bool is_reaped_ = false;
  int status_ = 0;
};

}  // namespace acre::lock_kill

#endif  // ACRE_LOCK_KILL_CHILD_PROCESS_H_
