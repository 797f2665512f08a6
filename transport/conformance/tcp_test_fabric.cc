#include "transport/conformance/test_fabric.h"
#include "transport/tcp/tcp_fabric.h"

namespace acre::transport {

absl::StatusOr<std::unique_ptr<Fabric>> MakeTestFabric(Clock* clock,
                                                       const TestFabricOptions& options) {
  return TcpFabric::Create({.clock = clock,
                            .send_queue_depth = options.send_queue_depth,
                            .receive_queue_depth = options.receive_queue_depth});
}

// A pass takes a few microseconds. A request takes some tens, when the fabric's thread gets a CPU at once.
int TestFabricIdlePasses() { return 2'000; }

int TestFabricRounds(int rounds_on_shm) { return rounds_on_shm; }

}  // namespace acre::transport
