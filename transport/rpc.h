// Calls over a channel: a request message, a response message, many outstanding at once.
//
// Message format: one word, {call id 32 | method 16 | zero 16} in a request and {call id 32 |
// status code 8 | zero 24} in a response, then the request, the response, or the text of the
// status.
//
// Threads:       confined to the channel's thread. Both sides may call and serve.
// Cancellation:  destroying the Task of a Call() (WithDeadline does) forgets the call; a late
//                response is dropped. The server is not told: a call that ended without an answer
//                may have happened.
// Hostile peers: whatever a peer sends, it can break its channel, no more. Requests of one peer that
//                hold more than kHeldBytesMax bytes here are answered with ResourceExhausted, unseen
//                by the handler.
// Limits:        in the steady state, calls and requests up to kKeptBytesMax allocate nothing
//                (coroutine frames are pooled by the runtime). No call blocks.

#ifndef ACRE_TRANSPORT_RPC_H_
#define ACRE_TRANSPORT_RPC_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/channel.h"

namespace acre::transport {

// Outstanding calls of one side of a channel; further ones wait. Also what a peer may ask at once.
constexpr uint32_t kCallsMax = 1024;
// The longest request or response.
constexpr uint32_t kRpcBytesMax = kPayloadBytesMax - kWordBytes;
// A status's text is cut off here.
constexpr uint32_t kStatusMessageBytesMax = 1024;
// Requests being served and responses that wait for room, per peer.
constexpr uint64_t kHeldBytesMax = 64 << 20;
// Buffers up to this size are kept for the next request.
constexpr size_t kKeptBytesMax = 64 << 10;

// One call being served. Lives until its handler is done, across suspensions.
struct RpcContext {
  uint16_t method = 0;
  uint64_t view = 0;          // Of the request's frame: the handler's to judge.
  absl::string_view request;  // Private copy, 8-byte aligned, stays until the handler is done.
  std::string response;       // The handler's answer, at most kRpcBytesMax. Memory is reused.
};

class RpcHandler {
 public:
  virtual ~RpcHandler() = default;
  // The returned status travels to the caller; `response` too when it is OK. Never waits for a lock
  // by blocking the thread: it suspends. Unknown methods: Unimplemented. Must not destroy the
  // RpcPeer.
  virtual Task<absl::Status> Handle(RpcContext* context) = 0;
};

class RpcPeer : public Poller {
 public:
  // Borrows all; `handler` may be null: then calls from the peer break the channel. Not yet polled:
  // the owner calls Poll(), or adds it to the scheduler and removes it before it goes. `view`: of the
  // frames of our calls; an answer comes in a frame of its call's view, or it breaks the channel.
  RpcPeer(Scheduler* scheduler, Channel* channel, RpcHandler* handler, uint64_t view = 0);
  // Outstanding calls end with Unavailable; handlers under way are cancelled. Not from a handler.
  ~RpcPeer() override;

  // Sends a request and waits for its response, which replaces *response. `request_head` and
  // `request_body` are sent one behind the other, at most kRpcBytesMax in all (CHECKed); both, and
  // `response`, outlive the task. Waits, in order of arrival, while the ring is full.
  // Errors: Unavailable - the channel broke: the call may or may not have happened. Others: the
  // handler's.
  Task<absl::Status> Call(uint16_t method, absl::string_view request_head,
                          absl::string_view request_body, std::string* response);

  // One bounded step: delivers messages, resumes callers and handlers, sends what waited for room,
  // flushes. True when it did something.
  bool Poll() override;

  // Breaks everything outstanding, and the channel (it broke, or its owner gives it up). Handlers
  // under way go on, their answers are dropped.
  void Fail(absl::Status why);

  // Calls without an answer, forgotten ones included; requests without one.
  uint32_t calls_outstanding() const;
  uint32_t requests_outstanding() const;
  // Since it was made, answered or not.
  uint64_t calls_made() const { return calls_made_; }

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
  uint64_t calls_made_ = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_RPC_H_
