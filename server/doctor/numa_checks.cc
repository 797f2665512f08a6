#include "server/doctor/numa_checks.h"

#include <map>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/optional.h"
#include "runtime/cpus.h"
#include "server/doctor/sysfs.h"

namespace acre::doctor {
namespace {

// A file that lists CPUs, or nodes; one that cannot be read, or makes no sense, lists none.
std::vector<int> ReadCpus(const std::string& path) {
  return ParseCpus(ReadText(path).value_or("")).value_or(std::vector<int>());
}

// Of each node that has some of `cpus`: its distance from the node `from` (10: the same), -1 unknown.
std::map<int, int> DistancesFrom(const std::string& root, int from, absl::Span<const int> cpus) {
  const std::string folder = root + "/sys/devices/system/node";
  const std::vector<std::string> row =
      absl::StrSplit(ReadText(absl::StrCat(folder, "/node", from, "/distance")).value_or(""), ' ',
                     absl::SkipEmpty());
  // The row's columns are the nodes that are online, in ascending order.
  const std::vector<int> online = ReadCpus(folder + "/online");
  std::map<int, int> distances;
  size_t column = 0;
  for (const int node : online) {
    int distance = -1;
    if (column >= row.size() || !absl::SimpleAtoi(row[column], &distance)) distance = -1;
    ++column;
    for (const int cpu : ReadCpus(absl::StrCat(folder, "/node", node, "/cpulist"))) {
      if (absl::c_linear_search(cpus, cpu)) distances[node] = distance;
    }
  }
  return distances;
}

}  // namespace

Check CheckNumaDistance(const std::string& root, absl::string_view card,
                        absl::Span<const int> cpus) {
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
