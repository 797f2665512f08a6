// What all parts of one ShmFabric share.

#ifndef ACRE_TRANSPORT_SHM_SHM_CONTEXT_H_
#define ACRE_TRANSPORT_SHM_SHM_CONTEXT_H_

#include <atomic>
#include <cstdint>

#include "runtime/clock.h"
#include "transport/fabric.h"
#include "transport/shm/owner_thread.h"

namespace acre::transport {

// Threads: constant after construction, but for the last two, which any thread may use.
struct ShmContext {
  DeviceAttributes device;
  uint64_t atomic_domain = 0;
  uint64_t generation = 0;  // Of the regions: this process's incarnation.
  Clock* clock = nullptr;
  bool death_marks = true;  // Whether regions that ask for a death mark get one.
  // Regions, queues, listeners and queue pairs that exist. The Fabric CHECKs that it goes last.
  std::atomic<int> live_objects = 0;
  LazyOwnerThread owner_thread;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_SHM_CONTEXT_H_
