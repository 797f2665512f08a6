#include "transport/verbs/verbs_listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "glog/logging.h"
#include "transport/verbs/card_queue_pair.h"
#include "transport/verbs/verbs_completion_queue.h"
#include "transport/verbs/verbs_queue_pair.h"
#include "transport/verbs/verbs_wire.h"

namespace acre::transport {
namespace {

// Requests that the kernel keeps for us; it turns the next ones away.
constexpr int kBacklog = 128;

std::string NameOf(rdma_cm_id* id) {
  return id == nullptr ? "" : CmAddress::From(rdma_get_peer_addr(id)).Host();
}

VerbsCompletionQueue* OurQueue(CompletionQueue* completion_queue) {
  auto* const verbs_queue = dynamic_cast<VerbsCompletionQueue*>(completion_queue);
  CHECK(verbs_queue != nullptr) << "a completion queue of another provider";
  return verbs_queue;
}

// One that rdma_cm brought.
class VerbsConnectionRequest final : public ConnectionRequest {
 public:
  VerbsConnectionRequest(VerbsContext* context, std::shared_ptr<rdma_event_channel> channel,
                         CmRequest request, std::shared_ptr<LaneArrivals> arrivals)
      : context_(context),
        channel_(std::move(channel)),
        request_(std::move(request)),
        arrivals_(std::move(arrivals)),
        private_data_(request_.peer.private_data) {
    context_->live_objects.fetch_add(1, std::memory_order_relaxed);
  }
  ~VerbsConnectionRequest() override {
    if (request_.id != nullptr) rdma_reject(request_.id.get(), nullptr, 0);
    context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
  }

  absl::string_view private_data() const override { return private_data_; }
  std::string peer() const override { return NameOf(request_.id.get()); }
  absl::StatusOr<std::unique_ptr<QueuePair>> Accept(CompletionQueue* completion_queue,
                                                    absl::string_view private_data) override {
    CHECK(request_.id != nullptr) << "a request is accepted once";
    return VerbsQueuePair::Accept(OurQueue(completion_queue), std::move(request_),
                                  std::move(arrivals_), private_data);
  }

 private:
  VerbsContext* const context_;
  const std::shared_ptr<rdma_event_channel> channel_;
  CmRequest request_;  // Its id is null: accepted.
  std::shared_ptr<LaneArrivals> arrivals_;
  const std::string private_data_;
};

void Reject(const LaneArrival& arrival) {
  MutexLock lock(arrival.group->mutex());
  CardQueuePair* const card = arrival.group->Find(arrival.connection);
  if (card != nullptr) card->RejectLane(arrival.lane);
}

// One for a further lane, that a peer of ours sent.
class LaneRequest final : public ConnectionRequest {
 public:
  explicit LaneRequest(LaneArrival arrival) : arrival_(std::move(arrival)) {}
  ~LaneRequest() override {
    if (!is_accepted_) Reject(arrival_);
  }

  absl::string_view private_data() const override { return arrival_.private_data; }
  std::string peer() const override { return arrival_.peer; }
  const CompletionQueue* home() const override { return arrival_.home; }
  absl::StatusOr<std::unique_ptr<QueuePair>> Accept(CompletionQueue* completion_queue,
                                                    absl::string_view private_data) override {
    CHECK(!is_accepted_) << "a request is accepted once";
    auto made = VerbsQueuePair::AcceptLane(OurQueue(completion_queue), arrival_, private_data);
    is_accepted_ = made.ok();
    return made;
  }

