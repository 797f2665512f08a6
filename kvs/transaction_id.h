// What names a transaction, everywhere and for good (docs/transactions.md).

#ifndef ACRE_KVS_TRANSACTION_ID_H_
#define ACRE_KVS_TRANSACTION_ID_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace acre::kvs {

// Whoever coordinates transactions one after the other or side by side, and numbers them. A process that
// was given up never comes back under the same id.
struct TransactionThread {
  uint64_t view = 0;
  uint32_t process_id = 0;  // Not 0.
  uint32_t thread = 0;

  friend bool operator==(const TransactionThread&, const TransactionThread&) = default;
  template <class H>
  friend H AbslHashValue(H hash, const TransactionThread& of) {
    return H::combine(std::move(hash), of.view, of.process_id, of.thread);
  }
};

struct TransactionId {
  TransactionThread coordinator;
  // Rises with each transaction of the thread, whichever homes it has. 0: none; who holds locks ahead of its next
  // transaction is named by it (kvs/transaction_hold.h).
  uint64_t sequence = 0;

  friend bool operator==(const TransactionId&, const TransactionId&) = default;
  std::string ToString() const {
    return absl::StrCat("transaction ", coordinator.view, ".", coordinator.process_id, ".",
                        coordinator.thread, ".", sequence);
  }
};

// A server that a transaction writes to. One that was restarted is another one.
struct TransactionParticipant {
  uint32_t server_index = 0;
  uint64_t incarnation = 0;

  friend bool operator==(const TransactionParticipant&, const TransactionParticipant&) = default;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_TRANSACTION_ID_H_
