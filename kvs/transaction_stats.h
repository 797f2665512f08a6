// What became of transactions: why one was aborted, and what a coordinator counts. For users too (client/transaction.h).

#ifndef ACRE_KVS_TRANSACTION_STATS_H_
#define ACRE_KVS_TRANSACTION_STATS_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace acre::kvs {

// Why a transaction was aborted.
struct AbortReason {
  enum class Phase : uint8_t {
    kNone,
    kRead,      // While it ran: what it had read has changed, or a record stayed locked.
    kLock,      // A key that it writes was locked, or had changed since it was read.
    kValidate,  // A key that it only read had changed, or was locked, when all its locks were held.
    kDeadline,  // A server did not answer in time.
    kFenced,  // A server has given this client up, was started anew, or goes by another cluster file.
  };
  Phase phase = Phase::kNone;
  std::string key;     // "": no key in particular.
  std::string winner;  // The transaction that had the key, if it is known: "transaction 7.3.91.12".
};
constexpr size_t kAbortPhases = 6;
// "none", "read", "lock", "validate", "deadline", "fenced".
const char* AbortPhaseName(AbortReason::Phase phase);

// Of one coordinator, since it was made. A READ of a mapped server's memory, which is a load, counts as one.
struct TransactionStats {
  uint64_t committed = 0;               // Read-only ones included.
  uint64_t aborted[kAbortPhases] = {};  // Attempts, by AbortReason::Phase.
  uint64_t unknown = 0;                 // Commits whose outcome is not known.
  uint64_t reads = 0;                   // Of records.
  uint64_t read_validations = 0;        // READs of 8 bytes while transactions ran (opacity).
  uint64_t commit_validations = 0;      // The same in commits.
  uint64_t calls = 0;
  uint64_t notices = 0;  // One-way messages.
  // Waited for, one after the other: what went to several servers at a time counts once. Of commits and reads.
  uint64_t round_trips = 0;
  uint64_t read_validation_round_trips = 0;  // Not in round_trips: for opacity alone.
  uint64_t fallbacks = 0;                    // Runs under locks that were taken before.
};

// Of one run, however it ended.
struct RunResult {
  int attempts = 0;
  AbortReason reason;  // Why the last attempt failed, if that was it.
  // The last attempt may or may not have been committed, all of it or nothing.
  bool is_outcome_unknown = false;
};

struct RunOptions {
  // From then on: DeadlineExceeded, with the last reason. 0: the client's operation_timeout_ms.
  int64_t timeout_ms = 0;
  // After so many failures the keys of the last attempt are locked, in order, before the function runs again: so
  // nobody starves.
  int attempts_before_locks = 8;
  // Filled in, if it is not null. Outlives the run.
  RunResult* result = nullptr;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_TRANSACTION_STATS_H_
