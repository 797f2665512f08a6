#include "transport/port.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/status/status.h"
#include "glog/logging.h"

namespace acre::transport {
namespace {

// Ids of the port's requests: the slot of their batch, and a bit on the batch's last request.
constexpr uint64_t kLastOfBatchBit = uint64_t{1} << 62;
constexpr size_t kCompletionsPerPoll = 32;
// To spin for batches that take longer does not pay. More than a spin reaches: where both sides sleep, one
// must begin to spin for it to pay for the other.
constexpr double kLateNs = 40'000;

bool IsOwn(const Completion& completion) {
  return completion.kind == CompletionKind::kSend && (completion.id & kSinkIdBit) == 0;
}

}  // namespace

Port::Port(Scheduler* scheduler, CompletionQueue* completion_queue)
    : scheduler_(scheduler),
      completion_queue_(completion_queue),
      tick_clock_(scheduler->clock()->tick_clock()),
      late_ticks_(static_cast<uint64_t>(scheduler->clock()->ticks_per_ns() * kLateNs)) {
  scheduler_->AddPoller(this);
  // Armed completions, and a peer's death, make the fd readable; the poll that follows does the
  // work.
  const absl::Status status = scheduler_->WatchFd(completion_queue_->fd(), /*EPOLLIN*/ 1,
                                                  [this](uint32_t) { (void)Poll(); });
  CHECK(status.ok()) << status;
}

Port::~Port() {
  scheduler_->UnwatchFd(completion_queue_->fd());
  scheduler_->RemovePoller(this);
}

void Port::SetSink(QueuePair* queue_pair, CompletionSink* sink) { sinks_[queue_pair] = sink; }

void Port::Forget(QueuePair* queue_pair) {
  sinks_.erase(queue_pair);
  const auto is_of_it = [queue_pair](const Completion& c) { return c.queue_pair == queue_pair; };
  std::erase_if(deferred_, is_of_it);
  // The round over these may be under way (a sink forgets its own queue pair): only blot them out.
  for (Completion& completion : dispatching_) {
    if (is_of_it(completion)) completion.queue_pair = nullptr;
  }
  const auto flush = [this](ExecuteAwaiter* awaiter) {
    awaiter->done_ = true;
    awaiter->status_ = CompletionStatus::kFlushed;
    scheduler_->MakeReady(awaiter);
  };
  for (uint32_t slot = 0; slot < pending_.size(); ++slot) {
    if (pending_[slot].queue_pair != queue_pair) continue;
    if (pending_[slot].awaiter != nullptr) flush(pending_[slot].awaiter);
    pending_[slot] = {};
    free_.push_back(slot);
    EndAbandoned(slot);
  }
  if (RoomQueue* const queue = FindRoomQueue(queue_pair); queue != nullptr) {
    while (!queue->waiters.empty()) flush(static_cast<ExecuteAwaiter*>(queue->waiters.front()));
    std::erase_if(waiting_for_room_, [queue](const RoomQueue& q) { return &q == queue; });
  }
}

void Port::SetBufferOwner(const MemoryRegion* region, BufferOwner* owner) {
  const auto found = buffer_owners_.find(region);
  if (found != buffer_owners_.end()) {
    for (auto& [slot, buffers] : abandoned_) {
      std::erase_if(buffers,
                    [was = found->second](const AbandonedBuffer& b) { return b.owner == was; });
    }
    buffer_owners_.erase(found);
  }
  if (owner != nullptr) buffer_owners_[region] = owner;
}

void Port::Abandon(uint64_t slot, absl::Span<const WorkRequest> batch) {
  pending_[slot].awaiter = nullptr;
  std::vector<AbandonedBuffer> buffers;
  for (const WorkRequest& request : batch) {
    const auto owner = buffer_owners_.find(request.local_region);
    if (owner == buffer_owners_.end()) continue;
    owner->second->OnAbandoned(request.local);
    buffers.push_back({owner->second, request.local});
  }
  if (!buffers.empty()) abandoned_[slot] = std::move(buffers);
}

void Port::EndAbandoned(uint64_t slot) {
  const auto found = abandoned_.find(slot);
  if (found == abandoned_.end()) return;
  const std::vector<AbandonedBuffer> buffers = std::move(found->second);
  abandoned_.erase(found);
  for (const AbandonedBuffer& buffer : buffers) buffer.owner->OnAbandonedEnd(buffer.local);
}

uint64_t Port::Take(ExecuteAwaiter* awaiter, QueuePair* queue_pair) {
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(pending_.size()));
    pending_.emplace_back();
  }
  const uint32_t slot = free_.back();
  free_.pop_back();
  pending_[slot] = {awaiter, queue_pair};
  return slot;
}

void Port::OnOwnCompletion(const Completion& completion) {
  const uint64_t slot = completion.id & ~kLastOfBatchBit;
  CHECK_LT(slot, pending_.size());
  // Of a queue pair that was forgotten, and not destroyed yet: its slot is free, or another's.
  if (pending_[slot].queue_pair != completion.queue_pair) return;
  ExecuteAwaiter* const awaiter = pending_[slot].awaiter;
  if (awaiter != nullptr && awaiter->status_ == CompletionStatus::kOk) {
    awaiter->status_ = completion.status;
  }
  // An unsignaled request of the batch failed: the last one follows, flushed.
  if ((completion.id & kLastOfBatchBit) == 0) return;
  pending_[slot] = {};
  free_.push_back(static_cast<uint32_t>(slot));
  if (std::exchange(is_judging_, false)) {
    spin_judge_.Report(/*paid=*/tick_clock_.Ticks() - idle_since_ticks_ < late_ticks_);
  }
  if (awaiter == nullptr) return EndAbandoned(slot);
  awaiter->done_ = true;
  scheduler_->MakeReady(awaiter);
}

