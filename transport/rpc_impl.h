// What an RpcPeer is made of. For transport/rpc*.cc alone.
//
// Ownership, threads, limits: rpc.h.

#ifndef ACRE_TRANSPORT_RPC_IMPL_H_
#define ACRE_TRANSPORT_RPC_IMPL_H_

#include <bitset>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/intrusive_list.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/channel.h"
#include "transport/rpc.h"

namespace acre::transport {
class RpcPeer::Impl final : public Channel::Receiver {
 public:
  Impl(Scheduler* scheduler, Channel* channel, RpcHandler* handler, uint64_t view);
  ~Impl() override;

  absl::Status OnMessage(uint8_t type, uint64_t view, absl::string_view payload) override;
  bool Poll();
  void Fail(absl::Status why);
  size_t Drain();
  absl::StatusOr<NoticeRoom> ReserveNotice();
  bool IsRoomHere(const NoticeRoom& room) const { return room.holder_ == rooms_; }
  uint32_t calls_outstanding() const { return calls_outstanding_; }
  uint32_t requests_outstanding() const { return static_cast<uint32_t>(served_slots_.count()); }

  class CallAwaiter;
  class NoticeAwaiter;

 private:
  // Types of message. Numbers are never reused.
  static constexpr uint8_t kTypeRequest = 1;
  static constexpr uint8_t kTypeResponse = 2;
  static constexpr uint8_t kTypeNotice = 3;

  // Bounds one Poll(), so that a busy peer starves no other.
  static constexpr size_t kMessagesPerPoll = 64;

  // The highest status code that there is (absl::StatusCode::kUnauthenticated).
  static constexpr uint32_t kStatusCodeMax = 16;

  // The first word of a message.
  struct RpcHead {
    uint32_t call_id;  // Zero in a notice.
    uint16_t method_or_code;
    uint16_t reserved;  // Zero.
  };
  static_assert(sizeof(RpcHead) == kWordBytes);
  static_assert(std::has_unique_object_representations_v<RpcHead>);

  static absl::string_view BytesOf(const RpcHead& head) {
    return absl::string_view(reinterpret_cast<const char*>(&head), sizeof(head));
  }

  // A call id names a slot of the caller and, so that an answer meets the call it was meant for,
  // which of the slot's users.
  static constexpr uint32_t SlotOf(uint32_t call_id) { return call_id & 0xffff; }
  static constexpr uint32_t CallId(uint32_t slot, uint16_t generation) {
    return uint32_t{generation} << 16 | slot;
  }
  static_assert(kCallsMax <= 1 << 16);

  struct OutgoingTag;
  struct CallTag;

  // A message that waits for room in the ring, or a notice that waits to be placed.
  class Outgoing : public ListLink<OutgoingTag> {
   public:
    enum class Kind : uint8_t { kCall, kResponse, kNotice };

    explicit Outgoing(Kind kind) : kind_(kind) {}
    Kind kind() const { return kind_; }

   private:
    const Kind kind_;
  };

  // Where a call's answer will be expected.
  struct Slot {
    enum class State : uint8_t {
      kFree,
      kWaiting,    // Its request waits for room in the ring.
      kInFlight,   // Its request was sent.
      kForgotten,  // Likewise, and nobody wants the answer.
    };
    State state = State::kFree;
    uint16_t generation = 0;
    uint16_t next_free = 0;
    CallAwaiter* call = nullptr;
  };

  // A request being served.
  struct Served : RpcContext, Outgoing {
    Served() : Outgoing(Kind::kResponse) {}
    uint32_t call_id = 0;
    uint64_t held_bytes = 0;
    absl::Status status;
    std::string request_buffer;
    SpawnHandle task;
  };

  // Calls.
  void Start(CallAwaiter* call);
  bool GiveSlot(CallAwaiter* call);
  void FreeSlot(uint32_t slot);
  void Forget(CallAwaiter* call);
  void Finish(CallAwaiter* call, absl::Status status);
  absl::Status OnResponse(const RpcHead& head, absl::string_view body);

