// TcpQueuePair: a connection between two processes anywhere: two TCP streams.
//
// On one stream our requests go out and their answers come in; this object works it, from Post() and from
// the completion queue's Poll(). On the other one the peer asks; TcpEngine serves it, and leaves word in the
// link. See docs/tcp.md.
//
// The life of one: connecting (only on the side that connects) -> ready -> broken. It breaks when a request
// fails, or either stream ends; then both do. kDisconnected is reported when both have: what the peer had
// sent is executed and received before.
//
// Ownership:  owns its stream and the link. Borrows the completion queue.
// Threads:    that of its completion queue.
// Invariants: outstanding_ <= send_queue_depth_max.
// Limits:     at most kTcpOutputBytes of requests are encoded ahead of the socket; the others wait as they
//             were posted.

#ifndef ACRE_TRANSPORT_TCP_TCP_QUEUE_PAIR_H_
#define ACRE_TRANSPORT_TCP_TCP_QUEUE_PAIR_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/scoped_fd.h"
#include "transport/fabric.h"
#include "transport/tcp/tcp_buffer.h"
#include "transport/tcp/tcp_completion_queue.h"
#include "transport/tcp/tcp_context.h"
#include "transport/tcp/tcp_link.h"
#include "transport/tcp/tcp_requester.h"
#include "transport/tcp/tcp_stream.h"
#include "transport/tcp/tcp_wire.h"

namespace acre::transport {

constexpr size_t kTcpOutputBytes = size_t{64} << 10;

class TcpQueuePair final : public QueuePair, private TcpRequester::Sink {
 public:
  // Both streams of a connection, connecting or connected, as seen from here.
  struct Streams {
    ScopedFd own_requests;
    ScopedFd peer_requests;
  };

  // Says hello on both; the answer comes through the completion queue.
  static absl::StatusOr<std::unique_ptr<TcpQueuePair>> Connect(TcpContext* context,
                                                               TcpCompletionQueue* completion_queue,
                                                               Streams streams,
                                                               const TcpToken& token,
                                                               absl::string_view private_data);
  // Answers a peer's hello. Ready when returned.
  static absl::StatusOr<std::unique_ptr<TcpQueuePair>> Accept(TcpContext* context,
                                                              TcpCompletionQueue* completion_queue,
                                                              Streams streams,
                                                              const TcpHello& peer_hello,
                                                              absl::string_view private_data);
  ~TcpQueuePair() override;

  absl::Status DoPost(absl::Span<const WorkRequest> batch) override;
  absl::StatusOr<RemoteKey> Grant(const MemoryRegion& region, uint32_t rights) override;
  absl::StatusOr<MappedRegion> Map(RemoteKey key) override;
  // The peer's engine stores a WRITE's bytes, and only then answers, under the mutex that
  // TcpEngine::Remove() takes when the peer destroys its queue pair. What it had answered by then was
  // stored, and who returns from Remove() sees it; behind Remove() it executes nothing of ours.
  bool ack_is_placement() const override { return true; }
  QueuePairState state() const override { return state_; }
  absl::Status status() const override { return status_; }
  absl::string_view peer_private_data() const override { return peer_private_data_; }
  int peer_pid() const override { return 0; }

  // --- For its completion queue.

  void OnStream(uint32_t events);
  void OnMail();
  bool HasReceives() const {
    return state_ != QueuePairState::kConnecting && !link_.receives.empty();
  }
  size_t TakeReceives(absl::Span<Completion> completions);
  void FreeSlots(uint32_t slots) { outstanding_ -= slots; }
  size_t completions_max() const;

 private:
  TcpQueuePair(TcpContext* context, TcpCompletionQueue* completion_queue, ScopedFd stream);

  // Hands the other stream to the engine, and has our own one watched.
  absl::Status Start(ScopedFd peer_requests, absl::string_view greeting, bool is_same_domain);
  void BecomeReady(const TcpHello& peer_hello);
  // Sends what was posted, as far as the socket takes it.
  void Send();
  void Receive();
  absl::Status OnInput(TcpInput* input);
  absl::Status OnAnswerHello(TcpInput* input);
  void SetWaiting();
  void OnAnswer(const WorkRequest& request, CompletionStatus status) override;
  // Breaks the connection; `first`: what the oldest unanswered request completes with.
  void Break(absl::Status why, CompletionStatus first);
  // kDisconnected, once both streams have ended.
  void ReportIfOver();

  TcpContext* const context_;
  TcpCompletionQueue* const completion_queue_;
  TcpLink link_;
  uint64_t engine_number_ = 0;  // 0: the engine does not know us yet.
  QueuePairState state_ = QueuePairState::kConnecting;
  bool is_attached_ = false;  // The completion queue knows us.
  bool is_waiting_ = false;   // It knows that answers are to come.
  bool is_send_blocked_ = false;
  bool is_closing_ = false;  // Our stream is half closed, since the peer's has ended.
  bool is_over_ = false;     // kDisconnected was reported.
  uint32_t outstanding_ = 0;
  uint32_t unsignaled_ = 0;  // Done since the last completion.
  const uint32_t send_queue_depth_;

  ScopedFd stream_;
  TcpOutput output_{kTcpOutputBytes};
  TcpRequester requester_;
  // The beginning of an answer, whose rest has not come yet.
  alignas(kWordBytes) std::array<char, sizeof(TcpHello)> rest_;
  size_t rest_bytes_ = 0;
  TcpToken token_ = {};  // While connecting.

  std::string peer_private_data_;
  absl::Status status_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_QUEUE_PAIR_H_
