#include "server/worker_transactions.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/planted_bug.h"
#include "server/counter.h"

namespace acre::server {

using Answer = kvs::TransactionVote::Answer;
using Outcome = kvs::TransactionOutcome;

WorkerTransactions::WorkerTransactions(Options options)
    : options_(std::move(options)),
      home_(options_.table, options_.scheduler, options_.holders, options_.contended),
      counters_(),
      watch_(options_.scheduler->Spawn(Watch())) {}

WorkerTransactions::~WorkerTransactions() { watch_.Cancel(); }

absl::Status WorkerTransactions::Bind(const kvs::TransactionThread& thread, uint64_t connection) {
  absl::Status status = options_.threads->Bind(thread, options_.worker, connection);
  if (status.ok()) coordinators_[thread].connection = connection;
  return status;
}

void WorkerTransactions::StoreOpenCount() {
  counters_.open.Store(home_.open_count(), std::memory_order_relaxed);
}

void WorkerTransactions::CountVote(const kvs::TransactionVote& vote) {
  switch (vote.answer) {
    case Answer::kYes:
      return;
    case Answer::kLocked:
      return AddToCounter(&counters_.votes_locked);
    case Answer::kChanged:
      return AddToCounter(&counters_.votes_changed);
    case Answer::kNoMemory:
      return AddToCounter(&counters_.votes_no_memory);
    case Answer::kInvalid:
      return AddToCounter(&counters_.votes_invalid);
    case Answer::kOver:
      return AddToCounter(&counters_.votes_over);
  }
}

kvs::TransactionVote WorkerTransactions::Lock(const kvs::TransactionRequest& request) {
  kvs::TransactionVote vote =
      home_.Lock(request.id, request.participants, request.writes, request.misses, request.hold);
  CountVote(vote);
  StoreOpenCount();
  return vote;
}

kvs::TransactionVote WorkerTransactions::CommitAtOnce(const kvs::TransactionRequest& request) {
  kvs::TransactionVote vote =
      home_.CommitAtOnce(request.id, request.writes, request.misses, request.reads, request.hold);
  CountVote(vote);
  if (vote.is_yes()) AddToCounter(&counters_.committed);
  return vote;
}

void WorkerTransactions::Commit(const kvs::TransactionId& id) {
  const absl::Status status = home_.Commit(id);
  AddToCounter(status.ok() ? &counters_.committed : &counters_.refused);
  VLOG_IF(1, !status.ok()) << status;
  StoreOpenCount();
}

void WorkerTransactions::Abort(const kvs::TransactionId& id) {
  const uint64_t open_before = home_.open_count();
  const absl::Status status = home_.Abort(id);
  if (!status.ok()) AddToCounter(&counters_.refused);
  VLOG_IF(1, !status.ok()) << status;
  AddToCounter(&counters_.aborted, open_before - home_.open_count());
  StoreOpenCount();
}

bool WorkerTransactions::HasOtherHome(
    absl::Span<const kvs::TransactionParticipant> participants) const {
  for (const kvs::TransactionParticipant& participant : participants) {
    if (!(participant == options_.self)) return true;
  }
  return false;
}

bool WorkerTransactions::TellIfLost(const kvs::TransactionThread& thread) {
  if (!HasOtherHome(home_.ParticipantsOf(thread))) return false;
  if (lost_ != nullptr) lost_->OnLost(thread);
  return true;
}

void WorkerTransactions::OnConnectionEnd(const kvs::TransactionThread& thread, const Shown& shown) {
  coordinators_[thread].connection = 0;
  coordinators_[thread].shown = shown;
  home_.CloseThread(thread);
  home_.ReleaseHoldsOf(thread);
  options_.threads->EndConnection(thread);
  bool was_open = false;
  for (const kvs::OpenTransaction& open : home_.OpenOf(thread)) {
    was_open = true;
    if (HasOtherHome(open.participants)) continue;
    // Its COMMIT would have come by that connection: it never will, and nobody else knows of it.
    Abort(open.id);
  }
  const bool is_lost = TellIfLost(thread);
  if (was_open || is_lost) AddToCounter(&counters_.coordinators_lost);
  if (is_lost) return;
  const absl::Status forgotten = Forget(thread);
  CHECK(forgotten.ok()) << "what had no other home was ended: " << forgotten;
}

void WorkerTransactions::Fence(const kvs::TransactionThread& thread) {
  const auto known = coordinators_.find(thread);
  if (known == coordinators_.end() || known->second.connection == 0) return;
  options_.close_connection(known->second.connection);
}

Outcome WorkerTransactions::Promise(const kvs::TransactionId& id) {
  const Outcome before = home_.Query(id);
  if (before == Outcome::kCommitted || before == Outcome::kAborted) return before;
  if (before == Outcome::kLocked && !IsPlanted(PlantedBug::kPromiseWithoutFence)) {
    Fence(id.coordinator);
  }
  const absl::optional<TransactionThreads::Place> place = options_.threads->Close(id.coordinator);
  // Nothing else was kept of it: the fence has forgotten it.
  if (place.has_value() && place->is_over) return TransactionThreads::OutcomeOf(*place, id);
  home_.CloseThread(id.coordinator);
  const Outcome outcome = PromiseUnfenced(id);
  (void)TellIfLost(id.coordinator);
  return outcome;
}

Outcome WorkerTransactions::PromiseUnfenced(const kvs::TransactionId& id) {
  const Outcome before = home_.Query(id);
  const Outcome outcome = home_.Promise(id);
  if (outcome == Outcome::kPromised && before != outcome) AddToCounter(&counters_.promised);
  return outcome;
}

absl::Status WorkerTransactions::Resolve(const kvs::TransactionId& id, bool commit) {
  const uint64_t open_before = home_.open_count();
  absl::Status status = home_.Resolve(id, commit);
  const uint64_t ended = open_before - home_.open_count();
  AddToCounter(&counters_.resolved, ended);
  AddToCounter(commit ? &counters_.committed : &counters_.aborted, ended);
  StoreOpenCount();
  return status;
}

absl::Status WorkerTransactions::Close(const kvs::TransactionThread& thread) {
  home_.CloseThread(thread);
  (void)TellIfLost(thread);
  const std::vector<kvs::OpenTransaction> open = home_.OpenOf(thread);
  if (open.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(open.front().id.ToString(), " is open here, and ", open.size() - 1, " more"));
}

absl::Status WorkerTransactions::Forget(const kvs::TransactionThread& thread) {
  const auto known = coordinators_.find(thread);
  if (known == coordinators_.end()) return absl::OkStatus();
  if (known->second.connection != 0) {
    return absl::FailedPreconditionError("a coordinator whose connection is still there");
  }
  const Shown& shown = known->second.shown;
  std::vector<uint64_t> committed;
  const uint64_t count = std::min(shown.highest - std::min(shown.highest, shown.finished_below) + 1,
                                  kvs::kTransactionWindow);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t sequence = shown.finished_below + i;
    if (home_.Query({thread, sequence}) == Outcome::kCommitted) committed.push_back(sequence);
  }
  absl::Status status = home_.ForgetThread(thread);
  if (!status.ok()) return status;
  options_.threads->Forget(thread, std::move(committed), shown.finished_below);
  coordinators_.erase(known);
  return absl::OkStatus();
}

