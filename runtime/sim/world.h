// World: machines, processes and threads of a cluster in one thread of this program, under virtual
// time, out of one seed. The same seed gives the same run, event for event.
//
//   World world({.seed = 7});
//   Process* const process = world.AddProcess(world.AddMachine("a"), "server");
//   process->Spawn("main", [&] { ... });
//   const bool done = world.RunUntil([&] { return finished; }, 10 * kNsPerS);
//
// A simulated thread is a stackful fiber. Each access of a SharedWord is a scheduling point
// (runtime/simulated_memory.h): the thread's time advances by what the access costs, and whoever's
// time comes first runs next. So every interleaving that the costs allow can come up, and costs are
// drawn so that all of them are allowed: mostly a few nanoseconds, at times a stall of microseconds
// (preemption) or milliseconds (runtime/sim/cpu_costs.h).
//
// Memory model: x86-TSO. Stores go into the thread's store buffer, in order, and leave it for memory
// at a random later time, at the latest at the next locked instruction (read-modify-write, seq_cst
// store, StoreLoadBarrier) or system call; loads see the thread's own buffer first. A card
// (transport/sim) reads and writes memory itself, past all store buffers: its events run outside of
// threads, where a SharedWord is plain memory. Which threads delay stores, and for how long, is
// drawn from the seed (E11).
//
// Events (runtime/sim/event_heap.h) run at a point of virtual time outside of every thread: the
// steps of cards and links, timers, faults.
//
// Death: Process::Kill() ends a process as SIGKILL does, Machine::Crash() all of a machine.
// Nothing of a dead process is destroyed: objects that live on its threads' stacks, or that only
// they know of, leak; its stacks stay mapped as long as the World (the runs of a long campaign go
// through forked children). What must outlive a process (memory regions) belongs to the World's
// user or to the providers.
//
// Sameness: a run is the same for the same seed and program, as long as what runs does not look at
// addresses (hash tables keyed by pointers), at real time or at the kernel.
//
// Threads:   one OS thread. Not re-entrant.
// Ownership: owns machines, processes and threads; events belong to who scheduled them. Threads that
//            have not ended when the World goes are left as killed ones are.

#ifndef ACRE_RUNTIME_SIM_WORLD_H_
#define ACRE_RUNTIME_SIM_WORLD_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "runtime/random.h"
#include "runtime/sim/cpu_caches.h"
#include "runtime/sim/cpu_costs.h"
#include "runtime/sim/descriptor.h"
#include "runtime/sim/event_heap.h"
#include "runtime/sim/fiber.h"
#include "runtime/sim/machine.h"
#include "runtime/sim/memory_names.h"
#include "runtime/sim/process.h"
#include "runtime/sim/thread.h"
#include "runtime/sim/trace.h"

namespace acre::sim {

constexpr uint64_t kForever = UINT64_MAX;

class World {
 public:
  struct Options {
    uint64_t seed = 0;
    size_t trace_lines_max = 0;   // The last lines of the trace are kept as text; 0: only the hash.
    bool trace_accesses = false;  // Each access of memory that has a name is a line too.
    bool store_buffers = true;    // E11.
    bool stalls = true;           // Threads are interrupted at times, for up to 20 ms.
    // Accesses, PAUSE, the clock and ways to and from the kernel cost what cpu_caches.h says, instead of what is drawn: to
    // measure.
    bool caches = false;
  };

  explicit World(const Options& options);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // True time, that no machine knows exactly: nanoseconds since the World began. Inside a thread:
  // the thread's.
  uint64_t NowNs() const { return current_ != nullptr ? current_->now_ns_ : now_ns_; }
  // Only for the simulator and its faults; code under test gets seeds of its own.
  Random& random() { return random_; }
  CpuCosts& costs() { return costs_; }
  // What reading the clock costs a thread; how long it is away that yields its core; from a wake-up till it runs.
  uint64_t ReadClockNs() { return caches_.has_value() ? kReadClockNs : costs_.ReadClock(); }
  uint64_t YieldNs() { return caches_.has_value() ? kYieldNs : costs_.Yield(); }
  uint64_t WakeUpNs() { return caches_.has_value() ? kWakeUpNs : costs_.WakeUp(); }

  Machine* AddMachine(std::string name);
  // Requires: the machine has not crashed.
  Process* AddProcess(Machine* machine, std::string name);

  // Runs `event` after `delay_ns`. Equal times run in the order of the calls. The event lives until
  // it has run, or is cancelled, or the World is gone.
  void Schedule(Event* event, uint64_t delay_ns) { ScheduleAt(event, NowNs() + delay_ns); }
  // Requires: `at_ns` is not past.
  void ScheduleAt(Event* event, uint64_t at_ns);
  // No effect when it is not scheduled.
  void Cancel(Event* event);
  // The same for what is not hot. Dropped if the World goes first.
  void After(uint64_t delay_ns, std::function<void()> function);

