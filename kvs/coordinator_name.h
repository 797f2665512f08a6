// CoordinatorName: what transactions go under (kvs/transaction_id.h), for as long as no way to a home that it has used
// breaks, and what is known of those that do. One that is given up lives on with its last transactions.
//
// Threads: the coordinator's.

#ifndef ACRE_KVS_COORDINATOR_NAME_H_
#define ACRE_KVS_COORDINATOR_NAME_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "kvs/transaction_home.h"
#include "kvs/transaction_id.h"
#include "kvs/transaction_link.h"

namespace acre::kvs {

struct CoordinatorName {
  TransactionThread thread;
  uint64_t last_sequence = 0;
  std::set<uint64_t> unfinished;                        // Sequences.
  uint64_t lowest_lost = UINT64_MAX;                    // Lose().
  std::vector<std::shared_ptr<TransactionLink>> links;  // That it went by, by server.

  // All below are over at each of their homes.
  uint64_t FinishedBelow() const {
    const uint64_t lowest = unfinished.empty() ? last_sequence + 1 : *unfinished.begin();
    return std::min(lowest, lowest_lost);
  }
  // Some home may have it open, and will ask the others: which are not to forget it, whatever else goes by this name. So
  // that is to be given up.
  void Lose(uint64_t sequence) { lowest_lost = std::min(lowest_lost, sequence); }
  // Homes take nothing that is further beyond. A part of it is left for requests that overtake each other.
  bool IsFull() const { return last_sequence + 1 - FinishedBelow() >= kTransactionWindow / 2; }
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_COORDINATOR_NAME_H_
