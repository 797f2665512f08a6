// Session: one thread's part in an epoch: coroutines that run planned transactions against a store,
// one after the other each, and write down what they asked for and were told.
//
// Outcomes: OK is :ok. Aborted, and every error after which nothing has happened, is :fail. What
// may or may not have happened is :info, and its process goes on under a new number, as it may
// still be at it.
//
// Times are taken before a call and after its return. So what is written down is never shorter than
// what it was, and who is told to have come before another one did.

#ifndef ACRE_CLIENT_VERIFY_SESSION_H_
#define ACRE_CLIENT_VERIFY_SESSION_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "client/verify/journal.h"
#include "client/verify/plan.h"
#include "client/verify/record.h"
#include "client/verify/store.h"
#include "runtime/scheduler.h"
#include "runtime/shared_word.h"
#include "runtime/task.h"

namespace acre::verify {

struct SessionOptions {
  PlanOptions plan;
  Epoch epoch;
  uint32_t outstanding = 8;       // Coroutines: so many transactions are under way.
  uint64_t transactions_max = 0;  // Of all sessions together.
};

// Numbers that all sessions of a run share, perhaps in shared memory. Relaxed: each is a number of
// its own, and what belongs together is published by journals.
struct SharedNumbers {
  SharedWord* next_process = nullptr;  // The next process of the history.
  SharedWord* begun = nullptr;         // Transactions of this epoch.
  // Epochs up to this one are over: sessions end what they have under way.
  SharedWord* stopped_epoch = nullptr;
};

class Session {
 public:
  // All of them outlive it.
  Session(Scheduler* scheduler, Store* store, Plans* plans, JournalWriter* journal,
          const SharedNumbers& numbers, SessionOptions options);

  // Till the epoch is over, or the journal is full, and all that was begun has returned.
  Task<void> Run();

  // The first failure that was no conflict, for people; OK: there was none.
  const absl::Status& first_error() const { return first_error_; }

 private:
  class Runner;  // One coroutine.

  // Another transaction may begin. Counts it.
  bool TakeTurn();
  void Note(const absl::Status& error);

  Scheduler* const scheduler_;
  Store* const store_;
  Plans* const plans_;
  JournalWriter* const journal_;
  const SharedNumbers numbers_;
  const SessionOptions options_;
  absl::Status first_error_;
};

}  // namespace acre::verify

#endif  // ACRE_CLIENT_VERIFY_SESSION_H_
