#include "transport/secret_proof.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>

#include "glog/logging.h"
#include "transport/secret_bytes.h"
#include "transport/wire_bytes.h"

namespace acre::transport {
namespace {

// What is hashed: this, then Hello's body, then the Welcome's. Every length is fixed or told, so
// that no two transcripts give the same bytes; the label keeps one side's proof from passing for
// the other's.
struct TranscriptWire {
  char label[24];  // NUL-padded.
  char purpose[kPurposeBytes];
  uint32_t protocol_version;
  uint32_t hello_bytes;
  SecretNonce server_nonce;
  SecretNonce client_nonce;
};
static_assert(sizeof(TranscriptWire) == 104);
static_assert(std::has_unique_object_representations_v<TranscriptWire>, "hidden padding");

constexpr absl::string_view kClientLabel = "acre secret, client";
constexpr absl::string_view kServerLabel = "acre secret, server";

SecretProof Prove(const Secret& secret, absl::string_view label, const SecretTranscript& transcript,
                  absl::string_view welcome_body) {
  CHECK_EQ(transcript.purpose.size(), kPurposeBytes);
  TranscriptWire wire{};
  std::copy(label.begin(), label.end(), wire.label);
  std::copy(transcript.purpose.begin(), transcript.purpose.end(), wire.purpose);
  wire.protocol_version = kBootstrapVersion;
  wire.hello_bytes = static_cast<uint32_t>(transcript.hello_body.size());
  wire.server_nonce = transcript.server_nonce;
  wire.client_nonce = transcript.client_nonce;
  std::string bytes;
  AppendWire(&bytes, wire);
  bytes += transcript.hello_body;
  bytes.append(welcome_body.data(), welcome_body.size());

  SecretProof proof;
  unsigned int proof_bytes = 0;
  const absl::string_view key = secret.bytes();
  // Fails only without memory.
  CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), proof.data(),
             &proof_bytes) != nullptr);
  CHECK_EQ(proof_bytes, proof.size());
  return proof;
}

}  // namespace

SecretProof ClientProof(const Secret& secret, const SecretTranscript& transcript) {
  return Prove(secret, kClientLabel, transcript, {});
}

SecretProof ServerProof(const Secret& secret, const SecretTranscript& transcript,
                        absl::string_view welcome_body) {
  return Prove(secret, kServerLabel, transcript, welcome_body);
}

bool AreEqual(const SecretProof& a, const SecretProof& b) { return AreEqualSecrets(a, b); }

}  // namespace acre::transport
