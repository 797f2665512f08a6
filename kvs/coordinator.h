// Coordinator: runs transactions of one client over the homes of a cluster (docs/transactions.md), one beside the other,
// and numbers them.
//
// Its name, a TransactionThread, lasts as long as nothing goes wrong on the way to any home: a home that loses a
// connection ends what it knows of the coordinator by itself, and takes nothing more under that name. So with the first
// link that breaks all transactions from then on go under another name.
//
// Threads:   the scheduler's.
// Ownership: borrows scheduler and homes. Transactions, and tasks of its calls, end before it goes; commits that nobody
//            waits for any more are cancelled then, and the homes end them.

#ifndef ACRE_KVS_COORDINATOR_H_
#define ACRE_KVS_COORDINATOR_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "kvs/coordinator_name.h"
#include "kvs/transaction.h"
#include "kvs/transaction_id.h"
#include "kvs/transaction_link.h"
#include "kvs/transaction_stats.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"

namespace acre::kvs {

// Runs again with each attempt; must not keep the transaction.
using AsyncTransactionFunction = std::function<Task<absl::Status>(Transaction*)>;

class Coordinator {
 public:
  Coordinator(Scheduler* scheduler, TransactionHomes* homes, uint64_t operation_timeout_ns);
  ~Coordinator();
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  std::unique_ptr<Transaction> Begin();
  // Runs `function`, which outlives the task, and commits, as often as kvs/transaction_attempts.h says.
  Task<absl::Status> Run(const AsyncTransactionFunction& function, const RunOptions& options);

  const TransactionStats& stats() const { return stats_; }

 private:
  friend class Transaction;
  friend class TransactionAttempts;
  using Work = Transaction::Work;
  // Its number is not finished while it lives.
  class Unfinished;

  // ---- Names and numbers.
  // Before a transaction is to go by it: another name, if that is not the link that the last ones went by. True: it is
  // another name.
  bool LookAtLink(size_t server, const std::shared_ptr<TransactionLink>& link);
  // Gives this name up, if it is the one of now.
  void RenewFrom(const CoordinatorName* name);
  // Some home may not have heard how it has ended.
  void Lose(Work* work);
  // Till there is place for another number.
  Task<absl::Status> AwaitNumber(uint64_t deadline_ns);
  Task<void> NumberFreed();
  // There is a name, and these, by server, are its links. Null ones are passed over.
  void SettleLinks(const std::vector<std::shared_ptr<TransactionLink>>& links);
  // Nothing goes under that name any more: homes whose connection lasts are to let go of what they keep of it.
  void Close(const std::shared_ptr<CoordinatorName>& name);
  Task<void> CloseAt(std::shared_ptr<TransactionLink> link, TransactionThread thread);

  // Tells a key's home that what was read of it did not stand. For its statistics: some may be left out.
  void ReportContended(const std::shared_ptr<TransactionLink>& link, absl::string_view key);
  Task<void> ReportAt(std::shared_ptr<TransactionLink> link, std::string key);
  // Runs it to its end, beside the rest.
  void RunAside(Task<void> task);

  // ---- Commit. Results: Work::status and the fields behind it.
  Task<void> Commit(std::shared_ptr<Work> work, uint64_t deadline_ns);
  // What is written to and read from each home.
  absl::Status Divide(Work* work, const std::vector<std::shared_ptr<TransactionLink>>& links) const;
  Task<void> CommitAtOnce(std::shared_ptr<Work> work, uint64_t deadline_ns);
  Task<void> CommitAcross(std::shared_ptr<Work> work, std::unique_ptr<Unfinished> unfinished,
                          uint64_t deadline_ns);
  // A call whose request is there: TransactionPart::status, and the vote if that is OK.
  Task<void> AskForVote(TransactionPart* part, Method method, uint64_t deadline_ns);
  Task<void> LockAt(const Work* work, TransactionPart* part, uint64_t finished_below,
                    uint64_t deadline_ns);
  Task<void> TellAt(const Work* work, TransactionPart* part, Method method, uint64_t finished_below,
                    uint64_t deadline_ns);
  Task<bool> LockAll(Work* work, uint64_t deadline_ns);
  Task<bool> ValidateAll(Work* work, uint64_t deadline_ns);
  Task<void> AbortAll(Work* work, uint64_t deadline_ns);
  // Why a vote, or a call that failed, ends the transaction.
  void SetNotCommitted(Work* work, const TransactionPart& part);
  void SetAborted(Work* work, AbortReason reason);
  void SetUnknown(Work* work, const absl::Status& why);

  Scheduler* const scheduler_;
  TransactionHomes* const homes_;
  const uint64_t operation_timeout_ns_;
  Random random_;  // Of waits: two coordinators that get in each other's way must not wait alike.
  TransactionStats stats_;

  std::shared_ptr<CoordinatorName> name_;  // Null: none yet.
  WaitQueue number_freed_;

  size_t reports_count_ = 0;  // Of contended keys, under way.
  bool has_hold_ = false;     // One at a time.
  WaitQueue hold_given_back_;
  std::list<SpawnHandle> aside_;  // Commits, and what else nobody waits for; some have ended.
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_COORDINATOR_H_
