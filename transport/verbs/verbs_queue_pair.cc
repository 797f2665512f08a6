// Making a connection, and how it ends. Requests: verbs_queue_pair_datapath.cc.

#include "transport/verbs/verbs_queue_pair.h"

#include <errno.h>
#include <sched.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <typeinfo>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/provider_rules.h"
#include "transport/verbs/verbs_region.h"

namespace acre::transport {
namespace {

// How long the peer has to take what it can no longer be sure to get: two ticks at least.
constexpr uint32_t kDrainTicksMax = 3;

absl::Status JudgePrivateData(absl::string_view private_data) {
  if (private_data.size() <= kPrivateDataBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("private data of ", private_data.size(),
                                                 " bytes; at most ", kPrivateDataBytesMax));
}

void SetAckTimeout(rdma_cm_id* id) {
  uint8_t exponent = kAckTimeoutExponent;
  // Kernels that do not know it keep rdma_cm's own, some seconds.
  (void)rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &exponent,
                        sizeof(exponent));
}

// Why rdma_cm says that connecting failed, or that a connection ended.
std::string Describe(const CmNews& news) {
  switch (news.event) {
    case RDMA_CM_EVENT_DISCONNECTED:
      return "the peer closed the connection or died";
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
      return "the card was taken away";
    case RDMA_CM_EVENT_REJECTED:
      return absl::StrCat("the peer rejected the connection, or nobody listens there (reason ",
                          news.status, ")");
    default:
      return absl::StrCat("cannot connect: ", rdma_event_str(news.event), " (",
                          news.status < 0 ? strerror(-news.status) : absl::StrCat(news.status),
                          ")");
  }
}

}  // namespace

VerbsQueuePair::VerbsQueuePair(VerbsContext* context, VerbsCompletionQueue* completion_queue)
    : context_(context),
      completion_queue_(completion_queue),
      sent_(std::bit_ceil(context->sends_max())) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
}

absl::StatusOr<std::unique_ptr<VerbsQueuePair>> VerbsQueuePair::Connect(
    VerbsContext* context, VerbsCompletionQueue* completion_queue, const CmAddress& target,
    absl::string_view private_data) {
  if (absl::Status judged = JudgePrivateData(private_data); !judged.ok()) return judged;
  auto made = absl::WrapUnique(new VerbsQueuePair(context, completion_queue));
  made->hello_ = EncodeVerbsHello(context->device.receive_queue_depth, private_data);
  rdma_cm_id* id = nullptr;
  if (rdma_create_id(completion_queue->cm_channel(), &id, made.get(), RDMA_PS_TCP) != 0) {
    return absl::ErrnoToStatus(errno, "rdma_create_id");
  }
  made->id_.reset(id);
  absl::StatusOr<VerbsCompletionQueue::Place> place = completion_queue->Attach(made.get());
  if (!place.ok()) return place.status();
  made->place_ = *place;
  made->is_attached_ = true;
  // From our own address: where there are several cards, routing alone might pick another one.
  CmAddress from = context->card->address();
  CmAddress to = target;
  if (rdma_resolve_addr(id, from.get(), to.get(), kResolveMsMax) != 0) {
    return absl::UnavailableError(
        absl::StrCat("no way from ", from.Host(), " to ", to.Host(), ": ", strerror(errno)));
  }
  return made;
}

absl::StatusOr<std::unique_ptr<VerbsQueuePair>> VerbsQueuePair::Accept(
    VerbsContext* context, VerbsCompletionQueue* completion_queue, CmId id, VerbsPeer peer,
    uint8_t initiated_reads_max, uint8_t answered_reads_max, absl::string_view private_data) {
  if (absl::Status judged = JudgePrivateData(private_data); !judged.ok()) return judged;
  auto made = absl::WrapUnique(new VerbsQueuePair(context, completion_queue));
  made->peer_ = std::move(peer);
  made->credits_ = made->peer_.receive_queue_depth;
  made->id_ = std::move(id);
  made->id_->context = made.get();
  if (rdma_migrate_id(made->id_.get(), completion_queue->cm_channel()) != 0) {
    return absl::UnavailableError(absl::StrCat("the peer has gone: ", strerror(errno)));
  }
  absl::StatusOr<VerbsCompletionQueue::Place> place = completion_queue->Attach(made.get());
  if (!place.ok()) return place.status();
  made->place_ = *place;
  made->is_attached_ = true;
  if (absl::Status card = made->MakeCardQueuePair(); !card.ok()) return card;
  const std::string hello = EncodeVerbsHello(context->device.receive_queue_depth, private_data);
  rdma_conn_param param = {};
  param.private_data = hello.data();
  param.private_data_len = static_cast<uint8_t>(hello.size());
  param.initiator_depth = std::min(initiated_reads_max, context->card->initiated_reads_max());
  param.responder_resources = std::min(answered_reads_max, context->card->answered_reads_max());
  param.rnr_retry_count = 7;
  if (rdma_accept(made->id_.get(), &param) != 0) {
    return absl::UnavailableError(absl::StrCat("the peer has gone: ", strerror(errno)));
  }
  made->state_ = QueuePairState::kReady;
  return made;
}

