// Told: what coordinators were told, transaction by transaction, as the isolation checker reads it (docs/isolation.md).
//
// Every attempt is a transaction of its own. What an aborted one has read is kept: its reads must have stood together,
// too (opacity).
//
// Threads:   the World's. Outlives the processes that write into it, killed ones too.

#ifndef ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_TOLD_H_
#define ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_TOLD_H_

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "client/isolation/history.h"
#include "tests/transactions/cluster_sim/plan.h"

namespace acre::cluster_sim {

// The bytes of a list or register, and back.
std::vector<int64_t> ListOf(const std::string& value);
std::string Appended(std::string value, int64_t element);

class Told {
 public:
  // Its place among the events is the order of these calls, which is that of virtual time.
  isolation::Transaction* Begin(int64_t process, uint64_t now_ns);
  void End(isolation::Transaction* transaction, isolation::Outcome outcome, uint64_t now_ns);
  // `value`: nullopt: there is no such record.
  static void AddRead(isolation::Transaction* transaction, uint32_t key, KeyKind kind,
                      const absl::optional<std::string>& value);
  static void AddWrite(isolation::Transaction* transaction, uint32_t key, KeyKind kind,
                       int64_t value);

  // Never the same twice.
  int64_t NewValue() { return ++values_; }
  int64_t NewProcess() { return ++processes_; }

  // All of it but what was done to keys of `lost` homes, whose memory is gone with all that only they knew.
  isolation::History ToHistory(const ClusterPlan& plan, const std::vector<bool>& lost) const;
  uint64_t CountOf(isolation::Outcome outcome) const;

  // What one transaction appended lies in all lists or in none; if it was told as committed in all, if as aborted in none.
  // `last`: all lists in the end, by key. Empty: so it is. Of homes that are not lost.
  std::string WhyTorn(const ClusterPlan& plan, const std::vector<bool>& lost,
                      const std::vector<std::vector<int64_t>>& last) const;

 private:
  std::deque<isolation::Transaction> transactions_;
  uint64_t events_ = 0;
  int64_t values_ = 0;
  int64_t processes_ = 0;
};

}  // namespace acre::cluster_sim

#endif  // ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_TOLD_H_
