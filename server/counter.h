// The server's counters: one thread stores, any thread loads.

#ifndef ACRE_SERVER_COUNTER_H_
#define ACRE_SERVER_COUNTER_H_

#include <cstdint>

#include "runtime/shared_word.h"

namespace acre::server {

// Relaxed: counters order nothing. Only the thread that stores the counter calls these.
inline void AddToCounter(SharedWord* counter, uint64_t amount = 1) {
  counter->Store(counter->Load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

inline void SubtractFromCounter(SharedWord* counter, uint64_t amount = 1) {
  counter->Store(counter->Load(std::memory_order_relaxed) - amount, std::memory_order_relaxed);
}

}  // namespace acre::server

#endif  // ACRE_SERVER_COUNTER_H_
