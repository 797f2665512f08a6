// A small, fast, seeded source of pseudo-random numbers: the only one that Acre's code uses.
//
// Randomness comes in through a constructor (Scheduler::random()), never from a device or a clock:
// the same seed gives the same run, on every machine. Not for secrets.

#ifndef ACRE_RUNTIME_RANDOM_H_
#define ACRE_RUNTIME_RANDOM_H_

#include <bit>
#include <cstdint>

#include "glog/logging.h"

namespace acre {

// xoshiro256** (Blackman, Vigna), its state filled by splitmix64. Period 2^256 - 1; about 1 ns a
// number.
//
// Threads: not thread-safe. One per thread, each with a seed of its own.
class Random {
 public:
  explicit Random(uint64_t seed) {
    for (uint64_t& word : state_) word = SplitMix(&seed);
  }

  // Uniform over all 64-bit values.
  uint64_t Next() {
    const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  // Uniform over [0, bound), exactly: Lemire's multiplication, with rejection of the few values
  // that would favour some results. Requires: bound > 0.
  uint64_t Uniform(uint64_t bound) {
    DCHECK_GT(bound, 0u);
    Wide product = Wide{Next()} * bound;
    if (static_cast<uint64_t>(product) < bound) {
      const uint64_t threshold = (0 - bound) % bound;
      while (static_cast<uint64_t>(product) < threshold) product = Wide{Next()} * bound;
    }
    return static_cast<uint64_t>(product >> 64);
  }

  // Uniform over [0, 1): 53 random bits, so every value is exact.
  double NextDouble() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

 private:
  __extension__ using Wide = unsigned __int128;

  static uint64_t SplitMix(uint64_t* state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  uint64_t state_[4];
};

}  // namespace acre

#endif  // ACRE_RUNTIME_RANDOM_H_
