// TransactionAttempts: a transaction that is run again as long as others get in its way.
//
//   for (;;) {
//     const absl::Status said = ...what the transaction does, with attempts.Begin();
//     absl::optional<absl::Status> result = co_await attempts.End(said);
//     if (result.has_value()) co_return *result;
//   }
//
// Between two attempts it waits for a time at random, up to a bound that doubles. After some it does not run into others any
// more: it takes the locks of all keys of the last attempt first, read or written, waiting, in one order for everybody (servers
// by their index, locks of a server by address), within a bounded time, and runs under them: nobody can change these keys
// meanwhile. Of keys that come anew its LOCK takes the locks if they are free; if not it takes a larger set, and
// runs again. So nobody starves, as long as what it touches does not change for ever, and is at most
// kTransactionHoldKeysMax keys of a server.
//
// Threads:   the coordinator's.
// Ownership: borrows the coordinator. Destroyed, it gives back the locks.

#ifndef ACRE_KVS_TRANSACTION_ATTEMPTS_H_
#define ACRE_KVS_TRANSACTION_ATTEMPTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/optional.h"
#include "kvs/coordinator_name.h"
#include "kvs/transaction.h"
#include "kvs/transaction_id.h"
#include "kvs/transaction_link.h"
#include "kvs/transaction_stats.h"
#include "runtime/task.h"

namespace acre::kvs {

class TransactionAttempts {
 public:
  TransactionAttempts(Coordinator* coordinator, const RunOptions& options);
  ~TransactionAttempts();
  TransactionAttempts(const TransactionAttempts&) = delete;
  TransactionAttempts& operator=(const TransactionAttempts&) = delete;

  // The next attempt. Good till End().
  Transaction* Begin();
  // Commits, if `said`, by whoever ran it, is OK. nullopt: another attempt is due, and it is time for it.
  // Else the result: `said`; that of the commit; DeadlineExceeded with the reason why the last attempt failed.
  Task<absl::optional<absl::Status>> End(absl::Status said);

 private:
  Task<absl::optional<absl::Status>> EndAttempt(absl::Status said);
  Task<void> BackOff();
  // Locks all keys that the last attempts touched. Requires: it holds none. Not OK: nor does it then.
  Task<absl::Status> TakeHold();
  // Those of the last attempt, with those of earlier ones as long as a home would take them all.
  absl::Status GatherKeys();
  absl::Status AddKeys();
  Task<absl::Status> HoldAt(size_t server, uint64_t till_ns);
  Task<void> HoldGivenBack();
  // The task that does it, or an empty one: there is none. What is not awaited is to be run aside.
  Task<void> GiveBackHold();
  // At all that may have locks; then another one may have a hold.
  static Task<void> Release(Coordinator* coordinator,
                            std::vector<std::shared_ptr<TransactionLink>> links,
                            TransactionId hold);

  Coordinator* const coordinator_;
  const RunOptions options_;
  const uint64_t deadline_ns_;
  const std::unique_ptr<Transaction> transaction_;
  int attempts_ = 0;  // That have ended.

  // The hold. Number 0: none.
  uint64_t hold_number_ = 0;
  std::shared_ptr<CoordinatorName> hold_name_;
  std::vector<std::shared_ptr<TransactionLink>> hold_links_;  // Where there may be locks.
  std::vector<std::vector<std::string>> keys_;                // That attempts touched, by server.
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_TRANSACTION_ATTEMPTS_H_
