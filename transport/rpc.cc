// What calls, requests and notices have in common. Each by itself: rpc_calls.cc, rpc_requests.cc,
// rpc_notices.cc.

#include "transport/rpc.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/rpc_impl.h"

namespace acre::transport {

RpcPeer::Impl::Impl(Scheduler* scheduler, Channel* channel, RpcHandler* handler, uint64_t view)
    : scheduler_(scheduler),
      channel_(channel),
      handler_(handler),
      view_(view),
      slots_(kCallsMax),
      rooms_(std::make_shared<NoticeRoom::Holder>(NoticeRoom::Holder{channel})) {
  for (uint32_t slot = 0; slot < kCallsMax; ++slot) {
    slots_[slot].next_free = static_cast<uint16_t>(slot + 1);
  }
}

RpcPeer::Impl::~Impl() {
  Fail(absl::UnavailableError("the connection was closed"));
  rooms_->channel = nullptr;
  for (const std::unique_ptr<Served>& served : all_served_) served->task.Cancel();
}

absl::Status RpcPeer::Impl::OnMessage(uint8_t type, uint64_t view, absl::string_view payload) {
  if (payload.size() < sizeof(RpcHead)) return absl::DataLossError("length: less than a head");
  RpcHead head;
  std::memcpy(&head, payload.data(), sizeof(head));  // Private memory.
  payload.remove_prefix(sizeof(head));
  if (head.reserved != 0) return absl::DataLossError("reserved bits: not zero");
  if (type == kTypeNotice) return OnNotice(head, view, payload);
  if (is_draining_) return absl::OkStatus();  // Nobody is there to be answered, or to be told.
  if (type == kTypeRequest) return OnRequest(head, view, payload);
  if (type == kTypeResponse && view != view_) {
    return absl::DataLossError("view: of an answer, is not its call's");
  }
  if (type == kTypeResponse) return OnResponse(head, payload);
  return absl::DataLossError(absl::StrCat("type: ", type));
}

void RpcPeer::Impl::SendOrWait(Outgoing* message) {
  if (!waiting_.empty() || !TrySend(message)) waiting_.PushBack(message);
}

bool RpcPeer::Impl::TrySend(Outgoing* message) {
  switch (message->kind()) {
    case Outgoing::Kind::kCall:
      return TrySendCall(static_cast<CallAwaiter*>(message));
    case Outgoing::Kind::kResponse:
      return TrySendResponse(static_cast<Served*>(message));
    case Outgoing::Kind::kNotice:
      break;
  }
  return TrySendNotice(static_cast<NoticeAwaiter*>(message));
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
  worked |= channel_->is_deferred();
  if (!unplaced_.empty()) worked |= FinishPlaced();
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
  while (!unplaced_.empty()) Finish(static_cast<NoticeAwaiter*>(unplaced_.front()), failed_);
  while (!waiting_.empty()) {  // Calls have left.
    Outgoing* const message = waiting_.PopFront();
    if (message->kind() == Outgoing::Kind::kNotice) {
      Finish(static_cast<NoticeAwaiter*>(message), failed_);
    } else {
      Recycle(static_cast<Served*>(message));
    }
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

Task<absl::Status> RpcPeer::Notify(uint16_t method, absl::string_view notice) {
  CHECK_LE(notice.size(), kNoticeBytesMax);
  ++notices_made_;
  Impl::NoticeAwaiter awaiter(impl_.get(), NoticeRoom(), method, notice);
  co_return co_await awaiter;
}

Task<absl::Status> RpcPeer::Notify(NoticeRoom room, uint16_t method, absl::string_view notice) {
  CHECK_LE(notice.size(), kReservedNoticeBytes);
  CHECK(impl_->IsRoomHere(room)) << "room at another peer, or none";
  ++notices_made_;
  Impl::NoticeAwaiter awaiter(impl_.get(), std::move(room), method, notice);
  co_return co_await awaiter;
}

absl::StatusOr<NoticeRoom> RpcPeer::ReserveNotice() { return impl_->ReserveNotice(); }
size_t RpcPeer::Drain() { return impl_->Drain(); }

bool RpcPeer::Poll() { return impl_->Poll(); }
void RpcPeer::Fail(absl::Status why) { impl_->Fail(std::move(why)); }
uint32_t RpcPeer::calls_outstanding() const { return impl_->calls_outstanding(); }
uint32_t RpcPeer::requests_outstanding() const { return impl_->requests_outstanding(); }

}  // namespace acre::transport
