#include "transport/shm/region_memory.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "transport/provider_rules.h"

namespace acre::transport {
namespace {

// Names in /proc/*/maps are cut by the kernel at 249 bytes.
std::string NameOf(const RegionOptions& options) {
  if (options.name.empty()) return absl::StrCat("acre-region-", options.region_id);
  return options.name.substr(0, 200);
}

}  // namespace

absl::StatusOr<SharedMemory> MakeRegionMemory(const RegionOptions& options, PeerAccess access) {
  const absl::Status judged = JudgeRegionOptions(options);
  if (!judged.ok()) return judged;
  absl::StatusOr<SharedMemory> memory =
      MakeSharedMemory(NameOf(options), options.size_bytes, options.huge_pages, access);
  if (memory.ok() && memory->mapping.size_bytes() > kRegionBytesMax) {
    return absl::InvalidArgumentError(
        "a region takes at most 4 GiB after rounding up to whole pages");
  }
  return memory;
}

}  // namespace acre::transport
