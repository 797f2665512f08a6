#include "runtime/planted_bug.h"

#include "gtest/gtest.h"

namespace acre {
namespace {

// Goal: outside of config sim the compiler knows that nothing is planted, so that it compiles nothing of it.
TEST(PlantedBugTest, IsAConstantFalseInTheProduct) {
  static_assert(!IsPlanted(PlantedBug::kMissAfterOneRead));
  static_assert(!IsPlanted(PlantedBug::kPutSentAgain));
}

}  // namespace
}  // namespace acre
