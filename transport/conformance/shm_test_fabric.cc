#include "transport/conformance/test_fabric.h"
#include "transport/shm/shm_fabric.h"

namespace acre::transport {

absl::StatusOr<std::unique_ptr<Fabric>> MakeTestFabric(Clock* clock) {
  return ShmFabric::Create({.clock = clock});
}

// Requests are done when Post() returns; wake-ups take a look at the sockets.
int TestFabricIdlePasses() { return 10; }

}  // namespace acre::transport
