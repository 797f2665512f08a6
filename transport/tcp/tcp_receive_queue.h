// TcpReceiveQueue: the WRITE_WITH_IMMs of one connection that came and were not polled yet.
//
// Threads:    the fabric's thread pushes, the thread of the queue pair pops.
// Invariants: popped_ <= pushed_ <= popped_ + depth.
// Limits:     allocates in the constructor only.

#ifndef ACRE_TRANSPORT_TCP_TCP_RECEIVE_QUEUE_H_
#define ACRE_TRANSPORT_TCP_TCP_RECEIVE_QUEUE_H_

#include <atomic>
#include <cstdint>
#include <vector>

namespace acre::transport {

class TcpReceiveQueue {
 public:
  struct Entry {
    uint32_t immediate = 0;
    uint32_t length_bytes = 0;
  };

  explicit TcpReceiveQueue(uint32_t depth) : entries_(depth) {}

  // --- The fabric's thread.

  // False: the sender must wait, and whoever pops is to say so (Pop() returns true in *has_stalled).
  bool HasRoomOrStall() {
    if (HasRoom()) return true;
    // seq_cst on both words, here and in Pop(): either we see the room or the popper sees us stalled.
    stalled_.store(true, std::memory_order_seq_cst);
    if (!HasRoom()) return false;
    stalled_.store(false, std::memory_order_relaxed);
    return true;
  }
  // Requires: there is room. The entry's data were stored before.
  void Push(Entry entry) {
    const uint64_t pushed = pushed_.load(std::memory_order_relaxed);  // Ours alone.
    entries_[pushed % entries_.size()] = entry;
    // Release: whoever pops it sees the entry and the data that it tells of.
    pushed_.store(pushed + 1, std::memory_order_release);
  }

  // --- The queue pair's thread.

  bool empty() const {
    return pushed_.load(std::memory_order_acquire) == popped_.load(std::memory_order_relaxed);
  }
  // False: it is empty. *has_stalled: a sender waits for the place that is free now.
  bool Pop(Entry* entry, bool* has_stalled) {
    if (empty()) return false;
    const uint64_t popped = popped_.load(std::memory_order_relaxed);  // Ours alone.
    *entry = entries_[popped % entries_.size()];
    popped_.store(popped + 1, std::memory_order_seq_cst);
    // Mostly false: a plain load first.
    *has_stalled = stalled_.load(std::memory_order_seq_cst) &&
                   stalled_.exchange(false, std::memory_order_seq_cst);
    return true;
  }

 private:
  bool HasRoom() const {
    // Acquire by seq_cst: the popper has read the entry that we overwrite next.
    return pushed_.load(std::memory_order_relaxed) - popped_.load(std::memory_order_seq_cst) <
           entries_.size();
  }

  std::vector<Entry> entries_;
  std::atomic<uint64_t> pushed_{0};
  std::atomic<uint64_t> popped_{0};
  std::atomic<bool> stalled_{false};
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_RECEIVE_QUEUE_H_
