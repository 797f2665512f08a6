// TxnDriver: how one thread of bench/txn runs transactions: one client, and coroutines on it, each with one transaction at
// a time, as a closed loop: the next begins when the one before it has ended, by RunTransaction().
//
// Threads: made, connected, run and destroyed on one thread. Totals are read by others while it waits.

#ifndef ACRE_BENCH_TRANSACTIONS_DRIVER_H_
#define ACRE_BENCH_TRANSACTIONS_DRIVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "bench/driver.h"
#include "bench/histogram.h"
#include "bench/transactions/workload.h"
#include "client/client.h"
#include "client/transaction.h"
#include "kvs/transaction_stats.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "transport/fabric.h"

namespace acre::bench {

// Differences and sums of counters that only grow.
void AddStats(TransactionStats* to, const TransactionStats& stats);
void SubtractStats(TransactionStats* from, const TransactionStats& stats);

// What a thread did in a slice, or several threads in all of them.
struct TxnTotals {
  struct OfKind {
    uint64_t committed = 0;  // RunTransaction() gave OK.
    uint64_t refused = 0;    // Of these: TxnEffect.
    uint64_t attempts = 0;
    uint64_t attempts_max = 0;  // Of one transaction.
    Histogram latency_ns;       // Of whole RunTransactions.
  };

  explicit TxnTotals(size_t kinds_count = 0) : kinds(kinds_count) {}
  // Requires: as many kinds.
  void Add(const TxnTotals& other);
  uint64_t committed() const;
  uint64_t attempts() const;
  uint64_t attempts_max() const;
  // Of all kinds.
  Histogram latency_ns() const;

  std::vector<OfKind> kinds;
  uint64_t run_ns = 0;  // The wait for the last transactions included.
  int64_t audit_change = 0;
  TransactionStats stats;
  transport::VerbCounters verbs;  // Of the client.
};

struct TxnDriverOptions {
  ClientOptions client;
  uint32_t outstanding_max = 1;  // Coroutines.
  uint64_t seed = 1;             // Of this thread.
};

class TxnDriver {
 public:
  // Borrows all but the options.
  TxnDriver(TxnDriverOptions options, const TxnWorkload* workload, Clock* clock, ErrorLog* errors);
  ~TxnDriver();
  TxnDriver(const TxnDriver&) = delete;
  TxnDriver& operator=(const TxnDriver&) = delete;

  absl::Status Connect();
  // Requires: connected, outstanding <= outstanding_max. What fails is in the ErrorLog, and with too many errors the slice
  // ends.
  TxnTotals RunSlice(uint32_t outstanding, uint64_t run_ns);
  // What was picked. Requires: connected.
  Path path() const { return client_->path(); }
  std::string fabric() const { return client_->fabric(); }

 private:
  struct Slice;

  Task<void> RunAll(Slice* slice);
  Task<void> RunLoop(TxnActor* actor, Slice* slice);

  const TxnDriverOptions options_;
  const TxnWorkload& workload_;
  Clock* const clock_;
  ErrorLog* const errors_;
  std::vector<std::unique_ptr<TxnActor>> actors_;
  Scheduler scheduler_;
  std::unique_ptr<AsyncClient> client_;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_TRANSACTIONS_DRIVER_H_
