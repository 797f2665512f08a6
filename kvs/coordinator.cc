// Names, numbers, and attempts one after the other. How one is committed is in coordinator_commit.cc.

#include "kvs/coordinator.h"

#include <utility>

#include "absl/types/optional.h"
#include "kvs/transaction_attempts.h"

namespace acre::kvs {

Coordinator::Coordinator(Scheduler* scheduler, TransactionHomes* homes,
                         uint64_t operation_timeout_ns)
    : scheduler_(scheduler),
      homes_(homes),
      operation_timeout_ns_(operation_timeout_ns),
      random_(homes->NewThreadNumber()),
      hold_given_back_(scheduler) {}

Coordinator::~Coordinator() {
  for (SpawnHandle& task : commits_) task.Cancel();
  for (SpawnHandle& task : releasing_) task.Cancel();
}

std::unique_ptr<Transaction> Coordinator::Begin() {
  return std::unique_ptr<Transaction>(new Transaction(this));
}

// ---- Names and numbers.

bool Coordinator::LookAtLink(size_t server, const std::shared_ptr<TransactionLink>& link) {
  bool is_other = thread_.process_id == 0 || thread_.view != homes_->view();
  if (!is_other && server < links_.size()) {
    is_other = links_[server] != nullptr && links_[server] != link;
  }
  if (is_other) Renew();
  if (server >= links_.size()) links_.resize(server + 1);
  links_[server] = link;
  return is_other;
}

void Coordinator::Renew() {
  thread_ = {homes_->view(), homes_->process_id(), homes_->NewThreadNumber()};
  last_sequence_ = 0;
  unfinished_.clear();
  links_.clear();
}

uint64_t Coordinator::FinishedBelow() const {
  return unfinished_.empty() ? last_sequence_ + 1 : *unfinished_.begin();
}

// ---- Attempts.

Task<absl::Status> Coordinator::Run(const AsyncTransactionFunction& function,
                                    const RunOptions& options) {
  TransactionAttempts attempts(this, options);
  for (;;) {
    absl::Status said = co_await function(attempts.Begin());
    absl::optional<absl::Status> result = co_await attempts.End(std::move(said));
    if (result.has_value()) co_return *std::move(result);
  }
}

void Coordinator::Release(Task<void> release) {
  releasing_.remove_if([](const SpawnHandle& task) { return task.done(); });
  releasing_.push_back(scheduler_->Spawn(std::move(release)));
}

}  // namespace acre::kvs
