// Proofs that somebody knows the secret, without a word of it: HMAC-SHA-256 over all that the two
// sides have said. What protects against what is in docs/handshake.md, section "The secret".

#ifndef ACRE_TRANSPORT_SECRET_PROOF_H_
#define ACRE_TRANSPORT_SECRET_PROOF_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "transport/bootstrap_wire.h"
#include "transport/secret.h"

namespace acre::transport {

// What both sides have said, as each has seen it: they differ where somebody changed it on the way.
struct SecretTranscript {
  std::string purpose;     // The first kPurposeBytes of the connection.
  std::string hello_body;  // Of the client's Hello: versions, and what it asks for.
  SecretNonce server_nonce{};
  SecretNonce client_nonce{};
};

// The client's proof. Good for this connection only: the server's nonce is in it.
SecretProof ClientProof(const Secret& secret, const SecretTranscript& transcript);
// The server's. Covers what it says next, too: the body of its Welcome, or "" where there is none.
SecretProof ServerProof(const Secret& secret, const SecretTranscript& transcript,
                        absl::string_view welcome_body);

// Takes the same time wherever they differ: nobody can find a proof byte by byte.
[[nodiscard]] bool AreEqual(const SecretProof& a, const SecretProof& b);

// What a client proves itself with. No secret: it has none.
struct Credentials {
  std::shared_ptr<const Secret> secret;
  // Fills memory with bytes that nobody can guess. Required with a secret.
  std::function<void(absl::Span<uint8_t>)> fill_random;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SECRET_PROOF_H_
