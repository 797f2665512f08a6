#include "client/verify/session.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace acre::verify {
namespace {

using isolation::OpKind;
using isolation::Outcome;
using isolation::Seen;

// After a failure that is no conflict: a server that is gone is not asked a million times.
constexpr uint64_t kErrorPauseNs = 10'000'000;

bool IsAnswer(const absl::Status& status) { return status.ok() || absl::IsNotFound(status); }

// The call was refused: it has certainly changed nothing.
bool IsRefusal(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsResourceExhausted(status) ||
         absl::IsPermissionDenied(status) || absl::IsFailedPrecondition(status) ||
         absl::IsAborted(status);
}

Outcome OutcomeOf(const absl::Status& status, bool is_unknown) {
  if (status.ok()) return Outcome::kCommitted;
  return is_unknown ? Outcome::kUnknown : Outcome::kAborted;
}

// A list as it was found, and where.
struct FoundList {
  Told told;
  bool is_in_other_place = false;
};

}  // namespace

class Session::Runner {
 public:
  explicit Runner(Session* session)
      : session_(session), epoch_(session->options_.epoch), process_(TakeProcess()) {}

  Task<void> Run() {
    while (session_->TakeTurn() && session_->plans_->Draw(&plan_)) {
      failed_ = false;
      if (plan_.way == Way::kPlain) {
        co_await RunPlain();
      } else if (plan_.way == Way::kRetried) {
        co_await RunRetried();
      } else {
        co_await RunOnce();
      }
      // What completes at once does not suspend: the others want their turn.
      if (failed_) {
        co_await session_->scheduler_->SleepFor(kErrorPauseNs);
      } else {
        co_await session_->scheduler_->Yield();
      }
    }
  }

 private:
  uint32_t TakeProcess() {
    SharedWord* const next = session_->numbers_.next_process;
    return static_cast<uint32_t>(next->FetchAdd(1, std::memory_order_relaxed));
  }

  void Invoke() {
    told_.resize(plan_.ops.size());
    for (Told& told : told_) {
      told.seen = Seen::kUntold;
      told.numbers.clear();
    }
    session_->journal_->Invoke(process_, session_->scheduler_->NowNs(), plan_.ops);
  }

  void Return(const absl::Status& status, bool is_unknown, uint8_t phase = 0) {
    const Ending ending = {OutcomeOf(status, is_unknown), phase, status.code()};
    session_->journal_->Return(process_, session_->scheduler_->NowNs(), ending, told_);
    if (ending.outcome == Outcome::kUnknown) process_ = TakeProcess();
    NoteError(status);
  }
  void NoteError(const absl::Status& status) {
    if (status.ok() || absl::IsAborted(status) || absl::IsCancelled(status)) return;
    failed_ = true;
    session_->Note(status);
  }

  // ---- The three ways.

  Task<void> RunOnce() {
    Invoke();
    const std::unique_ptr<StoreTransaction> transaction = session_->store_->Begin();
    absl::Status status = co_await RunOps(transaction.get());
    bool is_unknown = false;
    if (status.ok()) {
      status = co_await transaction->Commit();
      is_unknown = !status.ok() && transaction->is_outcome_unknown();
    }
    Return(status, is_unknown, transaction->abort_phase());
  }

  Task<void> RunRetried() {
    is_open_ = false;
    is_first_attempt_ = true;
    const StoreFunction function = [this](StoreTransaction* transaction) {
      return RunAttempt(transaction);
    };
    const absl::Status status = co_await session_->store_->RunTransaction(function);
    if (!is_open_) {
      NoteError(status);
      co_return;
    }
    // Nobody says of which attempt the outcome is unknown: of the last one, if that went so far.
    const bool is_unknown = !status.ok() && attempt_status_.ok() && !IsRefusal(status);
    Return(status, is_unknown);
  }

