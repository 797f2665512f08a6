// ShmFabric: the fabric between processes of one machine, over shared memory. See docs/shm.md.

#ifndef ACRE_TRANSPORT_SHM_SHM_FABRIC_H_
#define ACRE_TRANSPORT_SHM_SHM_FABRIC_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/clock.h"
#include "transport/fabric.h"
#include "transport/shm/shm_context.h"

namespace acre::transport {

// Ownership:  borrows the clock. CHECKs that all that it made is gone before it.
// Threads:    any.
// Limits:     a queue pair holds one descriptor, a region one, a completion queue three.
class ShmFabric final : public Fabric {
 public:
  struct Options {
    Clock* clock = nullptr;  // Must outlive the Fabric. Its NowNs() must be that of the peers.
    // How peers' atomics act on our regions. kHca: as on a card, for tests (fabric.h, A2).
    Atomicity atomicity = Atomicity::kGlobal;
    // Of our regions. Regions that a card serves as well name that card's domain here, so that
    // atomics through shm are refused (A3). Atomics work between fabrics that name the same one.
    uint64_t atomic_domain = 0;
    // This process's incarnation, for region headers. 0: a random one.
    uint64_t generation = 0;
    // false: regions that ask for a death mark have a lease instead, as on kernels without robust
    // futexes.
    bool death_marks = true;
    uint32_t send_queue_depth = 256;
    uint32_t receive_queue_depth = 256;  // A power of two, at least 2.
  };

  // Errors: InvalidArgument - an option out of its range.
  static absl::StatusOr<std::unique_ptr<ShmFabric>> Create(const Options& options);
  ~ShmFabric() override;

  const DeviceAttributes& device() const override { return context_.device; }
  absl::StatusOr<std::unique_ptr<MemoryRegion>> CreateRegion(const RegionOptions& options) override;
  absl::StatusOr<std::unique_ptr<CompletionQueue>> CreateCompletionQueue() override;
  absl::StatusOr<std::unique_ptr<Listener>> Listen() override;
  absl::StatusOr<std::unique_ptr<QueuePair>> Connect(absl::string_view endpoint,
                                                     CompletionQueue* completion_queue,
                                                     absl::string_view private_data) override;

 private:
  ShmFabric() = default;

  ShmContext context_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_SHM_FABRIC_H_
