// ShmCompletionQueue: where a thread's shm queue pairs report, and what drives them.
//
// Completions of own requests wait in a local queue: an shm request is executed by Post() itself.
// Receives are taken straight out of the queue pairs' receive rings. The Unix sockets (grants,
// wake-ups, hang-ups) and an eventfd for completions that we cause ourselves while armed are
// watched by one epoll set, which is fd().
//
// When Poll() looks at the sockets, which takes a system call: always while armed and once after;
// else when 50 us have passed since it last did, as an idle Poll() sees from the tick clock, a busy
// one every 64th time. So a thread that polls sees a hang-up within about 50 us, one that sleeps on
// fd() at once.
//
// Ownership:  borrows the context. Queue pairs attach themselves and detach before they go.
// Threads:    one at a time, the queue pairs included.
// Invariants: the local queue has room for all that the attached queue pairs may report.

#ifndef ACRE_TRANSPORT_SHM_SHM_COMPLETION_QUEUE_H_
#define ACRE_TRANSPORT_SHM_SHM_COMPLETION_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "transport/fabric.h"
#include "transport/shm/shm_context.h"
#include "transport/shm/shm_memory.h"
#include "transport/shm/shm_wire.h"
#include "transport/wake_flag.h"

namespace acre::transport {

class ShmQueuePair;

class ShmCompletionQueue final : public CompletionQueue {
 public:
  static absl::StatusOr<std::unique_ptr<ShmCompletionQueue>> Create(ShmContext* context);
  ~ShmCompletionQueue() override;

  size_t Poll(absl::Span<Completion> completions) override;
  void Arm() override;
  void Disarm() override;
  int fd() const override { return epoll_fd_.get(); }

  // --- For its queue pairs.

  // Peers map it and look at it.
  int wake_page_fd() const { return wake_memory_.fd.get(); }

  // Watches the queue pair's socket, and makes room for `completions_max` more completions.
  absl::Status Attach(ShmQueuePair* queue_pair, int socket_fd, size_t completions_max);
  // Also forgets its completions. The queue pair closes its socket itself.
  void Detach(ShmQueuePair* queue_pair);
  void Watch(ShmQueuePair* queue_pair, int socket_fd, bool also_writable);
  void Unwatch(int socket_fd);

  // Reports `completion`, which frees `slots` places in its queue pair's send queue when it is
  // polled.
  void Push(const Completion& completion, uint32_t slots);

  // The store buffer of this thread. Stores to peers' memory are noted; whoever must have them seen
  // first asks for the barrier, which costs nothing when nothing is noted.
  UnorderedStores* stores() { return &stores_; }
  void NoteStores() { stores_.Note(); }
  void OrderStoresBeforeLoads() { stores_.OrderBeforeLoads(); }

  // A peer's wake-up was taken out of its socket, where it would have ended a sleep.
  void OnWakeTaken();

  void AddStalled() { ++stalled_count_; }
  void RemoveStalled() { --stalled_count_; }

 private:
  struct Pending {
    Completion completion;
    uint32_t slots;
  };

  ShmCompletionQueue(ShmContext* context, SharedMemory wake_memory, ScopedFd epoll_fd,
                     ScopedFd self_fd);

  bool IsServiceDue();
  void Service();
  void WakeSelf();
  size_t TakePending(absl::Span<Completion> completions);
  size_t TakeReceives(absl::Span<Completion> completions);
  void RetryStalled();
  void Reserve(size_t completions_max);

  ShmContext* context_;
  TickClock tick_clock_;
  uint64_t service_period_ticks_;
  SharedMemory wake_memory_;
  ScopedFd epoll_fd_;
  ScopedFd self_fd_;  // Eventfd. Never passed to anyone.

  std::vector<ShmQueuePair*> queue_pairs_;
  size_t next_receiver_ = 0;  // Where TakeReceives goes on, so that nobody starves.
  size_t stalled_count_ = 0;  // Queue pairs with stalled requests.
  size_t completions_max_ = 0;

  // A circular queue: pending_count_ entries from pending_first_; the size is a power of two.
  std::vector<Pending> pending_;
  size_t pending_mask_ = 0;
  size_t pending_first_ = 0;
  size_t pending_count_ = 0;

  UnorderedStores stores_;
  WakeReceiver wake_receiver_;  // Its page is wake_memory_.
  bool is_self_woken_ = false;  // self_fd_ is readable.
  bool is_service_forced_ = false;
  bool is_in_poll_ = false;
  uint64_t serviced_ticks_ = 0;
  uint32_t polls_since_service_ = 0;
};

inline void ShmCompletionQueue::Push(const Completion& completion, uint32_t slots) {
  Pending& pending = pending_[(pending_first_ + pending_count_) & pending_mask_];
  pending.completion = completion;
  pending.slots = slots;
  ++pending_count_;
  if (wake_receiver_.armed() && !is_in_poll_) [[unlikely]]
    WakeSelf();
}

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_SHM_COMPLETION_QUEUE_H_
