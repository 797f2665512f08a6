// The handshake where there is no secret, and the choice between several fabrics.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/shared_word.h"
#include "tests/handshake_test_util.h"
#include "transport/bootstrap_peer.h"
#include "transport/bootstrap_wire.h"
#include "transport/tcp/tcp_fabric.h"

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

// A fabric's listener as seen from where it does not reach: another machine, another container.
class UnreachableListener final : public transport::Listener {
 public:
  explicit UnreachableListener(transport::Listener* other) : other_(other) {}
  std::string endpoint() const override { return "shm:acre-nobody-has-this-name"; }
  int fd() const override { return other_->fd(); }
  std::unique_ptr<transport::ConnectionRequest> Poll() override { return nullptr; }

 private:
  transport::Listener* const other_;
};

// A server of two fabrics, and a client that leaves the choice open.
class TwoFabricsTest : public HandshakeTest {
 protected:
  TwoFabricsTest() {
    server_doors_.push_back(
        server_tcp_->RegisterRegion(region_.get(), transport::kRightRead).value());
    tcp_listener_ = server_tcp_->Listen().value();
  }
  ~TwoFabricsTest() override {
    arrivals_.clear();
    door_.reset();
    tcp_listener_.reset();
    server_doors_.clear();
    server_tcp_port_.reset();
    client_tcp_port_.reset();
  }

  static std::unique_ptr<transport::Fabric> MakeTcp(Clock* clock) {
    transport::TcpFabric::Options options;
    options.clock = clock;
    return transport::TcpFabric::Create(options).value();
  }

  // Where the connection went: the fabric's name, or why not.
  std::string Connect(transport::Listener* shm_listener) {
    offered_ = {{"shm", shm_listener}, {"tcp", tcp_listener_.get()}};
    Open({});
    SpawnHandle serving = scheduler_.Spawn(AcceptOnItsFabric());
    transport::ConnectOptions options = ClientOptions();
    options.fabrics.push_back({client_tcp_.get(), client_tcp_port_.get()});
    auto peer = scheduler_.RunUntilDone(transport::ConnectPeer(std::move(options)));
    if (!peer.ok()) return std::string(peer.status().message());
    while (!serving.done()) scheduler_.RunOnce();
    CHECK(served_.ok()) << served_.status();
    const std::string name = peer->local.fabric->device().provider;
    CHECK_EQ(name, arrived_on_);
    peer->link.Close();
    served_->Close();
    return name;
  }

  Task<void> AcceptOnItsFabric() {
    while (arrivals_.empty()) co_await arrived_.Wait();
    ArrivingPeer peer = std::move(arrivals_.front());
    arrivals_.clear();
    arrived_on_ = peer.fabric;
    const bool is_tcp = peer.fabric == "tcp";
    transport::AcceptOptions options;
    options.fabric = is_tcp ? server_tcp_.get() : server_fabric_.get();
    options.port = is_tcp ? server_tcp_port_.get() : server_port_.get();
    options.channel.region_id = next_server_region_++;
    options.regions = {is_tcp ? server_doors_[0].get() : region_.get()};
    served_ = co_await transport::AcceptPeer(std::move(peer), std::move(options));
  }

  std::unique_ptr<transport::Fabric> server_tcp_ = MakeTcp(&clock_);
  std::unique_ptr<transport::Fabric> client_tcp_ = MakeTcp(&clock_);
  std::unique_ptr<transport::CompletionQueue> server_tcp_queue_ =
      server_tcp_->CreateCompletionQueue().value();
  std::unique_ptr<transport::CompletionQueue> client_tcp_queue_ =
      client_tcp_->CreateCompletionQueue().value();
  std::unique_ptr<transport::Port> server_tcp_port_ =
      std::make_unique<transport::Port>(&scheduler_, server_tcp_queue_.get());
  std::unique_ptr<transport::Port> client_tcp_port_ =
      std::make_unique<transport::Port>(&scheduler_, client_tcp_queue_.get());
  std::unique_ptr<transport::Listener> tcp_listener_;
  std::vector<std::unique_ptr<transport::MemoryRegion>> server_doors_;
  absl::StatusOr<transport::Link> served_ = absl::UnknownError("not yet");
  std::string arrived_on_;
};

