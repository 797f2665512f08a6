// Scenario: one run of the store in the simulator, from a seed to a verdict.
//
// A server and clients work while the network misbehaves and a script lets processes, machines and links
// fail. Then the faults stop, and everyone must make progress in bounded virtual time. Then the clients
// stop, all keys are read once more, and the judges look at what is left. See docs/simulator.md.

#ifndef ACRE_TESTS_SIM_SCENARIO_H_
#define ACRE_TESTS_SIM_SCENARIO_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace acre::simulation {

struct ScenarioOptions {
  uint64_t seed = 0;
  size_t trace_lines_max = 0;   // The last lines of the trace are kept as text; 0: only its hash.
  bool trace_accesses = false;  // Accesses of the server's segments are lines too.
  uint64_t planted_bugs = 0;    // PlantedBit()s (tests/sim/plants.h).
};

struct RunResult {
  std::string finding;  // Empty: all is well. Else what must not be, for people.
  std::string judge;    // Who found it.
  std::string plan;     // What the seed drew, one line.
  uint64_t operations = 0;
  uint64_t answered = 0;    // Of them.
  uint64_t virtual_ns = 0;  // How long it took in there.
  uint64_t trace_hash = 0;
  std::string trace_text;
  std::map<std::string, uint64_t> counts;  // How often things came to pass that a run is for.

  bool ok() const { return finding.empty(); }
};

// Runs one seed on the calling OS thread; the same seed gives the same result. What simulated processes
// had that were killed leaks: run thousands in children that end.
RunResult RunScenario(const ScenarioOptions& options);

}  // namespace acre::simulation

#endif  // ACRE_TESTS_SIM_SCENARIO_H_
