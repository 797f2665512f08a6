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

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "absl/strings/numbers.h"
#include "gtest/gtest.h"
#include "lock/kill/campaign.h"

namespace acre::lock_kill {
namespace {

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

void Print(const CampaignResult& result) {
  for (const auto& [blow, count] : result.blows) {
    std::cout << count << " rounds: " << BlowName(blow) << "\n";
  }
  std::cout << result.fenced << " processes fenced, " << result.unanswered
            << " of them since they did not answer; " << result.repaired << " places repaired; "
            << result.numbers << " numbers confirmed\n";
  const auto& times = result.handover_ns;
  if (times.empty()) return;
  std::cout << "from the kill of a holder to the next one's entry, " << times.size()
            << " times: median " << Ms(times[times.size() / 2]) << " ms, p99 "
            << Ms(times[times.size() * 99 / 100]) << " ms, max " << Ms(times.back()) << " ms\n";
}

bool HasChildren() { return waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD; }

TEST(KillTest, SurvivorsGoOnWhoeverIsKilled) {
  CampaignOptions options = Options(NumberOr("ACRE_LOCK_KILL_ROUNDS", 60));
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
  ASSERT_FALSE(result.handover_ns.empty());
  EXPECT_LT(Ms(result.handover_ns[result.handover_ns.size() / 2]), 10);
  EXPECT_FALSE(HasChildren());
}

}  // namespace
}  // namespace acre::lock_kill
