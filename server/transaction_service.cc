#include "server/transaction_service.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "runtime/shared_word.h"
#include "server/run_on.h"

namespace acre::server {
namespace {

using Outcome = kvs::TransactionOutcome;

constexpr size_t kTextBytesMax = 256 * 1024;
constexpr size_t kContendedKeysTold = 8;
constexpr uint64_t kNsPerS = 1'000'000'000;

// One word of what can be printed.
std::string Escape(absl::string_view key) {
  return absl::StrReplaceAll(absl::CHexEscape(key), {{" ", "\\x20"}});
}

}  // namespace

void TransactionService::SetLost(LostCoordinators* lost, WhyOpen why_open) {
  why_open_ = std::move(why_open);
  for (WorkerTransactions* const worker : workers_) worker->SetLost(lost);
}

WorkerTransactions* TransactionService::WorkerOf(const kvs::TransactionThread& thread) const {
  const absl::optional<TransactionThreads::Place> place = threads_.Find(thread);
  if (!place.has_value() || place->is_over) return nullptr;
  return workers_[static_cast<size_t>(place->worker)];
}

Task<Outcome> TransactionService::Promise(Scheduler* here, kvs::TransactionId id) {
  absl::optional<TransactionThreads::Place> place = threads_.Find(id.coordinator);
  if (!place.has_value()) {
    place = threads_.Close(id.coordinator);
    if (!place.has_value()) co_return Outcome::kPromised;  // It never came, and will not be taken.
  }
  if (place->is_over) co_return TransactionThreads::OutcomeOf(*place, id);
  WorkerTransactions* const worker = workers_[static_cast<size_t>(place->worker)];
  const Outcome outcome = co_await RunOn<Outcome>(here, worker->scheduler(),
                                                  [worker, id] { return worker->Promise(id); });
  co_return outcome;
}

Task<absl::Status> TransactionService::Resolve(Scheduler* here, kvs::TransactionId id, bool commit,
                                               bool is_asked) {
  const absl::optional<TransactionThreads::Place> place = threads_.Find(id.coordinator);
  // Nothing is known of its coordinator any more: of this home, whose incarnation was asked, it had a vote once.
  if (!place.has_value()) co_return absl::OkStatus();
  if (place->is_over) {
    const Outcome outcome = TransactionThreads::OutcomeOf(*place, id);
    // Unknown: it was finished everywhere.
    const bool contradicts =
        commit ? outcome == Outcome::kPromised : outcome == Outcome::kCommitted;
    if (!contradicts) co_return absl::OkStatus();
    co_return absl::FailedPreconditionError(
        absl::StrCat(id.ToString(), commit ? " never held its locks here" : " has committed"));
  }
  WorkerTransactions* const worker = workers_[static_cast<size_t>(place->worker)];
  absl::Status status = co_await RunOn<absl::Status>(
      here, worker->scheduler(), [worker, id, commit, is_asked]() -> absl::Status {
        // Some home has committed, and this one was not asked before: its coordinator decides nothing any more.
        if (is_asked && worker->home()->Query(id) == Outcome::kLocked) (void)worker->Promise(id);
        return worker->Resolve(id, commit);
      });
  co_return status;
}

Task<absl::Status> TransactionService::End(Scheduler* here, kvs::TransactionId id, bool commit) {
  const absl::optional<TransactionThreads::Place> place = threads_.Find(id.coordinator);
  if (place.has_value() && place->connection != 0) {
    co_return absl::FailedPreconditionError(absl::StrCat(
        id.ToString(), " has a coordinator that is connected: it ends it, or is given up within ",
        WorkerTransactions::kLooksMax * WorkerTransactions::kLookNs / kNsPerS, " s"));
  }
  if (!place.has_value() || place->is_over) {
    if (place.has_value() && TransactionThreads::OutcomeOf(*place, id) == Outcome::kCommitted &&
        !commit) {
      co_return absl::FailedPreconditionError(absl::StrCat(id.ToString(), " has committed"));
    }
    co_return absl::NotFoundError(absl::StrCat(id.ToString(), " is not open here"));
  }
  WorkerTransactions* const worker = workers_[static_cast<size_t>(place->worker)];
  absl::Status status = co_await RunOn<absl::Status>(
      here, worker->scheduler(), [worker, id, commit]() -> absl::Status {
        const Outcome outcome = worker->home()->Query(id);
        if (outcome == Outcome::kUnknown) {
          return absl::NotFoundError(absl::StrCat(id.ToString(), " is not known here"));
        }
        return worker->Resolve(id, commit);
      });
  co_return status;
}

Task<absl::Status> TransactionService::Close(Scheduler* here, kvs::TransactionThread thread) {
  const absl::optional<TransactionThreads::Place> before = threads_.Close(thread);
  if (!before.has_value() || before->is_over) co_return absl::OkStatus();
  WorkerTransactions* const worker = workers_[static_cast<size_t>(before->worker)];
  absl::Status status = co_await RunOn<absl::Status>(
      here, worker->scheduler(), [worker, thread] { return worker->Close(thread); });
  co_return status;
}

Task<std::vector<kvs::OpenTransaction>> TransactionService::OpenOf(Scheduler* here,
                                                                   kvs::TransactionThread thread) {
  using Open = std::vector<kvs::OpenTransaction>;
  WorkerTransactions* const worker = WorkerOf(thread);
  if (worker == nullptr) co_return Open();
  Open open = co_await RunOn<Open>(here, worker->scheduler(),
                                   [worker, thread] { return worker->home()->OpenOf(thread); });
  co_return open;
}

Task<std::vector<kvs::TransactionParticipant>> TransactionService::ParticipantsOf(
    Scheduler* here, kvs::TransactionThread thread) {
  using Participants = std::vector<kvs::TransactionParticipant>;
  WorkerTransactions* const worker = WorkerOf(thread);
  if (worker == nullptr) co_return Participants();
  Participants participants = co_await RunOn<Participants>(
      here, worker->scheduler(),
      [worker, thread] { return worker->home()->ParticipantsOf(thread); });
  co_return participants;
}

Task<absl::Status> TransactionService::Forget(Scheduler* here, kvs::TransactionThread thread) {
  WorkerTransactions* const worker = WorkerOf(thread);
  if (worker == nullptr) co_return absl::OkStatus();
  absl::Status status = co_await RunOn<absl::Status>(
      here, worker->scheduler(), [worker, thread] { return worker->Forget(thread); });
  co_return status;
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

std::string TransactionService::LineOf(const TransactionWaiting& one) const {
  std::string why = why_open_ && !one.is_connected ? why_open_(one.open.id) : "";
  if (one.is_connected) {
    why = "its coordinator, which is connected";
  } else if (why.empty()) {
    why = "an operator: its coordinator is lost";
  }
  const auto append_home = [this](std::string* out, const kvs::TransactionParticipant& home) {
    absl::StrAppend(out, home.server_index < servers_.size() ? servers_[home.server_index] : "?");
  };
  return absl::StrCat(one.open.id.ToString(), ": ", one.age_ns / kNsPerS, " s, ",
                      one.open.writes_count, one.open.writes_count == 1 ? " key" : " keys", ", at ",
                      absl::StrJoin(one.open.participants, ",", append_home), ", waits for ", why,
                      "\n");
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
    absl::StrAppend(&text, LineOf(waiting[i]));
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
