// What every provider judges in the same way, whatever carries its requests: the parts of fabric.h's
// contract (E1, Post(), Grant(), CreateRegion()) that speak of numbers alone.
//
// For providers; nobody above the fabric needs it.
// Threads: all functions are pure.

#ifndef ACRE_TRANSPORT_PROVIDER_RULES_H_
#define ACRE_TRANSPORT_PROVIDER_RULES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "glog/logging.h"
#include "runtime/shared_word.h"
#include "transport/fabric.h"

namespace acre::transport {

inline bool IsAtomic(Opcode opcode) {
  return opcode == Opcode::kCompareSwap || opcode == Opcode::kFetchAdd;
}
inline bool IsWrite(Opcode opcode) {
  return opcode == Opcode::kWrite || opcode == Opcode::kWriteWithImm;
}
// Bytes that a request moves, at either end.
inline uint32_t LengthOf(const WorkRequest& request) {
  return IsAtomic(request.opcode) ? static_cast<uint32_t>(kWordBytes) : request.length_bytes;
}
// The right that its key must carry.
inline uint32_t RightFor(Opcode opcode) {
  return IsAtomic(opcode) ? kRightAtomic : IsWrite(opcode) ? kRightWrite : kRightRead;
}
inline bool LetsWrite(uint32_t rights) { return (rights & (kRightWrite | kRightAtomic)) != 0; }

// Whole words inside of a region of `size_bytes`: else kBounds.
inline bool IsInBounds(uint64_t offset_bytes, uint32_t length_bytes, uint64_t size_bytes) {
  return (offset_bytes | length_bytes) % kWordBytes == 0 && offset_bytes <= size_bytes &&
         length_bytes <= size_bytes - offset_bytes;
}

// CHECKs the local buffer, and the immediate, of a request that our own side posts.
inline void CheckLocalBuffer(const WorkRequest& request, const DeviceAttributes& device) {
  if (request.opcode == Opcode::kWriteWithImm) CHECK_LE(request.immediate, kImmediateMax);
  const uint32_t length_bytes = LengthOf(request);
  if (length_bytes == 0) return;
  const auto address = reinterpret_cast<uintptr_t>(request.local);
  CHECK(request.local != nullptr && address % kWordBytes == 0)
      << "a local buffer that is not words";
  if (request.inline_data) {
    CHECK(IsWrite(request.opcode));
    CHECK_LE(length_bytes, device.inline_bytes_max);
    if (request.local_region == nullptr) return;
  }
  CHECK(request.local_region != nullptr) << "a local buffer outside of all regions";
  // Wraps around to something large if the buffer begins before the region.
  const uint64_t offset_bytes =
      address - reinterpret_cast<uintptr_t>(request.local_region->words());
  const uint64_t size_bytes = request.local_region->size_bytes();
  CHECK(offset_bytes <= size_bytes && length_bytes <= size_bytes - offset_bytes)
      << "a local buffer that leaves its region";
}

// InvalidArgument: what no provider makes.
absl::Status JudgeRegionOptions(const RegionOptions& options);
// InvalidArgument: no rights, or more than the region's peer_rights.
absl::Status JudgeGrant(const MemoryRegion& region, uint32_t peer_rights, uint32_t rights);
// What a call that needs a ready queue pair fails with. `why`: of its end, if it has ended.
absl::Status ErrorNotReady(QueuePairState state, const absl::Status& why);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_PROVIDER_RULES_H_
