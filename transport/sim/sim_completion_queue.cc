#include "transport/sim/sim_completion_queue.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "transport/sim/sim_costs.h"
#include "transport/sim/sim_network.h"
#include "transport/sim/sim_queue_pair.h"

namespace acre::transport {
namespace {

constexpr size_t kPendingAtFirst = 64;

}  // namespace

SimCompletionQueue::SimCompletionQueue(SimContext* context)
    : context_(context),
      descriptor_(context->network->world()),
      pending_(kPendingAtFirst),
      late_ring_(this),
      wake_page_(context->network->MakeWakePage()),
      wake_receiver_(wake_page_) {
  ++context_->live_objects;
}

SimCompletionQueue::~SimCompletionQueue() {
  CHECK(queue_pairs_.empty()) << "a completion queue goes after its queue pairs";
  context_->network->Cancel(&late_ring_);
  --context_->live_objects;
}

void SimCompletionQueue::Detach(SimQueuePair* queue_pair) {
  std::erase(queue_pairs_, queue_pair);
  size_t kept = 0;
  for (size_t i = 0; i < pending_count_; ++i) {
    const Pending pending = PendingAt(i);
    if (pending.completion.queue_pair != queue_pair) PendingAt(kept++) = pending;
  }
  pending_count_ = kept;
}

void SimCompletionQueue::Push(const Completion& completion, uint32_t slots) {
  if (pending_count_ == pending_.size()) {
    std::vector<Pending> larger(2 * pending_.size());
    for (size_t i = 0; i < pending_count_; ++i) larger[i] = PendingAt(i);
    pending_ = std::move(larger);
    pending_first_ = 0;
  }
  PendingAt(pending_count_++) = {completion, slots};
  if (is_shared_memory()) {
    if (wake_receiver_.armed() && !is_in_poll_) Ring();
    return;
  }
  if (!std::exchange(is_armed_, false)) return;
  SimNetwork* const network = context_->network;
  if (!network->Draw(network->faults().slow_notification)) return Ring();
  if (late_ring_.scheduled()) return;
  network->ScheduleAt(&late_ring_,
                      network->NowNs() + network->DrawNs(network->faults().notification_ns_max));
}

size_t SimCompletionQueue::Poll(absl::Span<Completion> completions) {
  context_->network->Spend(kPollNs);
  descriptor_.SetReadable(false);
  if (!is_shared_memory()) return TakePending(completions);
  is_in_poll_ = true;
  ServeSharedMemory();
  size_t taken = TakePending(completions);
  if (taken < completions.size()) taken += TakeReceives(completions.subspan(taken));
  is_in_poll_ = false;
  // What found no room in `completions` must not be slept over.
  if (wake_receiver_.armed() && pending_count_ > 0) Ring();
  return taken;
}

size_t SimCompletionQueue::TakePending(absl::Span<Completion> completions) {
  if (pending_count_ == 0) return 0;
  // F8: who reads after a WRITE's completion was polled, here or elsewhere, sees the WRITE.
  stores_.OrderBeforeLoads();
  size_t count = 0;
  while (count < completions.size() && pending_count_ > 0) {
    const Pending pending = PendingAt(0);
    pending_first_ = (pending_first_ + 1) & (pending_.size() - 1);
    --pending_count_;
    completions[count++] = pending.completion;
    static_cast<SimQueuePair*>(pending.completion.queue_pair)
        ->OnPolled(pending.completion, pending.slots);
  }
  return count;
}

void SimCompletionQueue::ServeSharedMemory() {
  // By index: none comes or goes meanwhile, as this thread is here.
  for (size_t i = 0; i < queue_pairs_.size(); ++i) queue_pairs_[i]->ServeSharedMemory();
  // Its sender holds us for woken and sends no second one for this arm number, and what it announced
  // may have been taken by a Poll() before Arm(): so we are armed anew, before the look at the mailboxes.
  if (std::exchange(has_wake_packet_, false) && wake_receiver_.armed()) {
    wake_receiver_.Arm(&stores_);
  }
}

size_t SimCompletionQueue::TakeReceives(absl::Span<Completion> completions) {
  const size_t receivers = queue_pairs_.size();
  size_t taken = 0;
  for (size_t i = 0; i < receivers && taken < completions.size(); ++i) {
    if (next_receiver_ >= receivers) next_receiver_ = 0;
    taken += queue_pairs_[next_receiver_++]->TakeReceives(completions.subspan(taken));
  }
  return taken;
}

void SimCompletionQueue::OnWakePacket() {
  has_wake_packet_ = true;
  Ring();
}

void SimCompletionQueue::Arm() {
  context_->network->Spend(kPollNs);
  if (!is_shared_memory()) {
    is_armed_ = true;
    return;
  }
  // Our next Poll() is the last look at the mailboxes before sleep.
  wake_receiver_.Arm(&stores_);
}

void SimCompletionQueue::Disarm() {
  if (!is_shared_memory()) {
    is_armed_ = false;
    return;
  }
  if (wake_receiver_.armed()) wake_receiver_.Disarm();
}

}  // namespace acre::transport
