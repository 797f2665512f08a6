#include "transport/tcp/tcp_fabric.h"

#include <sys/random.h>

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/socket.h"
#include "transport/tcp/tcp_completion_queue.h"
#include "transport/tcp/tcp_listener.h"
#include "transport/tcp/tcp_queue_pair.h"
#include "transport/tcp/tcp_region.h"
#include "transport/tcp/tcp_stream.h"

namespace acre::transport {
namespace {

constexpr uint32_t kQueueDepthMax = 1 << 16;
constexpr uint32_t kInlineBytesMax = 256;
constexpr uint32_t kUnreachableMsMin = 100;
constexpr uint32_t kUnreachableMsMax = 3'600'000;

void FillRandom(void* to, size_t bytes) {
  PCHECK(getrandom(to, bytes, 0) == static_cast<ssize_t>(bytes));
}

absl::StatusOr<ScopedFd> OpenStream(const SocketAddress& address, uint32_t unreachable_ms) {
  absl::StatusOr<ScopedFd> stream = StartConnect(address);
  if (stream.ok()) PrepareStream(stream->get(), unreachable_ms);
  return stream;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TcpFabric>> TcpFabric::Create(const Options& options) {
  CHECK(options.clock != nullptr);
  if (options.send_queue_depth == 0 || options.send_queue_depth > kQueueDepthMax ||
      options.receive_queue_depth == 0 || options.receive_queue_depth > kQueueDepthMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("send_queue_depth and receive_queue_depth are 1 to ", kQueueDepthMax));
  }
  if (options.unreachable_ms < kUnreachableMsMin || options.unreachable_ms > kUnreachableMsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("unreachable_ms is ", kUnreachableMsMin, " to ", kUnreachableMsMax));
  }
  auto fabric = absl::WrapUnique(new TcpFabric(options.clock));
  TcpContext& context = fabric->context_;
  context.device.provider = "tcp";
  context.device.device = "TCP sockets";
  context.device.atomicity = options.atomicity;
  context.device.send_queue_depth_max = options.send_queue_depth;
  context.device.receive_queue_depth = options.receive_queue_depth;
  context.device.inline_bytes_max = kInlineBytesMax;
  context.device.can_map = false;
  context.atomic_domain = options.atomic_domain;
  context.generation = options.generation;
  while (context.generation == 0) FillRandom(&context.generation, sizeof(context.generation));
  context.listen_host = options.listen_host;
  context.unreachable_ms = options.unreachable_ms;
  return fabric;
}

TcpFabric::~TcpFabric() {
  CHECK_EQ(context_.live_objects.load(std::memory_order_relaxed), 0)
      << "the fabric goes after its regions, listeners, queue pairs and completion queues";
}

absl::StatusOr<std::unique_ptr<MemoryRegion>> TcpFabric::CreateRegion(
    const RegionOptions& options) {
  return TcpRegion::Create(options, &context_);
}

absl::StatusOr<std::unique_ptr<MemoryRegion>> TcpFabric::RegisterRegion(MemoryRegion* memory,
                                                                        uint32_t peer_rights) {
  return TcpRegion::Register(memory, peer_rights, &context_);
}

absl::StatusOr<std::unique_ptr<CompletionQueue>> TcpFabric::CreateCompletionQueue() {
  return TcpCompletionQueue::Create(&context_);
}

absl::StatusOr<std::unique_ptr<Listener>> TcpFabric::Listen() {
  return ListenAt(context_.listen_host);
}

absl::StatusOr<std::unique_ptr<Listener>> TcpFabric::ListenAt(absl::string_view host) {
  return TcpListener::Create(&context_, std::string(host));
}

absl::StatusOr<std::unique_ptr<QueuePair>> TcpFabric::Connect(absl::string_view endpoint,
                                                              CompletionQueue* completion_queue,
                                                              absl::string_view private_data) {
  auto* tcp_queue = dynamic_cast<TcpCompletionQueue*>(completion_queue);
  CHECK(tcp_queue != nullptr) << "a completion queue of another provider";
  const absl::StatusOr<HostPort> host_port = ParseHostPort(endpoint);
  const absl::optional<SocketAddress> address =
      host_port.ok() ? ParseAddress(*host_port) : absl::nullopt;
  if (!address.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("'", endpoint, "' is not a tcp endpoint"));
  }
  TcpQueuePair::Streams streams;
  for (ScopedFd* const stream : {&streams.own_requests, &streams.peer_requests}) {
    absl::StatusOr<ScopedFd> opened = OpenStream(*address, context_.unreachable_ms);
    if (!opened.ok()) return opened.status();
    *stream = *std::move(opened);
  }
  TcpToken token;
  FillRandom(token.data(), token.size());
  return TcpQueuePair::Connect(&context_, tcp_queue, std::move(streams), token, private_data);
}

}  // namespace acre::transport
