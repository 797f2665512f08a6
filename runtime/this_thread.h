// What a thread can say of itself without knowing whether it is an OS thread or one of the
// simulator's (config sim, runtime/sim/world.h).

#ifndef ACRE_RUNTIME_THIS_THREAD_H_
#define ACRE_RUNTIME_THIS_THREAD_H_

#include <thread>

#ifdef ACRE_SIM
#include "runtime/simulated_memory.h"
#endif

namespace acre {

// Its address tells threads apart.
inline constinit thread_local char this_thread_mark = 0;

// The same for each call of one thread, different from all other threads that live.
inline const void* ThisThread() {
#ifdef ACRE_SIM
  if (simulated_cpu != nullptr) return simulated_cpu;
#endif
  return &this_thread_mark;
}

// Lets others run: what this thread waits for may need this very core. For a loop that has spun in
// vain for a while.
inline void YieldThread() {
#ifdef ACRE_SIM
  if (simulated_cpu != nullptr) return simulated_cpu->Yield();
#endif
  std::this_thread::yield();
}

// One turn of a loop that spins.
inline void PauseThread() {
#ifdef ACRE_SIM
  if (simulated_cpu != nullptr) return simulated_cpu->Pause();
#endif
  __builtin_ia32_pause();
}

}  // namespace acre

#endif  // ACRE_RUNTIME_THIS_THREAD_H_
