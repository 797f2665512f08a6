// What the simulated network does in the tests of locks.

#ifndef ACRE_LOCK_SIM_TEST_FAULTS_H_
#define ACRE_LOCK_SIM_TEST_FAULTS_H_

#include <cstdint>

#include "runtime/random.h"
#include "transport/sim/sim_faults.h"

namespace acre {

// Faults as drawn, but for connections that break: those are deaths, which a test deals out itself.
inline transport::SimFaults DrawWithoutBreaks(uint64_t seed) {
  Random random(seed);
  transport::SimFaults faults =
      seed % 5 == 0 ? transport::SimFaults::All() : transport::SimFaults::Draw(&random);
  faults.lost_connection = 0;
  return faults;
}

}  // namespace acre

#endif  // ACRE_LOCK_SIM_TEST_FAULTS_H_
