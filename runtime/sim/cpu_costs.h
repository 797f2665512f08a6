// What things cost simulated threads, in virtual time: drawn anew each time, so that whatever can
// come between two steps of a thread does so in some run.

#ifndef ACRE_RUNTIME_SIM_CPU_COSTS_H_
#define ACRE_RUNTIME_SIM_CPU_COSTS_H_

#include <cstdint>

#include "runtime/random.h"

namespace acre::sim {

// How a thread's stores leave its store buffer. Some CPUs are quick, so that an order which holds
// by luck is met too.
enum class StoreStyle : uint8_t { kAtOnce, kSoon, kLate, kMixed };

// Each run has a style of its own, drawn from the seed: how often an access misses the cache, is
// interrupted, stalls.
//
// Threads: confined to the World's.
class CpuCosts {
 public:
  CpuCosts(uint64_t seed, bool stalls);

  // Of one access of memory: mostly 1 to 4 ns; at times a cache miss, seldom an interrupt (us),
  // very seldom a stall (ms).
  uint64_t Access() {
    const uint64_t byte = Bits(8);
    return byte < hits_of_256_ ? 1 + byte % 4 : SlowAccess(byte);
  }
  // Of one PAUSE of a loop that spins.
  uint64_t Pause() { return 40 + Bits(8); }
  // Of reading the clock.
  uint64_t ReadClock() { return 10 + Bits(4); }
  // Of a system call that does not wait.
  uint64_t SystemCall() { return 200 + Bits(10); }
  // Until a thread that yields its core runs again: mostly soon, at times after another one's time
  // slice.
  uint64_t Yield();
  // From a wake-up until the thread that slept runs.
  uint64_t WakeUp();
  // Until a new thread runs.
  uint64_t StartThread() { return 1'000 + random_.Uniform(50'000); }
  // Until a store leaves the buffer.
  uint64_t StoreDelay(StoreStyle style);
  StoreStyle DrawStoreStyle();

  // Random bits, cheaper than a Random's. Requires: count <= 32.
  uint64_t Bits(uint32_t count) {
    if (bits_left_ < count) {
      bits_ = random_.Next();
      bits_left_ = 64;
    }
    const uint64_t result = bits_ & ((uint64_t{1} << count) - 1);
    bits_ >>= count;
    bits_left_ -= count;
    return result;
  }

 private:
  uint64_t SlowAccess(uint64_t byte);

  Random random_;
  uint64_t bits_ = 0;
  uint32_t bits_left_ = 0;
  uint64_t hits_of_256_;
  // One access in 256 times so many; powers of two. 0: never.
  uint64_t preempted_one_in_ = 0;
  uint64_t stalled_one_in_ = 0;
};

}  // namespace acre::sim

#endif  // ACRE_RUNTIME_SIM_CPU_COSTS_H_
