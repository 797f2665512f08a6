// Where a key belongs: segment, home bucket, tag. All peers must agree, so this is part of the
// format.

#ifndef ACRE_KVS_HASH_H_
#define ACRE_KVS_HASH_H_

#include <xxhash.h>

#include <cstdint>

#include "absl/strings/string_view.h"

namespace acre::kvs {

// XXH3, 64 bits, seed 0. Three parts of it are used, from different bits:
//   bits 0-31   home bucket in the segment (scaled)
//   bits 32-39  tag
//   bits 40-63  segment in the directory (scaled)
inline uint64_t HashKey(absl::string_view key) { return XXH3_64bits(key.data(), key.size()); }

// Scaling by multiplication keeps the order of hashes: a directory can later split a segment in
// halves.
inline uint64_t HomeBucket(uint64_t hash, uint64_t buckets_count) {
  return ((hash & 0xffffffff) * buckets_count) >> 32;
}
inline uint64_t SegmentIndex(uint64_t hash, uint64_t segments_count) {
  return ((hash >> 40) * segments_count) >> 24;
}
// 1 to 255; 0 says "no key of this home here".
inline uint8_t TagOf(uint64_t hash) {
  const uint8_t tag = static_cast<uint8_t>(hash >> 32);
  return tag == 0 ? 1 : tag;
}

}  // namespace acre::kvs

#endif  // ACRE_KVS_HASH_H_
