#include "kvs/transaction_attempts.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/coordinator.h"
#include "kvs/hash.h"
#include "kvs/key_share.h"
#include "kvs/transaction_wire.h"
#include "runtime/deadline.h"

namespace acre::kvs {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kBackOffNsMin = 1'000;
constexpr uint64_t kBackOffNsMax = 1 * kNsPerMs;
// How long locks are waited for, in all, before a transaction runs under them.
constexpr uint64_t kHoldWaitNsMax = 1'000 * kNsPerMs;

}  // namespace

TransactionAttempts::TransactionAttempts(Coordinator* coordinator, const RunOptions& options)
    : coordinator_(coordinator),
      options_(options),
      deadline_ns_(coordinator->scheduler_->NowNs() +
                   (options.timeout_ms > 0 ? static_cast<uint64_t>(options.timeout_ms) * kNsPerMs
                                           : coordinator->operation_timeout_ns_)),
      transaction_(coordinator->Begin()) {}

TransactionAttempts::~TransactionAttempts() {
  if (Task<void> release = GiveBackHold()) coordinator_->RunAside(std::move(release));
}

Transaction* TransactionAttempts::Begin() {
  absl::optional<uint64_t> hold;
  if (hold_number_ != 0) hold = hold_number_;
  transaction_->Reset(attempts_, hold);
  return transaction_.get();
}

Task<absl::optional<absl::Status>> TransactionAttempts::End(absl::Status said) {
  absl::optional<absl::Status> result = co_await EndAttempt(std::move(said));
  if (result.has_value()) {
    if (options_.result != nullptr) {
      *options_.result = {attempts_, transaction_->reason(), transaction_->is_outcome_unknown()};
    }
    // Here and now: a blocking caller may not come back to run the scheduler.
    if (Task<void> release = GiveBackHold()) co_await std::move(release);
  }
  co_return result;
}

Task<absl::optional<absl::Status>> TransactionAttempts::EndAttempt(absl::Status said) {
  ++attempts_;
  absl::Status status = std::move(said);
  // One that was aborted as it ran is run again, whatever its function made of that.
  if (transaction_->committed_.has_value()) {
    status = *transaction_->committed_;
  } else if (absl::IsAborted(transaction_->status_)) {
    status = transaction_->status_;
  } else if (status.ok()) {
    status = co_await transaction_->Commit();
  }
  const AbortReason::Phase phase = transaction_->reason().phase;
  if (!absl::IsAborted(status) || phase == AbortReason::Phase::kNone) co_return status;
  Scheduler* const scheduler = coordinator_->scheduler_;
  if (phase == AbortReason::Phase::kFenced) co_await coordinator_->homes_->Refresh(deadline_ns_);
  if (scheduler->NowNs() >= deadline_ns_) {
    co_return absl::DeadlineExceededError(
        absl::StrCat("given up after ", attempts_, " attempts: ", status.message()));
  }
  if (attempts_ < options_.attempts_before_locks) {
    co_await BackOff();
    co_return absl::nullopt;
  }
  // Under locks nobody else is in the way: if it failed all the same a home is gone, or it touches other keys each time. Who
  // does not wait then keeps this thread from finding out.
  if (Task<void> release = GiveBackHold()) {
    co_await std::move(release);
    co_await BackOff();
  }
  const absl::Status held = co_await TakeHold();
  if (!held.ok()) co_await BackOff();
  co_return absl::nullopt;
}

Task<void> TransactionAttempts::BackOff() {
  const uint64_t bound_ns =
      attempts_ < 10 ? std::min(kBackOffNsMin << attempts_, kBackOffNsMax) : kBackOffNsMax;
  Scheduler* const scheduler = coordinator_->scheduler_;
  const uint64_t wait_ns = coordinator_->random_.Uniform(bound_ns) + 1;
  co_await scheduler->SleepUntil(scheduler->NowNs() + wait_ns);
}

// ---- Locks before it runs.

Task<void> TransactionAttempts::HoldGivenBack() { co_await coordinator_->hold_given_back_.Wait(); }

absl::Status TransactionAttempts::GatherKeys() {
  const size_t servers_count = coordinator_->homes_->servers_count();
  if (keys_.size() != servers_count) keys_.assign(servers_count, {});
  absl::Status added = AddKeys();
  if (!absl::IsResourceExhausted(added)) return added;
  // Too many by now: those of the last attempt alone.
  keys_.assign(servers_count, {});
  return AddKeys();
}

