#include "transport/shm/shm_completion_queue.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "absl/memory/memory.h"
#include "glog/logging.h"
#include "transport/shm/shm_queue_pair.h"

namespace acre::transport {
namespace {

constexpr uint64_t kServicePeriodNs = 50'000;
// A clock that a test holds still must not keep Poll() from ever looking.
constexpr uint32_t kPollsBetweenServicesMax = 1024;
constexpr uint32_t kBusyPollsPerClockRead = 64;
// Receive rings that one Poll() looks at: each is a cache line that a peer may have touched.
constexpr size_t kReceiversPerPoll = 16;
constexpr size_t kEventsPerWait = 32;
// A peer that sends packets without end must not keep Service() from returning.
constexpr int kWaitsPerService = 8;

}  // namespace

absl::StatusOr<std::unique_ptr<ShmCompletionQueue>> ShmCompletionQueue::Create(
    ShmContext* context) {
  absl::StatusOr<SharedMemory> wake_memory =
      MakeSharedMemory("acre-wake-page", sizeof(WakePage), HugePages::kOff, PeerAccess::kReadOnly);
  if (!wake_memory.ok()) return wake_memory.status();
  ScopedFd epoll_fd(epoll_create1(EPOLL_CLOEXEC));
  ScopedFd self_fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (!epoll_fd.is_open() || !self_fd.is_open() ||
      epoll_ctl(epoll_fd.get(), EPOLL_CTL_ADD, self_fd.get(), &event) != 0) {
    return absl::ErrnoToStatus(errno, "cannot make a completion queue (ulimit -n?)");
  }
  return absl::WrapUnique(new ShmCompletionQueue(context, *std::move(wake_memory),
                                                 std::move(epoll_fd), std::move(self_fd)));
}

ShmCompletionQueue::ShmCompletionQueue(ShmContext* context, SharedMemory wake_memory,
                                       ScopedFd epoll_fd, ScopedFd self_fd)
    : context_(context),
      tick_clock_(context->clock->tick_clock()),
      service_period_ticks_(
          static_cast<uint64_t>(context->clock->ticks_per_ns() * double{kServicePeriodNs})),
      wake_memory_(std::move(wake_memory)),
      epoll_fd_(std::move(epoll_fd)),
      self_fd_(std::move(self_fd)),
      wake_receiver_(reinterpret_cast<WakePage*>(wake_memory_.mapping.words())) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
  Reserve(0);
}

ShmCompletionQueue::~ShmCompletionQueue() {
  CHECK(queue_pairs_.empty()) << "a completion queue goes after its queue pairs";
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

void ShmCompletionQueue::Reserve(size_t completions_max) {
  completions_max_ = completions_max;
  if (!pending_.empty() && completions_max <= pending_.size()) return;
  std::vector<Pending> larger(std::bit_ceil(std::max<size_t>(completions_max, 64)));
  for (size_t i = 0; i < pending_count_; ++i) {
    larger[i] = pending_[(pending_first_ + i) & pending_mask_];
  }
  pending_ = std::move(larger);
  pending_mask_ = pending_.size() - 1;
  pending_first_ = 0;
}

absl::Status ShmCompletionQueue::Attach(ShmQueuePair* queue_pair, int socket_fd,
                                        size_t completions_max) {
  epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data = {.ptr = queue_pair}};
  if (epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, socket_fd, &event) != 0) {
    return absl::ErrnoToStatus(errno, "cannot watch a connection");
  }
  queue_pairs_.push_back(queue_pair);
  Reserve(completions_max_ + completions_max);
  return absl::OkStatus();
}

void ShmCompletionQueue::Detach(ShmQueuePair* queue_pair) {
  const auto found = std::find(queue_pairs_.begin(), queue_pairs_.end(), queue_pair);
  CHECK(found != queue_pairs_.end());
  queue_pairs_.erase(found);
  completions_max_ -= queue_pair->completions_max();
  size_t kept = 0;
  for (size_t i = 0; i < pending_count_; ++i) {
    const Pending& pending = pending_[(pending_first_ + i) & pending_mask_];
    if (pending.completion.queue_pair == queue_pair) continue;
    pending_[(pending_first_ + kept++) & pending_mask_] = pending;
  }
  pending_count_ = kept;
}

void ShmCompletionQueue::Watch(ShmQueuePair* queue_pair, int socket_fd, bool also_writable) {
  epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | (also_writable ? EPOLLOUT : 0u),
                       .data = {.ptr = queue_pair}};
  PCHECK(epoll_ctl(epoll_fd_.get(), EPOLL_CTL_MOD, socket_fd, &event) == 0);
}

