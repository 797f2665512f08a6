// TcpCompletionQueue: where a thread's tcp queue pairs report, and what drives their own requests.
//
// Answers to own requests are received by Poll(), from the streams themselves. What concerns the peers'
// requests (receives, the end of their stream) comes by a mailbox from the fabric's thread. The streams and
// the mailbox's eventfd are watched by one epoll set, which is fd().
//
// When Poll() asks epoll, which takes a system call: always while armed and once after; when more than a
// few queue pairs wait for answers; else when 50 us have passed since it last did, as an idle Poll() sees
// from the tick clock, a busy one every 64th time. A few queue pairs that wait for answers are looked at
// without asking.
//
// Ownership:  borrows the context. Queue pairs attach themselves and detach before they go.
// Threads:    one at a time, the queue pairs included.

#ifndef ACRE_TRANSPORT_TCP_TCP_COMPLETION_QUEUE_H_
#define ACRE_TRANSPORT_TCP_TCP_COMPLETION_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/clock.h"
#include "runtime/scoped_fd.h"
#include "transport/fabric.h"
#include "transport/tcp/tcp_completions.h"
#include "transport/tcp/tcp_context.h"
#include "transport/tcp/tcp_link.h"

namespace acre::transport {

class TcpCompletionQueue final : public CompletionQueue {
 public:
  static absl::StatusOr<std::unique_ptr<TcpCompletionQueue>> Create(TcpContext* context);
  ~TcpCompletionQueue() override;

  size_t Poll(absl::Span<Completion> completions) override;
  void Arm() override;
  void Disarm() override;
  int fd() const override { return epoll_fd_.get(); }

  // --- For its queue pairs.

  TcpMailbox* mailbox() { return &mailbox_; }
  // Watches the queue pair's stream, which is connecting or connected.
  absl::Status Attach(TcpQueuePair* queue_pair, int stream_fd);
  void Detach(TcpQueuePair* queue_pair);
  void Watch(TcpQueuePair* queue_pair, int stream_fd, bool also_writable);
  void Unwatch(int stream_fd);
  // Reports `completion`, which frees `slots` places in the send queue when it is polled.
  void Push(const Completion& completion, uint32_t slots);
  // Answers are to come, or none any more.
  void AddWaiting(TcpQueuePair* queue_pair);
  void RemoveWaiting(TcpQueuePair* queue_pair);
  // Has receives that were not taken.
  void AddReceiving(TcpQueuePair* queue_pair);
  // Where a queue pair receives. Good for the moment.
  std::vector<uint64_t>* input() { return &input_; }

 private:
  TcpCompletionQueue(TcpContext* context, ScopedFd epoll_fd, ScopedFd event_fd);

  bool IsServiceDue();
  // Looks at all streams.
  void Service();
  // Looks at those that wait for answers.
  void ReceiveAnswers();
  void TakeMail();
  size_t TakePending(absl::Span<Completion> completions);
  size_t TakeReceives(absl::Span<Completion> completions);

  TcpContext* const context_;
  const TickClock tick_clock_;
  const uint64_t service_period_ticks_;
  const ScopedFd epoll_fd_;
  TcpMailbox mailbox_;
  TcpCompletions pending_;
  std::vector<TcpQueuePair*> queue_pairs_;
  std::vector<TcpQueuePair*> waiting_;   // For answers.
  std::deque<TcpQueuePair*> receiving_;  // With receives to be taken, in the order of their turns.
  std::vector<TcpLink*> mail_;           // Of the Poll() under way.
  std::vector<uint64_t> input_;
  bool is_armed_ = false;
  bool is_service_forced_ = false;
  bool is_in_poll_ = false;
  uint64_t serviced_ticks_ = 0;
  uint32_t polls_since_service_ = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_COMPLETION_QUEUE_H_
