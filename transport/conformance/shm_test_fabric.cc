#include "transport/conformance/test_fabric.h"
#include "transport/shm/shm_fabric.h"

namespace acre::transport {

absl::StatusOr<std::unique_ptr<Fabric>> MakeTestFabric(Clock* clock,
                                                       const TestFabricOptions& options) {
  return ShmFabric::Create({.clock = clock,
                            .send_queue_depth = options.send_queue_depth,
                            .receive_queue_depth = options.receive_queue_depth});
}

// Requests are done when Post() returns; wake-ups take a look at the sockets.
int TestFabricIdlePasses() { return 10; }

int TestFabricRounds(int rounds_on_shm) { return rounds_on_shm; }

}  // namespace acre::transport
