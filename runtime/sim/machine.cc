#include "runtime/sim/machine.h"

#include <cmath>
#include <utility>

#include "glog/logging.h"
#include "runtime/sim/descriptor.h"
#include "runtime/sim/world.h"

namespace acre::sim {
namespace {

constexpr int64_t kBillion = 1'000'000'000;
constexpr uint64_t kCoarseTickNs = 4'000'000;
__extension__ using Wide = __int128;

}  // namespace

MachineClock::MachineClock(World* world, uint64_t start_ns) : world_(world), base_ns_(start_ns) {}

uint64_t MachineClock::At(uint64_t true_ns) const {
  const Wide passed = static_cast<Wide>(true_ns - base_true_ns_);
  return base_ns_ + static_cast<uint64_t>(passed * (kBillion + drift_ppb_) / kBillion);
}

uint64_t MachineClock::NowNs() {
  if (simulated_cpu != nullptr) world_->Spend(world_->ReadClockNs());
  return At(world_->NowNs());
}

uint64_t MachineClock::CoarseNowNs() {
  if (simulated_cpu != nullptr) world_->Spend(1);
  return At(world_->NowNs()) / kCoarseTickNs * kCoarseTickNs;
}

uint64_t MachineClock::coarse_lag_ns() { return kCoarseTickNs; }

std::unique_ptr<Sleeper> MachineClock::NewSleeper() {
  return std::make_unique<WorldSleeper>(world_, this);
}

void MachineClock::SetDrift(double ppm) {
  CHECK_LT(std::abs(ppm), 100'000.0);
  const uint64_t true_ns = world_->NowNs();
  base_ns_ = At(true_ns);
  base_true_ns_ = true_ns;
  drift_ppb_ = static_cast<int64_t>(ppm * 1'000.0);
}

void MachineClock::Start(uint64_t start_ns) {
  base_ns_ = start_ns;
  base_true_ns_ = world_->NowNs();
}

uint64_t MachineClock::TrueNs(uint64_t ns) const {
  return static_cast<uint64_t>(static_cast<Wide>(ns) * kBillion / (kBillion + drift_ppb_));
}

Machine::Machine(World* world, std::string name, uint64_t clock_start_ns)
    : world_(world), name_(std::move(name)), clock_(world, clock_start_ns) {}

void Machine::SetSlowness(double factor) {
  CHECK_GE(factor, 0.01);
  CHECK_LE(factor, 10'000.0);
  slowness_of_256_ = static_cast<uint64_t>(factor * 256.0);
}

void Machine::Restart() {
  CHECK(is_crashed_);
  is_crashed_ = false;
  clock_.Start(kBillion + world_->random().Uniform(100 * kBillion));
}

void Machine::Crash() {
  if (is_crashed_) return;
  is_crashed_ = true;
  bool own = false;
  for (Process* const process : processes_) {
    if (process->is_dead()) {
      // Killed before; stores of it may be on their way still.
      for (Thread* const thread : process->threads_) thread->stores_.Drop();
      continue;
    }
    world_->Record("crashed", process->id());
    own = own || world_->current_process() == process;
    process->Die(/*memory_is_gone=*/true);
  }
  if (own) world_->EndCurrent();
}

}  // namespace acre::sim
