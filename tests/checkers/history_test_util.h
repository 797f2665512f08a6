// Histories for the tests of the checkers: legal ones, and a judge of small ones that is too simple
// to be wrong.

#ifndef ACRE_TESTS_CHECKERS_HISTORY_TEST_UTIL_H_
#define ACRE_TESTS_CHECKERS_HISTORY_TEST_UTIL_H_

#include <cstdint>

#include "tests/checkers/history.h"
#include "tests/checkers/linearizability.h"

namespace acre::checkers {

// Clients at work on registers that take each operation at one moment of its interval.
struct SimulatedHistory {
  uint32_t clients = 4;
  uint32_t keys = 1;
  uint32_t homes = 1;
  uint32_t operations = 100;
  uint64_t duration_max = 20;  // Of an operation; a client's pauses are as long.
  uint32_t delete_percent = 15;
  uint32_t put_percent = 35;
  uint32_t unknown_percent = 10;  // Half of those never happen, the others at any time.
  uint32_t failed_percent = 5;
  uint32_t unsaid_percent = 30;   // Of the Deletes: not told whether they found a record.
  uint32_t values = 0;            // So many different ones; 0: each Put has a value of its own.
  uint32_t cuts = 0;              // Of each home.
  uint32_t crossing_percent = 0;  // Of the Puts and Deletes.
};
// Linearizable, by its making.
History Simulate(const SimulatedHistory& options, uint64_t seed);

// Tries all orders. For histories of one key with a handful of operations.
bool IsLinearizableByTrial(const KeyHistory& history);

}  // namespace acre::checkers

#endif  // ACRE_TESTS_CHECKERS_HISTORY_TEST_UTIL_H_
