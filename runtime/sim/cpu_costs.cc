#include "runtime/sim/cpu_costs.h"

namespace acre::sim {
namespace {

constexpr uint64_t kNsPerUs = 1'000;
constexpr uint64_t kNsPerMs = 1'000'000;

}  // namespace

CpuCosts::CpuCosts(uint64_t seed, bool stalls) : random_(seed) {
  // From "nearly everything is in the cache: threads run in bursts" to "all take turns".
  constexpr uint64_t kHits[] = {128, 224, 248};
  hits_of_256_ = kHits[random_.Uniform(3)];
  // Drawn in any case: the rest of the run is the same with stalls and without.
  const uint64_t preempted_log = 4 + random_.Uniform(8);
  const uint64_t stalled_log = 9 + random_.Uniform(8);
  if (!stalls) return;
  preempted_one_in_ = uint64_t{1} << preempted_log;
  stalled_one_in_ = uint64_t{1} << stalled_log;
}

uint64_t CpuCosts::SlowAccess(uint64_t byte) {
  if (preempted_one_in_ != 0 && byte == 255) {
    const uint64_t draw = random_.Next();
    if (draw % stalled_one_in_ == 0) return kNsPerMs + random_.Uniform(20 * kNsPerMs);
    if (draw % preempted_one_in_ == 0) return kNsPerUs + random_.Uniform(50 * kNsPerUs);
  }
  return 20 + Bits(7);
}

uint64_t CpuCosts::Yield() {
  const uint64_t draw = Bits(7);
  if (draw == 0) return 500 * kNsPerUs + random_.Uniform(3'500 * kNsPerUs);
  if (draw < 8) return kNsPerUs + random_.Uniform(20 * kNsPerUs);
  return 200 + Bits(10);
}

uint64_t CpuCosts::WakeUp() {
  const uint64_t draw = Bits(6);
  if (draw == 0) return 20 * kNsPerUs + random_.Uniform(200 * kNsPerUs);
  return kNsPerUs + Bits(12);
}

StoreStyle CpuCosts::DrawStoreStyle() { return static_cast<StoreStyle>(random_.Uniform(4)); }

uint64_t CpuCosts::StoreDelay(StoreStyle style) {
  switch (style) {
    case StoreStyle::kAtOnce:
      return 0;
    case StoreStyle::kSoon:
      return Bits(6);
    case StoreStyle::kLate:
      return Bits(11);
    case StoreStyle::kMixed:
      return Bits(5) == 0 ? Bits(14) : Bits(6);
  }
  return 0;
}

}  // namespace acre::sim
