// Making a connection, and how it ends. Lanes and their messages: card_queue_pair_lanes.cc; requests:
// card_queue_pair_datapath.cc.

#include "transport/verbs/card_queue_pair.h"

#include <errno.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/verbs/verbs_queue_pair.h"

namespace acre::transport {
namespace {

// How long the peer has to take what it can no longer be sure to get: two ticks at least.
constexpr uint32_t kDrainTicksMax = 3;

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

CardQueuePair::CardQueuePair(VerbsGroup* group, const CardQueueDepths& depths,
                             absl::string_view endpoint)
    : group_(group),
      context_(group->context()),
      depths_(depths),
      endpoint_(endpoint),
      lanes_(depths.lanes),
      sent_(std::bit_ceil(depths.sends_max())) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
}

absl::StatusOr<CardQueuePair*> CardQueuePair::Connect(VerbsGroup* group, const CmAddress& target,
                                                      absl::string_view endpoint,
                                                      VerbsQueuePair* lane,
                                                      absl::string_view private_data) {
  VerbsContext* const context = group->context();
  auto made = absl::WrapUnique(
      new CardQueuePair(group, context->DepthsFor(context->threads_per_qp), endpoint));
  made->hello_ = EncodeVerbsHello(made->depths_.receives(), made->depths_.lanes, private_data);
  rdma_cm_id* id = nullptr;
  if (rdma_create_id(group->cm_channel(), &id, made.get(), RDMA_PS_TCP) != 0) {
    return absl::ErrnoToStatus(errno, "rdma_create_id");
  }
  made->id_.reset(id);
  if (absl::Status attached = made->AttachToGroup(); !attached.ok()) return attached;
  // From our own address: where there are several cards, routing alone might pick another one.
  CmAddress from = context->card->address();
  CmAddress to = target;
  if (rdma_resolve_addr(id, from.get(), to.get(), kResolveMsMax) != 0) {
    return absl::UnavailableError(
        absl::StrCat("no way from ", from.Host(), " to ", to.Host(), ": ", strerror(errno)));
  }
  made->lanes_[0].object = lane;
  made->lanes_[0].phase = Phase::kOpening;
  return group->Own(std::move(made));
}

absl::StatusOr<CardQueuePair*> CardQueuePair::Accept(VerbsGroup* group, CmRequest request,
                                                     std::shared_ptr<LaneArrivals> arrivals,
                                                     VerbsQueuePair* lane,
                                                     absl::string_view private_data) {
  VerbsContext* const context = group->context();
  const CardQueueDepths depths = context->DepthsFor(request.peer.lanes);
  auto made = absl::WrapUnique(new CardQueuePair(group, depths, /*endpoint=*/""));
  made->peer_receives_ = request.peer.receive_queue_depth;
  made->arrivals_ = std::move(arrivals);
  made->id_ = std::move(request.id);
  made->id_->context = made.get();
  if (rdma_migrate_id(made->id_.get(), group->cm_channel()) != 0) {
    return absl::UnavailableError(absl::StrCat("the peer has gone: ", strerror(errno)));
  }
  if (absl::Status attached = made->AttachToGroup(); !attached.ok()) return attached;
  if (absl::Status card = made->MakeCardQueuePair(); !card.ok()) return card;
  const std::string hello = EncodeVerbsHello(depths.receives(), depths.lanes, private_data);
  rdma_conn_param param = {};
  param.private_data = hello.data();
  param.private_data_len = static_cast<uint8_t>(hello.size());
  param.initiator_depth =
      std::min(request.initiated_reads_max, context->card->initiated_reads_max());
  param.responder_resources =
      std::min(request.answered_reads_max, context->card->answered_reads_max());
  param.rnr_retry_count = 7;
  if (rdma_accept(made->id_.get(), &param) != 0) {
    return absl::UnavailableError(absl::StrCat("the peer has gone: ", strerror(errno)));
  }
  made->state_ = QueuePairState::kReady;
  made->lanes_[0].object = lane;
  made->lanes_[0].phase = Phase::kOpen;
  return group->Own(std::move(made));
}

CardQueuePair::~CardQueuePair() {
  if (state_ == QueuePairState::kReady) rdma_disconnect(id_.get());
  state_ = QueuePairState::kBroken;
  is_reported_ = true;
  if (is_draining_) group_->RemoveDraining();
  DestroyCardQueuePair();
  if (is_attached_) group_->Detach(this, place_, depths_.completions_max());
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

absl::Status CardQueuePair::AttachToGroup() {
  absl::StatusOr<VerbsGroup::Place> place = group_->Attach(this, depths_.completions_max());
  if (!place.ok()) return place.status();
  place_ = *place;
  is_attached_ = true;
  return absl::OkStatus();
}

absl::Status CardQueuePair::MakeCardQueuePair() {
  SetAckTimeout(id_.get());
  if (depths_.lanes > 1) {
    mail_ = std::make_unique<Mail>();
    const int access = IBV_ACCESS_LOCAL_WRITE;
    mail_->registration.reset(
        ibv_reg_mr(context_->card->pd(), mail_->in.data(), 2 * sizeof(Mail::in), access));
    if (mail_->registration == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the card takes no more memory: ", strerror(errno)));
    }
    mail_->in_place = {.addr = reinterpret_cast<uintptr_t>(mail_->in.data()),
                       .length = sizeof(mail_->in),
                       .lkey = mail_->registration->lkey};
  }
  ibv_qp_init_attr attributes = depths_.Attributes(place_.cq, context_->device.inline_bytes_max);
  if (rdma_create_qp(id_.get(), context_->card->pd(), &attributes) != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the card makes no queue pair: ", strerror(errno)));
  }
  context_->card_queue_pairs.fetch_add(1, std::memory_order_relaxed);
  PostReceives(depths_.receives_max());
  return state_ == QueuePairState::kBroken ? status_ : absl::OkStatus();
}

void CardQueuePair::DestroyCardQueuePair() {
  if (card() == nullptr) return;
  rdma_destroy_qp(id_.get());
  context_->card_queue_pairs.fetch_sub(1, std::memory_order_relaxed);
}

void CardQueuePair::StartRoute() {
  if (id_->verbs != context_->card->context()) {
    return Break(absl::UnavailableError("the way to the peer leads through another card"));
  }
  if (absl::Status card = MakeCardQueuePair(); !card.ok()) return Break(std::move(card));
  if (rdma_resolve_route(id_.get(), kResolveMsMax) != 0) {
    Break(absl::UnavailableError(absl::StrCat("no route to the peer: ", strerror(errno))));
  }
}

void CardQueuePair::StartConnect() {
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

void CardQueuePair::BecomeReady(const CmNews& news) {
  absl::StatusOr<VerbsPeer> peer = JudgeVerbsHello(news.private_data);
  if (!peer.ok()) return BreakByPeer(peer.status().message());
  if (peer->lanes != depths_.lanes) return BreakByPeer("it has other lanes than were asked for");
  peer_receives_ = peer->receive_queue_depth;
  state_ = QueuePairState::kReady;
  is_established_ = true;
  ticks_ = 0;
  OnAnswer(/*number=*/0, /*is_accepted=*/true, peer->private_data);
}

void CardQueuePair::OnCmNews(const CmNews& news) {
  if (state_ == QueuePairState::kBroken) return;
  switch (news.event) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
      return StartRoute();
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
      return StartConnect();
    case RDMA_CM_EVENT_ESTABLISHED:
      if (state_ == QueuePairState::kConnecting) return BecomeReady(news);
      is_established_ = true;
      return GoOn();
    case RDMA_CM_EVENT_TIMEWAIT_EXIT:
    case RDMA_CM_EVENT_ADDR_CHANGE:  // The connection goes on over the card's address.
      return;
    default:
      return Break(absl::UnavailableError(Describe(news)));
  }
}

void CardQueuePair::OnTick() {
  ++ticks_;
  switch (state_) {
    case QueuePairState::kConnecting:
      if (ticks_ > kConnectTicksMax) Break(absl::UnavailableError("the peer does not answer"));
      return;
    case QueuePairState::kBroken:
      if (!is_reported_ && ticks_ > kDrainTicksMax) GiveUpDraining();
      return;
    case QueuePairState::kReady:
      // Who gave up between our answer and his is nobody; rdma_cm would go on asking for minutes.
      if (!is_established_ && ticks_ > kConnectTicksMax) {
        return Break(absl::UnavailableError("the peer asked to connect, and gave up"));
      }
      break;
  }
  TickLanes();
  // What is signaled and under way will be acknowledged, or fail. With nothing under way, ask.
  if (!std::exchange(was_heard_, false) && is_established_ && has_room_for_control() &&
      (is_all_sent_done() || ends_unheard())) {
    StageControl(IBV_WR_RDMA_WRITE, 0);
    RingDoorbell();
  }
}

void CardQueuePair::BreakByPeer(absl::string_view what) {
  Break(absl::UnavailableError(absl::StrCat("dropped the peer: ", what)));
}

void CardQueuePair::Break(absl::Status why) {
  if (state_ == QueuePairState::kBroken) return;
  const bool was_connected = state_ == QueuePairState::kReady;
  state_ = QueuePairState::kBroken;
  status_ = std::move(why);
  ticks_ = 0;
  for (const Lane& lane : lanes_) {
    if (lane.object != nullptr) lane.object->OnCardBroken(status_);
  }
  if (was_connected) {
    // First: what the card gives back at once must be heard of, too.
    is_draining_ = true;
    group_->AddDraining();
    // Moves the card's queue pair to its error state, and tells the peer.
    if (rdma_disconnect(id_.get()) != 0) {
      ibv_qp_attr attributes = {};
      attributes.qp_state = IBV_QPS_ERR;
      (void)ibv_modify_qp(card(), &attributes, IBV_QP_STATE);
    }
    if (ends_unheard()) {
      // What completed unsignaled is not given back. This is, behind all else.
      StageControl(IBV_WR_RDMA_WRITE, 0);
      RingDoorbell();
    }
  } else {
    // It has nothing that anybody waits for.
    DestroyCardQueuePair();
    receives_ = 0;
  }
  ReportIfDrained();
}

void CardQueuePair::ReportIfDrained() {
  if (state_ != QueuePairState::kBroken || is_reported_) return;
  if (!is_all_sent_done() || receives_ > 0) return;
  is_reported_ = true;
  if (std::exchange(is_draining_, false)) group_->RemoveDraining();
  for (const Lane& lane : lanes_) {
    if (lane.object != nullptr) lane.object->OnCardDrained();
  }
  EndIfUnused();
}

void CardQueuePair::GiveUpDraining() {
  // A card that does not give back what it was told to: take its queue pair away.
  LOG(WARNING) << "card " << context_->card->name() << " keeps " << sent_end_ - sent_first_
               << " requests and " << receives_ << " receives of a broken queue pair";
  DestroyCardQueuePair();
  Drain();
  receives_ = 0;
  while (!is_all_sent_done()) OnSent(sent_first_, IBV_WC_WR_FLUSH_ERR);
  ReportIfDrained();
}

}  // namespace acre::transport
