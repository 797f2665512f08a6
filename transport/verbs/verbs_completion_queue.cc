#include "transport/verbs/verbs_completion_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/verbs/verbs_key.h"
#include "transport/verbs/verbs_queue_pair.h"

namespace acre::transport {
namespace {

constexpr uint64_t kServicePeriodNs = 50'000;
// A clock that a test holds still must not keep Poll() from ever looking.
constexpr uint32_t kPollsBetweenServicesMax = 1024;
constexpr uint32_t kBusyPollsPerClockRead = 64;
// Completions that are asked of the card at a time.
constexpr int kTakenPerCall = 16;
// Of a queue at the card: enough for some tens of queue pairs, 64 B each on most cards.
constexpr uint32_t kCardQueueEntries = 8192;
// Events of a peer that connects and disconnects without end must not keep Service() from returning.
constexpr int kEventsPerService = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<VerbsCompletionQueue>> VerbsCompletionQueue::Create(
    VerbsContext* context) {
  CompletionChannel channel(ibv_create_comp_channel(context->card->context()));
  if (channel == nullptr) return absl::ErrnoToStatus(errno, "cannot make a completion channel");
  const int flags = fcntl(channel->fd, F_GETFL);
  PCHECK(fcntl(channel->fd, F_SETFL, flags | O_NONBLOCK) == 0);
  absl::StatusOr<CmChannel> cm_channel = MakeCmChannel();
  if (!cm_channel.ok()) return cm_channel.status();
  ScopedFd epoll_fd(epoll_create1(EPOLL_CLOEXEC));
  ScopedFd self_fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  ScopedFd timer_fd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!epoll_fd.is_open() || !self_fd.is_open() || !timer_fd.is_open()) {
    return absl::ErrnoToStatus(errno, "cannot make a completion queue (ulimit -n?)");
  }
  for (const int fd : {channel->fd, (*cm_channel)->fd, self_fd.get(), timer_fd.get()}) {
    epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    if (epoll_ctl(epoll_fd.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return absl::ErrnoToStatus(errno, "cannot make a completion queue");
    }
  }
  return absl::WrapUnique(new VerbsCompletionQueue(context, std::move(channel),
                                                   *std::move(cm_channel), std::move(epoll_fd),
                                                   std::move(self_fd), std::move(timer_fd)));
}

VerbsCompletionQueue::VerbsCompletionQueue(VerbsContext* context, CompletionChannel channel,
                                           CmChannel cm_channel, ScopedFd epoll_fd,
                                           ScopedFd self_fd, ScopedFd timer_fd)
    : context_(context),
      tick_clock_(context->clock->tick_clock()),
      service_period_ticks_(
          static_cast<uint64_t>(context->clock->ticks_per_ns() * double{kServicePeriodNs})),
      channel_(std::move(channel)),
      cm_channel_(std::move(cm_channel)),
      epoll_fd_(std::move(epoll_fd)),
      self_fd_(std::move(self_fd)),
      timer_fd_(std::move(timer_fd)) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
  scratch_.requests.resize(context_->sends_max());
  scratch_.buffers.resize(context_->sends_max());
  scratch_.receives.resize(context_->receives_max());
  Reserve(0);
}

VerbsCompletionQueue::~VerbsCompletionQueue() {
  CHECK(queue_pairs_.empty()) << "a completion queue goes after its queue pairs";
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

void VerbsCompletionQueue::Reserve(size_t completions_max) {
  if (!pending_.empty() && completions_max <= pending_.size()) return;
  std::vector<Pending> larger(std::bit_ceil(std::max<size_t>(completions_max, 64)));
  for (size_t i = 0; i < pending_count_; ++i) {
    larger[i] = pending_[(pending_first_ + i) & pending_mask_];
  }
  pending_ = std::move(larger);
  pending_mask_ = pending_.size() - 1;
  pending_first_ = 0;
}

absl::Status VerbsCompletionQueue::AddCardQueue() {
  const auto device_max = static_cast<uint32_t>(context_->card->limits().orig_attr.max_cqe);
  const uint32_t entries =
      std::min(device_max, std::max(kCardQueueEntries, context_->completions_max()));
  CardQueue made;
  made.cq.reset(ibv_create_cq(context_->card->context(), static_cast<int>(entries), nullptr,
                              channel_.get(), 0));
  if (made.cq == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the card has no completion queue left: ", strerror(errno)));
  }
  made.room = entries;
  card_queues_.push_back(std::move(made));
  if (is_armed_) AskForEvents();
  return absl::OkStatus();
}

absl::StatusOr<VerbsCompletionQueue::Place> VerbsCompletionQueue::Attach(
    VerbsQueuePair* queue_pair) {
  const uint32_t entries = context_->completions_max();
  const auto has_room = [entries](const CardQueue& queue) { return queue.room >= entries; };
  auto found = std::find_if(card_queues_.begin(), card_queues_.end(), has_room);
  if (found == card_queues_.end()) {
    if (absl::Status added = AddCardQueue(); !added.ok()) return added;
    found = card_queues_.end() - 1;
  }
  found->room -= entries;
  const uint32_t connection = ++connections_count_ & 0x7fff'ffff;
  CHECK(queue_pairs_.emplace(connection, queue_pair).second) << "2^31 connections, one still here";
  // Its requests, its receives, kConnected, kDisconnected.
  Reserve(queue_pairs_.size() * size_t{entries + 2});
  if (queue_pairs_.size() == 1) SetTimer(true);
  return Place{.cq = found->cq.get(), .connection = connection};
}

void VerbsCompletionQueue::Detach(VerbsQueuePair* queue_pair, const Place& place) {
  // What others have there must not be lost, and its own must make room.
  Drain(place.cq);
  const uint32_t entries = context_->completions_max();
  const auto found =
      std::find_if(card_queues_.begin(), card_queues_.end(),
                   [&place](const CardQueue& queue) { return queue.cq.get() == place.cq; });
  CHECK(found != card_queues_.end());
  found->room += entries;
  CHECK_EQ(queue_pairs_.erase(place.connection), 1u);
  size_t kept = 0;
  for (size_t i = 0; i < pending_count_; ++i) {
    const Pending& pending = pending_[(pending_first_ + i) & pending_mask_];
    if (pending.completion.queue_pair == queue_pair) continue;
    pending_[(pending_first_ + kept++) & pending_mask_] = pending;
  }
  pending_count_ = kept;
  if (queue_pairs_.empty()) SetTimer(false);
}

void VerbsCompletionQueue::Push(const Completion& completion, uint32_t slots) {
  Pending& pending = pending_[(pending_first_ + pending_count_) & pending_mask_];
  pending.completion = completion;
  pending.slots = slots;
  ++pending_count_;
  if (is_armed_ && !is_in_poll_) [[unlikely]]
    WakeSelf();
}

inline bool VerbsCompletionQueue::IsServiceDue() {
  ++polls_since_service_;
  if (pending_count_ > 0 && polls_since_service_ % kBusyPollsPerClockRead != 0) return false;
  return polls_since_service_ >= kPollsBetweenServicesMax ||
         tick_clock_.Ticks() - serviced_ticks_ >= service_period_ticks_;
}

size_t VerbsCompletionQueue::Poll(absl::Span<Completion> completions) {
  is_in_poll_ = true;
  if (is_service_forced_ || IsServiceDue()) [[unlikely]]
    Service();
  bool is_anything_left = false;
  for (const CardQueue& queue : card_queues_) {
    while (pending_count_ < completions.size() && TakeFromCard(queue.cq.get())) {
    }
    is_anything_left = is_anything_left || pending_count_ >= completions.size();
  }
  const size_t taken = TakePending(completions);
  is_in_poll_ = false;
  // What found no room in `completions` must not be slept over.
  if (is_armed_ && is_anything_left) [[unlikely]]
    WakeSelf();
  return taken;
}

bool VerbsCompletionQueue::TakeFromCard(ibv_cq* cq) {
  std::array<ibv_wc, kTakenPerCall> taken;
  const int count = ibv_poll_cq(cq, kTakenPerCall, taken.data());
  CHECK_GE(count, 0) << "the card's completion queue is broken";
  for (int i = 0; i < count; ++i) {
    const WorkId id = WorkId::FromBits(taken[i].wr_id);
    // One that has gone leaves completions behind on some cards.
    const auto found = queue_pairs_.find(id.connection);
    if (found == queue_pairs_.end()) continue;
    if (id.is_receive) {
      found->second->OnReceive(taken[i]);
    } else {
      found->second->OnSent(id.sequence, taken[i].status);
    }
  }
  return count == kTakenPerCall;
}

void VerbsCompletionQueue::Drain(ibv_cq* cq) {
  while (TakeFromCard(cq)) {
  }
}

size_t VerbsCompletionQueue::TakePending(absl::Span<Completion> completions) {
  const size_t count = std::min(completions.size(), pending_count_);
  for (size_t i = 0; i < count; ++i) {
    const Pending pending = pending_[pending_first_];
    pending_first_ = (pending_first_ + 1) & pending_mask_;
    --pending_count_;
    completions[i] = pending.completion;
    auto* const queue_pair = static_cast<VerbsQueuePair*>(pending.completion.queue_pair);
    if (pending.completion.kind == CompletionKind::kSend) queue_pair->FreeSlots(pending.slots);
    if (pending.completion.kind == CompletionKind::kReceive) queue_pair->OnReceiveTaken();
  }
  return count;
}

void VerbsCompletionQueue::Service() {
  is_service_forced_ = is_armed_;
  polls_since_service_ = 0;
  serviced_ticks_ = tick_clock_.Ticks();
  std::array<epoll_event, 4> events;
  const int count = epoll_wait(epoll_fd_.get(), events.data(), events.size(), 0);
  for (int i = 0; i < count; ++i) {
    const int fd = events[i].data.fd;
    uint64_t number;
    if (fd == channel_->fd) {
      TakeChannelEvents();
    } else if (fd == cm_channel_->fd) {
      TakeCmEvents();
    } else if (fd == self_fd_.get()) {
      PCHECK(read(fd, &number, sizeof(number)) == sizeof(number) || errno == EAGAIN);
      is_self_woken_ = false;
    } else if (read(fd, &number, sizeof(number)) == sizeof(number)) {
      Tick();
    }
  }
}

void VerbsCompletionQueue::TakeChannelEvents() {
  ibv_cq* cq;
  void* cq_context;
  for (int i = 0; i < kEventsPerService; ++i) {
    if (ibv_get_cq_event(channel_.get(), &cq, &cq_context) != 0) break;
    ibv_ack_cq_events(cq, 1);
  }
  // It may have been about something that is no completion to the caller, such as credits.
  if (is_armed_ || draining_count_ > 0) AskForEvents();
}

void VerbsCompletionQueue::AddDraining() {
  ++draining_count_;
  AskForEvents();
}

void VerbsCompletionQueue::TakeCmEvents() {
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
    auto* const queue_pair = static_cast<VerbsQueuePair*>(event->id->context);
    // Before it is acted upon: destroying the id waits for this.
    rdma_ack_cm_event(event);
    queue_pair->OnCmNews(news);
  }
}

void VerbsCompletionQueue::Tick() {
  for (const auto& [connection, queue_pair] : queue_pairs_) queue_pair->OnTick();
}

void VerbsCompletionQueue::SetTimer(bool on) {
  itimerspec period = {};
  if (on) period.it_interval.tv_sec = kTickNs / 1'000'000'000;
  period.it_value = period.it_interval;
  PCHECK(timerfd_settime(timer_fd_.get(), 0, &period, nullptr) == 0);
}

void VerbsCompletionQueue::AskForEvents() {
  for (const CardQueue& queue : card_queues_) {
    PCHECK(ibv_req_notify_cq(queue.cq.get(), /*solicited_only=*/0) == 0);
  }
}

void VerbsCompletionQueue::Arm() {
  is_armed_ = true;
  is_service_forced_ = true;
  AskForEvents();
}

void VerbsCompletionQueue::Disarm() {
  // An event may still come: is_service_forced_ stays, the next Poll() takes it.
  is_armed_ = false;
}

void VerbsCompletionQueue::WakeSelf() {
  if (is_self_woken_) return;
  is_self_woken_ = true;
  const uint64_t one = 1;
  PCHECK(write(self_fd_.get(), &one, sizeof(one)) == sizeof(one));
}

}  // namespace acre::transport
