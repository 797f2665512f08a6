// The handshake where there is a secret: who gets in, and who does not, whatever they say, repeat
// or change.

#include <sys/epoll.h>

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/handshake_test_util.h"
#include "transport/bootstrap_peer.h"
#include "transport/bootstrap_proof.h"
#include "transport/bootstrap_wire.h"
#include "transport/refusal_log.h"
#include "transport/secret.h"

namespace acre::tests {
namespace {

using transport::RefusalReason;
using transport::Secret;

constexpr size_t kHeaderBytes = sizeof(transport::MessageHeader);
constexpr size_t kChallengeBytes = kHeaderBytes + sizeof(transport::ChallengeWire);
constexpr size_t kProofBytes = kHeaderBytes + sizeof(transport::ProofWire);
constexpr size_t kConfirmBytes = kHeaderBytes + sizeof(transport::ConfirmWire);
constexpr size_t kWelcomeBytes =
    kHeaderBytes + sizeof(transport::WelcomeWire) + sizeof(transport::FabricWire);
constexpr size_t kHelloBytes = kHeaderBytes + sizeof(transport::HelloWire);

// Somebody in between: takes connections, passes on what each side says, remembers it, and may
// change it.
class Relay {
 public:
  // Gets the place of a byte in its direction, and the byte.
  using Change = std::function<char(size_t place, char byte)>;

  Relay(Scheduler* scheduler, transport::HostPort server) : scheduler_(scheduler) {
    server_ = transport::Resolve(server).value().front();
    socket_ = transport::BindSocket(transport::Resolve({"127.0.0.1", 0}).value().front()).value();
    CHECK(transport::StartListening(socket_.get()).ok());
    CHECK(scheduler_->WatchFd(socket_.get(), EPOLLIN, [this](uint32_t) { OnClient(); }).ok());
  }
  ~Relay() {
    scheduler_->UnwatchFd(socket_.get());
    for (Connection& connection : connections_) {
      connection.forth.Cancel();
      connection.back.Cancel();
    }
  }

  transport::HostPort address() const {
    return transport::ParseHostPort(transport::LocalAddress(socket_.get()).ToString()).value();
  }
  void ChangeClients(Change change) { change_clients_ = std::move(change); }
  void ChangeServers(Change change) { change_servers_ = std::move(change); }
  const std::string& from_client() const { return from_client_; }
  const std::string& from_server() const { return from_server_; }

 private:
  struct Connection {
    std::unique_ptr<transport::Stream> client;
    std::unique_ptr<transport::Stream> server;
    SpawnHandle forth;
    SpawnHandle back;
  };

  void OnClient() {
    int error;
    ScopedFd fd = transport::AcceptSocket(socket_.get(), &error);
    if (!fd.is_open()) return;
    Connection& connection = connections_.emplace_back();
    connection.client = std::make_unique<transport::Stream>(scheduler_, std::move(fd));
    connection.server =
        std::make_unique<transport::Stream>(scheduler_, transport::StartConnect(server_).value());
    connection.forth = scheduler_->Spawn(Run(&connection));
  }
  Task<void> Run(Connection* connection) {
    transport::Stream* const client = connection->client.get();
    transport::Stream* const server = connection->server.get();
    const absl::Status status = co_await server->FinishConnect(DeadlineNs());
    CHECK(status.ok()) << status;
    connection->back = scheduler_->Spawn(Pump(server, client, &from_server_, &change_servers_));
    co_await Pump(client, server, &from_client_, &change_clients_);
  }
  Task<void> Pump(transport::Stream* from, transport::Stream* to, std::string* seen,
                  const Change* change) {
    for (;;) {
      char byte;
      absl::Status status = co_await from->Read(&byte, 1, DeadlineNs());
      if (!status.ok()) break;
      if (*change) byte = (*change)(seen->size(), byte);
      *seen += byte;
      std::string bytes(1, byte);
      status = co_await to->Write(std::move(bytes), DeadlineNs());
      if (!status.ok()) break;
    }
    to->Abort();
  }
  uint64_t DeadlineNs() { return scheduler_->NowNs() + 20 * kSecondNs; }

