// Sleeper: how a Scheduler's thread waits for file descriptors, for other threads and for its next
// timer.
//
// A scheduler takes it from its Clock: whose time passes how, and how one waits for it, belong
// together. Real time's sleeper is epoll.

#ifndef ACRE_RUNTIME_SLEEPER_H_
#define ACRE_RUNTIME_SLEEPER_H_

#include <sys/epoll.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace acre {

// Threads: confined to the scheduler's thread, but Wake: any.
class Sleeper {
 public:
  virtual ~Sleeper() = default;

  // As epoll_ctl: from now on Wait reports `data` when `fd` has some of `epoll_events`. `data` is
  // not null. Errors: the kernel's, e.g. AlreadyExists for an fd watched twice.
  [[nodiscard]] virtual absl::Status Watch(int fd, uint32_t epoll_events, void* data) = 0;
  // Requires: watched.
  virtual void Modify(int fd, uint32_t epoll_events, void* data) = 0;
  // Requires: watched, and not closed yet.
  virtual void Unwatch(int fd) = 0;

  // Fills `events` and returns how many; waits up to `timeout_ns` for the first (0: not at all).
  // An event whose data.ptr is null is a Wake(): it is taken back. May return early with nothing.
  virtual size_t Wait(absl::Span<epoll_event> events, uint64_t timeout_ns) = 0;
  // Ends the Wait under way, or the next.
  virtual void Wake() = 0;
};

std::unique_ptr<Sleeper> NewEpollSleeper();

}  // namespace acre

#endif  // ACRE_RUNTIME_SLEEPER_H_
