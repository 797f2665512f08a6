// Bytes of the handshake that a server's HOST:PORT takes. Specified in docs/wire.md, section
// "Handshake"; who says what and why is in docs/handshake.md.
//
// A connection opens with 8 bytes that tell its purpose. With kBootstrapPurpose and kProvenPurpose
// messages follow, each a MessageHeader and then as many bytes as it says. Little-endian, no
// padding, reserved fields zero and refused otherwise, a number never reused. The Parse functions
// judge bytes and nothing else: they take a message's body and return InvalidArgument with what is
// wrong.

#ifndef ACRE_TRANSPORT_BOOTSTRAP_WIRE_H_
#define ACRE_TRANSPORT_BOOTSTRAP_WIRE_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "transport/channel.h"
#include "transport/fabric.h"
#include "transport/server_place.h"

namespace acre::transport {

static_assert(std::endian::native == std::endian::little);

constexpr size_t kPurposeBytes = 8;
constexpr absl::string_view kBootstrapPurpose("ACREBOOT", kPurposeBytes);
// Who proves the secret for another purpose: Hello, Challenge, Proof, Confirm, and then that
// purpose's 8 bytes and all that belongs to it, as on a new connection.
constexpr absl::string_view kProvenPurpose("ACREPROV", kPurposeBytes);
constexpr uint32_t kBootstrapVersion = 2;

constexpr size_t kBootstrapRegionsMax = 1024;  // 2 TiB of the usual 2 GiB regions.
constexpr size_t kBootstrapFabricsMax = 8;
constexpr size_t kRefusalMessageBytesMax = 1024;
constexpr size_t kBootstrapBodyBytesMax = 32 * 1024;

enum class BootstrapMessage : uint32_t {
  kHello = 1,    // Client: who I am and what I speak.
  kWelcome = 2,  // Server: who I am, which fabrics there are, and a token to show on one of them.
  kRefusal = 3,  // Server: why not. Then it closes.
  kOffer = 4,    // Client, connected on the fabric: my channel.
  kSetup = 5,    // Server: my channel, and the regions that you may READ. Then it closes.
  // Between Hello and Welcome, where there is a secret (transport/secret_proof.h):
  kChallenge = 6,  // Server: prove that you know it, with this nonce.
  kProof = 7,      // Client: here, and prove it as well, with this nonce.
  kConfirm = 8,    // Server: here. Its Welcome follows at once, and is part of what it proves.
};

struct MessageHeader {
  uint32_t body_bytes;  // Behind this header. <= kBootstrapBodyBytesMax.
  uint32_t message;     // BootstrapMessage.
};
static_assert(sizeof(MessageHeader) == 8 && offsetof(MessageHeader, message) == 4);
static_assert(std::has_unique_object_representations_v<MessageHeader>, "hidden padding");

// InvalidArgument: not the message that was to come, or a size that it cannot have.
absl::Status CheckHeader(const MessageHeader& header, BootstrapMessage expected);

// One-time, unguessable: ties a connection on the fabric to the stream that it was given on.
using BootstrapToken = std::array<uint8_t, 16>;

constexpr size_t kFabricNameBytes = 16;
constexpr size_t kFabricEndpointBytes = 112;

// In every version the body of a Hello begins with the version, so that each side can name the
// other's.
struct HelloWire {
  uint32_t protocol_version;       // kBootstrapVersion.
  uint32_t layout_version;         // Of the memory that the client will read. The upper layer's.
  uint32_t process_id;             // 0: give me one.
  uint32_t flags;                  // Of the kHello constants below; others are refused.
  uint64_t process_id_generation;  // Generation of the server that gave process_id; 0 with 0.
  uint64_t view;                   // Of the cluster that the client knows; 0: any.
  char fabric[kFabricNameBytes];   // The wanted one, NUL-padded; all NUL: any.
};
static_assert(sizeof(HelloWire) == 48);
static_assert(offsetof(HelloWire, process_id) == 8);
static_assert(offsetof(HelloWire, process_id_generation) == 16);
static_assert(offsetof(HelloWire, view) == 24 && offsetof(HelloWire, fabric) == 32);
static_assert(std::has_unique_object_representations_v<HelloWire>, "hidden padding");
// I can prove the secret, and want you to prove it.
constexpr uint32_t kHelloHasSecret = 1;
// Not a client's usual connection, but one on which the server asks (ArrivingPeer::is_control).
constexpr uint32_t kHelloIsControl = 2;

using SecretNonce = std::array<uint8_t, 32>;  // Unguessable, used once.
using SecretProof = std::array<uint8_t, 32>;  // HMAC-SHA-256.

struct ChallengeWire {
  SecretNonce nonce;
};
static_assert(sizeof(ChallengeWire) == 32);

struct ProofWire {
  SecretNonce nonce;
  SecretProof proof;
};
static_assert(sizeof(ProofWire) == 64 && offsetof(ProofWire, proof) == 32);

struct ConfirmWire {
  SecretProof proof;
};
static_assert(sizeof(ConfirmWire) == 32);

// Followed by fabrics_count FabricWires, the server's favourite first.
struct WelcomeWire {
  uint64_t generation;  // Of the server's incarnation. Never 0.
  uint64_t lease_ns;    // Never 0.
  uint64_t view;        // Of the server's cluster; 0: it has none.
  uint32_t process_id;  // The client's from now on. Never 0.
  uint32_t fabrics_count;
  uint32_t server_number;  // Where the server stands in its cluster: ServerPlace.
  uint32_t servers_count;
  BootstrapToken token;
};
static_assert(sizeof(WelcomeWire) == 56);
static_assert(offsetof(WelcomeWire, process_id) == 24 && offsetof(WelcomeWire, token) == 40);
static_assert(std::has_unique_object_representations_v<WelcomeWire>, "hidden padding");

struct FabricWire {
  char name[kFabricNameBytes];          // NUL-padded.
  char endpoint[kFabricEndpointBytes];  // NUL-padded.
};
static_assert(sizeof(FabricWire) == 128);
static_assert(std::has_unique_object_representations_v<FabricWire>, "hidden padding");

// Followed by message_bytes of text for people.
struct RefusalWire {
  uint32_t code;  // absl::StatusCode, not OK.
  uint32_t message_bytes;
};
static_assert(sizeof(RefusalWire) == 8);
static_assert(std::has_unique_object_representations_v<RefusalWire>, "hidden padding");

// The client's kOffer is a ChannelOffer (transport/channel.h) alone.

// Followed by regions_count RegionWires, in the order of the upper layer's directory.
struct SetupWire {
  ChannelOffer offer;
  uint32_t regions_count;
  uint32_t facts;  // Of the upper layer: what this connection may do. 0: nothing particular.
};
static_assert(sizeof(SetupWire) == 72 && offsetof(SetupWire, regions_count) == 64);
static_assert(std::has_unique_object_representations_v<SetupWire>, "hidden padding");

struct RegionWire {
  uint32_t region_id;  // Never 0.
  uint32_t reserved0;
  uint64_t key;         // RemoteKey, READ only. Never 0.
  uint64_t size_bytes;  // With its header.
};
static_assert(sizeof(RegionWire) == 24 && offsetof(RegionWire, key) == 8);
static_assert(std::has_unique_object_representations_v<RegionWire>, "hidden padding");

static_assert(sizeof(WelcomeWire) + kBootstrapFabricsMax * sizeof(FabricWire) <=
              kBootstrapBodyBytesMax);
static_assert(sizeof(SetupWire) + kBootstrapRegionsMax * sizeof(RegionWire) <=
              kBootstrapBodyBytesMax);

// What a client shows as private data when it connects on the fabric.
struct TokenWire {
  uint64_t magic;  // kTokenMagic.
  BootstrapToken token;
};
constexpr uint64_t kTokenMagic = 0x314b4f5445524341;  // "ACRETOK1"
static_assert(sizeof(TokenWire) == 24 && sizeof(TokenWire) <= kPrivateDataBytesMax);
static_assert(std::has_unique_object_representations_v<TokenWire>, "hidden padding");

// --- What the messages mean, and how they become bytes. ---

struct Hello {
  uint32_t protocol_version = kBootstrapVersion;
  uint32_t layout_version = 0;
  uint32_t process_id = 0;
  uint64_t process_id_generation = 0;
  uint64_t view = 0;   // Of the cluster that the client knows; 0: any.
  std::string fabric;  // "" for any.
  bool has_secret = false;
  bool is_control = false;
};

struct ClientAnswer {
  SecretNonce nonce{};
  SecretProof proof{};
};

struct FabricEndpoint {
  std::string name;
  std::string endpoint;
};

struct Welcome {
  uint64_t generation = 0;
  uint64_t lease_ns = 0;
  uint32_t process_id = 0;
  ServerPlace place;
  BootstrapToken token{};
  std::vector<FabricEndpoint> fabrics;
};

struct GrantedRegion {
  uint32_t region_id = 0;
  RemoteKey key;
  uint64_t size_bytes = 0;
};

struct Setup {
  ChannelOffer offer;
  uint32_t facts = 0;
  std::vector<GrantedRegion> regions;
};

// Header and body, ready to be sent. CHECK what only our own bug can exceed.
std::string EncodeHello(const Hello& hello);
std::string EncodeChallenge(const SecretNonce& nonce);
std::string EncodeProof(const ClientAnswer& answer);
std::string EncodeConfirm(const SecretProof& proof);
std::string EncodeWelcome(const Welcome& welcome);
std::string EncodeRefusal(const absl::Status& why);  // Cuts a long message.
std::string EncodeOffer(const ChannelOffer& offer);
std::string EncodeSetup(const Setup& setup);
std::string EncodeToken(const BootstrapToken& token);

// FailedPrecondition: another version's; nothing of it but the version was read.
absl::StatusOr<Hello> ParseHello(absl::string_view body);
absl::StatusOr<SecretNonce> ParseChallenge(absl::string_view body);
absl::StatusOr<ClientAnswer> ParseProof(absl::string_view body);
absl::StatusOr<SecretProof> ParseConfirm(absl::string_view body);
absl::StatusOr<Welcome> ParseWelcome(absl::string_view body);
// The server's refusal as a status, or InvalidArgument if the bytes make no sense. Never OK.
absl::Status ParseRefusal(absl::string_view body);
absl::StatusOr<ChannelOffer> ParseOffer(absl::string_view body);
absl::StatusOr<Setup> ParseSetup(absl::string_view body);
absl::StatusOr<BootstrapToken> ParseToken(absl::string_view private_data);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_BOOTSTRAP_WIRE_H_
