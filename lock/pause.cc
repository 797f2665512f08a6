#include "lock/pause.h"

#include <algorithm>

namespace acre {
namespace {

// Passes in which it looks each time: most locks are held for less.
constexpr uint32_t kBusyPauses = 2'000;
constexpr uint64_t kSleepShare = 8;
constexpr uint64_t kSleepNsMin = 10'000;
constexpr uint64_t kSleepNsMax = 1'000'000;

}  // namespace

Task<void> Pause::Take(Scheduler* scheduler) {
  if (count_ < kBusyPauses || scheduler->poll_mode() == PollMode::kBusy) {
    ++count_;
    co_await scheduler->Yield();
    co_return;
  }
  // Nearly no wait gets here: the clock is not asked before.
  if (since_ns_ == 0) since_ns_ = scheduler->NowNs();
  const uint64_t waited_ns = scheduler->NowNs() - since_ns_;
  co_await scheduler->SleepFor(std::clamp(waited_ns / kSleepShare, kSleepNsMin, kSleepNsMax));
}

}  // namespace acre
