#include "transport/bootstrap_wire.h"

#include <cstring>
#include <string>

#include "gtest/gtest.h"

namespace acre::transport {
namespace {

// The body of a message, its header judged.
std::string BodyOf(const std::string& message, BootstrapMessage expected) {
  MessageHeader header;
  EXPECT_GE(message.size(), sizeof(header));
  std::memcpy(&header, message.data(), sizeof(header));  // private memory
  EXPECT_EQ(CheckHeader(header, expected), absl::OkStatus());
  EXPECT_EQ(header.body_bytes, message.size() - sizeof(header));
  return message.substr(sizeof(header));
}

TEST(BootstrapWireTest, HelloComesBack) {
  Hello hello;
  hello.layout_version = 7;
  hello.process_id = 0x01000005;
  hello.process_id_generation = 99;
  hello.view = 0x1234567890;
  hello.fabric = "shm";
  const std::string body = BodyOf(EncodeHello(hello), BootstrapMessage::kHello);
  const auto parsed = ParseHello(body);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->protocol_version, kBootstrapVersion);
  EXPECT_EQ(parsed->layout_version, 7u);
  EXPECT_EQ(parsed->process_id, 0x01000005u);
  EXPECT_EQ(parsed->process_id_generation, 99u);
  EXPECT_EQ(parsed->view, 0x1234567890u);
  EXPECT_EQ(parsed->fabric, "shm");
  EXPECT_FALSE(parsed->has_secret);
  hello.has_secret = true;
  EXPECT_TRUE(ParseHello(BodyOf(EncodeHello(hello), BootstrapMessage::kHello))->has_secret);
  EXPECT_FALSE(ParseHello(BodyOf(EncodeHello(hello), BootstrapMessage::kHello))->is_control);
  hello.is_control = true;
  EXPECT_TRUE(ParseHello(BodyOf(EncodeHello(hello), BootstrapMessage::kHello))->is_control);
}

// Goal: client and server of two releases tell their user so, whatever else changed between them.
TEST(BootstrapWireTest, HelloOfAnotherVersionIsToldFromRubbish) {
  std::string body = BodyOf(EncodeHello({}), BootstrapMessage::kHello);
  body[0] = 3;
  for (const std::string& other : {body, body + "and more", body.substr(0, 4)}) {
    const absl::Status status = ParseHello(other).status();
    ASSERT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_NE(status.message().find("one release"), absl::string_view::npos) << status;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(ParseHello(body.substr(0, 3)).status()));
}

TEST(BootstrapWireTest, ProofsComeBack) {
  SecretNonce nonce;
  for (size_t i = 0; i < nonce.size(); ++i) nonce[i] = static_cast<uint8_t>(i + 1);
  SecretProof proof;
  for (size_t i = 0; i < proof.size(); ++i) proof[i] = static_cast<uint8_t>(200 - i);
  const std::string challenge = BodyOf(EncodeChallenge(nonce), BootstrapMessage::kChallenge);
  EXPECT_EQ(ParseChallenge(challenge).value(), nonce);
  const std::string answer = BodyOf(EncodeProof({nonce, proof}), BootstrapMessage::kProof);
  EXPECT_EQ(ParseProof(answer)->nonce, nonce);
  EXPECT_EQ(ParseProof(answer)->proof, proof);
  const std::string confirm = BodyOf(EncodeConfirm(proof), BootstrapMessage::kConfirm);
  EXPECT_EQ(ParseConfirm(confirm).value(), proof);
  for (const std::string& bad : {std::string(), challenge + "x", challenge.substr(1)}) {
    EXPECT_FALSE(ParseChallenge(bad).ok()) << bad.size();
    EXPECT_FALSE(ParseProof(bad).ok()) << bad.size();
    EXPECT_FALSE(ParseConfirm(bad).ok()) << bad.size();
  }
}

TEST(BootstrapWireTest, HelloThatMakesNoSenseIsRefused) {
  const std::string body = BodyOf(EncodeHello({}), BootstrapMessage::kHello);
  EXPECT_TRUE(ParseHello(body).ok());
  EXPECT_FALSE(ParseHello(body + "x").ok());
  EXPECT_FALSE(ParseHello(body.substr(1)).ok());
  std::string changed = body;
  changed[offsetof(HelloWire, flags)] = 4;
  EXPECT_FALSE(ParseHello(changed).ok()) << "a flag that there is not";
  changed = body;
  changed[offsetof(HelloWire, process_id)] = 1;
  EXPECT_FALSE(ParseHello(changed).ok()) << "a process id that nobody gave";
  changed = body;
  changed[offsetof(HelloWire, fabric) + 3] = 'x';
  EXPECT_FALSE(ParseHello(changed).ok()) << "rubbish behind the name";
  changed = body;
  std::fill_n(changed.begin() + offsetof(HelloWire, fabric), kFabricNameBytes, 'x');
  EXPECT_FALSE(ParseHello(changed).ok()) << "a name without an end";
}

TEST(BootstrapWireTest, WelcomeComesBack) {
  Welcome welcome;
  welcome.generation = 3;
  welcome.lease_ns = 500;
  welcome.process_id = 5;
  welcome.place = {77, 2, 3};
  welcome.token = {1, 2, 3};
  welcome.fabrics = {{"shm", "@acre/1"}, {"tcp", "10.0.0.1:7"}};
  const std::string body = BodyOf(EncodeWelcome(welcome), BootstrapMessage::kWelcome);
  const auto parsed = ParseWelcome(body);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->generation, 3u);
  EXPECT_EQ(parsed->token, welcome.token);
  EXPECT_EQ(parsed->place, welcome.place);
  ASSERT_EQ(parsed->fabrics.size(), 2u);
  EXPECT_EQ(parsed->fabrics[1].name, "tcp");
  EXPECT_EQ(parsed->fabrics[1].endpoint, "10.0.0.1:7");
  for (size_t bytes = 0; bytes < body.size(); ++bytes) {
    EXPECT_FALSE(ParseWelcome(body.substr(0, bytes)).ok()) << bytes;
  }
  std::string many = body;
  std::string nowhere = body;
  nowhere[offsetof(WelcomeWire, server_number)] = 4;
  EXPECT_FALSE(ParseWelcome(nowhere).ok()) << "server 4 of 3";
  many[offsetof(WelcomeWire, fabrics_count) + 3] = '\x7f';
  EXPECT_FALSE(ParseWelcome(many).ok());
}