  Scheduler* const scheduler_;
  transport::SocketAddress server_;
  ScopedFd socket_;
  std::string from_client_;
  std::string from_server_;
  Change change_clients_;
  Change change_servers_;
  std::list<Connection> connections_;
};

class HandshakeSecretTest : public HandshakeTest {
 protected:
  HandshakeSecretTest() : refusals_([this](const std::string& line) { lines_.push_back(line); }) {
    OpenWithSecret({});
  }
  ~HandshakeSecretTest() override { door_.reset(); }

  void OpenWithSecret(transport::BootstrapServerOptions options) {
    options.secret = secret_;
    options.refusals = &refusals_;
    Open(std::move(options));
  }

  transport::Credentials CredentialsOf(std::shared_ptr<const Secret> secret) {
    return {std::move(secret), [this](absl::Span<uint8_t> bytes) {
              for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_.Next());
            }};
  }
  transport::ConnectOptions OptionsWith(std::shared_ptr<const Secret> secret) {
    transport::ConnectOptions options = ClientOptions();
    options.credentials = CredentialsOf(std::move(secret));
    return options;
  }
  // A whole connection through `through`; both ends are taken down again.
  void ConnectAndServe(const transport::HostPort& through) {
    absl::StatusOr<transport::Link> served = absl::UnknownError("not yet");
    SpawnHandle serving = scheduler_.Spawn(Keep(AcceptNext(), &served));
    transport::ConnectOptions options = OptionsWith(secret_);
    options.server = through;
    const auto peer = scheduler_.RunUntilDone(transport::ConnectPeer(std::move(options)));
    ASSERT_TRUE(peer.ok()) << peer.status();
    while (!serving.done()) scheduler_.RunOnce();
    ASSERT_TRUE(served.ok()) << served.status();
  }
  // What an honest client said when nobody changed it, up to its proof.
  std::string RecordClient(std::string* from_server = nullptr) {
    Relay relay(&scheduler_, address_);
    ConnectAndServe(relay.address());
    if (from_server != nullptr) *from_server = relay.from_server();
    return relay.from_client().substr(0, transport::kPurposeBytes + kHelloBytes + kProofBytes);
  }
  // What the door answers to these bytes.
  std::string AnswerTo(const std::string& bytes) {
    auto stream = Say(bytes);
    return ReadToEnd(stream.get());
  }
  // The refusal behind a challenge.
  absl::Status RefusalIn(const std::string& answer) {
    if (answer.size() <= kChallengeBytes + kHeaderBytes) return absl::UnknownError("no refusal");
    return transport::ParseRefusal(answer.substr(kChallengeBytes + kHeaderBytes));
  }
  absl::Status ConnectStatus(transport::ConnectOptions options) {
    return scheduler_.RunUntilDone(transport::ConnectPeer(std::move(options))).status();
  }
  void ExpectNobodyGotIn() {
    while (door_->half_open_count() != 0) scheduler_.RunOnce();
    EXPECT_TRUE(arrivals_.empty());
    EXPECT_EQ(other_purpose_, "");
  }

  std::string RefusalOf(absl::string_view purpose, const absl::Status& why) override {
    return purpose == "ACREKVS1" ? absl::StrCat("refused: ", why.message()) : "";
  }

  const std::shared_ptr<const Secret> secret_ = Secret::FromBytes("the cluster's secret").value();
  const std::shared_ptr<const Secret> other_ = Secret::FromBytes("another one's secret").value();
  std::vector<std::string> lines_;
  transport::RefusalLog refusals_;
};

TEST_F(HandshakeSecretTest, WhoKnowsItGetsIn) {
  ConnectAndServe(address_);
  for (const auto reason :
       {RefusalReason::kVersion, RefusalReason::kNoSecret, RefusalReason::kSecret,
        RefusalReason::kNoneToProve, RefusalReason::kNonsense}) {
    EXPECT_EQ(refusals_.Count(reason), 0u);
  }
  EXPECT_TRUE(lines_.empty());
}

TEST_F(HandshakeSecretTest, TheSecretItselfIsNeverSent) {
  std::string from_server;
  const std::string from_client = RecordClient(&from_server);
  ASSERT_GT(from_client.size(), kProofBytes);
  EXPECT_FALSE(absl::StrContains(from_client, secret_->bytes()));
  EXPECT_FALSE(absl::StrContains(from_server, secret_->bytes()));
}

TEST_F(HandshakeSecretTest, AnotherSecretIsRefused) {
  const absl::Status status = ConnectStatus(OptionsWith(other_));
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "--secret_file")) << status;
  EXPECT_EQ(refusals_.Count(RefusalReason::kSecret), 1u);
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_TRUE(absl::StrContains(lines_[0], "127.0.0.1:")) << lines_[0];
  ExpectNobodyGotIn();
}

