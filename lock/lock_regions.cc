#include "lock/lock_regions.h"

#include "transport/region_header.h"

namespace acre {

LockRegion::LockRegion(uint32_t id, SharedWord* mapped)
    : region_id(id),
      words(mapped),
      size_bytes(reinterpret_cast<const transport::RegionHeader*>(mapped)->size_bytes.Load(
          std::memory_order_relaxed)) {}

LockWords* FindLock(const LockRegions& regions, GlobalAddress address) {
  for (const LockRegion& region : regions) {
    if (region.region_id != address.region_id()) continue;
    const uint64_t offset_bytes = address.offset_bytes();
    if (offset_bytes % kWordBytes != 0 || offset_bytes < transport::kRegionHeaderBytes ||
        offset_bytes + sizeof(LockWords) > region.size_bytes) {
      return nullptr;
    }
    return reinterpret_cast<LockWords*>(region.words + offset_bytes / kWordBytes);
  }
  return nullptr;
}

const transport::RemoteKey* FindLockKey(const LockRegionKeys& keys, GlobalAddress address) {
  for (const auto& [region_id, key] : keys) {
    if (region_id == address.region_id()) return &key;
  }
  return nullptr;
}

}  // namespace acre
