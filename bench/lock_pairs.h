// What a pair of acquire and release costs that nobody disturbs, on one thread: the ALock's local side against an MCS
// lock of the same process. In turns, in batches of some tens of microseconds each, which the kernel seldom disturbs;
// told are medians over the batches, and medians of the ratios within rounds.

#ifndef ACRE_BENCH_LOCK_PAIRS_H_
#define ACRE_BENCH_LOCK_PAIRS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "runtime/clock.h"

namespace acre::bench {

enum class LockPair : uint8_t {
  kMcs,         // CpuMcsLock: exchange, compare-exchange.
  kALock,       // LockThread::Start() and Release(): what the store does.
  kSteps,       // The steps of docs/alock.md alone, on one descriptor.
  kPlainSteps,  // The same without what they record for the repair of crashes.
};
constexpr int kLockPairsCount = 4;
const char* LockPairName(LockPair pair);

struct LockPairRow {
  LockPair pair = LockPair::kMcs;
  std::vector<double> ns;  // Of a pair, one for each round.
};

// As many rounds as `seconds` have room for, at least one.
std::vector<LockPairRow> MeasureLockPairs(Clock* clock, double seconds);

std::string FormatLockPairs(const std::vector<LockPairRow>& rows);
nlohmann::json LockPairsToJson(const std::vector<LockPairRow>& rows);

}  // namespace acre::bench

#endif  // ACRE_BENCH_LOCK_PAIRS_H_
