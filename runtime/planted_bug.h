// Planted bugs: mistakes that the simulator's tests switch on in the product's own code, to see that its
// judges find them ("Planted bugs" in docs/simulator.md).
//
// They exist in config sim only (ACRE_SIM). In every other build IsPlanted() is the constant false, known
// to the compiler's front end: what stands behind it is not compiled, and no symbol of it is left.
//
// A place of the product's code asks once, in one condition, and does the wrong thing there and then.

#ifndef ACRE_RUNTIME_PLANTED_BUG_H_
#define ACRE_RUNTIME_PLANTED_BUG_H_

#include <cstdint>

#ifdef ACRE_SIM
#include "runtime/simulated_memory.h"
#endif

namespace acre {

// What each removes stands in tests/sim/plants.cc, or where it is planted. Some do harm only together with another.
enum class PlantedBug : uint8_t {
  // Readers.
  kMissAfterOneRead,
  kMissAfterHeaderAgain,
  kMappedMissAfterOneLook,
  kLastWordUnchecked,
  kChecksumUnchecked,
  kLeaseUnchecked,
  // Writers.
  kEvenBeforeBody,
  kStructureNotRaised,
  kObjectAfterSlot,
  kObjectReusedAtOnce,
  kObjectNotRetired,
  kMoveKeepsVersion,
  kInsertBelowFloor,
  kDeleteForgetsFloor,
  // Rings and calls.
  kHeadBeforeZeroing,
  kFrameTakenEarly,
  kWakeWithoutBarrier,
  kAnswerOfForgottenCall,
  // Notices. Planted by //transport/sim:sim_notice_test.
  kGateWithoutFence,
  // One-sided updates and their repair. Planted by //tests/updates:updates_sim_test.
  kRedoAfterMark,
  kSlotNotReadAgain,
  kRepairIgnoresVersion,
  // What the scenario plays itself.
  kPutSentAgain,
  // Transactions. Planted by //tests/transactions:transaction_planted_test, //tests/transactions/cluster_sim.
  kCommitWithoutValidation,
  kReleaseBeforeInstall,
  kSlotsNotMarkedAtLock,
  kMarkWithoutBarrier,
  kSuccessAtFirstAck,
  kPromiseWithoutFence,
};
constexpr uint64_t PlantedBit(PlantedBug bug) { return uint64_t{1} << static_cast<uint8_t>(bug); }

#ifdef ACRE_SIM

// The PlantedBit()s of this run. Set by tests, and only while nothing is simulated.
inline constinit uint64_t planted_bugs = 0;

// Simulated threads alone have them: judges, which use the product's code too, run outside of these.
inline bool IsPlanted(PlantedBug bug) {
  return (planted_bugs & PlantedBit(bug)) != 0 && simulated_cpu != nullptr;
}

#else

consteval bool IsPlanted(PlantedBug /*bug*/) { return false; }

#endif

}  // namespace acre

#endif  // ACRE_RUNTIME_PLANTED_BUG_H_
