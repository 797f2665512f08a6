// How far the card is from the CPUs that this process may use.

#ifndef ACRE_SERVER_DOCTOR_NUMA_CHECKS_H_
#define ACRE_SERVER_DOCTOR_NUMA_CHECKS_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/doctor/check.h"

namespace acre::doctor {

// `card`: its name in /sys/class/infiniband. `cpus`: those that this process may use. If all of them are on other nodes
// than the card, each request pays for the way between them: a note, with the command that binds the process.
Check CheckNumaDistance(const std::string& root, absl::string_view card,
                        absl::Span<const int> cpus);

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_NUMA_CHECKS_H_
