#include "transport/shm/shm_wire.h"

#include <bit>

namespace acre::transport {

absl::optional<absl::string_view> WhyInvalid(const HelloPacket& hello) {
  if (hello.kind != PacketKind::kHello) return "it does not begin with a hello";
  if (hello.magic != kShmMagic) return "its hello has a wrong magic number";
  if (hello.version != kShmVersion) return "it speaks another version of the shm protocol";
  if (hello.atomicity > static_cast<uint32_t>(Atomicity::kGlobal))
    return "its atomicity is unknown";
  if (hello.reserved0 != 0) return "a reserved field of its hello is not zero";
  if (hello.private_data_bytes > kPrivateDataBytesMax) return "its private data are too long";
  const uint32_t depth = hello.receive_queue_depth;
  if (depth < 2 || depth > kReceiveQueueDepthMax || !std::has_single_bit(depth)) {
    return "the depth of its receive ring is not a power of two in range";
  }
  return absl::nullopt;
}

absl::optional<absl::string_view> WhyInvalid(const GrantPacket& grant) {
  if (grant.rights == 0 || (grant.rights & ~uint32_t{kRightsAll}) != 0)
    return "a grant of unknown rights";
  if (grant.region_id == 0 || grant.region_id > UINT32_MAX) return "a grant with a bad region id";
  if (grant.generation == 0) return "a grant without a generation";
  return absl::nullopt;
}

}  // namespace acre::transport
