// What two verbs peers tell each other besides the requests themselves.
//
// Connecting: each side says hello, in the private data that rdma_cm carries, in front of the caller's.
// Rdma_cm hands on more bytes than were sent (it pads), so the hello says how many there are.
//
// Lanes: threads of one process may share a queue pair of the card. Each has a lane of it: a queue pair in the
// eyes of fabric.h, with places of its own in the card's queues. The side that connects says how many there
// may be, the other side answers with the same number, or rejects. The first lane is opened by connecting; each further one
// by an "open" message, which is answered; either side closes a lane by "closed", which the other confirms once
// it has nothing more under way on it. Who opens waits for the answer before it opens the next: messages with
// bytes land in one buffer.
//
// Credits: a WRITE_WITH_IMM uses up one of the receives that its target has posted. A card that finds none
// posted sends the request back, again and again; so a lane never has more WRITE_WITH_IMMs on their way than
// its part of the peer's receives: receive_queue_depth by the number of lanes is its credit, and a "credits"
// message gives some back. Further ones stall at the sender, in order. A lane whose owner takes nothing stalls
// itself only.
//
// Immediates: of a WRITE_WITH_IMM, the lane in the high 8 bits, the caller's below; of a SEND, a VerbsMessage.
//
// Sizes and offsets are pinned; a change of the layout changes kVerbsMagic.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_WIRE_H_
#define ACRE_TRANSPORT_VERBS_VERBS_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "transport/fabric.h"

namespace acre::transport {

constexpr uint32_t kVerbsMagic = 0x32305641;  // "AV02"
constexpr uint32_t kLanesMax = 32;

struct VerbsHello {
  uint32_t magic;                // kVerbsMagic.
  uint16_t receive_queue_depth;  // Of the sender, of all lanes: 2 to kVerbsReceiveQueueDepthMax.
  uint8_t private_data_bytes;    // That follow; <= kPrivateDataBytesMax.
  uint8_t lanes;                 // That there may be: 1 to kLanesMax, 2 receives for each at least.
};
static_assert(sizeof(VerbsHello) == 8 && alignof(VerbsHello) == 4);
static_assert(offsetof(VerbsHello, receive_queue_depth) == 4);
static_assert(std::has_unique_object_representations_v<VerbsHello>, "hidden padding");
// What rdma_cm carries in a request for an RC connection.
constexpr size_t kCmPrivateDataBytesMax = 56;
static_assert(sizeof(VerbsHello) + kPrivateDataBytesMax <= kCmPrivateDataBytesMax);

constexpr uint32_t kVerbsReceiveQueueDepthMax = 1 << 15;

// A hello, judged.
struct VerbsPeer {
  uint32_t receive_queue_depth = 0;
  uint32_t lanes = 0;
  std::string private_data;
};

// Requires: private_data are at most kPrivateDataBytesMax.
std::string EncodeVerbsHello(uint32_t receive_queue_depth, uint32_t lanes,
                             absl::string_view private_data);

// `bytes`: as rdma_cm brought them, padded or not.
// Errors: InvalidArgument - not a hello; the message says why.
absl::StatusOr<VerbsPeer> JudgeVerbsHello(absl::string_view bytes);

// The immediate of a SEND. From the highest bit: 8 kind, 8 lane, 16 credits.
enum class VerbsMessageKind : uint8_t {
  kCredits = 1,   // Gives back `credits`, never 0.
  kOpen = 2,      // Bytes: the caller's private data. Only from the side that connected.
  kAccepted = 3,  // Bytes: the caller's private data. From here on the lane is open.
  kRejected = 4,
  kClosed = 5,     // Nothing more of the sender's is under way, or will be, on this lane.
  kConfirmed = 6,  // Answers kClosed, likewise. The lane's number is free again.
};
struct VerbsMessage {
  VerbsMessageKind kind = VerbsMessageKind::kCredits;
  uint8_t lane = 0;
  uint16_t credits = 0;
};
constexpr uint32_t EncodeVerbsMessage(const VerbsMessage& message) {
  return uint32_t{static_cast<uint8_t>(message.kind)} << 24 | uint32_t{message.lane} << 16 |
         message.credits;
}
// Nullopt: no message of ours.
constexpr absl::optional<VerbsMessage> DecodeVerbsMessage(uint32_t bits) {
  VerbsMessage message;
  const uint32_t kind = bits >> 24;
  if (kind < 1 || kind > 6) return absl::nullopt;
  message.kind = static_cast<VerbsMessageKind>(kind);
  message.lane = static_cast<uint8_t>(bits >> 16);
  message.credits = static_cast<uint16_t>(bits);
  const bool has_credits = message.kind == VerbsMessageKind::kCredits;
  if (has_credits != (message.credits != 0)) return absl::nullopt;
  return message;
}

constexpr uint32_t EncodeLaneImmediate(uint8_t lane, uint32_t immediate) {
  return uint32_t{lane} << 24 | immediate;
}
constexpr uint8_t LaneOfImmediate(uint32_t bits) { return static_cast<uint8_t>(bits >> 24); }
static_assert(kImmediateMax == (1u << 24) - 1);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_WIRE_H_