TEST_F(HandshakeSecretTest, NoSecretIsRefused) {
  may_enter_ = absl::InternalError("strangers must not even learn that there is no room");
  const absl::Status status = ConnectStatus(ClientOptions());
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "--secret_file")) << status;
  EXPECT_EQ(refusals_.Count(RefusalReason::kNoSecret), 1u);
  ExpectNobodyGotIn();
}

TEST_F(HandshakeSecretTest, AServerWithoutOneIsRefusedByAClientWithOne) {
  transport::BootstrapServerOptions options;
  options.refusals = &refusals_;
  Open(std::move(options));
  for (const bool proven : {false, true}) {
    absl::Status status;
    if (proven) {
      status = scheduler_
                   .RunUntilDone(transport::ConnectProven(&scheduler_, nullptr, address_,
                                                          CredentialsOf(secret_),
                                                          scheduler_.NowNs() + 20 * kSecondNs))
                   .status();
    } else {
      status = ConnectStatus(OptionsWith(secret_));
    }
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "the server has no secret")) << status;
  }
  EXPECT_EQ(refusals_.Count(RefusalReason::kNoneToProve), 2u);
  ExpectNobodyGotIn();
}

TEST_F(HandshakeSecretTest, OtherVersionsAreRefusedBeforeAnyProof) {
  transport::Hello hello{.layout_version = kLayout, .fabric = "shm", .has_secret = true};
  for (const uint32_t version :
       {transport::kBootstrapVersion - 1, transport::kBootstrapVersion + 1}) {
    hello.protocol_version = version;
    const std::string answer =
        AnswerTo(absl::StrCat(transport::kBootstrapPurpose, transport::EncodeHello(hello)));
    ASSERT_GT(answer.size(), kHeaderBytes);
    const absl::Status status = transport::ParseRefusal(answer.substr(kHeaderBytes));
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat("the client ", version)))
        << status;
  }
  EXPECT_EQ(refusals_.Count(RefusalReason::kVersion), 2u);
  EXPECT_EQ(lines_.size(), 1u) << "once a minute";
}

// Goal: the client of version 1, whose Hello had 40 bytes, is told so, though all of this one's differ.
TEST_F(HandshakeSecretTest, AShorterHelloOfAnotherVersionIsToldItsVersion) {
  std::string body(40, '\0');
  body[0] = 1;
  const transport::MessageHeader header{static_cast<uint32_t>(body.size()),
                                        static_cast<uint32_t>(transport::BootstrapMessage::kHello)};
  const std::string head(reinterpret_cast<const char*>(&header), sizeof(header));
  const std::string answer = AnswerTo(absl::StrCat(transport::kBootstrapPurpose, head, body));
  ASSERT_GT(answer.size(), kHeaderBytes);
  const absl::Status status = transport::ParseRefusal(answer.substr(kHeaderBytes));
  EXPECT_TRUE(absl::StrContains(status.message(), "the client 1")) << status;
  EXPECT_EQ(refusals_.Count(RefusalReason::kVersion), 1u);
  EXPECT_EQ(refusals_.Count(RefusalReason::kNonsense), 0u);
}

// Goal: who has listened to a client cannot play the same again.
TEST_F(HandshakeSecretTest, AReplayedHandshakeIsRefused) {
  const std::string recorded = RecordClient();
  for (int i = 0; i < 3; ++i) {
    const std::string answer = AnswerTo(recorded);
    EXPECT_TRUE(absl::IsPermissionDenied(RefusalIn(answer))) << RefusalIn(answer);
  }
  EXPECT_EQ(refusals_.Count(RefusalReason::kSecret), 3u);
  ExpectNobodyGotIn();
}