absl::Status TransactionAttempts::AddKeys() {
  const auto add = [this](size_t server, const std::string& key) {
    std::vector<std::string>& keys = keys_[server];
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) return true;
    if (keys.size() == kTransactionHoldKeysMax) return false;
    keys.push_back(key);
    return true;
  };
  bool has_room = true;
  for (const TransactionRecord& record : transaction_->work_->records) {
    if (record.server >= keys_.size()) return absl::UnavailableError("the servers are others");
    has_room &= add(record.server, record.key);
  }
  // One that could not be read is none of its records.
  const std::string& key = transaction_->reason().key;
  if (!key.empty()) has_room &= add(KeyShare::ServerIndex(HashKey(key), keys_.size()), key);
  if (!has_room) return absl::ResourceExhaustedError("too many keys to lock them before");
  if (std::all_of(keys_.begin(), keys_.end(), [](const auto& keys) { return keys.empty(); })) {
    return absl::NotFoundError("it has touched nothing");
  }
  return absl::OkStatus();
}

Task<absl::Status> TransactionAttempts::TakeHold() {
  absl::Status status = GatherKeys();
  if (!status.ok()) co_return status;
  Scheduler* const scheduler = coordinator_->scheduler_;
  const uint64_t till_ns = std::min(deadline_ns_, scheduler->NowNs() + kHoldWaitNsMax);
  std::vector<std::shared_ptr<TransactionLink>> links(keys_.size());
  for (size_t server = 0; server < keys_.size(); ++server) {
    if (keys_[server].empty()) continue;
    absl::StatusOr<std::shared_ptr<TransactionLink>> link =
        co_await coordinator_->homes_->Link(server, till_ns);
    if (!link.ok()) co_return link.status();
    links[server] = *std::move(link);
  }
  while (coordinator_->has_hold_) {
    Task<void> given_back = HoldGivenBack();
    status = co_await WithDeadline(*scheduler, till_ns, std::move(given_back));
    if (!status.ok()) co_return status;
  }
  if (keys_.size() != coordinator_->homes_->servers_count()) {
    co_return absl::UnavailableError("the servers are others");
  }
  coordinator_->SettleLinks(links);
  coordinator_->has_hold_ = true;
  ++coordinator_->stats_.fallbacks;
  hold_name_ = coordinator_->name_;
  hold_number_ = ++hold_name_->last_sequence;
  hold_links_.assign(keys_.size(), nullptr);
  // By server, and at each by address: all that wait do so, and none of them in a circle.
  for (size_t server = 0; server < keys_.size(); ++server) {
    if (keys_[server].empty()) continue;
    hold_links_[server] = links[server];
    status = co_await HoldAt(server, till_ns);
    if (status.ok()) continue;
    if (Task<void> release = GiveBackHold()) co_await std::move(release);
    co_return status;
  }
  co_return absl::OkStatus();
}

Task<absl::Status> TransactionAttempts::HoldAt(size_t server, uint64_t till_ns) {
  const uint64_t now_ns = coordinator_->scheduler_->NowNs();
  if (now_ns >= till_ns) co_return absl::DeadlineExceededError("others have the locks");
  std::string request;
  std::string response;
  const std::vector<absl::string_view> keys(keys_[server].begin(), keys_[server].end());
  EncodeHold(hold_name_->thread, hold_number_, till_ns - now_ns, keys, &request);
  // Longer than the home waits: what it says is worth more.
  absl::Status status = co_await hold_links_[server]->Call(
      Method::kTransactionHold, request, &response, till_ns + coordinator_->operation_timeout_ns_);
  // It takes nothing more under this name.
  if (absl::IsFailedPrecondition(status)) coordinator_->RenewFrom(hold_name_.get());
  co_return status;
}

Task<void> TransactionAttempts::GiveBackHold() {
  if (hold_number_ == 0) return {};
  const TransactionId hold{hold_name_->thread, std::exchange(hold_number_, 0)};
  return Release(coordinator_, std::exchange(hold_links_, {}), hold);
}

Task<void> TransactionAttempts::Release(Coordinator* coordinator,
                                        std::vector<std::shared_ptr<TransactionLink>> links,
                                        TransactionId hold) {
  // Behind the notices, since a home takes one hold of a coordinator at a time; or when nobody awaits this any more.
  const auto given_back = absl::MakeCleanup([coordinator] {
    coordinator->has_hold_ = false;
    coordinator->hold_given_back_.NotifyOne();
  });
  const uint64_t deadline_ns =
      coordinator->scheduler_->NowNs() + coordinator->operation_timeout_ns_;
  // 0: says nothing of what is finished. It may come behind requests under another name.
  const std::string notice = EncodeNotice(hold, 0);
  for (const std::shared_ptr<TransactionLink>& link : links) {
    if (link == nullptr) continue;
    TransactionLink::Room room;
    const absl::Status reserved = co_await link->Reserve(&room, deadline_ns);
    if (!reserved.ok()) continue;  // The home ends the hold: with the connection, or by itself.
    ++coordinator->stats_.notices;
    Task<absl::Status> notify = link->Notify(Method::kTransactionRelease, std::move(room), notice);
    const absl::Status told =
        co_await WithDeadline(*coordinator->scheduler_, deadline_ns, std::move(notify));
    VLOG_IF(1, !told.ok()) << "locks of a hold are left to their home: " << told;
  }
}

}  // namespace acre::kvs
