// What two shm peers tell each other: packets over their Unix socket, and two small pieces of
// memory.
//
// A connection begins with one Hello each way, the connecting side first. Each Hello carries two
// descriptors: the sender's receive ring, which the other side may write, and the sender's wake
// page, which the other side may read. After that the socket carries grants and wake-ups, and its
// hang-up is the peer's death. Whatever does not fit these formats breaks the connection, and
// nothing else.
//
// The wake page is that of transport/wake_flag.h, one for each completion queue.
//
// The structures are little-endian and have no padding. A number is never reused; a change of a
// layout changes kShmVersion.

#ifndef ACRE_TRANSPORT_SHM_SHM_WIRE_H_
#define ACRE_TRANSPORT_SHM_SHM_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "runtime/shared_word.h"
#include "transport/fabric.h"
#include "transport/wake_flag.h"

namespace acre::transport {

constexpr uint64_t kShmMagic = 0x3130304d48534341;  // "ACSHM001"
constexpr uint32_t kShmVersion = 1;

// The most descriptors that a packet carries.
constexpr size_t kPacketFdsMax = 2;
// Keys that one peer may hand out on one connection.
constexpr size_t kGrantsMax = 4096;
constexpr uint32_t kReceiveQueueDepthMax = 1 << 16;

enum class PacketKind : uint32_t { kHello = 1, kGrant = 2, kWake = 3 };

struct HelloPacket {
  PacketKind kind;
  uint32_t version;
  uint64_t magic;
  uint64_t atomic_domain;  // Of the sender's regions (A3).
  uint32_t atomicity;      // Atomicity of the sender's regions.
  // Entries of the sender's receive ring: a power of two, at least 2.
  uint32_t receive_queue_depth;
  uint32_t private_data_bytes;  // <= kPrivateDataBytesMax.
  uint32_t reserved0;           // Zero.
  char private_data[kPrivateDataBytesMax];
};
static_assert(sizeof(HelloPacket) == 40 + kPrivateDataBytesMax);
static_assert(offsetof(HelloPacket, private_data) == 40);
static_assert(std::has_unique_object_representations_v<HelloPacket>, "hidden padding");

struct GrantPacket {
  PacketKind kind;
  uint32_t rights;
  // MakeKey(index, rights), the index being the number of grants before this one.
  uint64_t key_bits;
  uint64_t region_id;   // As in the region's header.
  uint64_t size_bytes;  // Likewise.
  uint64_t generation;  // Likewise.
};
static_assert(sizeof(GrantPacket) == 40);
static_assert(std::has_unique_object_representations_v<GrantPacket>, "hidden padding");

struct WakePacket {
  PacketKind kind;
  uint32_t reserved0;  // Zero.
};
static_assert(sizeof(WakePacket) == 8);

// Why a peer's packet must be refused, or nullopt. Judges the bytes, not our state.
absl::optional<absl::string_view> WhyInvalid(const HelloPacket& hello);
absl::optional<absl::string_view> WhyInvalid(const GrantPacket& grant);

// Keys are dense per connection, so that looking one up is an array access.
constexpr RemoteKey MakeKey(uint64_t index, uint32_t rights) { return {(index + 1) << 8 | rights}; }
// Of a key that nobody made it wraps around to an index out of every range.
constexpr uint64_t IndexOfKey(RemoteKey key) { return (key.bits >> 8) - 1; }

// The receive ring: WRITE_WITH_IMMs that came and were not polled yet. Made by the receiver, one
// for each connection, writable by the peer: nothing in it is believed.
struct ReceiveRing {
  // Entries ever written. Stored (release) by the sender after the entry and the data that it tells
  // of; loaded (acquire) by the receiver's Poll().
  SharedWord tail;
  SharedWord reserved0[7];
  // Entries ever consumed, reported lazily. Stored by the receiver, loaded by a sender that finds
  // no room.
  SharedWord head;
  SharedWord reserved1[7];
  // Entry i at [i % depth]: the length in the high half, the immediate in the low one.
  SharedWord entries[1];

  static size_t SizeBytes(uint32_t depth) {
    return offsetof(ReceiveRing, entries) + depth * kWordBytes;
  }
};
static_assert(offsetof(ReceiveRing, head) == kLineBytes);
static_assert(offsetof(ReceiveRing, entries) == 2 * kLineBytes);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_SHM_WIRE_H_
