#include "runtime/clock.h"

#include <cpuid.h>
#include <time.h>

#include "glog/logging.h"

namespace acre {
namespace {

constexpr uint64_t kCalibrationNs = 200'000;
// A reading within so few ticks (about 0.1 us) is as good as they come. Else the best of some
// tries.
constexpr uint64_t kGoodWindowTicks = 300;
constexpr int kReadingTriesMax = 16;
// A rate known worse than this is not good enough for leases.
constexpr double kRateErrorMax = 0.004;

bool CpuHasInvariantTsc() {
  unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) == 0) return false;
  return (edx & (1u << 8)) != 0;
}

// The kernel writes the coarse clock at each of its ticks. Should the CPU that has this duty be away (its
// virtual machine has lost the core), another one takes over after five ticks; one more for good measure.
constexpr uint64_t kCoarseLagTicks = 6;

uint64_t ToNs(const timespec& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

uint64_t ReadNs(clockid_t id) {
  timespec now;
  CHECK_EQ(clock_gettime(id, &now), 0);
  return ToNs(now);
}

uint64_t MonotonicNs() { return ReadNs(CLOCK_MONOTONIC); }

}  // namespace

RealClock::RealClock() : has_tsc_(CpuHasInvariantTsc()), base_(Read()) {
  if (!has_tsc_) return;
  Reading now = base_;
  while (now.ns - base_.ns < kCalibrationNs) now = Read();
  // Each reading is off by at most half its window.
  const double error_ticks = static_cast<double>(base_.window_ticks + now.window_ticks) / 2;
  if (error_ticks > kRateErrorMax * static_cast<double>(now.ticks - base_.ticks)) has_tsc_ = false;
}

RealClock::Reading RealClock::Read() {
  Reading best{0, 0, UINT64_MAX};
  for (int i = 0; i < kReadingTriesMax; ++i) {
    const uint64_t before = __rdtsc();
    const uint64_t ns = MonotonicNs();
    const uint64_t after = __rdtsc();
    if (after - before < best.window_ticks)
      best = {before + (after - before) / 2, ns, after - before};
    if (best.window_ticks <= kGoodWindowTicks) break;
  }
  return best;
}

double RealClock::RateSinceBase(const Reading& now) const {
  return static_cast<double>(now.ticks - base_.ticks) / static_cast<double>(now.ns - base_.ns);
}

uint64_t RealClock::NowNs() { return MonotonicNs(); }

uint64_t RealClock::CoarseNowNs() { return ReadNs(CLOCK_MONOTONIC_COARSE); }

uint64_t RealClock::coarse_lag_ns() {
  timespec tick;
  CHECK_EQ(clock_getres(CLOCK_MONOTONIC_COARSE, &tick), 0);
  return kCoarseLagTicks * ToNs(tick);
}

TickClock RealClock::tick_clock() { return has_tsc_ ? TscTickClock() : Clock::tick_clock(); }

double RealClock::ticks_per_ns() { return has_tsc_ ? RateSinceBase(Read()) : 1.0; }

uint64_t RealClock::TicksAt(uint64_t ns) {
  if (!has_tsc_) return ns;
  const Reading now = Read();
  const double rate = RateSinceBase(now);
  const double ahead_ns =
      ns >= now.ns ? static_cast<double>(ns - now.ns) : -static_cast<double>(now.ns - ns);
  const double ahead_ticks = ahead_ns * rate;
  if (static_cast<double>(now.ticks) + ahead_ticks <= 0) return 0;
  if (ahead_ticks >= 0x1.0p62) return UINT64_MAX;  // Centuries: "never".
  return now.ticks + static_cast<uint64_t>(static_cast<int64_t>(ahead_ticks));
}

void ManualClock::AdvanceToNs(uint64_t ns) {
  CHECK_GE(ns, NowNs()) << "time does not go back";
  now_ns_.store(ns, std::memory_order_release);
}

}  // namespace acre
