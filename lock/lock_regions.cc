#include "lock/lock_regions.h"

#include "transport/region_header.h"

namespace acre {

LockWords* FindLock(const LockRegions& regions, GlobalAddress address) {
  for (const auto& [region_id, words] : regions) {
    if (region_id != address.region_id()) continue;
    const auto& header = *reinterpret_cast<const transport::RegionHeader*>(words);
    const uint64_t size_bytes = header.size_bytes.Load(std::memory_order_relaxed);
    const uint64_t offset_bytes = address.offset_bytes();
    if (offset_bytes % kWordBytes != 0 || offset_bytes < transport::kRegionHeaderBytes ||
        offset_bytes + sizeof(LockWords) > size_bytes) {
      return nullptr;
    }
    return reinterpret_cast<LockWords*>(words + offset_bytes / kWordBytes);
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
