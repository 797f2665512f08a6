// Whatever bytes come through the door, parsing them breaks nothing.

#include <cstddef>
#include <cstdint>

#include "glog/logging.h"
#include "transport/bootstrap_wire.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace transport = acre::transport;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  // What parses is written again as it was: nothing of it was misread.
  constexpr size_t kHeader = sizeof(transport::MessageHeader);
  if (const auto hello = transport::ParseHello(bytes); hello.ok()) {
    CHECK(transport::EncodeHello(*hello).substr(kHeader) == bytes);
  }
  if (const auto welcome = transport::ParseWelcome(bytes); welcome.ok()) {
    CHECK(transport::EncodeWelcome(*welcome).substr(kHeader) == bytes);
  }
  if (const auto setup = transport::ParseSetup(bytes); setup.ok()) {
    CHECK(transport::EncodeSetup(*setup).substr(kHeader) == bytes);
  }
  if (const auto nonce = transport::ParseChallenge(bytes); nonce.ok()) {
    CHECK(transport::EncodeChallenge(*nonce).substr(kHeader) == bytes);
  }
  if (const auto answer = transport::ParseProof(bytes); answer.ok()) {
    CHECK(transport::EncodeProof(*answer).substr(kHeader) == bytes);
  }
  if (const auto proof = transport::ParseConfirm(bytes); proof.ok()) {
    CHECK(transport::EncodeConfirm(*proof).substr(kHeader) == bytes);
  }
  CHECK(!transport::ParseRefusal(bytes).ok());
  (void)transport::ParseOffer(bytes);
  (void)transport::ParseToken(bytes);
  return 0;
}
