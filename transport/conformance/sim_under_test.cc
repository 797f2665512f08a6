// The simulated provider, held to the contract: in worlds of several seeds, on cards of both atomicities and
// on shared memory, with every fault that leaves connections whole.
//
//   bazel test --config=sim //transport/conformance:conformance_sim_test //transport/conformance:conformance_litmus_sim_test
//   bazel run --config=sim //transport/conformance:conformance_sim_test -- --first_seed=100 --seeds=50

#include <sys/epoll.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gflags/gflags.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/sim/world.h"
#include "transport/conformance/provider_under_test.h"
#include "transport/sim/sim_fabric.h"
#include "transport/sim/sim_network.h"

DEFINE_uint64(first_seed, 1, "the seed of the first world");
DEFINE_uint64(seeds, 3, "how many worlds, of each kind");

namespace acre::transport {
namespace {

constexpr uint64_t kNsPerS = 1'000'000'000;

class SimUnderTest final : public ProviderUnderTest {
 public:
  SimUnderTest(uint64_t seed, SimDevice device, Atomicity atomicity)
      : seed_(seed), device_(device), atomicity_(atomicity), world_({.seed = seed}) {
    network_.SetFaults(Faults());
    for (const char* name : {"a", "b", "c"}) machines_.push_back(world_.AddMachine(name));
    threads_process_ = world_.AddProcess(machines_[0], "threads");
  }

  std::string name() const override {
    const char* const kind = device_ == SimDevice::kSharedMemory ? "memory" : "card";
    return absl::StrCat("sim_", kind, atomicity_ == Atomicity::kHca ? "_hca" : "_global", "_seed",
                        seed_);
  }
  Atomicity atomicity() const override { return atomicity_; }
  bool reads_at_once() const override { return device_ == SimDevice::kSharedMemory; }
  Clock* clock() override { return machines_[0]->clock(); }

  void Progress() override {
    if (world_.current_thread() != nullptr) return world_.Spend(50);
    world_.RunUntil([] { return false; }, world_.NowNs() + 1'000);
  }
  void RunThreads(const std::vector<std::function<void()>>& functions) override {
    size_t left = functions.size();
    for (const std::function<void()>& function : functions) {
      threads_process_->Spawn("test", [&left, &function] {
        function();
        --left;
      });
    }
    CHECK(world_.RunUntil([&left] { return left == 0; }, world_.NowNs() + 10'000 * kNsPerS));
  }

  // Each round has delays of its own, in all sizes.
  uint64_t Rounds(uint64_t free_running) const override { return free_running / 50; }

  std::unique_ptr<Fabric> MakeNode(const NodeOptions& options) override {
    // Shared memory does not reach further than one machine.
    sim::Machine* const machine =
        device_ == SimDevice::kSharedMemory ? machines_[0] : machines_[nodes_count_++ % 3];
    SimFabric::Options sim_options;
    sim_options.device = device_;
    sim_options.atomicity = atomicity_;
    sim_options.atomic_domain = options.atomic_domain;
    sim_options.send_queue_depth = 64;
    sim_options.receive_queue_depth = 16;
    auto fabric = SimFabric::Create(&network_, world_.AddProcess(machine, "node"), sim_options);
    CHECK(fabric.ok()) << fabric.status();
    return *std::move(fabric);
  }

  bool WaitReadable(int fd) override { return Readable(fd, 20 * kNsPerS); }
  bool IsReadable(int fd) override { return Readable(fd, 0); }

 private:
  // The more of it the better, but for connections that break by themselves: the tests would have to expect it.
  static SimFaults Faults() {
    SimFaults faults = SimFaults::All();
    faults.lost_connection = 0;
    return faults;
  }

  // Asks as a thread would that sleeps.
  bool Readable(int fd, uint64_t timeout_ns) {
    bool is_readable = false;
    RunThreads({[&] {
      const std::unique_ptr<Sleeper> sleeper = clock()->NewSleeper();
      CHECK(sleeper->Watch(fd, EPOLLIN, this).ok());
      std::array<epoll_event, 1> events;
      is_readable = sleeper->Wait(absl::MakeSpan(events), timeout_ns) == 1;
      sleeper->Unwatch(fd);
    }});
    return is_readable;
  }

  const uint64_t seed_;
  const SimDevice device_;
  const Atomicity atomicity_;
  sim::World world_;
  SimNetwork network_{&world_};
  std::vector<sim::Machine*> machines_;
  sim::Process* threads_process_;
  size_t nodes_count_ = 0;
};

void MakeProviders() {
  for (uint64_t i = 0; i < FLAGS_seeds; ++i) {
    const uint64_t seed = FLAGS_first_seed + i;
    std::vector<std::unique_ptr<ProviderUnderTest>>& all = ProvidersUnderTest();
    all.push_back(std::make_unique<SimUnderTest>(seed, SimDevice::kCard, Atomicity::kHca));
    all.push_back(std::make_unique<SimUnderTest>(seed, SimDevice::kCard, Atomicity::kGlobal));
    all.push_back(
        std::make_unique<SimUnderTest>(seed, SimDevice::kSharedMemory, Atomicity::kGlobal));
  }
}

}  // namespace

}  // namespace acre::transport

int main(int argc, char** argv) {
  gflags::AllowCommandLineReparsing();
  gflags::ParseCommandLineNonHelpFlags(&argc, &argv, true);
  acre::transport::MakeProviders();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
