// LocalWorkers: the workers of this server, as the termination of transactions asks them.
//
// Threads: the scheduler's. Ownership: borrows both.

#ifndef ACRE_SERVER_LOCAL_WORKERS_H_
#define ACRE_SERVER_LOCAL_WORKERS_H_

#include <vector>

#include "absl/status/status.h"
#include "kvs/transaction_home.h"
#include "kvs/transaction_id.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "server/transaction_ends.h"
#include "server/transaction_service.h"

namespace acre::server {

class LocalWorkers final : public LocalHome {
 public:
  LocalWorkers(Scheduler* scheduler, TransactionService* service)
      : scheduler_(scheduler), service_(service) {}

  Task<kvs::TransactionOutcome> Promise(kvs::TransactionId id) override {
    return service_->Promise(scheduler_, id);
  }
  Task<absl::Status> Resolve(kvs::TransactionId id, bool commit) override {
    return service_->Resolve(scheduler_, id, commit);
  }
  Task<std::vector<kvs::OpenTransaction>> OpenOf(kvs::TransactionThread thread) override {
    return service_->OpenOf(scheduler_, thread);
  }
  Task<std::vector<kvs::TransactionParticipant>> ParticipantsOf(
      kvs::TransactionThread thread) override {
    return service_->ParticipantsOf(scheduler_, thread);
  }
  Task<absl::Status> Forget(kvs::TransactionThread thread) override {
    return service_->Forget(scheduler_, thread);
  }

 private:
  Scheduler* const scheduler_;
  TransactionService* const service_;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_LOCAL_WORKERS_H_
