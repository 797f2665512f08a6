#include "transport/provider_rules.h"

#include "absl/strings/str_cat.h"
#include "transport/region_header.h"

namespace acre::transport {

absl::Status JudgeRegionOptions(const RegionOptions& options) {
  if (options.region_id == 0) return absl::InvalidArgumentError("region id 0 is never used");
  if ((options.peer_rights & ~uint32_t{kRightsAll}) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("unknown rights ", options.peer_rights));
  }
  if (options.size_bytes < kRegionHeaderBytes || options.size_bytes > kRegionBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("a region takes ", kRegionHeaderBytes,
                                                   " bytes to 4 GiB, not ", options.size_bytes));
  }
  if (options.death_mark && LetsWrite(options.peer_rights)) {
    return absl::InvalidArgumentError(
        "no death mark for a region whose header peers can write: they could forge it");
  }
  return absl::OkStatus();
}

absl::Status JudgeGrant(const MemoryRegion& region, uint32_t peer_rights, uint32_t rights) {
  if (rights != 0 && (rights & ~peer_rights) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "region ", region.region_id(), " lets peers have rights ", peer_rights, ", not ", rights));
}

absl::Status ErrorNotReady(QueuePairState state, const absl::Status& why) {
  if (state == QueuePairState::kConnecting) {
    return absl::FailedPreconditionError("still connecting: wait for kConnected");
  }
  return absl::UnavailableError(absl::StrCat("the connection is broken: ", why.message()));
}

}  // namespace acre::transport
