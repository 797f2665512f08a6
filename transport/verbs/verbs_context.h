// What all parts of one VerbsFabric share.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_CONTEXT_H_
#define ACRE_TRANSPORT_VERBS_VERBS_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "runtime/clock.h"
#include "transport/fabric.h"
#include "transport/verbs/verbs_device.h"

namespace acre::transport {

// Places in a send queue beyond the caller's, for what a queue pair sends on its own account: at most two
// messages that give back credits, a mark behind what is waited for, a sign of life; and the mark that a
// broken one sends, whose place nothing else may take.
constexpr uint32_t kControlSends = 5;
// Receives beyond the caller's, for the peer's messages that give back credits. Each gives back at least
// half of our credit, so no more than three are on their way at a time.
constexpr uint32_t kControlReceives = 4;

// Threads: constant after construction, but for the last, which any thread may use.
struct VerbsContext {
  std::unique_ptr<VerbsDevice> card;
  DeviceAttributes device;
  Clock* clock = nullptr;
  uint64_t generation = 0;      // Of the regions: this process's incarnation.
  bool serves_atomics = true;   // False: our regions' atomics are another domain's (A3).
  bool fences_on_card = false;  // Else the queue pair waits.
  // Regions, queues, listeners and queue pairs that exist. The Fabric CHECKs that it goes last.
  std::atomic<int> live_objects = 0;

  uint32_t sends_max() const { return device.send_queue_depth_max + kControlSends; }
  uint32_t receives_max() const { return device.receive_queue_depth + kControlReceives; }
  // The most completions that a queue pair may leave at the card.
  uint32_t completions_max() const { return sends_max() + receives_max(); }
  ibv_qp_init_attr QueuePairAttributes(ibv_cq* cq) const {
    ibv_qp_init_attr attributes = {};
    attributes.send_cq = cq;
    attributes.recv_cq = cq;
    attributes.cap.max_send_wr = sends_max();
    attributes.cap.max_recv_wr = receives_max();
    attributes.cap.max_send_sge = 1;
    attributes.cap.max_recv_sge = 1;
    attributes.cap.max_inline_data = device.inline_bytes_max;
    attributes.qp_type = IBV_QPT_RC;
    return attributes;
  }
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_CONTEXT_H_
