#include "transport/verbs/verbs_wire.h"

#include "glog/logging.h"
#include "transport/wire_bytes.h"

namespace acre::transport {

std::string EncodeVerbsHello(uint32_t receive_queue_depth, uint32_t lanes,
                             absl::string_view private_data) {
  CHECK_LE(receive_queue_depth, kVerbsReceiveQueueDepthMax);
  CHECK_LE(private_data.size(), kPrivateDataBytesMax);
  CHECK(lanes >= 1 && lanes <= kLanesMax);
  VerbsHello hello = {};
  hello.magic = kVerbsMagic;
  hello.receive_queue_depth = static_cast<uint16_t>(receive_queue_depth);
  hello.private_data_bytes = static_cast<uint8_t>(private_data.size());
  hello.lanes = static_cast<uint8_t>(lanes);
  std::string bytes;
  AppendWire(&bytes, hello);
  bytes.append(private_data.data(), private_data.size());
  return bytes;
}

absl::StatusOr<VerbsPeer> JudgeVerbsHello(absl::string_view bytes) {
  VerbsHello hello;
  absl::string_view private_data;
  if (!TakeWire(&bytes, &hello) || hello.magic != kVerbsMagic) {
    return absl::InvalidArgumentError("it is not Acre, or of another version");
  }
  if (hello.receive_queue_depth < 2 || hello.receive_queue_depth > kVerbsReceiveQueueDepthMax) {
    return absl::InvalidArgumentError("its receive queue has no sensible depth");
  }
  if (hello.lanes < 1 || hello.lanes > kLanesMax || hello.receive_queue_depth / hello.lanes < 2) {
    return absl::InvalidArgumentError("its number of lanes makes no sense");
  }
  if (hello.private_data_bytes > kPrivateDataBytesMax ||
      !TakeBytes(&bytes, hello.private_data_bytes, &private_data)) {
    return absl::InvalidArgumentError("its private data are longer than what came");
  }
  return VerbsPeer{.receive_queue_depth = hello.receive_queue_depth,
                   .lanes = hello.lanes,
                   .private_data = std::string(private_data)};
}

}  // namespace acre::transport
