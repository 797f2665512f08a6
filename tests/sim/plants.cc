#include "tests/sim/plants.h"

#include "glog/logging.h"

namespace acre::simulation {
namespace {

constexpr Plant kPlants[] = {
    // Readers.
    {"miss-after-one-read", PlantedBit(PlantedBug::kMissAfterOneRead),
     "a one-sided Get believes a miss after one READ of the buckets"},
    {"miss-after-header-again", PlantedBit(PlantedBug::kMissAfterHeaderAgain),
     "of the second collect it compares the header only, not the slots' versions"},
    {"mapped-miss-after-one-look", PlantedBit(PlantedBug::kMappedMissAfterOneLook),
     "a mapped Get does not look at the structure version again before it believes a miss"},
    {"last-word-unchecked", PlantedBit(PlantedBug::kLastWordUnchecked),
     "readers check a slot's first version word only"},
    {"object-before-write",
     PlantedBit(PlantedBug::kChecksumUnchecked) | PlantedBit(PlantedBug::kObjectAfterSlot),
     "an object is published before it is written, and its checksum is not checked"},
    {"object-reused-at-once",
     PlantedBit(PlantedBug::kChecksumUnchecked) | PlantedBit(PlantedBug::kObjectReusedAtOnce),
     "a freed object's memory is used again at once, and its checksum is not checked"},
    {"lease-unchecked", PlantedBit(PlantedBug::kLeaseUnchecked),
     "a mapped Get does not ask whether the memory's owner lives"},
    // Writers.
    {"even-before-body", PlantedBit(PlantedBug::kEvenBeforeBody),
     "a slot's version words are made even before its body is written"},
    {"structure-not-raised", PlantedBit(PlantedBug::kStructureNotRaised),
     "the structure version stands still through inserts, deletes and moves"},
    {"object-not-retired", PlantedBit(PlantedBug::kObjectNotRetired),
     "an object that was replaced or deleted is never freed"},
    {"move-keeps-version", PlantedBit(PlantedBug::kMoveKeepsVersion),
     "a record that moves takes its old version along"},
    {"insert-below-floor", PlantedBit(PlantedBug::kInsertBelowFloor),
     "an insert takes its version from the slot alone, not from the home's floor"},
    {"delete-forgets-floor", PlantedBit(PlantedBug::kDeleteForgetsFloor),
     "a delete does not raise the home's floor"},
    // Rings and calls.
    {"head-before-zeroing", PlantedBit(PlantedBug::kHeadBeforeZeroing),
     "a ring's receiver reports its head, and zeroes what it consumed after that"},
    {"frame-taken-early", PlantedBit(PlantedBug::kFrameTakenEarly),
     "a frame is taken when its head is there, whatever of the rest has landed"},
    {"wake-without-barrier", PlantedBit(PlantedBug::kWakeWithoutBarrier),
     "no barrier between a wake-up flag and the look at messages, nor between message and flag"},
    {"answer-of-forgotten-call", PlantedBit(PlantedBug::kAnswerOfForgottenCall),
     "the id of a call that was given up is used again before its answer has come"},
    // What the scenario plays itself.
    {"put-sent-again", PlantedBit(PlantedBug::kPutSentAgain),
     "a Put whose connection broke is sent again on the next one"},
};

}  // namespace

absl::Span<const Plant> AllPlants() { return kPlants; }

const Plant* FindPlant(absl::string_view name) {
  for (const Plant& plant : kPlants) {
    if (plant.name == name) return &plant;
  }
  return nullptr;
}

ScopedPlant::ScopedPlant(uint64_t bugs) {
  CHECK_EQ(planted_bugs, 0u);
  planted_bugs = bugs;
}

ScopedPlant::~ScopedPlant() { planted_bugs = 0; }

}  // namespace acre::simulation
