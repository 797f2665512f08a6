// The memory orders of the local cohort: local_cohort.h as it is shipped, on relacy's model of
// memory, with a remote cohort that does what the fabric promises, with a home that reads the queue,
// and with one that repairs it. Then each order weakened that must not be: found each time.

#include <iostream>
#include <ostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lock/relacy_cohort.h"
#include "lock/relacy_word.h"

namespace acre {
namespace {

using relacy::Explore;
using relacy::met;
using relacy::Met;
using relacy::Part;
using relacy::Scenario;

// ---- Running them.

rl::test_result_e ExploreSilently(const Scenario& what, const rl::test_params& params) {
  std::ostream nowhere(nullptr);
  return Explore(what, params, &nowhere);
}

// `runs` random schedules.
rl::test_params Random(uint64_t runs) {
  rl::test_params params;
  params.search_type = rl::random_scheduler_type;
  params.iteration_count = runs;
  return params;
}

// All schedules that take the CPU away from a thread that could go on at most `switches` times.
rl::test_params AllWithin(unsigned switches) {
  rl::test_params params;
  params.search_type = rl::fair_context_bound_scheduler_type;
  params.context_bound = switches;
  return params;
}

constexpr Part kHolder = Part::kHolder;
constexpr Part kMortal = Part::kMortal;
constexpr Part kRemote = Part::kRemote;
constexpr Part kHome = Part::kHome;

Scenario TwoLocals(uint32_t rounds, uint32_t budget) {
  return {.threads = 2, .parts = {kHolder, kHolder}, .rounds = rounds, .budget = budget};
}
Scenario ThreeLocals(uint32_t rounds, uint32_t budget) {
  return {.threads = 3, .parts = {kHolder, kHolder, kHolder}, .rounds = rounds, .budget = budget};
}
Scenario LocalAndRemote(uint32_t rounds, uint32_t budget) {
  return {.threads = 2, .parts = {kHolder, kRemote}, .rounds = rounds, .budget = budget};
}
Scenario TwoLocalsAndRemote(uint32_t rounds, uint32_t budget) {
  return {.threads = 3, .parts = {kHolder, kHolder, kRemote}, .rounds = rounds, .budget = budget};
}
Scenario HolderAndRemoteAnd(Part third, uint32_t budget) {
  return {.threads = 3, .parts = {kHolder, third, kRemote}, .rounds = 3, .budget = budget};
}
// Who dies is repaired while another one queues.
Scenario MortalAndLocal(uint32_t rounds, uint32_t budget) {
  return {.threads = 3, .parts = {kMortal, kHolder, kHome}, .rounds = rounds, .budget = budget};
}
Scenario MortalAndTwoLocals(uint32_t rounds, uint32_t budget) {
  return {.threads = 4,
          .parts = {kMortal, kHolder, kHolder, kHome},
          .rounds = rounds,
          .budget = budget};
}
Scenario MortalAndRemote(uint32_t rounds, uint32_t budget) {
  return {.threads = 3, .parts = {kMortal, kRemote, kHome}, .rounds = rounds, .budget = budget};
}
Scenario MortalAndLocalAndRemote(uint32_t rounds, uint32_t budget) {
  return {.threads = 4,
          .parts = {kMortal, kHolder, kRemote, kHome},
          .rounds = rounds,
          .budget = budget};
}
// Of two locks in turn, so that a descriptor's `lock` changes.
Scenario InTurn(Scenario what) {
  what.locks = 2;
  return what;
}
Scenario TwoLocalsAndReader(uint32_t rounds) {
  return {.threads = 3,
          .parts = {kHolder, kHolder, Part::kReader},
          .rounds = rounds,
          .budget = 2,
          .locks = 2};
}

// ---- The orders as they are.

class LocalCohortRelacyTest : public testing::TestWithParam<RelacyModel> {
 protected:
  LocalCohortRelacyTest() {
    RelacyWord::model = GetParam();
    RelacyWord::weakening = Weakening();
    met = Met();
  }

