// FindCycles: what no order of transactions can explain.

#ifndef ACRE_CLIENT_ISOLATION_CYCLES_H_
#define ACRE_CLIENT_ISOLATION_CYCLES_H_

#include <cstdint>
#include <vector>

#include "client/isolation/checker.h"
#include "client/isolation/graph.h"
#include "client/isolation/history.h"
#include "client/isolation/walk.h"

namespace acre::isolation {

struct Cycle {
  Anomaly anomaly = Anomaly::kItem;
  Time time = Time::kNone;
  std::vector<Step>
      steps;  // Between transactions, each step from where the one before led; no kPass.
};

// At most one of each anomaly and time, the smallest that `work_max` looks at an edge for each kind find. Those of
// Time::kProcess and kRealTime are looked for only where there is none of data alone. For each level from
// kReadUncommitted to kStrictSerializable, there is a cycle that breaks it or a weaker one if the graph has any:
// that does not depend on `work_max`. Counts looks in *work.
std::vector<Cycle> FindCycles(const History& history, const DependencyGraph& graph,
                              uint64_t work_max, uint64_t* work);

}  // namespace acre::isolation

#endif  // ACRE_CLIENT_ISOLATION_CYCLES_H_
