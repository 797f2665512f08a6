#include "transport/conformance/test_fabric.h"
#include "transport/tcp/tcp_fabric.h"

namespace acre::transport {

absl::StatusOr<std::unique_ptr<Fabric>> MakeTestFabric(Clock* clock,
                                                       const TestFabricOptions& options) {
  TcpFabric::Options tcp;
  tcp.clock = clock;
  tcp.atomicity = Atomicity::kHca;  // As on a card.
  tcp.send_queue_depth = options.send_queue_depth;
  tcp.receive_queue_depth = options.receive_queue_depth;
  return TcpFabric::Create(tcp);
}

// A pass takes a few microseconds, a request some tens, and a thread that may have to wake.
int TestFabricIdlePasses() { return 5'000; }

int TestFabricRounds(int rounds_on_shm) { return rounds_on_shm / 5; }

}  // namespace acre::transport
