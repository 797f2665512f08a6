#include <atomic>
#include <string>
#include <vector>

#include "transport/conformance/test_fabric.h"
#include "transport/verbs/verbs_fabric.h"

namespace acre::transport {

absl::StatusOr<std::unique_ptr<Fabric>> MakeTestFabric(Clock* clock,
                                                       const TestFabricOptions& wanted) {
  static std::atomic<size_t> fabrics_count = 0;
  VerbsFabric::Options options;
  options.clock = clock;
  options.send_queue_depth = wanted.send_queue_depth;
  options.receive_queue_depth = wanted.receive_queue_depth;
  const std::vector<std::string> addresses = VerbsFabric::Addresses();
  if (!addresses.empty()) {
    const size_t card = wanted.card.has_value() ? *wanted.card : fabrics_count++;
    options.address = addresses[card % addresses.size()];
  }
  return VerbsFabric::Create(options);
}

// A pass takes a few microseconds. Soft-RoCE takes some tens for a request, when it gets a CPU at once.
int TestFabricIdlePasses() { return 20'000; }

int TestFabricRounds(int rounds_on_shm) { return rounds_on_shm / 5; }

}  // namespace acre::transport
