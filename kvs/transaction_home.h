// TransactionHome: the home's side of transactions (docs/transactions.md): what this server knows of each one
// that asked it for locks, from LOCK to TRUNCATE. No network in it: whoever reads requests calls.
//
// Applied at most once: a request that comes again changes nothing, and gets the answer that it got. What
// decides is the transaction's id, whatever else the second request says.
//
// Threads:    confined to its scheduler's. A server has one for each worker, and all that is asked of an id
//             goes to the one that took its LOCK: the worker whose poller reads the coordinator thread's ring.
//             Others (termination asks on other rings) come by Scheduler::Post to that worker. Locks never
//             change threads: it is the work that goes to where they are.
// Ownership:  borrows table, scheduler, holders and contended keys. Destroyed at the end of the table only: what is still
//             locked then is undone, for nobody to see.
// Limits:     for each coordinator thread kTransactionWindow sequences from the lowest that may still come:
//             that bounds what a coordinator that never truncates can make it keep.

#ifndef ACRE_KVS_TRANSACTION_HOME_H_
#define ACRE_KVS_TRANSACTION_HOME_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "kvs/contended_keys.h"
#include "kvs/read_mark.h"
#include "kvs/table.h"
#include "kvs/transaction_hold.h"
#include "kvs/transaction_holders.h"
#include "kvs/transaction_id.h"
#include "kvs/write_plan.h"
#include "lock/local_lock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"

namespace acre::kvs {

constexpr uint64_t kTransactionWindow = 4096;
// Keys of one hold at one home, read or written. As many as fit into one call, however long they are.
constexpr size_t kTransactionHoldKeysMax = 256;
// How long a hold is waited for at most, and how long it lasts at most once it is granted.
constexpr uint64_t kHoldNsMax = 1'000'000'000;

// What a home tells another one that has to end a transaction of a dead coordinator.
// A number is never reused.
enum class TransactionOutcome : uint8_t {
  // Nothing is known, and nothing promised: never seen, or truncated, which the two of them cannot tell
  // apart any more. (Promise() never answers this for an id that may still come.)
  kUnknown = 0,
  kCommitted = 1,
  kAborted = 2,  // Or voted no: it never commits.
  kLocked = 3,   // Voted yes, undecided.
  // No LOCK or COMMIT of it will be taken any more. No outcome: what it locked stays locked until Resolve(). Also of all
  // that is not known of a closed thread.
  kPromised = 4,
};

// A transaction that still holds locks.
struct OpenTransaction {
  TransactionId id;
  bool promised = false;
  std::vector<TransactionParticipant> participants;
  size_t writes_count = 0;  // Keys that it writes here.
};

class TransactionHome {
 public:
  // `holders`, `contended`: one for all workers of a server. `contended` is told the key of each write that was refused
  // for its lock or for what was read of it; null: nobody is. Of other reads a home knows no key: whoever validates
  // reports them.
  TransactionHome(Table* table, Scheduler* scheduler, TransactionHolders* holders,
                  ContendedKeys* contended = nullptr);
  ~TransactionHome();
  TransactionHome(const TransactionHome&) = delete;
  TransactionHome& operator=(const TransactionHome&) = delete;

  // For the end of a table, as TableWriter::ForgetAbandonedLocks(): no task of Hold() is left anywhere.
  void ForgetAbandonedLocks() { locks_->ForgetAbandoned(); }

  // Holds, for a transaction that was refused too often ("Holds" in docs/transactions.md): takes the locks of all
  // buckets where records of these keys lie or may lie, in address order, waiting. Marks nothing. A thread has
  // one at a time; it says its own number `hold_id` for it, and a new one for each.
  // `keys` need only live until this returns, before the task runs. The home outlives the task; a task that is destroyed
  // gives everything back.
  // It ends with Release(), ReleaseHoldsOf(), the commit of a transaction under it, or kHoldNsMax after it was granted.
  // Again, once it is granted: OK, nothing more.
  // DeadlineExceeded: the scheduler's time is `deadline_ns`, or it was waited for kHoldNsMax. ResourceExhausted: no
  // descriptor is left. InvalidArgument, OutOfRange: a peer's bytes (kvs/limits.h; not our key; more than
  // kTransactionHoldKeysMax). FailedPrecondition: the thread has another one, or waits for it. Aborted: released while it
  // was awaited. Nothing is held then.
  Task<absl::Status> Hold(const TransactionThread& thread, uint64_t hold_id,
                          absl::Span<const absl::string_view> keys, uint64_t deadline_ns);
  // Ends it, granted or awaited. A transaction that was locked under it keeps the locks until its outcome. No effect on
  // one that is not known.
  void Release(const TransactionThread& thread, uint64_t hold_id);
  // For a connection that ended.
  void ReleaseHoldsOf(const TransactionThread& thread);

