// Fibers: stacks that take turns on one OS thread, and the pool of their memory.

#ifndef ACRE_RUNTIME_SIM_FIBER_H_
#define ACRE_RUNTIME_SIM_FIBER_H_

#include <cstddef>
#include <functional>
#include <vector>

namespace acre::sim {

// Stacks of one size, each with a guard page below: an overflow ends the program at once.
//
// Ownership: owns all stacks, those in use too; unmaps them when it goes.
class StackPool {
 public:
  static constexpr size_t kStackBytes = size_t{256} << 10;

  StackPool() = default;
  ~StackPool();
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  // The upper end of a stack of kStackBytes.
  void* Take();
  void Give(void* stack_top);

 private:
  std::vector<void*> all_;   // The mappings.
  std::vector<void*> free_;  // Upper ends.
};

// A function on a stack of its own.
//
// It uses Boost.Context's bare switch rather than its class fiber, since that class unwinds the
// stack of a fiber that is abandoned. A killed thread must not run its destructors: its stack is
// left as it is, and what it holds leaks.
class Fiber {
 public:
  // `body` must not throw. Its end switches back for good.
  Fiber(StackPool* pool, std::function<void()> body);
  // Gives the stack back if the body has ended; else the stack stays as it is, with the pool:
  // others may know of objects on it.
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Goes on with the body, from outside. Returns at its next Suspend, or at its end.
  void Resume();
  // From inside of the body: back to who called Resume.
  void Suspend();
  bool has_ended() const { return has_ended_; }

 private:
  static void Main(void* from, Fiber* fiber);
  struct Entry;

  StackPool* const pool_;
  std::function<void()> body_;
  void* const stack_top_;
  void* context_;           // Where the body goes on.
  void* caller_ = nullptr;  // Where Resume goes on.
  bool has_ended_ = false;
};

}  // namespace acre::sim

#endif  // ACRE_RUNTIME_SIM_FIBER_H_
