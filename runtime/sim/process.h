// Process: threads of a World that live and die together.

#ifndef ACRE_RUNTIME_SIM_PROCESS_H_
#define ACRE_RUNTIME_SIM_PROCESS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace acre::sim {

class Machine;
class Thread;
class World;

// Ownership: belongs to the World, lives as long as it, dead or not.
// Threads:   all functions may be called from everywhere in the World, also by its own threads.
class Process {
 public:
  Process(World* world, Machine* machine, std::string name, uint32_t id);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  World* world() const { return world_; }
  Machine* machine() const { return machine_; }
  const std::string& name() const { return name_; }
  // 1, 2, ... in the order of AddProcess.
  uint32_t id() const { return id_; }
  bool is_dead() const { return is_dead_; }
  bool is_paused() const { return is_paused_; }

  // Starts a thread that runs `body`, a little later. When it returns the thread has ended.
  // Requires: not dead.
  Thread* Spawn(std::string name, std::function<void()> body);

  // SIGKILL: its threads never run again. What is in their store buffers reaches memory in order,
  // each store at the time that was drawn for it: the CPUs go on. Called by one of its own threads
  // it does not return. No effect on a dead one.
  void Kill();

  // SIGSTOP, or a hypervisor that has no time: its threads stand still, its timers pass, its store
  // buffers empty themselves. Called by one of its own threads it returns after Resume.
  void Pause();
  void Resume();

  // Calls `callback` after its death, outside of every thread, at the time of the death but after
  // whatever killed it. In the order of these calls. At once in that sense if it is dead.
  void OnDeath(std::function<void()> callback);

  // From now on calls `on_step` in each of its threads before all that somebody else may see of them: a store or locked
  // instruction on shared words, a request to a card. So a run that is killed at each step in turn has been killed between
  // any two of them: Kill() in `on_step` does not return. Null: no more.
  void WatchSteps(std::function<void()> on_step) { on_step_ = std::move(on_step); }
  // For threads and cards, before one. May not return.
  void Step() {
    if (on_step_) on_step_();
  }

 private:
  friend class Machine;
  friend class World;

  void Die(bool memory_is_gone);

  World* const world_;
  Machine* const machine_;
  const std::string name_;
  const uint32_t id_;
  bool is_dead_ = false;
  bool is_paused_ = false;
  std::vector<Thread*> threads_;
  std::vector<Thread*> standing_;  // Whose time came while it was paused.
  std::vector<std::function<void()>> on_death_;
  std::function<void()> on_step_;
};

}  // namespace acre::sim

#endif  // ACRE_RUNTIME_SIM_PROCESS_H_
