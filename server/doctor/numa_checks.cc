#include "server/doctor/numa_checks.h"

#include <sched.h>

#include <map>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/optional.h"
#include "server/doctor/sysfs.h"

namespace acre::doctor {
namespace {

// Of each node that has some of `cpus`: its distance from the node `from` (10: the same), -1 unknown.
std::map<int, int> DistancesFrom(const std::string& root, int from, const std::set<int>& cpus) {
  const std::string folder = root + "/sys/devices/system/node";
  const std::vector<std::string> row =
      absl::StrSplit(ReadText(absl::StrCat(folder, "/node", from, "/distance")).value_or(""), ' ',
                     absl::SkipEmpty());
  // The row's columns are the nodes that are online, in ascending order.
  const std::set<int> online = ParseCpuList(ReadText(folder + "/online").value_or(""));
  std::map<int, int> distances;
  size_t column = 0;
  for (const int node : online) {
    int distance = -1;
    if (column >= row.size() || !absl::SimpleAtoi(row[column], &distance)) distance = -1;
    ++column;
    for (const int cpu :
         ParseCpuList(ReadText(absl::StrCat(folder, "/node", node, "/cpulist")).value_or(""))) {
      if (cpus.count(cpu) != 0) distances[node] = distance;
    }
  }
  return distances;
}

}  // namespace

std::set<int> UsableCpus() {
  std::set<int> usable;
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) return usable;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &cpus)) usable.insert(cpu);
  }
  return usable;
}

Check CheckNumaDistance(const std::string& root, absl::string_view card,
                        const std::set<int>& cpus) {
  Check check;
  check.what = "NUMA";
  const absl::optional<int64_t> node =
      ReadInteger(absl::StrCat(root, "/sys/class/infiniband/", card, "/device/numa_node"));
  if (!node.has_value()) {
    check.found = absl::StrCat(card, " is on no bus: near to all CPUs");
    return check;
  }
  if (*node < 0) {
    check.found = absl::StrCat(card, " is on no node: the machine has one, or does not tell");
    return check;
  }
  const std::map<int, int> distances = DistancesFrom(root, static_cast<int>(*node), cpus);
  check.found = absl::StrCat(
      card, " is on node ", *node, "; this process may use CPUs of ",
      absl::StrJoin(distances, ", ", [](std::string* text, const auto& node_and_distance) {
        absl::StrAppend(text, "node ", node_and_distance.first, " (distance ",
                        node_and_distance.second, ")");
      }));
  check.figures = {{"node", static_cast<double>(*node)}};
  if (distances.size() == 1 && distances.count(static_cast<int>(*node)) != 0) return check;
  check.verdict = Verdict::kNote;
  check.mend.push_back(
      absl::StrCat("numactl --cpunodebind=", *node, " --membind=", *node, " kv_server ..."));
  return check;
}

}  // namespace acre::doctor
