// ClusterPlan: what a seed says of a run before it begins: homes, coordinators, where they run, their keys, and what kinds
// of things go wrong.

#ifndef ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_PLAN_H_
#define ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/random.h"
#include "transport/sim/sim_context.h"

namespace acre::cluster_sim {

constexpr uint64_t kUs = 1'000;
constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kSegmentBytes = uint64_t{1} << 20;
constexpr int kIndexPercent = 1;
constexpr uint64_t kView = 7;

// Of the keys of a home.
constexpr size_t kListsOfHome = 3;
constexpr size_t kRegistersOfHome = 2;
constexpr size_t kScratchesOfHome = 4;
constexpr size_t kKeysOfHome = kListsOfHome + kRegistersOfHome + kScratchesOfHome;

// Of a key, what transactions do with it, and the history knows of it.
enum class KeyKind : uint8_t {
  kList,      // Read, and appended to: 8 bytes an element.
  kRegister,  // Read, and written, also blindly. Its first 8 bytes are the value.
  kScratch,   // Put and deleted, so that records move. Not judged.
};

struct ClusterPlan {
  struct Key {
    std::string name;
    size_t home = 0;
    KeyKind kind = KeyKind::kList;
  };

  transport::SimDevice device = transport::SimDevice::kCard;
  bool is_mapped = false;  // Coordinators read in place. Else by READs.
  bool stalls = true;
  bool store_buffers = true;
  size_t homes = 2;
  int workers = 1;  // Of each home.
  size_t coordinators = 2;
  int coroutines = 2;            // Of each.
  bool shares_machines = false;  // A coordinator runs beside each home.
  uint64_t spin_ns = 0;
  uint32_t ring_bytes = 0;
  uint64_t lease_ns = 0;
  uint64_t timeout_ns = 0;  // Of a coordinator's operation.

  std::vector<Key> keys;
  int runs_percent = 0;       // RunTransaction(). Others are begun and committed by hand.
  uint64_t think_ns_max = 0;  // Within a transaction, now and then.
  uint64_t pause_ns_max = 0;  // Between two.

  uint64_t faults_end_ns = 0;
  uint64_t troubles = 0;
  bool homes_die = false;
  size_t mortal_home = 0;  // The one that does: keys of all others are judged.

  static ClusterPlan Draw(Random* random);
  // Of all homes. Of each: some of each kind, lists first.
  void DrawKeys(Random* random);
  // One line.
  std::string ToText() const;
};

}  // namespace acre::cluster_sim

#endif  // ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_PLAN_H_
