// The parts of the Scheduler that wait: timers, file descriptors, sleep.
//
// "Sleeping". state_ says how the thread looks to those who want to wake it:
//
//   scheduler                                     waker (any thread)
//     arms its pollers                              makes work: posts, sets a flag, ...
//     S1: state_: kRunning -> kSleeping, else no    W1: old = state_.exchange(kWoken)
//         sleep                                     if old was kSleeping: wake the Sleeper
//     S2: looks for work: polls, ready tasks
//     nothing: Sleeper::Wait
//     S3: state_.exchange(kRunning)
//     a pass: takes work; if state_ is kWoken: exchange(kRunning), and takes work after that
//
// All are seq_cst read-modify-writes of one word, so they have one order. W1 after S1, before S3:
// the waker finds kSleeping and its Wake ends the Wait, also one that has not begun (an eventfd stays
// readable till it is read). Of several such wakers the first writes, the others find
// kWoken. W1 before S1: state_ is kWoken at S1 unless a pass took it back in between; at kWoken S1
// fails, and a pass that took it back by an exchange read what W1 wrote (or a later exchange, which
// carries the same release sequence), so it sees the waker's work. W1 after S3: the next pass, or
// S1 of the next sleep, meets kWoken. A pass that reads kRunning, a value that is out of date,
// loses nothing: S1 is an RMW and reads the latest.
//
// A poller whose work comes with no Wake() but through an fd (a peer process): level-triggered
// epoll reports it to the epoll_wait, and Arm() says what the fence between Arm and Poll is for.

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "runtime/scheduler.h"

