// Termination: what a server of a cluster has to end the transactions of lost coordinators: its workers and the other
// servers, as server/transaction_ends.h wants them.
//
// Threads:   Create() before the scheduler's thread runs, the destructor once it runs no more; the rest on any.
// Ownership: owns the links to other servers. Borrows scheduler and service; told of nothing any more
//            (TransactionService::SetLost) before it goes.

#ifndef ACRE_SERVER_TERMINATION_H_
#define ACRE_SERVER_TERMINATION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kvs/transaction_id.h"
#include "runtime/scheduler.h"
#include "server/home_links.h"
#include "server/local_workers.h"
#include "server/transaction_ends.h"
#include "server/transaction_service.h"

namespace acre::server {

class Termination final {
 public:
  // `links.scheduler` runs all of it. Errors: those of HomeLinks::Create().
  static absl::StatusOr<std::unique_ptr<Termination>> Create(HomeLinks::Options links,
                                                             TransactionService* service);
  ~Termination();
  Termination(const Termination&) = delete;
  Termination& operator=(const Termination&) = delete;

  LostCoordinators* lost() { return ends_.get(); }
  std::string WhyOpen(const kvs::TransactionId& id) const { return ends_->WhyOpen(id); }
  // "name value" lines.
  void AppendStats(std::string* text) const;

 private:
  Termination() = default;

  std::unique_ptr<LocalWorkers> workers_;
  std::unique_ptr<HomeLinks> links_;
  std::unique_ptr<TransactionEnds> ends_;  // Goes first.
};

}  // namespace acre::server

#endif  // ACRE_SERVER_TERMINATION_H_