// Goal: nobody gets in by giving a server its own words back.
TEST_F(HandshakeSecretTest, TheServersOwnProofIsNoProof) {
  std::string from_server;
  const std::string from_client = RecordClient(&from_server);
  const auto confirm =
      transport::ParseConfirm(from_server.substr(kChallengeBytes + kHeaderBytes, 32));
  ASSERT_TRUE(confirm.ok()) << confirm.status();
  const auto answer = transport::ParseProof(from_client.substr(from_client.size() - 64));
  ASSERT_TRUE(answer.ok()) << answer.status();
  const std::string hello = from_client.substr(0, transport::kPurposeBytes + kHelloBytes);
  const std::string reflected = transport::EncodeProof({answer->nonce, *confirm});
  EXPECT_TRUE(absl::IsPermissionDenied(RefusalIn(AnswerTo(hello + reflected))));
  // The same with the nonce that the server gives this time, and what it says in that place.
  auto stream = Say(hello);
  const std::string challenge = ReadToEnd(stream.get(), kChallengeBytes);
  const auto nonce = transport::ParseChallenge(challenge.substr(kHeaderBytes));
  ASSERT_TRUE(nonce.ok()) << nonce.status();
  const std::string echo = transport::EncodeProof({*nonce, *nonce});
  ASSERT_TRUE(scheduler_.RunUntilDone(stream->Write(echo, scheduler_.NowNs() + kSecondNs)).ok());
  const std::string refusal = ReadToEnd(stream.get());
  EXPECT_TRUE(absl::IsPermissionDenied(transport::ParseRefusal(refusal.substr(kHeaderBytes))));
  EXPECT_EQ(refusals_.Count(RefusalReason::kSecret), 2u);
  ExpectNobodyGotIn();
}

// Goal: what the two say is theirs: each byte of it that somebody in between changes ends the
// handshake, the token and the fabric's address included.
TEST_F(HandshakeSecretTest, NobodyInBetweenCanChangeAByte) {
  const auto status_with = [this](Relay::Change clients, Relay::Change servers) {
    Relay relay(&scheduler_, address_);
    relay.ChangeClients(std::move(clients));
    relay.ChangeServers(std::move(servers));
    transport::ConnectOptions options = OptionsWith(secret_);
    options.server = relay.address();
    const absl::Status status = ConnectStatus(std::move(options));
    EXPECT_TRUE(arrivals_.empty());
    return status;
  };
  const auto flip_at = [](size_t wanted) {
    return [wanted](size_t place, char byte) {
      return place == wanted ? static_cast<char>(byte ^ 1) : byte;
    };
  };
  // Past the headers: those that lie about sizes would make the other side wait for more.
  for (size_t place = 0; place < transport::kPurposeBytes + kHelloBytes + kProofBytes; ++place) {
    const size_t hello = transport::kPurposeBytes, proof = hello + kHelloBytes;
    if (place >= hello && place < hello + kHeaderBytes) continue;
    if (place >= proof && place < proof + kHeaderBytes) continue;
    EXPECT_FALSE(status_with(flip_at(place), nullptr).ok()) << "of the client: " << place;
  }
  for (size_t place = 0; place < kChallengeBytes + kConfirmBytes + kWelcomeBytes; ++place) {
    const size_t welcome = kChallengeBytes + kConfirmBytes;
    if (place < kHeaderBytes) continue;
    if (place >= kChallengeBytes && place < kChallengeBytes + kHeaderBytes) continue;
    if (place >= welcome && place < welcome + kHeaderBytes) continue;
    const absl::Status status = status_with(nullptr, flip_at(place));
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << "of the server: " << place << ": " << status;
  }
}

// Goal: a proof for one purpose opens no other.
TEST_F(HandshakeSecretTest, PurposesCannotBeExchanged) {
  Relay relay(&scheduler_, address_);
  relay.ChangeClients([](size_t place, char byte) {
    return place < transport::kPurposeBytes ? transport::kBootstrapPurpose[place] : byte;
  });
  const auto fd = scheduler_.RunUntilDone(
      transport::ConnectProven(&scheduler_, nullptr, relay.address(), CredentialsOf(secret_),
                               scheduler_.NowNs() + 20 * kSecondNs));
  EXPECT_TRUE(absl::IsPermissionDenied(fd.status())) << fd.status();
  EXPECT_EQ(refusals_.Count(RefusalReason::kSecret), 1u);
  ExpectNobodyGotIn();
}

