// How much work large histories are. The time is printed; what is judged is the number of looks at an
// operation, which is the same on every machine.

#include <algorithm>
#include <iostream>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "tests/checkers/history.h"
#include "tests/checkers/history_test_util.h"
#include "tests/checkers/linearizability.h"

namespace acre::checkers {
namespace {

CheckResult TimedCheck(const char* name, const History& history) {
  RealClock clock;
  const uint64_t begin_ns = clock.NowNs();
  CheckResult result = CheckLinearizability(history);
  const uint64_t end_ns = clock.NowNs();
  std::cout << name << ": " << history.operations.size() << " operations in "
            << static_cast<double>(end_ns - begin_ns) / 1e9 << " s, "
            << static_cast<double>(result.work) / static_cast<double>(history.operations.size())
            << " looks each\n";
  return result;
}

SimulatedHistory MillionOperations() {
  SimulatedHistory options;
  options.clients = 16;
  options.keys = 1000;
  options.operations = 1'000'000;
  options.unknown_percent = 2;
  options.cuts = 2;
  return options;
}

TEST(LinearizabilitySpeedTest, AMillionOperations) {
  const History history = Simulate(MillionOperations(), 1);
  const CheckResult result = TimedCheck("1000 keys", history);
  EXPECT_EQ(result.verdict, Verdict::kOk) << ToText(result);
  EXPECT_LT(result.work, 10 * history.operations.size());
}

TEST(LinearizabilitySpeedTest, AMillionOperationsOnOneKey) {
  SimulatedHistory options = MillionOperations();
  options.keys = 1;
  options.unknown_percent = 0;
  const History history = Simulate(options, 2);
  const CheckResult result = TimedCheck("one key", history);
  EXPECT_EQ(result.verdict, Verdict::kOk) << ToText(result);
  EXPECT_LT(result.work, 100 * history.operations.size());
}

// A Get in the middle sees what the key held long ago.
void PlantStaleRead(uint64_t age, History* history) {
  const size_t middle = history->operations.size() / 2;
  Operation* get = nullptr;
  for (size_t i = middle; get == nullptr; ++i) {
    Operation& operation = history->operations[i];
    if (operation.kind == OperationKind::kGet && operation.outcome == Outcome::kOk) {
      get = &operation;
    }
  }
  for (size_t i = middle;; --i) {
    const Operation& old = history->operations[i];
    if (old.kind != OperationKind::kGet || old.key != get->key || !old.value.has_value()) continue;
    if (old.returned_at + age > get->invoked_at) continue;
    get->value = old.value;
    return;
  }
}

TEST(LinearizabilitySpeedTest, AViolationAmongAMillion) {
  SimulatedHistory options = MillionOperations();
  options.cuts = 0;
  History history = Simulate(options, 3);
  PlantStaleRead(100'000, &history);
  const CheckResult result = TimedCheck("1000 keys, one violated", history);
  ASSERT_EQ(result.verdict, Verdict::kViolation);
  EXPECT_LT(result.work, 10 * history.operations.size());
  const std::vector<bool>& left_out = result.violations[0].example.left_out;
  EXPECT_LE(std::count(left_out.begin(), left_out.end(), false), 5) << result.violations[0].text;
}

TEST(LinearizabilitySpeedTest, AViolationAmongManyOnOneKey) {
  SimulatedHistory options = MillionOperations();
  options.keys = 1;
  options.operations = 100'000;
  options.cuts = 0;
  History history = Simulate(options, 4);
  PlantStaleRead(1000, &history);
  const CheckResult result = TimedCheck("one key, violated", history);
  ASSERT_EQ(result.verdict, Verdict::kViolation) << ToText(result);
  EXPECT_LT(result.work, 300 * history.operations.size());
  const std::vector<bool>& left_out = result.violations[0].example.left_out;
  EXPECT_LE(std::count(left_out.begin(), left_out.end(), false), 5) << result.violations[0].text;
}

}  // namespace
}  // namespace acre::checkers
