// Mistakes planted in what a home does for transactions, one at a time: the judges of tests/transactions/simulated_home.h
// must find each within 1000 seeds. A seed runs in a process of its own: some are found by the product's own
// CHECKs.
//
// To see where each is found: bazel test --config=sim --test_output=all //tests/transactions:transaction_planted_test

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <string>

#include "client/isolation/checker.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/planted_bug.h"
#include "runtime/sim/seeds.h"
#include "tests/sim/plants.h"
#include "tests/transactions/simulated_home.h"

namespace acre::kvs {
namespace {

// Empty: nothing. Else by what, in a word.
std::string Find(uint64_t seed) {
  enum Judge : int { kNone = 0, kVersions = 1, kHistory = 2, kExpectations = 3 };
  const pid_t child = fork();
  PCHECK(child >= 0);
  if (child == 0) {
    // What it says is about a mistake that we made.
    PCHECK(freopen("/dev/null", "w", stdout) != nullptr);
    PCHECK(freopen("/dev/null", "w", stderr) != nullptr);
    int found = kNone;
    {
      SimulatedHome home(seed, {});
      if (!home.Run().empty()) {
        found = kVersions;
      } else if (!home.Judge().Keeps(isolation::Level::kStrictSerializable)) {
        found = kHistory;
      } else if (testing::Test::HasFailure()) {
        found = kExpectations;
      }
      // Threads that hang are not waited for.
      _exit(found);
    }
  }
  int status = 0;
  PCHECK(waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) return "a CHECK";
  switch (WEXITSTATUS(status)) {
    case kNone:
      return "";
    case kVersions:
      return "versions, or a hang";
    case kHistory:
      return "the history";
    default:
      return "what the workers and the checkers of the table expect";
  }
}

TEST(TransactionPlantedTest, EachIsFound) {
  constexpr struct {
    PlantedBug bug;
    const char* name;
  } kPlants[] = {
      {PlantedBug::kCommitWithoutValidation, "no validation"},
      {PlantedBug::kReleaseBeforeInstall, "released before install"},
      {PlantedBug::kSlotsNotMarkedAtLock, "slots not marked at LOCK"},
      {PlantedBug::kMarkWithoutBarrier, "no barrier behind the marks"},
      {PlantedBug::kDeleteForgetsFloor, "floor not raised by a delete"},
      {PlantedBug::kMoveKeepsVersion, "version not raised by a move"},
  };
  const uint64_t seeds_max = SeedsOr("ACRE_TRANSACTION_PLANT_SEEDS", 1000);
  for (const auto& plant : kPlants) {
    const simulation::ScopedPlant planted(PlantedBit(plant.bug));
    std::string judge;
    uint64_t seed = 0;
    while (judge.empty() && seed < seeds_max) judge = Find(++seed);
    EXPECT_NE(judge, "") << plant.name << " is not found in " << seed << " seeds";
    LOG(INFO) << plant.name << ": found at seed " << seed << " by " << judge;
  }
}

// Goal: what finds them is not a child that dies of something else.
TEST(TransactionPlantedTest, NothingIsFoundWithNothingPlanted) {
  for (uint64_t seed = 1; seed <= 20; ++seed) EXPECT_EQ(Find(seed), "") << seed;
}

}  // namespace
}  // namespace acre::kvs
