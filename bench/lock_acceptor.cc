#include "bench/lock_acceptor.h"

#include <sys/epoll.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace acre::bench {

LockAcceptor::LockAcceptor(const LockLoadOptions* load, transport::Fabric* fabric, Grant grant)
    : load_(*load),
      fabric_(fabric),
      grant_(std::move(grant)),
      // Never busy: that is for those who have something to do.
      scheduler_({.clock = load->clock, .name = "acceptor"}) {}

LockAcceptor::~LockAcceptor() {
  scheduler_.DetachFromThread();
  if (listener_ != nullptr) scheduler_.UnwatchFd(listener_->fd());
  for (const auto& queue_pair : queue_pairs_) port_->Forget(queue_pair.get());
  queue_pairs_.clear();
  port_.reset();
}

absl::Status LockAcceptor::Open() {
  auto queue = fabric_->CreateCompletionQueue();
  if (!queue.ok()) return queue.status();
  queue_ = *std::move(queue);
  port_ = std::make_unique<transport::Port>(&scheduler_, queue_.get());
  auto listener = fabric_->Listen();
  if (!listener.ok()) return listener.status();
  listener_ = *std::move(listener);
  const absl::Status status =
      scheduler_.WatchFd(listener_->fd(), EPOLLIN, [this](uint32_t) { AcceptAll(); });
  if (!status.ok()) return status;
  scheduler_.DetachFromThread();  // For the thread of Serve().
  return absl::OkStatus();
}

void LockAcceptor::AcceptAll() {
  while (const auto request = listener_->Poll()) {
    absl::Status status = Accept(request.get());
    if (status.ok()) continue;
    mutex_.Lock();
    status_ = std::move(status);
    mutex_.Unlock();
  }
}

absl::Status LockAcceptor::Accept(transport::ConnectionRequest* request) {
  uint32_t thread = 0;
  if (!absl::SimpleAtoi(request->private_data(), &thread) || thread >= load_.threads_count()) {
    return absl::DataLossError(absl::StrCat(request->peer(), " connects, and is none of ours"));
  }
  auto accepted = request->Accept(queue_.get(), "");
  if (!accepted.ok()) return accepted.status();
  queue_pairs_.push_back(*std::move(accepted));
  const absl::StatusOr<LockKeys> keys = grant_(queue_pairs_.back().get(), thread);
  if (!keys.ok()) return keys.status();
  mutex_.Lock();
  granted_.emplace_back(thread, *keys);
  mutex_.Unlock();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<LockKeys>> LockAcceptor::Keys() {
  std::vector<LockKeys> keys;
  mutex_.Lock();
  const absl::Status status = status_;
  if (granted_.size() == load_.threads_count()) {
    keys.resize(granted_.size());
    for (const auto& [thread, granted] : granted_) keys[thread] = granted;
  }
  mutex_.Unlock();
  if (!status.ok()) return status;
  return keys;
}

}  // namespace acre::bench
