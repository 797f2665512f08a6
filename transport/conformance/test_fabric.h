// The fabric that tests of what runs on one are linked with. Which one it is, BUILD says.

#ifndef ACRE_TRANSPORT_CONFORMANCE_TEST_FABRIC_H_
#define ACRE_TRANSPORT_CONFORMANCE_TEST_FABRIC_H_

#include <memory>

#include "absl/status/statusor.h"
#include "runtime/clock.h"
#include "transport/fabric.h"

namespace acre::transport {

// A node of its own, with the provider's default depths.
absl::StatusOr<std::unique_ptr<Fabric>> MakeTestFabric(Clock* clock);

// How many passes in a row, over all nodes, find nothing to do when nothing more will come.
int TestFabricIdlePasses();

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_CONFORMANCE_TEST_FABRIC_H_
