#include "transport/rpc.h"

#include <array>
#include <bitset>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/intrusive_list.h"
#include "runtime/planted_bug.h"

namespace acre::transport {
namespace {

// Types of message. Numbers are never reused.
constexpr uint8_t kTypeRequest = 1;
constexpr uint8_t kTypeResponse = 2;

// Bounds one Poll(), so that a busy peer starves no other.
constexpr size_t kMessagesPerPoll = 64;

// The highest status code that there is (absl::StatusCode::kUnauthenticated).
constexpr uint32_t kStatusCodeMax = 16;

// The first word of a message.
struct RpcHead {
  uint32_t call_id;
  uint16_t method_or_code;
  uint16_t reserved;  // Zero.
};
static_assert(sizeof(RpcHead) == kWordBytes);
static_assert(std::has_unique_object_representations_v<RpcHead>);

absl::string_view BytesOf(const RpcHead& head) {
  return absl::string_view(reinterpret_cast<const char*>(&head), sizeof(head));
}

// A call id names a slot of the caller and, so that an answer meets the call it was meant for,
// which of the slot's users.
constexpr uint32_t SlotOf(uint32_t call_id) { return call_id & 0xffff; }
constexpr uint32_t CallId(uint32_t slot, uint16_t generation) {
  return uint32_t{generation} << 16 | slot;
}
static_assert(kCallsMax <= 1 << 16);

struct OutgoingTag;
struct CallTag;

// A message that waits for room in the ring: a call or a response.
class Outgoing : public ListLink<OutgoingTag> {
 public:
  explicit Outgoing(bool is_call) : is_call_(is_call) {}
  bool is_call() const { return is_call_; }

 private:
  const bool is_call_;
};

}  // namespace

class RpcPeer::Impl final : public Channel::Receiver {
 public:
  Impl(Scheduler* scheduler, Channel* channel, RpcHandler* handler, uint64_t view);
  ~Impl() override;

  absl::Status OnMessage(uint8_t type, uint64_t view, absl::string_view payload) override;
  bool Poll();
  void Fail(absl::Status why);
  uint32_t calls_outstanding() const { return calls_outstanding_; }
  uint32_t requests_outstanding() const { return static_cast<uint32_t>(served_slots_.count()); }

  class CallAwaiter;

 private:
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
    Served() : Outgoing(/*is_call=*/false) {}
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

  // Sends the message, or puts it behind those that wait.
  void SendOrWait(Outgoing* message);
  // Takes it off the list it may be on. False: no room, or the channel broke; it stays where it
  // was.
  bool TrySend(Outgoing* message);
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

