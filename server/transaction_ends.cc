#include "server/transaction_ends.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::server {
namespace {

using kvs::OpenTransaction;
using kvs::TransactionId;
using kvs::TransactionOutcome;
using kvs::TransactionParticipant;
using kvs::TransactionThread;

std::shared_ptr<const std::string> Text(std::string text) {
  return std::make_shared<const std::string>(std::move(text));
}

}  // namespace

TransactionEnds::TransactionEnds(Scheduler* scheduler, const TransactionParticipant& self,
                                 LocalHome* local, OtherHomes* others)
    : scheduler_(scheduler),
      self_(self),
      local_(local),
      others_(others),
      being_ended_(Text("is being ended, for its coordinator is gone")),
      alive_(std::make_shared<TransactionEnds*>(this)),
      turn_free_(scheduler) {}

TransactionEnds::~TransactionEnds() {
  *alive_ = nullptr;
  std::vector<SpawnHandle> tasks;
  {
    const MutexLock lock(&mutex_);
    for (auto& [thread, lost] : lost_) tasks.push_back(std::move(lost->task));
  }
  // Not under the mutex, which what they own may take.
  for (SpawnHandle& task : tasks) task.Cancel();
}

void TransactionEnds::OnLost(const TransactionThread& thread) {
  scheduler_->Post([alive = alive_, thread] {
    if (*alive != nullptr) (*alive)->Begin(thread);
  });
}

void TransactionEnds::Begin(const TransactionThread& thread) {
  Lost* lost = nullptr;
  {
    const MutexLock lock(&mutex_);
    std::unique_ptr<Lost>& entry = lost_[thread];
    if (entry != nullptr) {
      // What was found before may have changed since: the task looks once more before it ends.
      entry->again = true;
      return;
    }
    entry = std::make_unique<Lost>();
    lost = entry.get();
  }
  // It runs from the next pass on: the entry has its handle by then.
  lost->task = scheduler_->Spawn(End(thread));
}

Task<void> TransactionEnds::End(TransactionThread thread) {
  uint64_t distance_ns = kDistanceNsMin;
  size_t open_before = 0;
  for (;;) {
    while (turns_free_ == 0) co_await turn_free_.Wait();
    --turns_free_;
    Turn turn;
    bool is_over = false;
    {
      const absl::Cleanup give_back = [this] {
        ++turns_free_;
        turn_free_.NotifyOne();
      };
      {
        const MutexLock lock(&mutex_);
        lost_.at(thread)->again = false;
      }
      is_over = co_await TakeTurn(thread, &turn);
    }
    const size_t open_now = turn.open.size();
    Publish(thread, std::move(turn));
    if (is_over) {
      const MutexLock lock(&mutex_);
      if (!lost_.at(thread)->again) {
        lost_.erase(thread);  // Lets go of this task, which goes on to its end.
        co_return;
      }
      continue;
    }
    if (open_now < open_before) distance_ns = kDistanceNsMin;
    open_before = open_now;
    // Not in step with the other homes, which do the same.
    co_await scheduler_->SleepFor(distance_ns / 2 + scheduler_->random().Uniform(distance_ns));
    distance_ns = std::min(2 * distance_ns, kDistanceNsMax);
  }
}

Task<bool> TransactionEnds::TakeTurn(TransactionThread thread, Turn* turn) {
  const std::vector<OpenTransaction> open = co_await local_->OpenOf(thread);
  for (const OpenTransaction& transaction : open) {
    (void)co_await EndOne(transaction, turn);
  }
  // Others may still have something open; they are told what became of it as long as they ask.
  if (!turn->open.empty()) co_return false;
  const bool is_closed = co_await CloseAll(thread, turn);
  if (!is_closed) co_return false;
  const absl::Status forgotten = co_await local_->Forget(thread);
  if (!forgotten.ok()) {
    turn->closing = Text(absl::StrCat("its outcomes are kept for now: ", forgotten.message()));
  }
  co_return forgotten.ok();
}

