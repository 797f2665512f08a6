// WritePlan: all that one transaction writes at one home, from LOCK to install or abort: the buckets' locks,
// the memory set aside, the marks on what will change. See docs/transactions.md for the protocol around it.
//
// Threads:    confined to the LockThread's. The locks are the plan's, no coroutine's: nothing waits.
// Ownership:  borrows table, lock thread and holders. Owns locks, marks and memory: destroyed while locked it
//             undoes everything, as Undo() does. From LOCK to install or undo it is one transaction's; in between
//             it is idle, and serves the next.
// Invariants: while it is locked, every slot that it will touch lies in a bucket whose lock it holds, or in
//             the chain of one, or in an overflow bucket that nobody else knows. So what Lock() found stays
//             where it is, and Install() cannot fail.
//             Marked: slots to be updated or emptied, and the structure versions of homes that keys are
//             inserted into or deleted from: odd, their bodies untouched.

#ifndef ACRE_KVS_WRITE_PLAN_H_
#define ACRE_KVS_WRITE_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "kvs/bucket.h"
#include "kvs/new_record.h"
#include "kvs/read_mark.h"
#include "kvs/segment.h"
#include "kvs/slot.h"
#include "kvs/table.h"
#include "kvs/transaction_hold.h"
#include "kvs/transaction_holders.h"
#include "kvs/transaction_id.h"
#include "lock/local_lock.h"

namespace acre::kvs {

// Of one transaction at one home.
constexpr size_t kTransactionWritesMax = 128;

// What one key becomes. Bytes of a peer, judged by Lock().
struct TransactionWrite {
  enum class Kind : uint8_t { kPut, kDelete };
  // What the transaction read of the key before.
  enum class Expect : uint8_t {
    kNothing,  // Blind.
    kFound,    // `mark` is ReadMark::OfHit.
    kAbsent,   // `mark` is ReadMark::OfMiss.
  };
  Kind kind = Kind::kPut;
  Expect expect = Expect::kNothing;
  ReadMark mark;
  absl::string_view key;
  absl::string_view value;  // Of a put.
};

// What a home says to LOCK. Anything but kYes: nothing is left behind.
struct TransactionVote {
  // A number is never reused.
  enum class Answer : uint8_t {
    kYes = 0,
    kLocked =
        1,  // A bucket is locked: try again. `winner`: the transaction that has it, if it is one and known.
    kChanged = 2,   // What was read has changed: run the transaction again.
    kNoMemory = 3,  // `status` is ResourceExhausted.
    kInvalid = 4,   // `status` says why this can never work: InvalidArgument, OutOfRange, DataLoss.
    kOver = 5,      // The id has an outcome, or a promise, and takes no LOCK any more.
  };
  Answer answer = Answer::kYes;
  // Which write (or, behind those, which miss; behind those, which read) it is about, unless kYes or kOver.
  size_t index = 0;
  absl::optional<TransactionId> winner;
  absl::Status status;

  bool is_yes() const { return answer == Answer::kYes; }
};

class WritePlan {
 public:
  WritePlan(Table* table, LockThread* locks, TransactionHolders* holders)
      : table_(table), locks_(locks), holders_(holders) {}
  ~WritePlan();
  WritePlan(const WritePlan&) = delete;
  WritePlan& operator=(const WritePlan&) = delete;

  // Of an idle plan. Takes every lock without waiting, in address order, sets aside slots, overflow buckets and objects,
  // looks whether what was read still stands, and marks. All or nothing.
  // `misses`: of keys that the transaction does not write, in homes that it inserts into or deletes from: it
  // will find the structure versions there odd by its own doing, so they are judged here. kInvalid for one of
  // another home: only locks make that last.
  // Behind it, a load of any word by this thread comes after the marks for every CPU: two plans that each
  // lock, then validate what the other writes, do not both find it unmarked.
  // `hold`: of the same lock thread, granted, lent to no other plan, or null. What it holds counts as locked, and stays so
  // until the plan is idle again; it is not the plan that gives it back.
  [[nodiscard]] TransactionVote Lock(const TransactionId& id, std::shared_ptr<TransactionHold> hold,
                                     absl::Span<const TransactionWrite> writes,
                                     absl::Span<const ReadMark> misses);
  // Requires: Lock() said yes, and nothing since: then it is idle. Every key has its new value, then the locks are free.
  void Install();
  // Likewise. Every word that was marked is what it was before: its body was never touched, so no reader can
  // tell, and a version that steps back to what it was names the same bytes.
  void Undo();
  // Once Lock() has said yes.
  size_t writes_count() const { return steps_.size(); }

