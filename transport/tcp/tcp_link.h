// TcpLink and TcpMailbox: where the fabric's thread leaves word for the thread of a queue pair.

#ifndef ACRE_TRANSPORT_TCP_TCP_LINK_H_
#define ACRE_TRANSPORT_TCP_TCP_LINK_H_

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "glog/logging.h"
#include "runtime/mutex.h"
#include "runtime/scoped_fd.h"
#include "transport/tcp/tcp_receive_queue.h"

namespace acre::transport {

class TcpQueuePair;
class TcpMailbox;

// How far the peer's half of a connection, which the fabric's thread serves, has come to its end.
enum class TcpEnd : uint8_t {
  kNo,
  kEnded,    // No more requests of the peer are executed.
  kOverdue,  // And it has been so for a while: do not wait for the peer's other stream any longer.
};

// One for each queue pair. The queue pair owns it; the fabric's thread uses it until TcpEngine::Remove().
struct TcpLink {
  TcpLink(TcpMailbox* of_mailbox, TcpQueuePair* of_queue_pair, uint32_t receive_queue_depth)
      : mailbox(of_mailbox), queue_pair(of_queue_pair), receives(receive_queue_depth) {}

  TcpMailbox* const mailbox;
  TcpQueuePair* const queue_pair;  // For its own thread.
  TcpReceiveQueue receives;
  // Stored (release) by the fabric's thread behind `end_status`; loaded (acquire) by the queue pair's.
  std::atomic<TcpEnd> end{TcpEnd::kNo};
  absl::Status end_status;     // Why, for people. Not changed after `end` was.
  bool is_in_mailbox = false;  // Guarded by the mailbox.
};

// One for each completion queue.
//
// Threads: Notify() any; all else that of the completion queue.
class TcpMailbox {
 public:
  explicit TcpMailbox(ScopedFd event_fd) : event_fd_(std::move(event_fd)) {}
  TcpMailbox(const TcpMailbox&) = delete;
  TcpMailbox& operator=(const TcpMailbox&) = delete;

  // There is something new about `link`. `wakes`: also a queue that is not armed.
  void Notify(TcpLink* link, bool wakes) {
    {
      const MutexLock lock(&mutex_);
      if (!link->is_in_mailbox) links_.push_back(link);
      link->is_in_mailbox = true;
    }
    // seq_cst on both words, here and in Arm() and HasMail(): either the owner's last look before sleep
    // sees the mail, or we see it armed.
    has_mail_.store(true, std::memory_order_seq_cst);
    const bool was_armed = is_armed_.exchange(false, std::memory_order_seq_cst);
    if (was_armed || wakes) Wake();
  }

  int fd() const { return event_fd_.get(); }
  void Arm() { is_armed_.store(true, std::memory_order_seq_cst); }
  void Disarm() { is_armed_.store(false, std::memory_order_seq_cst); }
  // Makes fd() readable.
  void Wake() {
    const uint64_t one = 1;
    PCHECK(write(event_fd_.get(), &one, sizeof(one)) == sizeof(one));
  }
  // fd() is not readable any more.
  void TakeWake() {
    uint64_t wakes;
    PCHECK(read(event_fd_.get(), &wakes, sizeof(wakes)) == sizeof(wakes) || errno == EAGAIN);
  }
  bool HasMail() const { return has_mail_.load(std::memory_order_seq_cst); }
  // Replaces *links by those that were notified since the last call.
  void Take(std::vector<TcpLink*>* links) {
    links->clear();
    const MutexLock lock(&mutex_);
    has_mail_.store(false, std::memory_order_seq_cst);
    links->swap(links_);
    for (TcpLink* link : *links) link->is_in_mailbox = false;
  }
  // Requires: nobody notifies of `link` any more.
  void Forget(TcpLink* link) {
    const MutexLock lock(&mutex_);
    links_.erase(std::remove(links_.begin(), links_.end(), link), links_.end());
  }

 private:
  const ScopedFd event_fd_;
  std::atomic<bool> has_mail_{false};
  std::atomic<bool> is_armed_{false};
  Mutex mutex_;
  std::vector<TcpLink*> links_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_LINK_H_
