// Plants: mistakes in the product that the judges of the scene must find ("Planted bugs" in docs/simulator.md).

#ifndef ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_PLANTS_H_
#define ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_PLANTS_H_

#include "runtime/planted_bug.h"

namespace acre::cluster_sim {

struct ClusterPlant {
  const char* name;  // For --plant.
  PlantedBug bug;
  const char* mistake;  // For people.
};

inline constexpr ClusterPlant kClusterPlants[] = {
    {"no-validation", PlantedBug::kCommitWithoutValidation,
     "what was only read is not validated when a transaction commits"},
    {"first-ack", PlantedBug::kSuccessAtFirstAck,
     "a coordinator says that it has committed when the first home has its COMMIT"},
    {"no-fence", PlantedBug::kPromiseWithoutFence,
     "a home that is asked for a promise does not fence the coordinator before it makes it"},
    {"slots-not-marked", PlantedBug::kSlotsNotMarkedAtLock,
     "LOCK does not mark the slots that it is to change"},
};

}  // namespace acre::cluster_sim

#endif  // ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_PLANTS_H_