  std::vector<std::unique_ptr<Served>> all_served_;
  std::vector<Served*> idle_served_;
  std::bitset<kCallsMax> served_slots_;  // The peer's slots whose requests we have.
  uint64_t held_bytes_ = 0;
};

// What Call() awaits. Lies in its coroutine's frame: the destructor is what cancels.
class RpcPeer::Impl::CallAwaiter : public Waiter, public Outgoing, public ListLink<CallTag> {
 public:
  CallAwaiter(Impl* peer, uint16_t method, absl::string_view head, absl::string_view body,
              std::string* response)
      : Outgoing(/*is_call=*/true),
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

RpcPeer::Impl::Impl(Scheduler* scheduler, Channel* channel, RpcHandler* handler, uint64_t view)
    : scheduler_(scheduler), channel_(channel), handler_(handler), view_(view), slots_(kCallsMax) {
  for (uint32_t slot = 0; slot < kCallsMax; ++slot) {
    slots_[slot].next_free = static_cast<uint16_t>(slot + 1);
  }
}

RpcPeer::Impl::~Impl() {
  Fail(absl::UnavailableError("the connection was closed"));
  for (const std::unique_ptr<Served>& served : all_served_) served->task.Cancel();
}

// ---- Calls.

void RpcPeer::Impl::Start(CallAwaiter* call) {
  if (!failed_.ok()) return Finish(call, failed_);
  if (!without_slot_.empty() || !GiveSlot(call)) {
    without_slot_.PushBack(call);
    return;
  }
  SendOrWait(call);
  FlushAfterLast();
}

bool RpcPeer::Impl::GiveSlot(CallAwaiter* call) {
  if (first_free_ == kCallsMax) return false;
  call->slot_ = first_free_;
  Slot& slot = slots_[call->slot_];
  first_free_ = slot.next_free;
  slot.state = Slot::State::kWaiting;
  slot.call = call;
  ++calls_outstanding_;
  return true;
}

void RpcPeer::Impl::FreeSlot(uint32_t index) {
  Slot& slot = slots_[index];
  slot.state = Slot::State::kFree;
  slot.call = nullptr;
  if (!IsPlanted(PlantedBug::kAnswerOfForgottenCall)) ++slot.generation;
  slot.next_free = first_free_;
  first_free_ = static_cast<uint16_t>(index);
  --calls_outstanding_;
}

void RpcPeer::Impl::Forget(CallAwaiter* call) {
  call->peer_ = nullptr;
  if (call->slot_ == CallAwaiter::kNoSlot) return;  // Its links take it off the lists.
  Slot& slot = slots_[call->slot_];
  if (slot.state == Slot::State::kInFlight && !IsPlanted(PlantedBug::kAnswerOfForgottenCall)) {
    slot.state = Slot::State::kForgotten;
    slot.call = nullptr;
  } else {
    FreeSlot(call->slot_);
  }
}

void RpcPeer::Impl::Finish(CallAwaiter* call, absl::Status status) {
  call->ListLink<OutgoingTag>::Unlink();
  call->ListLink<CallTag>::Unlink();
  call->peer_ = nullptr;
  call->status_ = std::move(status);
  scheduler_->MakeReady(call);
}

absl::Status RpcPeer::Impl::OnResponse(const RpcHead& head, absl::string_view body) {
  if (head.method_or_code > kStatusCodeMax) {
    return absl::DataLossError(absl::StrCat("status code: ", head.method_or_code));
  }
  const uint32_t index = SlotOf(head.call_id);
  if (index >= kCallsMax || CallId(index, slots_[index].generation) != head.call_id) {
    return absl::DataLossError("call id: of an answer, names no call");
  }
  Slot& slot = slots_[index];
  CallAwaiter* const call = slot.call;
  switch (slot.state) {
    case Slot::State::kFree:
    case Slot::State::kWaiting:
      return absl::DataLossError("call id: of an answer, names no call");
    case Slot::State::kForgotten:
      FreeSlot(index);  // Late, nobody's fault.
      return absl::OkStatus();
    case Slot::State::kInFlight:
      break;
  }
  if (head.method_or_code != 0 && body.size() > kStatusMessageBytesMax) {
    return absl::DataLossError("status message: too long");
  }
  FreeSlot(index);
  if (head.method_or_code == 0) {
    call->response_->assign(body.data(), body.size());
    Finish(call, absl::OkStatus());
  } else {
    Finish(call, absl::Status(static_cast<absl::StatusCode>(head.method_or_code), body));
  }
  return absl::OkStatus();
}

// ---- Requests.

absl::Status RpcPeer::Impl::OnMessage(uint8_t type, uint64_t view, absl::string_view payload) {
  if (payload.size() < sizeof(RpcHead)) return absl::DataLossError("length: less than a head");
  RpcHead head;
  std::memcpy(&head, payload.data(), sizeof(head));  // Private memory.
  payload.remove_prefix(sizeof(head));
  if (head.reserved != 0) return absl::DataLossError("reserved bits: not zero");
  if (type == kTypeRequest) return OnRequest(head, view, payload);
  if (type == kTypeResponse && view != view_) {
    return absl::DataLossError("view: of an answer, is not its call's");
  }
  if (type == kTypeResponse) return OnResponse(head, payload);
  return absl::DataLossError(absl::StrCat("type: ", type));
}

absl::Status RpcPeer::Impl::OnRequest(const RpcHead& head, uint64_t view, absl::string_view body) {
  if (handler_ == nullptr) return absl::DataLossError("type: a request, and this side serves none");
  const uint32_t slot = SlotOf(head.call_id);
  if (slot >= kCallsMax) return absl::DataLossError("call id: out of bounds");
  if (served_slots_[slot]) return absl::DataLossError("call id: is in use");
  served_slots_[slot] = true;

  Served* const served = TakeServed();
  served->call_id = head.call_id;
  served->method = head.method_or_code;
  served->view = view;
  if (held_bytes_ + body.size() > kHeldBytesMax) {
    Respond(served, absl::ResourceExhaustedError("too many bytes of requests at once"));
    return absl::OkStatus();
  }
  served->held_bytes = body.size();
  held_bytes_ += body.size();
  served->request_buffer.assign(body.data(), body.size());
  served->request = absl::string_view(served->request_buffer.data(), body.size());
  served->task = scheduler_->Spawn(Serve(served));
  return absl::OkStatus();
}

RpcPeer::Impl::Served* RpcPeer::Impl::TakeServed() {
  if (idle_served_.empty()) {
    all_served_.push_back(std::make_unique<Served>());
    idle_served_.reserve(all_served_.size());
    return all_served_.back().get();
  }
  Served* const served = idle_served_.back();
  idle_served_.pop_back();
  return served;
}

Task<void> RpcPeer::Impl::Serve(Served* served) {
  absl::Status status = co_await handler_->Handle(served);
  Respond(served, std::move(status));
  FlushAfterLast();
}

void RpcPeer::Impl::Respond(Served* served, absl::Status status) {
  CHECK_LE(served->response.size(), kRpcBytesMax);
  served->status = std::move(status);
  served->held_bytes += served->response.size();
  held_bytes_ += served->response.size();
  if (!failed_.ok()) return Recycle(served);
  SendOrWait(served);
}

void RpcPeer::Impl::Recycle(Served* served) {
  held_bytes_ -= std::exchange(served->held_bytes, 0);
  served_slots_[SlotOf(served->call_id)] = false;
  served->task.Detach();
  served->status = absl::OkStatus();
  if (served->request_buffer.capacity() > kKeptBytesMax) std::string().swap(served->request_buffer);
  if (served->response.capacity() > kKeptBytesMax) std::string().swap(served->response);
  served->request = absl::string_view();
  served->response.clear();
  idle_served_.push_back(served);
}

// ---- Both.

void RpcPeer::Impl::SendOrWait(Outgoing* message) {
  if (!waiting_.empty() || !TrySend(message)) waiting_.PushBack(message);
}

bool RpcPeer::Impl::TrySend(Outgoing* message) {
  if (message->is_call()) {
    auto* const call = static_cast<CallAwaiter*>(message);
    Slot& slot = slots_[call->slot_];
    const RpcHead head = {.call_id = CallId(call->slot_, slot.generation),
                          .method_or_code = call->method_,
                          .reserved = 0};
    if (!channel_->Send(kTypeRequest, view_, {BytesOf(head), call->head_, call->body_}).ok()) {
      return false;
    }
    slot.state = Slot::State::kInFlight;
    message->Unlink();
    return true;
  }
  auto* const served = static_cast<Served*>(message);
  const RpcHead head = {.call_id = served->call_id,
                        .method_or_code = static_cast<uint16_t>(served->status.code()),
                        .reserved = 0};
  const absl::string_view body = served->status.ok()
                                     ? absl::string_view(served->response)
                                     : served->status.message().substr(0, kStatusMessageBytesMax);
  if (!channel_->Send(kTypeResponse, served->view, {BytesOf(head), body}).ok()) return false;
  message->Unlink();
  Recycle(served);
  return true;
}

bool RpcPeer::Impl::SendWaiting() {
  bool sent = false;
  // Calls that get a slot go behind all that waits for room already; nothing overtakes.
  while (!without_slot_.empty() && GiveSlot(without_slot_.front())) {
    waiting_.PushBack(without_slot_.PopFront());
  }
  while (!waiting_.empty()) {
    if (!TrySend(waiting_.front())) break;
    sent = true;
  }
  return sent;
}

bool RpcPeer::Impl::Poll() {
  if (!failed_.ok()) return false;
  bool worked = channel_->Poll(this, kMessagesPerPoll) > 0;
  if (!waiting_.empty() || !without_slot_.empty()) worked |= SendWaiting();
  channel_->Flush();
  if (!channel_->ok()) {
    Fail(channel_->status());
    return true;
  }
  return worked;
}

void RpcPeer::Impl::Fail(absl::Status why) {
  if (!failed_.ok()) return;
  failed_ = absl::UnavailableError(why.message());
  channel_->Break(std::move(why));
  for (uint32_t index = 0; index < kCallsMax; ++index) {
    if (slots_[index].state == Slot::State::kFree) continue;
    CallAwaiter* const call = slots_[index].call;
    FreeSlot(index);
    if (call != nullptr) Finish(call, failed_);
  }
  while (!without_slot_.empty()) Finish(without_slot_.front(), failed_);
  while (!waiting_.empty()) {  // Calls have left: responses.
    Outgoing* const message = waiting_.PopFront();
    Recycle(static_cast<Served*>(message));
  }
}

// ---- RpcPeer.

RpcPeer::RpcPeer(Scheduler* scheduler, Channel* channel, RpcHandler* handler, uint64_t view)
    : impl_(std::make_unique<Impl>(scheduler, channel, handler, view)) {}

RpcPeer::~RpcPeer() = default;

Task<absl::Status> RpcPeer::Call(uint16_t method, absl::string_view request_head,
                                 absl::string_view request_body, std::string* response) {
  CHECK_LE(request_head.size() + request_body.size(), kRpcBytesMax);
  ++calls_made_;
  Impl::CallAwaiter call(impl_.get(), method, request_head, request_body, response);
  co_return co_await call;
}

bool RpcPeer::Poll() { return impl_->Poll(); }
void RpcPeer::Fail(absl::Status why) { impl_->Fail(std::move(why)); }
uint32_t RpcPeer::calls_outstanding() const { return impl_->calls_outstanding(); }
uint32_t RpcPeer::requests_outstanding() const { return impl_->requests_outstanding(); }

}  // namespace acre::transport
