// The client's side of the challenge (docs/handshake.md, section "The secret").

#ifndef ACRE_TRANSPORT_BOOTSTRAP_PROOF_H_
#define ACRE_TRANSPORT_BOOTSTRAP_PROOF_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/scheduler.h"
#include "runtime/scoped_fd.h"
#include "runtime/task.h"
#include "transport/bootstrap_wire.h"
#include "transport/resolver.h"
#include "transport/secret_proof.h"
#include "transport/socket.h"
#include "transport/stream.h"

namespace acre::transport {

// What is left to do when the server has answered: look whether it was the right one.
struct ServersAnswer {
  SecretTranscript transcript;
  SecretProof proof{};
};

// Behind a Hello that says has_secret: takes the server's challenge, proves the secret, takes the
// server's answer. `stream` outlives the task; `hello_body` is what was sent.
// Errors: PermissionDenied - the server has another secret. FailedPrecondition - it has none, or is
//         of another release. Unavailable, DeadlineExceeded, DataLoss: as of ReadMessage().
Task<absl::StatusOr<ServersAnswer>> ProveSecret(Stream* stream, std::string purpose,
                                                std::string hello_body, Credentials credentials,
                                                uint64_t deadline_ns);
// `welcome_body`: of what came behind the answer, "" if nothing is to come. PermissionDenied: the
// server does not know the secret, or somebody changed what the two said.
absl::Status CheckServer(const Credentials& credentials, const ServersAnswer& answer,
                         absl::string_view welcome_body);

// Connects to a server and has both prove the secret, for a purpose other than the handshake: the
// purpose's 8 bytes are what the caller says next. `resolver`: null for one of its own. Pointers
// outlive the task.
// Errors: those of OpenStream(), ProveSecret() and CheckServer(). Messages do not name the server.
Task<absl::StatusOr<ScopedFd>> ConnectProven(Scheduler* scheduler, Resolver* resolver,
                                             HostPort server, Credentials credentials,
                                             uint64_t deadline_ns);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_BOOTSTRAP_PROOF_H_
