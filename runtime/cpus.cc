#include "runtime/cpus.h"

#include <sched.h>

#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace acre {
namespace {

// What a cpu_set_t holds; a list that goes beyond is nonsense.
constexpr int kCpusMax = CPU_SETSIZE;

absl::Status Wrong(absl::string_view part) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", part, "\" is no CPU, and no range of them: give a list like 0,2-5"));
}

}  // namespace

absl::StatusOr<std::vector<int>> ParseCpus(absl::string_view list) {
  std::set<int> cpus;
  for (absl::string_view part : absl::StrSplit(list, ',', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> ends =
        absl::StrSplit(part, absl::MaxSplits('-', 1));
    int first = 0;
    if (!absl::SimpleAtoi(ends.first, &first)) return Wrong(part);
    int last = first;
    if (ends.first.size() < part.size() && !absl::SimpleAtoi(ends.second, &last)) {
      return Wrong(part);
    }
    if (first < 0 || last < first || last >= kCpusMax) return Wrong(part);
    for (int cpu = first; cpu <= last; ++cpu) cpus.insert(cpu);
  }
  return std::vector<int>(cpus.begin(), cpus.end());
}

std::vector<int> UsableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  // It fails where the kernel knows more CPUs than fit: then any will do.
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return {0};
  for (int cpu = 0; cpu < kCpusMax; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

absl::Status CheckCpus(absl::Span<const int> cpus) {
  const std::vector<int> usable = UsableCpus();
  for (const int cpu : cpus) {
    if (!absl::c_binary_search(usable, cpu)) {
      return absl::InvalidArgumentError(
          absl::StrCat("CPU ", cpu, " is not one that this process may use, which are ",
                       absl::StrJoin(usable, ",")));
    }
  }
  return absl::OkStatus();
}

absl::Status StayOnCpus(absl::Span<const int> cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof(set), &set) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the kernel runs no thread on any of the CPUs ", absl::StrJoin(cpus, ",")));
}

}  // namespace acre
