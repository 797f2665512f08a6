#include "transport/bootstrap_proof.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/bootstrap_stream.h"

namespace acre::transport {

Task<absl::StatusOr<ServersAnswer>> ProveSecret(Stream* stream, std::string purpose,
                                                std::string hello_body, Credentials credentials,
                                                uint64_t deadline_ns) {
  CHECK(credentials.secret != nullptr && credentials.fill_random);
  ServersAnswer answer;
  SecretTranscript& transcript = answer.transcript;
  transcript.purpose = std::move(purpose);
  transcript.hello_body = std::move(hello_body);
  absl::StatusOr<std::string> body =
      co_await ReadMessage(stream, BootstrapMessage::kChallenge, deadline_ns);
  if (absl::IsDataLoss(body.status())) {
    // Most of all a Welcome at once: that one would let in whoever comes.
    co_return absl::DataLossError(
        absl::StrCat("it did not ask for the secret (", body.status().message(), ")"));
  }
  if (!body.ok()) co_return body.status();
  const absl::StatusOr<SecretNonce> nonce = ParseChallenge(*body);
  if (!nonce.ok()) co_return NotAServer(nonce.status());
  transcript.server_nonce = *nonce;
  credentials.fill_random(absl::MakeSpan(transcript.client_nonce));

  ClientAnswer mine{transcript.client_nonce, ClientProof(*credentials.secret, transcript)};
  std::string bytes = EncodeProof(mine);
  absl::Status status = co_await stream->Write(std::move(bytes), deadline_ns);
  if (!status.ok()) co_return status;
  body = co_await ReadMessage(stream, BootstrapMessage::kConfirm, deadline_ns);
  if (!body.ok()) co_return body.status();
  const absl::StatusOr<SecretProof> proof = ParseConfirm(*body);
  if (!proof.ok()) co_return NotAServer(proof.status());
  answer.proof = *proof;
  co_return answer;
}

absl::Status CheckServer(const Credentials& credentials, const ServersAnswer& answer,
                         absl::string_view welcome_body) {
  const SecretProof expected = ServerProof(*credentials.secret, answer.transcript, welcome_body);
  if (AreEqual(answer.proof, expected)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      "the server could not prove that it knows the secret: it is not the one that it should be, "
      "or somebody is in between; see who listens there");
}

Task<absl::StatusOr<ScopedFd>> ConnectProven(Scheduler* scheduler, Resolver* resolver,
                                             HostPort server, Credentials credentials,
                                             uint64_t deadline_ns) {
  absl::StatusOr<std::unique_ptr<Stream>> stream =
      co_await OpenStream(scheduler, resolver, std::move(server), deadline_ns);
  if (!stream.ok()) co_return stream.status();
  Hello hello;
  hello.has_secret = true;
  std::string message = EncodeHello(hello);
  std::string hello_body = message.substr(sizeof(MessageHeader));
  std::string bytes = absl::StrCat(kProvenPurpose, message);
  absl::Status status = co_await (*stream)->Write(std::move(bytes), deadline_ns);
  if (!status.ok()) co_return status;
  std::string purpose(kProvenPurpose);
  absl::StatusOr<ServersAnswer> answer = co_await ProveSecret(
      stream->get(), std::move(purpose), std::move(hello_body), credentials, deadline_ns);
  if (!answer.ok()) co_return answer.status();
  status = CheckServer(credentials, *answer, /*welcome_body=*/absl::string_view());
  if (!status.ok()) co_return status;
  co_return (*stream)->Release();
}

}  // namespace acre::transport
