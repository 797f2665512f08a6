// Script: what goes wrong in a run, besides the network's own faults: deaths, pauses, crashes, partitions,
// slowness, drift, at times drawn from the seed.

#ifndef ACRE_TESTS_SIM_SCRIPT_H_
#define ACRE_TESTS_SIM_SCRIPT_H_

#include <cstdint>

#include "tests/sim/cluster.h"

namespace acre::simulation {

// Draws the troubles of a run and schedules them. Returns when the last is over; what died starts again
// about then.
uint64_t ScheduleTroubles(Cluster* cluster);

}  // namespace acre::simulation

#endif  // ACRE_TESTS_SIM_SCRIPT_H_
