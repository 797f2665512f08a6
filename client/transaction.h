// Transactions: any keys on any servers of a cluster, strictly serialisable: as if all of them ran one after the
// other, each at a moment between its beginning and the return of its Commit() (docs/transactions.md).
//
// Most programs want RunTransaction(), which runs a function again as often as others get in its way:
//
//   absl::Status moved = client->RunTransaction([&](Transaction* transaction) -> absl::Status {
//     ...Get, Put...
//     return absl::OkStatus();                       // Commit. Any other status: nothing happens, and it is returned.
//   });
//
// What a transaction has read is never half of another one's work, not even before it fails: each read makes sure
// that all reads before it still stand (opacity). So a function may rely on what holds between its records.
//
// Writes are kept until Commit(); reads see them. A transaction that writes nothing takes no lock.
//
// Errors, besides those of client/client.h with their meaning (NotFound by Get alone):
//   Aborted             somebody else got in the way: reason() says who and where. Nothing happened: begin anew, or use
//                       RunTransaction(). All later calls of this transaction say the same.
//   Unavailable         from Commit(): ask is_outcome_unknown() (of RunTransaction(): RunOptions::result): if so it may or
//                       may not have happened, all of it or nothing. Else, and from other calls, nothing happened.
//   FailedPrecondition  the connection reads no memory of the server (Path::kRpc, kTcp): use another path. Or the
//                       transaction has ended.
//   InvalidArgument     a key or value out of limits; more than kTransactionWritesMax writes to a server, or more than
//                       about 1 MiB of them. Put and Delete say so where they can, else Commit().
//
// Cost: a read is a one-sided READ, a validated one another 8 bytes. A commit on one server is one call. On several:
// one call to each that is written, READs of 8 bytes of what was only read, one WRITE to each.
//
// Threads:   those of the client that began it.
// Ownership: a transaction borrows its client, which outlives it. Destroyed before Commit(): nothing happens.

#ifndef ACRE_CLIENT_TRANSACTION_H_
#define ACRE_CLIENT_TRANSACTION_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kvs/coordinator.h"
#include "kvs/transaction.h"
#include "kvs/transaction_stats.h"

namespace acre {

using kvs::AbortPhaseName;
using kvs::AbortReason;
using kvs::RunOptions;
using kvs::RunResult;
using kvs::TransactionStats;

// The coroutine form.
using AsyncTransaction = kvs::Transaction;
using kvs::AsyncTransactionFunction;

class BlockingCalls;  // client/blocking_calls.h

// The blocking form.
class Transaction {
 public:
  // For Client.
  Transaction(BlockingCalls* calls, std::unique_ptr<AsyncTransaction> owned);
  Transaction(BlockingCalls* calls, AsyncTransaction* borrowed);
  Transaction(Transaction&&) = default;

  absl::StatusOr<std::string> Get(absl::string_view key);
  absl::Status Get(absl::string_view key, std::string* value);  // Reuses the caller's memory.
  void MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                absl::Span<absl::Status> statuses);
  [[nodiscard]] absl::Status Put(absl::string_view key, absl::string_view value) {
    return transaction_->Put(key, value);
  }
  [[nodiscard]] absl::Status Delete(absl::string_view key) { return transaction_->Delete(key); }
  [[nodiscard]] absl::Status Commit();

  const AbortReason& reason() const { return transaction_->reason(); }
  bool is_outcome_unknown() const { return transaction_->is_outcome_unknown(); }
  int attempts_before() const { return transaction_->attempts_before(); }

 private:
  BlockingCalls* calls_;
  std::unique_ptr<AsyncTransaction> owned_;  // Null: RunTransaction() has it.
  AsyncTransaction* transaction_;
};
using TransactionFunction = std::function<absl::Status(Transaction*)>;

}  // namespace acre

#endif  // ACRE_CLIENT_TRANSACTION_H_
