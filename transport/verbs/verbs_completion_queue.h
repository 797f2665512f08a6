// VerbsCompletionQueue: where a thread's verbs queue pairs report. A member of a group (verbs_group.h), which
// drives them.
//
// fd() is an epoll set of the group's descriptors, of the card's own events (verbs_events.h), and of an eventfd for
// completions that come by another member's hand, or by our own call, while armed.
//
// Poll() takes what the card has, or nothing, if another member is at it just now: that one takes it for us. It looks at the descriptors, which takes a system call, always while
// armed and once after, else when 50 us have passed (a busy one every 64th time looks at the clock).
//
// Ownership:  borrows the context, shares the group. Queue pairs attach themselves and detach before they go.
// Threads:    one at a time, the queue pairs included; what is marked so is called by the group's other threads,
//             under its mutex.
// Invariants: the queue has room for all that the attached queue pairs may report.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_COMPLETION_QUEUE_H_
#define ACRE_TRANSPORT_VERBS_VERBS_COMPLETION_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/clock.h"
#include "runtime/scoped_fd.h"
#include "transport/fabric.h"
#include "transport/verbs/verbs_context.h"
#include "transport/verbs/verbs_group.h"

namespace acre::transport {

class VerbsQueuePair;

class VerbsCompletionQueue final : public CompletionQueue {
 public:
  static absl::StatusOr<std::unique_ptr<VerbsCompletionQueue>> Create(VerbsContext* context);
  ~VerbsCompletionQueue() override;

  size_t Poll(absl::Span<Completion> completions) override;
  void Arm() override;
  void Disarm() override;
  int fd() const override { return epoll_fd_.get(); }

  const std::shared_ptr<VerbsGroup>& group() const { return group_; }

  // --- For its queue pairs, under the group's mutex.

  size_t queue_pairs_count() const { return queue_pairs_count_; }
  // Makes room for what another queue pair may report.
  void Attach(uint32_t completions_max);
  // Forgets its completions.
  void Detach(const VerbsQueuePair* queue_pair, uint32_t completions_max);
  // Reports `completion`, which frees `slots` places in its queue pair's send queue when it is polled. Any of the
  // group's threads.
  void Push(const Completion& completion, uint32_t slots);

 private:
  struct Pending {
    Completion completion;
    uint32_t slots;
  };
  // What of fd() is readable.
  struct Readable {
    bool channel = false;
    bool cm = false;
    bool timer = false;
    bool self = false;
  };

  VerbsCompletionQueue(VerbsContext* context, std::shared_ptr<VerbsGroup> group, ScopedFd epoll_fd,
                       ScopedFd self_fd);

  bool IsServiceDue();
  size_t PollHeld(absl::Span<Completion> completions, bool is_service_due,
                  const Readable& readable);
  Readable LookAtDescriptors();
  void Service(const Readable& readable);
  void WakeSelf();
  size_t TakePending(absl::Span<Completion> completions);
  void Reserve();

  VerbsContext* const context_;
  const std::shared_ptr<VerbsGroup> group_;
  TickClock tick_clock_;
  const uint64_t service_period_ticks_;
  ScopedFd epoll_fd_;
  ScopedFd self_fd_;  // Eventfd.

  // Its own thread's.
  bool is_service_forced_ = false;
  bool is_idle_ = true;  // The last Poll() left nothing.
  uint64_t serviced_ticks_ = 0;
  uint32_t polls_since_service_ = 0;
  uint32_t polls_missed_ = 0;  // In a row, as another member had the mutex.
  bool may_sleep_ = false;     // Armed: the next Poll() must not miss anything.

  // Under the group's mutex: all of the rest.
  // A circular queue: pending_count_ entries from pending_first_; the size is a power of two.
  std::vector<Pending> pending_;
  size_t pending_mask_ = 0;
  size_t pending_first_ = 0;
  size_t pending_count_ = 0;
  size_t completions_max_ = 0;  // Of all its queue pairs.
  size_t queue_pairs_count_ = 0;
  bool is_armed_ = false;
  bool is_self_woken_ = false;  // self_fd_ is readable.
  bool is_in_poll_ = false;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_COMPLETION_QUEUE_H_
