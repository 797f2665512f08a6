// Locks of plain shared memory, as they stand in the books: what ALocks are measured against where all threads
// have the lock mapped. They wait by spinning and know nothing of fabrics, coroutines and crashes.
//
// Threads:    any, CpuTicketLock and CpuSpinLock also of other processes that map the lock. Zeroed memory is a free
//             lock.

#ifndef ACRE_BENCH_CPU_LOCKS_H_
#define ACRE_BENCH_CPU_LOCKS_H_

#include <atomic>
#include <cstdint>

#include "runtime/shared_word.h"
#include "runtime/this_thread.h"

namespace acre::bench {

// The queue lock of Mellor-Crummey and Scott (1991), with addresses as links: within one process.
class CpuMcsLock {
 public:
  struct alignas(kLineBytes) Place {
    SharedWord
        next;  // The successor's address; stored by it, loaded by the owner when it hands on.
    SharedWord waits;  // Not 0 while it waits; zeroed by the predecessor.
  };

  void Lock(Place* mine) {
    mine->next.Store(0, std::memory_order_relaxed);
    // Acquire: what the last holder did. Release: the store above.
    const uint64_t last =
        tail_.Exchange(reinterpret_cast<uint64_t>(mine), std::memory_order_acq_rel);
    if (last == 0) return;
    mine->waits.Store(1, std::memory_order_relaxed);
    reinterpret_cast<Place*>(last)->next.Store(reinterpret_cast<uint64_t>(mine),
                                               std::memory_order_release);
    while (mine->waits.Load(std::memory_order_acquire) != 0) PauseThread();
  }
  void Unlock(Place* mine) {
    uint64_t next = mine->next.Load(std::memory_order_acquire);
    if (next == 0) {
      uint64_t expected = reinterpret_cast<uint64_t>(mine);
      if (tail_.CompareExchange(&expected, 0, std::memory_order_release)) return;
      while ((next = mine->next.Load(std::memory_order_acquire)) == 0) PauseThread();
    }
    reinterpret_cast<Place*>(next)->waits.Store(0, std::memory_order_release);
  }

 private:
  SharedWord tail_;  // Address of the last place in the queue, 0: nobody.
};

// First come, first served; all wait on one word.
class CpuTicketLock {
 public:
  void Lock() {
    const uint64_t mine = next_.FetchAdd(1, std::memory_order_relaxed);
    // Acquire: what the last holder did.
    while (serves_.Load(std::memory_order_acquire) != mine) PauseThread();
  }
  void Unlock() {
    // Only the holder stores it.
    serves_.Store(serves_.Load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

 private:
  SharedWord next_;
  SharedWord serves_;
};

// Test, then test and set. Whoever comes first when it is free.
class CpuSpinLock {
 public:
  void Lock() {
    // Acquire: what the last holder did.
    while (word_.Exchange(1, std::memory_order_acquire) != 0) {
      while (word_.Load(std::memory_order_relaxed) != 0) PauseThread();
    }
  }
  void Unlock() { word_.Store(0, std::memory_order_release); }

 private:
  SharedWord word_;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_CPU_LOCKS_H_
