// Calls over a channel: a request message, a response message, many outstanding at once. And notices:
// messages without an answer, whose sender learns that they are placed.
//
// Message format: one word, {call id 32 | method 16 | zero 16} in a request, {call id 32 |
// status code 8 | zero 24} in a response, {zero 32 | method 16 | zero 16} in a notice, then the
// request, the response or the text of the status, the notice.
//
// Placed:        the peer will take the notice even if the connection breaks right after: by Poll(),
//                or by Drain() once it gives us up ("Placed" in docs/rings.md).
// Threads:       confined to the channel's thread. Both sides may call and serve.
// Cancellation:  destroying the Task of a Call() (WithDeadline does) forgets the call; a late
//                response is dropped. The server is not told: a call that ended without an answer
//                may have happened. Nor does a destroyed Notify() take anything back: it is not sent
//                if it still waited for room, else it is.
// Hostile peers: whatever a peer sends, it can break its channel, no more. Requests of one peer that
//                hold more than kHeldBytesMax bytes here are answered with ResourceExhausted, unseen
//                by the handler.
// Limits:        in the steady state, notices, and calls and requests up to kKeptBytesMax, allocate nothing
//                (coroutine frames are pooled by the runtime). No call blocks.

#ifndef ACRE_TRANSPORT_RPC_H_
#define ACRE_TRANSPORT_RPC_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/channel.h"
#include "transport/ring_frame.h"

namespace acre::transport {

// Outstanding calls of one side of a channel; further ones wait. Also what a peer may ask at once.
constexpr uint32_t kCallsMax = 1024;
// The longest request or response.
constexpr uint32_t kRpcBytesMax = kPayloadBytesMax - kWordBytes;
// A status's text is cut off here.
constexpr uint32_t kStatusMessageBytesMax = 1024;
// Requests being served and responses that wait for room, per peer.
constexpr uint64_t kHeldBytesMax = 64 << 20;
// The longest notice: it goes inline, so that it can be drained, in the smallest ring too.
constexpr uint32_t kNoticeBytesMax = InlineBytesMax(kRingBytesMin / kWordBytes) - kWordBytes;
// The longest one into reserved room.
constexpr uint32_t kReservedNoticeBytes = kReservedPayloadBytes - kWordBytes;
static_assert(kReservedNoticeBytes == 64 && kReservedNoticeBytes <= kNoticeBytesMax);
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
  // Takes a notice, in order of arrival with requests: the handlers of those that came before it have begun,
  // those of later ones have not. Called by Poll() and Drain(). `view`: of its
  // frame, to be judged. `notice` lives until it returns, 8-byte aligned. Must not destroy the RpcPeer,
  // nor Poll() it. An error breaks the channel: the peer sends what makes no sense. By default no
  // notice does.
  virtual absl::Status OnNotice(uint16_t method, uint64_t view, absl::string_view notice);
};

// Room in the ring to the peer that is set aside for one notice of up to kReservedNoticeBytes, till that is
// sent or this is destroyed.
//
// Threads: the RpcPeer's. It may outlive the RpcPeer and its channel.
class NoticeRoom {
 public:
  NoticeRoom() = default;  // None.
  NoticeRoom(NoticeRoom&&) noexcept = default;
  NoticeRoom& operator=(NoticeRoom&& other) noexcept;
  ~NoticeRoom() { Release(); }

  bool is_held() const { return holder_ != nullptr; }
  void Release();

 private:
  friend class RpcPeer;
  // What the rooms of an RpcPeer have of it. Null once that is gone.
  struct Holder {
    Channel* channel;
  };
  explicit NoticeRoom(std::shared_ptr<const Holder> holder) : holder_(std::move(holder)) {}

  std::shared_ptr<const Holder> holder_;
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

  // Sends a notice, at most kNoticeBytesMax (CHECKed), and waits till it is placed. `notice` outlives the
  // task. Waits, in order of arrival, behind what waits for room in the ring, but not behind calls beyond
  // kCallsMax. Notices that leave together cost one WRITE, one completion, and one READ or none.
  // Errors: Unavailable - the channel broke, or the peer gave us up: it may or may not be taken.
  Task<absl::Status> Notify(uint16_t method, absl::string_view notice);
  // The same into room that was set aside here (CHECKed): at most kReservedNoticeBytes (CHECKed), sent at
  // once, before what waits for room. `room` is used up.
  Task<absl::Status> Notify(NoticeRoom room, uint16_t method, absl::string_view notice);
  // Sets room aside. Calls, answers and notices without room never take it.
  // Errors: ResourceExhausted - the ring is too full now, or a quarter of it is set aside: give some back,
  //         or try again after a while. Unavailable - the channel broke.
  absl::StatusOr<NoticeRoom> ReserveNotice();

  // One bounded step: delivers messages, resumes callers and handlers, sends what waited for room,
  // flushes. True when it did something.
  bool Poll() override;

  // Breaks everything outstanding, and the channel (it broke, or its owner gives it up). Handlers
  // under way go on, their answers are dropped.
  void Fail(absl::Status why);

  // Of one who has given the peer up: behind Channel::CloseGate() and, where that is the fence, the end of
  // the queue pair (Channel::Drain has what is required): hands the notices that lie in the ring to the
  // handler. Requests and answers among them are dropped, and so
  // are requests whose handlers have not begun. Fails what is outstanding, like Fail(). Returns
  // how many the handler took.
  size_t Drain();

  // Calls without an answer, forgotten ones included; requests without one.
  uint32_t calls_outstanding() const;
  uint32_t requests_outstanding() const;
  // Since it was made, answered or not.
  uint64_t calls_made() const { return calls_made_; }
  // Likewise, placed or not.
  uint64_t notices_made() const { return notices_made_; }

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
  uint64_t calls_made_ = 0;
  uint64_t notices_made_ = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_RPC_H_
