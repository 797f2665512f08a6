// TransactionHold: buckets' locks that a coordinator holds at one home before it asks for LOCK: the fallback
// against starvation ("Holds" in docs/transactions.md). Nothing is marked: readers read on, and what they validate
// stands.
//
// Threads:    confined to the LockThread's.
// Ownership:  borrows lock thread and holders. Owns the locks: they are given back by its destructor alone. It is shared
//             by whoever needs them: the home, for as long as the hold lasts, the wait for it, and the plan
//             that works under it (kvs/write_plan.h). So a hold that ends takes no lock away from a plan.
// Deadlock:   locks are taken in address order, blocking, as plain writers do; LOCK never waits.

#ifndef ACRE_KVS_TRANSACTION_HOLD_H_
#define ACRE_KVS_TRANSACTION_HOLD_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "kvs/transaction_holders.h"
#include "kvs/transaction_id.h"
#include "lock/local_lock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/address.h"

namespace acre::kvs {

class TransactionHold {
 public:
  TransactionHold(LockThread* locks, TransactionHolders* holders, const TransactionThread& thread,
                  uint64_t id)
      : locks_(locks), holders_(holders), thread_(thread), id_(id) {}
  ~TransactionHold();
  TransactionHold(const TransactionHold&) = delete;
  TransactionHold& operator=(const TransactionHold&) = delete;

  // Once. Takes these locks, which ascend. Others are told of them as of {thread, sequence 0}.
  // DeadlineExceeded: the scheduler's time is `deadline_ns`. ResourceExhausted: no descriptor is left in the arena.
  // Aborted: End() came first. Then, and when the task is destroyed, it is the destructor that gives back.
  Task<absl::Status> TakeAll(std::vector<MappedLock> wanted, uint64_t deadline_ns);

  // All are held.
  bool is_granted() const { return is_granted_; }
  bool Holds(GlobalAddress lock) const;
  // To one plan at a time: two that both took its locks for theirs would write the same slots.
  bool is_lent() const { return is_lent_; }
  void SetLent(bool is_lent) { is_lent_ = is_lent; }
  // No use is made of it any more: whoever waits for it gives up.
  void End() { is_ended_ = true; }
  // Which calls End() one day, unless the hold is gone before.
  void SetTimer(SpawnHandle timer) { timer_ = std::move(timer); }

  const TransactionThread& thread() const { return thread_; }
  uint64_t id() const { return id_; }

 private:
  struct Held {
    LockThread::Place* place = nullptr;
    GlobalAddress lock;
  };

  TransactionId holder() const { return {thread_, 0}; }

  LockThread* const locks_;
  TransactionHolders* const holders_;
  const TransactionThread thread_;
  const uint64_t id_;
  std::vector<Held> held_;                // Ascending.
  LockThread::Place* waiting_ = nullptr;  // In line for it.
  bool is_granted_ = false;
  bool is_ended_ = false;
  bool is_lent_ = false;
  SpawnHandle timer_;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_TRANSACTION_HOLD_H_
