// World: machines, processes and threads of a cluster in one thread of this program, under virtual
// time, out of one seed. The same seed gives the same run, event for event.
//
// A simulated thread is a stackful fiber. Each access of a SharedWord is a scheduling point
// (runtime/simulated_memory.h): the thread's time advances by what the access costs, and whoever's
// time comes first runs next. So every interleaving that the costs allow can come up, and costs are
// drawn so that all of them are allowed: mostly a few nanoseconds, at times a stall of microseconds
// (preemption) or milliseconds.
//
// Memory model: x86-TSO. Stores go into the thread's store buffer, in order, and leave it for memory
// at a random later time, at the latest at the next locked instruction or StoreLoadBarrier; loads
// see the thread's own buffer first. A card (transport/sim) reads and writes memory itself, past all
// store buffers. Which threads delay stores, and for how long, is drawn from the seed (E11).
//
// Events are functions that run at a point of virtual time outside of every fiber: the steps of
// cards and links, timers, faults.
//
// Death: Kill() ends a process as SIGKILL does. Its fibers never run again; what was in their store
// buffers reaches memory or is lost, word by word in order, as the seed says. Nothing of it is destroyed: objects
// that live on the fibers' stacks, or that only they know of, leak (the runs of a long
// campaign go through forked children). What must outlive it (memory regions) belongs to the World
// or to the providers. Pause()/Resume() stop and continue all its fibers (SIGSTOP, or a slow
// hypervisor: the zombie).
//
// Threads:   one OS thread. Not re-entrant.
// Ownership: owns machines, processes, fibers and events.

#ifndef ACRE_RUNTIME_SIM_WORLD_H_
#define ACRE_RUNTIME_SIM_WORLD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/clock.h"
#include "runtime/random.h"

namespace acre::sim {

class World;
class Process;

// A computer: a clock that may drift, a speed.
class Machine {
 public:
  Clock* clock();            // CLOCK_MONOTONIC of this machine: drifts, never goes back.
  void SetDrift(double ppm);  // From now on.
  void SetSlowness(double factor);  // What an access costs its threads, relative to 1.
};

class Process {
 public:
  Machine* machine() const;
  const std::string& name() const;
  bool is_dead() const;
  bool is_paused() const;
  // Starts a thread that runs `body` on a fiber. When it returns the thread has ended.
  void Spawn(std::string name, std::function<void()> body);
  void Kill();
  void Pause();
  void Resume();
  // Called (outside of fibers) after a death: providers break connections. Any number.
  void OnDeath(std::function<void()> callback);
};

class World {
 public:
  struct Options {
    uint64_t seed = 0;
    bool trace = false;             // Keep the text of the trace; its hash is kept in any case.
    bool store_buffers = true;      // E11.
    bool stalls = true;             // Threads are preempted at times.
    // ...
  };
  explicit World(const Options& options);

  uint64_t NowNs() const;  // True time, that no machine knows exactly. Inside a fiber: the fiber's.
  Random& random();        // Only for the simulator and its faults; code under test gets seeds of its own.

  Machine* AddMachine(std::string name);
  Process* AddProcess(Machine* machine, std::string name);

  // Runs `event` after `delay_ns`. Equal times run in the order of the calls.
  void After(uint64_t delay_ns, std::function<void()> event);

  // Runs fibers and events in order of time until `done` (asked between steps) says so, nothing is left to do,
  // or the time is up. False unless `done` said so.
  bool RunUntil(const std::function<bool()>& done, uint64_t until_ns);

  // --- Inside a fiber.
  Process* current_process();  // Null outside.
  void Sleep(uint64_t ns);
  // Blocks the fiber till Wake(token) or the time is up; a Wake that came before is not lost.
  // (runtime/scheduler.h waits with it.)

  // A line of the trace: {time, process, thread} and text, made only if the trace is kept; the hash
  // takes `code` and the numbers in any case.
  void Trace(absl::string_view text);
};

}  // namespace acre::sim

#endif  // ACRE_RUNTIME_SIM_WORLD_H_
