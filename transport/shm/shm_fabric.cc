#include "transport/shm/shm_fabric.h"

#include <sys/random.h>

#include <bit>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "glog/logging.h"
#include "transport/shm/shm_completion_queue.h"
#include "transport/shm/shm_listener.h"
#include "transport/shm/shm_queue_pair.h"
#include "transport/shm/shm_region.h"
#include "transport/shm/shm_socket.h"

namespace acre::transport {
namespace {

constexpr uint32_t kSendQueueDepthMax = 1 << 16;
constexpr uint32_t kInlineBytesMax = 256;

// From the kernel, since names of endpoints are secrets. Never 0.
uint64_t UnguessableWord() {
  uint64_t word = 0;
  while (word == 0) PCHECK(getrandom(&word, sizeof(word), 0) == sizeof(word));
  return word;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ShmFabric>> ShmFabric::Create(const Options& options) {
  CHECK(options.clock != nullptr);
  if (options.send_queue_depth == 0 || options.send_queue_depth > kSendQueueDepthMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("send_queue_depth is 1 to ", kSendQueueDepthMax));
  }
  if (options.receive_queue_depth < 2 || options.receive_queue_depth > kReceiveQueueDepthMax ||
      !std::has_single_bit(options.receive_queue_depth)) {
    return absl::InvalidArgumentError(
        absl::StrCat("receive_queue_depth is a power of two, 2 to ", kReceiveQueueDepthMax));
  }
  auto fabric = absl::WrapUnique(new ShmFabric());
  DeviceAttributes& device = fabric->context_.device;
  device.provider = "shm";
  device.device = "shared memory";
  device.atomicity = options.atomicity;
  device.send_queue_depth_max = options.send_queue_depth;
  device.receive_queue_depth = options.receive_queue_depth;
  device.inline_bytes_max = kInlineBytesMax;
  device.can_map = true;
  fabric->context_.atomic_domain = options.atomic_domain;
  fabric->context_.generation = options.generation != 0 ? options.generation : UnguessableWord();
  fabric->context_.clock = options.clock;
  fabric->context_.death_marks = options.death_marks;
  return fabric;
}

ShmFabric::~ShmFabric() {
  CHECK_EQ(context_.live_objects.load(std::memory_order_relaxed), 0)
      << "the fabric goes after its regions, listeners, queue pairs and completion queues";
}

absl::StatusOr<std::unique_ptr<MemoryRegion>> ShmFabric::CreateRegion(
    const RegionOptions& options) {
  return ShmRegion::Create(options, &context_);
}

absl::StatusOr<std::unique_ptr<CompletionQueue>> ShmFabric::CreateCompletionQueue() {
  return ShmCompletionQueue::Create(&context_);
}

absl::StatusOr<std::unique_ptr<Listener>> ShmFabric::Listen() {
  return ShmListener::Create(&context_,
                             absl::StrCat("acre-", absl::Hex(UnguessableWord(), absl::kZeroPad16),
                                          absl::Hex(UnguessableWord(), absl::kZeroPad16)));
}

absl::StatusOr<std::unique_ptr<QueuePair>> ShmFabric::Connect(absl::string_view endpoint,
                                                              CompletionQueue* completion_queue,
                                                              absl::string_view private_data) {
  auto* shm_queue = dynamic_cast<ShmCompletionQueue*>(completion_queue);
  CHECK(shm_queue != nullptr) << "a completion queue of another provider";
  if (!absl::ConsumePrefix(&endpoint, kShmEndpointPrefix)) {
    return absl::InvalidArgumentError(absl::StrCat("'", endpoint, "' is not an shm endpoint"));
  }
  absl::StatusOr<PacketSocket> socket = PacketSocket::Connect(endpoint);
  if (!socket.ok()) return socket.status();
  return ShmQueuePair::Connect(&context_, shm_queue, *std::move(socket), private_data);
}

}  // namespace acre::transport