  // Requests.
  absl::Status OnRequest(const RpcHead& head, uint64_t view, absl::string_view body);
  Served* TakeServed();
  Task<void> Serve(Served* served);
  void Respond(Served* served, absl::Status status);
  void Recycle(Served* served);

  // Notices.
  void Start(NoticeAwaiter* notice);
  void Finish(NoticeAwaiter* notice, absl::Status status);
  bool FinishPlaced();
  absl::Status OnNotice(const RpcHead& head, uint64_t view, absl::string_view body);

  // Sends the message, or puts it behind those that wait.
  void SendOrWait(Outgoing* message);
  // Takes it off the list it may be on. False: no room, or the channel broke; it stays where it
  // was.
  bool TrySend(Outgoing* message);
  bool TrySendCall(CallAwaiter* call);
  bool TrySendResponse(Served* served);
  bool TrySendNotice(NoticeAwaiter* notice);
  bool SendWaiting();
  // Flushes unless another task of this pass may still add messages; Poll() flushes in any case.
  void FlushAfterLast() {
    if (scheduler_->nothing_ready()) channel_->Flush();
  }

  Scheduler* const scheduler_;
  Channel* const channel_;
  RpcHandler* const handler_;
  const uint64_t view_;  // Of our calls.
  absl::Status failed_;  // OK, or Unavailable.

  std::vector<Slot> slots_;
  uint16_t first_free_ = 0;
  uint32_t calls_outstanding_ = 0;
  IntrusiveList<CallAwaiter, CallTag> without_slot_;  // In order of arrival.
  IntrusiveList<Outgoing, OutgoingTag> waiting_;      // For room in the ring, likewise.
  IntrusiveList<Outgoing, OutgoingTag> unplaced_;     // Notices that were sent, in their order.
  const std::shared_ptr<NoticeRoom::Holder> rooms_;
  bool is_draining_ = false;
  size_t notices_drained_ = 0;

  std::vector<std::unique_ptr<Served>> all_served_;
  std::vector<Served*> idle_served_;
  uint32_t unbegun_ = 0;                 // Requests whose handlers have not begun.
  std::bitset<kCallsMax> served_slots_;  // The peer's slots whose requests we have.
  uint64_t held_bytes_ = 0;
};

// What Call() awaits. Lies in its coroutine's frame: the destructor is what cancels.
class RpcPeer::Impl::CallAwaiter : public Waiter, public Outgoing, public ListLink<CallTag> {
 public:
  CallAwaiter(Impl* peer, uint16_t method, absl::string_view head, absl::string_view body,
              std::string* response)
      : Outgoing(Kind::kCall),
        peer_(peer),
        method_(method),
        head_(head),
        body_(body),
        response_(response) {}
  ~CallAwaiter() {
    if (peer_ != nullptr) peer_->Forget(this);
  }

  bool await_ready() const { return false; }
  template <task_internal::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> handle) {
    Bind(handle);
    peer_->Start(this);
  }
  absl::Status await_resume() { return std::move(status_); }

 private:
  friend class Impl;
  static constexpr uint32_t kNoSlot = UINT32_MAX;

  Impl* peer_;  // Null once the call is answered, or the peer gone.
  const uint16_t method_;
  const absl::string_view head_;
  const absl::string_view body_;
  std::string* const response_;
  uint32_t slot_ = kNoSlot;
  absl::Status status_;
};

// What Notify() awaits. Likewise: its links take it off the list that it is on.
class RpcPeer::Impl::NoticeAwaiter : public Waiter, public Outgoing {
 public:
  NoticeAwaiter(Impl* peer, NoticeRoom room, uint16_t method, absl::string_view notice)
      : Outgoing(Kind::kNotice),
        peer_(peer),
        room_(std::move(room)),
        method_(method),
        notice_(notice) {}

  bool await_ready() const { return false; }
  template <task_internal::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> handle) {
    Bind(handle);
    peer_->Start(this);
  }
  absl::Status await_resume() { return std::move(status_); }

 private:
  friend class Impl;

  Impl* const peer_;
  NoticeRoom room_;
  const uint16_t method_;
  const absl::string_view notice_;
  uint64_t position_ = 0;  // Where it ends in the ring, once it was sent.
  absl::Status status_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_RPC_IMPL_H_
