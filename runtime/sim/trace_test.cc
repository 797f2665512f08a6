// The same seed gives the same run.

#include "runtime/sim/trace.h"

#include <cstdint>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "runtime/shared_word.h"
#include "runtime/sim/world.h"

namespace acre::sim {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;

struct Outcome {
  uint64_t hash;
  std::string text;
};

// Some of everything: threads that race, sleep, die, pause.
Outcome RunSome(uint64_t seed, size_t trace_lines_max) {
  World world({.seed = seed, .trace_lines_max = trace_lines_max});
  SharedWord words[4];
  for (const char* const name : {"a", "b", "c"}) {
    Process* const process = world.AddProcess(world.AddMachine(name), name);
    for (int i = 0; i < 2; ++i) {
      process->Spawn(i == 0 ? "even" : "odd", [&world, &words] {
        for (uint64_t round = 0;; ++round) {
          SharedWord& word = words[world.random().Uniform(4)];
          const uint64_t value = word.Load(std::memory_order_acquire);
          word.Store(value + 1, std::memory_order_release);
          if (value % 64 == 0) world.Record("counted", value, round);
          if (value % 1024 == 0) world.Sleep(10'000);
        }
      });
    }
    world.After(world.random().Uniform(kNsPerMs), [process] { process->Pause(); });
    world.After(world.random().Uniform(kNsPerMs), [process] { process->Kill(); });
  }
  world.RunUntil([] { return false; }, kNsPerMs);
  return {world.trace_hash(), world.trace_text()};
}

TEST(TraceTest, TheSameSeedGivesTheSameTraceByteForByte) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Outcome one = RunSome(seed, 10'000);
    const Outcome other = RunSome(seed, 10'000);
    EXPECT_EQ(one.hash, other.hash);
    EXPECT_EQ(one.text, other.text);
    EXPECT_NE(one.text.find("a/even counted "), std::string::npos) << one.text;
    EXPECT_NE(one.text.find(" - killed 2 "), std::string::npos) << one.text;
    // Nor does it matter to the run whether the text is kept.
    EXPECT_EQ(RunSome(seed, 0).hash, one.hash);
    EXPECT_EQ(RunSome(seed, 0).text, "");
  }
}

TEST(TraceTest, DifferentSeedsGiveDifferentRuns) {
  std::set<uint64_t> hashes;
  for (uint64_t seed = 0; seed < 100; ++seed) hashes.insert(RunSome(seed, 0).hash);
  EXPECT_EQ(hashes.size(), 100u);
}

TEST(TraceTest, TheLastLinesAreKept) {
  Trace trace(2);
  for (const char* const line : {"one", "two", "three"}) trace.Add(line);
  EXPECT_EQ(trace.text(), "two\nthree\n");
}

}  // namespace
}  // namespace acre::sim