std::vector<TransactionWaiting> WorkerTransactions::Waiting() const {
  std::vector<TransactionWaiting> waiting;
  for (const auto& [thread, coordinator] : coordinators_) {
    for (kvs::OpenTransaction& open : home_.OpenOf(thread)) {
      const auto looks = coordinator.looks.find(open.id.sequence);
      const uint64_t age_ns = looks == coordinator.looks.end() ? 0 : looks->second * kLookNs;
      waiting.push_back({std::move(open), age_ns, coordinator.connection != 0});
    }
  }
  return waiting;
}

Task<void> WorkerTransactions::Watch() {
  for (;;) {
    co_await options_.scheduler->SleepFor(kLookNs);
    Look();
  }
}

void WorkerTransactions::Look() {
  const bool is_any_open = home_.open_count() > 0;
  if (!is_any_open && !was_any_open_) return;
  was_any_open_ = is_any_open;
  for (auto& [thread, coordinator] : coordinators_) {
    absl::flat_hash_map<uint64_t, uint32_t> looks;
    bool is_given_up = false;
    for (const kvs::OpenTransaction& open : home_.OpenOf(thread)) {
      const auto before = coordinator.looks.find(open.id.sequence);
      const uint32_t count = before == coordinator.looks.end() ? 1 : before->second + 1;
      looks[open.id.sequence] = count;
      if (count <= kLooksMax || coordinator.connection == 0 || is_given_up) continue;
      is_given_up = true;
      LOG(WARNING) << open.id.ToString() << " holds its locks for more than "
                   << kLooksMax * kLookNs / 1'000'000'000
                   << " s: its coordinator, which is connected, is given up";
      // Not from here: it changes what we go through.
      options_.scheduler->Post(
          [this, connection = coordinator.connection] { options_.close_connection(connection); });
    }
    coordinator.looks = std::move(looks);
  }
}

}  // namespace acre::server
