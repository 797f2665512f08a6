// Faults: what goes wrong in a run besides the network's own: deaths, pauses, links that break, connections that homes give
// up, slowness, at times drawn from the seed.

#ifndef ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_FAULTS_H_
#define ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_FAULTS_H_

#include <cstdint>

namespace acre::cluster_sim {

class Scene;

// Draws the troubles of a run and schedules them. Returns when the last is over; what died starts again about then.
uint64_t ScheduleFaults(Scene* scene);

}  // namespace acre::cluster_sim

#endif  // ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_FAULTS_H_
