// The handshake where there is no secret.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/shared_word.h"
#include "tests/handshake_test_util.h"
#include "transport/bootstrap_peer.h"
#include "transport/bootstrap_wire.h"

namespace acre::tests {
namespace {

TEST_F(HandshakeTest, BothEndsGetWhatTheyNeed) {
  absl::StatusOr<transport::Link> served = absl::UnknownError("not yet");
  SpawnHandle serving = scheduler_.Spawn(Keep(AcceptNext(), &served));
  auto peer = scheduler_.RunUntilDone(transport::ConnectPeer(ClientOptions()));
  ASSERT_TRUE(peer.ok()) << peer.status();
  while (!serving.done()) scheduler_.RunOnce();
  ASSERT_TRUE(served.ok()) << served.status();
  EXPECT_EQ(peer->generation, kGeneration);
  EXPECT_EQ(peer->lease_ns, kSecondNs);
  EXPECT_EQ(peer->process_id, 0x01000001u);
  ASSERT_EQ(peer->regions.size(), 1u);
  EXPECT_EQ(peer->regions[0].region_id, 1u);
  EXPECT_TRUE(peer->link.queue_pair()->Map(peer->regions[0].key).ok());
  peer->link.channel()->WritePeerWord(0, 42);
  EXPECT_EQ(served->channel()->peer_words()->Load(std::memory_order_acquire), 42u);
  EXPECT_EQ(door_->half_open_count(), 0u);
}

TEST_F(HandshakeTest, ProcessIdsAreKeptUnlessTheyAreStale) {
  const auto id_for = [this](uint32_t id, uint64_t generation) {
    absl::StatusOr<transport::Link> served = absl::UnknownError("not yet");
    SpawnHandle serving = scheduler_.Spawn(Keep(AcceptNext(), &served));
    transport::ConnectOptions options = ClientOptions();
    options.process_id = id;
    options.process_id_generation = generation;
    auto peer = scheduler_.RunUntilDone(transport::ConnectPeer(std::move(options)));
    CHECK(peer.ok()) << peer.status();
    while (!serving.done()) scheduler_.RunOnce();
    return peer->process_id;
  };
  EXPECT_EQ(id_for(0, 0), 0x01000001u);
  EXPECT_EQ(id_for(0, 0), 0x01000002u);
  EXPECT_EQ(id_for(0x01000001, kGeneration), 0x01000001u) << "ours, of this incarnation";
  EXPECT_EQ(id_for(0x01000001, kGeneration - 1), 0x01000003u) << "ours, of an earlier one";
  EXPECT_EQ(id_for(0x02000001, 5), 0x02000001u) << "another server's";
}

TEST_F(HandshakeTest, RefusalsReachTheClient) {
  may_enter_ = absl::ResourceExhaustedError("full");
  EXPECT_EQ(scheduler_.RunUntilDone(transport::ConnectPeer(ClientOptions())).status(), may_enter_);
  transport::ConnectOptions options = ClientOptions();
  options.layout_version = kLayout + 1;
  const absl::Status status =
      scheduler_.RunUntilDone(transport::ConnectPeer(std::move(options))).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

// Goal: a client learns the server's place, and one that knows of another cluster is refused and counted.
TEST_F(HandshakeTest, ClientsOfAnotherViewAreRefused) {
  SharedWord refused;
  transport::BootstrapServerOptions door;
  door.place = {0xabc, 2, 3};
  door.views_refused = &refused;
  Open(std::move(door));
  for (const uint64_t view : {uint64_t{0}, uint64_t{0xabc}}) {
    absl::StatusOr<transport::Link> served = absl::UnknownError("not yet");
    SpawnHandle serving = scheduler_.Spawn(Keep(AcceptNext(), &served));
    transport::ConnectOptions options = ClientOptions();
    options.view = view;
    auto peer = scheduler_.RunUntilDone(transport::ConnectPeer(std::move(options)));
    ASSERT_TRUE(peer.ok()) << peer.status();
    while (!serving.done()) scheduler_.RunOnce();
    EXPECT_EQ(peer->place, (transport::ServerPlace{0xabc, 2, 3}));
    EXPECT_EQ(peer->process_id >> 24, 2u);
  }
  EXPECT_EQ(refused.Load(std::memory_order_relaxed), 0u);
  transport::ConnectOptions options = ClientOptions();
  options.view = 0xdef;
  const absl::Status status =
      scheduler_.RunUntilDone(transport::ConnectPeer(std::move(options))).status();
  EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
  EXPECT_EQ(status.message(),
            "the server's cluster file differs: view 0000000000000abc, yours 0000000000000def");
  EXPECT_EQ(refused.Load(std::memory_order_relaxed), 1u);
}

TEST_F(HandshakeTest, TokensThatNobodyGaveAreRejected) {
  auto connect = client_fabric_->Connect(listener_->endpoint(), client_queue_.get(),
                                         transport::EncodeToken(BootstrapToken{1, 2, 3}));
  ASSERT_TRUE(connect.ok()) << connect.status();
  while ((*connect)->state() == transport::QueuePairState::kConnecting) scheduler_.RunOnce();
  EXPECT_EQ((*connect)->state(), transport::QueuePairState::kBroken);
  EXPECT_TRUE(arrivals_.empty());
  client_port_->Forget(connect->get());
}

// Goal: a token is used up by the first that shows it.
TEST_F(HandshakeTest, TokenIsGoodOnce) {
  auto stream = Say(std::string(transport::kBootstrapPurpose) +
                    transport::EncodeHello({.layout_version = kLayout, .fabric = "shm"}));
  std::string message(sizeof(transport::MessageHeader) + sizeof(transport::WelcomeWire) +
                          sizeof(transport::FabricWire),
                      '\0');
  ASSERT_EQ(scheduler_.RunUntilDone(
                stream->Read(message.data(), message.size(), scheduler_.NowNs() + 20 * kSecondNs)),
            absl::OkStatus());
  const auto welcome = transport::ParseWelcome(message.substr(sizeof(transport::MessageHeader)));
  ASSERT_TRUE(welcome.ok()) << welcome.status();
  const std::string token = transport::EncodeToken(welcome->token);
  auto first = client_fabric_->Connect(listener_->endpoint(), client_queue_.get(), token);
  while (arrivals_.empty()) scheduler_.RunOnce();
  auto second = client_fabric_->Connect(listener_->endpoint(), client_queue_.get(), token);
  while ((*second)->state() == transport::QueuePairState::kConnecting) scheduler_.RunOnce();
  EXPECT_EQ((*second)->state(), transport::QueuePairState::kBroken);
  EXPECT_EQ(arrivals_.size(), 1u);
  client_port_->Forget(second->get());
  client_port_->Forget(first->get());
}

TEST_F(HandshakeTest, SilentAndSlowPeersRunOutOfTime) {
  transport::BootstrapServerOptions hasty;
  hasty.handshake_timeout_ns = kSecondNs / 20;
  Open(std::move(hasty));
  const std::string hello(transport::kBootstrapPurpose);
  for (const std::string& bytes : {std::string(), std::string("ACRE"), hello, hello + "\x28"}) {
    auto stream = Say(bytes);
    EXPECT_TRUE(absl::IsUnavailable(ReadByte(stream.get())) || !bytes.empty()) << bytes;
    while (door_->half_open_count() != 0) scheduler_.RunOnce();
  }
}

TEST_F(HandshakeTest, TheOldestHalfOpenMakesRoom) {
  transport::BootstrapServerOptions narrow;
  narrow.half_open_max = 4;
  Open(std::move(narrow));
  std::vector<std::unique_ptr<transport::Stream>> silent;
  for (int i = 0; i < 10; ++i) silent.push_back(Say(""));
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(absl::IsUnavailable(ReadByte(silent[i].get())));
  EXPECT_EQ(door_->half_open_count(), 4u);
  absl::StatusOr<transport::Link> served = absl::UnknownError("not yet");
  SpawnHandle serving = scheduler_.Spawn(Keep(AcceptNext(), &served));
  EXPECT_TRUE(scheduler_.RunUntilDone(transport::ConnectPeer(ClientOptions())).ok());
  while (!serving.done()) scheduler_.RunOnce();
}

TEST_F(HandshakeTest, OtherPurposesAreHandedOn) {
  auto stream = Say("ACREKVS1");
  while (other_purpose_.empty()) scheduler_.RunOnce();
  EXPECT_EQ(other_purpose_, "ACREKVS1");
  EXPECT_EQ(door_->half_open_count(), 0u);
}

// Goal: a server that is none, or of a time to come, is told apart from one that is gone.
TEST_F(HandshakeTest, RubbishFromAServerIsDataLoss) {
  auto socket = transport::BindSocket(transport::Resolve({"127.0.0.1", 0}).value().front());
  ASSERT_TRUE(socket.ok());
  ASSERT_EQ(transport::StartListening(socket->get()), absl::OkStatus());
  transport::ConnectOptions options = ClientOptions();
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
  ASSERT_EQ(scheduler_.RunUntilDone(stream.Write("HTTP/1.1 400 Bad Request\r\n\r\n",
                                                 scheduler_.NowNs() + 20 * kSecondNs)),
            absl::OkStatus());
  while (!connecting.done()) scheduler_.RunOnce();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

}  // namespace
}  // namespace acre::tests
