// What the machine has: memory, huge pages, cores, and which boot this is.
//
// Threads: all functions may be called from any thread.

#ifndef ACRE_SERVER_MACHINE_H_
#define ACRE_SERVER_MACHINE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "transport/fabric.h"

namespace acre::server {

struct MachineMemory {
  uint64_t available_bytes = 0;  // Without swapping, and within this process's cgroup.
  uint64_t free_2m_bytes = 0;    // On free huge pages, not part of the above.
  uint64_t free_1g_bytes = 0;
};

// Reads /proc and /sys below `root`, which is "" but for tests. What cannot be read is 0; of
// available_bytes: all there is.
MachineMemory ReadMachineMemory(absl::string_view root);

// Whether the machine can give this much without thrashing. Looked at beforehand, since Linux promises
// memory that it does not have, and then kills somebody.
// ResourceExhausted: says how much there is and what to do.
absl::Status CheckMemory(uint64_t wanted_bytes, transport::HugePages huge_pages,
                         const MachineMemory& machine);

// The same for all processes between two starts of the machine. Internal: it cannot be read.
absl::StatusOr<std::string> ReadBootId();

}  // namespace acre::server

#endif  // ACRE_SERVER_MACHINE_H_