 private:
  const LaneArrival arrival_;
  bool is_accepted_ = false;
};

}  // namespace

absl::StatusOr<CmAddress> ParseVerbsEndpoint(absl::string_view endpoint) {
  const absl::Status bad =
      absl::InvalidArgumentError(absl::StrCat("'", endpoint, "' is not a verbs endpoint"));
  absl::string_view rest = endpoint;
  const size_t colon = rest.rfind(':');
  uint32_t port = 0;
  if (!absl::ConsumePrefix(&rest, kVerbsEndpointPrefix) || colon < kVerbsEndpointPrefix.size() ||
      !absl::SimpleAtoi(endpoint.substr(colon + 1), &port) || port == 0 || port > 65535) {
    return bad;
  }
  absl::string_view host =
      endpoint.substr(kVerbsEndpointPrefix.size(), colon - kVerbsEndpointPrefix.size());
  if (absl::ConsumePrefix(&host, "[") && !absl::ConsumeSuffix(&host, "]")) return bad;
  absl::StatusOr<CmAddress> address = CmAddress::FromHost(host);
  if (!address.ok()) return bad;
  address->SetPort(static_cast<uint16_t>(port));
  return address;
}

absl::StatusOr<std::unique_ptr<VerbsListener>> VerbsListener::Create(VerbsContext* context) {
  absl::StatusOr<CmChannel> channel = MakeCmChannel();
  if (!channel.ok()) return channel.status();
  rdma_cm_id* made = nullptr;
  if (rdma_create_id(channel->get(), &made, nullptr, RDMA_PS_TCP) != 0) {
    return absl::ErrnoToStatus(errno, "rdma_create_id");
  }
  CmId id(made);
  CmAddress address = context->card->address();
  if (rdma_bind_addr(id.get(), address.get()) != 0 || rdma_listen(id.get(), kBacklog) != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen at ", address.Host(), ": ", strerror(errno)));
  }
  ScopedFd epoll_fd(epoll_create1(EPOLL_CLOEXEC));
  ScopedFd arrivals_fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!epoll_fd.is_open() || !arrivals_fd.is_open()) {
    return absl::ErrnoToStatus(errno, "cannot listen (ulimit -n?)");
  }
  for (const int fd : {(*channel)->fd, arrivals_fd.get()}) {
    epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    PCHECK(epoll_ctl(epoll_fd.get(), EPOLL_CTL_ADD, fd, &event) == 0);
  }
  return absl::WrapUnique(
      new VerbsListener(context, *std::move(channel), std::move(id), std::move(epoll_fd),
                        std::make_shared<LaneArrivals>(std::move(arrivals_fd))));
}

VerbsListener::VerbsListener(VerbsContext* context, std::shared_ptr<rdma_event_channel> channel,
                             CmId id, ScopedFd epoll_fd, std::shared_ptr<LaneArrivals> arrivals)
    : context_(context),
      channel_(std::move(channel)),
      id_(std::move(id)),
      epoll_fd_(std::move(epoll_fd)),
      arrivals_(std::move(arrivals)) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
}

VerbsListener::~VerbsListener() {
  for (const LaneArrival& arrival : arrivals_->Close()) Reject(arrival);
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

std::string VerbsListener::endpoint() const {
  const std::string host = context_->card->address().Host();
  const bool is_v6 = host.find(':') != std::string::npos;
  return absl::StrCat(kVerbsEndpointPrefix, is_v6 ? "[" : "", host, is_v6 ? "]" : "", ":",
                      ntohs(rdma_get_src_port(id_.get())));
}

std::unique_ptr<ConnectionRequest> VerbsListener::Poll() {
  if (std::unique_ptr<ConnectionRequest> request = PollCm(); request != nullptr) return request;
  absl::optional<LaneArrival> arrival = arrivals_->Pop();
  if (!arrival.has_value()) return nullptr;
  return std::make_unique<LaneRequest>(*std::move(arrival));
}

std::unique_ptr<ConnectionRequest> VerbsListener::PollCm() {
  rdma_cm_event* event;
  while (rdma_get_cm_event(channel_.get(), &event) == 0) {
    if (event->event != RDMA_CM_EVENT_CONNECT_REQUEST) {
      // Of a peer that went before it was accepted: accepting it will fail.
      rdma_ack_cm_event(event);
      continue;
    }
    CmRequest request;
    request.id.reset(event->id);
    request.id->context = nullptr;
    const rdma_conn_param& said = event->param.conn;
    absl::StatusOr<VerbsPeer> peer = JudgeVerbsHello(
        absl::string_view(static_cast<const char*>(said.private_data),
                          said.private_data == nullptr ? 0 : said.private_data_len));
    request.initiated_reads_max = said.initiator_depth;
    request.answered_reads_max = said.responder_resources;
    rdma_ack_cm_event(event);
    absl::Status judged = peer.status();
    if (peer.ok()) judged = context_->Judge(context_->DepthsFor(peer->lanes));
    if (!judged.ok()) {
      Refuse(NameOf(request.id.get()), judged);
      rdma_reject(request.id.get(), nullptr, 0);
      continue;
    }
    request.peer = *std::move(peer);
    return std::make_unique<VerbsConnectionRequest>(context_, channel_, std::move(request),
                                                    arrivals_);
  }
  return nullptr;
}

}  // namespace acre::transport