// ---- One transaction.

Task<bool> TransactionEnds::EndOne(const OpenTransaction& transaction, Turn* turn) {
  Findings findings;
  const TransactionOutcome here = co_await local_->Promise(transaction.id);
  Learn(here, "this server", &findings);
  // Another home has ended it here meanwhile, or an operator.
  if (findings.commit.has_value()) co_return true;
  co_await AskAll(transaction, turn, &findings);
  if (!findings.commit.has_value() && findings.waits_for != nullptr) {
    turn->open.push_back({transaction.id, findings.waits_for});
    co_return false;
  }
  if (!findings.commit.has_value()) {
    // Everybody has promised, and no COMMIT of it was or will be applied anywhere: if it is still open here. If not, a
    // home may have committed it, told us, and forgotten it before it was asked.
    const TransactionOutcome still = co_await local_->Promise(transaction.id);
    if (still != TransactionOutcome::kPromised) co_return true;
    findings.commit = false;
  }
  const bool commit = *findings.commit;
  // The others first: what only this home knows goes with it if it dies.
  co_await TellAll(transaction, commit, turn);
  const absl::Status status = co_await local_->Resolve(transaction.id, commit);
  if (!status.ok()) CountContradiction(status);
  const MutexLock lock(&mutex_);
  ++(commit ? counts_.resolved_commit : counts_.resolved_abort);
  co_return true;
}

Task<void> TransactionEnds::AskAll(const OpenTransaction& transaction, Turn* turn,
                                   Findings* findings) {
  for (const TransactionParticipant& participant : transaction.participants) {
    if (findings->commit.has_value()) co_return;
    if (participant == self_) continue;
    if (participant.server_index == self_.server_index) {
      findings->waits_for = StartedAnew(participant);
      continue;
    }
    if (const auto silent = turn->silent.find(participant.server_index);
        silent != turn->silent.end()) {
      findings->waits_for = silent->second;
      continue;
    }
    CountAsk();
    const absl::StatusOr<TransactionOutcome> outcome =
        co_await others_->Promise(participant, transaction.id);
    if (outcome.ok()) {
      if (*outcome == TransactionOutcome::kUnknown) CountForgotten();
      Learn(*outcome, others_->NameOf(participant), findings);
      continue;
    }
    if (absl::IsFailedPrecondition(outcome.status())) {
      findings->waits_for = StartedAnew(participant);
    } else {
      findings->waits_for = NoteSilence(participant, outcome.status(), turn);
    }
  }
}

void TransactionEnds::Learn(TransactionOutcome outcome, const std::string& who,
                            Findings* findings) const {
  switch (outcome) {
    case TransactionOutcome::kCommitted:
      findings->commit = true;
      return;
    case TransactionOutcome::kAborted:
      findings->commit = false;
      return;
    case TransactionOutcome::kPromised:
      return;
    case TransactionOutcome::kUnknown:
    case TransactionOutcome::kLocked:
      // It may be over there, one way or the other, or may still come: never a reason to decide.
      findings->waits_for = Text(
          absl::StrCat(who,
                       " does not know it, nor whether it may still come: unless that changes an "
                       "operator has to end it"));
      return;
  }
  LOG(FATAL) << "unreachable";
}

Task<void> TransactionEnds::TellAll(const OpenTransaction& transaction, bool commit, Turn* turn) {
  // Whoever is not reached asks by itself, as long as it is open there.
  for (const TransactionParticipant& participant : transaction.participants) {
    if (participant.server_index == self_.server_index ||
        turn->silent.contains(participant.server_index))
      continue;
    CountAsk();
    const absl::Status status = co_await others_->Resolve(participant, transaction.id, commit);
    if (status.ok() || absl::IsFailedPrecondition(status)) continue;
    if (absl::IsDataLoss(status)) {
      CountContradiction(status);
    } else {
      (void)NoteSilence(participant, status, turn);
    }
  }
}

