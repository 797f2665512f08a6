// How homes ask each other (server/home_links.h), over the real network: real servers that come and go, and homes that
// answer what the test says.

#include "server/home_links.h"

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvs/transaction_wire.h"
#include "runtime/clock.h"
#include "runtime/deadline.h"
#include "runtime/scheduler.h"
#include "runtime/system_random.h"
#include "runtime/wall_clock.h"
#include "server/server.h"
#include "tests/test_cluster.h"
#include "transport/bootstrap_server.h"
#include "transport/completion_sink.h"
#include "transport/port.h"
#include "transport/secret.h"
#include "transport/shm/shm_fabric.h"

namespace acre::server {
namespace {

using kvs::TransactionId;
using kvs::TransactionOutcome;
using kvs::TransactionParticipant;
using ::testing::HasSubstr;

constexpr TransactionId kId{{1, 7, 3}, 42};

transport::HostPort Address() { return transport::ParseHostPort(tests::OwnAddress()).value(); }

kvs::ClusterMap MapOf(std::vector<transport::HostPort> servers) {
  kvs::ClusterMap map;
  map.view = kvs::ViewOf(servers);
  map.servers = std::move(servers);
  return map;
}

std::shared_ptr<const transport::Secret> SecretOf(const std::string& bytes) {
  return transport::Secret::FromBytes(bytes).value();
}

// Where nobody is but a home, which answers every question with what the test says.
class FakeHome final : public transport::BootstrapServer::Delegate, public transport::RpcHandler {
 public:
  FakeHome(Scheduler* scheduler, const kvs::ClusterMap& map, uint32_t index, uint64_t generation)
      : scheduler_(scheduler), view_(map.view) {
    transport::ShmFabric::Options fabric_options;
    fabric_options.clock = scheduler->clock();
    fabric_ = transport::ShmFabric::Create(fabric_options).value();
    queue_ = fabric_->CreateCompletionQueue().value();
    port_ = std::make_unique<transport::Port>(scheduler, queue_.get());
    listener_ = fabric_->Listen().value();
    auto socket = transport::BindSocket(transport::Resolve(map.servers[index]).value().front());
    CHECK(socket.ok()) << socket.status();
    CHECK(transport::StartListening(socket->get()).ok());
    transport::BootstrapServerOptions options;
    options.layout_version = kvs::kLayoutVersion;
    options.generation = generation;
    options.lease_ns = 1'000'000'000;
    options.place = {map.view, index + 1, static_cast<uint32_t>(map.servers.size())};
    options.fill_random = FillSystemRandom;
    door_ = std::make_unique<transport::BootstrapServer>(
        scheduler, std::move(options),
        std::vector<transport::BootstrapServer::OfferedFabric>{{"shm", listener_.get()}},
        *std::move(socket), this);
  }
  ~FakeHome() override {
    for (SpawnHandle& task : welcoming_) task.Cancel();
    peers_.clear();
    door_.reset();
    listener_.reset();
    port_.reset();
  }

  size_t peers_count() const { return peers_.size(); }

  absl::Status answer;
  std::string response;
  uint16_t method = 0;
  std::string request;

 private:
  class Peer final : public transport::CompletionSink {
   public:
    Peer(Scheduler* scheduler, transport::Port* port, transport::Link link,
         transport::RpcHandler* handler, uint64_t view)
        : scheduler_(scheduler),
          port_(port),
          link_(std::move(link)),
          rpc_(scheduler, link_.channel(), handler, view) {
      port_->SetSink(link_.queue_pair(), this);
      scheduler_->AddPoller(&rpc_);
    }
    ~Peer() override {
      scheduler_->RemovePoller(&rpc_);
      port_->SetSink(link_.queue_pair(), nullptr);
    }
    void OnCompletion(const transport::Completion& completion) override {
      link_.channel()->OnCompletion(completion);
    }

   private:
    Scheduler* const scheduler_;
    transport::Port* const port_;
    transport::Link link_;
    transport::RpcPeer rpc_;
  };

  absl::Status MayEnter(const transport::Hello& /*hello*/) override { return absl::OkStatus(); }
  void OnPeer(transport::ArrivingPeer peer) override {
    auto shared = std::make_shared<transport::ArrivingPeer>(std::move(peer));
    welcoming_.push_back(scheduler_->Spawn(Welcome(std::move(shared))));
  }
  void OnOtherPurpose(absl::string_view /*purpose*/, ScopedFd /*stream*/) override {}
  std::string RefusalOf(absl::string_view /*purpose*/, const absl::Status& /*why*/) override {
    return "";
  }
  Task<void> Welcome(std::shared_ptr<transport::ArrivingPeer> peer) {
    transport::AcceptOptions options;
    options.fabric = fabric_.get();
    options.port = port_.get();
    options.channel.region_id = ++regions_;
    absl::StatusOr<transport::Link> link =
        co_await transport::AcceptPeer(std::move(*peer), std::move(options));
    CHECK(link.ok()) << link.status();
    peers_.push_back(
        std::make_unique<Peer>(scheduler_, port_.get(), *std::move(link), this, view_));
  }
  Task<absl::Status> Handle(transport::RpcContext* context) override {
    method = context->method;
    request = std::string(context->request);
    context->response = response;
    co_return answer;
  }

