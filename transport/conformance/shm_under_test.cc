#include <poll.h>

#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "transport/conformance/provider_under_test.h"
#include "transport/shm/shm_fabric.h"

namespace acre::transport {
namespace {

// Far more than any wake-up takes; a test that reaches it has failed.
constexpr int kWaitMsMax = 20'000;

class ShmUnderTest final : public ProviderUnderTest {
 public:
  explicit ShmUnderTest(Atomicity atomicity) : atomicity_(atomicity) {}

  std::string name() const override {
    return atomicity_ == Atomicity::kHca ? "shm_hca" : "shm_global";
  }
  Atomicity atomicity() const override { return atomicity_; }
  bool reads_at_once() const override { return true; }
  Clock* clock() override { return &clock_; }
  void Progress() override {}
  void RunThreads(const std::vector<std::function<void()>>& functions) override {
    std::vector<std::thread> threads;
    for (const std::function<void()>& function : functions) threads.emplace_back(function);
    for (std::thread& thread : threads) thread.join();
  }

  std::unique_ptr<Fabric> MakeNode(const NodeOptions& options) override {
    ShmFabric::Options shm_options;
    shm_options.clock = &clock_;
    shm_options.atomicity = atomicity_;
    shm_options.atomic_domain = options.atomic_domain;
    shm_options.send_queue_depth = 64;
    shm_options.receive_queue_depth = 16;
    auto fabric = ShmFabric::Create(shm_options);
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

std::unique_ptr<ProviderUnderTest> MakeShmUnderTest(Atomicity atomicity) {
  return std::make_unique<ShmUnderTest>(atomicity);
}

}  // namespace acre::transport
