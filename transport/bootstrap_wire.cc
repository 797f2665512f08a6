#include "transport/bootstrap_wire.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/wire_bytes.h"

namespace acre::transport {
namespace {

std::string Message(BootstrapMessage message, absl::string_view body) {
  CHECK_LE(body.size(), kBootstrapBodyBytesMax);
  std::string bytes;
  bytes.reserve(sizeof(MessageHeader) + body.size());
  AppendWire(&bytes,
             MessageHeader{static_cast<uint32_t>(body.size()), static_cast<uint32_t>(message)});
  bytes.append(body.data(), body.size());
  return bytes;
}

template <size_t kBytes>
void SetText(char (&field)[kBytes], absl::string_view text) {
  CHECK_LT(text.size(), kBytes);
  std::fill(field, field + kBytes, '\0');
  std::copy(text.begin(), text.end(), field);
}

// The text of a NUL-padded field, or nullopt if it has no end or rubbish behind it.
template <size_t kBytes>
absl::optional<std::string> Text(const char (&field)[kBytes]) {
  const char* end = std::find(field, field + kBytes, '\0');
  if (end == field + kBytes) return absl::nullopt;
  if (std::any_of(end, field + kBytes, [](char c) { return c != '\0'; })) return absl::nullopt;
  return std::string(field, end);
}

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("handshake: ", what));
}

size_t BodyBytesMin(BootstrapMessage message) {
  switch (message) {
    case BootstrapMessage::kHello:
      return sizeof(uint32_t);  // The version, which is judged before the size.
    case BootstrapMessage::kWelcome:
      return sizeof(WelcomeWire);
    case BootstrapMessage::kRefusal:
      return sizeof(RefusalWire);
    case BootstrapMessage::kOffer:
      return sizeof(ChannelOffer);
    case BootstrapMessage::kSetup:
      return sizeof(SetupWire);
    case BootstrapMessage::kChallenge:
      return sizeof(ChallengeWire);
    case BootstrapMessage::kProof:
      return sizeof(ProofWire);
    case BootstrapMessage::kConfirm:
      return sizeof(ConfirmWire);
  }
  return 0;
}

}  // namespace

absl::Status CheckHeader(const MessageHeader& header, BootstrapMessage expected) {
  if (header.message != static_cast<uint32_t>(expected)) {
    return Invalid(absl::StrCat("message ", header.message, " where ",
                                static_cast<uint32_t>(expected), " was to come"));
  }
  if (header.body_bytes < BodyBytesMin(expected) || header.body_bytes > kBootstrapBodyBytesMax) {
    return Invalid(absl::StrCat("message ", header.message, " of ", header.body_bytes, " B"));
  }
  return absl::OkStatus();
}

std::string EncodeHello(const Hello& hello) {
  HelloWire wire{};
  wire.protocol_version = hello.protocol_version;
  wire.layout_version = hello.layout_version;
  wire.process_id = hello.process_id;
  if (hello.has_secret) wire.flags |= kHelloHasSecret;
  if (hello.is_control) wire.flags |= kHelloIsControl;
  wire.process_id_generation = hello.process_id_generation;
  wire.view = hello.view;
  SetText(wire.fabric, hello.fabric);
  std::string body;
  AppendWire(&body, wire);
  return Message(BootstrapMessage::kHello, body);
}

absl::StatusOr<Hello> ParseHello(absl::string_view body) {
  absl::string_view front = body;
  uint32_t version;
  if (!TakeWire(&front, &version)) return Invalid("Hello has a wrong size");
  if (version != kBootstrapVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the server speaks version ", kBootstrapVersion, " of the handshake, the client ", version,
        ": use client and server of one release"));
  }
  HelloWire wire;
  if (!TakeWire(&body, &wire) || !body.empty()) return Invalid("Hello has a wrong size");
  if ((wire.flags & ~(kHelloHasSecret | kHelloIsControl)) != 0) return Invalid("unknown flags");
  if ((wire.process_id == 0) != (wire.process_id_generation == 0)) {
    return Invalid("a process id goes with the generation of its giver");
  }
  auto fabric = Text(wire.fabric);
  if (!fabric.has_value()) return Invalid("the fabric's name is no text");
  return Hello{wire.protocol_version,
               wire.layout_version,
               wire.process_id,
               wire.process_id_generation,
               wire.view,
               *std::move(fabric),
               (wire.flags & kHelloHasSecret) != 0,
               (wire.flags & kHelloIsControl) != 0};
}

std::string EncodeChallenge(const SecretNonce& nonce) {
  std::string body;
  AppendWire(&body, ChallengeWire{nonce});
  return Message(BootstrapMessage::kChallenge, body);
}

absl::StatusOr<SecretNonce> ParseChallenge(absl::string_view body) {
  ChallengeWire wire;
  if (!TakeWire(&body, &wire) || !body.empty()) return Invalid("Challenge has a wrong size");
  return wire.nonce;
}

std::string EncodeProof(const ClientAnswer& answer) {
  std::string body;
  AppendWire(&body, ProofWire{answer.nonce, answer.proof});
  return Message(BootstrapMessage::kProof, body);
}

absl::StatusOr<ClientAnswer> ParseProof(absl::string_view body) {
  ProofWire wire;
  if (!TakeWire(&body, &wire) || !body.empty()) return Invalid("Proof has a wrong size");
  return ClientAnswer{wire.nonce, wire.proof};
}

std::string EncodeConfirm(const SecretProof& proof) {
  std::string body;
  AppendWire(&body, ConfirmWire{proof});
  return Message(BootstrapMessage::kConfirm, body);
}

absl::StatusOr<SecretProof> ParseConfirm(absl::string_view body) {
  ConfirmWire wire;
  if (!TakeWire(&body, &wire) || !body.empty()) return Invalid("Confirm has a wrong size");
  return wire.proof;
}

