#include <poll.h>

#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "transport/conformance/provider_under_test.h"
#include "transport/verbs/verbs_fabric.h"

namespace acre::transport {
namespace {

// Far more than any wake-up takes; a test that reaches it has failed.
constexpr int kWaitMsMax = 20'000;

class VerbsUnderTest final : public ProviderUnderTest {
 public:
  VerbsUnderTest(std::vector<std::string> addresses, uint32_t threads_per_qp)
      : addresses_(std::move(addresses)), threads_per_qp_(threads_per_qp) {}

  std::string name() const override { return threads_per_qp_ == 1 ? "verbs" : "verbs_shared"; }
  bool shares_queue_pairs() const override { return threads_per_qp_ > 1; }
  Atomicity atomicity() const override { return atomicity_; }
  Clock* clock() override { return &clock_; }
  void Progress() override {}
  void RunThreads(const std::vector<std::function<void()>>& functions) override {
    std::vector<std::thread> threads;
    for (const std::function<void()>& function : functions) threads.emplace_back(function);
    for (std::thread& thread : threads) thread.join();
  }

  // A round takes Soft-RoCE some tens of microseconds.
  uint64_t Rounds(uint64_t free_running) const override { return free_running / 100; }
  uint64_t CpuRounds(uint64_t free_running) const override { return free_running; }

  absl::Status Probe() {
    auto fabric = VerbsFabric::Create({.clock = &clock_});
    if (!fabric.ok()) return fabric.status();
    atomicity_ = (*fabric)->device().atomicity;
    return absl::OkStatus();
  }

  std::unique_ptr<Fabric> MakeNode(const NodeOptions& options) override {
    VerbsFabric::Options verbs_options;
    verbs_options.clock = &clock_;
    verbs_options.address = addresses_[nodes_count_++ % addresses_.size()];
    verbs_options.serves_atomics = options.atomic_domain == 0;
    verbs_options.threads_per_qp = threads_per_qp_;
    verbs_options.send_queue_depth = 64;
    verbs_options.receive_queue_depth = 16;
    auto fabric = VerbsFabric::Create(verbs_options);
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

  const std::vector<std::string> addresses_;
  const uint32_t threads_per_qp_;
  RealClock clock_;
  Atomicity atomicity_ = Atomicity::kHca;
  size_t nodes_count_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ProviderUnderTest>> MakeVerbsUnderTest(uint32_t threads_per_qp) {
  auto provider = std::make_unique<VerbsUnderTest>(VerbsFabric::Addresses(), threads_per_qp);
  if (absl::Status probed = provider->Probe(); !probed.ok()) return probed;
  return provider;
}

}  // namespace acre::transport
