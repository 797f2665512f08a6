#include "transport/verbs/verbs_listener.h"

#include <arpa/inet.h>
#include <errno.h>

#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "glog/logging.h"
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

class VerbsConnectionRequest final : public ConnectionRequest {
 public:
  VerbsConnectionRequest(VerbsContext* context, std::shared_ptr<rdma_event_channel> channel,
                         CmId id, VerbsPeer peer, uint8_t initiated_reads_max,
                         uint8_t answered_reads_max)
      : context_(context),
        channel_(std::move(channel)),
        id_(std::move(id)),
        peer_(std::move(peer)),
        private_data_(peer_.private_data),
        initiated_reads_max_(initiated_reads_max),
        answered_reads_max_(answered_reads_max) {
    context_->live_objects.fetch_add(1, std::memory_order_relaxed);
  }
  ~VerbsConnectionRequest() override {
    if (id_ != nullptr) rdma_reject(id_.get(), nullptr, 0);
    context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
  }

  absl::string_view private_data() const override { return private_data_; }
  std::string peer() const override { return NameOf(id_.get()); }
  absl::StatusOr<std::unique_ptr<QueuePair>> Accept(CompletionQueue* completion_queue,
                                                    absl::string_view private_data) override {
    auto* verbs_queue = dynamic_cast<VerbsCompletionQueue*>(completion_queue);
    CHECK(verbs_queue != nullptr) << "a completion queue of another provider";
    CHECK(id_ != nullptr) << "a request is accepted once";
    return VerbsQueuePair::Accept(context_, verbs_queue, std::move(id_), std::move(peer_),
                                  initiated_reads_max_, answered_reads_max_, private_data);
  }

 private:
  VerbsContext* const context_;
  const std::shared_ptr<rdma_event_channel> channel_;
  CmId id_;  // Null: accepted.
  VerbsPeer peer_;
  const std::string private_data_;
  const uint8_t initiated_reads_max_;
  const uint8_t answered_reads_max_;
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
  return absl::WrapUnique(new VerbsListener(context, *std::move(channel), std::move(id)));
}

VerbsListener::VerbsListener(VerbsContext* context, std::shared_ptr<rdma_event_channel> channel,
                             CmId id)
    : context_(context), channel_(std::move(channel)), id_(std::move(id)) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
}

VerbsListener::~VerbsListener() { context_->live_objects.fetch_sub(1, std::memory_order_relaxed); }

std::string VerbsListener::endpoint() const {
  const std::string host = context_->card->address().Host();
  const bool is_v6 = host.find(':') != std::string::npos;
  return absl::StrCat(kVerbsEndpointPrefix, is_v6 ? "[" : "", host, is_v6 ? "]" : "", ":",
                      ntohs(rdma_get_src_port(id_.get())));
}

std::unique_ptr<ConnectionRequest> VerbsListener::Poll() {
  rdma_cm_event* event;
  while (rdma_get_cm_event(channel_.get(), &event) == 0) {
    if (event->event != RDMA_CM_EVENT_CONNECT_REQUEST) {
      // Of a peer that went before it was accepted: accepting it will fail.
      rdma_ack_cm_event(event);
      continue;
    }
    CmId id(event->id);
    id->context = nullptr;
    const rdma_conn_param& said = event->param.conn;
    absl::StatusOr<VerbsPeer> peer = JudgeVerbsHello(
        absl::string_view(static_cast<const char*>(said.private_data),
                          said.private_data == nullptr ? 0 : said.private_data_len));
    const uint8_t initiated_reads_max = said.initiator_depth;
    const uint8_t answered_reads_max = said.responder_resources;
    rdma_ack_cm_event(event);
    if (!peer.ok()) {
      Refuse(NameOf(id.get()), peer.status());
      rdma_reject(id.get(), nullptr, 0);
      continue;
    }
    return std::make_unique<VerbsConnectionRequest>(context_, channel_, std::move(id),
                                                    *std::move(peer), initiated_reads_max,
                                                    answered_reads_max);
  }
  return nullptr;
}

}  // namespace acre::transport
