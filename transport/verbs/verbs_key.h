// What a remote key of the verbs provider says, and how completions find back to their requests: the two
// 64-bit words that the card carries for us.
//
// A key says all that the peer needs, so that granting takes no message. Its region is registered at the
// card with addresses from 0 on, whole, once for each set of rights that is handed out: an address at the
// card is an offset into the region, and the card's own key of that registration is the half of ours that
// counts. The other half tells the initiator what the card enforces at the target, so that it can name the
// mistake (kBounds, kAccess) where the card only says "remote access error", and breaks off before
// anything went out. A peer that forges this half fools only itself: the target's card judges by its own.
//
// Like any key of a card it opens the region to every peer that this process has a connection with, not
// only to the one that it was granted to: it is as hard to guess as the card makes it, which is not very.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_KEY_H_
#define ACRE_TRANSPORT_VERBS_VERBS_KEY_H_

#include <cstdint>

#include "absl/types/optional.h"
#include "transport/fabric.h"

namespace acre::transport {

// Regions are whole pages, and no page is smaller.
constexpr uint64_t kVerbsKeyUnitBytes = 4096;

struct VerbsKey {
  uint32_t card_key = 0;          // The target's "rkey".
  uint32_t rights = 0;            // A set of Rights, not empty.
  uint64_t size_bytes = 0;        // Of the region: a multiple of kVerbsKeyUnitBytes.
  bool takes_no_atomics = false;  // A3: its atomics belong to another domain.
};

// Bits of a key, from the lowest: 7 kTag, 1 takes_no_atomics, 3 rights, 21 size in pages, 32 card_key.
// See docs/wire.md.
constexpr uint64_t kVerbsKeyTag = 0x35;  // What does not end with it is not a key.
static_assert(kRightsAll < 8);
static_assert(kRegionBytesMax / kVerbsKeyUnitBytes < (uint64_t{1} << 21));

constexpr RemoteKey EncodeVerbsKey(const VerbsKey& key) {
  return {uint64_t{key.card_key} << 32 | key.size_bytes / kVerbsKeyUnitBytes << 11 |
          uint64_t{key.rights} << 8 | uint64_t{key.takes_no_atomics} << 7 | kVerbsKeyTag};
}

// Nullopt: nobody made this. What is returned may still be a forgery.
constexpr absl::optional<VerbsKey> DecodeVerbsKey(RemoteKey key) {
  if ((key.bits & 0x7f) != kVerbsKeyTag) return absl::nullopt;
  VerbsKey decoded;
  decoded.card_key = static_cast<uint32_t>(key.bits >> 32);
  decoded.size_bytes = (key.bits >> 11 & 0x1f'ffff) * kVerbsKeyUnitBytes;
  decoded.rights = static_cast<uint32_t>(key.bits >> 8 & kRightsAll);
  decoded.takes_no_atomics = (key.bits >> 7 & 1) != 0;
  return decoded;
}

// What the card hands back with each completion. Of a failed one it tells little else.
struct WorkId {
  uint32_t connection = 0;  // Number of the queue pair at its completion queue; below 2^31.
  bool is_receive = false;
  uint32_t sequence = 0;  // Of a request: how many its queue pair sent before it, mod 2^32.

  constexpr uint64_t bits() const {
    return uint64_t{connection} << 33 | uint64_t{is_receive} << 32 | sequence;
  }
  static constexpr WorkId FromBits(uint64_t bits) {
    return {.connection = static_cast<uint32_t>(bits >> 33),
            .is_receive = (bits >> 32 & 1) != 0,
            .sequence = static_cast<uint32_t>(bits)};
  }
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_KEY_H_
