#include "transport/verbs/verbs_fabric.h"

#include <errno.h>
#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/verbs/verbs_completion_queue.h"
#include "transport/verbs/verbs_context.h"
#include "transport/verbs/verbs_listener.h"
#include "transport/verbs/verbs_queue_pair.h"
#include "transport/verbs/verbs_region.h"

namespace acre::transport {
namespace {

constexpr uint32_t kSendQueueDepthMax = 1 << 15;
constexpr uint32_t kInlineBytesMax = 1024;

struct QpDeleter {
  void operator()(ibv_qp* qp) const { ibv_destroy_qp(qp); }
};
using Qp = std::unique_ptr<ibv_qp, QpDeleter>;

uint64_t RandomWord() {
  uint64_t word = 0;
  while (word == 0) PCHECK(getrandom(&word, sizeof(word), 0) == sizeof(word));
  return word;
}

absl::Status JudgeOptions(const VerbsFabric::Options& options) {
  if (options.send_queue_depth == 0 || options.send_queue_depth > kSendQueueDepthMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("send_queue_depth is 1 to ", kSendQueueDepthMax));
  }
  if (options.receive_queue_depth < 2 || options.receive_queue_depth > kVerbsReceiveQueueDepthMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("receive_queue_depth is 2 to ", kVerbsReceiveQueueDepthMax));
  }
  if (options.inline_bytes_max > kInlineBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("inline_bytes_max is 0 to ", kInlineBytesMax));
  }
  if (options.threads_per_qp < 1 || options.threads_per_qp > kLanesMax) {
    return absl::InvalidArgumentError(absl::StrCat("threads_per_qp is 1 to ", kLanesMax));
  }
  return absl::OkStatus();
}

// Cuts the depths to what the card says that it can do.
absl::Status FitToCard(VerbsContext* context) {
  const ibv_device_attr& limits = context->card->limits().orig_attr;
  DeviceAttributes& device = context->device;
  const uint32_t lanes = context->threads_per_qp;
  const uint32_t requests_max = static_cast<uint32_t>(std::max(limits.max_qp_wr, 0)) / lanes;
  constexpr uint32_t kControlsMax = kControlSends + kControlSendsPerLane;
  if (requests_max < 2 * kControlsMax + 2) {
    return absl::UnavailableError(absl::StrCat("the card's queues hold only ", requests_max,
                                               " for each of ", lanes, " threads"));
  }
  device.send_queue_depth_max = std::min(device.send_queue_depth_max, requests_max - kControlsMax);
  device.receive_queue_depth =
      std::min({device.receive_queue_depth, requests_max - kControlReceivesPerLane,
                kVerbsReceiveQueueDepthMax / lanes});
  return context->Judge(context->DepthsFor(lanes));
}

// No card tells how much it takes inline, so queue pairs are made until one succeeds. The last one also
// says whether WRITEs land in order.
absl::Status TryQueuePair(VerbsContext* context, VerbsFacts* facts) {
  const Cq cq(ibv_create_cq(context->card->context(), 16, nullptr, nullptr, 0));
  if (cq == nullptr) return absl::ResourceExhaustedError("the card makes no completion queue");
  for (;;) {
    const CardQueueDepths depths = context->DepthsFor(context->threads_per_qp);
    ibv_qp_init_attr attributes = depths.Attributes(cq.get(), context->device.inline_bytes_max);
    const Qp qp(ibv_create_qp(context->card->pd(), &attributes));
    if (qp != nullptr) {
      facts->writes_in_order = ibv_query_qp_data_in_order(qp.get(), IBV_WR_RDMA_WRITE, 0) == 1;
      return absl::OkStatus();
    }
    if (context->device.inline_bytes_max == 0) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the card makes no queue pair with ", depths.sends_max(), " and ",
                       depths.receives_max(), " places: ", strerror(errno)));
    }
    context->device.inline_bytes_max = context->device.inline_bytes_max / 2 / 8 * 8;
  }
}

}  // namespace

VerbsFabric::VerbsFabric(std::unique_ptr<VerbsContext> context) : context_(std::move(context)) {}

std::vector<std::string> VerbsFabric::Addresses() { return VerbsDevice::UsableHosts(); }

