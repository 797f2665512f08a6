// What the fabrics do here, tried out.

#ifndef ACRE_SERVER_DOCTOR_FABRIC_CHECKS_H_
#define ACRE_SERVER_DOCTOR_FABRIC_CHECKS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/clock.h"
#include "server/doctor/check.h"

namespace acre::doctor {

struct FabricOptions {
  Clock* clock = nullptr;           // Outlives the calls.
  std::string device = {};          // As --device.
  std::string listen_host = {};     // As ProviderOptions.
  uint64_t memory_bytes = 0;        // Of the server that shall run here.
  uint64_t register_bytes_max = 0;  // How far CheckVerbs() goes. What is registered is real memory.
};

// Opens the card as a server would. Where that works: order, fence, inline, and the largest region that it
// takes, by registering more and more up to register_bytes_max: BAD if that is less than memory_bytes. Gives the card's name, "" if it cannot
// be opened.
std::string CheckVerbs(const FabricOptions& options, Findings* findings);

// Whether the kernel marks the memory of a server that dies (robust futexes).
Check CheckDeathMarks(const FabricOptions& options);

// Which of `fabrics` (names as of --fabric, or "auto" alone) work, and what that gives. BAD if one that is
// named does not.
Check CheckChoice(const FabricOptions& options, const std::vector<std::string>& fabrics);

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_FABRIC_CHECKS_H_
