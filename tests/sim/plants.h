// Plants: the mistakes that can be planted into a run, by name ("Planted bugs" in docs/simulator.md).

#ifndef ACRE_TESTS_SIM_PLANTS_H_
#define ACRE_TESTS_SIM_PLANTS_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/planted_bug.h"

namespace acre::simulation {

struct Plant {
  const char* name;     // For --plant.
  uint64_t bugs;        // PlantedBit()s: more than one where one alone does no harm.
  const char* mistake;  // What the program does then, for people.
};

absl::Span<const Plant> AllPlants();
// Null: there is none of this name.
const Plant* FindPlant(absl::string_view name);

// Plants bugs for as long as it lives. One at a time, and nothing is being simulated when it comes or goes.
class ScopedPlant {
 public:
  explicit ScopedPlant(uint64_t bugs);
  ~ScopedPlant();
  ScopedPlant(const ScopedPlant&) = delete;
  ScopedPlant& operator=(const ScopedPlant&) = delete;
};

}  // namespace acre::simulation

#endif  // ACRE_TESTS_SIM_PLANTS_H_
