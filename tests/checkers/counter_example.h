// CounterExample: from a key's history that is not linearizable, the few operations that show it.

#ifndef ACRE_TESTS_CHECKERS_COUNTER_EXAMPLE_H_
#define ACRE_TESTS_CHECKERS_COUNTER_EXAMPLE_H_

#include <cstdint>
#include <string>

#include "tests/checkers/linearizability.h"

namespace acre::checkers {

// Leaves out operations (KeyHistory::left_out) for as long as the others are still not linearizable.
// `history` is not. Works for a bounded time: then the example is larger than it need be.
KeyHistory SmallestExample(const KeyHistory& history, uint64_t work_max);

// The example and why it is impossible, in lines for people.
std::string Explain(const KeyHistory& example);

}  // namespace acre::checkers

#endif  // ACRE_TESTS_CHECKERS_COUNTER_EXAMPLE_H_
