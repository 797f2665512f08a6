// VerbsCompletionQueue: where a thread's verbs queue pairs report, and what drives them.
//
// The card puts completions into queues of a fixed size; there is one for as many queue pairs as fit in
// it, all with one completion channel. That channel, rdma_cm's events for the queue pairs (connecting,
// disconnecting), an eventfd for completions that we cause ourselves while armed, and a slow timer are
// watched by one epoll set, which is fd().
//
// Poll() takes what the card has; it looks at the descriptors, which takes a system call, always while
// armed and once after, else when 50 us have passed (a busy one every 64th time looks at the clock).
//
// The timer ticks every kTickNs while there are queue pairs, so that a peer which vanished without a word
// is missed and a connection that is never answered ends (verbs_queue_pair.h).
//
// Ownership:  borrows the context. Queue pairs attach themselves and detach before they go.
// Threads:    one at a time, the queue pairs included.
// Invariants: the local queue, and the card's, have room for all that the attached queue pairs may report.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_COMPLETION_QUEUE_H_
#define ACRE_TRANSPORT_VERBS_VERBS_COMPLETION_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/clock.h"
#include "runtime/scoped_fd.h"
#include "transport/fabric.h"
#include "transport/verbs/verbs_context.h"

namespace acre::transport {

class VerbsQueuePair;

// How often queue pairs look whether their peers are still there.
constexpr uint64_t kTickNs = 2'000'000'000;

class VerbsCompletionQueue final : public CompletionQueue {
 public:
  static absl::StatusOr<std::unique_ptr<VerbsCompletionQueue>> Create(VerbsContext* context);
  ~VerbsCompletionQueue() override;

  size_t Poll(absl::Span<Completion> completions) override;
  void Arm() override;
  void Disarm() override;
  int fd() const override { return epoll_fd_.get(); }

  // --- For its queue pairs.

  // A queue of the card with room for one queue pair, and the number that its WorkIds carry.
  struct Place {
    ibv_cq* cq;
    uint32_t connection;
  };
  absl::StatusOr<Place> Attach(VerbsQueuePair* queue_pair);
  // Requires: the card has destroyed the queue pair, so it reports nothing more. Also forgets its
  // completions.
  void Detach(VerbsQueuePair* queue_pair, const Place& place);
  rdma_event_channel* cm_channel() const { return cm_channel_.get(); }

  // Reports `completion`, which frees `slots` places in its queue pair's send queue when it is polled.
  void Push(const Completion& completion, uint32_t slots);

  // Takes all that the card has in one of its queues.
  void Drain(ibv_cq* cq);

  // A queue pair broke, and what the card gives back makes fd() readable, armed or not, till it has all.
  void AddDraining();
  void RemoveDraining() { --draining_count_; }

  // Requests under construction, of the queue pair that is posting. Room for a full send queue.
  struct Scratch {
    std::vector<ibv_send_wr> requests;
    std::vector<ibv_sge> buffers;
    std::vector<ibv_recv_wr> receives;
  };
  Scratch* scratch() { return &scratch_; }

 private:
  struct Pending {
    Completion completion;
    uint32_t slots;
  };
  struct CardQueue {
    Cq cq;
    uint32_t room;
  };

  VerbsCompletionQueue(VerbsContext* context, CompletionChannel channel, CmChannel cm_channel,
                       ScopedFd epoll_fd, ScopedFd self_fd, ScopedFd timer_fd);

  absl::Status AddCardQueue();
  // At most one batch. False: the card's queue is empty.
  bool TakeFromCard(ibv_cq* cq);
  bool IsServiceDue();
  void Service();
  void TakeChannelEvents();
  void TakeCmEvents();
  void Tick();
  void SetTimer(bool on);
  void AskForEvents();
  void WakeSelf();
  size_t TakePending(absl::Span<Completion> completions);
  void Reserve(size_t completions_max);

  VerbsContext* const context_;
  TickClock tick_clock_;
  const uint64_t service_period_ticks_;
  CompletionChannel channel_;
  CmChannel cm_channel_;
  ScopedFd epoll_fd_;
  ScopedFd self_fd_;  // Eventfd.
  ScopedFd timer_fd_;

  std::vector<CardQueue> card_queues_;
  absl::flat_hash_map<uint32_t, VerbsQueuePair*> queue_pairs_;
  uint32_t connections_count_ = 0;  // Ever made: a number is never reused.

  // A circular queue: pending_count_ entries from pending_first_; the size is a power of two.
  std::vector<Pending> pending_;
  size_t pending_mask_ = 0;
  size_t pending_first_ = 0;
  size_t pending_count_ = 0;

  size_t draining_count_ = 0;
  Scratch scratch_;
  bool is_armed_ = false;
  bool is_self_woken_ = false;  // self_fd_ is readable.
  bool is_service_forced_ = false;
  bool is_in_poll_ = false;
  uint64_t serviced_ticks_ = 0;
  uint32_t polls_since_service_ = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_COMPLETION_QUEUE_H_