void Port::PollFromTask() {
  std::array<Completion, kCompletionsPerPoll> completions;
  const size_t count = completion_queue_->Poll(absl::MakeSpan(completions));
  for (size_t i = 0; i < count; ++i) {
    if (IsOwn(completions[i])) {
      OnOwnCompletion(completions[i]);
    } else {
      deferred_.push_back(completions[i]);
    }
  }
  // Whoever waits for them must not find the thread asleep.
  if (!deferred_.empty()) scheduler_->Wake();
}

void Port::ToSink(Completion completion) {
  const auto sink = sinks_.find(completion.queue_pair);
  if (sink != sinks_.end() && sink->second != nullptr) sink->second->OnCompletion(completion);
}

bool Port::ShouldSpin() {
  if (pending_.size() == free_.size()) {
    is_judging_ = false;  // What it was about was forgotten.
    return true;
  }
  const uint64_t now_ticks = tick_clock_.Ticks();
  // The loop runs idle again and again while a batch is under way, at each message and timer: it is judged from
  // the first time on, and has failed when it is late, whether or not it ever completes.
  if (is_judging_ && now_ticks - idle_since_ticks_ >= late_ticks_) {
    spin_judge_.Report(/*paid=*/false);
    is_judging_ = false;
  }
  if (!is_judging_) {
    is_judging_ = spin_judge_.ShouldSpin();
    idle_since_ticks_ = now_ticks;
  }
  return is_judging_;
}

bool Port::Poll() {
  bool worked = !deferred_.empty();
  dispatching_.swap(deferred_);
  for (size_t i = 0; i < dispatching_.size(); ++i) ToSink(dispatching_[i]);
  dispatching_.clear();

  std::array<Completion, kCompletionsPerPoll> completions;
  const size_t count = completion_queue_->Poll(absl::MakeSpan(completions));
  worked = worked || count != 0;
  dispatching_.assign(completions.begin(), completions.begin() + count);
  for (size_t i = 0; i < dispatching_.size(); ++i) {
    const Completion completion = dispatching_[i];
    if (completion.queue_pair == nullptr) continue;
    if (IsOwn(completion)) {
      OnOwnCompletion(completion);
    } else {
      ToSink(completion);
    }
  }
  dispatching_.clear();

  if (!waiting_for_room_.empty() && PostWaiting()) worked = true;
  return worked;
}

Port::RoomQueue* Port::FindRoomQueue(QueuePair* queue_pair) {
  const auto found =
      std::find_if(waiting_for_room_.begin(), waiting_for_room_.end(),
                   [queue_pair](const RoomQueue& q) { return q.queue_pair == queue_pair; });
  return found == waiting_for_room_.end() ? nullptr : &*found;
}

void Port::WaitForRoom(ExecuteAwaiter* awaiter) {
  RoomQueue* queue = FindRoomQueue(awaiter->queue_pair_);
  if (queue == nullptr) queue = &waiting_for_room_.emplace_back(awaiter->queue_pair_);
  queue->waiters.PushBack(awaiter);
}

bool Port::PostWaiting() {
  bool worked = false;
  for (RoomQueue& queue : waiting_for_room_) {
    while (!queue.waiters.empty()) {
      auto* const awaiter = static_cast<ExecuteAwaiter*>(queue.waiters.front());
      if (!awaiter->TryPost()) break;
      worked = true;
      awaiter->Unlink();
      if (awaiter->done_) scheduler_->MakeReady(awaiter);
    }
  }
  std::erase_if(waiting_for_room_, [](const RoomQueue& queue) { return queue.waiters.empty(); });
  return worked;
}

Port::ExecuteAwaiter::~ExecuteAwaiter() {
  if (posted_ && !done_) port_->Abandon(slot_, batch_);
}

bool Port::ExecuteAwaiter::await_ready() {
  CHECK(!batch_.empty());
  // Behind those that found this send queue full before. One whose last waiter was cancelled counts
  // too, until the next Poll().
  if (!port_->waiting_for_room_.empty() && port_->FindRoomQueue(queue_pair_) != nullptr) {
    return false;
  }
  if (!TryPost()) return false;
  if (!done_) port_->PollFromTask();
  // What completed meanwhile needs no pass of the loop.
  if (done_) Unlink();
  return done_;
}

bool Port::ExecuteAwaiter::TryPost() {
  slot_ = port_->Take(this, queue_pair_);
  for (WorkRequest& request : batch_) {
    request.id = slot_;
    request.signaled = false;
  }
  batch_.back().id = slot_ | kLastOfBatchBit;
  batch_.back().signaled = true;
  const absl::Status status = queue_pair_->Post(batch_);
  posted_ = status.ok();
  if (posted_) return true;
  port_->pending_[slot_] = {};
  port_->free_.push_back(static_cast<uint32_t>(slot_));
  if (absl::IsResourceExhausted(status)) return false;
  // Still connecting: as good as broken for who wants an answer.
  done_ = true;
  status_ = CompletionStatus::kFlushed;
  return true;
}

}  // namespace acre::transport
