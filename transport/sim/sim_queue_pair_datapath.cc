// Requests that a card executes.

#include "glog/logging.h"
#include "runtime/sim/world.h"
#include "transport/provider_rules.h"
#include "transport/sim/sim_costs.h"
#include "transport/sim/sim_queue_pair.h"
#include "transport/sim/sim_region.h"

namespace acre::transport {

absl::Status SimQueuePair::DoPost(absl::Span<const WorkRequest> batch) {
  CHECK(!batch.empty());
  network_->Spend(kPostNs + batch.size() * kPostRequestNs);
  if (state_ == QueuePairState::kConnecting) return ErrorNotReady(state_, status_);
  if (batch.size() > context_->device.send_queue_depth_max - outstanding_) {
    return absl::ResourceExhaustedError("the send queue is full: poll completions first");
  }
  outstanding_ += static_cast<uint32_t>(batch.size());
  for (const WorkRequest& request : batch) {
    CheckLocalBuffer(request, context_->device);
    if (context_->kind == SimDevice::kCard) {
      PostToCard(request);
    } else {
      Start(request);
    }
  }
  if (context_->kind == SimDevice::kSharedMemory) EndBatch();
  return absl::OkStatus();
}

void SimQueuePair::PostToCard(const WorkRequest& request) {
  const bool is_inline = request.inline_data && request.length_bytes > 0;
  if (is_inline) LoadLocal(request);
  SimMemory* local = nullptr;
  uint64_t local_index = 0;
  if (!is_inline && request.local_region != nullptr && request.local != nullptr) {
    const auto* const region = dynamic_cast<const SimRegion*>(request.local_region);
    CHECK(region != nullptr) << "a region of another provider";
    local = region->memory();
    local_index = static_cast<uint64_t>(request.local - region->words());
  }
  // The doorbell is a store: it leaves the store buffer behind those of the bytes that it is about.
  sim::World* const world = network_->world();
  const uint64_t ready_ns =
      world->current_thread() != nullptr ? world->StoresLandNs() : world->NowNs();
  side_->Post(request, local, local_index, is_inline ? words_.data() : nullptr, ready_ns);
}

}  // namespace acre::transport
