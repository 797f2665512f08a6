#include "server/transaction_service.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "glog/logging.h"
#include "runtime/shared_word.h"
#include "server/run_on.h"

namespace acre::server {
namespace {

using Outcome = kvs::TransactionOutcome;

constexpr size_t kTextBytesMax = 256 * 1024;
constexpr size_t kContendedKeysTold = 8;
constexpr uint64_t kNsPerS = 1'000'000'000;

// Of two workers' answers about one transaction, of which one at most knows it.
Outcome Stronger(Outcome a, Outcome b) {
  for (const Outcome decided : {Outcome::kCommitted, Outcome::kAborted, Outcome::kUnknown}) {
    if (a == decided || b == decided) return decided;
  }
  return Outcome::kPromised;
}

// One word of what can be printed.
std::string Escape(absl::string_view key) {
  return absl::StrReplaceAll(absl::CHexEscape(key), {{" ", "\\x20"}});
}

}  // namespace

void TransactionService::SetLost(LostCoordinators* lost) {
  for (WorkerTransactions* const worker : workers_) worker->SetLost(lost);
}

std::vector<WorkerTransactions*> TransactionService::WorkersOf(
    const kvs::TransactionThread& thread) const {
  const absl::optional<TransactionThreads::Place> place = threads_.Find(thread);
  if (!place.has_value() || place->worker == TransactionThreads::kNoWorker) return workers_;
  return {workers_[static_cast<size_t>(place->worker)]};
}

Task<Outcome> TransactionService::Promise(Scheduler* here, kvs::TransactionId id) {
  const absl::optional<TransactionThreads::Place> place = threads_.Find(id.coordinator);
  if (place.has_value() && place->is_over) {
    // Of one that never came nothing will be taken. Else what it did is forgotten.
    co_return place->worker == TransactionThreads::kNoWorker ? Outcome::kPromised
                                                             : Outcome::kUnknown;
  }
  // Where it may still come for the first time, all workers make the promise: it is taken by none of them then.
  const std::vector<WorkerTransactions*> workers = WorkersOf(id.coordinator);
  Outcome outcome = Outcome::kPromised;
  for (WorkerTransactions* const worker : workers) {
    const Outcome answer = co_await RunOn<Outcome>(here, worker->scheduler(),
                                                   [worker, id] { return worker->Promise(id); });
    outcome = Stronger(outcome, answer);
  }
  co_return outcome;
}

Task<absl::Status> TransactionService::Resolve(Scheduler* here, kvs::TransactionId id,
                                               bool commit) {
  const std::vector<WorkerTransactions*> workers = WorkersOf(id.coordinator);
  absl::Status status;
  for (WorkerTransactions* const worker : workers) {
    absl::Status answer = co_await RunOn<absl::Status>(
        here, worker->scheduler(), [worker, id, commit] { return worker->Resolve(id, commit); });
    status.Update(std::move(answer));
  }
  co_return status;
}

Task<absl::Status> TransactionService::End(Scheduler* here, kvs::TransactionId id, bool commit) {
  const absl::optional<TransactionThreads::Place> place = threads_.Find(id.coordinator);
  if (place.has_value() && place->connection != 0) {
    co_return absl::FailedPreconditionError(absl::StrCat(
        id.ToString(),
        " has a coordinator, which is connected and ends it by itself, or is given up ",
        WorkerTransactions::kLooksMax * WorkerTransactions::kLookNs / kNsPerS,
        " s after its LOCK"));
  }
  absl::Status status = co_await Resolve(here, id, commit);
  co_return status;
}

Task<absl::Status> TransactionService::Close(Scheduler* here, kvs::TransactionThread thread) {
  const absl::optional<TransactionThreads::Place> before = threads_.Close(thread);
  if (!before.has_value()) {
    // Promises that were made of it, at all workers: it never comes now.
    for (WorkerTransactions* const worker : workers_) {
      absl::Status forgotten = co_await RunOn<absl::Status>(
          here, worker->scheduler(), [worker, thread] { return worker->Forget(thread); });
      if (!forgotten.ok()) co_return forgotten;
    }
    co_return absl::OkStatus();
  }
  if (before->is_over) co_return absl::OkStatus();
  WorkerTransactions* const worker = workers_[static_cast<size_t>(before->worker)];
  absl::Status status = co_await RunOn<absl::Status>(
      here, worker->scheduler(), [worker, thread] { return worker->Close(thread); });
  co_return status;
}

Task<std::vector<kvs::OpenTransaction>> TransactionService::OpenOf(Scheduler* here,
                                                                   kvs::TransactionThread thread) {
  using Open = std::vector<kvs::OpenTransaction>;
  const std::vector<WorkerTransactions*> workers = WorkersOf(thread);
  Open open;
  for (WorkerTransactions* const worker : workers) {
    Open more = co_await RunOn<Open>(here, worker->scheduler(),
                                     [worker, thread] { return worker->home()->OpenOf(thread); });
    open.insert(open.end(), more.begin(), more.end());
  }
  co_return open;
}

Task<std::vector<kvs::TransactionParticipant>> TransactionService::ParticipantsOf(
    Scheduler* here, kvs::TransactionThread thread) {
  using Participants = std::vector<kvs::TransactionParticipant>;
  const std::vector<WorkerTransactions*> workers = WorkersOf(thread);
  Participants participants;
  for (WorkerTransactions* const worker : workers) {
    Participants more = co_await RunOn<Participants>(here, worker->scheduler(), [worker, thread] {
      return worker->home()->ParticipantsOf(thread);
    });
    // One worker at most knows more of a coordinator than promises, which name none.
    if (participants.empty()) participants = std::move(more);
  }
  co_return participants;
}

Task<void> TransactionService::Forget(Scheduler* here, kvs::TransactionThread thread) {
  const std::vector<WorkerTransactions*> workers = WorkersOf(thread);
  for (WorkerTransactions* const worker : workers) {
    const absl::Status status = co_await RunOn<absl::Status>(
        here, worker->scheduler(), [worker, thread] { return worker->Forget(thread); });
    LOG_IF(WARNING, !status.ok()) << "a coordinator that is over can not be forgotten: " << status;
  }
}

Task<std::vector<TransactionWaiting>> TransactionService::Waiting(Scheduler* here) {
  using List = std::vector<TransactionWaiting>;
  List waiting;
  for (WorkerTransactions* const worker : workers_) {
    List more =
        co_await RunOn<List>(here, worker->scheduler(), [worker] { return worker->Waiting(); });
    std::move(more.begin(), more.end(), std::back_inserter(waiting));
  }
  co_return waiting;
}

Task<std::vector<kvs::OpenTransaction>> TransactionService::AllOpen(Scheduler* here) {
  std::vector<TransactionWaiting> waiting = co_await Waiting(here);
  std::vector<kvs::OpenTransaction> open;
  for (TransactionWaiting& one : waiting) open.push_back(std::move(one.open));
  co_return open;
}

Task<std::string> TransactionService::Text(Scheduler* here) {
  std::vector<TransactionWaiting> waiting = co_await Waiting(here);
  std::sort(waiting.begin(), waiting.end(),
            [](const auto& a, const auto& b) { return a.age_ns > b.age_ns; });
  std::string text;
  for (size_t i = 0; i < waiting.size(); ++i) {
    if (text.size() > kTextBytesMax) {
      absl::StrAppend(&text, "and ", waiting.size() - i, " more\n");
      break;
    }
    const TransactionWaiting& one = waiting[i];
    const auto append_home = [this](std::string* out, const kvs::TransactionParticipant& home) {
      absl::StrAppend(out, home.server_index < servers_.size() ? servers_[home.server_index] : "?");
    };
    absl::StrAppend(
        &text, one.open.id.ToString(), ": ", one.age_ns / kNsPerS, " s, at ",
        absl::StrJoin(one.open.participants, ",", append_home), ", waits for ",
        one.is_connected ? "its coordinator" : "the others of these: its coordinator is lost",
        one.open.promised ? ", promised" : "", "\n");
  }
  co_return text;
}

void TransactionService::AppendStats(std::string* text) const {
  const auto line = [&](absl::string_view name, SharedWord TransactionCounters::*counter) {
    uint64_t total = 0;
    for (WorkerTransactions* const worker : workers_) {
      // Relaxed: counters order nothing.
      total += (worker->counters()->*counter).Load(std::memory_order_relaxed);
    }
    absl::StrAppend(text, name, " ", total, "\n");
  };
  line("transactions_committed", &TransactionCounters::committed);
  line("transactions_aborted", &TransactionCounters::aborted);
  line("transactions_open", &TransactionCounters::open);
  line("votes_locked", &TransactionCounters::votes_locked);
  line("votes_changed", &TransactionCounters::votes_changed);
  line("votes_no_memory", &TransactionCounters::votes_no_memory);
  line("votes_invalid", &TransactionCounters::votes_invalid);
  line("votes_over", &TransactionCounters::votes_over);
  line("transactions_promised", &TransactionCounters::promised);
  line("transactions_resolved", &TransactionCounters::resolved);
  line("transactions_refused", &TransactionCounters::refused);
  line("holds", &TransactionCounters::holds);
  line("coordinators_lost", &TransactionCounters::coordinators_lost);
  for (const kvs::ContendedKeys::Counter& counter : contended_.Top(kContendedKeysTold)) {
    absl::StrAppend(text, "contended_key ", Escape(counter.key), " ", counter.count, "\n");
  }
}

}  // namespace acre::server
