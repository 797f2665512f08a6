// The fabric that tests of what runs on one are linked with. Which one it is, BUILD says.

#ifndef ACRE_TRANSPORT_CONFORMANCE_TEST_FABRIC_H_
#define ACRE_TRANSPORT_CONFORMANCE_TEST_FABRIC_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "runtime/clock.h"
#include "transport/fabric.h"

namespace acre::transport {

struct TestFabricOptions {
  uint32_t send_queue_depth = 256;
  uint32_t receive_queue_depth = 256;
  // Fabrics that name different ones of 0 and 1 are on different cards, where there are cards. By default they
  // take turns.
  absl::optional<size_t> card = {};
};

// A node of its own.
absl::StatusOr<std::unique_ptr<Fabric>> MakeTestFabric(Clock* clock,
                                                       const TestFabricOptions& options = {});

// How many passes in a row, over all nodes, find nothing to do when nothing more will come.
int TestFabricIdlePasses();

// How many rounds of a random test are to be run where shm runs so many: connections take their time, and in a
// virtual machine all does.
int TestFabricRounds(int rounds_on_shm);

// Calls `step`, which drives all nodes a little, until `is_done`: what a test waits for, however long the
// fabric takes for its requests. False if that has not come after a time that no fabric needs.
template <class IsDone, class Step>
[[nodiscard]] bool StepUntil(Clock* clock, const IsDone& is_done, const Step& step) {
  constexpr uint64_t kPatienceNs = 20'000'000'000;
  const uint64_t give_up_ns = clock->NowNs() + kPatienceNs;
  while (!is_done()) {
    if (clock->NowNs() > give_up_ns) return false;
    step();
  }
  return true;
}

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_CONFORMANCE_TEST_FABRIC_H_
