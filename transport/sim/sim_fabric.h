// SimFabric: the fabric of a simulated process. See docs/simulator.md, section "Fabric".

#ifndef ACRE_TRANSPORT_SIM_SIM_FABRIC_H_
#define ACRE_TRANSPORT_SIM_SIM_FABRIC_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "runtime/sim/world.h"
#include "transport/fabric.h"
#include "transport/sim/sim_context.h"
#include "transport/sim/sim_network.h"

namespace acre::transport {

// Ownership:  borrows the network. CHECKs that all that it made is gone before it. Of a process that was
//             killed it leaks as a rule, with all that it made; it may be destroyed as well.
// Threads:    the process's, or none (a test's main function).
class SimFabric final : public Fabric {
 public:
  struct Options {
    SimDevice device = SimDevice::kCard;
    // Default: as cards are, kHca; shared memory is kGlobal and nothing else.
    absl::optional<Atomicity> atomicity = absl::nullopt;
    // Of our regions. Atomics work between fabrics that name the same one (A3).
    uint64_t atomic_domain = 0;
    // This process's incarnation, for region headers. 0: a random one.
    uint64_t generation = 0;
    uint32_t send_queue_depth = 256;
    uint32_t receive_queue_depth = 256;  // A power of two, at least 2.
    uint32_t max_rd_atomic = 16;
    // Whether peers on one machine may map what was granted to them. Default: with shared memory.
    absl::optional<bool> can_map = absl::nullopt;
    // RegionOptions::death_mark works: with shared memory. A kernel without robust futexes: false.
    bool marks_deaths = true;
  };

  // Errors: InvalidArgument - an option out of its range.
  static absl::StatusOr<std::unique_ptr<SimFabric>> Create(SimNetwork* network,
                                                           sim::Process* process,
                                                           const Options& options);
  ~SimFabric() override;

  const DeviceAttributes& device() const override { return context_->device; }
  absl::StatusOr<std::unique_ptr<MemoryRegion>> CreateRegion(const RegionOptions& options) override;
  absl::StatusOr<std::unique_ptr<CompletionQueue>> CreateCompletionQueue() override;
  absl::StatusOr<std::unique_ptr<Listener>> Listen() override;
  absl::StatusOr<std::unique_ptr<QueuePair>> Connect(absl::string_view endpoint,
                                                     CompletionQueue* completion_queue,
                                                     absl::string_view private_data) override;

 private:
  explicit SimFabric(SimContext* context) : context_(context) {}

  SimContext* const context_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_FABRIC_H_
