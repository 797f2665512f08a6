// How many seeds a test of the simulator runs: few in tools/test, as many as one likes by hand.

#ifndef ACRE_RUNTIME_SIM_SEEDS_H_
#define ACRE_RUNTIME_SIM_SEEDS_H_

#include <cstdint>
#include <cstdlib>

#include "absl/strings/numbers.h"

namespace acre {

// The number in that environment variable; if there is none, `by_default`.
inline uint64_t SeedsOr(const char* variable, uint64_t by_default) {
  const char* const wanted = std::getenv(variable);
  uint64_t seeds = 0;
  return wanted != nullptr && absl::SimpleAtoi(wanted, &seeds) ? seeds : by_default;
}

}  // namespace acre

#endif  // ACRE_RUNTIME_SIM_SEEDS_H_
