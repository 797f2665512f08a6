// The seam between shared words and the simulator. Compiled in config sim only (ACRE_SIM): in every
// other build a SharedWord is a std::atomic and nothing of this is left.
//
// In config sim each access of a SharedWord, each StoreLoadBarrier, each pause of a spinning thread
// asks for the thread's SimulatedCpu. Code that runs outside of a simulated thread (a test's main
// function, the simulator's own events, a network card) has none and touches memory at once.

#ifndef ACRE_RUNTIME_SIMULATED_MEMORY_H_
#define ACRE_RUNTIME_SIMULATED_MEMORY_H_

#ifndef ACRE_SIM
#error "config sim only: in other builds nothing of the simulator is left"
#endif

#include <atomic>
#include <cstdint>
#include <utility>

namespace acre {

// What a CPU does for one simulated thread. Each call but RandomBit is a scheduling point: others
// may run before the access takes place.
class SimulatedCpu {
 public:
  virtual ~SimulatedCpu() = default;
  virtual uint64_t Load(const std::atomic<uint64_t>* word, std::memory_order order) = 0;
  virtual void Store(std::atomic<uint64_t>* word, uint64_t value, std::memory_order order) = 0;
  virtual uint64_t Exchange(std::atomic<uint64_t>* word, uint64_t value) = 0;
  virtual uint64_t FetchAdd(std::atomic<uint64_t>* word, uint64_t value) = 0;
  virtual bool CompareExchange(std::atomic<uint64_t>* word, uint64_t* expected,
                               uint64_t desired) = 0;
  virtual void StoreLoadBarrier() = 0;
  // The thread has nothing to do till another has done something (std::this_thread::yield).
  virtual void Yield() = 0;
  // The thread spins (the instruction PAUSE).
  virtual void Pause() = 0;
  // Decides what the hardware leaves open.
  virtual bool RandomBit() = 0;
};

// Null outside of simulated threads. Set by the simulator when it switches fibers; other OS threads
// have none. Also tells simulated threads apart (runtime/this_thread.h).
inline constinit thread_local SimulatedCpu* simulated_cpu = nullptr;

// While it lives, the simulated thread touches memory at once, past its store buffer, and nobody
// else runs: for what is no part of the simulated program, as a card's engine or the memory of the
// whole test program. Nothing in it may wait (CHECKed).
class OutsideOfSimulatedThread {
 public:
  OutsideOfSimulatedThread() : cpu_(std::exchange(simulated_cpu, nullptr)) {}
  ~OutsideOfSimulatedThread() { simulated_cpu = cpu_; }
  OutsideOfSimulatedThread(const OutsideOfSimulatedThread&) = delete;
  OutsideOfSimulatedThread& operator=(const OutsideOfSimulatedThread&) = delete;

 private:
  SimulatedCpu* const cpu_;
};

}  // namespace acre

#endif  // ACRE_RUNTIME_SIMULATED_MEMORY_H_
