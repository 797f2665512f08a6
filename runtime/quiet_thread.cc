#include "runtime/quiet_thread.h"

#include <signal.h>

#include <cstring>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre {
namespace {

void* Run(void* argument) {
  const std::unique_ptr<std::function<void()>> run(static_cast<std::function<void()>*>(argument));
  (*run)();
  return nullptr;
}

}  // namespace

absl::StatusOr<pthread_t> StartQuietThread(std::function<void()> run) {
  auto argument = std::make_unique<std::function<void()>>(std::move(run));
  // Blocked around the creation: a thread inherits the mask of the one that makes it.
  sigset_t all, before;
  sigfillset(&all);
  CHECK_EQ(pthread_sigmask(SIG_SETMASK, &all, &before), 0);
  pthread_t thread;
  const int error = pthread_create(&thread, nullptr, &Run, argument.get());
  CHECK_EQ(pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
  if (error != 0) {
    return absl::ResourceExhaustedError(absl::StrCat("no thread to be had: ", strerror(error)));
  }
  (void)argument.release();  // The thread's now.
  return thread;
}

}  // namespace acre
