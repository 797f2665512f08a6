// Random histories: legal ones never raise an alarm, small ones of any kind get the verdict that
// trying all orders gives, and what is planted in a large one is found.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "runtime/random.h"
#include "tests/checkers/history.h"
#include "tests/checkers/history_test_util.h"
#include "tests/checkers/linearizability.h"

namespace acre::checkers {
namespace {

SimulatedHistory RandomOptions(Random* random) {
  SimulatedHistory options;
  options.clients = 1 + static_cast<uint32_t>(random->Uniform(16));
  options.keys = 1 + static_cast<uint32_t>(random->Uniform(3));
  options.homes = 1 + static_cast<uint32_t>(random->Uniform(2));
  options.operations = 20 + static_cast<uint32_t>(random->Uniform(400));
  options.delete_percent = static_cast<uint32_t>(random->Uniform(40));
  options.put_percent = 10 + static_cast<uint32_t>(random->Uniform(50));
  options.unknown_percent = static_cast<uint32_t>(random->Uniform(30));
  options.failed_percent = static_cast<uint32_t>(random->Uniform(20));
  options.cuts = static_cast<uint32_t>(random->Uniform(4));
  options.crossing_percent = static_cast<uint32_t>(random->Uniform(2) * random->Uniform(101));
  return options;
}

TEST(RandomHistoriesTest, LegalOnesRaiseNoAlarm) {
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    Random random(seed);
    const SimulatedHistory options = RandomOptions(&random);
    const History history = Simulate(options, seed);
    const CheckResult result = CheckLinearizability(history);
    ASSERT_EQ(result.verdict, Verdict::kOk) << "seed " << seed << "\n"
                                            << ToText(result) << ToText(history);
    EXPECT_LT(result.work, 100 * history.operations.size()) << "seed " << seed;
  }
}

TEST(RandomHistoriesTest, LegalOnesWithFewValuesRaiseNoAlarm) {
  uint64_t too_hard = 0;
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    Random random(seed);
    SimulatedHistory options = RandomOptions(&random);
    options.values = 1 + static_cast<uint32_t>(random.Uniform(20));
    CheckOptions limits;
    limits.work_max_per_key = 300'000;
    const CheckResult result = CheckLinearizability(Simulate(options, seed), limits);
    ASSERT_NE(result.verdict, Verdict::kViolation) << "seed " << seed << "\n" << ToText(result);
    too_hard += result.verdict == Verdict::kTooHard ? 1 : 0;
  }
  EXPECT_LT(too_hard, 100u);
}

// Changes something that is told or when.
void Damage(Random* random, KeyHistory* history) {
  Operation& operation = history->operations[random->Uniform(history->operations.size())];
  switch (random->Uniform(6)) {
    case 0:
      if (operation.kind == OperationKind::kGet && operation.outcome == Outcome::kOk) {
        operation.value = absl::StrCat("v", random->Uniform(history->operations.size()));
      }
      break;
    case 1:
      if (operation.kind == OperationKind::kGet) operation.value = absl::nullopt;
      break;
    case 2:
      if (operation.kind == OperationKind::kDelete && operation.outcome == Outcome::kOk) {
        operation.found = random->Uniform(2) == 0;
      }
      break;
    case 3:
      if (operation.outcome != Outcome::kOk && operation.kind != OperationKind::kGet &&
          operation.returned_at != kNever) {
        operation.outcome = Outcome::kOk;
      }
      break;
    case 4:
      operation.invoked_at = random->Uniform(operation.invoked_at + 1);
      break;
    case 5:
      if (operation.returned_at != kNever) {
        operation.invoked_at += random->Uniform(operation.returned_at - operation.invoked_at + 1);
      }
      break;
  }
}

size_t Kept(const KeyHistory& example) {
  return static_cast<size_t>(std::count(example.left_out.begin(), example.left_out.end(), false));
}

void CompareWithTrial(uint32_t values) {
  uint64_t legal = 0;
  uint64_t illegal = 0;
  uint64_t largest = 0;
  for (uint64_t seed = 1; seed <= 20'000; ++seed) {
    Random random(seed);
    SimulatedHistory options;
    options.clients = 2 + static_cast<uint32_t>(random.Uniform(3));
    options.operations = 3 + static_cast<uint32_t>(random.Uniform(5));
    options.duration_max = 3 + random.Uniform(8);
    options.delete_percent = 25;
    options.unknown_percent = 20;
    options.cuts = static_cast<uint32_t>(random.Uniform(3));
    options.crossing_percent = 40;
    options.values = values;
    History history = Simulate(options, seed);
    KeyHistory key_history;
    key_history.operations = std::move(history.operations);
    for (const Cut& cut : history.cuts) key_history.cuts.push_back(cut.at);
    for (uint64_t i = random.Uniform(4); i > 0; --i) Damage(&random, &key_history);
    history.operations = key_history.operations;

    const bool expected = IsLinearizableByTrial(key_history);
    const CheckResult result = CheckLinearizability(history);
    ASSERT_EQ(result.verdict, expected ? Verdict::kOk : Verdict::kViolation)
        << "seed " << seed << "\n"
        << ToText(history) << ToText(result);
    ++(expected ? legal : illegal);
    if (expected) continue;
    const KeyHistory& example = result.violations[0].example;
    ASSERT_FALSE(IsLinearizableByTrial(example)) << "seed " << seed << "\n" << ToText(result);
    largest = std::max<uint64_t>(largest, Kept(example));
  }
  // Both directions were tried.
  EXPECT_GT(legal, 5000u);
  EXPECT_GT(illegal, 1000u);
  EXPECT_LE(largest, 8u);
}

TEST(RandomHistoriesTest, SmallOnesAreJudgedAsByTrial) { CompareWithTrial(0); }

TEST(RandomHistoriesTest, SmallOnesWithFewValuesAreJudgedAsByTrial) { CompareWithTrial(2); }

// Goal: one wrong Get in a large legal history. It alone makes the history illegal, so every example
// that convicts rightly has it.
TEST(RandomHistoriesTest, OnePlantedReadIsFoundAndShown) {
  uint64_t illegal = 0;
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    Random random(seed);
    SimulatedHistory options = RandomOptions(&random);
    options.keys = options.homes = 1;
    History history = Simulate(options, seed);
    std::vector<size_t> gets;
    for (size_t i = 0; i < history.operations.size(); ++i) {
      const Operation& operation = history.operations[i];
      if (operation.kind == OperationKind::kGet && operation.outcome == Outcome::kOk) {
        gets.push_back(i);
      }
    }
    if (gets.size() < 2) continue;
    Operation& planted = history.operations[gets[random.Uniform(gets.size())]];
    planted.value = history.operations[gets[random.Uniform(gets.size())]].value;
    planted.client = 1000;
    const CheckResult result = CheckLinearizability(history);
    ASSERT_NE(result.verdict, Verdict::kTooHard) << "seed " << seed;
    if (result.verdict == Verdict::kOk) continue;
    ++illegal;
    const Violation& violation = result.violations[0];
    bool has_planted = false;
    for (size_t i = 0; i < violation.example.operations.size(); ++i) {
      has_planted |=
          violation.example.operations[i].client == 1000 && !violation.example.left_out[i];
    }
    EXPECT_TRUE(has_planted) << "seed " << seed << "\n" << violation.text;
    EXPECT_LE(Kept(violation.example), 6u) << "seed " << seed << "\n" << violation.text;
  }
  EXPECT_GT(illegal, 50u);
}

}  // namespace
}  // namespace acre::checkers
