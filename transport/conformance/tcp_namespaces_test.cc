// Holds the tcp provider to the contract of transport/fabric.h between two network namespaces: the tests of
// conformance_test, every other node in the other namespace; and what only a network can do, that its cable
// is cut.
//
//   bazel test //transport/conformance:conformance_namespaces_test
//
// Says so and passes where namespaces cannot be had.

#include "transport/conformance/tcp_namespaces.h"

#include <poll.h>

#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "gtest/gtest.h"
#include "transport/conformance/conformance.h"
#include "transport/conformance/provider_under_test.h"
#include "transport/tcp/tcp_fabric.h"

namespace acre::transport {
namespace {

constexpr int kWaitMsMax = 60'000;

// A TcpFabric whose sockets are made in one namespace.
class FabricInNamespace final : public Fabric {
 public:
  FabricInNamespace(const TwoNamespaces* namespaces, size_t index, TcpFabric::Options options)
      : namespaces_(namespaces), index_(index) {
    options.listen_host = TwoNamespaces::AddressOf(index);
    auto fabric = TcpFabric::Create(options);
    CHECK(fabric.ok()) << fabric.status();
    fabric_ = *std::move(fabric);
  }

  const DeviceAttributes& device() const override { return fabric_->device(); }
  absl::StatusOr<std::unique_ptr<MemoryRegion>> CreateRegion(
      const RegionOptions& options) override {
    return fabric_->CreateRegion(options);
  }
  absl::StatusOr<std::unique_ptr<CompletionQueue>> CreateCompletionQueue() override {
    return fabric_->CreateCompletionQueue();
  }
  absl::StatusOr<std::unique_ptr<Listener>> Listen() override {
    absl::StatusOr<std::unique_ptr<Listener>> listener;
    namespaces_->RunIn(index_, [&] { listener = fabric_->Listen(); });
    return listener;
  }
  absl::StatusOr<std::unique_ptr<QueuePair>> Connect(absl::string_view endpoint,
                                                     CompletionQueue* completion_queue,
                                                     absl::string_view private_data) override {
    absl::StatusOr<std::unique_ptr<QueuePair>> queue_pair;
    namespaces_->RunIn(
        index_, [&] { queue_pair = fabric_->Connect(endpoint, completion_queue, private_data); });
    return queue_pair;
  }

 private:
  const TwoNamespaces* const namespaces_;
  const size_t index_;
  std::unique_ptr<TcpFabric> fabric_;
};

class TcpInNamespaces final : public ProviderUnderTest {
 public:
  explicit TcpInNamespaces(std::unique_ptr<TwoNamespaces> namespaces)
      : namespaces_(std::move(namespaces)) {}

  std::string name() const override { return "tcp_in_namespaces"; }
  Atomicity atomicity() const override { return Atomicity::kGlobal; }
  Clock* clock() override { return &clock_; }
  void Progress() override {}
  void RunThreads(const std::vector<std::function<void()>>& functions) override {
    std::vector<std::thread> threads;
    for (const std::function<void()>& function : functions) threads.emplace_back(function);
    for (std::thread& thread : threads) thread.join();
  }
  std::unique_ptr<Fabric> MakeNode(const NodeOptions& options) override {
    TcpFabric::Options tcp_options;
    tcp_options.clock = &clock_;
    tcp_options.atomic_domain = options.atomic_domain;
    tcp_options.unreachable_ms = 1000;
    tcp_options.send_queue_depth = 64;
    tcp_options.receive_queue_depth = 16;
    return std::make_unique<FabricInNamespace>(namespaces_.get(),
                                               nodes_made_++ % TwoNamespaces::kCount, tcp_options);
  }
  bool WaitReadable(int fd) override { return Readable(fd, kWaitMsMax); }
  bool IsReadable(int fd) override { return Readable(fd, 0); }

  const TwoNamespaces& namespaces() const { return *namespaces_; }

 private:
  static bool Readable(int fd, int timeout_ms) {
    pollfd event = {.fd = fd, .events = POLLIN, .revents = 0};
    return poll(&event, 1, timeout_ms) == 1;
  }

  const std::unique_ptr<TwoNamespaces> namespaces_;
  RealClock clock_;
  size_t nodes_made_ = 0;
};

class CutCableTest : public ConformanceTest {
 protected:
  const TwoNamespaces& namespaces() const {
    return static_cast<TcpInNamespaces*>(provider_)->namespaces();
  }
};
ACRE_CONFORMANCE_SUITE(CutCableTest);

// Goal: a peer that cannot be reached any more breaks the queue pair by itself, also with nothing outstanding
// (E3); a request under way tells that nobody answered.
TEST_P(CutCableTest, UnreachablePeerIsNoticed) {
  for (const bool outstanding : {false, true}) {
    Node client(provider_);
    Node server(provider_);
    const auto region = server.MakeRegion(7, kRightsAll);
    Connection connection = Connect(client, server);
    const RemoteKey key = Grant(connection.server.get(), *region, kRightsAll);
    namespaces().SetCut(true);
    if (outstanding) {
      Post(connection.client.get(), {Request(Opcode::kRead, client, 0, key)});
      ASSERT_TRUE(provider_->WaitReadable(client.queue->fd()));
      EXPECT_STREQ(CompletionStatusName(Await(client.queue.get()).status),
                   CompletionStatusName(CompletionStatus::kRetryExceeded));
    }
    ASSERT_TRUE(provider_->WaitReadable(client.queue->fd()));
    ExpectDisconnected(client, connection.client.get());
    ExpectDisconnected(server, connection.server.get());
    namespaces().SetCut(false);
  }
}

}  // namespace
}  // namespace acre::transport

int main(int argc, char** argv) {
  auto namespaces = acre::transport::TwoNamespaces::Create();
  if (!namespaces.ok()) {
    std::cout << "skipped: no two network namespaces here: " << namespaces.status().message()
              << std::endl;
    return 0;
  }
  acre::transport::ProvidersUnderTest().push_back(
      std::make_unique<acre::transport::TcpInNamespaces>(*std::move(namespaces)));
  testing::InitGoogleTest(&argc, argv);
  const int result = RUN_ALL_TESTS();
  acre::transport::ProvidersUnderTest().clear();  // The namespaces go.
  return result;
}
