// WorkerTransactions: a worker's part in transactions (docs/transactions.md, "Serving"): its TransactionHome, the coordinators
// whose connections are its own, and what happens when one of these ends, or lets a transaction lie.
//
// Threads:   confined to the scheduler's, but for the counters.
// Ownership: owns the home. Borrows all that Options names. Destroyed at the end of the table only, as the home is, when
//            no handler is left.

#ifndef ACRE_SERVER_WORKER_TRANSACTIONS_H_
#define ACRE_SERVER_WORKER_TRANSACTIONS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kvs/contended_keys.h"
#include "kvs/table.h"
#include "kvs/transaction_holders.h"
#include "kvs/transaction_home.h"
#include "kvs/transaction_id.h"
#include "kvs/transaction_wire.h"
#include "runtime/scheduler.h"
#include "runtime/shared_word.h"
#include "runtime/task.h"
#include "server/transaction_ends.h"
#include "server/transaction_threads.h"

namespace acre::server {

// Loaded by any thread, stored by the worker's. A request that comes again counts again.
struct TransactionCounters {
  SharedWord committed;  // Here: by COMMIT, at once, or by a resolution.
  SharedWord
      aborted;      // After a yes: by ABORT, by a resolution, or with the coordinator's connection.
  SharedWord open;  // Now.
  SharedWord votes_locked;
  SharedWord votes_changed;
  SharedWord votes_no_memory;
  SharedWord votes_invalid;
  SharedWord votes_over;
  SharedWord promised;
  SharedWord resolved;  // Ended for a coordinator that could not.
  SharedWord refused;   // Notices of coordinators that were wrong, or given up.
  SharedWord holds;     // Granted.
  // Connections' coordinators that ended with something open, or that other homes may ask for.
  SharedWord coordinators_lost;
};

// A transaction that waits for its end.
struct TransactionWaiting {
  kvs::OpenTransaction open;
  uint64_t age_ns = 0;        // At least, to kLookNs.
  bool is_connected = false;  // Its coordinator.
};

class WorkerTransactions {
 public:
  // How often open transactions are looked at, and in how many looks one may be found open before its coordinator, who is
  // connected, is given up: 5 s. From LOCK to COMMIT a coordinator waits for its other homes' votes and for one READ of
  // each home that it only read, some 100 us; it gives up by itself at its operation timeout, a second by default. Who has
  // its locks for 5 s is paused, or hangs, and everybody who wants one of its keys waits: plain writers without a
  // deadline. Giving up a living one is safe: it costs it its connection. Looks, not a time: while the server itself
  // stands still nobody is late. Holds end by themselves (kvs::kHoldNsMax).
  static constexpr uint64_t kLookNs = 250'000'000;
  static constexpr uint32_t kLooksMax = 20;

  struct Options {
    Scheduler* scheduler = nullptr;
    kvs::Table* table = nullptr;
    kvs::TransactionHolders* holders = nullptr;  // One for all workers.
    kvs::ContendedKeys* contended = nullptr;     // Likewise.
    TransactionThreads* threads = nullptr;       // Likewise.
    int worker = 0;
    kvs::TransactionParticipant self;  // What this server is to coordinators.
    // Destroys that connection, if it is there still. Not called from inside a call of it.
    std::function<void(uint64_t connection)> close_connection;
  };
  explicit WorkerTransactions(Options options);
  ~WorkerTransactions();
  WorkerTransactions(const WorkerTransactions&) = delete;
  WorkerTransactions& operator=(const WorkerTransactions&) = delete;

  // Who is told of lost coordinators from now on; null: nobody, they are left as they are. Outlives this, or the
  // call with null.
  void SetLost(LostCoordinators* lost) { lost_ = lost; }
  void ForgetAbandonedLocks() { home_.ForgetAbandonedLocks(); }

  // ---- For TransactionHandler.

  kvs::TransactionHome* home() { return &home_; }
  TransactionCounters* counters() { return &counters_; }
  Scheduler* scheduler() const { return options_.scheduler; }
  const kvs::TransactionParticipant& self() const { return options_.self; }
  // One for all requests: it is free when none is being parsed or executed.
  kvs::TransactionRequest* scratch() { return &scratch_; }
  // TransactionThreads::Bind(), its errors too.
  absl::Status Bind(const kvs::TransactionThread& thread, uint64_t connection);
  // As the home's, and counted.
  kvs::TransactionVote Lock(const kvs::TransactionRequest& request);
  kvs::TransactionVote CommitAtOnce(const kvs::TransactionRequest& request);
  void Commit(const kvs::TransactionId& id);
  void Abort(const kvs::TransactionId& id);
  // A vote that was given past the home.
  void CountVote(const kvs::TransactionVote& vote);
  // What it has shown: the greatest watermark, and sequence.
  struct Shown {
    uint64_t finished_below = 0;
    uint64_t highest = 0;
  };
  // The connection that had it is at its end: all that it had placed is applied. What has no other home is undone and
  // forgotten. Else it is lost (LostCoordinators), if others know of anything of it.
  void OnConnectionEnd(const kvs::TransactionThread& thread, const Shown& shown);

  // ---- For TransactionService: called by Scheduler::Post, inside of no connection's call.

  // Unless the outcome is known the coordinator is closed. If the transaction is locked, its connection is ended before:
  // what it had placed counts.
  kvs::TransactionOutcome Promise(const kvs::TransactionId& id);
  // Without that, for the coordinator's own connection, in whose order it comes.
  kvs::TransactionOutcome PromiseUnfenced(const kvs::TransactionId& id);
  absl::Status Resolve(const kvs::TransactionId& id, bool commit);
  // FailedPrecondition: something of it is open here.
  absl::Status Close(const kvs::TransactionThread& thread);
  absl::Status Forget(const kvs::TransactionThread& thread);
  std::vector<TransactionWaiting> Waiting() const;

 private:
  struct Coordinator {
    uint64_t connection = 0;  // 0: it has ended.
    Shown shown;              // Once it has ended.
    // By sequence: in how many looks in a row it was found open.
    absl::flat_hash_map<uint64_t, uint32_t> looks;
  };

  // Looks now and then, as long as it lives.
  Task<void> Watch();
  void Look();
  bool HasOtherHome(absl::Span<const kvs::TransactionParticipant> participants) const;
  void Fence(const kvs::TransactionThread& thread);
  // Whether other homes may ask for something of it: then it is told as lost.
  bool TellIfLost(const kvs::TransactionThread& thread);
  void StoreOpenCount();

  const Options options_;
  kvs::TransactionHome home_;
  TransactionCounters counters_;
  kvs::TransactionRequest scratch_;
  LostCoordinators* lost_ = nullptr;
  // Bound to connections, or lost and kept.
  absl::flat_hash_map<kvs::TransactionThread, Coordinator> coordinators_;
  bool was_any_open_ = false;  // In the last look.
  SpawnHandle watch_;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_WORKER_TRANSACTIONS_H_
