// How many accesses of simulated memory a second of real time takes. Printed, not judged.

#include <time.h>

#include <cstdint>
#include <iostream>

#include "gtest/gtest.h"
#include "runtime/shared_word.h"
#include "runtime/sim/world.h"

namespace acre::sim {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kNsPerS = 1'000'000'000;

uint64_t CpuNs() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<uint64_t>(time.tv_sec) * kNsPerS + static_cast<uint64_t>(time.tv_nsec);
}

void Measure(int threads_count) {
  uint64_t accesses = 0;
  const uint64_t start_ns = CpuNs();
  for (uint64_t seed = 0; seed < 4; ++seed) {
    World world({.seed = seed});
    SharedWord words[64];
    for (int i = 0; i < threads_count; ++i) {
      Process* const process = world.AddProcess(world.AddMachine("machine"), "process");
      process->Spawn("main", [&words, &accesses] {
        for (uint64_t round = 0;; ++round) {
          words[round % 64].Store(round, std::memory_order_release);
          for (const SharedWord& word : words) (void)word.Load(std::memory_order_acquire);
          accesses += 65;
        }
      });
    }
    EXPECT_FALSE(world.RunUntil([] { return false; }, 10 * kNsPerMs));
  }
  const uint64_t took_ns = CpuNs() - start_ns;
  EXPECT_GT(accesses, 0u);
  std::cout << threads_count << " threads: " << accesses * 1'000 / took_ns
            << " million accesses a second\n";
}

TEST(SpeedTest, AccessesASecond) {
  Measure(1);
  Measure(3);
  Measure(8);
}

}  // namespace
}  // namespace acre::sim
