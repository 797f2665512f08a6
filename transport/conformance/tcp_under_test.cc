#include <poll.h>

#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "transport/conformance/provider_under_test.h"
#include "transport/tcp/tcp_fabric.h"

namespace acre::transport {
namespace {

// Far more than any wake-up takes; a test that reaches it has failed.
constexpr int kWaitMsMax = 20'000;

class TcpUnderTest final : public ProviderUnderTest {
 public:
  explicit TcpUnderTest(Atomicity atomicity) : atomicity_(atomicity) {}

  std::string name() const override {
    return atomicity_ == Atomicity::kHca ? "tcp_hca" : "tcp_global";
  }
  Atomicity atomicity() const override { return atomicity_; }
  Clock* clock() override { return &clock_; }
  void Progress() override {}
  void RunThreads(const std::vector<std::function<void()>>& functions) override {
    std::vector<std::thread> threads;
    for (const std::function<void()>& function : functions) threads.emplace_back(function);
    for (std::thread& thread : threads) thread.join();
  }

  // Each takes two system calls, and a thread that may have to wake.
  uint64_t Rounds(uint64_t free_running) const override { return free_running / 20; }
  uint64_t CpuRounds(uint64_t free_running) const override { return free_running; }

  std::unique_ptr<Fabric> MakeNode(const NodeOptions& options) override {
    TcpFabric::Options tcp_options;
    tcp_options.clock = &clock_;
    tcp_options.atomicity = atomicity_;
    tcp_options.atomic_domain = options.atomic_domain;
    tcp_options.send_queue_depth = 64;
    tcp_options.receive_queue_depth = 16;
    auto fabric = TcpFabric::Create(tcp_options);
    CHECK(fabric.ok()) << fabric.status();
    return *std::move(fabric);
  }

  bool WaitReadable(int fd) override { return Readable(fd, kWaitMsMax); }
  bool IsReadable(int fd) override { return Readable(fd, 0); }

 private:
  static bool Readable(int fd, int timeout_ms) {
    pollfd event = {.fd = fd, .events = POLLIN, .revents = 0};
    return poll(&event, 1, timeout_ms) == 1;
  }

  Atomicity atomicity_;
  RealClock clock_;
};

}  // namespace

std::unique_ptr<ProviderUnderTest> MakeTcpUnderTest(Atomicity atomicity) {
  return std::make_unique<TcpUnderTest>(atomicity);
}

}  // namespace acre::transport