std::string EncodeWelcome(const Welcome& welcome) {
  CHECK_LE(welcome.fabrics.size(), kBootstrapFabricsMax);
  WelcomeWire wire{};
  wire.generation = welcome.generation;
  wire.lease_ns = welcome.lease_ns;
  wire.process_id = welcome.process_id;
  wire.view = welcome.place.view;
  wire.server_number = welcome.place.server_number;
  wire.servers_count = welcome.place.servers_count;
  wire.fabrics_count = static_cast<uint32_t>(welcome.fabrics.size());
  wire.token = welcome.token;
  std::string body;
  AppendWire(&body, wire);
  for (const FabricEndpoint& fabric : welcome.fabrics) {
    FabricWire entry{};
    SetText(entry.name, fabric.name);
    SetText(entry.endpoint, fabric.endpoint);
    AppendWire(&body, entry);
  }
  return Message(BootstrapMessage::kWelcome, body);
}

absl::StatusOr<Welcome> ParseWelcome(absl::string_view body) {
  WelcomeWire wire;
  if (!TakeWire(&body, &wire)) return Invalid("Welcome is too short");
  if (wire.generation == 0) return Invalid("generation is 0");
  if (wire.lease_ns == 0) return Invalid("lease is 0");
  if (wire.process_id == 0) return Invalid("process id is 0");
  if (wire.fabrics_count > kBootstrapFabricsMax) return Invalid("too many fabrics");
  const ServerPlace place{wire.view, wire.server_number, wire.servers_count};
  if (const auto why = WhyInvalid(place)) return Invalid(*why);
  Welcome welcome{wire.generation, wire.lease_ns, wire.process_id, place, wire.token, {}};
  for (uint32_t i = 0; i < wire.fabrics_count; ++i) {
    FabricWire entry;
    if (!TakeWire(&body, &entry)) return Invalid("Welcome has a wrong size");
    auto name = Text(entry.name);
    auto endpoint = Text(entry.endpoint);
    if (!name.has_value() || !endpoint.has_value()) return Invalid("a fabric is no text");
    welcome.fabrics.push_back({*std::move(name), *std::move(endpoint)});
  }
  if (!body.empty()) return Invalid("Welcome has a wrong size");
  return welcome;
}

std::string EncodeRefusal(const absl::Status& why) {
  CHECK(!why.ok());
  const absl::string_view text = why.message().substr(0, kRefusalMessageBytesMax);
  std::string body;
  AppendWire(&body,
             RefusalWire{static_cast<uint32_t>(why.code()), static_cast<uint32_t>(text.size())});
  body.append(text.data(), text.size());
  return Message(BootstrapMessage::kRefusal, body);
}

absl::Status ParseRefusal(absl::string_view body) {
  RefusalWire wire;
  if (!TakeWire(&body, &wire)) return Invalid("Refusal is too short");
  if (wire.code == 0 || wire.code > static_cast<uint32_t>(absl::StatusCode::kUnauthenticated)) {
    return Invalid("Refusal has an unknown code");
  }
  if (wire.message_bytes > kRefusalMessageBytesMax || wire.message_bytes != body.size()) {
    return Invalid("Refusal has a wrong size");
  }
  return absl::Status(static_cast<absl::StatusCode>(wire.code), body);
}

std::string EncodeOffer(const ChannelOffer& offer) {
  std::string body;
  AppendWire(&body, offer);
  return Message(BootstrapMessage::kOffer, body);
}

absl::StatusOr<ChannelOffer> ParseOffer(absl::string_view body) {
  ChannelOffer offer;  // Its fields are judged by Channel::Attach().
  if (!TakeWire(&body, &offer) || !body.empty()) return Invalid("Offer has a wrong size");
  return offer;
}

std::string EncodeSetup(const Setup& setup) {
  CHECK_LE(setup.regions.size(), kBootstrapRegionsMax);
  std::string body;
  AppendWire(&body,
             SetupWire{setup.offer, static_cast<uint32_t>(setup.regions.size()), setup.facts});
  for (const GrantedRegion& region : setup.regions) {
    AppendWire(&body, RegionWire{region.region_id, 0, region.key.bits, region.size_bytes});
  }
  return Message(BootstrapMessage::kSetup, body);
}

absl::StatusOr<Setup> ParseSetup(absl::string_view body) {
  SetupWire wire;
  if (!TakeWire(&body, &wire)) return Invalid("Setup is too short");
  if (wire.regions_count > kBootstrapRegionsMax) return Invalid("too many regions");
  if (body.size() != wire.regions_count * sizeof(RegionWire)) {
    return Invalid("Setup has a wrong size");
  }
  Setup setup{wire.offer, wire.facts, {}};
  setup.regions.reserve(wire.regions_count);
  for (uint32_t i = 0; i < wire.regions_count; ++i) {
    RegionWire region;
    if (!TakeWire(&body, &region)) return Invalid("Setup has a wrong size");
    if (region.region_id == 0 || region.key == 0 || region.reserved0 != 0) {
      return Invalid("a region makes no sense");
    }
    setup.regions.push_back({region.region_id, RemoteKey{region.key}, region.size_bytes});
  }
  return setup;
}

std::string EncodeToken(const BootstrapToken& token) {
  std::string bytes;
  AppendWire(&bytes, TokenWire{kTokenMagic, token});
  return bytes;
}

absl::StatusOr<BootstrapToken> ParseToken(absl::string_view private_data) {
  TokenWire wire;
  if (!TakeWire(&private_data, &wire) || !private_data.empty()) {
    return Invalid("token has a wrong size");
  }
  if (wire.magic != kTokenMagic) return Invalid("this is no token");
  return wire.token;
}

}  // namespace acre::transport