  Scheduler* const scheduler_;
  const uint64_t view_;
  std::unique_ptr<transport::ShmFabric> fabric_;
  std::unique_ptr<transport::CompletionQueue> queue_;
  std::unique_ptr<transport::Port> port_;
  std::unique_ptr<transport::Listener> listener_;
  std::list<SpawnHandle> welcoming_;
  std::vector<std::unique_ptr<Peer>> peers_;
  uint32_t regions_ = 100;
  std::unique_ptr<transport::BootstrapServer> door_;
};

class HomeLinksTest : public ::testing::Test {
 protected:
  HomeLinksTest() : map_(MapOf({Address(), Address()})) {}

  std::unique_ptr<HomeLinks> LinksWith(std::shared_ptr<const transport::Secret> secret = nullptr,
                                       uint64_t idle_ns = 60'000'000'000) {
    HomeLinks::Options options;
    options.scheduler = &scheduler_;
    options.cluster = map_;
    options.self_index = 0;
    options.credentials = {std::move(secret), FillSystemRandom};
    options.ask_timeout_ms = 20'000;
    options.idle_ns = idle_ns;
    return HomeLinks::Create(std::move(options)).value();
  }
  std::unique_ptr<Server> StartServer(std::shared_ptr<const transport::Secret> secret = nullptr) {
    ServerOptions options;
    options.listen = map_.servers[1];
    options.cluster = map_;
    options.memory_bytes = kMemoryBytesMin;
    options.huge_pages = transport::HugePages::kOff;
    options.state_dir = testing::TempDir() + "/state";
    options.clock = &clock_;
    options.wall_ns = WallClockNs;
    options.fill_random = FillSystemRandom;
    options.secret = std::move(secret);
    auto server = Server::Start(std::move(options));
    CHECK(server.ok()) << server.status();
    return *std::move(server);
  }
  static uint64_t GenerationOf(const Server& server) {
    for (const absl::string_view line : absl::StrSplit(server.Stats(), '\n')) {
      const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
      uint64_t generation = 0;
      if (words[0] == "generation" && absl::SimpleAtoi(words[1], &generation)) return generation;
    }
    LOG(FATAL) << "a server tells no generation";
  }
  absl::Status Close(HomeLinks* links, uint64_t generation) {
    return scheduler_.RunUntilDone(links->Close({1, generation}, kId.coordinator));
  }
  // Of a link that is left alone for a while: asks on till it is tried again.
  absl::Status CloseTill(HomeLinks* links, uint64_t generation, absl::StatusCode code) {
    for (;;) {
      const absl::Status status = Close(links, generation);
      if (status.code() == code) return status;
      scheduler_.RunUntilDone(Pause());
    }
  }
  Task<void> Pause() { co_await scheduler_.SleepFor(1'000'000); }

