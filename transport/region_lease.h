// RegionLease: whether the owner of a mapped region is still there, cheap enough to ask after each read:
// by the kernel's death mark, or where a region has none, by its lease.
//
// A process that maps a region goes on reading it after its owner died. So whoever reads mapped memory
// asks IsLive() after the loads of the data, and returns data only if it says yes: then the region had
// the generation that it was mapped with, was not closed, its owner was not marked dead, and its lease,
// if it has one, was not over when the data were loaded. Why that is enough, and why no time stamp
// counter is read here, is in docs/leases.md.
//
// Ownership:  borrows the header and the clock; both outlive it.
// Threads:    any number. The header is written meanwhile by its owner and, when that dies, by the kernel;
//             by nobody else where the kernel keeps peers from writing it.
// Invariants: yes is said only while the clock is before the lease's end; from Clock::coarse_lag_ns()
//             before the end it may be no.
// Limits:     a yes costs a few instructions: four loads of one line that is nearly always in the cache.
//             With a lease it takes the coarse clock too, some 60 instructions more. No call orders
//             instructions, so cache misses of the data stay in flight.

#ifndef ACRE_TRANSPORT_REGION_LEASE_H_
#define ACRE_TRANSPORT_REGION_LEASE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "runtime/clock.h"
#include "runtime/planted_bug.h"
#include "runtime/shared_word.h"
#include "transport/region_header.h"

namespace acre::transport {

// RegionHeader::lease_deadline_ns of a region that has no lease.
constexpr uint64_t kNoLeaseNs = ~uint64_t{0};

class RegionLease {
 public:
  // `generation` is the one that the region was granted with.
  RegionLease(const RegionHeader* header, uint64_t generation, Clock* clock)
      : header_(header), generation_(generation), clock_(clock), lag_ns_(clock->coarse_lag_ns()) {}

  // Call it after the last load of the data: those loads are acquire loads, so the loads here, of the
  // clock's too, follow them.
  [[nodiscard]] bool IsLive() const {
    if (IsPlanted(PlantedBug::kLeaseUnchecked)) return true;
    // The owner stores these while we look, `owner` the kernel. Acquire: none ahead of the data's loads.
    const uint64_t generation = header_->generation.Load(std::memory_order_acquire);
    const uint64_t state = header_->state.Load(std::memory_order_acquire);
    const uint64_t owner = header_->owner.Load(std::memory_order_acquire);
    const uint64_t lease_ns = header_->lease_deadline_ns.Load(std::memory_order_acquire);
    // One branch for all three.
    if (((generation ^ generation_) | (state ^ kRegionLive) | (owner & kOwnerDied)) != 0)
        [[unlikely]]
      return false;
    return lease_ns == kNoLeaseNs || clock_->CoarseNowNs() + lag_ns_ < lease_ns;
  }

  // Why IsLive() said no, for people. Never OK, also when a lease was renewed meanwhile.
  // Requires: IsLive() said no.
  [[nodiscard]] absl::Status WhyNot() const;

 private:
  const RegionHeader* header_;
  uint64_t generation_;
  Clock* clock_;
  uint64_t lag_ns_;  // How much earlier than it reads the coarse clock may be.
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_REGION_LEASE_H_