TEST(BootstrapWireTest, SetupComesBack) {
  transport::Setup setup;
  setup.offer.region_key = 11;
  setup.offer.ring_bytes = 4096;
  setup.regions = {{1, RemoteKey{5}, 2048}, {2, RemoteKey{6}, 4096}};
  const std::string body = BodyOf(EncodeSetup(setup), BootstrapMessage::kSetup);
  const auto parsed = ParseSetup(body);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->offer.region_key, 11u);
  ASSERT_EQ(parsed->regions.size(), 2u);
  EXPECT_EQ(parsed->regions[1].region_id, 2u);
  EXPECT_EQ(parsed->regions[1].key, RemoteKey{6});
  EXPECT_EQ(parsed->regions[1].size_bytes, 4096u);
  for (size_t bytes = 0; bytes < body.size(); ++bytes) {
    EXPECT_FALSE(ParseSetup(body.substr(0, bytes)).ok()) << bytes;
  }
}

TEST(BootstrapWireTest, RefusalComesBackAsAStatus) {
  const absl::Status why = absl::FailedPreconditionError("other release");
  const std::string body = BodyOf(EncodeRefusal(why), BootstrapMessage::kRefusal);
  EXPECT_EQ(ParseRefusal(body), why);
  EXPECT_TRUE(absl::IsInvalidArgument(ParseRefusal(body + "x")));
  std::string ok = body;
  ok[0] = 0;
  EXPECT_TRUE(absl::IsInvalidArgument(ParseRefusal(ok))) << "a refusal is never OK";
  const absl::Status long_one = absl::InternalError(std::string(5000, 'x'));
  const std::string cut = BodyOf(EncodeRefusal(long_one), BootstrapMessage::kRefusal);
  EXPECT_EQ(ParseRefusal(cut).message().size(), kRefusalMessageBytesMax);
}

TEST(BootstrapWireTest, TokenComesBack) {
  const BootstrapToken token = {9, 8, 7, 6, 5, 4, 3, 2, 1};
  const std::string bytes = EncodeToken(token);
  EXPECT_EQ(ParseToken(bytes).value(), token);
  EXPECT_FALSE(ParseToken("").ok());
  EXPECT_FALSE(ParseToken(bytes + "x").ok());
  std::string other = bytes;
  other[0] ^= 1;
  EXPECT_FALSE(ParseToken(other).ok());
}

TEST(BootstrapWireTest, HeaderIsJudged) {
  EXPECT_FALSE(CheckHeader({sizeof(HelloWire), 2}, BootstrapMessage::kHello).ok());
  // A Hello of another version may have any size: its version is told first.
  EXPECT_FALSE(CheckHeader({3, 1}, BootstrapMessage::kHello).ok());
  EXPECT_TRUE(CheckHeader({4, 1}, BootstrapMessage::kHello).ok());
  EXPECT_FALSE(CheckHeader({sizeof(WelcomeWire) - 1, 2}, BootstrapMessage::kWelcome).ok());
  EXPECT_FALSE(CheckHeader({kBootstrapBodyBytesMax + 1, 5}, BootstrapMessage::kSetup).ok());
  EXPECT_TRUE(CheckHeader({kBootstrapBodyBytesMax, 5}, BootstrapMessage::kSetup).ok());
}

}  // namespace
}  // namespace acre::transport