VerbsQueuePair::~VerbsQueuePair() {
  held_.clear();
  if (state_ == QueuePairState::kReady) {
    Linger();
    if (state_ == QueuePairState::kReady) rdma_disconnect(id_.get());
  }
  state_ = QueuePairState::kBroken;
  is_reported_ = true;
  if (is_draining_) completion_queue_->RemoveDraining();
  if (card() != nullptr) rdma_destroy_qp(id_.get());
  if (is_attached_) completion_queue_->Detach(this, place_);
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

void VerbsQueuePair::Linger() {
  if (is_all_sent_done()) return;
  if (ends_unheard() && has_room_for_control()) {
    StageControl(IBV_WR_RDMA_WRITE, 0);
    RingDoorbell();
  }
  // Real time: the card knows no other.
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(kLingerMsMax);
  while (state_ == QueuePairState::kReady && !is_all_sent_done()) {
    completion_queue_->Drain(place_.cq);
    if (std::chrono::steady_clock::now() > until) return;
    sched_yield();
  }
}

absl::Status VerbsQueuePair::MakeCardQueuePair() {
  SetAckTimeout(id_.get());
  ibv_qp_init_attr attributes = context_->QueuePairAttributes(place_.cq);
  if (rdma_create_qp(id_.get(), context_->card->pd(), &attributes) != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the card makes no queue pair: ", strerror(errno)));
  }
  PostReceives(context_->receives_max());
  return state_ == QueuePairState::kBroken ? status_ : absl::OkStatus();
}

void VerbsQueuePair::StartRoute() {
  if (id_->verbs != context_->card->context()) {
    return Break(absl::UnavailableError("the way to the peer leads through another card"));
  }
  if (absl::Status card = MakeCardQueuePair(); !card.ok()) return Break(std::move(card));
  if (rdma_resolve_route(id_.get(), kResolveMsMax) != 0) {
    Break(absl::UnavailableError(absl::StrCat("no route to the peer: ", strerror(errno))));
  }
}

void VerbsQueuePair::StartConnect() {
  rdma_conn_param param = {};
  param.private_data = hello_.data();
  param.private_data_len = static_cast<uint8_t>(hello_.size());
  param.initiator_depth = context_->card->initiated_reads_max();
  param.responder_resources = context_->card->answered_reads_max();
  param.retry_count = kRetriesMax;
  // A peer that keeps to its own credits never needs it.
  param.rnr_retry_count = 7;
  if (rdma_connect(id_.get(), &param) != 0) {
    Break(absl::UnavailableError(absl::StrCat("rdma_connect: ", strerror(errno))));
  }
}

void VerbsQueuePair::BecomeReady(const CmNews& news) {
  absl::StatusOr<VerbsPeer> peer = JudgeVerbsHello(news.private_data);
  if (!peer.ok()) {
    return Break(
        absl::UnavailableError(absl::StrCat("dropped the peer: ", peer.status().message())));
  }
  peer_ = *std::move(peer);
  credits_ = peer_.receive_queue_depth;
  state_ = QueuePairState::kReady;
  is_established_ = true;
  ticks_ = 0;
  completion_queue_->Push({.kind = CompletionKind::kConnected, .queue_pair = this}, 0);
}

void VerbsQueuePair::OnCmNews(const CmNews& news) {
  if (state_ == QueuePairState::kBroken) return;
  switch (news.event) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
      return StartRoute();
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
      return StartConnect();
    case RDMA_CM_EVENT_ESTABLISHED:
      if (state_ == QueuePairState::kConnecting) return BecomeReady(news);
      is_established_ = true;
      return StartHeld();
    case RDMA_CM_EVENT_TIMEWAIT_EXIT:
    case RDMA_CM_EVENT_ADDR_CHANGE:  // The connection goes on over the card's address.
      return;
    default:
      return Break(absl::UnavailableError(Describe(news)));
  }
}