  RealClock clock_;
  Scheduler scheduler_{{.clock = &clock_, .name = "test"}};
  const kvs::ClusterMap map_;
};

TEST_F(HomeLinksTest, QuestionsAndAnswersTravel) {
  FakeHome home(&scheduler_, map_, 1, 4711);
  const std::unique_ptr<HomeLinks> links = LinksWith();
  EXPECT_EQ(links->NameOf({1, 4711}), absl::StrCat("server 2 at ", map_.servers[1].ToString()));
  for (const TransactionOutcome outcome :
       {TransactionOutcome::kUnknown, TransactionOutcome::kCommitted, TransactionOutcome::kAborted,
        TransactionOutcome::kPromised}) {
    home.response = kvs::EncodeOutcome(outcome);
    const auto told = scheduler_.RunUntilDone(links->Promise({1, 4711}, kId));
    ASSERT_TRUE(told.ok()) << told.status();
    EXPECT_EQ(*told, outcome);
  }
  EXPECT_EQ(home.method, static_cast<uint16_t>(kvs::Method::kTransactionPromise));
  EXPECT_EQ(kvs::ParseId(home.request).value(), kId);
  home.response = "";
  EXPECT_TRUE(scheduler_.RunUntilDone(links->Resolve({1, 4711}, kId, true)).ok());
  EXPECT_EQ(home.method, static_cast<uint16_t>(kvs::Method::kTransactionResolve));
  EXPECT_EQ(kvs::ParseResolve(home.request)->id, kId);
  EXPECT_TRUE(kvs::ParseResolve(home.request)->commit);
  EXPECT_TRUE(Close(links.get(), 4711).ok());
  EXPECT_EQ(home.method, static_cast<uint16_t>(kvs::Method::kTransactionClose));
  EXPECT_EQ(kvs::ParseId(home.request).value(), (TransactionId{kId.coordinator, 0}));
  EXPECT_EQ(home.peers_count(), 1u);
}

// Goal: FailedPrecondition means that the home is gone for good; what a handler says under that name does not.
TEST_F(HomeLinksTest, WhatAHomeRefusesIsNotItsEnd) {
  FakeHome home(&scheduler_, map_, 1, 4711);
  const std::unique_ptr<HomeLinks> links = LinksWith();
  home.answer = absl::FailedPreconditionError("something is open here");
  EXPECT_TRUE(absl::IsUnavailable(Close(links.get(), 4711)));
  EXPECT_TRUE(absl::IsDataLoss(scheduler_.RunUntilDone(links->Resolve({1, 4711}, kId, true))));
  EXPECT_TRUE(
      absl::IsUnavailable(scheduler_.RunUntilDone(links->Promise({1, 4711}, kId)).status()));
  home.answer = absl::InternalError("oh");
  EXPECT_TRUE(absl::IsUnavailable(Close(links.get(), 4711)));
  home.answer = absl::OkStatus();
  home.response = "no outcome";
  EXPECT_TRUE(absl::IsDataLoss(scheduler_.RunUntilDone(links->Promise({1, 4711}, kId)).status()));
}

TEST_F(HomeLinksTest, AnotherIncarnationIsNotAsked) {
  FakeHome home(&scheduler_, map_, 1, 4711);
  const std::unique_ptr<HomeLinks> links = LinksWith();
  EXPECT_TRUE(
      absl::IsFailedPrecondition(scheduler_.RunUntilDone(links->Promise({1, 4712}, kId)).status()));
  EXPECT_TRUE(
      absl::IsFailedPrecondition(scheduler_.RunUntilDone(links->Resolve({1, 4712}, kId, true))));
  EXPECT_TRUE(absl::IsFailedPrecondition(Close(links.get(), 4712)));
  EXPECT_EQ(home.method, 0);
  // Nor whom the cluster does not have.
  EXPECT_TRUE(absl::IsFailedPrecondition(
      scheduler_.RunUntilDone(links->Close({2, 4711}, kId.coordinator))));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      scheduler_.RunUntilDone(links->Close({0, 4711}, kId.coordinator))));
}

TEST_F(HomeLinksTest, AServerOfAnotherViewIsAnotherIncarnation) {
  const kvs::ClusterMap other = MapOf({map_.servers[0], map_.servers[1], Address()});
  FakeHome home(&scheduler_, other, 1, 4711);
  const std::unique_ptr<HomeLinks> links = LinksWith();
  EXPECT_TRUE(absl::IsFailedPrecondition(Close(links.get(), 4711)));
}

TEST_F(HomeLinksTest, AnIdleLinkGoes) {
  FakeHome home(&scheduler_, map_, 1, 4711);
  const std::unique_ptr<HomeLinks> links = LinksWith(nullptr, /*idle_ns=*/20'000'000);
  ASSERT_TRUE(Close(links.get(), 4711).ok());
  EXPECT_EQ(links->links_count(), 1u);
  while (links->links_count() != 0) scheduler_.RunOnce();
  ASSERT_TRUE(Close(links.get(), 4711).ok());
  EXPECT_EQ(links->links_count(), 1u);
}

// Goal: a server that is gone is Unavailable, and asked no more than now and then; one that is back is another one.
TEST_F(HomeLinksTest, AServerGoesAndComesBack) {
  const std::unique_ptr<HomeLinks> links = LinksWith();
  EXPECT_TRUE(absl::IsUnavailable(Close(links.get(), 4711)));
  std::unique_ptr<Server> server = StartServer();
  const uint64_t first = GenerationOf(*server);
  EXPECT_THAT(CloseTill(links.get(), first + 1, absl::StatusCode::kFailedPrecondition).message(),
              HasSubstr("started anew"));
  server.reset();
  const absl::Status gone = CloseTill(links.get(), first, absl::StatusCode::kUnavailable);
  EXPECT_THAT(gone.message(), HasSubstr(map_.servers[1].ToString()));
  server = StartServer();
  ASSERT_NE(GenerationOf(*server), first);
  (void)CloseTill(links.get(), first, absl::StatusCode::kFailedPrecondition);
}

TEST_F(HomeLinksTest, TheSecretIsProved) {
  const std::unique_ptr<Server> server = StartServer(SecretOf("correct horse battery"));
  const uint64_t generation = GenerationOf(*server);
  const std::unique_ptr<HomeLinks> without = LinksWith();
  EXPECT_THAT(Close(without.get(), generation + 1).message(), HasSubstr("secret"));
  const std::unique_ptr<HomeLinks> wrong = LinksWith(SecretOf("wrong horse battery"));
  EXPECT_TRUE(absl::IsUnavailable(Close(wrong.get(), generation + 1)));
  const std::unique_ptr<HomeLinks> right = LinksWith(SecretOf("correct horse battery"));
  EXPECT_TRUE(absl::IsFailedPrecondition(Close(right.get(), generation + 1)));
}

}  // namespace
}  // namespace acre::server
