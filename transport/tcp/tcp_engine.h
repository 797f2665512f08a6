// TcpEngine: the fabric's thread. It does what a network card does for its machine: executes the requests
// of all peers of a TcpFabric on the memory that was granted to them, whatever the application's threads do.
//
// It serves the streams on which peers ask. What our own side asks goes over the other stream of each
// connection, straight from the thread of the queue pair (TcpQueuePair): that needs no third party.
//
// A stream's life here: running -> ended, or after a request that failed: running -> failing (the answer is
// on its way) -> lingering (the peer has it not for sure yet: closing now could destroy it) -> ended.
// What has ended stays known until Remove(), so that the queue pair can be told when it waits too long for
// its own stream's end.
//
// Between requests it spins for a moment where the next one has lately come soon (SpinJudge), and sleeps
// otherwise. docs/tcp.md, "Sleeping".
//
// Ownership:  owns its thread and the streams; borrows each link until Remove().
// Threads:    any. The thread starts with the first stream.
// Limits:     a stream that keeps us waiting holds at most kTcpBufferBytes of input and as much output; one
//             that never did holds nothing. Calls wait for the turn of one stream (a few hundred KiB
//             executed), never for a peer.

#ifndef ACRE_TRANSPORT_TCP_TCP_ENGINE_H_
#define ACRE_TRANSPORT_TCP_TCP_ENGINE_H_

#include <pthread.h>
#include <sys/epoll.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "runtime/clock.h"
#include "runtime/mutex.h"
#include "runtime/scoped_fd.h"
#include "runtime/spin_judge.h"
#include "transport/fabric.h"
#include "transport/tcp/tcp_buffer.h"
#include "transport/tcp/tcp_link.h"
#include "transport/tcp/tcp_responder.h"
#include "transport/tcp/tcp_stream.h"

namespace acre::transport {

constexpr size_t kTcpBufferBytes = size_t{256} << 10;

class TcpEngine {
 public:
  explicit TcpEngine(Clock* clock);
  // Requires: all streams were removed.
  ~TcpEngine();
  TcpEngine(const TcpEngine&) = delete;
  TcpEngine& operator=(const TcpEngine&) = delete;

  // Serves a stream, which may still be connecting, after sending `greeting`. Gives its number, never 0.
  // ResourceExhausted: no thread, no descriptor.
  absl::StatusOr<uint64_t> Add(ScopedFd stream, absl::string_view greeting,
                               const TcpResponder::Options& options, TcpLink* link);
  absl::StatusOr<RemoteKey> Grant(uint64_t number, std::shared_ptr<const TcpExport> region,
                                  uint32_t rights);
  // The peer's atomic domain is not ours.
  void SetForeignDomain(uint64_t number);
  // Something was polled: the stream that stalled goes on.
  void Resume(uint64_t number);
  // Ends the stream when what has arrived is executed; then the link is told.
  void ShutDown(uint64_t number);
  // The link is not touched any more when it returns, nor is any memory for this peer.
  void Remove(uint64_t number);
  // No peer touches the region's memory any more when it returns.
  void Withdraw(TcpExport* region);

 private:
  enum class State : uint8_t { kRunning, kFailing, kLingering, kEnded };
  struct Stream {
    Stream(uint64_t of_number, ScopedFd of_fd, const TcpResponder::Options& options,
           TcpLink* of_link)
        : number(of_number),
          fd(std::move(of_fd)),
          link(of_link),
          responder(options, &of_link->receives),
          unsent(kTcpBufferBytes) {}

    const uint64_t number;
    ScopedFd fd;
    TcpLink* link;  // Null: removed.
    State state = State::kRunning;
    TcpResponder responder;
    std::vector<uint64_t> input;  // Came, and could not be executed yet.
    size_t input_bytes = 0;
    TcpOutput unsent;
    bool is_at_end = false;    // The peer sends no more.
    bool is_stalled = false;   // Till Resume().
    uint32_t watched = 0;      // Events.
    uint64_t deadline_ns = 0;  // Unless it is running. 0: none.
  };

  absl::Status StartThread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();
  // Fills `events` and gives how many there are: spins first, if that pays, then sleeps.
  int Wait(absl::Span<epoll_event> events);
  int Spin(absl::Span<epoll_event> events);
  int WaitMs();
  void Serve(uint64_t number, uint32_t events);
  void ServeRunning(Stream* stream, uint32_t events) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // One round: receives, executes, sends. False: there is nothing more to do now.
  bool Advance(Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool OnOutcome(Stream* stream, TcpResponder::Outcome outcome)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::optional<StreamResult> ReceiveMore(Stream* stream, size_t* bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void KeepInput(Stream* stream, const TcpInput& input) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sends `output_`, and keeps in `unsent` what does not go now. False: the stream broke, and has ended.
  bool SendOutput(Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sends what was kept. False: some is left, or the stream has ended.
  bool SendUnsent(Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Linger(Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Discard(Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Closes the stream, and tells the link if it was not told.
  void End(Stream* stream, const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellEnd(Stream* stream, const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetDeadline(Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LookAtDeadlines();
  void Watch(Stream* stream, uint32_t events) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WatchForWork(Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Stream* Find(uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Clock* const clock_;
  const TickClock tick_clock_;
  const uint64_t spin_ticks_;
  // The thread's own.
  SpinJudge spin_judge_;
  bool has_written_ = false;  // Since the last wait.
  Mutex mutex_;               // Held by the thread while it serves one stream.
  ScopedFd epoll_fd_;         // Constant once the thread runs.
  ScopedFd stop_fd_;
  absl::optional<pthread_t> thread_ ABSL_GUARDED_BY(mutex_);
  uint64_t numbers_given_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Stream>> streams_ ABSL_GUARDED_BY(mutex_);
  size_t deadlines_count_ ABSL_GUARDED_BY(mutex_) = 0;  // Streams that have one.
  // Of the round under way.
  std::vector<uint64_t> input_ ABSL_GUARDED_BY(mutex_);
  TcpOutput output_ ABSL_GUARDED_BY(mutex_){kTcpBufferBytes};
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_ENGINE_H_