  // Runs threads and events in order of time until `done` (asked between steps, at least once in 2
  // us of virtual time) says so, nothing is left to do, or the time is up (absolute, as NowNs()).
  // False unless `done` said so. Not from inside the World.
  bool RunUntil(const std::function<bool()>& done, uint64_t until_ns);

  // --- Inside a thread. Both null outside.

  Thread* current_thread() const { return current_; }
  Process* current_process() const { return current_ != nullptr ? current_->process() : nullptr; }

  // The thread works on something that is not simulated in detail: a system call, a computation.
  void Spend(uint64_t ns);
  // The same for a system call: empties the store buffer too.
  void SpendSystemCall();
  void Sleep(uint64_t ns);
  // Waits until Wake(this thread), at most `timeout_ns`. False when the time is up. A Wake that
  // came before is not lost: one Block returns at once for it.
  bool Block(uint64_t timeout_ns);
  // By when all stores that the current thread has made so far will be in memory: now, if there are
  // none on their way. What a thread tells a card (a doorbell is a store too) arrives no sooner.
  uint64_t StoresLandNs() const;
  // No store of the current thread to these bytes is on its way any more. For memory that it goes on to use
  // without shared words: what it loads there plainly does not come out of its store buffer.
  void LandStoresTo(const void* begin, size_t bytes);

  // --- From everywhere.

  // The thread goes on after `delay_ns`, if it is blocked, else its next Block returns at once. No
  // effect on a dead one.
  void Wake(Thread* thread, uint64_t delay_ns);

  // The trace. Numbers must be the same in each run of the seed: no addresses.
  uint64_t trace_hash() const { return trace_.hash(); }
  std::string trace_text() const { return trace_.text(); }
  bool traces_text() const { return trace_.keeps_lines(); }
  // `what` is a short constant; the text comes out as "time process/thread what a b c".
  void Record(absl::string_view what, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0);
  // Names memory in the trace, till ForgetMemory.
  void NameMemory(const void* begin, size_t bytes, std::string name) {
    memory_names_.Add(begin, bytes, std::move(name));
  }
  void ForgetMemory(const void* begin) { memory_names_.Remove(begin); }
  // Memory whose lines caches hold as they are (Options::caches).
  void AddLines(const void* begin, size_t bytes) {
    if (caches_.has_value()) caches_->AddLines(begin, bytes);
  }
  // A line only, for people. Build it only if traces_text().
  void Note(absl::string_view text);

 private:
  friend class Descriptor;
  friend class Machine;
  friend class Process;
  friend class Thread;
  friend class WorldSleeper;
  class FunctionEvent;

  Thread* AddThread(Process* process, std::string name, std::function<void()> body);
  void RunThread(Thread* thread);
  // Takes a thread of a process that died out of everything.
  void Forget(Thread* thread, bool memory_is_gone);
  // The current thread's time has reached horizon_ns_.
  void OnHorizon(Thread* thread);
  void SetHorizon();
  // Leaves the current thread; it comes back when something resumes it.
  void Leave(Thread* thread);
  // Leaves the current thread for ever. From anywhere in it.
  [[noreturn]] void EndCurrent();
  // Something waits in its store buffer.
  void OnStore(Thread* thread);
  void DrainDueStores(uint64_t now_ns);
  std::string LinePrefix() const;
  void TraceAccess(absl::string_view what, const void* word, uint64_t value);

  Random random_;
  CpuCosts costs_;
  absl::optional<CpuCaches> caches_;
  const bool store_buffers_;
  const bool traces_accesses_;
  Trace trace_;
  MemoryNames memory_names_;

  uint64_t now_ns_ = 0;
  uint64_t until_ns_ = 0;
  bool is_running_ = false;
  EventHeap heap_;
  Thread* current_ = nullptr;
  // The current thread goes on alone as long as its time is before it.
  uint64_t horizon_ns_ = 0;
  uint64_t slice_end_ns_ = 0;
  std::vector<Thread*> buffering_;       // Their store buffers may hold something,
  uint64_t stores_due_ns_ = UINT64_MAX;  // nothing of it due before this.

  StackPool stacks_;
  std::vector<std::unique_ptr<Machine>> machines_;
  std::vector<std::unique_ptr<Process>> processes_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<std::unique_ptr<FunctionEvent>> function_events_;  // All, in use or not.
  std::vector<FunctionEvent*> free_function_events_;
  std::vector<Descriptor*> descriptors_;  // By number. Null: closed.
};

}  // namespace acre::sim

#endif  // ACRE_RUNTIME_SIM_WORLD_H_
