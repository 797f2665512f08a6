// Whatever bytes come through the door of a server with a secret, nobody gets in who did not prove
// it, and nothing breaks.
//
// An input: one byte of flags; then bytes.
//   1 An honest prover: the bytes are a Hello's body, behind which the fuzzer puts a right proof;
//     then whatever is left.
//     Without: the bytes are all that is said.
//   2 kProvenPurpose instead of kBootstrapPurpose, with 1.

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "glog/logging.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/scoped_fd.h"
#include "transport/bootstrap_server.h"
#include "transport/bootstrap_wire.h"
#include "transport/refusal_log.h"
#include "transport/secret.h"
#include "transport/secret_proof.h"
#include "transport/socket.h"

namespace acre::transport {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr int kIdlePassesMax = 20;
constexpr uint8_t kHonest = 1;
constexpr uint8_t kProven = 2;

// What a server must never have twice, and has here each time: so that a proof can be known before.
void FillWithSevens(absl::Span<uint8_t> bytes) {
  for (uint8_t& byte : bytes) byte = 7;
}

class Door : public BootstrapServer::Delegate {
 public:
  absl::Status MayEnter(const Hello& /*hello*/) override { return absl::OkStatus(); }
  void OnPeer(ArrivingPeer) override { LOG(FATAL) << "there is no fabric to come on"; }
  void OnOtherPurpose(absl::string_view purpose, ScopedFd) override {
    CHECK_EQ(purpose.size(), kPurposeBytes);
    got_in = true;
  }
  std::string RefusalOf(absl::string_view purpose, const absl::Status& why) override {
    CHECK(!why.ok());
    return purpose == "ACREKVS1" ? "no" : "";
  }

  bool got_in = false;
};

std::string WhatToSay(uint8_t flags, absl::string_view bytes, const Secret& secret) {
  if ((flags & kHonest) == 0) return std::string(bytes);
  SecretTranscript transcript;
  transcript.purpose = std::string((flags & kProven) != 0 ? kProvenPurpose : kBootstrapPurpose);
  transcript.hello_body = std::string(bytes.substr(0, sizeof(HelloWire)));
  transcript.hello_body.resize(sizeof(HelloWire));
  FillWithSevens(absl::MakeSpan(transcript.server_nonce));
  FillWithSevens(absl::MakeSpan(transcript.client_nonce));
  std::string said = transcript.purpose + EncodeHello({});
  said.replace(said.size() - sizeof(HelloWire), sizeof(HelloWire), transcript.hello_body);
  said += EncodeProof({transcript.client_nonce, ClientProof(secret, transcript)});
  if (bytes.size() > sizeof(HelloWire)) {
    const absl::string_view rest = bytes.substr(sizeof(HelloWire));
    said.append(rest.data(), rest.size());
  }
  return said;
}

// Kept from input to input: each has its own connection.
struct World {
  World() {
    auto socket = BindSocket(*ParseAddress({"127.0.0.1", 0}));
    CHECK(socket.ok() && StartListening(socket->get()).ok());
    address = LocalAddress(socket->get());
    BootstrapServerOptions options;
    options.layout_version = 1;
    options.generation = 1;
    options.lease_ns = kSecondNs;
    options.secret = secret;
    options.refusals = &refusals;
    options.fill_random = FillWithSevens;
    server = std::make_unique<BootstrapServer>(&scheduler, std::move(options),
                                               std::vector<BootstrapServer::OfferedFabric>(),
                                               *std::move(socket), &door);
  }

  ManualClock clock;
  Scheduler scheduler{{.clock = &clock, .name = "fuzz"}};
  const std::shared_ptr<const Secret> secret = Secret::FromBytes("a fuzzer's secret").value();
  RefusalLog refusals{[](const std::string& line) { CHECK(!line.empty()); }};
  Door door;
  SocketAddress address;
  std::unique_ptr<BootstrapServer> server;
};

ScopedFd ConnectTo(const SocketAddress& address) {
  ScopedFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  PCHECK(connect(fd.get(), address.get(), address.length_bytes()) == 0);
  // Reset in the end, so that the ports of a million connections do not linger.
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  PCHECK(setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0);
  return fd;
}

void RunOne(World* world, uint8_t flags, absl::string_view bytes) {
  world->door.got_in = false;
  const ScopedFd fd = ConnectTo(world->address);
  const std::string said = WhatToSay(flags, bytes, *world->secret);
  (void)!send(fd.get(), said.data(), said.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  shutdown(fd.get(), SHUT_WR);
  std::string answer;
  bool ended = false;
  for (int idle = 0; !ended;) {
    idle = world->scheduler.RunOnce() ? 0 : idle + 1;
    // A server that waits for what will not come gives up in its time.
    if (idle > kIdlePassesMax) world->clock.AdvanceNs(kSecondNs);
    char room[4096];
    ssize_t got;
    while ((got = recv(fd.get(), room, sizeof(room), MSG_DONTWAIT)) > 0) {
      answer.append(room, static_cast<size_t>(got));
    }
    ended = got == 0 || (got < 0 && errno != EAGAIN);
  }
  while (world->server->half_open_count() != 0) world->scheduler.RunOnce();
  if ((flags & kHonest) == 0) {
    CHECK(!world->door.got_in) << "somebody got in without a proof";
    constexpr size_t kWelcome =
        sizeof(MessageHeader) + sizeof(ChallengeWire) + sizeof(MessageHeader) + sizeof(ConfirmWire);
    if (answer.size() >= kWelcome + sizeof(MessageHeader) + sizeof(WelcomeWire)) {
      CHECK(!ParseWelcome(answer.substr(kWelcome + sizeof(MessageHeader))).ok());
    }
  }
}

}  // namespace
}  // namespace acre::transport

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* const world = new acre::transport::World();
  if (size == 0) return 0;
  acre::transport::RunOne(world, data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
