// Both ends of the handshake on one thread, over the shm fabric: a server that is a door and one
// region, its workers played by the test, and clients.

#ifndef ACRE_TESTS_HANDSHAKE_TEST_UTIL_H_
#define ACRE_TESTS_HANDSHAKE_TEST_UTIL_H_

#include <sys/epoll.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/deadline.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/wait_queue.h"
#include "transport/bootstrap_peer.h"
#include "transport/bootstrap_server.h"
#include "transport/port.h"
#include "transport/shm/shm_fabric.h"
#include "transport/socket.h"
#include "transport/stream.h"

namespace acre::tests {

using transport::ArrivingPeer;
using transport::BootstrapServer;
using transport::BootstrapToken;

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint32_t kLayout = 17;
constexpr uint64_t kGeneration = 4711;

inline std::unique_ptr<transport::ShmFabric> MakeFabric(Clock* clock) {
  transport::ShmFabric::Options options;
  options.clock = clock;
  auto fabric = transport::ShmFabric::Create(options);
  CHECK(fabric.ok()) << fabric.status();
  return *std::move(fabric);
}

class HandshakeTest : public testing::Test, public BootstrapServer::Delegate {
 protected:
  HandshakeTest()
      : scheduler_({.clock = &clock_, .name = "test"}),
        server_fabric_(MakeFabric(&clock_)),
        client_fabric_(MakeFabric(&clock_)),
        server_queue_(server_fabric_->CreateCompletionQueue().value()),
        client_queue_(client_fabric_->CreateCompletionQueue().value()),
        server_port_(std::make_unique<transport::Port>(&scheduler_, server_queue_.get())),
        client_port_(std::make_unique<transport::Port>(&scheduler_, client_queue_.get())),
        arrived_(&scheduler_) {
    transport::RegionOptions options;
    options.region_id = 1;
    options.size_bytes = 8192;
    options.peer_rights = transport::kRightRead;
    region_ = server_fabric_->CreateRegion(options).value();
    listener_ = server_fabric_->Listen().value();
    Open({});
  }
  ~HandshakeTest() override {
    arrivals_.clear();
    door_.reset();
    listener_.reset();
    region_.reset();
    server_port_.reset();
    client_port_.reset();
  }

  void Open(transport::BootstrapServerOptions options) {
    door_.reset();
    options.layout_version = kLayout;
    options.generation = kGeneration;
    options.lease_ns = kSecondNs;
    options.fill_random = [this](absl::Span<uint8_t> bytes) {
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_.Next());
    };
    auto socket = transport::BindSocket(transport::Resolve({"127.0.0.1", 0}).value().front());
    CHECK(socket.ok()) << socket.status();
    CHECK(transport::StartListening(socket->get()).ok());
    address_ = transport::ParseHostPort(transport::LocalAddress(socket->get()).ToString()).value();
    door_ = std::make_unique<BootstrapServer>(
        &scheduler_, std::move(options),
        offered_.empty() ? std::vector<BootstrapServer::OfferedFabric>{{"shm", listener_.get()}}
                         : offered_,
        *std::move(socket), this);
  }

  transport::ConnectOptions ClientOptions() {
    transport::ConnectOptions options;
    options.server = address_;
    options.layout_version = kLayout;
    options.fabrics = {{client_fabric_.get(), client_port_.get()}};
    options.channel.region_id = next_client_region_++;
    options.deadline_ns = scheduler_.NowNs() + 20 * kSecondNs;
    return options;
  }

  // Takes in the next that arrives.
  Task<absl::StatusOr<transport::Link>> AcceptNext() {
    while (arrivals_.empty()) co_await arrived_.Wait();
    ArrivingPeer peer = std::move(arrivals_.front());
    arrivals_.erase(arrivals_.begin());
    transport::AcceptOptions options;
    options.fabric = server_fabric_.get();
    options.port = server_port_.get();
    options.channel.region_id = next_server_region_++;
    options.regions = {region_.get()};
    absl::StatusOr<transport::Link> link =
        co_await transport::AcceptPeer(std::move(peer), std::move(options));
    co_return link;
  }

  static Task<void> Keep(Task<absl::StatusOr<transport::Link>> task,
                         absl::StatusOr<transport::Link>* to) {
    absl::StatusOr<transport::Link> link = co_await std::move(task);
    *to = std::move(link);
  }

  // A stream to the door, and what it says there.
  std::unique_ptr<transport::Stream> Say(std::string bytes) {
    return SayTo(address_, std::move(bytes));
  }
  std::unique_ptr<transport::Stream> SayTo(const transport::HostPort& address, std::string bytes) {
    auto fd = transport::StartConnect(transport::Resolve(address).value().front());
    CHECK(fd.ok()) << fd.status();
    auto stream = std::make_unique<transport::Stream>(&scheduler_, *std::move(fd));
    const uint64_t deadline_ns = scheduler_.NowNs() + 20 * kSecondNs;
    CHECK(scheduler_.RunUntilDone(stream->FinishConnect(deadline_ns)).ok());
    CHECK(scheduler_.RunUntilDone(stream->Write(std::move(bytes), deadline_ns)).ok());
    return stream;
  }
  // What comes on it till the other side closes, at most bytes_max.
  std::string ReadToEnd(transport::Stream* stream, size_t bytes_max = 1 << 20) {
    std::string text;
    while (text.size() < bytes_max) {
      char byte;
      Task<absl::Status> read = stream->Read(&byte, 1, scheduler_.NowNs() + 20 * kSecondNs);
      const absl::Status status = scheduler_.RunUntilDone(std::move(read));
      if (!status.ok()) break;
      text += byte;
    }
    return text;
  }
  absl::Status ReadByte(transport::Stream* stream) {
    char byte;
    return scheduler_.RunUntilDone(stream->Read(&byte, 1, scheduler_.NowNs() + 20 * kSecondNs));
  }

  // Of the delegate.
  absl::Status MayEnter(const transport::Hello& /*hello*/) override { return may_enter_; }
  void OnPeer(ArrivingPeer peer) override {
    arrivals_.push_back(std::move(peer));
    arrived_.NotifyAll();
  }
  void OnOtherPurpose(absl::string_view purpose, ScopedFd) override {
    other_purpose_ = std::string(purpose);
    arrived_.NotifyAll();
  }

  RealClock clock_;
  Random random_{1};
  Scheduler scheduler_;
  std::unique_ptr<transport::Fabric> server_fabric_;
  std::unique_ptr<transport::Fabric> client_fabric_;
  std::unique_ptr<transport::CompletionQueue> server_queue_;
  std::unique_ptr<transport::CompletionQueue> client_queue_;
  std::unique_ptr<transport::Port> server_port_;
  std::unique_ptr<transport::Port> client_port_;
  std::unique_ptr<transport::MemoryRegion> region_;
  std::unique_ptr<transport::Listener> listener_;
  transport::HostPort address_;
  std::vector<BootstrapServer::OfferedFabric> offered_;  // By Open(). Empty: shm alone.
  std::unique_ptr<BootstrapServer> door_;
  uint32_t next_client_region_ = 1;
  uint32_t next_server_region_ = 2;

  absl::Status may_enter_;
  std::vector<ArrivingPeer> arrivals_;
  WaitQueue arrived_;
  std::string other_purpose_;
};

}  // namespace acre::tests

#endif  // ACRE_TESTS_HANDSHAKE_TEST_UTIL_H_