// Goal: who knocks at a fabric's own port with rubbish, or with a token that is nobody's, is counted like those at the
// first door, and harms nobody.
TEST_F(TwoFabricsTest, StrangersAtAFabricsPortAreCounted) {
  std::vector<std::string> lines;
  transport::RefusalLog refusals([&lines](const std::string& line) { lines.push_back(line); });
  offered_ = {{"shm", listener_.get()}, {"tcp", tcp_listener_.get()}};
  transport::BootstrapServerOptions options;
  options.refusals = &refusals;
  Open(std::move(options));
  const auto knock = [&](const std::string& private_data) {
    auto connect =
        client_tcp_->Connect(tcp_listener_->endpoint(), client_tcp_queue_.get(), private_data);
    ASSERT_TRUE(connect.ok()) << connect.status();
    while ((*connect)->state() == transport::QueuePairState::kConnecting) scheduler_.RunOnce();
    EXPECT_EQ((*connect)->state(), transport::QueuePairState::kBroken);
    client_tcp_port_->Forget(connect->get());
  };
  knock(transport::EncodeToken(BootstrapToken{1, 2, 3}));
  EXPECT_EQ(refusals.Count(transport::RefusalReason::kToken), 1u);
  knock("no token");
  EXPECT_EQ(refusals.Count(transport::RefusalReason::kNonsense), 1u);
  const auto stream =
      SayTo(transport::ParseHostPort(tcp_listener_->endpoint()).value(), "GET / HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(absl::IsUnavailable(ReadByte(stream.get())));
  EXPECT_EQ(refusals.Count(transport::RefusalReason::kNonsense), 2u);
  ASSERT_EQ(lines.size(), 2u) << "one for each reason";
  for (const std::string& line : lines) {
    EXPECT_NE(line.find("127.0.0.1:"), std::string::npos) << line;
    EXPECT_NE(line.find("on fabric tcp"), std::string::npos) << line;
  }
}

TEST_F(TwoFabricsTest, TheFavouriteIsTakenWhereItReaches) {
  EXPECT_EQ(Connect(listener_.get()), "shm");
}

// Goal: shared memory that does not reach the server costs nothing but the attempt, and no token.
TEST_F(TwoFabricsTest, TheNextIsTakenWhereItDoesNot) {
  UnreachableListener unreachable(listener_.get());
  EXPECT_EQ(Connect(&unreachable), "tcp");
  door_.reset();
}

// A fabric that connects, and then has no memory for anything: a card, for a user who may lock none.
class PoorFabric final : public transport::Fabric {
 public:
  explicit PoorFabric(transport::Fabric* rich) : rich_(rich) {}
  const transport::DeviceAttributes& device() const override { return rich_->device(); }
  absl::StatusOr<std::unique_ptr<transport::MemoryRegion>> CreateRegion(
      const transport::RegionOptions&) override {
    return absl::ResourceExhaustedError("no memory: ulimit -l unlimited");
  }
  absl::StatusOr<std::unique_ptr<transport::CompletionQueue>> CreateCompletionQueue() override {
    return rich_->CreateCompletionQueue();
  }
  absl::StatusOr<std::unique_ptr<transport::Listener>> Listen() override { return rich_->Listen(); }
  absl::StatusOr<std::unique_ptr<transport::QueuePair>> Connect(
      absl::string_view endpoint, transport::CompletionQueue* completion_queue,
      absl::string_view private_data) override {
    return rich_->Connect(endpoint, completion_queue, private_data);
  }

 private:
  transport::Fabric* const rich_;
};

TEST_F(TwoFabricsTest, TheNextIsTakenWhereThereIsNoMemoryForAChannel) {
  PoorFabric poor(client_fabric_.get());
  offered_ = {{"shm", listener_.get()}, {"tcp", tcp_listener_.get()}};
  Open({});
  const auto accept_both = [this]() -> Task<void> {
    co_await AcceptOnItsFabric();
    EXPECT_EQ(arrived_on_, "shm");
    EXPECT_TRUE(absl::IsUnavailable(served_.status())) << served_.status();
    co_await AcceptOnItsFabric();
  };
  SpawnHandle serving = scheduler_.Spawn(accept_both());
  transport::ConnectOptions options = ClientOptions();
  options.fabrics = {{&poor, client_port_.get()}};
  options.more_fabrics = [this] {
    return std::vector<transport::ConnectOptions::LocalFabric>{
        {client_tcp_.get(), client_tcp_port_.get()}};
  };
  auto peer = scheduler_.RunUntilDone(transport::ConnectPeer(std::move(options)));
  ASSERT_TRUE(peer.ok()) << peer.status();
  while (!serving.done()) scheduler_.RunOnce();
  ASSERT_TRUE(served_.ok()) << served_.status();
  EXPECT_EQ(arrived_on_, "tcp");
  EXPECT_EQ(peer->local.fabric, client_tcp_.get());
  peer->link.Close();
  served_->Close();
}

TEST_F(TwoFabricsTest, WhereNoneIsLeftTheClientHearsOfTheMemory) {
  PoorFabric poor(client_fabric_.get());
  for (const bool is_choice : {true, false}) {
    SpawnHandle serving = scheduler_.Spawn(AcceptOnItsFabric());
    transport::ConnectOptions options = ClientOptions();
    options.fabrics = {{&poor, client_port_.get()}};
    if (is_choice) {
      options.more_fabrics = [] { return std::vector<transport::ConnectOptions::LocalFabric>{}; };
    }
    const auto peer = scheduler_.RunUntilDone(transport::ConnectPeer(std::move(options)));
    EXPECT_TRUE(absl::IsResourceExhausted(peer.status())) << peer.status();
    EXPECT_NE(peer.status().message().find("ulimit -l"), std::string::npos) << peer.status();
    while (!serving.done()) scheduler_.RunOnce();
  }
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

// Goal: a client on a slow machine is told what lets it try again, not taken aback by a strange answer.
TEST_F(HandshakeTest, WhoIsLateIsToldThatTheServerIsUnavailable) {
  transport::BootstrapServerOptions hasty;
  hasty.handshake_timeout_ns = kSecondNs / 20;
  Open(std::move(hasty));
  const auto stream = Say(std::string(transport::kBootstrapPurpose));
  const std::string answer = ReadToEnd(stream.get());
  ASSERT_GT(answer.size(), sizeof(transport::MessageHeader));
  const absl::Status refusal =
      transport::ParseRefusal(answer.substr(sizeof(transport::MessageHeader)));
  EXPECT_TRUE(absl::IsUnavailable(refusal)) << refusal;
  EXPECT_NE(refusal.message().find("50 ms"), absl::string_view::npos) << refusal;
}

TEST_F(HandshakeTest, TheOldestHalfOpenMakesRoom) {
  transport::BootstrapServerOptions narrow;
  narrow.half_open_max = 4;
  std::vector<std::string> lines;
  transport::RefusalLog refusals([&lines](const std::string& line) { lines.push_back(line); });
  narrow.refusals = &refusals;
  Open(std::move(narrow));
  std::vector<std::unique_ptr<transport::Stream>> silent;
  for (int i = 0; i < 10; ++i) silent.push_back(Say(""));
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(absl::IsUnavailable(ReadByte(silent[i].get())));
  EXPECT_EQ(door_->half_open_count(), 4u);
  EXPECT_EQ(refusals.Count(transport::RefusalReason::kCrowd), 6u);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("closed unheard, 4 connections are at the door already"),
            std::string::npos)
      << lines[0];
  absl::StatusOr<transport::Link> served = absl::UnknownError("not yet");
  SpawnHandle serving = scheduler_.Spawn(Keep(AcceptNext(), &served));
  EXPECT_TRUE(scheduler_.RunUntilDone(transport::ConnectPeer(ClientOptions())).ok());
  while (!serving.done()) scheduler_.RunOnce();
  door_.reset();  // It counts as long as it is there.
}

// Goal: strangers that say nothing, however many, do not cost a client the token that it was given.
TEST_F(HandshakeTest, CrowdOfSilentStrangersLeavesATokenGood) {
  transport::BootstrapServerOptions narrow;
  narrow.half_open_max = 4;
  Open(std::move(narrow));
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
  std::vector<std::unique_ptr<transport::Stream>> silent;
  for (int i = 0; i < 10; ++i) silent.push_back(Say(""));
  for (int i = 0; i < 7; ++i) EXPECT_TRUE(absl::IsUnavailable(ReadByte(silent[i].get())));
  auto connection = client_fabric_->Connect(listener_->endpoint(), client_queue_.get(),
                                            transport::EncodeToken(welcome->token));
  ASSERT_TRUE(connection.ok()) << connection.status();
  while ((*connection)->state() == transport::QueuePairState::kConnecting && arrivals_.empty()) {
    scheduler_.RunOnce();
  }
  EXPECT_EQ(arrivals_.size(), 1u);
  client_port_->Forget(connection->get());
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