void ShmCompletionQueue::Unwatch(int socket_fd) {
  PCHECK(epoll_ctl(epoll_fd_.get(), EPOLL_CTL_DEL, socket_fd, nullptr) == 0);
}

inline bool ShmCompletionQueue::IsServiceDue() {
  ++polls_since_service_;
  if (pending_count_ > 0 && polls_since_service_ % kBusyPollsPerClockRead != 0) return false;
  return polls_since_service_ >= kPollsBetweenServicesMax ||
         tick_clock_.Ticks() - serviced_ticks_ >= service_period_ticks_;
}

size_t ShmCompletionQueue::Poll(absl::Span<Completion> completions) {
  is_in_poll_ = true;
  if (is_service_forced_ || IsServiceDue()) [[unlikely]]
    Service();
  if (stalled_count_ > 0) [[unlikely]]
    RetryStalled();
  size_t taken = TakePending(completions);
  if (taken < completions.size()) taken += TakeReceives(completions.subspan(taken));
  is_in_poll_ = false;
  // What found no room in `completions` must not be slept over.
  if (wake_receiver_.armed() && pending_count_ > 0) [[unlikely]]
    WakeSelf();
  return taken;
}

size_t ShmCompletionQueue::TakePending(absl::Span<Completion> completions) {
  const size_t count = std::min(completions.size(), pending_count_);
  if (count == 0) return 0;
  // F8: who reads after a WRITE's completion was polled, here or elsewhere, sees the WRITE.
  OrderStoresBeforeLoads();
  for (size_t i = 0; i < count; ++i) {
    const Pending& pending = pending_[pending_first_];
    completions[i] = pending.completion;
    static_cast<ShmQueuePair*>(pending.completion.queue_pair)->FreeSlots(pending.slots);
    pending_first_ = (pending_first_ + 1) & pending_mask_;
  }
  pending_count_ -= count;
  return count;
}

size_t ShmCompletionQueue::TakeReceives(absl::Span<Completion> completions) {
  const size_t receivers = queue_pairs_.size();
  // Armed: the last look before sleep misses nobody.
  const size_t looks = wake_receiver_.armed() ? receivers : std::min(receivers, kReceiversPerPoll);
  size_t taken = 0;
  for (size_t i = 0; i < looks && taken < completions.size(); ++i) {
    if (next_receiver_ >= receivers) next_receiver_ = 0;
    ShmQueuePair* receiver = queue_pairs_[next_receiver_++];
    if (receiver->HasReceives()) taken += receiver->TakeReceives(completions.subspan(taken));
  }
  return taken;
}

void ShmCompletionQueue::RetryStalled() {
  for (ShmQueuePair* queue_pair : queue_pairs_) queue_pair->RetryStalled();
}

void ShmCompletionQueue::Service() {
  is_service_forced_ = wake_receiver_.armed();
  polls_since_service_ = 0;
  serviced_ticks_ = tick_clock_.Ticks();
  std::array<epoll_event, kEventsPerWait> events;
  for (int i = 0; i < kWaitsPerService; ++i) {
    const int count = epoll_wait(epoll_fd_.get(), events.data(), kEventsPerWait, 0);
    for (int j = 0; j < count; ++j) {
      if (events[j].data.ptr != nullptr) {
        static_cast<ShmQueuePair*>(events[j].data.ptr)->OnSocket();
        continue;
      }
      uint64_t wakes;
      PCHECK(read(self_fd_.get(), &wakes, sizeof(wakes)) == sizeof(wakes) || errno == EAGAIN);
      is_self_woken_ = false;
    }
    if (count < static_cast<int>(kEventsPerWait)) return;
  }
}

void ShmCompletionQueue::Arm() {
  is_service_forced_ = true;
  // Our next Poll() is the last look at the entries before sleep.
  wake_receiver_.Arm(&stores_);
}

void ShmCompletionQueue::Disarm() {
  if (!wake_receiver_.armed()) return;
  // A peer may still send one packet too many. is_service_forced_ stays: the next Poll() takes what
  // woke us out of the sockets.
  wake_receiver_.Disarm();
}

void ShmCompletionQueue::OnWakeTaken() {
  if (!wake_receiver_.armed()) return;
  // Its sender holds us for woken and sends no second one for this arm number; and what it announced
  // may have been taken by a Poll() before Arm(). So whoever goes to sleep now must be armed anew: Poll()
  // looks at the entries after this, anybody else's look at the sockets makes it Poll() once more.
  Arm();
  if (!is_in_poll_) WakeSelf();
}

void ShmCompletionQueue::WakeSelf() {
  if (is_self_woken_) return;
  is_self_woken_ = true;
  const uint64_t one = 1;
  PCHECK(write(self_fd_.get(), &one, sizeof(one)) == sizeof(one));
}

}  // namespace acre::transport
