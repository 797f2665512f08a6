// The serving side.

#include <string>
#include <utility>

#include "glog/logging.h"
#include "transport/rpc_impl.h"

namespace acre::transport {

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
  ++unbegun_;
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
  --unbegun_;
  if (is_draining_) {
    Recycle(served);
    co_return;
  }
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

bool RpcPeer::Impl::TrySendResponse(Served* served) {
  const RpcHead head = {.call_id = served->call_id,
                        .method_or_code = static_cast<uint16_t>(served->status.code()),
                        .reserved = 0};
  const absl::string_view body = served->status.ok()
                                     ? absl::string_view(served->response)
                                     : served->status.message().substr(0, kStatusMessageBytesMax);
  if (!channel_->Send(kTypeResponse, served->view, {BytesOf(head), body}).ok()) return false;
  served->Unlink();
  Recycle(served);
  return true;
}

}  // namespace acre::transport
