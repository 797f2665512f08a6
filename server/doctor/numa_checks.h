// How far the card is from the CPUs that this process may use.

#ifndef ACRE_SERVER_DOCTOR_NUMA_CHECKS_H_
#define ACRE_SERVER_DOCTOR_NUMA_CHECKS_H_

#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "server/doctor/check.h"

namespace acre::doctor {

// CPUs that this process may use (sched_getaffinity).
std::set<int> UsableCpus();

// `card`: its name in /sys/class/infiniband. A process whose CPUs are all on other nodes than the card pays
// for the way between them with each request: a note, with the command that binds it.
Check CheckNumaDistance(const std::string& root, absl::string_view card, const std::set<int>& cpus);

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_NUMA_CHECKS_H_
