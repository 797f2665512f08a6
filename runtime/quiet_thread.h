// Threads that libraries start for themselves, in programs that know nothing of them.

#ifndef ACRE_RUNTIME_QUIET_THREAD_H_
#define ACRE_RUNTIME_QUIET_THREAD_H_

#include <pthread.h>

#include <functional>

#include "absl/status/statusor.h"

namespace acre {

// Starts a thread that runs `run`, to be joined or detached. No signal is ever handled on it: all are
// blocked from its first instruction on, so they go to the threads that the program knows of.
// Not std::thread, which throws when there is none to be had. ResourceExhausted: there is none.
absl::StatusOr<pthread_t> StartQuietThread(std::function<void()> run);

}  // namespace acre

#endif  // ACRE_RUNTIME_QUIET_THREAD_H_
