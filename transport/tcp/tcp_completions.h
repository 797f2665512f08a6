// TcpCompletions: completions of own requests that wait to be polled.
//
// Threads:    that of the completion queue.
// Invariants: has room for all that the queue pairs may report; each says how much when it comes.

#ifndef ACRE_TRANSPORT_TCP_TCP_COMPLETIONS_H_
#define ACRE_TRANSPORT_TCP_TCP_COMPLETIONS_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "transport/fabric.h"

namespace acre::transport {

class TcpCompletions {
 public:
  struct Pending {
    Completion completion;
    uint32_t slots;  // Places in its queue pair's send queue that are free once it is polled.
  };

  TcpCompletions() : ring_(64) {}

  size_t count() const { return count_; }
  void AddRoom(size_t completions) {
    room_ += completions;
    if (room_ <= ring_.size()) return;
    std::vector<Pending> larger(std::bit_ceil(room_));
    for (size_t i = 0; i < count_; ++i) larger[i] = At(i);
    ring_ = std::move(larger);
    first_ = 0;
  }
  void RemoveRoom(size_t completions) { room_ -= completions; }

  void Push(const Completion& completion, uint32_t slots) {
    CHECK_LT(count_, ring_.size());
    At(count_++) = {completion, slots};
  }
  // Requires: count() > 0.
  Pending Pop() {
    const Pending pending = At(0);
    first_ = (first_ + 1) & (ring_.size() - 1);
    --count_;
    return pending;
  }
  void Forget(const QueuePair* queue_pair) {
    size_t kept = 0;
    for (size_t i = 0; i < count_; ++i) {
      if (At(i).completion.queue_pair != queue_pair) At(kept++) = At(i);
    }
    count_ = kept;
  }

 private:
  Pending& At(size_t i) { return ring_[(first_ + i) & (ring_.size() - 1)]; }

  std::vector<Pending> ring_;  // Of a power of two.
  size_t first_ = 0;
  size_t count_ = 0;
  size_t room_ = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_COMPLETIONS_H_