  static void ExpectHolds(const Scenario& what, const rl::test_params& params) {
    const rl::test_result_e result = ExploreSilently(what, params);
    EXPECT_EQ(result, rl::test_result_success) << rl::test_result_str(result);
    if (result != rl::test_result_success) Explore(what, params, &std::cout);
  }
};

TEST_P(LocalCohortRelacyTest, LocalsInEveryOrder) {
  for (const uint32_t budget : {1, 2}) {
    ExpectHolds(TwoLocals(1, budget), AllWithin(4));
    ExpectHolds(TwoLocals(2, budget), AllWithin(3));
  }
}

TEST_P(LocalCohortRelacyTest, Locals) {
  for (const uint32_t budget : {1, 2}) {
    ExpectHolds(TwoLocals(4, budget), Random(12'000));
    ExpectHolds(ThreeLocals(3, budget), Random(12'000));
    ExpectHolds(InTurn(ThreeLocals(4, budget)), Random(12'000));
  }
}

// A descriptor is used again at once, so who is late finds its predecessor's next acquisition: of
// the same lock, or of another one.
TEST_P(LocalCohortRelacyTest, WhoFindsThatItsPredecessorMovedOnIsBehindIt) {
  for (const uint32_t budget : {2, 3}) {
    for (const Scenario& what : {TwoLocals(4, budget), InTurn(TwoLocals(4, budget))}) {
      met = Met();
      ExpectHolds(what, Random(12'000));
      EXPECT_GT(met.moved_on, 500u);
      EXPECT_GT(met.granted, 500u);
    }
  }
}

TEST_P(LocalCohortRelacyTest, LocalsAndRemoteInEveryOrder) {
  ExpectHolds(LocalAndRemote(1, 1), AllWithin(4));
  ExpectHolds(LocalAndRemote(2, 1), AllWithin(2));
  ExpectHolds(TwoLocalsAndRemote(1, 1), AllWithin(2));
  ExpectHolds(TwoLocalsAndRemote(1, 2), AllWithin(2));
}

TEST_P(LocalCohortRelacyTest, LocalsAndRemote) {
  for (const uint32_t budget : {1, 2}) {
    ExpectHolds(LocalAndRemote(4, budget), Random(12'000));
    ExpectHolds(TwoLocalsAndRemote(4, budget), Random(20'000));
  }
}

TEST_P(LocalCohortRelacyTest, WhoTriesOrGivesUpLeavesTheOthersInOrder) {
  for (const uint32_t budget : {1, 2}) {
    ExpectHolds(HolderAndRemoteAnd(Part::kTrier, budget), Random(12'000));
    ExpectHolds(HolderAndRemoteAnd(Part::kImpatient, budget), Random(12'000));
  }
}

TEST_P(LocalCohortRelacyTest, QueueReadBackwardsIsTheQueue) {
  ExpectHolds(TwoLocalsAndReader(1), AllWithin(3));
  ExpectHolds(TwoLocalsAndReader(4), Random(20'000));
}

TEST_P(LocalCohortRelacyTest, RepairInEveryOrder) {
  ExpectHolds(MortalAndLocal(1, 2), AllWithin(1));
  ExpectHolds(MortalAndRemote(1, 2), AllWithin(1));
}

TEST_P(LocalCohortRelacyTest, Repair) {
  for (const uint32_t budget : {1, 2}) {
    ExpectHolds(MortalAndLocal(2, budget), Random(12'000));
    ExpectHolds(InTurn(MortalAndLocal(3, budget)), Random(12'000));
    ExpectHolds(MortalAndTwoLocals(2, budget), Random(12'000));
    ExpectHolds(MortalAndLocalAndRemote(2, budget), Random(12'000));
  }
  for (int step = relacy::kA1; step <= relacy::kR2; ++step) {
    EXPECT_GT(met.died_in[step], 200u) << step;
  }
  EXPECT_GT(met.repaired_inside, 500u);
  EXPECT_GT(met.repaired, met.repaired_inside);
  EXPECT_GT(met.moved_on, 500u);
}

std::string NameOf(RelacyModel model) {
  return model == RelacyModel::kSeqCst ? "SeqCst" : "Fences";
}

INSTANTIATE_TEST_SUITE_P(Models, LocalCohortRelacyTest,
                         testing::Values(RelacyModel::kSeqCst, RelacyModel::kFences),
                         [](const auto& test) { return NameOf(test.param); });

// ---- Each order weaker than it is, alone.

struct Weakened {
  const char* name;  // Step of docs/alock.md, and to what it was weakened.
  Weakening weakening;
  RelacyModel model;
  Scenario scenario;
};

class WeakenedOrderTest : public testing::TestWithParam<Weakened> {
 protected:
  ~WeakenedOrderTest() override { RelacyWord::weakening = Weakening(); }
};

// A mutual exclusion that breaks, a race on what the lock guards, two stores that nothing orders,
// or a queue read wrongly. Not a livelock, which would only say that somebody waits.
TEST_P(WeakenedOrderTest, IsFound) {
  RelacyWord::model = GetParam().model;
  RelacyWord::weakening = GetParam().weakening;
  const rl::test_result_e result = ExploreSilently(GetParam().scenario, Random(20'000));
  EXPECT_TRUE(result == rl::test_result_data_race || result == rl::test_result_user_assert_failed)
      << rl::test_result_str(result);
}

constexpr auto kLoad = WordOperation::kLoad;
constexpr auto kStore = WordOperation::kStore;
constexpr auto kExchange = WordOperation::kCompareExchange;
constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;
constexpr auto kAcqRel = std::memory_order_acq_rel;
constexpr auto kSeqCst = std::memory_order_seq_cst;

std::vector<Weakened> AllWeakened() {
  constexpr auto kPlain = RelacyModel::kSeqCst;
  constexpr auto kFences = RelacyModel::kFences;
  const Scenario locals = TwoLocals(3, 2);
  const Scenario remote = LocalAndRemote(4, 1);
  const Scenario both = TwoLocalsAndRemote(4, 1);
  const Scenario reader = TwoLocalsAndReader(4);
  const Scenario repair = MortalAndTwoLocals(2, 2);
  return {
      {"A1WordRelaxed", {"word", kStore, kRelease, kRelaxed}, kPlain, reader},
      {"A1LockRelaxed", {"lock", kStore, kRelease, kRelaxed}, kPlain, reader},
      {"A1GrantRelaxed", {"grant", kStore, kRelease, kRelaxed, relacy::kA1}, kPlain, repair},
      {"A2Relaxed", {"pred", kStore, kRelease, kRelaxed}, kPlain, reader},
      {"A3Relaxed", {"local_tail", kExchange, kSeqCst, kRelaxed}, kPlain, locals},
      {"A3Acquire", {"local_tail", kExchange, kSeqCst, kAcquire}, kPlain, locals},
      {"A3Release", {"local_tail", kExchange, kSeqCst, kRelease}, kPlain, locals},
      {"A3AcqRel", {"local_tail", kExchange, kSeqCst, kAcqRel}, kPlain, remote},
      {"A3WithoutFence", {"local_tail", kExchange, kSeqCst, kAcqRel}, kFences, remote},
      {"A5Relaxed", {"grant", kLoad, kAcquire, kRelaxed, relacy::kA5}, kPlain, locals},
      {"B1Relaxed", {"remote_tail", kLoad, kSeqCst, kRelaxed}, kFences, remote},
      {"B1Acquire", {"remote_tail", kLoad, kSeqCst, kAcquire}, kPlain, remote},
      {"B2Relaxed", {"victim", kStore, kSeqCst, kRelaxed}, kPlain, both},
      {"B2WithoutFence", {"victim", kStore, kSeqCst, kRelease}, kFences, both},
      {"B3TailAcquire", {"remote_tail", kLoad, kSeqCst, kAcquire, relacy::kB3}, kPlain, remote},
      {"B3TailRelaxed", {"remote_tail", kLoad, kSeqCst, kRelaxed, relacy::kB3}, kPlain, remote},
      {"B3VictimRelaxed", {"victim", kLoad, kSeqCst, kRelaxed}, kPlain, both},
      {"R1Relaxed", {"grant", kStore, kRelease, kRelaxed, relacy::kR1}, kPlain, locals},
      {"R2Relaxed", {"local_tail", kExchange, kRelease, kRelaxed, relacy::kR2}, kPlain, locals},
      // The home, reading.
      {"ReaderTailRelaxed", {"local_tail", kLoad, kAcquire, kRelaxed}, kPlain, reader},
      {"ReaderWordRelaxed", {"word", kLoad, kAcquire, kRelaxed}, kPlain, reader},
      {"ReaderLockRelaxed", {"lock", kLoad, kAcquire, kRelaxed}, kPlain, reader},
      {"ReaderPredRelaxed", {"pred", kLoad, kAcquire, kRelaxed}, kPlain, reader},
      // The home, repairing.
      {"L1PredRelaxed", {"grant", kLoad, kAcquire, kRelaxed, relacy::kL1}, kPlain, repair},
      {"L1GrantRelaxed", {"grant", kStore, kRelease, kRelaxed, relacy::kL1}, kPlain, repair},
      {"L2Relaxed", {"local_tail", kExchange, kRelease, kRelaxed, relacy::kL2}, kPlain, repair},
      {"FreeRelaxed", {"owner", kStore, kRelease, kRelaxed, relacy::kFree}, kPlain, repair},
      {"ClaimRelaxed", {"owner", kExchange, kAcquire, kRelaxed, relacy::kClaim}, kPlain, repair},
      // What the fabric promises.
      {"RemoteA3WithoutFence",
       {"remote_tail", WordOperation::kFabricCompareSwap, kSeqCst, kAcqRel},
       kFences,
       remote},
      {"RemoteB2WithoutFence",
       {"victim", WordOperation::kFabricWrite, kSeqCst, kRelease},
       kFences,
       remote},
  };
}

INSTANTIATE_TEST_SUITE_P(All, WeakenedOrderTest, testing::ValuesIn(AllWeakened()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace acre