  // LOCK: WritePlan::Lock(). `participants`: all homes of the transaction, kept for its termination.
  // `hold_id`: a hold of the same thread: what it holds counts as locked. With the transaction's commit it ends; a no or
  // an abort leaves it, to run the function again. One that is not known, not granted yet, or
  // in use by another transaction holds nothing.
  // Again: the same vote, kOver if it has been promised or aborted since. kOver also for what was truncated,
  // kNoMemory beyond the window.
  [[nodiscard]] TransactionVote Lock(const TransactionId& id,
                                     absl::Span<const TransactionParticipant> participants,
                                     absl::Span<const TransactionWrite> writes,
                                     absl::Span<const ReadMark> misses,
                                     absl::optional<uint64_t> hold_id = absl::nullopt);
  // All of a transaction that has no other home, in one call: Lock(), the validation of `reads`, which it does not
  // write, and install or abort. Yes: committed. A miss in a home that it inserts into or deletes from belongs
  // to `misses`. Again: the same vote.
  [[nodiscard]] TransactionVote CommitAtOnce(const TransactionId& id,
                                             absl::Span<const TransactionWrite> writes,
                                             absl::Span<const ReadMark> misses,
                                             absl::Span<const ReadMark> reads,
                                             absl::optional<uint64_t> hold_id = absl::nullopt);

  // COMMIT. FailedPrecondition: it was not locked here, was aborted, or promised away: nothing was changed, and a
  // coordinator that asks for it is wrong, or fenced.
  [[nodiscard]] absl::Status Commit(const TransactionId& id);
  // ABORT. Also of an id that never came: its LOCK, if it is still to come, will get kOver. FailedPrecondition: it
  // is committed. ResourceExhausted: beyond the window of a thread that is not closed.
  [[nodiscard]] absl::Status Abort(const TransactionId& id);

  TransactionOutcome Query(const TransactionId& id) const;
  // The same, and makes the promise where there is no outcome. For a dead coordinator's, once it is fenced and
  // its ring is drained. kLocked is never the answer. kUnknown: it is over and truncated, or beyond the window of a thread that
  // is not closed: CloseThread() first.
  TransactionOutcome Promise(const TransactionId& id);
  // The end of a dead coordinator's transaction, decided as docs/transactions.md says. OK, and nothing more, of what is
  // truncated: how that ended nobody knows here.
  // FailedPrecondition: the outcome is known and another one, or it is to commit and never held its locks here: somebody
  // decided wrongly, and nothing was changed.
  [[nodiscard]] absl::Status Resolve(const TransactionId& id, bool commit);

  // TRUNCATE: these sequences of a thread are over at every home that they have, and so are all below
  // `finished_below`, seen here or not; none of them comes again. The same request may.
  // FailedPrecondition: one of them still holds locks here: nothing was changed.
  // Of no `sequences`: for each request's watermark: one look-up where it says nothing new, else the work of taking out what
  // it ends.
  [[nodiscard]] absl::Status Truncate(const TransactionThread& thread,
                                      absl::Span<const uint64_t> sequences,
                                      uint64_t finished_below);

