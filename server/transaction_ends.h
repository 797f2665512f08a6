// TransactionEnds: a home's part in ending the transactions of coordinators that it has lost ("Termination" in
// docs/transactions.md). It asks the other homes of each one that is open here, decides, tells them; and lets go of what
// is kept of the coordinator once nobody can ask for it any more.
//
// Each lost thread has a task of its own, which comes again, at a growing distance, until it is done: a home that does not
// answer keeps nobody else waiting. What stays open longer than that is told to operators: WhyOpen(), Snapshot().
//
// It stands on two interfaces, the workers of this server and the other servers, so that the simulator can be both.
//
// Threads:   confined to its scheduler's, unless it says otherwise.
// Ownership: borrows scheduler and both interfaces; they outlive it. Destroyed on the scheduler's thread, or when that
//            runs no more.
// Limits:    as many lost threads as are told; kTurnsMax of them ask at a time, each one question after the other.

#ifndef ACRE_SERVER_TRANSACTION_ENDS_H_
#define ACRE_SERVER_TRANSACTION_ENDS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "kvs/transaction_home.h"
#include "kvs/transaction_id.h"
#include "runtime/mutex.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"

namespace acre::server {

// Who is told of coordinators that this home has given up.
class LostCoordinators {
 public:
  virtual ~LostCoordinators() = default;
  // Nothing of it is taken here any more, and all that it had placed before has been applied. To be told whenever a home
  // closes a thread, whatever made it do so: a connection that broke, or another home's Promise or Close. Again: nothing
  // more. Any thread.
  virtual void OnLost(const kvs::TransactionThread& thread) = 0;
};

// The transactions of this server, whichever worker has them (kvs/transaction_home.h). Called on the scheduler of
// TransactionEnds, of threads that were told as lost. Arguments are copied.
class LocalHome {
 public:
  virtual ~LocalHome() = default;
  // As TransactionHome's; but of a closed thread, what nothing is known of and was not truncated is promised without a
  // record: nothing of it comes any more. So there is always room for it.
  virtual Task<kvs::TransactionOutcome> Promise(kvs::TransactionId id) = 0;
  virtual Task<absl::Status> Resolve(kvs::TransactionId id, bool commit) = 0;
  virtual Task<std::vector<kvs::OpenTransaction>> OpenOf(kvs::TransactionThread thread) = 0;
  // All that are named by records that are kept of it, open or not; each once or more often.
  virtual Task<std::vector<kvs::TransactionParticipant>> ParticipantsOf(
      kvs::TransactionThread thread) = 0;
  // Outcomes and promises. Not that the thread is closed: whoever has closed it takes nothing of it for as long as there
  // is a connection on which something could come.
  // FailedPrecondition: something of it is open, or its connection is not gone yet: nothing happened, to be asked again.
  virtual Task<absl::Status> Forget(kvs::TransactionThread thread) = 0;
};

// The other servers of the cluster. Called on the scheduler of TransactionEnds; a task that is destroyed leaves open
// whether the other one was asked. Every call ends in bounded time.
//
// Errors: FailedPrecondition - there is another incarnation of that server, or no such server: the one that was meant
// never comes back. DataLoss - it answers what a right home cannot. All others, Unavailable above all: not now; the
// message says to people what is the matter.
class OtherHomes {
 public:
  virtual ~OtherHomes() = default;
  // Unless the other one knows the outcome it closes the transaction's thread first, and applies what was placed.
  virtual Task<absl::StatusOr<kvs::TransactionOutcome>> Promise(
      kvs::TransactionParticipant participant, kvs::TransactionId id) = 0;
  // OK also where nothing is known of it: nothing is done there. DataLoss: it has another outcome.
  virtual Task<absl::Status> Resolve(kvs::TransactionParticipant participant, kvs::TransactionId id,
                                     bool commit) = 0;
  // The other one takes nothing more of the thread. OK: and nothing of it is open there. Unavailable: something still is.
  virtual Task<absl::Status> Close(kvs::TransactionParticipant participant,
                                   kvs::TransactionThread thread) = 0;
  // "server 3 at HOST:PORT". Any thread.
  virtual std::string NameOf(const kvs::TransactionParticipant& participant) const = 0;
};

class TransactionEnds final : public LostCoordinators {
 public:
  static constexpr size_t kTurnsMax = 64;
  static constexpr uint64_t kDistanceNsMin = 10'000'000;
  static constexpr uint64_t kDistanceNsMax = 1'000'000'000;

