// What all parts of one TcpFabric share.

#ifndef ACRE_TRANSPORT_TCP_TCP_CONTEXT_H_
#define ACRE_TRANSPORT_TCP_TCP_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "runtime/clock.h"
#include "transport/fabric.h"
#include "transport/tcp/tcp_engine.h"

namespace acre::transport {

// Threads: constant after construction, but for the last two, which any thread may use.
struct TcpContext {
  explicit TcpContext(Clock* of_clock) : clock(of_clock), engine(of_clock) {}

  DeviceAttributes device;
  uint64_t atomic_domain = 0;
  uint64_t generation = 0;  // Of the regions: this process's incarnation.
  std::string listen_host;
  uint32_t unreachable_ms = 0;
  Clock* const clock;
  // Regions, queues, listeners and queue pairs that exist. The Fabric CHECKs that it goes last.
  std::atomic<int> live_objects = 0;
  TcpEngine engine;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_CONTEXT_H_
