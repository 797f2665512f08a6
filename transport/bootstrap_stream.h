// What the parts of a client's handshake share: a stream to the server, and messages from it.

#ifndef ACRE_TRANSPORT_BOOTSTRAP_STREAM_H_
#define ACRE_TRANSPORT_BOOTSTRAP_STREAM_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/bootstrap_wire.h"
#include "transport/resolver.h"
#include "transport/socket.h"
#include "transport/stream.h"

namespace acre::transport {

// Bytes came that make no sense, as `why` says: DataLoss that names the likely cause.
absl::Status NotAServer(const absl::Status& why);

// The body of the next message. The other side's refusal comes as an error.
// Errors: those of Stream::Read(); DataLoss - it is another message, or of a wrong size.
Task<absl::StatusOr<std::string>> ReadMessage(Stream* stream, BootstrapMessage expected,
                                              uint64_t deadline_ns);

// Connects to the first of the server's addresses that takes it. `resolver`: null for one of its
// own.
// Errors: Unavailable - nobody listens, or no such host. DeadlineExceeded.
Task<absl::StatusOr<std::unique_ptr<Stream>>> OpenStream(Scheduler* scheduler, Resolver* resolver,
                                                         HostPort server, uint64_t deadline_ns);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_BOOTSTRAP_STREAM_H_
