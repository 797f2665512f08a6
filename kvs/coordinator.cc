// Names, numbers, and attempts one after the other. How one is committed is in coordinator_commit.cc.

#include "kvs/coordinator.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/types/optional.h"
#include "kvs/transaction_attempts.h"
#include "kvs/transaction_wire.h"

namespace acre::kvs {
namespace {

// Between two attempts to have a home let go of an old name.
constexpr uint64_t kCloseNsMin = 1'000'000;
constexpr uint64_t kCloseNsMax = 1'000'000'000;
// Of contended keys, at a time.
constexpr size_t kReportsMax = 64;

}  // namespace

Coordinator::Coordinator(Scheduler* scheduler, TransactionHomes* homes,
                         uint64_t operation_timeout_ns)
    : scheduler_(scheduler),
      homes_(homes),
      operation_timeout_ns_(operation_timeout_ns),
      random_(homes->NewThreadNumber()),
      hold_given_back_(scheduler) {}

Coordinator::~Coordinator() {
  for (SpawnHandle& task : aside_) task.Cancel();
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
  for (std::shared_ptr<TransactionLink>& link : links_) {
    if (link != nullptr) RunAside(CloseAt(std::move(link), thread_));
  }
  thread_ = {homes_->view(), homes_->process_id(), homes_->NewThreadNumber()};
  last_sequence_ = 0;
  unfinished_.clear();
  links_.clear();
}

uint64_t Coordinator::FinishedBelow(const TransactionThread& thread) const {
  if (thread != thread_) return 0;
  return unfinished_.empty() ? last_sequence_ + 1 : *unfinished_.begin();
}

Task<void> Coordinator::CloseAt(std::shared_ptr<TransactionLink> link, TransactionThread thread) {
  const std::string request = EncodeId({thread, 0});
  std::string response;
  // FailedPrecondition: something is open there, and is being brought to its end.
  for (uint64_t wait_ns = kCloseNsMin;; wait_ns = std::min(2 * wait_ns, kCloseNsMax)) {
    const absl::Status closed = co_await link->Call(Method::kTransactionClose, request, &response,
                                                    scheduler_->NowNs() + operation_timeout_ns_);
    if (!absl::IsFailedPrecondition(closed)) co_return;
    co_await scheduler_->SleepUntil(scheduler_->NowNs() + wait_ns);
  }
}

void Coordinator::ReportContended(const std::shared_ptr<TransactionLink>& link,
                                  absl::string_view key) {
  if (reports_count_ == kReportsMax) return;
  ++reports_count_;
  RunAside(ReportAt(link, std::string(key.substr(0, kContendedKeyBytesMax))));
}

Task<void> Coordinator::ReportAt(std::shared_ptr<TransactionLink> link, std::string key) {
  // Lost with the connection: no matter.
  (void)co_await link->Notify(Method::kTransactionContended, std::move(key));
  --reports_count_;
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

void Coordinator::RunAside(Task<void> task) {
  aside_.remove_if([](const SpawnHandle& each) { return each.done(); });
  aside_.push_back(scheduler_->Spawn(std::move(task)));
}

}  // namespace acre::kvs
