// What all parts of one VerbsFabric share.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_CONTEXT_H_
#define ACRE_TRANSPORT_VERBS_VERBS_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "runtime/clock.h"
#include "runtime/mutex.h"
#include "transport/fabric.h"
#include "transport/verbs/verbs_device.h"

namespace acre::transport {

class VerbsGroup;

// Places in a card's send queue beyond the lanes', for what is sent on our own account: messages
// (verbs_wire.h), a mark behind what is waited for, a sign of life; and the mark that a broken queue pair
// sends, whose place nothing else may take.
constexpr uint32_t kControlSends = 4;
constexpr uint32_t kControlSendsPerLane = 1;
// Receives beyond the callers', for the peer's messages about one lane that we have not taken yet: two that give
// back credits, each at least half of them; one that closes it or confirms that; and, since its number is free
// then, one that opens it anew.
constexpr uint32_t kControlReceivesPerLane = 4;

// The places of one of the card's queue pairs. Each lane has as many as a queue pair of its own would.
struct CardQueueDepths {
  uint32_t lanes = 1;
  uint32_t lane_sends = 0;
  uint32_t lane_receives = 0;

  uint32_t receives() const { return lanes * lane_receives; }  // Of all lanes.
  uint32_t controls_max() const { return kControlSends + lanes * kControlSendsPerLane; }
  uint32_t sends_max() const { return lanes * lane_sends + controls_max(); }
  uint32_t receives_max() const { return receives() + lanes * kControlReceivesPerLane; }
  // The most completions that it may leave at the card.
  uint32_t completions_max() const { return sends_max() + receives_max(); }
  ibv_qp_init_attr Attributes(ibv_cq* cq, uint32_t inline_bytes_max) const {
    ibv_qp_init_attr attributes = {};
    attributes.send_cq = cq;
    attributes.recv_cq = cq;
    attributes.cap.max_send_wr = sends_max();
    attributes.cap.max_recv_wr = receives_max();
    attributes.cap.max_send_sge = 1;
    attributes.cap.max_recv_sge = 1;
    attributes.cap.max_inline_data = inline_bytes_max;
    attributes.qp_type = IBV_QPT_RC;
    return attributes;
  }
};

// Threads: constant after construction, but for what says otherwise.
struct VerbsContext {
  std::unique_ptr<VerbsDevice> card;
  DeviceAttributes device;  // Depths: of one lane.
  Clock* clock = nullptr;
  uint64_t generation = 0;      // Of the regions: this process's incarnation.
  bool serves_atomics = true;   // False: our regions' atomics are another domain's (A3).
  bool fences_on_card = false;  // Else the queue pair waits.
  uint32_t threads_per_qp = 1;
  // Regions, queues, listeners and queue pairs that exist. The Fabric CHECKs that it goes last. Any thread.
  std::atomic<int> live_objects = 0;
  std::atomic<int> card_queue_pairs = 0;  // Of them, the card's. Any thread.

  Mutex groups_mutex;
  // Of completion queues (verbs_group.h).
  std::vector<std::weak_ptr<VerbsGroup>> groups ABSL_GUARDED_BY(groups_mutex);

  // Of a queue pair for so many lanes. On the side that accepts, that is the peer's choice.
  CardQueueDepths DepthsFor(uint32_t lanes) const {
    return {.lanes = lanes,
            .lane_sends = device.send_queue_depth_max,
            .lane_receives = device.receive_queue_depth};
  }
  // OK, or InvalidArgument: more than the card has, or than we tell peers of; the message says what.
  absl::Status Judge(const CardQueueDepths& depths) const;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_CONTEXT_H_
