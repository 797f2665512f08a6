#include "transport/sim/sim_fabric.h"

#include <bit>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/sim/sim_completion_queue.h"
#include "transport/sim/sim_costs.h"
#include "transport/sim/sim_listener.h"
#include "transport/sim/sim_queue_pair.h"
#include "transport/sim/sim_region.h"

namespace acre::transport {
namespace {

constexpr uint32_t kQueueDepthMax = 1 << 16;
constexpr uint32_t kInlineBytesMax = 256;

absl::Status WhyInvalid(const SimFabric::Options& options) {
  if (options.send_queue_depth == 0 || options.send_queue_depth > kQueueDepthMax) {
    return absl::InvalidArgumentError(absl::StrCat("send_queue_depth is 1 to ", kQueueDepthMax));
  }
  if (options.receive_queue_depth < 2 || options.receive_queue_depth > kQueueDepthMax ||
      !std::has_single_bit(options.receive_queue_depth)) {
    return absl::InvalidArgumentError(
        absl::StrCat("receive_queue_depth is a power of two, 2 to ", kQueueDepthMax));
  }
  if (options.max_rd_atomic == 0) return absl::InvalidArgumentError("max_rd_atomic is at least 1");
  if (options.device == SimDevice::kSharedMemory && options.atomicity == Atomicity::kHca) {
    return absl::InvalidArgumentError("atomics of shared memory are a CPU's own: kGlobal");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SimFabric>> SimFabric::Create(SimNetwork* network,
                                                             sim::Process* process,
                                                             const Options& options) {
  if (absl::Status why = WhyInvalid(options); !why.ok()) return why;
  const bool is_card = options.device == SimDevice::kCard;
  SimContext* const context = network->MakeContext(process);
  context->kind = options.device;
  DeviceAttributes& device = context->device;
  device.provider = "sim";
  device.device = is_card ? "a simulated card" : "simulated shared memory";
  device.atomicity = options.atomicity.value_or(is_card ? Atomicity::kHca : Atomicity::kGlobal);
  device.send_queue_depth_max = options.send_queue_depth;
  device.receive_queue_depth = options.receive_queue_depth;
  device.inline_bytes_max = kInlineBytesMax;
  device.can_map = options.can_map.value_or(!is_card);
  context->atomic_domain = options.atomic_domain;
  while (context->generation == 0) {
    context->generation = options.generation != 0 ? options.generation : network->random().Next();
  }
  context->clock = process->machine()->clock();
  context->marks_deaths = !is_card && options.marks_deaths;
  context->max_rd_atomic = options.max_rd_atomic;
  return absl::WrapUnique(new SimFabric(context));
}

SimFabric::~SimFabric() {
  CHECK_EQ(context_->live_objects, 0)
      << "the fabric goes after its regions, listeners, queue pairs and completion queues";
}

absl::StatusOr<std::unique_ptr<MemoryRegion>> SimFabric::CreateRegion(
    const RegionOptions& options) {
  context_->network->Spend(kSetupNs);
  return SimRegion::Create(options, context_);
}

absl::StatusOr<std::unique_ptr<CompletionQueue>> SimFabric::CreateCompletionQueue() {
  context_->network->Spend(kSetupNs);
  return std::make_unique<SimCompletionQueue>(context_);
}

absl::StatusOr<std::unique_ptr<Listener>> SimFabric::Listen() {
  context_->network->Spend(kSetupNs);
  return std::make_unique<SimListener>(context_);
}

absl::StatusOr<std::unique_ptr<QueuePair>> SimFabric::Connect(absl::string_view endpoint,
                                                              CompletionQueue* completion_queue,
                                                              absl::string_view private_data) {
  context_->network->Spend(kSetupNs);
  const absl::optional<uint64_t> number = SimListener::NumberOf(endpoint, context_->kind);
  if (!number.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", endpoint, "' is no endpoint of ", context_->device.device));
  }
  if (private_data.size() > kPrivateDataBytesMax) {
    return absl::InvalidArgumentError("more private data than connecting can carry");
  }
  if (context_->kind == SimDevice::kSharedMemory) {
    SimListener* const listener = context_->network->FindListener(*number);
    if (listener == nullptr) return absl::UnavailableError("nobody listens there");
    if (listener->context()->process->machine() != context_->process->machine()) {
      return absl::UnavailableError("another machine's memory cannot be reached");
    }
  }
  return SimQueuePair::Connect(context_, completion_queue, *number, private_data);
}

}  // namespace acre::transport