// Goal: strangers at each stage, silent, cut off or mad, cost nothing and get nothing.
TEST_F(HandshakeSecretTest, HostileBytesAtEachStage) {
  const std::string recorded = RecordClient();
  for (size_t bytes = 0; bytes <= recorded.size(); ++bytes) {
    auto stream = Say(recorded.substr(0, bytes));  // And hangs up.
  }
  ExpectNobodyGotIn();
  for (size_t bytes = 0; bytes <= recorded.size(); ++bytes) {
    std::string mad = recorded.substr(0, bytes);
    for (int i = 0; i < 200; ++i) mad += static_cast<char>(random_.Next());
    auto stream = Say(mad);
    const std::string answer = ReadToEnd(stream.get(), kChallengeBytes + 1);
    EXPECT_LE(answer.size(), kChallengeBytes + 1);
    stream.reset();
  }
  ExpectNobodyGotIn();
  EXPECT_GT(refusals_.Count(RefusalReason::kNonsense), 0u);
  ConnectAndServe(address_);
}

TEST_F(HandshakeSecretTest, WhoOwesAProofRunsOutOfTime) {
  transport::BootstrapServerOptions hasty;
  hasty.handshake_timeout_ns = kSecondNs / 20;
  OpenWithSecret(std::move(hasty));
  const transport::Hello hello{.layout_version = kLayout, .fabric = "shm", .has_secret = true};
  for (absl::string_view purpose : {transport::kBootstrapPurpose, transport::kProvenPurpose}) {
    auto stream = Say(absl::StrCat(purpose, transport::EncodeHello(hello)));
    const std::string answer = ReadToEnd(stream.get());
    EXPECT_GE(answer.size(), kChallengeBytes);
    ExpectNobodyGotIn();
  }
}

// Goal: there is no token before the proof, not even one that could be guessed to be zeros.
TEST_F(HandshakeSecretTest, ThereIsNoTokenBeforeTheProof) {
  const transport::Hello hello{.layout_version = kLayout, .fabric = "shm", .has_secret = true};
  auto stream = Say(absl::StrCat(transport::kBootstrapPurpose, transport::EncodeHello(hello)));
  ASSERT_EQ(ReadToEnd(stream.get(), kChallengeBytes).size(), kChallengeBytes);
  auto connect = client_fabric_->Connect(listener_->endpoint(), client_queue_.get(),
                                         transport::EncodeToken(BootstrapToken{}));
  ASSERT_TRUE(connect.ok()) << connect.status();
  while ((*connect)->state() == transport::QueuePairState::kConnecting) scheduler_.RunOnce();
  EXPECT_EQ((*connect)->state(), transport::QueuePairState::kBroken);
  client_port_->Forget(connect->get());
  EXPECT_TRUE(arrivals_.empty());
}

// ---- Other purposes.

TEST_F(HandshakeSecretTest, OtherPurposesComeBehindTheProof) {
  absl::StatusOr<ScopedFd> fd = scheduler_.RunUntilDone(transport::ConnectProven(
      &scheduler_, nullptr, address_, CredentialsOf(secret_), scheduler_.NowNs() + 20 * kSecondNs));
  ASSERT_TRUE(fd.ok()) << fd.status();
  transport::Stream stream(&scheduler_, *std::move(fd));
  ASSERT_TRUE(
      scheduler_.RunUntilDone(stream.Write("ACREKVS1", scheduler_.NowNs() + kSecondNs)).ok());
  while (other_purpose_.empty()) scheduler_.RunOnce();
  EXPECT_EQ(other_purpose_, "ACREKVS1");
  EXPECT_EQ(door_->half_open_count(), 0u);
}

