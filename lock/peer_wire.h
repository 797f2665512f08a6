// What participants of one home say to each other while they connect: docs/wire.md, "Peers at a lock". The one who
// connects says a hello, as private data; the one whose door it is says the key of its descriptors, in three
// immediates, since immediates are all that one side can tell the other that granted it nothing.

#ifndef ACRE_LOCK_PEER_WIRE_H_
#define ACRE_LOCK_PEER_WIRE_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "transport/fabric.h"
#include "transport/wire_bytes.h"

namespace acre {

// What a home tells all who take part in its locks, and nobody else.
using PeerTicket = std::array<uint8_t, 16>;

constexpr uint32_t kPeerHelloMagic = 0x4b43'4c41;  // "ALCK".
constexpr uint16_t kPeerHelloVersion = 1;

struct PeerHello {
  uint32_t magic = kPeerHelloMagic;
  uint16_t version = kPeerHelloVersion;
  uint16_t reserved0 = 0;     // Zero on the wire, refused otherwise.
  uint32_t from_lock_id = 0;  // Who connects, and to whom: the ids of RemoteWords. Never 0.
  uint32_t to_lock_id = 0;
  PeerTicket ticket = {};
};
static_assert(sizeof(PeerHello) == 32 && offsetof(PeerHello, ticket) == 16);
static_assert(std::is_trivially_copyable_v<PeerHello>);
static_assert(std::has_unique_object_representations_v<PeerHello>, "hidden padding");
static_assert(std::endian::native == std::endian::little);
static_assert(sizeof(PeerHello) <= transport::kPrivateDataBytesMax);

// Reads a hello. Returns why it makes no sense, or nullopt. Whether it may come in is another question.
inline absl::optional<absl::string_view> ReadPeerHello(absl::string_view bytes, PeerHello* hello) {
  if (bytes.size() != sizeof(PeerHello) || !transport::TakeWire(&bytes, hello)) {
    return "its hello has another size";
  }
  if (hello->magic != kPeerHelloMagic) return "it does not speak of locks";
  if (hello->version != kPeerHelloVersion) return "it speaks another version";
  if (hello->reserved0 != 0) return "a reserved field is not zero";
  if (hello->from_lock_id == 0 || hello->to_lock_id == 0) return "it names nobody";
  return absl::nullopt;
}

// A key in immediates, in this order: each 22 of its bits, the lowest first, and above them its number.
constexpr uint32_t kKeyPieces = 3;
constexpr uint32_t kKeyPieceBits = 22;
constexpr uint32_t kKeyPieceMask = (1u << kKeyPieceBits) - 1;
static_assert(((kKeyPieces - 1) << kKeyPieceBits | kKeyPieceMask) <= transport::kImmediateMax);
static_assert(kKeyPieces * kKeyPieceBits >= 64);

constexpr uint32_t KeyPiece(transport::RemoteKey key, uint32_t number) {
  return number << kKeyPieceBits |
         (static_cast<uint32_t>(key.bits >> (number * kKeyPieceBits)) & kKeyPieceMask);
}

// Puts the pieces together, as they come.
class KeyPieces {
 public:
  // False: that is not the piece that comes next, or no piece at all.
  [[nodiscard]] bool Add(uint32_t immediate) {
    if (count_ == kKeyPieces || immediate >> kKeyPieceBits != count_) return false;
    const uint64_t bits = immediate & kKeyPieceMask;
    const uint32_t shift = count_ * kKeyPieceBits;
    if (bits << shift >> shift != bits) return false;
    key_.bits |= bits << shift;
    return ++count_ < kKeyPieces || key_.bits != 0;
  }
  bool is_whole() const { return count_ == kKeyPieces; }
  transport::RemoteKey key() const { return key_; }

 private:
  uint32_t count_ = 0;
  transport::RemoteKey key_;
};

}  // namespace acre

#endif  // ACRE_LOCK_PEER_WIRE_H_