  // The end of a coordinator ("Termination" in docs/transactions.md): nothing that was not known of it before is taken any
  // more: LOCK and CommitAtOnce get kOver, Hold() Aborted, and its holds end. COMMIT and ABORT of what is locked are taken
  // as ever, until they are promised away. Again: nothing more.
  // Kept until ForgetThread(), also of a thread that was never seen: a few words for each coordinator whose end not all
  // homes have confirmed yet.
  void CloseThread(const TransactionThread& thread);
  // What is to be ended of it. Ascending.
  std::vector<OpenTransaction> OpenOf(const TransactionThread& thread) const;
  // All homes that the LOCKs of its kept transactions named, decided ones too: who may ask for what is kept here. Each
  // once, ascending.
  std::vector<TransactionParticipant> ParticipantsOf(const TransactionThread& thread) const;
  // All outcomes and promises of a dead coordinator, once all homes have confirmed them. It is fenced: nothing of it comes
  // any more. FailedPrecondition: something of it is still locked: nothing was changed.
  [[nodiscard]] absl::Status ForgetThread(const TransactionThread& thread);

  // Transactions that hold locks; that are kept in all.
  uint64_t open_count() const { return open_count_; }
  uint64_t kept_count() const;
  // Holds, granted or awaited.
  size_t holds_count() const { return holds_.size(); }

 private:
  enum class State : uint8_t {
    kUnseen,  // Promised before its LOCK came.
    kLocked,
    kVotedNo,
    kCommitted,
    kAborted,
    kTruncated,  // Only the number is kept, until all below it are finished.
  };
  struct Record {
    State state = State::kUnseen;
    bool promised = false;
    TransactionVote vote;
    std::unique_ptr<WritePlan> plan;  // While it is locked.
    std::vector<TransactionParticipant> participants;
  };
  struct Thread {
    uint64_t finished_below = 0;
    bool is_closed = false;
    absl::btree_map<uint64_t, Record> records;  // By sequence, none below finished_below.
  };

  // Null: nothing is known of it.
  const Record* Find(const TransactionId& id) const;
  Record* Find(const TransactionId& id);
  // Made if need be. Null: finished already, or beyond the window.
  Record* FindOrMake(const TransactionId& id);
  // Truncate() was told that it is over at all its homes.
  bool IsTruncated(const TransactionId& id) const;
  // A closed thread has promised it: it has no record, is not over, and will never have one.
  bool IsPromisedByClosing(const TransactionId& id) const;
  // Of a LOCK that comes for the first time. Null: it does not, or is refused: *vote is the answer.
  Record* Begin(const TransactionId& id, TransactionVote* vote);
  TransactionVote LockInto(Record* record, const TransactionId& id,
                           absl::Span<const TransactionWrite> writes,
                           absl::Span<const ReadMark> misses, absl::optional<uint64_t> hold_id);
  bool ReadsStand(absl::Span<const ReadMark> reads, size_t writes_count,
                  TransactionVote* vote) const;
  absl::StatusOr<std::vector<MappedLock>> LocksOf(absl::Span<const absl::string_view> keys) const;
  Task<absl::Status> Take(TransactionThread thread, uint64_t hold_id, std::vector<MappedLock> locks,
                          uint64_t deadline_ns);
  Task<void> ReleaseAt(TransactionThread thread, uint64_t hold_id, uint64_t time_ns);
  // Granted, and lent to no plan. Null: there is none.
  std::shared_ptr<TransactionHold> FindHold(const TransactionThread& thread,
                                            absl::optional<uint64_t> hold_id) const;
  void Report(const TransactionVote& vote, absl::Span<const TransactionWrite> writes);
  // Idle ones are kept: a plan's memory is used again.
  std::unique_ptr<WritePlan> TakePlan();
  void GivePlan(std::unique_ptr<WritePlan> plan);
  void Install(Record* record);
  void Undo(Record* record);
  static TransactionVote AnswerAgain(const Record& record);

  Table* const table_;
  TransactionHolders* const holders_;
  ContendedKeys* const contended_;
  const std::unique_ptr<LockThread> locks_;
  std::vector<std::unique_ptr<WritePlan>> idle_plans_;
  absl::flat_hash_map<TransactionThread, Thread> threads_;
  absl::flat_hash_map<TransactionThread, std::shared_ptr<TransactionHold>> holds_;
  uint64_t open_count_ = 0;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_TRANSACTION_HOME_H_
