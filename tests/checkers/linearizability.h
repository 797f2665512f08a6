// Linearizability of single keys: is there, for each key, one order of its operations that obeys
// their times and gives each what it was told? (Herlihy and Wing 1990; a history is linearizable if
// and only if each of its keys is, so each is judged alone.)
//
// A key is a register that is absent at first and after each cut (tests/checkers/history.h).
//   Put       writes its value.
//   Delete    makes it absent; one that found nothing is a Get that saw nothing.
//   Get       needs the value that it saw.
// Outcome failed: it is not there. Outcome unknown: a Put or Delete may take effect at any time after
// its invocation, or never; a Get says nothing.
//
// Right for any history; fast where values are written once each. The verdict is kTooHard, never a
// wrong kOk, where the limit of work does not suffice.

#ifndef ACRE_TESTS_CHECKERS_LINEARIZABILITY_H_
#define ACRE_TESTS_CHECKERS_LINEARIZABILITY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "tests/checkers/history.h"
#include "tests/checkers/step_search.h"

namespace acre::checkers {

// All that happened to one key at one home.
struct KeyHistory {
  std::vector<Operation> operations;
  std::vector<uint64_t> cuts;
  // Of each operation; empty: of none. What is left out asks for nothing: a Put or Delete may have taken
  // effect, between its times, or not; what a Get saw, or a Delete found, does not count. So whoever
  // finds an order for all operations has found one for those that are not left out.
  std::vector<bool> left_out;

  bool IsLeftOut(size_t operation) const { return !left_out.empty() && left_out[operation]; }
};

// The steps that a key's operations stand for: `source` is the operation's index, for a cut the
// number of operations plus the cut's index. Values are numbered as they come; a value that nobody
// saw has the number of all such values, kUnseenValue.
constexpr int32_t kUnseenValue = 1;
std::vector<Step> StepsOf(const KeyHistory& history);

// Whether one key's history is linearizable. Adds to *work, which may be up to `work_max` more after.
Verdict Judge(const KeyHistory& history, uint64_t work_max, uint64_t* work);

struct CheckOptions {
  uint64_t work_max_per_key = 30'000'000;  // Looks at an operation: below a second.
  size_t violations_max = 10;              // That are made ready to print; more are only counted.
};

// A key that is not linearizable.
struct Violation {
  uint32_t home = 0;
  std::string key;
  // What the key went through. Those not left out are impossible already, as few as were found.
  KeyHistory example;
  std::string text;  // For people: the example, and why it is impossible.
};

struct CheckResult {
  Verdict verdict = Verdict::kOk;  // A violation counts before a key that was too hard.
  uint64_t keys = 0;
  uint64_t operations = 0;
  uint64_t work = 0;  // Looks at an operation, all told, but those of making examples.
  uint64_t keys_violated = 0;
  std::vector<Violation> violations;
  std::vector<std::string> keys_too_hard;
};

CheckResult CheckLinearizability(const History& history, const CheckOptions& options = {});

// The whole verdict in words. Empty if it is kOk.
std::string ToText(const CheckResult& result);

}  // namespace acre::checkers

#endif  // ACRE_TESTS_CHECKERS_LINEARIZABILITY_H_
