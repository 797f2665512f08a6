// Addresses of a host's name, without standing still while somebody looks them up.

#ifndef ACRE_TRANSPORT_RESOLVER_H_
#define ACRE_TRANSPORT_RESOLVER_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/socket.h"

namespace acre::transport {

using ResolveFunction =
    std::function<absl::StatusOr<std::vector<SocketAddress>>(const HostPort& host_port)>;

// Resolve() for tasks. A number is answered at once. A name is asked for on a thread of its own, since
// the resolver may block for many seconds; who gives up leaves that thread to end by itself.
//
// Errors: those of Resolve(). DeadlineExceeded - nobody knew by deadline_ns (the scheduler's clock).
// `resolve`: for tests. Called on that thread, maybe till after the task and the scheduler have gone.
Task<absl::StatusOr<std::vector<SocketAddress>>> ResolveUntil(Scheduler* scheduler,
                                                              HostPort host_port,
                                                              uint64_t deadline_ns,
                                                              ResolveFunction resolve = Resolve);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_RESOLVER_H_
