// Holds on processes that live, that end meanwhile, that are gone, and that are others'.

#include "server/process_hold.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace acre::server {
namespace {

using testing::HasSubstr;

// A child that stands still till it is killed or told to end; reaped by Reap(), killed at the latest with this.
class Child {
 public:
  Child() {
    int ends[2];
    PCHECK(pipe(ends) == 0);
    pid_ = fork();
    PCHECK(pid_ >= 0);
    if (pid_ == 0) {
      close(ends[1]);
      char byte;
      _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(ends[0]);
    end_ = ends[1];
  }
  ~Child() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    Reap();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int pid() const { return pid_; }
  void TellToEnd() { close(end_); }
  // Waits for its end, and makes its number free. Its status.
  int Reap() {
    int status = 0;
    PCHECK(waitpid(pid_, &status, 0) == pid_);
    pid_ = 0;
    return status;
  }

 private:
  int pid_ = 0;
  int end_ = -1;
};

void AwaitEnd(const ProcessHold& hold) {
  pollfd readable{hold.fd(), POLLIN, 0};
  PCHECK(poll(&readable, 1, /*timeout=*/-1) == 1);
}

TEST(ProcessHoldTest, KillsAndSeesTheEnd) {
  Child child;
  const auto hold = ProcessHold::Open(child.pid());
  ASSERT_TRUE(hold.ok()) << hold.status();
  EXPECT_TRUE(hold->is_open());
  EXPECT_EQ(hold->pid(), child.pid());
  EXPECT_FALSE(hold->HasEnded());
  hold->Kill();
  AwaitEnd(*hold);
  EXPECT_TRUE(hold->HasEnded());
  const int status = child.Reap();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

// Goal: one that ends by itself is seen to have ended before and after somebody reaps it, and killing it then is
// nothing, to whoever has its number.
TEST(ProcessHoldTest, OneThatEndsMeanwhile) {
  Child child;
  const auto hold = ProcessHold::Open(child.pid());
  ASSERT_TRUE(hold.ok()) << hold.status();
  child.TellToEnd();
  AwaitEnd(*hold);
  EXPECT_TRUE(hold->HasEnded());
  hold->Kill();
  const int status = child.Reap();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_TRUE(hold->HasEnded());
  hold->Kill();
}

TEST(ProcessHoldTest, OneThatIsGoneIsUnavailable) {
  Child child;
  const int pid = child.pid();
  child.TellToEnd();
  child.Reap();
  const auto hold = ProcessHold::Open(pid);
  EXPECT_TRUE(absl::IsUnavailable(hold.status())) << hold.status();
}

TEST(ProcessHoldTest, OneWithoutANumberHereIsRefusedInWords) {
  const auto hold = ProcessHold::Open(0);
  EXPECT_TRUE(absl::IsPermissionDenied(hold.status())) << hold.status();
  EXPECT_THAT(std::string(hold.status().message()), HasSubstr("another container"));
}

// Goal: a process of another user is refused, with what to do. A child without root's rights asks for its parent;
// where we are not root ourselves, we ask for the first process of the machine.
TEST(ProcessHoldTest, AnotherUsersIsRefusedInWords) {
  const auto is_refused = [](int pid) {
    const auto hold = ProcessHold::Open(pid);
    return absl::IsPermissionDenied(hold.status()) &&
           hold.status().message().find("run both as the same user") != std::string::npos;
  };
  if (geteuid() != 0) {
    EXPECT_TRUE(is_refused(1));
    return;
  }
  constexpr uid_t kNobody = 65534;
  const int parent = getpid();
  const int child = fork();
  PCHECK(child >= 0);
  if (child == 0) _exit(setuid(kNobody) == 0 && is_refused(parent) ? 0 : 1);
  int status = 0;
  PCHECK(waitpid(child, &status, 0) == child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(ProcessHoldTest, AnEmptyOneIsNotOpen) { EXPECT_FALSE(ProcessHold().is_open()); }

}  // namespace
}  // namespace acre::server
