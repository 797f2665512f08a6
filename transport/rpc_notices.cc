// Messages without an answer, both sides.

#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/rpc_impl.h"

namespace acre::transport {

absl::StatusOr<NoticeRoom> RpcPeer::Impl::ReserveNotice() {
  if (!failed_.ok()) return failed_;
  if (absl::Status reserved = channel_->ReserveRoom(); !reserved.ok()) return reserved;
  return NoticeRoom(rooms_);
}

void RpcPeer::Impl::Start(NoticeAwaiter* notice) {
  if (!failed_.ok()) return Finish(notice, failed_);
  if (notice->room_.is_held()) {
    // There is room: only a broken channel takes it not, and then all that waits ends.
    if (!TrySend(notice)) waiting_.PushBack(notice);
  } else {
    SendOrWait(notice);
  }
  FlushAfterLast();
}

void RpcPeer::Impl::Finish(NoticeAwaiter* notice, absl::Status status) {
  notice->ListLink<OutgoingTag>::Unlink();
  notice->status_ = std::move(status);
  scheduler_->MakeReady(notice);
}

bool RpcPeer::Impl::FinishPlaced() {
  bool finished = false;
  while (!unplaced_.empty()) {
    auto* const notice = static_cast<NoticeAwaiter*>(unplaced_.front());
    if (notice->position_ > channel_->placed_position()) break;
    Finish(notice, absl::OkStatus());
    finished = true;
  }
  return finished;
}

absl::Status RpcPeer::Impl::OnNotice(const RpcHead& head, uint64_t view, absl::string_view body) {
  if (handler_ == nullptr) return absl::DataLossError("type: a notice, and this side takes none");
  if (head.call_id != 0) return absl::DataLossError("call id: of a notice, is not zero");
  // It could not have been drained.
  if (body.size() > kNoticeBytesMax) return absl::DataLossError("length: of a notice, is too long");
  // Requests before it go first: their tasks are ready, and begin before the next Poll().
  if (unbegun_ > 0 && !is_draining_) {
    channel_->Defer();
    return absl::OkStatus();
  }
  absl::Status taken = handler_->OnNotice(head.method_or_code, view, body);
  if (taken.ok()) ++notices_drained_;
  return taken;
}

size_t RpcPeer::Impl::Drain() {
  Fail(absl::UnavailableError("the connection was given up"));
  is_draining_ = true;
  notices_drained_ = 0;
  (void)channel_->Drain(this);
  return notices_drained_;
}

bool RpcPeer::Impl::TrySendNotice(NoticeAwaiter* notice) {
  const RpcHead head = {.call_id = 0, .method_or_code = notice->method_, .reserved = 0};
  const absl::string_view parts[] = {BytesOf(head), notice->notice_};
  if (notice->room_.is_held()) {
    if (!channel_->SendReserved(kTypeNotice, view_, parts, &notice->position_).ok()) return false;
    notice->room_.holder_.reset();  // Used up.
  } else if (!channel_->SendPlaced(kTypeNotice, view_, parts, &notice->position_).ok()) {
    return false;
  }
  notice->ListLink<OutgoingTag>::Unlink();
  unplaced_.PushBack(notice);
  return true;
}

absl::Status RpcHandler::OnNotice(uint16_t method, uint64_t /*view*/,
                                  absl::string_view /*notice*/) {
  return absl::DataLossError(absl::StrCat("method: ", method, ", of a notice that nobody takes"));
}

NoticeRoom& NoticeRoom::operator=(NoticeRoom&& other) noexcept {
  if (this == &other) return *this;
  Release();
  holder_ = std::move(other.holder_);
  return *this;
}

void NoticeRoom::Release() {
  if (holder_ != nullptr && holder_->channel != nullptr) holder_->channel->UnreserveRoom();
  holder_.reset();
}

}  // namespace acre::transport