namespace acre {
namespace {

constexpr int kEventsMax = 64;
constexpr uint64_t kNsPerS = 1'000'000'000;
constexpr uint64_t kSleepNsMax = 3600 * kNsPerS;  // Waking up once an hour harms nobody.

}  // namespace

// ---- Timers: a binary heap, the first to fire at index 0.

absl::optional<uint64_t> Scheduler::NextTimerNs() const {
  if (timers_.empty()) return absl::nullopt;
  return timers_.front().deadline_ns;
}

void Scheduler::PlaceTimer(size_t index, const Timer& timer) {
  timers_[index] = timer;
  timer.waiter->heap_index_ = index;
}

void Scheduler::SiftUp(size_t index, const Timer& timer) {
  while (index > 0) {
    const size_t parent = (index - 1) / 2;
    if (!timer.Before(timers_[parent])) break;
    PlaceTimer(index, timers_[parent]);
    index = parent;
  }
  PlaceTimer(index, timer);
}

void Scheduler::SiftDown(size_t index, const Timer& timer) {
  for (;;) {
    size_t child = 2 * index + 1;
    if (child >= timers_.size()) break;
    if (child + 1 < timers_.size() && timers_[child + 1].Before(timers_[child])) ++child;
    if (!timers_[child].Before(timer)) break;
    PlaceTimer(index, timers_[child]);
    index = child;
  }
  PlaceTimer(index, timer);
}

void Scheduler::StartTimer(TimerWaiter* waiter, uint64_t deadline_ns) {
  CheckThread();
  CHECK_EQ(waiter->heap_index_, TimerWaiter::kNotInHeap) << "a timer is started twice";
  timers_.emplace_back();
  SiftUp(timers_.size() - 1, Timer{deadline_ns, timers_sequence_++, waiter});
  if (deadline_ns < look_at_timers_ns_) LookAtTimersAt(deadline_ns);
}

void Scheduler::StopTimer(TimerWaiter* waiter) {
  CheckThread();
  const size_t index = std::exchange(waiter->heap_index_, TimerWaiter::kNotInHeap);
  const Timer last = timers_.back();
  timers_.pop_back();
  if (index == timers_.size()) return;  // It was the last itself.
  if (index > 0 && last.Before(timers_[(index - 1) / 2])) {
    SiftUp(index, last);
  } else {
    SiftDown(index, last);
  }
}

void Scheduler::LookAtTimersAt(uint64_t deadline_ns) {
  look_at_timers_ns_ = deadline_ns;
  look_at_timers_ticks_ = options_.clock->TicksAt(deadline_ns);
}

bool Scheduler::FireTimers() {
  const uint64_t now_ns = NowNs();
  bool fired = false;
  while (!timers_.empty() && timers_.front().deadline_ns <= now_ns) {
    TimerWaiter* const waiter = timers_.front().waiter;
    StopTimer(waiter);
    MakeReady(waiter);
    fired = true;
  }
  if (timers_.empty()) {
    look_at_timers_ns_ = look_at_timers_ticks_ = UINT64_MAX;
  } else {
    LookAtTimersAt(timers_.front().deadline_ns);
  }
  return fired;
}

// ---- File descriptors.

void Scheduler::OpenSleeper() {
  if (sleeper_ != nullptr) return;
  CHECK(!options_.never_sleep) << "a scheduler that never sleeps makes no system calls";
  sleeper_ = options_.clock->NewSleeper();
}

absl::Status Scheduler::WatchFd(int fd, uint32_t epoll_events,
                                std::function<void(uint32_t)> on_ready) {
  CheckThread();
  OpenSleeper();
  auto watch = std::make_unique<Watch>();
  watch->on_ready = std::move(on_ready);
  absl::Status status = sleeper_->Watch(fd, epoll_events, watch.get());
  if (!status.ok()) return status;
  watches_[fd] = std::move(watch);
  look_at_fds_ticks_ = 0;
  return absl::OkStatus();
}

void Scheduler::ModifyFd(int fd, uint32_t epoll_events) {
  CheckThread();
  const auto it = watches_.find(fd);
  CHECK(it != watches_.end()) << "file descriptor " << fd << " is not watched";
  sleeper_->Modify(fd, epoll_events, it->second.get());
}

void Scheduler::UnwatchFd(int fd) {
  CheckThread();
  const auto it = watches_.find(fd);
  if (it == watches_.end()) return;
  sleeper_->Unwatch(fd);
  it->second->active = false;
  retired_watches_.push_back(std::move(it->second));
  watches_.erase(it);
}

bool Scheduler::LookAtFds(bool idle) {
  epoll_event events[kEventsMax];
  const size_t count = sleeper_->Wait(absl::MakeSpan(events), /*timeout_ns=*/0);
  const bool worked = DispatchEvents(absl::MakeConstSpan(events, count));
  // Sockets that are in use are looked at in every pass.
  look_at_fds_ticks_ =
      worked ? 0 : pass_ticks_ + (idle ? fd_interval_idle_ticks_ : fd_interval_busy_ticks_);
  return worked;
}

bool Scheduler::DispatchEvents(absl::Span<const epoll_event> events) {
  bool worked = false;
  for (const epoll_event& event : events) {
    if (event.data.ptr == nullptr) continue;  // A Wake(): RunPosted takes it.
    auto* const watch = static_cast<Watch*>(event.data.ptr);
    if (!watch->active) continue;  // Unwatched by an earlier event of this batch.
    watch->on_ready(event.events);
    worked = true;
  }
  retired_watches_.clear();
  return worked;
}

// ---- Sleep. See the top of this file.

void Scheduler::Wake() {
  if (state_.Exchange(kWoken, std::memory_order_seq_cst) == kSleeping) sleeper_->Wake();
}

uint64_t Scheduler::SleepNs() {
  if (timers_.empty()) return kSleepNsMax;
  const uint64_t now_ns = NowNs();
  const uint64_t due_ns = timers_.front().deadline_ns;
  return due_ns <= now_ns ? 0 : std::min(due_ns - now_ns, kSleepNsMax);
}

void Scheduler::Sleep() {
  OpenSleeper();
  epoll_event events[kEventsMax];
  size_t events_count = 0;
  in_loop_ = true;
  in_pollers_ = true;
  const size_t armed_count = pollers_.size();
  for (size_t i = 0; i < armed_count; ++i) {
    if (pollers_[i] != nullptr) pollers_[i]->Arm();
  }
  uint64_t expected = kRunning;
  if (state_.CompareExchange(&expected, kSleeping, std::memory_order_seq_cst)) {
    const bool worked = PollPollers();
    // A poller that was added just now is not armed.
    const bool may_block = !worked && !pollers_changed_ && ready_.empty();
    if (may_block) {
      ++sleeps_count_;
      events_count = sleeper_->Wait(absl::MakeSpan(events), SleepNs());
    }
    (void)state_.Exchange(kRunning, std::memory_order_seq_cst);
  }
  for (size_t i = 0; i < armed_count; ++i) {
    if (pollers_[i] != nullptr) pollers_[i]->Disarm();
  }
  ForgetRemovedPollers();
  DispatchEvents(absl::MakeConstSpan(events, events_count));
  in_loop_ = false;
}

}  // namespace acre