  Task<absl::Status> RunAttempt(StoreTransaction* transaction) {
    // It is asked again, so the last attempt came to nothing.
    if (is_open_) Return(absl::AbortedError("retried"), /*is_unknown=*/false);
    is_open_ = false;
    const SessionOptions& options = session_->options_;
    if (!session_->journal_->HasRoomFor(options.outstanding, options.plan.ops_max)) {
      co_return absl::CancelledError("the journal is full");
    }
    if (!is_first_attempt_) session_->plans_->DrawAgain(&plan_);
    is_first_attempt_ = false;
    Invoke();
    is_open_ = true;
    attempt_status_ = co_await RunOps(transaction);
    co_return attempt_status_;
  }

  Task<void> RunPlain() {
    const PlannedOp& op = plan_.ops.front();
    const std::string name = KeyName(epoch_, op.key);
    if (op.kind == OpKind::kRead) {
      Invoke();
      const absl::Status status = co_await session_->store_->Get(name, &value_);
      if (!IsAnswer(status)) {
        Return(status, /*is_unknown=*/false);
        co_return;
      }
      Tell(op.key, status, value_, &told_.front());
      Return(absl::OkStatus(), /*is_unknown=*/false);
      co_return;
    }
    EncodeRegister(epoch_, op.key, static_cast<int32_t>(op.value), &value_);
    Invoke();
    const absl::Status status = co_await session_->store_->Put(name, value_);
    Return(status, !status.ok() && !IsRefusal(status));
  }

  // ---- The operations of a transaction. Errors: those of the calls, but NotFound is an answer.

  Task<absl::Status> RunOps(StoreTransaction* transaction) {
    size_t done = 0;
    if (plan_.reads_at_once) {
      absl::Status status = co_await ReadFirstOnes(transaction, &done);
      if (!status.ok()) co_return status;
    }
    for (; done < plan_.ops.size(); ++done) {
      absl::Status status = co_await RunOp(transaction, done);
      if (!status.ok()) co_return status;
      if (plan_.pauses) co_await session_->scheduler_->Yield();
    }
    co_return absl::OkStatus();
  }

  Task<absl::Status> RunOp(StoreTransaction* transaction, size_t index) {
    const PlannedOp& op = plan_.ops[index];
    if (op.kind == OpKind::kWrite) {
      EncodeRegister(epoch_, op.key, static_cast<int32_t>(op.value), &value_);
      co_return transaction->Put(KeyName(epoch_, op.key), value_);
    }
    FoundList found;
    const absl::Status status = co_await Find(transaction, op.key, &found);
    if (!status.ok()) co_return status;
    if (op.kind == OpKind::kAppend) co_return Append(transaction, op, std::move(found));
    told_[index] = std::move(found.told);
    co_return absl::OkStatus();
  }

  Task<absl::Status> Find(StoreTransaction* transaction, KeyId key, FoundList* found) {
    const std::string name = KeyName(epoch_, key);
    const absl::Status status = co_await transaction->Get(name, &value_);
    if (!IsAnswer(status)) co_return status;
    Tell(key, status, value_, &found->told);
    if (!IsMoving(key)) co_return absl::OkStatus();
    const std::string other_name = KeyName(epoch_, key, /*other_place=*/true);
    const absl::Status other_status = co_await transaction->Get(other_name, &value_);
    if (!IsAnswer(other_status)) co_return other_status;
    TellOther(key, other_status, value_, found);
    co_return absl::OkStatus();
  }

  // The reads that the transaction begins with, as one MultiGet.
  Task<absl::Status> ReadFirstOnes(StoreTransaction* transaction, size_t* done) {
    std::vector<std::string> names;
    for (const PlannedOp& op : plan_.ops) {
      if (op.kind != OpKind::kRead) break;
      ++*done;
      names.push_back(KeyName(epoch_, op.key));
      if (IsMoving(op.key)) names.push_back(KeyName(epoch_, op.key, /*other_place=*/true));
    }
    const std::vector<absl::string_view> keys(names.begin(), names.end());
    std::vector<std::string> values(keys.size());
    std::vector<absl::Status> statuses(keys.size());
    if (keys.empty()) co_return absl::OkStatus();
    co_await transaction->MultiGet(keys, absl::MakeSpan(values), absl::MakeSpan(statuses));
    for (const absl::Status& status : statuses) {
      if (!IsAnswer(status)) co_return status;
    }
    size_t next = 0;
    for (size_t i = 0; i < *done; ++i) {
      FoundList found;
      Tell(plan_.ops[i].key, statuses[next], values[next], &found.told);
      ++next;
      if (IsMoving(plan_.ops[i].key)) {
        TellOther(plan_.ops[i].key, statuses[next], values[next], &found);
        ++next;
      }
      told_[i] = std::move(found.told);
    }
    co_return absl::OkStatus();
  }