absl::StatusOr<std::unique_ptr<VerbsFabric>> VerbsFabric::Create(const Options& options) {
  CHECK(options.clock != nullptr);
  if (absl::Status judged = JudgeOptions(options); !judged.ok()) return judged;
  absl::StatusOr<std::unique_ptr<VerbsDevice>> card =
      VerbsDevice::Open(options.device, options.address);
  if (!card.ok()) return card.status();
  auto context = std::make_unique<VerbsContext>();
  context->card = *std::move(card);
  context->clock = options.clock;
  context->generation = options.generation != 0 ? options.generation : RandomWord();
  context->serves_atomics = options.serves_atomics;
  context->threads_per_qp = options.threads_per_qp;
  context->fences_on_card = !context->card->is_soft_roce();
  DeviceAttributes& device = context->device;
  const ibv_device_attr_ex& limits = context->card->limits();
  device.provider = "verbs";
  device.device = absl::StrCat(context->card->name(), " (", context->card->address().Host(), ")");
  device.atomicity =
      limits.orig_attr.atomic_cap == IBV_ATOMIC_GLOB ? Atomicity::kGlobal : Atomicity::kHca;
  device.send_queue_depth_max = options.send_queue_depth;
  device.receive_queue_depth = options.receive_queue_depth;
  device.inline_bytes_max = options.inline_bytes_max;

  VerbsFacts facts;
  if (absl::Status fits = FitToCard(context.get()); !fits.ok()) return fits;
  if (absl::Status tried = TryQueuePair(context.get(), &facts); !tried.ok()) return tried;
  facts.card = context->card->name();
  facts.address = context->card->address().Host();
  facts.reads_max = context->card->initiated_reads_max();
  facts.fences_on_card = context->fences_on_card;
  facts.pci_atomics = (limits.pci_atomic_caps.compare_swap & limits.pci_atomic_caps.fetch_add) != 0;
  device.note =
      absl::StrCat("its atomics are ", device.atomicity == Atomicity::kGlobal ? "" : "not ",
                   "atomic to the CPU", facts.pci_atomics ? " (they may be over the bus)" : "",
                   ", WRITEs land in ", facts.writes_in_order ? "ascending" : "any",
                   " order, fences are ", facts.fences_on_card ? "the card's" : "waited for", ", ",
                   facts.reads_max, " READs under way on a queue pair");
  auto fabric = absl::WrapUnique(new VerbsFabric(std::move(context)));
  fabric->facts_ = std::move(facts);
  return fabric;
}

VerbsFabric::~VerbsFabric() {
  CHECK_EQ(context_->live_objects.load(std::memory_order_relaxed), 0)
      << "the fabric goes after its regions, listeners, queue pairs and completion queues";
}

const DeviceAttributes& VerbsFabric::device() const { return context_->device; }

absl::StatusOr<std::unique_ptr<MemoryRegion>> VerbsFabric::CreateRegion(
    const RegionOptions& options) {
  return VerbsRegion::Create(options, context_.get());
}

absl::StatusOr<std::unique_ptr<MemoryRegion>> VerbsFabric::RegisterRegion(MemoryRegion* memory,
                                                                          uint32_t peer_rights) {
  return VerbsRegion::Register(memory, peer_rights, context_.get());
}

absl::StatusOr<std::unique_ptr<CompletionQueue>> VerbsFabric::CreateCompletionQueue() {
  return VerbsCompletionQueue::Create(context_.get());
}

absl::StatusOr<std::unique_ptr<Listener>> VerbsFabric::Listen() {
  return VerbsListener::Create(context_.get());
}

absl::StatusOr<std::unique_ptr<QueuePair>> VerbsFabric::Connect(absl::string_view endpoint,
                                                                CompletionQueue* completion_queue,
                                                                absl::string_view private_data) {
  auto* verbs_queue = dynamic_cast<VerbsCompletionQueue*>(completion_queue);
  CHECK(verbs_queue != nullptr) << "a completion queue of another provider";
  absl::StatusOr<CmAddress> target = ParseVerbsEndpoint(endpoint);
  if (!target.ok()) return target.status();
  return VerbsQueuePair::Connect(verbs_queue, *target, endpoint, private_data);
}

int VerbsFabric::card_queue_pairs() const {
  return context_->card_queue_pairs.load(std::memory_order_relaxed);
}

}  // namespace acre::transport
