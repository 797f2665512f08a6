#include "server/lock_control.h"

#include <string>
#include <utility>

#include "transport/server_place.h"
#include "transport/wire_bytes.h"

namespace acre::server {

LockControlConnection::LockControlConnection(transport::Port* port, transport::Link link,
                                             uint64_t view, Join join,
                                             std::function<void()> on_broken)
    : scheduler_(port->scheduler()),
      port_(port),
      view_(view),
      join_(std::move(join)),
      on_broken_(std::move(on_broken)),
      made_ns_(scheduler_->NowNs()),
      link_(std::move(link)),
      rpc_(scheduler_, link_.channel(), this, view) {
  port_->SetSink(link_.queue_pair(), this);
  scheduler_->AddPoller(this);
}

LockControlConnection::~LockControlConnection() {
  scheduler_->RemovePoller(this);
  port_->SetSink(link_.queue_pair(), nullptr);
}

Task<absl::Status> LockControlConnection::Handle(transport::RpcContext* context) {
  if (context->view != view_) co_return transport::OtherView(view_, context->view);
  if (context->method != static_cast<uint16_t>(kvs::LockControl::kJoin)) {
    co_return absl::UnimplementedError("a control connection takes a join and nothing else");
  }
  const absl::StatusOr<kvs::JoinRequest> request = kvs::ParseJoin(context->request);
  if (!request.ok()) co_return request.status();
  if (lock_id_ != 0) co_return absl::FailedPreconditionError("it has joined before");
  // It is told of its end already: whoever joined now would never be heard of again.
  if (is_broken_) co_return absl::UnavailableError("the connection has broken");
  const absl::StatusOr<kvs::JoinAnswer> answer = join_(this, *request);
  if (!answer.ok()) co_return answer.status();
  lock_id_ = answer->lock_id;
  context->response.clear();
  transport::AppendWire(&context->response, *answer);
  co_return absl::OkStatus();
}

Task<absl::StatusOr<bool>> LockControlConnection::Ask(kvs::LockControl question, RemoteWord word,
                                                      RemoteWord other,
                                                      std::vector<uint32_t> dead) {
  const std::string request = kvs::EncodeLockQuestion(word, other, dead);
  std::string response;
  const absl::Status status =
      co_await rpc_.Call(static_cast<uint16_t>(question), request, "", &response);
  if (!status.ok()) co_return absl::UnavailableError(status.message());
  const absl::StatusOr<bool> answer = kvs::ParseLockQuestionAnswer(response);
  if (!answer.ok()) co_return absl::UnavailableError(answer.status().message());
  co_return answer;
}

void LockControlConnection::OnCompletion(const transport::Completion& completion) {
  link_.channel()->OnCompletion(completion);
}

bool LockControlConnection::Poll() {
  const bool worked = rpc_.Poll();
  if (is_broken_) return worked;
  is_broken_ = !link_.channel()->status().ok() ||
               link_.queue_pair()->state() == transport::QueuePairState::kBroken;
  if (!is_broken_) return worked;
  rpc_.Fail(absl::UnavailableError("the connection has broken"));
  on_broken_();
  return true;
}

}  // namespace acre::server
