#include "client/lock_answerer.h"

#include <string>
#include <utility>

#include "glog/logging.h"
#include "kvs/wire.h"
#include "runtime/deadline.h"
#include "transport/server_place.h"
#include "transport/wire_bytes.h"

namespace acre {

LockAnswerer::LockAnswerer(Scheduler* scheduler, Options options)
    : scheduler_(scheduler), options_(std::move(options)) {}

LockAnswerer::~LockAnswerer() {
  joining_.Cancel();
  if (rpc_ != nullptr) {
    scheduler_->RemovePoller(this);
    port_->SetSink(link_.queue_pair(), nullptr);
    rpc_.reset();
  }
  link_.Close();
  door_.reset();
}

void LockAnswerer::Join(std::function<void(absl::StatusOr<kvs::JoinAnswer>)> on_joined) {
  joining_ = scheduler_->Spawn(JoinNow(std::move(on_joined)));
}

Task<void> LockAnswerer::JoinNow(std::function<void(absl::StatusOr<kvs::JoinAnswer>)> on_joined) {
  absl::StatusOr<kvs::JoinAnswer> answer = co_await Connect();
  on_joined(std::move(answer));
}

Task<absl::StatusOr<kvs::JoinAnswer>> LockAnswerer::Connect() {
  auto queue = options_.fabric->CreateCompletionQueue();
  if (!queue.ok()) co_return queue.status();
  completion_queue_ = *std::move(queue);
  port_ = std::make_unique<transport::Port>(scheduler_, completion_queue_.get());
  transport::ConnectOptions connect;
  connect.server = options_.server;
  connect.layout_version = kvs::kLayoutVersion;
  connect.credentials = options_.credentials;
  connect.view = options_.view;
  connect.process_id = options_.process_id;
  connect.process_id_generation = options_.generation;
  connect.is_control = true;
  connect.fabrics = {{options_.fabric, port_.get()}};
  connect.channel.region_id = options_.region_id;
  connect.channel.random_seed = scheduler_->random().Next();
  connect.channel.peer_name = options_.server.ToString();
  connect.deadline_ns = options_.deadline_ns;
  absl::StatusOr<transport::ConnectedPeer> peer =
      co_await transport::ConnectPeer(std::move(connect));
  if (!peer.ok()) co_return peer.status();
  auto door = PeerDoor::Create({.fabric = options_.fabric,
                                .port = port_.get(),
                                .connections_max = kNeighboursMax,
                                .host = peer->local_host});
  if (!door.ok()) co_return door.status();
  door_ = *std::move(door);
  link_ = std::move(peer->link);
  transport::RpcHandler* const handler = this;
  rpc_ = std::make_unique<transport::RpcPeer>(scheduler_, link_.channel(), handler, options_.view);
  port_->SetSink(link_.queue_pair(), this);
  scheduler_->AddPoller(this);
  const std::string endpoint = door_->endpoint();
  const std::string request = kvs::EncodeJoin({options_.descriptors_count, endpoint});
  std::string response;
  Task<absl::Status> call =
      rpc_->Call(static_cast<uint16_t>(kvs::LockControl::kJoin), request, "", &response);
  const absl::Status status =
      co_await WithDeadline(*scheduler_, options_.deadline_ns, std::move(call));
  if (!status.ok()) co_return status;
  const absl::StatusOr<kvs::JoinAnswer> answer = kvs::ParseJoinAnswer(response);
  if (!answer.ok()) co_return absl::DataLossError(answer.status().message());
  co_return answer;
}

absl::Status LockAnswerer::Serve(RemoteDescriptors* descriptors, const kvs::LockTicket& ticket) {
  descriptors_ = descriptors;
  return door_->Serve(descriptors, ticket);
}

Task<absl::Status> LockAnswerer::Handle(transport::RpcContext* context) {
  if (context->view != options_.view) {
    co_return transport::OtherView(options_.view, context->view);
  }
  const absl::StatusOr<kvs::LockQuestion> question = kvs::ParseLockQuestion(context->request);
  if (!question.ok()) co_return question.status();
  const absl::StatusOr<bool> answer =
      Answer(static_cast<kvs::LockControl>(context->method), *question);
  if (!answer.ok()) co_return answer.status();
  context->response.clear();
  transport::AppendWire(&context->response, kvs::LockQuestionAnswer{*answer ? uint64_t{1} : 0});
  co_return absl::OkStatus();
}

absl::StatusOr<bool> LockAnswerer::Answer(kvs::LockControl method,
                                          const kvs::LockQuestion& question) {
  // Nobody has a place in a queue before it serves.
  if (descriptors_ == nullptr) return absl::FailedPreconditionError("it takes no locks yet");
  // Nothing of theirs lands from here on: what is answered stays true.
  door_->CloseTo(descriptors_->process_id(), question.dead);
  switch (method) {
    case kvs::LockControl::kStandBy:
      return descriptors_->StandBy(question.word, question.dead);
    case kvs::LockControl::kSetSuccessor:
      descriptors_->SetSuccessor(question.word, question.other);
      return true;
    case kvs::LockControl::kHasGrant:
      return descriptors_->HasGrant(question.word);
    case kvs::LockControl::kGrantLeadership:
      descriptors_->GrantLeadership(question.word);
      return true;
    case kvs::LockControl::kHasLeft:
      return descriptors_->HasLeft(question.word);
    case kvs::LockControl::kJoin:
      break;
  }
  return absl::UnimplementedError("no such question");
}

void LockAnswerer::OnCompletion(const transport::Completion& completion) {
  link_.channel()->OnCompletion(completion);
}

bool LockAnswerer::Poll() {
  const bool worked = rpc_->Poll();
  if (has_failed_) return worked;
  const bool is_broken = !link_.channel()->status().ok() ||
                         link_.queue_pair()->state() == transport::QueuePairState::kBroken;
  if (!is_broken) return worked;
  // The home gives us up as well, and then our other connection breaks, too.
  has_failed_ = true;
  rpc_->Fail(absl::UnavailableError("the control connection has broken"));
  return true;
}

}  // namespace acre
