#include "transport/verbs/verbs_context.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "transport/verbs/verbs_wire.h"

namespace acre::transport {

absl::Status VerbsContext::Judge(const CardQueueDepths& depths) const {
  const ibv_device_attr& limits = card->limits().orig_attr;
  const auto requests_max = static_cast<uint32_t>(std::max(limits.max_qp_wr, 0));
  const auto completions_max = static_cast<uint32_t>(std::max(limits.max_cqe, 0));
  const uint32_t longer = std::max(depths.sends_max(), depths.receives_max());
  if (longer > requests_max || depths.completions_max() > completions_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("a queue pair for ", depths.lanes, " threads takes ", longer, " places and ",
                     depths.completions_max(), " completions; the card has ", requests_max, " and ",
                     completions_max));
  }
  if (depths.receives() > kVerbsReceiveQueueDepthMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a queue pair for ", depths.lanes, " threads has ", depths.receives(),
                     " receives; the most is ", kVerbsReceiveQueueDepthMax));
  }
  return absl::OkStatus();
}

}  // namespace acre::transport
