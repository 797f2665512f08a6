// The first two lines of every memory region: what it is, whose, and whether its owner still lives.
//
// Written by the region's owner, and by the kernel when the owner dies; peers only look. A reader that
// has the region mapped keeps reading it after its server died, so after each read it asks the header:
// same generation, state live, owner not marked dead, lease not over? Only then was the server there
// when the data were sampled (transport/region_lease.h, docs/leases.md).

#ifndef ACRE_TRANSPORT_REGION_HEADER_H_
#define ACRE_TRANSPORT_REGION_HEADER_H_

#include <cstddef>
#include <cstdint>

#include "runtime/shared_word.h"

namespace acre::transport {

constexpr uint64_t kRegionMagic = 0x32304e4745524341;  // "ACREGN02", the layout's version in it.

enum RegionState : uint64_t { kRegionLive = 1, kRegionClosed = 2 };

struct RegionHeader {
  SharedWord magic;       // kRegionMagic. Stored last when a region is made.
  SharedWord region_id;   // Never 0.
  SharedWord size_bytes;  // Of the whole region, header included.
  SharedWord generation;  // Of the owner's incarnation: never the same for two of them. Never 0.
  SharedWord state;       // RegionState. Closed is final.
  SharedWord lease_deadline_ns;  // CLOCK_MONOTONIC; ~0: no lease. Only rises.
  SharedWord epoch;              // kvs/epoch.h: the server's reclamation epoch. Only rises.
  SharedWord owner;  // 0: nobody marks a death. Else a thread of the owner, | kOwnerDied.

  // The second line belongs to the provider (shm: the lock of emulated kHca atomics, and the link of
  // the owner's list of `owner` words).
  SharedWord provider_word;
  SharedWord owner_link;
  SharedWord reserved0[6];  // Zero.
};
// Set in RegionHeader::owner by the kernel (FUTEX_OWNER_DIED of a robust futex), which compares and swaps
// the word's low four bytes only; the high ones are always 0. Never cleared.
constexpr uint64_t kOwnerDied = uint64_t{1} << 30;

constexpr size_t kRegionHeaderBytes = 2 * kLineBytes;
static_assert(sizeof(RegionHeader) == kRegionHeaderBytes);
static_assert(offsetof(RegionHeader, generation) == 24 && offsetof(RegionHeader, state) == 32);
static_assert(offsetof(RegionHeader, lease_deadline_ns) == 40 &&
              offsetof(RegionHeader, epoch) == 48);
static_assert(offsetof(RegionHeader, owner) == 56);
static_assert(offsetof(RegionHeader, provider_word) == kLineBytes);
static_assert(offsetof(RegionHeader, owner_link) == kLineBytes + 8);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_REGION_HEADER_H_
