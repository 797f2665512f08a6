// Time: where a thread of Acre learns it, and how a test makes it pass.
//
// Two scales. Nanoseconds of CLOCK_MONOTONIC are what deadlines and leases are written in: all
// processes of a machine agree on them. Ticks are for hot paths that only ask "is it time yet": a
// few nanoseconds to read and, on x86 with an invariant TSC, not serialising, so a reader's cache
// misses stay in flight.
//
// Ticks are only compared with a tick deadline made by Clock::TicksAt from a deadline in
// nanoseconds. Precision: the tick that stands for a deadline passes within
//   (deadline - now) * rate error + reading error
// of it. Reading error: half the time that it takes to read both scales, tens of ns as a rule, the
// best of 16 tries on a busy machine. Rate error: two such readings over the clock's age, which is
// at least 200 us: at most 0.4 % (a worse calibration is refused, ticks are then nanoseconds), 0.05
// % as a rule, falling as the clock ages: each use measures the rate anew, from construction to
// now. NTP may slew the nanoseconds by 0.05 %. So a deadline 500 ms ahead is met within 2.3 ms in
// the worst case.

#ifndef ACRE_RUNTIME_CLOCK_H_
#define ACRE_RUNTIME_CLOCK_H_

#include <x86intrin.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "runtime/sleeper.h"

namespace acre {

class Clock;

// The cheap side of a Clock, to be held by value where every nanosecond counts. Outlived by its
// Clock.
//
// Threads: any; ticks of different cores agree to within a cross-core message, as the TSC is
// invariant and the kernel keeps the cores' counters together.
class TickClock final {
 public:
  // Now. Not ordered with the loads and stores around it: the CPU may read it some tens of
  // nanoseconds early or late. Never leaves the order of two reads on one thread that depend on
  // each other.
  [[nodiscard]] uint64_t Ticks() const {
    if (clock_ == nullptr) return __rdtsc();
    return TicksOfClock();
  }

 private:
  friend class Clock;
  explicit TickClock(Clock* clock) : clock_(clock) {}
  uint64_t TicksOfClock() const;

  Clock* clock_;  // Null: ticks are the TSC's. Else they are this clock's nanoseconds.
};

// Threads: all functions may be called from any thread.
class Clock {
 public:
  virtual ~Clock() = default;

  // Nanoseconds of CLOCK_MONOTONIC, or of the test's own time. Never goes back.
  virtual uint64_t NowNs() = 0;

  // NowNs() as it was up to coarse_lag_ns() ago. A few nanoseconds to read, and plain loads of memory:
  // ordered like loads, and the reader's cache misses stay in flight.
  virtual uint64_t CoarseNowNs() { return NowNs(); }
  virtual uint64_t coarse_lag_ns() { return 0; }

  // The tick source of this clock. By default ticks are nanoseconds.
  virtual TickClock tick_clock() { return TickClock(this); }
  uint64_t Ticks() { return tick_clock().Ticks(); }

  // Ticks in a nanosecond, as well as it is known by now.
  virtual double ticks_per_ns() { return 1.0; }

  // The tick at which NowNs() reads `ns`, past or future. Reads both scales (about 60 ns): call it
  // when a deadline is set, not when it is checked.
  virtual uint64_t TicksAt(uint64_t ns) { return ns; }

  // How one Scheduler's thread waits while this clock's time passes. By default epoll, whose
  // timeouts are real time's.
  virtual std::unique_ptr<Sleeper> NewSleeper() { return NewEpollSleeper(); }

 protected:
  static TickClock TscTickClock() { return TickClock(nullptr); }
};

inline uint64_t TickClock::TicksOfClock() const { return clock_->NowNs(); }

// The machine's own time.
//
// Limits: takes 200 us to make, to calibrate the TSC; one a process is enough. Where the machine
//         has no invariant TSC (CPUID 0x80000007, EDX bit 8), or is too busy to calibrate it, ticks
//         are nanoseconds.
class RealClock final : public Clock {
 public:
  RealClock();

  uint64_t NowNs() override;
  uint64_t CoarseNowNs() override;
  uint64_t coarse_lag_ns() override;
  TickClock tick_clock() override;
  double ticks_per_ns() override;
  uint64_t TicksAt(uint64_t ns) override;

 private:
  // Both scales at one moment. The true tick at `ns` lies within `window_ticks` of `ticks`.
  struct Reading {
    uint64_t ticks;
    uint64_t ns;
    uint64_t window_ticks;
  };
  Reading Read();
  double RateSinceBase(const Reading& now) const;

  bool has_tsc_;  // Constant after construction.
  Reading base_;  // Read at construction. The rate is measured from here to now.
};

// Time that passes only when a test says so.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(uint64_t now_ns = 1'000'000'000) : now_ns_(now_ns) {}

  uint64_t NowNs() override { return now_ns_.load(std::memory_order_acquire); }
  void AdvanceNs(uint64_t ns) { now_ns_.fetch_add(ns, std::memory_order_acq_rel); }
  // Requires: `ns` is not before now.
  void AdvanceToNs(uint64_t ns);

 private:
  // Written by the test's thread, read by all. A reader sees the last value set or one before it.
  std::atomic<uint64_t> now_ns_;
};

}  // namespace acre

#endif  // ACRE_RUNTIME_CLOCK_H_
