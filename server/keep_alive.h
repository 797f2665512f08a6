// KeepAlive: the signs of life of a server, and the passing of its epochs.

#ifndef ACRE_SERVER_KEEP_ALIVE_H_
#define ACRE_SERVER_KEEP_ALIVE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kvs/epoch.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/fabric.h"

namespace acre::server {

// Moves the leases of all regions to `now_ns` + their length.
void RenewLeases(absl::Span<transport::MemoryRegion* const> regions, uint64_t now_ns);

// Five times a lease: renews the leases, lets the epochs move on and shows the new one in the regions'
// headers. Never ends. Borrows all; one such task for a set of regions.
Task<void> KeepAlive(Scheduler* scheduler, kvs::EpochClock* epochs,
                     std::vector<transport::MemoryRegion*> regions, uint64_t lease_ns);

}  // namespace acre::server

#endif  // ACRE_SERVER_KEEP_ALIVE_H_
