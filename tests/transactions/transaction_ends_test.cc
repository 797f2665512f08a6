// Termination of lost coordinators' transactions between homes, in every order that seeds come up with
// (tests/transactions/ends_scene.h); and that its judge finds what is planted.
//
// More seeds: bazel test --config=asan-ubsan --test_env=ACRE_TRANSACTION_SEEDS=5000
//             //tests/transactions:transaction_ends_test

#include <cstdint>
#include <string>

#include "absl/strings/str_join.h"
#include "absl/types/optional.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/sim/seeds.h"
#include "tests/transactions/ends_scene.h"

namespace acre::server {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

uint64_t Seeds() { return SeedsOr("ACRE_TRANSACTION_SEEDS", 300); }

// The first seed with which a mistake is found.
absl::optional<uint64_t> FirstFoundWith(const EndsMistakes& mistakes, bool homes_crash) {
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    EndsScene scene({.seed = seed, .homes_crash = homes_crash, .mistakes = mistakes});
    scene.RunCoordinators();
    scene.Heal();
    scene.RunForMs(20'000);
    if (!homes_crash) scene.JudgeEnd();
    if (scene.finding().empty()) continue;
    LOG(INFO) << "found with seed " << seed << ": " << scene.finding();
    return seed;
  }
  return absl::nullopt;
}

// Goal: once all homes are reachable, everything has ended, the same way everywhere, and nothing is kept.
TEST(TransactionEndsTest, AllHomesEndEverythingTheSameWay) {
  EndsScene::Tally sum;
  for (uint64_t seed = 1; seed <= Seeds(); ++seed) {
    EndsScene scene({.seed = seed});
    scene.RunCoordinators();
    ASSERT_EQ(scene.finding(), "") << "seed " << seed;
    scene.Heal();
    scene.RunForMs(20'000);
    scene.JudgeEnd();
    ASSERT_EQ(scene.finding(), "") << "seed " << seed << "\n"
                                   << absl::StrJoin(scene.WhysOfOpen(), "\n");
    const EndsScene::Tally tally = scene.tally();
    sum.committed += tally.committed;
    sum.aborted += tally.aborted;
    sum.ended += tally.ended;
    sum.asks += tally.asks;
  }
  LOG(INFO) << sum.committed << " committed, " << sum.aborted << " aborted; homes ended "
            << sum.ended << " with " << sum.asks << " questions";
  EXPECT_GT(sum.committed, Seeds() / 2);
  EXPECT_GT(sum.aborted, Seeds() / 2);
  EXPECT_GT(sum.ended, Seeds() / 2);
}

// Goal: what a home that was started anew might have known stays open till an operator ends it; all else ends.
TEST(TransactionEndsTest, WhatARestartedHomeKnewIsForAnOperator) {
  uint64_t left_open = 0;
  uint64_t crashes = 0;
  for (uint64_t seed = 1; seed <= Seeds(); ++seed) {
    EndsScene scene({.seed = seed, .homes_crash = true});
    scene.RunCoordinators();
    scene.Heal();
    scene.RunForMs(20'000);
    ASSERT_EQ(scene.finding(), "") << "seed " << seed;
    ASSERT_EQ(scene.OpenForGoneHomes(), scene.OpenCount()) << "seed " << seed;
    ASSERT_THAT(scene.WhysOfOpen(), Each(HasSubstr("was started anew"))) << "seed " << seed;
    left_open += scene.OpenCount();
    crashes += scene.tally().crashes;
    scene.EndByOperator();
    scene.RunForMs(20'000);
    scene.JudgeEnd();
    ASSERT_EQ(scene.finding(), "") << "seed " << seed;
  }
  LOG(INFO) << crashes << " crashes of homes left " << left_open << " open for an operator";
  EXPECT_GT(crashes, Seeds() / 2);
  EXPECT_GT(left_open, Seeds() / 20);
}

// ---- That the judge finds mistakes.

TEST(PlantedEndsTest, AnUnreachableHomeThatCountsAsPromised) {
  EXPECT_TRUE(FirstFoundWith({.unreachable_promises = true}, /*homes_crash=*/false).has_value());
}

TEST(PlantedEndsTest, UnknownThatCountsAsPromised) {
  EXPECT_TRUE(FirstFoundWith({.unknown_promises = true}, /*homes_crash=*/false).has_value());
}

TEST(PlantedEndsTest, ARestartedHomeThatPromises) {
  EXPECT_TRUE(FirstFoundWith({.any_incarnation = true}, /*homes_crash=*/true).has_value());
}

TEST(PlantedEndsTest, OnePromiseThatDecides) {
  EXPECT_TRUE(FirstFoundWith({.first_promise_aborts = true}, /*homes_crash=*/false).has_value());
}

TEST(PlantedEndsTest, AHomeThatPromisesBeforeItHasDrained) {
  EXPECT_TRUE(FirstFoundWith({.promises_undrained = true}, /*homes_crash=*/false).has_value());
}

TEST(PlantedEndsTest, AHomeThatPromisesAndGoesOn) {
  EXPECT_TRUE(FirstFoundWith({.promises_unclosed = true}, /*homes_crash=*/false).has_value());
}

TEST(PlantedEndsTest, AHomeThatForgetsWhomItHasClosed) {
  EXPECT_TRUE(FirstFoundWith({.closed_is_forgotten = true}, /*homes_crash=*/false).has_value());
}

}  // namespace
}  // namespace acre::server
