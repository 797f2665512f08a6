// Real processes that take ALocks, from both sides, and die of kill -9: the twin of repair_sim_test.cc, on shared memory
// and with the kernel's own deaths.
//
// The home lives in the test's process. Its children (lock/kill/) take two locks over and over, judge that what they
// guard is whole and that nobody else is inside, and write down which numbers they announced and which were confirmed.
// In each round some are killed: holders with others behind them, at any time, two at once, at a step of their own turn, or
// while they stand still. Judged are what the children find, that each survivor gets on and each lock is taken after every
// death, that no number is lost or made up, and that nothing is left behind.
//
// The whole of it: bazel test --config=opt --test_env=ACRE_LOCK_KILL_ROUNDS=500 --test_output=all //lock:kill_test

#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "absl/strings/numbers.h"
#include "gtest/gtest.h"
#include "lock/kill/campaign.h"
#include "runtime/sanitizers.h"

namespace acre::lock_kill {
namespace {

// By when the next one is to be inside after a kill.
constexpr uint64_t kReachNs = 10'000'000;
constexpr char kProgram[] = "lock/kill/lock_kill_child";

uint64_t NumberOr(const char* name, uint64_t by_default) {
  const char* const wanted = std::getenv(name);
  uint64_t number = 0;
  return wanted != nullptr && absl::SimpleAtoi(wanted, &number) ? number : by_default;
}

CampaignOptions Options(uint64_t rounds) {
  CampaignOptions options;
  options.home.program = kProgram;
  options.home.seed = NumberOr("ACRE_LOCK_KILL_SEED", 1);
  options.rounds = static_cast<int>(rounds);
  return options;
}

double Ms(uint64_t ns) { return static_cast<double>(ns) / 1e6; }

void PrintTimes(const char* what, std::vector<uint64_t> times) {
  if (times.empty()) return;
  std::sort(times.begin(), times.end());
  const auto reached = std::lower_bound(times.begin(), times.end(), kReachNs) - times.begin();
  std::cout << what << ", " << times.size() << " times: median " << Ms(times[times.size() / 2])
            << " ms, p90 " << Ms(times[times.size() * 90 / 100]) << " ms, p99 "
            << Ms(times[times.size() * 99 / 100]) << " ms, max " << Ms(times.back()) << " ms; "
            << reached << " under " << Ms(kReachNs) << " ms\n";
}

void Print(const CampaignResult& result) {
  for (const auto& [blow, count] : result.blows) {
    std::cout << count << " rounds: " << BlowName(blow) << "\n";
  }
  if (!result.finding.empty()) std::cout << "found: " << result.finding << "\n";
  std::cout << result.fenced << " processes fenced, " << result.unanswered
            << " of them since they did not answer; " << result.repaired << " places repaired; "
            << result.numbers << " numbers confirmed\n";
  std::vector<uint64_t> in_all;
  std::vector<uint64_t> since_known;
  for (const Handover& handover : result.handovers) {
    in_all.push_back(handover.to_entry_ns);
    since_known.push_back(handover.to_entry_ns - handover.to_end_ns);
  }
  PrintTimes("from the kill of a holder to the next one's entry", in_all);
  PrintTimes("from when the home knows of its end", since_known);
  if (result.handovers.empty()) return;
  const Handover& slowest = result.handovers.back();
  std::cout << "the slowest, a " << (slowest.is_local ? "local" : "remote") << " one: end known "
            << Ms(slowest.to_end_ns) << " ms, fenced " << Ms(slowest.to_fence_ns)
            << " ms, repaired " << Ms(slowest.to_repair_ns) << " ms, entry "
            << Ms(slowest.to_entry_ns) << " ms\n";
}

bool HasChildren() { return waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD; }

TEST(KillTest, SurvivorsGoOnWhoeverIsKilled) {
  CampaignOptions options = Options(NumberOr("ACRE_LOCK_KILL_ROUNDS", 100));
  // Each as often as it stands there.
  options.blows = {Blow::kHolder,  Blow::kHolder,          Blow::kHolder,  Blow::kHolder,
                   Blow::kHolder,  Blow::kHolderAndWaiter, Blow::kAnyTime, Blow::kAnyTime,
                   Blow::kAnyTime, Blow::kAnyTime,         Blow::kTwo,     Blow::kTwo,
                   Blow::kItself,  Blow::kItself,          Blow::kItself,  Blow::kItself,
                   Blow::kFrozen,  Blow::kSilent};
  const CampaignResult result = RunCampaign(options);
  Print(result);
  EXPECT_EQ(result.finding, "");
  EXPECT_GE(result.fenced, static_cast<uint64_t>(options.rounds));
  EXPECT_GT(result.repaired, static_cast<uint64_t>(options.rounds) / 4);
  ASSERT_FALSE(result.handovers.empty());
  // Of the quickest quarter: where others want the processors, too, who is to notice, to die, or to go on waits for its
  // turn several times.
  if (!kUnderAsan && !kUnderTsan) {
    EXPECT_LT(result.handovers[result.handovers.size() / 4].to_entry_ns, kReachNs);
  }
  EXPECT_FALSE(HasChildren());
}

// Holders that stand still, are repaired, and go on, where a closed queue pair is a fence.
CampaignOptions PausesOn(const char* fabric, uint64_t rounds) {
  CampaignOptions options = Options(rounds);
  options.home.fabric = fabric;
  options.home.fence_kills = false;
  options.remotes = 4;
  options.locals = 0;
  options.thaws = true;
  options.blows = {Blow::kFrozen};
  return options;
}

TEST(KillTest, WhoWasPausedFindsItsLocksLostAndChangesNothing) {
  CampaignOptions options = PausesOn("tcp", NumberOr("ACRE_LOCK_KILL_ROUNDS", 100) / 5);
  options.blows = {Blow::kFrozen, Blow::kFrozen, Blow::kHolder, Blow::kAnyTime};
  const CampaignResult result = RunCampaign(options);
  Print(result);
  EXPECT_EQ(result.finding, "");
  EXPECT_EQ(result.noticed, result.blows.at(Blow::kFrozen));
  EXPECT_FALSE(HasChildren());
}

// Goal: the judge sees what a fence is for. On shm whoever posts a request executes it, and learns of a closed queue pair
// later: a process that lives on is not fenced by that. There a fence kills, as in the first test.
TEST(KillTest, OnShmAFenceThatDoesNotKillIsFoundOut) {
  const CampaignResult result = RunCampaign(PausesOn("shm", 30));
  Print(result);
  EXPECT_NE(result.finding, "");
  EXPECT_FALSE(HasChildren());
}

TEST(KillTest, RepairWithoutDataIsFoundOut) {
  CampaignOptions options = Options(100);
  options.home.repairs_data = false;
  options.blows = {Blow::kItself};
  const CampaignResult result = RunCampaign(options);
  Print(result);
  EXPECT_NE(result.finding, "");
  EXPECT_FALSE(HasChildren());
}

}  // namespace
}  // namespace acre::lock_kill
