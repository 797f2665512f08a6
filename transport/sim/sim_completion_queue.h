// SimCompletionQueue: where a thread's simulated queue pairs report.
//
// Of a card: the card appends completions, and rings when the queue is armed (once for each Arm) or a
// peer has gone. Arm() and the card's append are at one time each, so either comes first.
//
// Of shared memory: completions of own requests wait in the same queue; receives are taken out of the
// mailboxes by this thread's own loads; and who wakes whom is decided by the words of
// transport/wake_flag.h, as in the shm provider, whose shm_completion_queue.cc this follows.
//
// Ownership:  borrows the context. Queue pairs attach themselves and detach before they go.
// Threads:    one at a time, the queue pairs included. Push() and Ring() also from events.

#ifndef ACRE_TRANSPORT_SIM_SIM_COMPLETION_QUEUE_H_
#define ACRE_TRANSPORT_SIM_SIM_COMPLETION_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/sim/descriptor.h"
#include "transport/fabric.h"
#include "transport/sim/sim_context.h"
#include "transport/sim/sim_event.h"
#include "transport/wake_flag.h"

namespace acre::transport {

class SimQueuePair;

class SimCompletionQueue final : public CompletionQueue {
 public:
  explicit SimCompletionQueue(SimContext* context);
  ~SimCompletionQueue() override;

  size_t Poll(absl::Span<Completion> completions) override;
  void Arm() override;
  void Disarm() override;
  int fd() const override { return descriptor_.fd(); }

  // --- For its queue pairs and their sides.

  void Attach(SimQueuePair* queue_pair) { queue_pairs_.push_back(queue_pair); }
  // Also forgets its completions.
  void Detach(SimQueuePair* queue_pair);
  // Reports `completion`, which frees `slots` places in its queue pair's send queue when it is polled.
  void Push(const Completion& completion, uint32_t slots);
  // fd() becomes readable, armed or not.
  void Ring() { descriptor_.SetReadable(true); }
  // Shared memory: a peer's packet wakes us.
  void OnWakePacket();
  UnorderedStores* stores() { return &stores_; }
  const WakePage* wake_page() const { return wake_page_; }

 private:
  struct Pending {
    Completion completion;
    uint32_t slots;
  };

  Pending& PendingAt(size_t index) {
    return pending_[(pending_first_ + index) & (pending_.size() - 1)];
  }
  size_t TakePending(absl::Span<Completion> completions);
  void ServeSharedMemory();
  size_t TakeReceives(absl::Span<Completion> completions);
  void RingNow() { Ring(); }
  bool is_shared_memory() const { return context_->kind == SimDevice::kSharedMemory; }

  SimContext* const context_;
  sim::Descriptor descriptor_;
  std::vector<SimQueuePair*> queue_pairs_;
  size_t next_receiver_ = 0;  // Where TakeReceives goes on, so that nobody starves.
  // A circular queue: pending_count_ entries from pending_first_; the size is a power of two.
  std::vector<Pending> pending_;
  size_t pending_first_ = 0;
  size_t pending_count_ = 0;
  bool is_armed_ = false;  // Of a card.
  SimEvent<SimCompletionQueue, &SimCompletionQueue::RingNow> late_ring_;

  // Shared memory.
  WakePage* const wake_page_;
  WakeReceiver wake_receiver_;
  UnorderedStores stores_;
  bool has_wake_packet_ = false;
  bool is_in_poll_ = false;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_COMPLETION_QUEUE_H_
