// Addresses of a host's name, without standing still while somebody looks them up.

#ifndef ACRE_TRANSPORT_RESOLVER_H_
#define ACRE_TRANSPORT_RESOLVER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/socket.h"

namespace acre::transport {

using ResolveFunction =
    std::function<absl::StatusOr<std::vector<SocketAddress>>(const HostPort& host_port)>;

// Looks names up on threads of its own, since the system's resolver may block for many seconds. Tasks that
// ask for the same name share one such thread, also with one that gave up: while nobody answers, however
// many attempts come and go, there are no more threads than names.
//
// Threads:   the scheduler's.
// Ownership: borrows the scheduler, goes before it. Threads that still wait for an answer are left to end
//            by themselves and touch nothing of this. Tasks may outlive it, and then wait in vain.
// Limits:    kNamesMax names at a time.
class Resolver {
 public:
  static constexpr size_t kNamesMax = 16;

  // `resolve`: for tests. Called on those threads, maybe till after everything else has gone.
  explicit Resolver(Scheduler* scheduler, ResolveFunction resolve = Resolve);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // Resolve() for tasks. A number is answered at once.
  // Errors: those of Resolve(), also when there is no thread to be had, or kNamesMax names hang.
  //         DeadlineExceeded - nobody knew by deadline_ns (the scheduler's clock).
  Task<absl::StatusOr<std::vector<SocketAddress>>> ResolveUntil(HostPort host_port,
                                                                uint64_t deadline_ns);

 private:
  class Question;
  class Asking;

  absl::StatusOr<std::shared_ptr<Question>> Ask(HostPort host_port);

  Scheduler* const scheduler_;
  const ResolveFunction resolve_;
  std::vector<std::shared_ptr<Question>>
      under_way_;  // And some that have ended, till the next Ask().
};

// The same with a Resolver of its own, for who asks once.
Task<absl::StatusOr<std::vector<SocketAddress>>> ResolveUntil(Scheduler* scheduler,
                                                              HostPort host_port,
                                                              uint64_t deadline_ns,
                                                              ResolveFunction resolve = Resolve);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_RESOLVER_H_
