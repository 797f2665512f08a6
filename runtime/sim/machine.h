// Machine: a computer of a World.

#ifndef ACRE_RUNTIME_SIM_MACHINE_H_
#define ACRE_RUNTIME_SIM_MACHINE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/clock.h"
#include "runtime/sleeper.h"

namespace acre::sim {

class Process;
class World;

// CLOCK_MONOTONIC of a machine: starts anywhere, drifts, never goes back till the machine crashes.
// Ticks are nanoseconds.
// Schedulers that take it sleep on the World.
//
// A simulated thread that reads it pays for it (also TickClock): loops that wait for a time end.
class MachineClock final : public Clock {
 public:
  MachineClock(World* world, uint64_t start_ns);

  uint64_t NowNs() override;
  // As Linux has it: the time of the last of its ticks, 4 ms apart.
  uint64_t CoarseNowNs() override;
  uint64_t coarse_lag_ns() override;
  std::unique_ptr<Sleeper> NewSleeper() override;

  // The machine starts: from now on it counts from here.
  void Start(uint64_t start_ns);
  // From now on it gains so much on true time. Requires: |ppm| < 100,000.
  void SetDrift(double ppm);
  // How much true time passes while this clock counts `ns`, if the drift stays.
  uint64_t TrueNs(uint64_t ns) const;

 private:
  uint64_t At(uint64_t true_ns) const;

  World* const world_;
  // It read base_ns_ at true time base_true_ns_, and gains drift_ppb_ in 10^9 since.
  uint64_t base_true_ns_ = 0;
  uint64_t base_ns_;
  int64_t drift_ppb_ = 0;
};

// Ownership: belongs to the World, lives as long as it.
class Machine {
 public:
  Machine(World* world, std::string name, uint64_t clock_start_ns);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  const std::string& name() const { return name_; }
  MachineClock* clock() { return &clock_; }
  void SetDrift(double ppm) { clock_.SetDrift(ppm); }
  // What things cost its threads from now on, relative to 1. Requires: 0.01 <= factor <= 10,000.
  void SetSlowness(double factor);

  // Power failure: all its processes die, nothing of their store buffers reaches memory any more,
  // which is gone (whoever keeps memory regions learns it by Process::OnDeath, and here).
  void Crash();
  bool is_crashed() const { return is_crashed_; }
  // It may run new processes again; its clock starts anew, as CLOCK_MONOTONIC does. Requires: the
  // death of the old ones has been reported (Process::OnDeath).
  void Restart();

 private:
  friend class Thread;
  friend class World;

  World* const world_;
  const std::string name_;
  MachineClock clock_;
  uint64_t slowness_of_256_ = 256;
  bool is_crashed_ = false;
  std::vector<Process*> processes_;
};

}  // namespace acre::sim

#endif  // ACRE_RUNTIME_SIM_MACHINE_H_
