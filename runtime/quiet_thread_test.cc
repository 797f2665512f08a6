#include "runtime/quiet_thread.h"

#include <signal.h>

#include "gtest/gtest.h"

namespace acre {
namespace {

// Goal: signals never interrupt the program's work on a thread that it does not know of.
TEST(QuietThreadTest, AllSignalsAreBlockedThereAndNoneHere) {
  sigset_t there, before, after;
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, nullptr, &before), 0);
  const auto thread = StartQuietThread([&] { pthread_sigmask(SIG_SETMASK, nullptr, &there); });
  ASSERT_TRUE(thread.ok()) << thread.status();
  ASSERT_EQ(pthread_join(*thread, nullptr), 0);
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, nullptr, &after), 0);
  for (const int signal : {SIGTERM, SIGINT, SIGALRM, SIGUSR1, SIGCHLD, SIGPROF}) {
    EXPECT_EQ(sigismember(&there, signal), 1) << signal;
    EXPECT_EQ(sigismember(&after, signal), sigismember(&before, signal)) << signal;
  }
}

}  // namespace
}  // namespace acre
