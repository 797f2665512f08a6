// What two verbs peers tell each other besides the requests themselves.
//
// Connecting: each side says hello, in the private data that rdma_cm carries, in front of the caller's.
// Rdma_cm hands on more bytes than were sent (it pads), so the hello says how many there are.
//
// Credits: a WRITE_WITH_IMM uses up one of the receives that its target has posted. A card that finds none
// posted sends the request back, again and again; so a side never has more WRITE_WITH_IMMs on their way
// than its peer has receives: the peer's receive_queue_depth is its credit, and each SEND with an immediate
// and no bytes gives back as many as the immediate says. Further ones stall at the sender, in order.
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
#include "transport/fabric.h"

namespace acre::transport {

constexpr uint32_t kVerbsMagic = 0x31305641;  // "AV01"

struct VerbsHello {
  uint32_t magic;                // kVerbsMagic.
  uint16_t receive_queue_depth;  // Of the sender, 2 to kVerbsReceiveQueueDepthMax.
  uint8_t private_data_bytes;    // That follow; <= kPrivateDataBytesMax.
  uint8_t reserved0;             // Zero.
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
  std::string private_data;
};

// Requires: private_data are at most kPrivateDataBytesMax.
std::string EncodeVerbsHello(uint32_t receive_queue_depth, absl::string_view private_data);

// `bytes`: as rdma_cm brought them, padded or not.
// Errors: InvalidArgument - not a hello; the message says why.
absl::StatusOr<VerbsPeer> JudgeVerbsHello(absl::string_view bytes);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_WIRE_H_
