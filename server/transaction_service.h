// TransactionService: a server's transactions, whichever worker has them (docs/transactions.md, "Serving"): what
// termination and operators ask.
//
// Threads:   any scheduler's; `here` is the caller's, and runs the task. Each question is posted to the workers that have
//            something to say, and the answer comes back: nothing blocks. A task that asks a worker which has stopped waits
//            for good. Add() and SetLost() while no worker serves.
// Ownership: borrows the workers. Tasks end, or are destroyed, before it goes.

#ifndef ACRE_SERVER_TRANSACTION_SERVICE_H_
#define ACRE_SERVER_TRANSACTION_SERVICE_H_

#include <cstdint>
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
  // Who ends what lost coordinators leave behind. Before the door opens; null once no worker's thread runs any more.
  void SetLost(LostCoordinators* lost);

  const kvs::TransactionParticipant& self() const { return self_; }
  TransactionThreads* threads() { return &threads_; }
  kvs::TransactionHolders* holders() { return &holders_; }
  kvs::ContendedKeys* contended() { return &contended_; }

  // What became of it, or the promise that no LOCK or COMMIT of it will be taken any more. A coordinator that is connected
  // here, and has it locked, is fenced before: what it had placed counts. Never kLocked. kUnknown: it is over at all its homes,
  // or too far ahead.
  Task<kvs::TransactionOutcome> Promise(Scheduler* here, kvs::TransactionId id);
  // FailedPrecondition: it has another outcome, or is to commit and is not locked here.
  Task<absl::Status> Resolve(Scheduler* here, kvs::TransactionId id, bool commit);
  // An operator's decision: Resolve(), but of one whose coordinator is connected here FailedPrecondition.
  Task<absl::Status> End(Scheduler* here, kvs::TransactionId id, bool commit);
  // Nothing more of it is taken, by whichever connection. FailedPrecondition: something of it is open here: ask again once
  // that has ended.
  Task<absl::Status> Close(Scheduler* here, kvs::TransactionThread thread);
  // That it holds locks with.
  Task<std::vector<kvs::OpenTransaction>> OpenOf(Scheduler* here, kvs::TransactionThread thread);
  // All homes of what is kept of it, decided or not.
  Task<std::vector<kvs::TransactionParticipant>> ParticipantsOf(Scheduler* here,
                                                                kvs::TransactionThread thread);
  // All that is kept of it, but that nothing more is taken. Nothing of it is open: else nothing happens.
  Task<void> Forget(Scheduler* here, kvs::TransactionThread thread);
  Task<std::vector<kvs::OpenTransaction>> AllOpen(Scheduler* here);
  // Of AllOpen() a line for each, for people: docs/transactions.md.
  Task<std::string> Text(Scheduler* here);

  // Any thread: "name value" lines.
  void AppendStats(std::string* text) const;

 private:
  // Who may know something of it: the worker where it was bound, or all.
  std::vector<WorkerTransactions*> WorkersOf(const kvs::TransactionThread& thread) const;
  Task<std::vector<TransactionWaiting>> Waiting(Scheduler* here);

  const kvs::TransactionParticipant self_;
  const std::vector<std::string> servers_;
  std::vector<WorkerTransactions*> workers_;
  TransactionThreads threads_;
  kvs::TransactionHolders holders_;
  kvs::ContendedKeys contended_;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_TRANSACTION_SERVICE_H_