  // What it cannot read it carries along: whoever reads the list then sees that.
  absl::Status Append(StoreTransaction* transaction, const PlannedOp& op, FoundList found) {
    std::vector<int32_t>& elements = found.told.numbers;
    const bool is_there = !elements.empty();
    elements.push_back(static_cast<int32_t>(op.value));
    EncodeList(epoch_, op.key, elements, &value_);
    bool to_other_place = false;
    if (IsMoving(op.key) && is_there) {
      to_other_place = !found.is_in_other_place;
      absl::Status status =
          transaction->Delete(KeyName(epoch_, op.key, /*other_place=*/!to_other_place));
      if (!status.ok()) return status;
    }
    return transaction->Put(KeyName(epoch_, op.key, to_other_place), value_);
  }

  // `status`: an answer.
  void Tell(KeyId key, const absl::Status& status, absl::string_view value, Told* told) const {
    told->numbers.clear();
    // A list that is absent is empty; said so, since what did not commit cannot tell that something
    // is absent.
    told->seen = key.family == Family::kList ? Seen::kList
                 : status.ok()               ? Seen::kValue
                                             : Seen::kAbsent;
    if (!status.ok()) return;
    Decode(epoch_, key, value, &told->numbers);
  }
  void TellOther(KeyId key, const absl::Status& status, absl::string_view value,
                 FoundList* found) const {
    if (!status.ok()) return;
    if (!found->told.numbers.empty()) {
      found->told.numbers.assign(1, kInBothPlaces);
      return;
    }
    found->is_in_other_place = true;
    Tell(key, status, value, &found->told);
  }

  Session* const session_;
  const Epoch& epoch_;
  uint32_t process_;
  Plan plan_;               // Of the transaction under way, as is all below.
  std::vector<Told> told_;  // One for each operation.
  std::string value_;
  bool failed_ = false;
  // Of RunTransaction(): whether an attempt was invoked and has not returned, and how its function
  // ended.
  bool is_open_ = false;
  bool is_first_attempt_ = true;
  absl::Status attempt_status_;
};

Session::Session(Scheduler* scheduler, Store* store, Plans* plans, JournalWriter* journal,
                 const SharedNumbers& numbers, SessionOptions options)
    : scheduler_(scheduler),
      store_(store),
      plans_(plans),
      journal_(journal),
      numbers_(numbers),
      options_(std::move(options)) {}

bool Session::TakeTurn() {
  if (numbers_.stopped_epoch->Load(std::memory_order_relaxed) >= options_.epoch.number) {
    return false;
  }
  // Each of the others may have one under way, whose return is not written yet.
  if (!journal_->HasRoomFor(options_.outstanding, options_.plan.ops_max)) return false;
  return numbers_.begun->FetchAdd(1, std::memory_order_relaxed) < options_.transactions_max;
}

void Session::Note(const absl::Status& error) {
  if (first_error_.ok()) first_error_ = error;
}

Task<void> Session::Run() {
  std::vector<std::unique_ptr<Runner>> runners;
  std::vector<SpawnHandle> handles;
  for (uint32_t i = 0; i < options_.outstanding; ++i) {
    runners.push_back(std::make_unique<Runner>(this));
    handles.push_back(scheduler_->Spawn(runners.back()->Run()));
  }
  for (SpawnHandle& handle : handles) co_await handle.Join();
}

}  // namespace acre::verify
