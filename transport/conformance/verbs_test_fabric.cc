#include <atomic>
#include <string>
#include <vector>

#include "transport/conformance/test_fabric.h"
#include "transport/verbs/verbs_fabric.h"

namespace acre::transport {

// On this machine's cards in turn.
absl::StatusOr<std::unique_ptr<Fabric>> MakeTestFabric(Clock* clock) {
  static std::atomic<size_t> fabrics_count = 0;
  VerbsFabric::Options options;
  options.clock = clock;
  const std::vector<std::string> addresses = VerbsFabric::Addresses();
  if (!addresses.empty()) options.address = addresses[fabrics_count++ % addresses.size()];
  return VerbsFabric::Create(options);
}

// A pass takes a few microseconds. Soft-RoCE takes some tens for a request, when it gets a CPU at once.
int TestFabricIdlePasses() { return 20'000; }

}  // namespace acre::transport