TEST_F(HandshakeSecretTest, OtherPurposesWithoutAProofAreRefusedInTheirLanguage) {
  auto stream = Say(absl::StrCat("ACREKVS1", std::string(100'000, 'x')));
  const std::string answer = ReadToEnd(stream.get());
  EXPECT_TRUE(absl::StartsWith(answer, "refused: the server asks for a secret")) << answer;
  stream.reset();
  EXPECT_EQ(AnswerTo("ACRENONE"), "");
  EXPECT_EQ(refusals_.Count(RefusalReason::kNoSecret), 1u);
  ExpectNobodyGotIn();
}

TEST_F(HandshakeSecretTest, AnotherSecretOpensNoOtherPurposeEither) {
  const auto fd = scheduler_.RunUntilDone(transport::ConnectProven(
      &scheduler_, nullptr, address_, CredentialsOf(other_), scheduler_.NowNs() + 20 * kSecondNs));
  EXPECT_TRUE(absl::IsPermissionDenied(fd.status())) << fd.status();
  ExpectNobodyGotIn();
}

// ---- Servers that are none.

// Plays a server: its words are those of `script`, told on a connection that a client made.
class FalseServerTest : public HandshakeSecretTest {
 protected:
  using Script = std::function<Task<void>(transport::Stream*, uint64_t deadline_ns)>;

  absl::Status ConnectTo(Script script) {
    auto socket = transport::BindSocket(transport::Resolve({"127.0.0.1", 0}).value().front());
    CHECK(socket.ok() && transport::StartListening(socket->get()).ok());
    transport::ConnectOptions options = OptionsWith(secret_);
    options.server =
        transport::ParseHostPort(transport::LocalAddress(socket->get()).ToString()).value();
    absl::Status status;
    const auto connect = [](transport::ConnectOptions o, absl::Status* to) -> Task<void> {
      auto peer = co_await transport::ConnectPeer(std::move(o));
      *to = peer.status();
    };
    SpawnHandle connecting = scheduler_.Spawn(connect(std::move(options), &status));
    ScopedFd accepted;
    while (!accepted.is_open()) {
      scheduler_.RunOnce();
      int error;
      accepted = transport::AcceptSocket(socket->get(), &error);
    }
    transport::Stream stream(&scheduler_, std::move(accepted));
    SpawnHandle playing = scheduler_.Spawn(script(&stream, scheduler_.NowNs() + 20 * kSecondNs));
    while (!connecting.done()) scheduler_.RunOnce();
    playing.Cancel();
    return status;
  }
  static std::string SomeWelcome() {
    transport::Welcome welcome;
    welcome.generation = welcome.lease_ns = welcome.process_id = 1;
    welcome.fabrics = {{"shm", "@nowhere"}};
    return transport::EncodeWelcome(welcome);
  }
};

TEST_F(FalseServerTest, OneThatAsksForNothingIsRefused) {
  const absl::Status status =
      ConnectTo([](transport::Stream* stream, uint64_t deadline_ns) -> Task<void> {
        std::string bytes = SomeWelcome();
        (void)co_await stream->Write(std::move(bytes), deadline_ns);
      });
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "did not ask for the secret")) << status;
}

// Goal: reflection, the other way. The client's own proof, its nonces mirrored, convinces no
// client.
TEST_F(FalseServerTest, OneThatGivesTheProofBackIsRefused) {
  const absl::Status status =
      ConnectTo([](transport::Stream* stream, uint64_t deadline_ns) -> Task<void> {
        std::string bytes = transport::EncodeChallenge({});
        (void)co_await stream->Write(std::move(bytes), deadline_ns);
        char said[transport::kPurposeBytes + kHelloBytes + kProofBytes];
        (void)co_await stream->Read(said, sizeof(said), deadline_ns);
        const auto answer = transport::ParseProof({said + sizeof(said) - 64, 64});
        bytes = transport::EncodeConfirm(answer->proof) + SomeWelcome();
        (void)co_await stream->Write(std::move(bytes), deadline_ns);
      });
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "could not prove")) << status;
}

// Goal: whoever sits on a dead server's port cannot say that there is no such record.
TEST_F(FalseServerTest, ARefusalIsNoAnswerAboutARecord) {
  for (const absl::StatusCode code : {absl::StatusCode::kNotFound, absl::StatusCode::kAlreadyExists,
                                      absl::StatusCode::kAborted, absl::StatusCode::kInternal}) {
    const absl::Status status =
        ConnectTo([code](transport::Stream* stream, uint64_t deadline_ns) -> Task<void> {
          std::string bytes = transport::EncodeRefusal(absl::Status(code, "no such record"));
          (void)co_await stream->Write(std::move(bytes), deadline_ns);
        });
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  }
}

TEST_F(FalseServerTest, RubbishInTheMiddleIsDataLoss) {
  for (const std::string& rubbish :
       {std::string(100, 'x'), transport::EncodeConfirm({}), transport::EncodeHello({}),
        transport::EncodeChallenge({}).replace(0, 1, "\x21") + "more than a challenge"}) {
    const absl::Status status =
        ConnectTo([rubbish](transport::Stream* stream, uint64_t deadline_ns) -> Task<void> {
          std::string bytes = rubbish;
          (void)co_await stream->Write(std::move(bytes), deadline_ns);
        });
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  }
}

}  // namespace
}  // namespace acre::tests
