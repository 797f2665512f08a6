#include "transport/tcp/tcp_completion_queue.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/memory/memory.h"
#include "glog/logging.h"
#include "transport/tcp/tcp_queue_pair.h"

namespace acre::transport {
namespace {

constexpr uint64_t kServicePeriodNs = 50'000;
// A clock that a test holds still must not keep Poll() from ever looking.
constexpr uint32_t kPollsBetweenServicesMax = 1024;
constexpr uint32_t kBusyPollsPerClockRead = 64;
// From here on asking epoll which of them have something is cheaper than asking each.
constexpr size_t kWaitingAskedMax = 3;
constexpr size_t kEventsPerWait = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<TcpCompletionQueue>> TcpCompletionQueue::Create(
    TcpContext* context) {
  ScopedFd epoll_fd(epoll_create1(EPOLL_CLOEXEC));
  ScopedFd event_fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (!epoll_fd.is_open() || !event_fd.is_open() ||
      epoll_ctl(epoll_fd.get(), EPOLL_CTL_ADD, event_fd.get(), &event) != 0) {
    return absl::ErrnoToStatus(errno, "cannot make a completion queue (ulimit -n?)");
  }
  return absl::WrapUnique(
      new TcpCompletionQueue(context, std::move(epoll_fd), std::move(event_fd)));
}

TcpCompletionQueue::TcpCompletionQueue(TcpContext* context, ScopedFd epoll_fd, ScopedFd event_fd)
    : context_(context),
      tick_clock_(context->clock->tick_clock()),
      service_period_ticks_(
          static_cast<uint64_t>(context->clock->ticks_per_ns() * double{kServicePeriodNs})),
      epoll_fd_(std::move(epoll_fd)),
      mailbox_(std::move(event_fd)) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
}

TcpCompletionQueue::~TcpCompletionQueue() {
  CHECK(queue_pairs_.empty()) << "a completion queue goes after its queue pairs";
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

absl::Status TcpCompletionQueue::Attach(TcpQueuePair* queue_pair, int stream_fd) {
  epoll_event event = {.events = EPOLLIN, .data = {.ptr = queue_pair}};
  if (epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, stream_fd, &event) != 0) {
    return absl::ErrnoToStatus(errno, "cannot watch a connection");
  }
  queue_pairs_.push_back(queue_pair);
  input_.resize(kTcpBufferBytes / kWordBytes);
  pending_.AddRoom(queue_pair->completions_max());
  return absl::OkStatus();
}

void TcpCompletionQueue::Detach(TcpQueuePair* queue_pair) {
  const auto found = std::find(queue_pairs_.begin(), queue_pairs_.end(), queue_pair);
  CHECK(found != queue_pairs_.end());
  queue_pairs_.erase(found);
  std::erase(receiving_, queue_pair);
  RemoveWaiting(queue_pair);
  pending_.Forget(queue_pair);
  pending_.RemoveRoom(queue_pair->completions_max());
}

void TcpCompletionQueue::Watch(TcpQueuePair* queue_pair, int stream_fd, bool also_writable) {
  epoll_event event = {.events = EPOLLIN | (also_writable ? EPOLLOUT : 0u),
                       .data = {.ptr = queue_pair}};
  PCHECK(epoll_ctl(epoll_fd_.get(), EPOLL_CTL_MOD, stream_fd, &event) == 0);
}

void TcpCompletionQueue::Unwatch(int stream_fd) {
  PCHECK(epoll_ctl(epoll_fd_.get(), EPOLL_CTL_DEL, stream_fd, nullptr) == 0);
}

void TcpCompletionQueue::Push(const Completion& completion, uint32_t slots) {
  pending_.Push(completion, slots);
  if (is_armed_ && !is_in_poll_) mailbox_.Wake();
}

void TcpCompletionQueue::AddWaiting(TcpQueuePair* queue_pair) { waiting_.push_back(queue_pair); }

void TcpCompletionQueue::RemoveWaiting(TcpQueuePair* queue_pair) {
  const auto found = std::find(waiting_.begin(), waiting_.end(), queue_pair);
  if (found == waiting_.end()) return;
  *found = waiting_.back();
  waiting_.pop_back();
}

void TcpCompletionQueue::AddReceiving(TcpQueuePair* queue_pair) {
  if (std::find(receiving_.begin(), receiving_.end(), queue_pair) != receiving_.end()) return;
  receiving_.push_back(queue_pair);
}

inline bool TcpCompletionQueue::IsServiceDue() {
  ++polls_since_service_;
  if (is_service_forced_ || waiting_.size() > kWaitingAskedMax) return true;
  if (pending_.count() > 0 && polls_since_service_ % kBusyPollsPerClockRead != 0) return false;
  return polls_since_service_ >= kPollsBetweenServicesMax ||
         tick_clock_.Ticks() - serviced_ticks_ >= service_period_ticks_;
}

size_t TcpCompletionQueue::Poll(absl::Span<Completion> completions) {
  // One that nobody uses costs those who poll it nothing.
  if (queue_pairs_.empty() && !is_service_forced_) return 0;
  is_in_poll_ = true;
  if (IsServiceDue()) {
    Service();
  } else if (pending_.count() < completions.size()) {
    ReceiveAnswers();
  }
  if (mailbox_.HasMail()) TakeMail();
  size_t taken = TakePending(completions);
  if (taken < completions.size() && !receiving_.empty()) {
    taken += TakeReceives(completions.subspan(taken));
  }
  is_in_poll_ = false;
  // What found no room in `completions` must not be slept over.
  if (is_armed_ && (pending_.count() > 0 || !receiving_.empty())) mailbox_.Wake();
  return taken;
}

void TcpCompletionQueue::Service() {
  is_service_forced_ = is_armed_;
  polls_since_service_ = 0;
  serviced_ticks_ = tick_clock_.Ticks();
  std::array<epoll_event, kEventsPerWait> events;
  const int count = epoll_wait(epoll_fd_.get(), events.data(), kEventsPerWait, 0);
  for (int i = 0; i < count; ++i) {
    if (events[i].data.ptr == nullptr) {
      mailbox_.TakeWake();
    } else {
      static_cast<TcpQueuePair*>(events[i].data.ptr)->OnStream(events[i].events);
    }
  }
}

void TcpCompletionQueue::ReceiveAnswers() {
  // A queue pair whose last answer comes leaves its place to the one at the end.
  for (size_t i = waiting_.size(); i > 0; --i) {
    if (i <= waiting_.size()) waiting_[i - 1]->OnStream(EPOLLIN);
  }
}

void TcpCompletionQueue::TakeMail() {
  mailbox_.Take(&mail_);
  for (TcpLink* const link : mail_) {
    TcpQueuePair* const queue_pair = link->queue_pair;
    if (queue_pair->HasReceives()) AddReceiving(queue_pair);
    queue_pair->OnMail();
  }
}

size_t TcpCompletionQueue::TakePending(absl::Span<Completion> completions) {
  const size_t count = std::min(completions.size(), pending_.count());
  for (size_t i = 0; i < count; ++i) {
    const TcpCompletions::Pending pending = pending_.Pop();
    completions[i] = pending.completion;
    static_cast<TcpQueuePair*>(pending.completion.queue_pair)->FreeSlots(pending.slots);
  }
  return count;
}

size_t TcpCompletionQueue::TakeReceives(absl::Span<Completion> completions) {
  size_t taken = 0;
  for (size_t turns = receiving_.size(); turns > 0 && taken < completions.size(); --turns) {
    TcpQueuePair* const queue_pair = receiving_.front();
    receiving_.pop_front();
    taken += queue_pair->TakeReceives(completions.subspan(taken));
    if (queue_pair->HasReceives()) receiving_.push_back(queue_pair);
  }
  return taken;
}

void TcpCompletionQueue::Arm() {
  is_service_forced_ = true;
  is_armed_ = true;
  mailbox_.Arm();
}

void TcpCompletionQueue::Disarm() {
  // is_service_forced_ stays: the next Poll() takes what woke us.
  is_armed_ = false;
  mailbox_.Disarm();
}

}  // namespace acre::transport
