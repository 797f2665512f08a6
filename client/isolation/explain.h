// Words for people.

#ifndef ACRE_CLIENT_ISOLATION_EXPLAIN_H_
#define ACRE_CLIENT_ISOLATION_EXPLAIN_H_

#include <cstddef>
#include <string>

#include "absl/types/span.h"
#include "client/isolation/cycles.h"
#include "client/isolation/deduction.h"
#include "client/isolation/history.h"

namespace acre::isolation {

// One line for each: name, process, times, outcome, operations.
std::string Introduce(const History& history, absl::Span<const size_t> transactions);

// A sentence for each step: why must it be so?
std::string Explain(const History& history, const Deduction& deduction, const Cycle& cycle);

}  // namespace acre::isolation

#endif  // ACRE_CLIENT_ISOLATION_EXPLAIN_H_