void VerbsQueuePair::OnTick() {
  ++ticks_;
  switch (state_) {
    case QueuePairState::kConnecting:
      if (ticks_ > kConnectTicksMax) Break(absl::UnavailableError("the peer does not answer"));
      return;
    case QueuePairState::kBroken:
      if (!is_reported_ && ticks_ > kDrainTicksMax) GiveUpDraining();
      return;
    case QueuePairState::kReady:
      break;
  }
  // What is signaled and under way will be acknowledged, or fail. With nothing under way, ask.
  if (!std::exchange(was_heard_, false) && is_established_ && has_room_for_control() &&
      (is_all_sent_done() || ends_unheard())) {
    StageControl(IBV_WR_RDMA_WRITE, 0);
    RingDoorbell();
  }
}

void VerbsQueuePair::Break(absl::Status why) {
  if (state_ == QueuePairState::kBroken) return;
  const bool was_connected = state_ == QueuePairState::kReady;
  state_ = QueuePairState::kBroken;
  status_ = std::move(why);
  ticks_ = 0;
  if (was_connected) {
    // Moves the card's queue pair to its error state, and tells the peer.
    if (rdma_disconnect(id_.get()) != 0) {
      ibv_qp_attr attributes = {};
      attributes.qp_state = IBV_QPS_ERR;
      (void)ibv_modify_qp(card(), &attributes, IBV_QP_STATE);
    }
    is_draining_ = true;
    completion_queue_->AddDraining();
    if (ends_unheard()) {
      // What completed unsignaled is not given back. This is, behind all else.
      StageControl(IBV_WR_RDMA_WRITE, 0);
      RingDoorbell();
    }
  } else if (card() != nullptr) {
    // It has nothing that anybody waits for.
    rdma_destroy_qp(id_.get());
    receives_ = 0;
  }
  ReportIfDrained();
}

void VerbsQueuePair::ReportIfDrained() {
  if (state_ != QueuePairState::kBroken || is_reported_) return;
  if (!is_all_sent_done() || receives_ > 0) return;
  is_reported_ = true;
  if (std::exchange(is_draining_, false)) completion_queue_->RemoveDraining();
  for (const Held& held : held_) ReportFailed(held.request, CompletionStatus::kFlushed);
  held_.clear();
  completion_queue_->Push({.kind = CompletionKind::kDisconnected, .queue_pair = this}, 0);
}

void VerbsQueuePair::GiveUpDraining() {
  // A card that does not give back what it was told to: take its queue pair away.
  LOG(WARNING) << "card " << context_->card->name() << " keeps " << sent_end_ - sent_first_
               << " requests and " << receives_ << " receives of a broken queue pair";
  if (card() != nullptr) rdma_destroy_qp(id_.get());
  completion_queue_->Drain(place_.cq);
  receives_ = 0;
  while (!is_all_sent_done()) OnSent(sent_first_, IBV_WC_WR_FLUSH_ERR);
  ReportIfDrained();
}

absl::StatusOr<RemoteKey> VerbsQueuePair::Grant(const MemoryRegion& region, uint32_t rights) {
  if (state_ != QueuePairState::kReady) return ErrorNotReady(state_, status_);
  CHECK(typeid(region) == typeid(VerbsRegion)) << "a region of another provider";
  const auto& verbs_region = static_cast<const VerbsRegion&>(region);
  const absl::Status judged = JudgeGrant(region, verbs_region.peer_rights(), rights);
  if (!judged.ok()) return judged;
  return verbs_region.KeyFor(rights);
}

absl::StatusOr<MappedRegion> VerbsQueuePair::Map(RemoteKey /*key*/) {
  if (state_ != QueuePairState::kReady) return ErrorNotReady(state_, status_);
  return absl::FailedPreconditionError("memory behind a card cannot be mapped");
}

}  // namespace acre::transport
