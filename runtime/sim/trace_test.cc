// The same seed gives the same run.

#include "runtime/sim/trace.h"

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/shared_word.h"
#include "runtime/sim/world.h"

namespace acre::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;

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
    world.After(world.random().Uniform(kNsPerMs / 3), [process] { process->Pause(); });
    world.After(world.random().Uniform(kNsPerMs / 3), [process] { process->Kill(); });
  }
  world.RunUntil([] { return false; }, kNsPerMs / 3);
  return {world.trace_hash(), world.trace_text()};
}

TEST(TraceTest, TheSameSeedGivesTheSameTraceByteForByte) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Outcome one = RunSome(seed, 10'000);
    const Outcome other = RunSome(seed, 10'000);
    EXPECT_EQ(one.hash, other.hash);
    EXPECT_EQ(one.text, other.text);
    EXPECT_NE(one.text.find(" counted "), std::string::npos) << one.text;
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

TEST(TraceTest, AccessesOfNamedMemoryAreLinesIfAskedFor) {
  World world({.trace_lines_max = 100, .trace_accesses = true});
  SharedWord named[2];
  SharedWord unnamed;
  world.NameMemory(named, sizeof(named), "bucket");
  world.AddProcess(world.AddMachine("machine"), "server")->Spawn("worker", [&] {
    named[1].Store(0x2a, std::memory_order_release);
    unnamed.Store(named[1].Load(std::memory_order_acquire), std::memory_order_release);
    (void)named[0].FetchAdd(1, std::memory_order_relaxed);
    uint64_t expected = 7;
    (void)named[0].CompareExchange(&expected, 8, std::memory_order_relaxed);
    (void)named[0].Exchange(reinterpret_cast<uint64_t>(&world), std::memory_order_relaxed);
    world.ForgetMemory(named);
    (void)named[0].Load(std::memory_order_relaxed);
  });
  world.RunUntil([] { return false; }, kNsPerMs);
  std::string text = world.trace_text();
  EXPECT_THAT(std::vector<std::string>(absl::StrSplit(text, '\n')),
              ElementsAre(EndsWith(" server/worker store bucket+0x8 0x2a"),
                          EndsWith(" server/worker load bucket+0x8 0x2a"),
                          EndsWith(" server/worker add bucket+0x0 0x1"),
                          EndsWith(" server/worker not swapped: was bucket+0x0 0x1"),
                          EndsWith(" server/worker exchange bucket+0x0 pointer"), ""));
}

TEST(TraceTest, TheLastLinesAreKept) {
  Trace trace(2);
  for (const char* const line : {"one", "two", "three"}) trace.Add(line);
  EXPECT_EQ(trace.text(), "two\nthree\n");
}

}  // namespace
}  // namespace acre::sim
