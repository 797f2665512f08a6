// GlobalAddress: where something lies in the memory of a cluster.

#ifndef ACRE_TRANSPORT_ADDRESS_H_
#define ACRE_TRANSPORT_ADDRESS_H_

#include <cstdint>

namespace acre {

// 64 bits: region id (high 32) and byte offset in the region (low 32). A region is at most 4 GiB.
// The cluster map says which node holds a region and under which remote key, so an address survives
// a move of its region. The null address is 0: region 0 is never used.
class GlobalAddress {
 public:
  constexpr GlobalAddress() = default;
  constexpr GlobalAddress(uint32_t region_id, uint32_t offset_bytes)
      : bits_((uint64_t{region_id} << 32) | offset_bytes) {}
  static constexpr GlobalAddress FromBits(uint64_t bits) {
    GlobalAddress address;
    address.bits_ = bits;
    return address;
  }

  constexpr uint64_t bits() const { return bits_; }
  constexpr uint32_t region_id() const { return static_cast<uint32_t>(bits_ >> 32); }
  constexpr uint32_t offset_bytes() const { return static_cast<uint32_t>(bits_); }
  constexpr bool is_null() const { return bits_ == 0; }

  friend constexpr bool operator==(GlobalAddress, GlobalAddress) = default;

 private:
  uint64_t bits_ = 0;
};
static_assert(sizeof(GlobalAddress) == 8);

// Ids that a server gives, of regions and of processes: its number, from 1 on, in the high bits, and
// below a count, from 1 on.
constexpr uint32_t kServerNumberShift = 24;
constexpr uint32_t kIdsOfServerMax = (1u << kServerNumberShift) - 1;

}  // namespace acre

#endif  // ACRE_TRANSPORT_ADDRESS_H_
