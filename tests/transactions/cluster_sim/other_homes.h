// The other homes, as a simulated one asks them to end lost coordinators' transactions (server/called_homes.h): over
// connections of the product's like those of server/home_links.h, which stand on sockets.

#ifndef ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_OTHER_HOMES_H_
#define ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_OTHER_HOMES_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kvs/transaction_id.h"
#include "kvs/wire.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "server/called_homes.h"
#include "tests/sim/connector.h"

namespace acre::cluster_sim {

class SimulatedOtherHomes final : public server::CalledHomes {
 public:
  // By server_index; this home's own: null. Borrows the scheduler.
  SimulatedOtherHomes(Scheduler* scheduler,
                      std::vector<std::unique_ptr<simulation::Connector>> connectors)
      : scheduler_(scheduler), connectors_(std::move(connectors)) {}

  std::string NameOf(const kvs::TransactionParticipant& participant) const override;

 private:
  Task<absl::Status> Ask(const kvs::TransactionParticipant& participant, kvs::Method method,
                         const std::string& request, std::string* response,
                         bool* answered) override;

  Scheduler* const scheduler_;
  const std::vector<std::unique_ptr<simulation::Connector>> connectors_;
};

}  // namespace acre::cluster_sim

#endif  // ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_OTHER_HOMES_H_
