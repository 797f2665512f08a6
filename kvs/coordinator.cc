// Names, numbers, and attempts one after the other. How one is committed is in coordinator_commit.cc.

#include "kvs/coordinator.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/types/optional.h"
#include "kvs/transaction_attempts.h"
#include "kvs/transaction_wire.h"
#include "runtime/deadline.h"

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
      number_freed_(scheduler),
      hold_given_back_(scheduler) {}

Coordinator::~Coordinator() {
  // One by one off the list: what ends with a task may begin another one (Close()), which is not to outlive this either.
  while (!aside_.empty()) {
    SpawnHandle task = std::move(aside_.front());
    aside_.pop_front();
    task.Cancel();
  }
}

std::unique_ptr<Transaction> Coordinator::Begin() {
  return std::unique_ptr<Transaction>(new Transaction(this));
}

// ---- Names and numbers.

bool Coordinator::LookAtLink(size_t server, const std::shared_ptr<TransactionLink>& link) {
  bool is_other = name_ == nullptr || name_->thread.view != homes_->view();
  if (!is_other && server < name_->links.size()) {
    is_other = name_->links[server] != nullptr && name_->links[server] != link;
  }
  if (is_other) {
    RenewFrom(name_.get());
    name_ = std::make_shared<CoordinatorName>();
    name_->thread = {homes_->view(), homes_->process_id(), homes_->NewThreadNumber()};
  }
  if (server >= name_->links.size()) name_->links.resize(server + 1);
  name_->links[server] = link;
  return is_other;
}

void Coordinator::RenewFrom(const CoordinatorName* name) {
  if (name == nullptr || name != name_.get()) return;
  const std::shared_ptr<CoordinatorName> old = std::exchange(name_, nullptr);
  // Else with the last of its transactions. What is still under way would be given up by homes that are told now.
  if (old->unfinished.empty()) Close(old);
}

void Coordinator::Lose(Work* work) {
  work->name->Lose(work->id.sequence);
  RenewFrom(work->name.get());
}

void Coordinator::Close(const std::shared_ptr<CoordinatorName>& name) {
  for (std::shared_ptr<TransactionLink>& link : name->links) {
    if (link != nullptr) RunAside(CloseAt(std::move(link), name->thread));
  }
  name->links.clear();
}

Task<void> Coordinator::CloseAt(std::shared_ptr<TransactionLink> link, TransactionThread thread) {
  const std::string request = EncodeId({thread, 0});
  std::string response;
  for (uint64_t wait_ns = kCloseNsMin;; wait_ns = std::min(2 * wait_ns, kCloseNsMax)) {
    const absl::Status closed = co_await link->Call(Method::kTransactionClose, request, &response,
                                                    scheduler_->NowNs() + operation_timeout_ns_);
    // Unavailable: the connection is gone, and its end does the same. Others pass.
    if (closed.ok() || absl::IsUnavailable(closed)) co_return;
    co_await scheduler_->SleepUntil(scheduler_->NowNs() + wait_ns);
  }
}

Task<void> Coordinator::NumberFreed() { co_await number_freed_.Wait(); }

Task<absl::Status> Coordinator::AwaitNumber(uint64_t deadline_ns) {
  // One home that is slow holds the lowest number up; the others would refuse what is too far ahead of it.
  while (name_ != nullptr && name_->IsFull()) {
    Task<void> freed = NumberFreed();
    absl::Status waited = co_await WithDeadline(*scheduler_, deadline_ns, std::move(freed));
    if (!waited.ok()) co_return waited;
  }
  co_return absl::OkStatus();
}

void Coordinator::SettleLinks(const std::vector<std::shared_ptr<TransactionLink>>& links) {
  // With each new name the links are looked at anew.
  bool is_settled = false;
  while (!is_settled) {
    is_settled = true;
    for (size_t server = 0; server < links.size(); ++server) {
      if (links[server] != nullptr && LookAtLink(server, links[server])) is_settled = false;
    }
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
