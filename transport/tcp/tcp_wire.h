// What two tcp peers tell each other. Specified in docs/wire.md, section "tcp fabric"; why it is two
// streams, and what orders what, is in docs/tcp.md.
//
// A connection is two TCP streams, both opened by the side that connects: one for its own requests and one
// for the other side's. Each begins with the connecting side's TcpHello; the accepting side answers on the
// first one. After that a stream carries TcpRequestWires one way and TcpResponseWires the other way.
//
// Everything is a multiple of 8 bytes long, little-endian, without padding, reserved fields zero and refused
// otherwise. A number is never reused; a change of a layout changes kTcpVersion. The functions judge bytes
// and nothing else.

#ifndef ACRE_TRANSPORT_TCP_TCP_WIRE_H_
#define ACRE_TRANSPORT_TCP_TCP_WIRE_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "transport/fabric.h"

namespace acre::transport {

static_assert(std::endian::native == std::endian::little);

constexpr uint64_t kTcpMagic = 0x3130305043544341;  // "ACTCP001"
constexpr uint32_t kTcpVersion = 1;

// What the stream that a hello opens is for.
enum class TcpRole : uint32_t {
  kMyRequests = 1,    // The connecting side asks, the accepting side answers.
  kYourRequests = 2,  // The other way round.
  kAnswer = 3,        // The accepting side's hello, on the stream of kind kMyRequests.
};

// Unguessable, drawn by the connecting side: which two streams belong together.
using TcpToken = std::array<uint8_t, 16>;

struct TcpHello {
  uint64_t magic;
  uint32_t version;
  TcpRole role;
  TcpToken token;
  uint64_t atomic_domain;       // Of the sender's regions (A3).
  uint32_t private_data_bytes;  // <= kPrivateDataBytesMax.
  uint32_t reserved0;
  char private_data[kPrivateDataBytesMax];  // Zero behind private_data_bytes.
};
static_assert(sizeof(TcpHello) == 48 + kPrivateDataBytesMax);
static_assert(offsetof(TcpHello, token) == 16 && offsetof(TcpHello, private_data) == 48);
static_assert(std::is_trivially_copyable_v<TcpHello>);
static_assert(std::has_unique_object_representations_v<TcpHello>, "hidden padding");

enum class TcpOpcode : uint8_t {
  kRead = 1,
  kWrite = 2,         // Followed by length_bytes of data, unless it is refused.
  kWriteWithImm = 3,  // Likewise.
  kCompareSwap = 4,   // Followed by a TcpAtomicWire.
  kFetchAdd = 5,      // Likewise.
};

constexpr uint8_t kTcpFlagFence = 1;

// One request. `length_bytes` and `offset_bytes` are judged by what the key names, not here: a request that
// leaves its region gets an answer.
struct TcpRequestWire {
  TcpOpcode opcode;
  uint8_t flags;  // kTcpFlag...
  uint8_t traffic_class;
  uint8_t reserved0;
  uint16_t tenant;
  uint16_t reserved1;
  uint32_t length_bytes;  // Of an atomic: 8.
  uint32_t immediate;     // Of kWriteWithImm, else 0.
  uint64_t key;
  uint64_t offset_bytes;
};
static_assert(sizeof(TcpRequestWire) == 32);
static_assert(offsetof(TcpRequestWire, length_bytes) == 8 && offsetof(TcpRequestWire, key) == 16);
static_assert(std::is_trivially_copyable_v<TcpRequestWire>);
static_assert(std::has_unique_object_representations_v<TcpRequestWire>, "hidden padding");

struct TcpAtomicWire {
  uint64_t compare;  // 0 for kFetchAdd.
  uint64_t swap_or_add;
};
static_assert(sizeof(TcpAtomicWire) == 16);

enum class TcpStatus : uint8_t {
  kOk = 0,
  kBadKey = 1,
  kAccess = 2,
  kBounds = 3,
  kAtomicDomain = 4,
};

// Answers come in the order of the requests. Three kinds:
//   acks > 0, nothing follows: so many requests that bring no bytes (WRITEs, those of length 0) are done.
//   payload_bytes > 0: the next bytes of a READ, which may come in several parts, or an atomic's old value.
//   status not kOk: the request was refused. It is the last answer; the stream ends behind it.
struct TcpResponseWire {
  uint32_t payload_bytes;  // That follow. A multiple of 8.
  uint16_t acks;
  TcpStatus status;
  uint8_t reserved0;
};
static_assert(sizeof(TcpResponseWire) == 8);
static_assert(std::is_trivially_copyable_v<TcpResponseWire>);
static_assert(std::has_unique_object_representations_v<TcpResponseWire>, "hidden padding");

constexpr uint32_t kTcpAcksMax = 0xffff;

// Why a peer's bytes must be refused, or nullopt. Judges the bytes, not our state.
absl::optional<absl::string_view> WhyInvalid(const TcpHello& hello);
absl::optional<absl::string_view> WhyInvalid(const TcpRequestWire& request);
absl::optional<absl::string_view> WhyInvalid(const TcpRequestWire& request,
                                             const TcpAtomicWire& atomic);
absl::optional<absl::string_view> WhyInvalid(const TcpResponseWire& response);

TcpOpcode ToWire(Opcode opcode);
// Requires: WhyInvalid() had nothing against it.
Opcode FromWire(TcpOpcode opcode);
CompletionStatus FromWire(TcpStatus status);
// Requires: a status that the target of a request finds.
TcpStatus ToWire(CompletionStatus status);

// Keys that one peer may hand out on one connection.
constexpr size_t kTcpGrantsMax = 4096;
// Keys are judged per connection: a number in order, and the rights. Whoever guesses one guesses a right
// that it was granted.
constexpr RemoteKey MakeTcpKey(uint64_t index, uint32_t rights) {
  return {(index + 1) << 8 | rights};
}
// Of a key that nobody made it wraps around to an index out of every range.
constexpr uint64_t IndexOfTcpKey(RemoteKey key) { return (key.bits >> 8) - 1; }

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_WIRE_H_
