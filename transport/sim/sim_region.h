// SimRegion: a memory region of the simulated provider, as its owner has it.

#ifndef ACRE_TRANSPORT_SIM_SIM_REGION_H_
#define ACRE_TRANSPORT_SIM_SIM_REGION_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "transport/fabric.h"
#include "transport/region_header.h"
#include "transport/sim/sim_context.h"
#include "transport/sim/sim_memory.h"

namespace acre::transport {

// Ownership:  borrows the memory, which belongs to the network: peers that have it mapped keep it.
// Threads:    any; RenewLease by one at a time.
class SimRegion final : public MemoryRegion {
 public:
  static absl::StatusOr<std::unique_ptr<SimRegion>> Create(const RegionOptions& options,
                                                           SimContext* context);
  ~SimRegion() override;

  void RenewLease(uint64_t now_ns) override;

  SimMemory* memory() const { return memory_; }

 private:
  SimRegion(const RegionOptions& options, SimContext* context);

  RegionHeader* header() const { return reinterpret_cast<RegionHeader*>(words_); }

  SimContext* const context_;
  SimMemory* const memory_;
  const uint64_t lease_ns_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_REGION_H_
