#include "transport/verbs/verbs_completion_queue.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <utility>

#include "absl/memory/memory.h"
#include "glog/logging.h"
#include "transport/verbs/verbs_queue_pair.h"

namespace acre::transport {
namespace {

constexpr uint64_t kServicePeriodNs = 50'000;
// A clock that a test holds still must not keep Poll() from ever looking.
constexpr uint32_t kPollsBetweenServicesMax = 1024;
constexpr uint32_t kBusyPollsPerClockRead = 64;
constexpr uint32_t kPollsMissedMax = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<VerbsCompletionQueue>> VerbsCompletionQueue::Create(
    VerbsContext* context) {
  ScopedFd epoll_fd(epoll_create1(EPOLL_CLOEXEC));
  ScopedFd self_fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!epoll_fd.is_open() || !self_fd.is_open()) {
    return absl::ErrnoToStatus(errno, "cannot make a completion queue (ulimit -n?)");
  }
  absl::StatusOr<std::shared_ptr<VerbsGroup>> group = VerbsGroup::Join(context);
  if (!group.ok()) return group.status();
  auto made = absl::WrapUnique(new VerbsCompletionQueue(context, *std::move(group),
                                                        std::move(epoll_fd), std::move(self_fd)));
  for (const int fd : {made->group_->channel_fd(), made->group_->cm_fd(), made->group_->timer_fd(),
                       context->card->events()->fd(), made->self_fd_.get()}) {
    epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    if (epoll_ctl(made->epoll_fd_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return absl::ErrnoToStatus(errno, "cannot make a completion queue");
    }
  }
  return made;
}

VerbsCompletionQueue::VerbsCompletionQueue(VerbsContext* context, std::shared_ptr<VerbsGroup> group,
                                           ScopedFd epoll_fd, ScopedFd self_fd)
    : context_(context),
      group_(std::move(group)),
      tick_clock_(context->clock->tick_clock()),
      service_period_ticks_(
          static_cast<uint64_t>(context->clock->ticks_per_ns() * double{kServicePeriodNs})),
      epoll_fd_(std::move(epoll_fd)),
      self_fd_(std::move(self_fd)) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
  Reserve();
  MutexLock lock(group_->mutex());
  group_->AddMember(this);
}

VerbsCompletionQueue::~VerbsCompletionQueue() {
  CHECK_EQ(queue_pairs_count_, 0u) << "a completion queue goes after its queue pairs";
  Disarm();
  {
    MutexLock lock(group_->mutex());
    group_->RemoveMember(this);
  }
  group_->Leave();
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

void VerbsCompletionQueue::Reserve() {
  if (!pending_.empty() && completions_max_ <= pending_.size()) return;
  std::vector<Pending> larger(std::bit_ceil(std::max<size_t>(completions_max_, 64)));
  for (size_t i = 0; i < pending_count_; ++i) {
    larger[i] = pending_[(pending_first_ + i) & pending_mask_];
  }
  pending_ = std::move(larger);
  pending_mask_ = pending_.size() - 1;
  pending_first_ = 0;
}

void VerbsCompletionQueue::Attach(uint32_t completions_max) {
  ++queue_pairs_count_;
  completions_max_ += completions_max;
  Reserve();
}

void VerbsCompletionQueue::Detach(const VerbsQueuePair* queue_pair, uint32_t completions_max) {
  --queue_pairs_count_;
  completions_max_ -= completions_max;
  size_t kept = 0;
  for (size_t i = 0; i < pending_count_; ++i) {
    const Pending& pending = pending_[(pending_first_ + i) & pending_mask_];
    if (pending.completion.queue_pair == queue_pair) continue;
    pending_[(pending_first_ + kept++) & pending_mask_] = pending;
  }
  pending_count_ = kept;
}

void VerbsCompletionQueue::Push(const Completion& completion, uint32_t slots) {
  Pending& pending = pending_[(pending_first_ + pending_count_) & pending_mask_];
  pending.completion = completion;
  pending.slots = slots;
  ++pending_count_;
  if (is_in_poll_) return;
  // The descriptors that told of a peer's coming and going may have been another member's to read.
  const bool is_news = completion.kind == CompletionKind::kConnected ||
                       completion.kind == CompletionKind::kDisconnected;
  if (is_armed_ || is_news) [[unlikely]]
    WakeSelf();
}

inline bool VerbsCompletionQueue::IsServiceDue() {
  ++polls_since_service_;
  if (is_service_forced_) return true;
  if (polls_since_service_ % kBusyPollsPerClockRead != 0 && !is_idle_) return false;
  return polls_since_service_ >= kPollsBetweenServicesMax ||
         tick_clock_.Ticks() - serviced_ticks_ >= service_period_ticks_;
}

size_t VerbsCompletionQueue::Poll(absl::Span<Completion> completions) {
  const bool is_service_due = IsServiceDue();
  const Readable readable = is_service_due ? LookAtDescriptors() : Readable();
  Mutex* const mutex = group_->mutex();
  // Threads that wait for each other here would do nothing but sleep and wake.
  if (may_sleep_ || is_service_due || polls_missed_ >= kPollsMissedMax) {
    mutex->Lock();
  } else if (!mutex->TryLock()) {
    ++polls_missed_;
    return 0;
  }
  polls_missed_ = 0;
  const size_t taken = PollHeld(completions, is_service_due, readable);
  mutex->Unlock();
  return taken;
}

size_t VerbsCompletionQueue::PollHeld(absl::Span<Completion> completions, bool is_service_due,
                                      const Readable& readable) {
  is_in_poll_ = true;
  if (is_service_due) [[unlikely]]
    Service(readable);
  // An event that we take is the other members' too: what it told of must not wait for our next call.
  const size_t enough = readable.channel ? std::numeric_limits<size_t>::max() : completions.size();
  const bool is_anything_left =
      group_->TakeFromCards(&pending_count_, enough) || pending_count_ > completions.size();
  const size_t taken = TakePending(completions);
  is_in_poll_ = false;
  is_idle_ = pending_count_ == 0;
  group_->DestroyEnded();
  // What found no room in `completions` must not be slept over.
  if (is_armed_ && is_anything_left) [[unlikely]]
    WakeSelf();
  return taken;
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

VerbsCompletionQueue::Readable VerbsCompletionQueue::LookAtDescriptors() {
  polls_since_service_ = 0;
  serviced_ticks_ = tick_clock_.Ticks();
  std::array<epoll_event, 5> events;
  const int count = epoll_wait(epoll_fd_.get(), events.data(), events.size(), 0);
  Readable readable;
  for (int i = 0; i < count; ++i) {
    const int fd = events[i].data.fd;
    readable.channel = readable.channel || fd == group_->channel_fd();
    readable.cm = readable.cm || fd == group_->cm_fd();
    readable.timer = readable.timer || fd == group_->timer_fd();
    readable.self = readable.self || fd == self_fd_.get();
    if (fd == context_->card->events()->fd()) context_->card->events()->TakeFor(epoll_fd_.get());
  }
  return readable;
}

void VerbsCompletionQueue::Service(const Readable& readable) {
  is_service_forced_ = is_armed_;
  if (readable.self) {
    uint64_t number;
    PCHECK(read(self_fd_.get(), &number, sizeof(number)) == sizeof(number) || errno == EAGAIN);
    is_self_woken_ = false;
  }
  if (readable.channel) group_->TakeChannelEvents();
  if (readable.cm) group_->TakeCmEvents();
  if (readable.timer) group_->TakeTicks();
}

void VerbsCompletionQueue::Arm() {
  is_service_forced_ = may_sleep_ = true;
  MutexLock lock(group_->mutex());
  if (!std::exchange(is_armed_, true)) group_->AddArmed();
  group_->AskForEvents();
}

void VerbsCompletionQueue::Disarm() {
  // An event may still come: is_service_forced_ stays, the next Poll() takes it.
  may_sleep_ = false;
  MutexLock lock(group_->mutex());
  if (!std::exchange(is_armed_, false)) return;
  group_->RemoveArmed();
}

void VerbsCompletionQueue::WakeSelf() {
  if (is_self_woken_) return;
  is_self_woken_ = true;
  const uint64_t one = 1;
  PCHECK(write(self_fd_.get(), &one, sizeof(one)) == sizeof(one));
}

}  // namespace acre::transport
