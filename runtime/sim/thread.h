// Thread: a fiber with a time of its own and the CPU that it sees.

#ifndef ACRE_RUNTIME_SIM_THREAD_H_
#define ACRE_RUNTIME_SIM_THREAD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/sim/cpu_costs.h"
#include "runtime/sim/event_heap.h"
#include "runtime/sim/fiber.h"
#include "runtime/sim/store_buffer.h"
#include "runtime/simulated_memory.h"

namespace acre::sim {

class Process;
class World;

// In the World's heap it is the event "goes on".
//
// Ownership:  belongs to the World, lives as long as it, ended or not.
// Invariants: it runs only while nothing else in the World has an earlier time. In the heap, or
//             running, or blocked without a timeout, or standing (its process is paused), or gone.
class Thread final : public SimulatedCpu, private Event {
 public:
  Thread(World* world, Process* process, std::string name, uint32_t id, StoreStyle store_style,
         std::unique_ptr<Fiber> fiber);

  Process* process() const { return process_; }
  const std::string& name() const { return name_; }
  // 1, 2, ... in the order of Spawn, over all processes.
  uint32_t id() const { return id_; }
  // Its body has returned.
  bool has_ended() const { return has_ended_; }

  uint64_t Load(const std::atomic<uint64_t>* word, std::memory_order order) override;
  void Store(std::atomic<uint64_t>* word, uint64_t value, std::memory_order order) override;
  uint64_t Exchange(std::atomic<uint64_t>* word, uint64_t value) override;
  uint64_t FetchAdd(std::atomic<uint64_t>* word, uint64_t value) override;
  bool CompareExchange(std::atomic<uint64_t>* word, uint64_t* expected, uint64_t desired) override;
  void StoreLoadBarrier() override;
  void Yield() override;
  void Pause() override;
  bool RandomBit() override;

 private:
  friend class Machine;
  friend class Process;
  friend class World;

  // Its time passes; whoever comes first runs first.
  void Spend(uint64_t ns);
  void Access();  // A barrier.
  void AccessToLoad(const void* word);
  void AccessToStore(const void* word);
  void AccessToModify(const void* word);
  void Trace(absl::string_view what, const void* word, uint64_t value);
  void Run() override;

  World* const world_;
  Process* const process_;
  const std::string name_;
  const uint32_t id_;
  const StoreStyle store_style_;
  uint64_t now_ns_ = 0;
  StoreBuffer stores_;
  bool in_buffering_ = false;  // The World knows that stores_ is not empty.
  bool has_ended_ = false;
  bool is_blocked_ = false;
  bool was_woken_ = false;  // Since the last Block began, or before it.
  std::unique_ptr<Fiber> fiber_;
};

}  // namespace acre::sim

#endif  // ACRE_RUNTIME_SIM_THREAD_H_
