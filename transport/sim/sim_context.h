// What all parts of one SimFabric share.

#ifndef ACRE_TRANSPORT_SIM_SIM_CONTEXT_H_
#define ACRE_TRANSPORT_SIM_SIM_CONTEXT_H_

#include <cstdint>

#include "runtime/clock.h"
#include "transport/fabric.h"

namespace acre::sim {
class Process;
}  // namespace acre::sim

namespace acre::transport {

class SimNetwork;

// What executes requests.
enum class SimDevice : uint8_t {
  // A card on each machine: requests run on their own, whatever the processes do. Reaches all machines.
  kCard,
  // The initiator's CPU, in Post(), on mapped memory, as the shm provider does. Processes of one machine.
  kSharedMemory,
};

// Constant after construction, but for the counter. Belongs to the network: what is under way when its
// process dies still looks at it.
struct SimContext {
  SimNetwork* network = nullptr;
  sim::Process* process = nullptr;
  SimDevice kind = SimDevice::kCard;
  DeviceAttributes device;
  uint64_t atomic_domain = 0;
  uint64_t generation = 0;  // Of the regions: this process's incarnation.
  Clock* clock = nullptr;
  bool marks_deaths = false;   // RegionOptions::death_mark works.
  uint32_t max_rd_atomic = 0;  // READs and atomics of one queue pair that are under way at once.
  // Regions, queues, listeners and queue pairs that exist. The Fabric CHECKs that it goes last.
  int live_objects = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_CONTEXT_H_