  // That it works under. Null: none.
  const std::shared_ptr<TransactionHold>& hold() const { return hold_; }

 private:
  // One key, and what its install does.
  struct Step {
    enum class Kind : uint8_t {
      kNothing,  // A delete of what is not there.
      kUpdate,
      kInsert,
      kDelete,
    };
    Kind kind = Kind::kNothing;
    size_t home = 0;  // Index in homes_.
    uint64_t hash = 0;
    absl::optional<NewRecord> record;  // Of a put.
    Slot* slot = nullptr;              // Found, or set aside.
    size_t position = kNeighbourhood;  // In the neighbourhood; kNeighbourhood: in the chain.
    SlotWord old_word;                 // What stood in it, even.
    Segment::Freed replaced;           // The object that old_word's body names.
  };
  struct Home {
    Segment* segment = nullptr;
    uint64_t index = 0;
    Bucket* bucket = nullptr;
    bool changes = false;  // A key is inserted or deleted: its structure version is marked.
    // In no chain yet; each has an insert that goes there. Zeroed, or as their last chain left them, empty.
    std::vector<Bucket*> new_overflow;
  };
  struct Held {
    LockThread::Place* place = nullptr;
    GlobalAddress lock;
  };
  // A write on its way to its step.
  struct Target {
    Segment* segment = nullptr;
    uint64_t home = 0;
    uint64_t hash = 0;
    size_t index = 0;  // Among the writes.
    absl::string_view key;
  };

  // Of targets_, which it finds.
  TransactionVote Judge(absl::Span<const TransactionWrite> writes);
  TransactionVote Take(const Target& target, const TransactionWrite& write, Step* step);
  // Where the record is, with the locks that it takes to say so. A vote other than yes: not to be had.
  TransactionVote Find(const Target& target, Segment::Place* place);
  bool MeetsExpectation(const Step& step, const TransactionWrite& write) const;
  [[nodiscard]] bool Reserve(Step* step);
  [[nodiscard]] bool ReserveInChain(Step* step);
  // That no step has set aside yet. Null: none.
  Slot* FreeSlotOf(Bucket* bucket) const;
  bool IsReserved(const Slot& slot) const;
  TransactionVote JudgeMiss(const ReadMark& miss, size_t index) const;
  void Mark();

  void InstallUpdate(Step* step);
  void LinkNewOverflow(const Home& home);
  void InstallInsert(Step* step);
  void InstallDelete(Step* step);
  void TidyChain(const Home& home);
  static void RemoveEmptyOverflow(const Home& home);
  void RetireReplaced();
  // What there was to do. Objects that were not published go with it.
  void Forget();
  // Its own, and the use of the hold.
  void ReleaseLocks();

  size_t HomeOf(Segment* segment, uint64_t index);
  // Nothing: held now, or already.
  absl::optional<TransactionVote> Acquire(Segment* segment, uint64_t bucket, size_t write_index);
  bool Holds(GlobalAddress lock) const;

  Table* const table_;
  LockThread* const locks_;
  TransactionHolders* const holders_;
  TransactionId id_;
  std::shared_ptr<TransactionHold> hold_;
  // Empty while it is idle; their memory is used again.
  std::vector<Target> targets_;  // Within Lock() alone.
  std::vector<Held> held_;       // None of the hold's.
  std::vector<Home> homes_;      // In address order.
  std::vector<Step> steps_;      // Likewise.
  bool is_marked_ = false;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_WRITE_PLAN_H_
