// Memory: how much there is, what may be locked, and on which pages.

#ifndef ACRE_SERVER_DOCTOR_MEMORY_CHECKS_H_
#define ACRE_SERVER_DOCTOR_MEMORY_CHECKS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/doctor/check.h"

namespace acre::doctor {

// Whether a server with this much --memory finds it: what is available, and the memory cgroup's limit.
// `root`: above /proc and /sys, "" but for tests.
Check CheckAvailableMemory(const std::string& root, uint64_t memory_bytes);

// Whether the process may lock as much as a card wants: twice the memory (once for local buffers, once for
// readers, and the kernel counts both), and the clients' rings.
Check CheckMemlock(const std::string& root, uint64_t memory_bytes);
// The commands that raise it. `hard_limit_allows`: the shell's own may.
std::vector<std::string> MemlockMends(bool hard_limit_allows);

// One for each size of huge pages that the machine has, or one that says that there are none.
std::vector<Check> CheckHugePages(const std::string& root, uint64_t memory_bytes);

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_MEMORY_CHECKS_H_
