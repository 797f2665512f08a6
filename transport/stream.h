// Stream: a connected TCP socket that coroutines read and write, each step with a deadline.
//
// For the handshake, not for the data path: a few hundred bytes at a time.
//
// Threads:    confined to the scheduler's. To move it, Release() the descriptor.
// Ownership:  owns the descriptor, borrows the scheduler. Outlives its tasks.
// Invariants: at most one task waits on it at a time.

#ifndef ACRE_TRANSPORT_STREAM_H_
#define ACRE_TRANSPORT_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/scheduler.h"
#include "runtime/scoped_fd.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"

namespace acre::transport {

class Stream {
 public:
  // `fd`: a non-blocking stream socket.
  Stream(Scheduler* scheduler, ScopedFd fd);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // After StartConnect(). Unavailable: refused, unreachable.
  Task<absl::Status> FinishConnect(uint64_t deadline_ns);

  // Exactly `bytes` bytes, into `to`, which outlives the task.
  // Errors: Unavailable - the peer closed or reset the connection. DeadlineExceeded. After an error
  // nothing more can be read or written in any useful way.
  Task<absl::Status> Read(void* to, size_t bytes, uint64_t deadline_ns);
  Task<absl::Status> Write(std::string bytes, uint64_t deadline_ns);

  // Tells the peer that nothing more comes, then throws away what it still sends, up to bytes_max,
  // till it closes as well: closing with bytes unread would reset the connection, and what was last
  // written might never be read.
  Task<void> FinishWriting(size_t bytes_max, uint64_t deadline_ns);

  // The address of this machine, numeric, at which the connection ends.
  std::string LocalHost() const;
  // Breaks the connection: a task that waits gets Unavailable soon.
  void Abort();
  // Hands the descriptor over. Nobody waits on the stream.
  ScopedFd Release();

 private:
  Task<void> WaitTillReady();

  Scheduler* const scheduler_;
  ScopedFd fd_;
  absl::Status watch_status_;
  // Notified whenever the kernel reports anything new about fd_ (edge-triggered).
  WaitQueue changed_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_STREAM_H_
