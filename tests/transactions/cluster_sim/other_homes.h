// What a simulated home needs to end lost coordinators' transactions (server/transaction_ends.h): its own, and the other
// homes, over connections of the product's like those of server/home_links.h, which stand on sockets.

#ifndef ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_OTHER_HOMES_H_
#define ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_OTHER_HOMES_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvs/transaction_home.h"
#include "kvs/wire.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "server/transaction_ends.h"
#include "server/transaction_service.h"
#include "tests/sim/connector.h"

namespace acre::cluster_sim {

class SimulatedLocalHome final : public server::LocalHome {
 public:
  // Borrows both.
  SimulatedLocalHome(Scheduler* scheduler, server::TransactionService* service)
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
  server::TransactionService* const service_;
};

class SimulatedOtherHomes final : public server::OtherHomes {
 public:
  // By server_index; this home's own: null. Borrows the scheduler.
  SimulatedOtherHomes(Scheduler* scheduler,
                      std::vector<std::unique_ptr<simulation::Connector>> connectors)
      : scheduler_(scheduler), connectors_(std::move(connectors)) {}

  Task<absl::StatusOr<kvs::TransactionOutcome>> Promise(kvs::TransactionParticipant participant,
                                                        kvs::TransactionId id) override;
  Task<absl::Status> Resolve(kvs::TransactionParticipant participant, kvs::TransactionId id,
                             bool commit) override;
  Task<absl::Status> Close(kvs::TransactionParticipant participant,
                           kvs::TransactionThread thread) override;
  std::string NameOf(const kvs::TransactionParticipant& participant) const override;

 private:
  // As HomeLinks::Ask().
  Task<absl::Status> Ask(const kvs::TransactionParticipant& participant, kvs::Method method,
                         const std::string& request, std::string* response, bool* answered);

  Scheduler* const scheduler_;
  const std::vector<std::unique_ptr<simulation::Connector>> connectors_;
};

}  // namespace acre::cluster_sim

#endif  // ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_OTHER_HOMES_H_
