#include "kvs/transaction_hold.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "lock/pause.h"

namespace acre::kvs {

TransactionHold::~TransactionHold() {
  timer_.Cancel();
  if (waiting_ != nullptr) locks_->Abandon(waiting_);
  // Newest first, as in a LockSet.
  for (; !held_.empty(); held_.pop_back()) {
    holders_->Clear(held_.back().lock, holder());
    locks_->Release(held_.back().place);
  }
}

Task<absl::Status> TransactionHold::TakeAll(std::vector<MappedLock> wanted, uint64_t deadline_ns) {
  CHECK(held_.empty() && waiting_ == nullptr) << "a hold takes its locks once";
  Scheduler* const scheduler = locks_->scheduler();
  held_.reserve(wanted.size());
  for (const MappedLock& lock : wanted) {
    CHECK(held_.empty() || held_.back().lock.bits() < lock.address.bits())
        << "locks are taken in address order";
    waiting_ = locks_->Start(lock);
    if (waiting_ == nullptr) {
      co_return absl::ResourceExhaustedError(
          "more locks are held and awaited at once than this server has places for: try again");
    }
    Pause pause;
    while (!locks_->Advance(waiting_)) {
      if (is_ended_) co_return absl::AbortedError("the hold was released while it was awaited");
      if (scheduler->NowNs() >= deadline_ns) {
        co_return absl::DeadlineExceededError(
            "others kept the transaction's records locked for longer than it was to wait");
      }
      co_await pause.Take(scheduler);
    }
    held_.push_back({std::exchange(waiting_, nullptr), lock.address});
    holders_->Set(lock.address, holder());
  }
  if (is_ended_) co_return absl::AbortedError("the hold was released while it was awaited");
  is_granted_ = true;
  co_return absl::OkStatus();
}

bool TransactionHold::Holds(GlobalAddress lock) const {
  const auto at = std::lower_bound(
      held_.begin(), held_.end(), lock,
      [](const Held& held, GlobalAddress wanted) { return held.lock.bits() < wanted.bits(); });
  return at != held_.end() && at->lock == lock;
}

}  // namespace acre::kvs
