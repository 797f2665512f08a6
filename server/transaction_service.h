// TransactionService: a server's transactions, whichever worker has them (docs/transactions.md, "Serving"): what
// termination and operators ask.
//
// Threads:   any scheduler's; `here` is the caller's, and runs the task. Each question is posted to the workers that have
//            something to say, and the answer comes back: nothing blocks. A task that asks a worker which has stopped waits
//            for good. Add() and SetLost() while no worker serves.
// Ownership: borrows the workers. Tasks end, or are destroyed, before it goes.

#ifndef ACRE_SERVER_TRANSACTION_SERVICE_H_
#define ACRE_SERVER_TRANSACTION_SERVICE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "kvs/contended_keys.h"
#include "kvs/transaction_holders.h"
#include "kvs/transaction_home.h"
#include "kvs/transaction_id.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "server/transaction_ends.h"
#include "server/transaction_threads.h"
#include "server/worker_transactions.h"

namespace acre::server {

class TransactionService {
 public:
  // `servers`: HOST:PORT of each server, by TransactionParticipant::server_index, for people.
  TransactionService(kvs::TransactionParticipant self, std::vector<std::string> servers)
      : self_(self), servers_(std::move(servers)) {}
  TransactionService(const TransactionService&) = delete;
  TransactionService& operator=(const TransactionService&) = delete;

  // All workers, in their order, before anybody asks.
  void Add(WorkerTransactions* worker) { workers_.push_back(worker); }
  // Who ends what lost coordinators leave behind, and tells people why one is not ended yet ("": he does not know).
  // Before the door opens; null once no worker's thread runs any more.
  using WhyOpen = std::function<std::string(const kvs::TransactionId& id)>;
  void SetLost(LostCoordinators* lost, WhyOpen why_open = nullptr);

  const kvs::TransactionParticipant& self() const { return self_; }
  size_t servers_count() const { return servers_.size(); }  // Of the cluster.
  TransactionThreads* threads() { return &threads_; }
  kvs::TransactionHolders* holders() { return &holders_; }
  kvs::ContendedKeys* contended() { return &contended_; }

  // What became of it, or the promise that no LOCK or COMMIT of it will be taken any more: then its coordinator is closed,
  // and if it had it locked, its connection is ended: what it had placed counts. Never kLocked. kUnknown: it is over at
  // all its homes, or too far ahead.
  Task<kvs::TransactionOutcome> Promise(Scheduler* here, kvs::TransactionId id);
  // OK, and nothing more, where it is not known any more how it ended. FailedPrecondition: it has another outcome, or is to
  // commit and never held its locks here. `is_asked`: by another home; what nothing was promised of is promised first, so
  // what its coordinator had placed counts.
  Task<absl::Status> Resolve(Scheduler* here, kvs::TransactionId id, bool commit,
                             bool is_asked = false);
  // An operator's decision: Resolve(), but of one that is not open here NotFound, and FailedPrecondition also if its
  // coordinator is connected here.
  Task<absl::Status> End(Scheduler* here, kvs::TransactionId id, bool commit);
  // Nothing more of it is taken, by whichever connection. FailedPrecondition: something of it is open here: ask again once
  // that has ended.
  Task<absl::Status> Close(Scheduler* here, kvs::TransactionThread thread);
  // That it holds locks with.
  Task<std::vector<kvs::OpenTransaction>> OpenOf(Scheduler* here, kvs::TransactionThread thread);
  // All homes of what is kept of it, decided or not.
  Task<std::vector<kvs::TransactionParticipant>> ParticipantsOf(Scheduler* here,
                                                                kvs::TransactionThread thread);
  // Outcomes and promises that are kept of it; not that nothing more of it is taken, nor what committed last.
  // FailedPrecondition: something of it is open, or its connection is still there. Nothing happened then.
  Task<absl::Status> Forget(Scheduler* here, kvs::TransactionThread thread);
  Task<std::vector<kvs::OpenTransaction>> AllOpen(Scheduler* here);
  // Of AllOpen() a line for each, for people: docs/transactions.md.
  Task<std::string> Text(Scheduler* here);

  // Any thread: "name value" lines.
  void AppendStats(std::string* text) const;

 private:
  // Who knows something of it. Null: nobody, or what is known is in threads_.
  WorkerTransactions* WorkerOf(const kvs::TransactionThread& thread) const;
  std::string LineOf(const TransactionWaiting& one) const;
  Task<std::vector<TransactionWaiting>> Waiting(Scheduler* here);

  const kvs::TransactionParticipant self_;
  const std::vector<std::string> servers_;
  std::vector<WorkerTransactions*> workers_;
  TransactionThreads threads_;
  kvs::TransactionHolders holders_;
  kvs::ContendedKeys contended_;
  WhyOpen why_open_;  // Any thread. Null: nobody knows.
};

}  // namespace acre::server

#endif  // ACRE_SERVER_TRANSACTION_SERVICE_H_
