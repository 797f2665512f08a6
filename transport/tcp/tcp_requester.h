// TcpRequester: the initiator's half of a connection: requests that were posted, as a stream of bytes, and
// the answers to them.
//
// No sockets here: bytes out, bytes in, so that a fuzzer can drive it.
//
// Ownership:  borrows the sink, and the local buffers of requests until they complete.
// Threads:    that of the queue pair.
// Invariants: answered_ <= sent_ <= posted_ <= answered_ + depth. A request counts as sent when its last
//             byte is in the output.
// Limits:     allocates only for inline bytes that find no room in the output at once.

#ifndef ACRE_TRANSPORT_TCP_TCP_REQUESTER_H_
#define ACRE_TRANSPORT_TCP_TCP_REQUESTER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "transport/fabric.h"
#include "transport/tcp/tcp_buffer.h"
#include "transport/tcp/tcp_wire.h"

namespace acre::transport {

class TcpRequester {
 public:
  class Sink {
   public:
    virtual ~Sink() = default;
    // In the order in which they were posted. A request that failed breaks the connection; what is behind
    // it is flushed by Flush().
    virtual void OnAnswer(const WorkRequest& request, CompletionStatus status) = 0;
  };

  TcpRequester(uint32_t depth, Sink* sink) : entries_(depth), sink_(sink) {}

  // Takes a request over, its inline bytes too. Requires: less than `depth` are unanswered.
  void Post(const WorkRequest& request, TcpOutput* output);
  // Puts into `output` what fits of what was posted.
  void Encode(TcpOutput* output);
  // Takes answers in. InvalidArgument: they make no sense. Aborted: a request failed, the sink was told.
  // Neither is followed by another call, but for Flush().
  absl::Status Consume(TcpInput* input);
  // Tells the sink of all unanswered requests: the first with `first`, the others are kFlushed.
  void Flush(CompletionStatus first);

  bool has_unanswered() const { return answered_ != posted_; }
  bool has_unsent() const { return sent_ != posted_; }

 private:
  struct Entry {
    WorkRequest request;
    std::vector<uint64_t>
        inline_words;  // Not empty: where the bytes are, instead of request.local.
  };

  Entry& EntryAt(uint64_t number) { return entries_[number % entries_.size()]; }
  // The oldest one, if it has been sent far enough to be answered: wholly.
  Entry* Oldest() { return answered_ == sent_ ? nullptr : &EntryAt(answered_); }
  bool EncodeHead(const WorkRequest& request, TcpOutput* output);
  void Land(TcpInput* input);
  absl::Status OnResponse(const TcpResponseWire& response);
  absl::Status OnAcks(uint32_t acks);
  void Answer(CompletionStatus status);

  std::vector<Entry> entries_;
  Sink* const sink_;
  // Numbers of requests, from 0 on.
  uint64_t posted_ = 0;
  uint64_t sent_ = 0;
  uint64_t answered_ = 0;
  // Of the WRITE that is being sent: 0 before its head is.
  bool is_head_sent_ = false;
  uint32_t write_sent_bytes_ = 0;
  // Of the oldest request: bytes that landed, and those of the part under way that did not yet.
  uint32_t landed_bytes_ = 0;
  uint32_t part_left_bytes_ = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_REQUESTER_H_
