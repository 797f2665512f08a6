// The calling side.

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/planted_bug.h"
#include "transport/rpc_impl.h"

namespace acre::transport {

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

bool RpcPeer::Impl::TrySendCall(CallAwaiter* call) {
  Slot& slot = slots_[call->slot_];
  const RpcHead head = {.call_id = CallId(call->slot_, slot.generation),
                        .method_or_code = call->method_,
                        .reserved = 0};
  if (!channel_->Send(kTypeRequest, view_, {BytesOf(head), call->head_, call->body_}).ok()) {
    return false;
  }
  slot.state = Slot::State::kInFlight;
  call->ListLink<OutgoingTag>::Unlink();
  return true;
}

}  // namespace acre::transport
