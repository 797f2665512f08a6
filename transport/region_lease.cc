#include "transport/region_lease.h"

#include "absl/strings/str_cat.h"

namespace acre::transport {

absl::Status RegionLease::WhyNot() const {
  const uint64_t region_id = header_->region_id.Load(std::memory_order_acquire);
  const uint64_t generation = header_->generation.Load(std::memory_order_acquire);
  if (generation != generation_) {
    return absl::UnavailableError(absl::StrCat("region ", region_id, " has generation ", generation,
                                               " now, it was granted with ", generation_));
  }
  if (header_->state.Load(std::memory_order_acquire) != kRegionLive) {
    return absl::UnavailableError(absl::StrCat("region ", region_id, " was closed by its owner"));
  }
  if ((header_->owner.Load(std::memory_order_acquire) & kOwnerDied) != 0) {
    return absl::UnavailableError(absl::StrCat("the owner of region ", region_id, " died"));
  }
  return absl::UnavailableError(absl::StrCat(
      "the lease of region ", region_id, " was over: its owner died, or did not renew it in time"));
}

}  // namespace acre::transport
