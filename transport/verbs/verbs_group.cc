#include "transport/verbs/verbs_group.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/verbs/card_queue_pair.h"
#include "transport/verbs/verbs_completion_queue.h"
#include "transport/verbs/verbs_key.h"

namespace acre::transport {
namespace {

// Completions that are asked of the card at a time.
constexpr int kTakenPerCall = 16;
// Of a queue at the card: enough for some tens of queue pairs, 64 B each on most cards.
constexpr uint32_t kCardQueueEntries = 8192;
// Events of a peer that connects and disconnects without end must not keep a member from returning.
constexpr int kEventsPerService = 64;

}  // namespace

absl::StatusOr<std::shared_ptr<VerbsGroup>> VerbsGroup::Join(VerbsContext* context) {
  MutexLock lock(&context->groups_mutex);
  std::erase_if(context->groups, [](const auto& group) { return group.expired(); });
  for (const std::weak_ptr<VerbsGroup>& candidate : context->groups) {
    std::shared_ptr<VerbsGroup> group = candidate.lock();
    // A group that all have left lives on while somebody's request for a lane does: it is no longer joined.
    if (group == nullptr || group->members_ == 0) continue;
    if (group->members_ == context->threads_per_qp) continue;
    ++group->members_;
    return group;
  }
  absl::StatusOr<std::shared_ptr<VerbsGroup>> made = Create(context);
  if (!made.ok()) return made.status();
  (*made)->members_ = 1;
  context->groups.push_back(*made);
  return made;
}

void VerbsGroup::Leave() {
  bool is_last = false;
  {
    MutexLock lock(&context_->groups_mutex);
    is_last = --members_ == 0;
  }
  if (!is_last) return;
  // Those that a peer keeps without a lane. A lane that is still asked for finds them gone.
  MutexLock lock(&mutex_);
  while (!owned_.empty()) Destroy(owned_.back().get());
}

absl::StatusOr<std::shared_ptr<VerbsGroup>> VerbsGroup::Create(VerbsContext* context) {
  CompletionChannel channel(ibv_create_comp_channel(context->card->context()));
  if (channel == nullptr) return absl::ErrnoToStatus(errno, "cannot make a completion channel");
  const int flags = fcntl(channel->fd, F_GETFL);
  PCHECK(fcntl(channel->fd, F_SETFL, flags | O_NONBLOCK) == 0);
  absl::StatusOr<CmChannel> cm_channel = MakeCmChannel();
  if (!cm_channel.ok()) return cm_channel.status();
  ScopedFd timer_fd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer_fd.is_open()) {
    return absl::ErrnoToStatus(errno, "cannot make a completion queue (ulimit -n?)");
  }
  return std::shared_ptr<VerbsGroup>(
      new VerbsGroup(context, std::move(channel), *std::move(cm_channel), std::move(timer_fd)));
}

VerbsGroup::VerbsGroup(VerbsContext* context, CompletionChannel channel, CmChannel cm_channel,
                       ScopedFd timer_fd)
    : context_(context),
      channel_(std::move(channel)),
      cm_channel_(std::move(cm_channel)),
      timer_fd_(std::move(timer_fd)) {
  // One lane's requests at a time, and a mark.
  const size_t requests_max = context_->device.send_queue_depth_max + size_t{1};
  scratch_.requests.resize(requests_max);
  scratch_.buffers.resize(requests_max);
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
}

