// The memory of a region, as all providers make it that have memory of their own.

#ifndef ACRE_TRANSPORT_SHM_REGION_MEMORY_H_
#define ACRE_TRANSPORT_SHM_REGION_MEMORY_H_

#include "absl/status/statusor.h"
#include "transport/fabric.h"
#include "transport/shm/shm_memory.h"

namespace acre::transport {

// Judges the options, and makes memory of their size, pages and name. Threads: any.
// Errors: as Fabric::CreateRegion.
absl::StatusOr<SharedMemory> MakeRegionMemory(const RegionOptions& options, PeerAccess access);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_REGION_MEMORY_H_
