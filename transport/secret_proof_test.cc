#include "transport/secret_proof.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace acre::transport {
namespace {

std::shared_ptr<const Secret> SecretOf(const std::string& bytes) {
  return Secret::FromBytes(bytes).value();
}

SecretTranscript SomeTranscript() {
  SecretTranscript transcript;
  transcript.purpose = std::string(kBootstrapPurpose);
  transcript.hello_body = "hello";
  transcript.server_nonce.fill(1);
  transcript.client_nonce.fill(2);
  return transcript;
}

std::string Hex(const SecretProof& proof) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(proof.data()), proof.size()));
}

// Goal: the bytes on the wire are those that docs/wire.md specifies. The figures were computed by
// another program, Python's hmac, from that page.
TEST(SecretProofTest, IsAsSpecified) {
  const auto secret = SecretOf("0123456789abcdef");
  EXPECT_EQ(Hex(ClientProof(*secret, SomeTranscript())),
            "b8c6bde5fff045bc60e00366d50562ba417be114e82b6a4ef4560259fe03740f");
  EXPECT_EQ(Hex(ServerProof(*secret, SomeTranscript(), "welcome")),
            "02cba1e1e3116ad8f681553b560e17ab30660f58e8334e5e08bd175cb4d4d444");
}

// Goal: nothing that was said can be changed, left out, or moved from one field to the next.
TEST(SecretProofTest, EveryPartOfTheTranscriptCounts) {
  const auto secret = SecretOf("0123456789abcdef");
  std::vector<SecretTranscript> others(5, SomeTranscript());
  others[0].purpose = std::string(kProvenPurpose);
  others[1].hello_body += 'x';
  others[2].hello_body[0] ^= 1;
  others[3].server_nonce[31] ^= 1;
  others[4].client_nonce[0] ^= 1;
  const SecretTranscript transcript = SomeTranscript();
  for (const SecretTranscript& other : others) {
    EXPECT_FALSE(AreEqual(ClientProof(*secret, transcript), ClientProof(*secret, other)));
    EXPECT_FALSE(AreEqual(ServerProof(*secret, transcript, "w"), ServerProof(*secret, other, "w")));
  }
  EXPECT_FALSE(
      AreEqual(ServerProof(*secret, transcript, "w"), ServerProof(*secret, transcript, "v")));
  SecretTranscript longer = transcript;
  longer.hello_body += "wel";
  EXPECT_FALSE(
      AreEqual(ServerProof(*secret, transcript, "welcome"), ServerProof(*secret, longer, "come")))
      << "what ends Hello and what begins the Welcome must not be exchangeable";
}

// Goal: reflection. What a server says is no proof of a client.
TEST(SecretProofTest, RolesDiffer) {
  const auto secret = SecretOf("0123456789abcdef");
  EXPECT_FALSE(
      AreEqual(ClientProof(*secret, SomeTranscript()), ServerProof(*secret, SomeTranscript(), "")));
}

TEST(SecretProofTest, SecretsDiffer) {
  EXPECT_FALSE(AreEqual(ClientProof(*SecretOf("0123456789abcdef"), SomeTranscript()),
                        ClientProof(*SecretOf("0123456789abcdeg"), SomeTranscript())));
  EXPECT_TRUE(AreEqual(ClientProof(*SecretOf("0123456789abcdef"), SomeTranscript()),
                       ClientProof(*SecretOf("0123456789abcdef"), SomeTranscript())));
}

TEST(SecretProofTest, ComparesAllBytes) {
  SecretProof a{};
  for (size_t i = 0; i < a.size(); ++i) {
    SecretProof b = a;
    b[i] ^= 0x80;
    EXPECT_FALSE(AreEqual(a, b)) << i;
  }
  EXPECT_TRUE(AreEqual(a, a));
}

}  // namespace
}  // namespace acre::transport
