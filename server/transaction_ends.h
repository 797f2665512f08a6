// LostCoordinators: who ends what coordinators of transactions have left behind ("Termination" in docs/transactions.md).

#ifndef ACRE_SERVER_TRANSACTION_ENDS_H_
#define ACRE_SERVER_TRANSACTION_ENDS_H_

#include "kvs/transaction_id.h"

namespace acre::server {

class LostCoordinators {
 public:
  virtual ~LostCoordinators() = default;
  // This coordinator's connection to this server is no more, all that it had placed here is applied, nothing more of it is
  // taken, and something of it is kept that other homes know of, or ask for. Called once, on the thread of that worker; returns
  // at once.
  virtual void OnLost(const kvs::TransactionThread& coordinator, int worker) = 0;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_TRANSACTION_ENDS_H_
