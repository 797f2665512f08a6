// A server's memory: how it is cut into regions; and touching it before it serves, so that the first writes are as
// fast as later ones, and memory that the machine does not have is an error at the start instead of a death under load.

#ifndef ACRE_SERVER_MEMORY_H_
#define ACRE_SERVER_MEMORY_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/clock.h"
#include "transport/fabric.h"

namespace acre::server {

// The largest data region, unless a server is told otherwise.
constexpr uint64_t kDataRegionBytesMax = uint64_t{2} << 30;

// Regions of equal size, as few as may be: keys spread evenly over them, so memory does too.
struct RegionPlan {
  uint64_t count = 0;
  uint64_t bytes = 0;  // Of each: what a card registers at once. A whole number of 2 MiB.
};
// Requires: region_bytes_max > 0.
RegionPlan PlanRegions(uint64_t memory_bytes, uint64_t region_bytes_max);

// Has the kernel back every page of the regions, with `threads` threads of its own that are gone when it
// returns. Contents stay. Says how far it is about every two seconds. `stop_requested` may be null.
// ResourceExhausted: the machine has not got that much. Cancelled: a stop was requested.
absl::Status PopulateRegions(absl::Span<transport::MemoryRegion* const> regions, int threads,
                             Clock* clock, const std::function<void(absl::string_view)>& say,
                             const std::function<bool()>& stop_requested);

}  // namespace acre::server

#endif  // ACRE_SERVER_MEMORY_H_
