#include <sys/epoll.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "glog/logging.h"
#include "lock/kill/remote_child.h"
#include "runtime/quiet_thread.h"

namespace acre::lock_kill {

ChildService::ChildService(uint32_t process_id, transport::Fabric* fabric,
                           RemoteDescriptors* descriptors, Control* control, Clock* clock)
    : descriptors_(descriptors),
      control_(control),
      scheduler_({.clock = clock, .seed = process_id, .name = "service"}) {
  auto queue = fabric->CreateCompletionQueue();
  CHECK(queue.ok()) << queue.status();
  queue_ = *std::move(queue);
  port_ = std::make_unique<transport::Port>(&scheduler_, queue_.get());
  auto listener = fabric->Listen();
  CHECK(listener.ok()) << listener.status();
  listener_ = *std::move(listener);
}

ChildService::~ChildService() {
  CHECK(!thread_.has_value());
  for (const auto& [id, queue_pair] : accepted_) port_->Forget(queue_pair.get());
  accepted_.clear();
}

void ChildService::Start(std::function<void(const Message&)> to_app) {
  to_app_ = std::move(to_app);
  for (const auto& [fd, on_ready] : {std::pair(control_->fd(), &ChildService::OnControl),
                                     std::pair(listener_->fd(), &ChildService::OnConnect)}) {
    const absl::Status watched =
        scheduler_.WatchFd(fd, EPOLLIN, [this, call = on_ready](uint32_t) { (this->*call)(); });
    CHECK(watched.ok()) << watched;
  }
  Message ready;
  ready.kind = MessageKind::kReady;
  ready.SetText(listener_->endpoint());
  CHECK(control_->Send(ready));
  scheduler_.DetachFromThread();
  absl::StatusOr<pthread_t> thread = StartQuietThread([this] { scheduler_.Run(); });
  CHECK(thread.ok()) << thread.status();
  thread_ = *thread;
}

void ChildService::Join() {
  scheduler_.Stop();
  CHECK_EQ(pthread_join(*thread_, nullptr), 0);
  thread_.reset();
  scheduler_.DetachFromThread();
}

void ChildService::OnConnect() {
  while (const auto request = listener_->Poll()) {
    uint32_t id = 0;
    if (!absl::SimpleAtoi(request->private_data(), &id)) continue;
    if (std::find(dead_.begin(), dead_.end(), id) != dead_.end()) continue;
    auto accepted = request->Accept(queue_.get(), "");
    if (!accepted.ok()) continue;  // It has died.
    const auto key = (*accepted)->Grant(descriptors_->region(), transport::kRightWrite);
    if (!key.ok()) continue;
    Message message;
    message.kind = MessageKind::kKeyFor;
    message.process_id = id;
    message.word = key->bits;
    CHECK(control_->Send(message));
    accepted_.emplace_back(id, *std::move(accepted));
  }
}

void ChildService::CloseTo(absl::Span<const uint32_t> dead) {
  dead_.insert(dead_.end(), dead.begin(), dead.end());
  const auto is_dead = [&](const auto& of) {
    if (std::find(dead.begin(), dead.end(), of.first) == dead.end()) return false;
    port_->Forget(of.second.get());
    return true;
  };
  accepted_.erase(std::remove_if(accepted_.begin(), accepted_.end(), is_dead), accepted_.end());
}

bool ChildService::Answer(const Message& question) {
  Message answer;
  answer.kind = MessageKind::kAnswer;
  answer.sequence = question.sequence;
  const RemoteWord word = RemoteWord::FromBits(question.word);
  switch (question.kind) {
    case MessageKind::kStandBy:
      CloseTo(question.dead_ids());
      answer.word = descriptors_->StandBy(word, question.dead_ids()) ? 1 : 0;
      break;
    case MessageKind::kHasGrant:
      CloseTo(question.dead_ids());
      answer.word = descriptors_->HasGrant(word) ? 1 : 0;
      break;
    case MessageKind::kSuccessor:
      descriptors_->SetSuccessor(word, RemoteWord::FromBits(question.other));
      break;
    case MessageKind::kLeadership:
      descriptors_->GrantLeadership(word);
      break;
    default:
      return false;
  }
  CHECK(control_->Send(answer));
  return true;
}

void ChildService::OnControl() {
  Message message;
  while (control_->Receive(&message)) {
    if (message.kind == MessageKind::kDead) CloseTo(message.dead_ids());
    // A neighbour's death is the app thread's to know, too: it may be about to write to it.
    const bool is_question = Answer(message);
    if (!is_question || message.dead_count > 0) to_app_(message);
  }
}

}  // namespace acre::lock_kill
