// Where locks lie: the regions that hold them, as those name them who have them mapped, and those who reach them through
// the fabric.

#ifndef ACRE_LOCK_LOCK_REGIONS_H_
#define ACRE_LOCK_LOCK_REGIONS_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "lock/lock_words.h"
#include "runtime/shared_word.h"
#include "transport/address.h"
#include "transport/fabric.h"

namespace acre {

// A region with locks that is mapped here.
struct LockRegion {
  // Takes its size from its header, once: peers that may write there cannot move its end.
  LockRegion(uint32_t id, SharedWord* mapped);

  uint32_t region_id;
  SharedWord* words;
  uint64_t size_bytes;
};
using LockRegions = std::vector<LockRegion>;
// Null: the address is in none of them, or not that of a word behind the header. Whether a lock lies there, only
// whoever laid the region out knows.
LockWords* FindLock(const LockRegions& regions, GlobalAddress address);

// The same through a queue pair: their ids, and a key with all rights.
using LockRegionKeys = std::vector<std::pair<uint32_t, transport::RemoteKey>>;
// Null: the address is in none of them.
const transport::RemoteKey* FindLockKey(const LockRegionKeys& keys, GlobalAddress address);

}  // namespace acre

#endif  // ACRE_LOCK_LOCK_REGIONS_H_