TransactionEnds::Why TransactionEnds::StartedAnew(const TransactionParticipant& participant) const {
  return Text(absl::StrCat(others_->NameOf(participant),
                           " was started anew since, and knows nothing of it any more: an operator "
                           "has to end it"));
}

TransactionEnds::Why TransactionEnds::NoteSilence(const TransactionParticipant& participant,
                                                  const absl::Status& status, Turn* turn) const {
  const Why why = Text(absl::StrCat("asks ", others_->NameOf(participant),
                                    ", which does not answer: ", status.message()));
  turn->silent[participant.server_index] = why;
  return why;
}

// ---- Forgetting.

Task<bool> TransactionEnds::CloseAll(TransactionThread thread, Turn* turn) {
  std::vector<TransactionParticipant> participants = co_await local_->ParticipantsOf(thread);
  const auto key = [](const TransactionParticipant& participant) {
    return std::make_pair(participant.server_index, participant.incarnation);
  };
  std::sort(participants.begin(), participants.end(),
            [&](const auto& a, const auto& b) { return key(a) < key(b); });
  participants.erase(std::unique(participants.begin(), participants.end()), participants.end());
  for (const TransactionParticipant& participant : participants) {
    if (participant.server_index == self_.server_index) continue;
    if (const auto silent = turn->silent.find(participant.server_index);
        silent != turn->silent.end()) {
      turn->closing = silent->second;
      continue;
    }
    CountAsk();
    const absl::Status status = co_await others_->Close(participant, thread);
    // Another incarnation holds no lock of it, and so never asks.
    if (status.ok() || absl::IsFailedPrecondition(status)) continue;
    turn->closing =
        Text(absl::StrCat("nothing is open, and outcomes are kept for ",
                          others_->NameOf(participant), ", which may ask: ", status.message()));
  }
  co_return turn->closing == nullptr;
}

// ---- For operators.

void TransactionEnds::CountAsk() {
  const MutexLock lock(&mutex_);
  ++counts_.asks;
}

void TransactionEnds::CountContradiction(const absl::Status& status) {
  LOG(ERROR) << "homes disagree on how a transaction has ended: " << status;
  const MutexLock lock(&mutex_);
  ++counts_.contradictions;
}

void TransactionEnds::CountForgotten() {
  const MutexLock lock(&mutex_);
  ++counts_.forgotten;
}

void TransactionEnds::Publish(const TransactionThread& thread, Turn turn) {
  const MutexLock lock(&mutex_);
  Lost* const lost = lost_.at(thread).get();
  lost->open = std::move(turn.open);
  lost->closing = std::move(turn.closing);
}

std::string TransactionEnds::WhyOpen(const TransactionId& id) const {
  const MutexLock lock(&mutex_);
  const auto entry = lost_.find(id.coordinator);
  if (entry == lost_.end()) return "";
  for (const Open& open : entry->second->open) {
    if (open.id == id) return *open.why;
  }
  return *being_ended_;
}

std::vector<TransactionEnds::Waiting> TransactionEnds::Snapshot(size_t count_max) const {
  std::vector<Waiting> snapshot;
  const MutexLock lock(&mutex_);
  for (const auto& [thread, lost] : lost_) {
    for (const Open& open : lost->open) {
      if (snapshot.size() == count_max) return snapshot;
      snapshot.push_back({open.id, *open.why});
    }
    if (lost->closing == nullptr) continue;
    if (snapshot.size() == count_max) return snapshot;
    snapshot.push_back({{thread, 0}, *lost->closing});
  }
  return snapshot;
}

TransactionEnds::Counts TransactionEnds::counts() const {
  const MutexLock lock(&mutex_);
  Counts counts = counts_;
  counts.lost = lost_.size();
  for (const auto& [thread, lost] : lost_) counts.unresolved += lost->open.size();
  return counts;
}

}  // namespace acre::server
