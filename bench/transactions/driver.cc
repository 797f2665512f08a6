#include "bench/transactions/driver.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::bench {
namespace {

// How long an idle thread polls before it sleeps. A server answers the calls that came together together: sixteen commits
// take it longer than a scheduler waits by itself, and to be woken takes as long again.
constexpr uint64_t kSpinNs = 100'000;

// Calls change(to, value) for each counter.
template <class Change>
void ForEachCounter(TransactionStats* to, const TransactionStats& stats, const Change& change) {
  change(&to->committed, stats.committed);
  for (size_t phase = 0; phase < kvs::kAbortPhases; ++phase) {
    change(&to->aborted[phase], stats.aborted[phase]);
  }
  change(&to->unknown, stats.unknown);
  change(&to->reads, stats.reads);
  change(&to->read_validations, stats.read_validations);
  change(&to->commit_validations, stats.commit_validations);
  change(&to->calls, stats.calls);
  change(&to->notices, stats.notices);
  change(&to->round_trips, stats.round_trips);
  change(&to->read_validation_round_trips, stats.read_validation_round_trips);
  change(&to->fallbacks, stats.fallbacks);
}

// The client's transaction, whichever attempt it is.
class ClientCalls : public TxnCalls {
 public:
  void Bind(AsyncTransaction* transaction) { transaction_ = transaction; }

  Task<absl::Status> Get(absl::string_view key, std::string* value) override {
    return transaction_->Get(key, value);
  }
  Task<void> MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses) override {
    return transaction_->MultiGet(keys, values, statuses);
  }
  absl::Status Put(absl::string_view key, absl::string_view value) override {
    return transaction_->Put(key, value);
  }
  absl::Status Delete(absl::string_view key) override { return transaction_->Delete(key); }

 private:
  AsyncTransaction* transaction_ = nullptr;
};

}  // namespace

void AddStats(TransactionStats* to, const TransactionStats& stats) {
  ForEachCounter(to, stats, [](uint64_t* sum, uint64_t value) { *sum += value; });
}

void SubtractStats(TransactionStats* from, const TransactionStats& stats) {
  ForEachCounter(from, stats, [](uint64_t* sum, uint64_t value) { *sum -= value; });
}

void TxnTotals::Add(const TxnTotals& other) {
  CHECK_EQ(kinds.size(), other.kinds.size());
  for (size_t i = 0; i < kinds.size(); ++i) {
    kinds[i].committed += other.kinds[i].committed;
    kinds[i].refused += other.kinds[i].refused;
    kinds[i].attempts += other.kinds[i].attempts;
    kinds[i].attempts_max = std::max(kinds[i].attempts_max, other.kinds[i].attempts_max);
    kinds[i].latency_ns.Merge(other.kinds[i].latency_ns);
  }
  run_ns += other.run_ns;
  audit_change += other.audit_change;
  AddStats(&stats, other.stats);
  verbs += other.verbs;
}

uint64_t TxnTotals::committed() const {
  uint64_t sum = 0;
  for (const OfKind& kind : kinds) sum += kind.committed;
  return sum;
}

uint64_t TxnTotals::attempts() const {
  uint64_t sum = 0;
  for (const OfKind& kind : kinds) sum += kind.attempts;
  return sum;
}

uint64_t TxnTotals::attempts_max() const {
  uint64_t most = 0;
  for (const OfKind& kind : kinds) most = std::max(most, kind.attempts_max);
  return most;
}

Histogram TxnTotals::latency_ns() const {
  Histogram all;
  for (const OfKind& kind : kinds) all.Merge(kind.latency_ns);
  return all;
}

// What the coroutines of a slice share.
struct TxnDriver::Slice {
  uint32_t outstanding;
  TickClock ticks;
  uint64_t end_ticks;
  double ns_per_tick;
  TxnTotals totals;
};

TxnDriver::TxnDriver(TxnDriverOptions options, const TxnWorkload* workload, Clock* clock,
                     ErrorLog* errors)
    : options_(std::move(options)),
      workload_(*workload),
      clock_(clock),
      errors_(errors),
      scheduler_(
          {.clock = clock, .poll_mode = options_.client.poll, .spin_ns = kSpinNs, .name = "txn"}) {
  for (uint32_t i = 0; i < options_.outstanding_max; ++i) {
    actors_.push_back(workload->MakeActor(options_.seed * 1'000'003 + i));
  }
}

TxnDriver::~TxnDriver() = default;

absl::Status TxnDriver::Connect() {
  auto client = scheduler_.RunUntilDone(AsyncClient::Connect(&scheduler_, options_.client));
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  return absl::OkStatus();
}

TxnTotals TxnDriver::RunSlice(uint32_t outstanding, uint64_t run_ns) {
  CHECK_LE(outstanding, actors_.size());
  const uint64_t begin_ns = clock_->NowNs();
  Slice slice = {.outstanding = outstanding,
                 .ticks = clock_->tick_clock(),
                 .end_ticks = clock_->TicksAt(begin_ns + run_ns),
                 .ns_per_tick = 1 / clock_->ticks_per_ns(),
                 .totals = TxnTotals(workload_.kinds().size())};
  SubtractStats(&slice.totals.stats, client_->transaction_stats());
  slice.totals.verbs -= client_->verbs();
  scheduler_.RunUntilDone(RunAll(&slice));
  AddStats(&slice.totals.stats, client_->transaction_stats());
  slice.totals.verbs += client_->verbs();
  slice.totals.run_ns = clock_->NowNs() - begin_ns;
  return std::move(slice.totals);
}

Task<void> TxnDriver::RunAll(Slice* slice) {
  std::vector<SpawnHandle> loops;
  for (uint32_t i = 0; i < slice->outstanding; ++i) {
    loops.push_back(scheduler_.Spawn(RunLoop(actors_[i].get(), slice)));
  }
  for (SpawnHandle& loop : loops) co_await loop.Join();
}

Task<void> TxnDriver::RunLoop(TxnActor* actor, Slice* slice) {
  uint64_t attempts = 0;  // Of the transaction that runs.
  ClientCalls calls;
  const AsyncTransactionFunction function = [&](AsyncTransaction* transaction) {
    ++attempts;
    calls.Bind(transaction);
    return actor->Attempt(&calls);
  };
  uint64_t begin_ticks = slice->ticks.Ticks();
  while (begin_ticks < slice->end_ticks && !errors_->too_many()) {
    const size_t kind_index = actor->PickNext();
    TxnTotals::OfKind& kind = slice->totals.kinds[kind_index];
    attempts = 0;
    const absl::Status status = co_await client_->RunTransaction(function);
    // One transaction's end is the next one's begin.
    const uint64_t end_ticks = slice->ticks.Ticks();
    // A thread that changes cores may read a little less.
    const uint64_t ticks = end_ticks > begin_ticks ? end_ticks - begin_ticks : 0;
    begin_ticks = end_ticks;
    kind.attempts += attempts;
    kind.attempts_max = std::max(kind.attempts_max, attempts);
    if (!status.ok()) {
      errors_->Add(absl::StrCat(workload_.kinds()[kind_index].name, ", attempt ", attempts, ": ",
                                status.ToString()));
      continue;
    }
    ++kind.committed;
    kind.refused += actor->effect().refused ? 1 : 0;
    slice->totals.audit_change += actor->effect().audit_change;
    kind.latency_ns.Add(static_cast<uint64_t>(static_cast<double>(ticks) * slice->ns_per_tick));
  }
}

}  // namespace acre::bench