  // `self`: this server, as LOCK names it.
  TransactionEnds(Scheduler* scheduler, const kvs::TransactionParticipant& self, LocalHome* local,
                  OtherHomes* others);
  ~TransactionEnds() override;
  TransactionEnds(const TransactionEnds&) = delete;
  TransactionEnds& operator=(const TransactionEnds&) = delete;

  void OnLost(const kvs::TransactionThread& thread) override;

  // Why a transaction is not ended yet, for people; "": it is none of those that wait. Any thread.
  std::string WhyOpen(const kvs::TransactionId& id) const;
  // What waits, and for what: at most `count_max` of them, in no order. Any thread.
  struct Waiting {
    kvs::TransactionId id;  // Sequence 0: nothing of the thread is open, its outcomes are kept.
    std::string why;
  };
  std::vector<Waiting> Snapshot(size_t count_max) const;

  // Any thread.
  struct Counts {
    uint64_t resolved_commit = 0;  // Since the start, by this home; likewise:
    uint64_t resolved_abort = 0;
    uint64_t asks = 0;            // Questions to other homes.
    uint64_t contradictions = 0;  // Homes that have another outcome than was decided.
    uint64_t forgotten =
        0;  // Answers "unknown": of what is open here a right home of a right coordinator has none.
    uint64_t unresolved = 0;  // Now: transactions that wait for a home.
    uint64_t lost = 0;        // Now: threads that are not done with.
  };
  Counts counts() const;

 private:
  using Why = std::shared_ptr<const std::string>;
  struct Open {
    kvs::TransactionId id;
    Why why;
  };
  // A thread that is not done with.
  struct Lost {
    bool again = false;  // It was told once more since the last turn began.
    SpawnHandle task;
    std::vector<Open> open;  // As of the last turn.
    Why closing;             // Null: something is open, or no turn was had yet.
  };
  // One look at all that is open of a thread: who does not answer is asked once.
  struct Turn {
    absl::flat_hash_map<uint32_t, Why> silent;  // By server_index.
    std::vector<Open> open;
    Why closing;
  };
  // What is known of one transaction.
  struct Findings {
    absl::optional<bool> commit;  // Decided.
    Why waits_for;                // Not null: somebody has neither promised nor decided.
  };

  void Begin(const kvs::TransactionThread& thread);
  Task<void> End(kvs::TransactionThread thread);
  // True: nothing is kept of the thread any more.
  Task<bool> TakeTurn(kvs::TransactionThread thread, Turn* turn);
  // False: undecided. The arguments outlive the task.
  Task<bool> EndOne(const kvs::OpenTransaction& transaction, Turn* turn);
  Task<void> AskAll(const kvs::OpenTransaction& transaction, Turn* turn, Findings* findings);
  void Learn(kvs::TransactionOutcome outcome, const std::string& who, Findings* findings) const;
  Task<void> TellAll(const kvs::OpenTransaction& transaction, bool commit, Turn* turn);
  // Whether all homes that could ask for something of the thread have nothing open.
  Task<bool> CloseAll(kvs::TransactionThread thread, Turn* turn);
  Why StartedAnew(const kvs::TransactionParticipant& participant) const;
  Why NoteSilence(const kvs::TransactionParticipant& participant, const absl::Status& status,
                  Turn* turn) const;
  void CountAsk();
  void CountContradiction(const absl::Status& status);
  void CountForgotten();
  void Publish(const kvs::TransactionThread& thread, Turn turn);

  Scheduler* const scheduler_;
  const kvs::TransactionParticipant self_;
  LocalHome* const local_;
  OtherHomes* const others_;
  const Why being_ended_;
  // What is posted finds null when this is gone. The scheduler's thread.
  const std::shared_ptr<TransactionEnds*> alive_;
  size_t turns_free_ = kTurnsMax;
  WaitQueue turn_free_;

  mutable Mutex mutex_;
  // Changed on the scheduler's thread only.
  absl::flat_hash_map<kvs::TransactionThread, std::unique_ptr<Lost>> lost_ ABSL_GUARDED_BY(mutex_);
  Counts counts_ ABSL_GUARDED_BY(mutex_);  // Since the start.
};

}  // namespace acre::server

#endif  // ACRE_SERVER_TRANSACTION_ENDS_H_
