// Zones: a quick look for steps that no order can obey.
//
// A value that is written once is held from the first end of an interval among its write and reads to the
// last begin of one: its zone. Two zones that overlap, or a step that must lie within a zone and does
// not leave the value alone, are impossible (Gibbons and Korach 1997, section 4). So is a read of an
// absent key that no step made absent late enough.
// What this finds it finds in n log n, where StepSearch would try all orders of what came before.

#ifndef ACRE_TESTS_CHECKERS_ZONES_H_
#define ACRE_TESTS_CHECKERS_ZONES_H_

#include "absl/types/span.h"
#include "tests/checkers/step_search.h"

namespace acre::checkers {

// true: no order obeys the steps. false says nothing.
bool AreImpossibleByZones(absl::Span<const Step> steps);

}  // namespace acre::checkers

#endif  // ACRE_TESTS_CHECKERS_ZONES_H_