VerbsGroup::~VerbsGroup() {
  CHECK(owned_.empty());
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

absl::Status VerbsGroup::AddCardQueue(uint32_t completions_max) {
  const auto device_max = static_cast<uint32_t>(context_->card->limits().orig_attr.max_cqe);
  const uint32_t entries = std::min(device_max, std::max(kCardQueueEntries, completions_max));
  CardQueue made;
  made.cq.reset(ibv_create_cq(context_->card->context(), static_cast<int>(entries), nullptr,
                              channel_.get(), 0));
  if (made.cq == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the card has no completion queue left: ", strerror(errno)));
  }
  made.room = entries;
  card_queues_.push_back(std::move(made));
  if (armed_count_ > 0) AskForEvents();
  return absl::OkStatus();
}

absl::StatusOr<VerbsGroup::Place> VerbsGroup::Attach(CardQueuePair* card,
                                                     uint32_t completions_max) {
  const auto has_room = [completions_max](const CardQueue& queue) {
    return queue.room >= completions_max;
  };
  auto found = std::find_if(card_queues_.begin(), card_queues_.end(), has_room);
  if (found == card_queues_.end()) {
    if (absl::Status added = AddCardQueue(completions_max); !added.ok()) return added;
    found = card_queues_.end() - 1;
    if (found->room < completions_max) {
      return absl::ResourceExhaustedError("the card's completion queues are too short");
    }
  }
  found->room -= completions_max;
  const uint32_t connection = ++connections_count_ & 0x7fff'ffff;
  CHECK(attached_.emplace(connection, card).second) << "2^31 connections, one still here";
  if (attached_.size() == 1) SetTimer(true);
  return Place{.cq = found->cq.get(), .connection = connection};
}

void VerbsGroup::Detach(CardQueuePair* card, const Place& place, uint32_t completions_max) {
  // What others have there must not be lost, and its own must make room.
  Drain(place.cq);
  const auto found =
      std::find_if(card_queues_.begin(), card_queues_.end(),
                   [&place](const CardQueue& queue) { return queue.cq.get() == place.cq; });
  CHECK(found != card_queues_.end());
  found->room += completions_max;
  CHECK_EQ(attached_.erase(place.connection), 1u);
  std::erase(ended_, card);
  if (attached_.empty()) SetTimer(false);
}

CardQueuePair* VerbsGroup::Own(std::unique_ptr<CardQueuePair> card) {
  owned_.push_back(std::move(card));
  return owned_.back().get();
}

void VerbsGroup::Destroy(CardQueuePair* card) {
  const auto found = std::find_if(owned_.begin(), owned_.end(),
                                  [card](const auto& owned) { return owned.get() == card; });
  CHECK(found != owned_.end());
  const std::unique_ptr<CardQueuePair> going = std::move(*found);
  owned_.erase(found);
}

void VerbsGroup::DestroyEnded() {
  while (!ended_.empty()) {
    CardQueuePair* const card = ended_.back();
    ended_.pop_back();
    if (card->IsUnused()) Destroy(card);
  }
}

VerbsCompletionQueue* VerbsGroup::QuietestMember() const {
  const auto quietest =
      std::min_element(joined_.begin(), joined_.end(), [](const auto* one, const auto* other) {
        return one->queue_pairs_count() < other->queue_pairs_count();
      });
  return quietest == joined_.end() ? nullptr : *quietest;
}

CardQueuePair* VerbsGroup::FindWithRoom(absl::string_view endpoint) const {
  for (const std::unique_ptr<CardQueuePair>& card : owned_) {
    if (card->endpoint() == endpoint && card->HasRoomForLane()) return card.get();
  }
  return nullptr;
}

CardQueuePair* VerbsGroup::Find(uint32_t connection) const {
  const auto found = attached_.find(connection);
  return found == attached_.end() ? nullptr : found->second;
}

bool VerbsGroup::TakeFromCards(const size_t* pending_count, size_t enough) {
  bool is_anything_left = false;
  for (size_t i = 0; i < card_queues_.size(); ++i) {
    while (*pending_count < enough && TakeFromCard(card_queues_[i].cq.get())) {
    }
    is_anything_left = is_anything_left || *pending_count >= enough;
  }
  return is_anything_left;
}

bool VerbsGroup::TakeFromCard(ibv_cq* cq) {
  std::array<ibv_wc, kTakenPerCall> taken;
  const int count = ibv_poll_cq(cq, kTakenPerCall, taken.data());
  CHECK_GE(count, 0) << "the card's completion queue is broken";
  for (int i = 0; i < count; ++i) {
    const WorkId id = WorkId::FromBits(taken[i].wr_id);
    // One that has gone leaves completions behind on some cards.
    const auto found = attached_.find(id.connection);
    if (found == attached_.end()) continue;
    if (id.is_receive) {
      found->second->OnReceive(taken[i]);
    } else {
      found->second->OnSent(id.sequence, taken[i].status);
    }
  }
  return count == kTakenPerCall;
}

void VerbsGroup::Drain(ibv_cq* cq) {
  while (TakeFromCard(cq)) {
  }
}

void VerbsGroup::TakeChannelEvents() {
  ibv_cq* cq;
  void* cq_context;
  for (int i = 0; i < kEventsPerService; ++i) {
    if (ibv_get_cq_event(channel_.get(), &cq, &cq_context) != 0) break;
    ibv_ack_cq_events(cq, 1);
  }
  // It may have been about something that is no completion to a caller, such as credits, or about another
  // member's.
  if (armed_count_ > 0 || draining_count_ > 0) AskForEvents();
}

void VerbsGroup::TakeCmEvents() {
  rdma_cm_event* event;
  for (int i = 0; i < kEventsPerService; ++i) {
    if (rdma_get_cm_event(cm_channel_.get(), &event) != 0) return;
    CmNews news;
    news.event = event->event;
    news.status = event->status;
    if (event->event == RDMA_CM_EVENT_ESTABLISHED && event->param.conn.private_data != nullptr) {
      news.private_data.assign(static_cast<const char*>(event->param.conn.private_data),
                               event->param.conn.private_data_len);
    }
    auto* const card = static_cast<CardQueuePair*>(event->id->context);
    // Before it is acted upon: destroying the id waits for this.
    rdma_ack_cm_event(event);
    card->OnCmNews(news);
  }
}

void VerbsGroup::TakeTicks() {
  uint64_t number;
  // Another member may have been quicker.
  if (read(timer_fd_.get(), &number, sizeof(number)) != sizeof(number)) return;
  for (const std::unique_ptr<CardQueuePair>& card : owned_) card->OnTick();
}

void VerbsGroup::SetTimer(bool on) {
  itimerspec period = {};
  if (on) period.it_interval.tv_sec = kTickNs / 1'000'000'000;
  period.it_value = period.it_interval;
  PCHECK(timerfd_settime(timer_fd_.get(), 0, &period, nullptr) == 0);
}

void VerbsGroup::AskForEvents() {
  for (const CardQueue& queue : card_queues_) {
    PCHECK(ibv_req_notify_cq(queue.cq.get(), /*solicited_only=*/0) == 0);
  }
}

void VerbsGroup::AddDraining() {
  ++draining_count_;
  AskForEvents();
}

}  // namespace acre::transport
