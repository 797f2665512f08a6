#include "client/verify/plan.h"

#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "client/isolation/history.h"
#include "client/verify/record.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/shared_word.h"

namespace acre::verify {
namespace {

using isolation::OpKind;
using testing::ElementsAre;

// Goal: no value is written to a key twice, whoever draws it and however often; no key has more
// writes than it may.
TEST(PlanTest, WritesAreUniqueAmongSources) {
  const PlanOptions options = {.keys = 5, .writes_per_key = 7, .retried_percent = 50};
  std::vector<SharedWord> words(KeyCounters::WordsFor(options.keys));
  KeyCounters counters(options, absl::MakeSpan(words));
  KeyCounters of_another_process(options, absl::MakeSpan(words));
  PlanSource one(options, &counters, /*seed=*/1);
  PlanSource other(options, &of_another_process, /*seed=*/2);
  std::set<std::tuple<Family, uint32_t, uint32_t>> written;
  std::set<std::pair<Family, uint32_t>> keys;
  size_t writes = 0;
  const auto note = [&](const Plan& plan) {
    for (const PlannedOp& op : plan.ops) {
      if (op.kind == OpKind::kRead) continue;
      ++writes;
      written.insert({op.key.family, op.key.number, op.value});
      EXPECT_EQ(op.kind == OpKind::kAppend, op.key.family == Family::kList);
      EXPECT_GE(op.value, 1u);
      EXPECT_LE(op.value, options.writes_per_key);
      keys.insert({op.key.family, op.key.number});
    }
  };
  Plan plan;
  for (int i = 0; i < 5000; ++i) {
    PlanSource& source = i % 2 == 0 ? one : other;
    ASSERT_TRUE(source.Draw(&plan));
    ASSERT_FALSE(plan.ops.empty());
    note(plan);
    if (plan.way == Way::kPlain) {
      ASSERT_EQ(plan.ops.size(), 1u);
      EXPECT_NE(plan.ops[0].kind, OpKind::kAppend);
      EXPECT_FALSE(IsMoving(plan.ops[0].key));
    }
    if (plan.way != Way::kRetried) continue;
    source.DrawAgain(&plan);
    note(plan);
  }
  EXPECT_GT(writes, 5000u);
  EXPECT_EQ(written.size(), writes);
  for (const KeyId& key : counters.AllKeys()) keys.erase({key.family, key.number});
  EXPECT_TRUE(keys.empty());
}

TEST(PlanTest, FamiliesAreThoseAskedFor) {
  for (const bool lists : {false, true}) {
    const PlanOptions options = {.lists = lists, .registers = !lists};
    std::vector<SharedWord> words(KeyCounters::WordsFor(options.keys));
    KeyCounters counters(options, absl::MakeSpan(words));
    PlanSource source(options, &counters, /*seed=*/1);
    Plan plan;
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(source.Draw(&plan));
      for (const PlannedOp& op : plan.ops) EXPECT_EQ(op.key.family == Family::kList, lists);
    }
  }
}

TEST(PlanTest, EachKeyIsReadOnce) {
  const std::vector<KeyId> keys(10, {Family::kRegister, 3});
  ReadEach plans(keys);
  Plan plan;
  size_t reads = 0;
  while (plans.Draw(&plan)) reads += plan.ops.size();
  EXPECT_EQ(reads, keys.size());
}

TEST(RecordTest, WhatWasEncodedIsDecoded) {
  const Epoch epoch = {.prefix = "verify", .number = 4};
  std::string value;
  std::vector<int32_t> numbers;
  EncodeList(epoch, {Family::kList, 9}, {3, 1, 2}, &value);
  Decode(epoch, {Family::kList, 9}, value, &numbers);
  EXPECT_THAT(numbers, ElementsAre(3, 1, 2));
  std::set<size_t> sizes;
  for (uint32_t number = 0; number < 8; ++number) {
    EncodeRegister(epoch, {Family::kRegister, number}, 31, &value);
    sizes.insert(value.size());
    Decode(epoch, {Family::kRegister, number}, value, &numbers);
    EXPECT_THAT(numbers, ElementsAre(31)) << number;
  }
  EXPECT_THAT(sizes, ElementsAre(8, 100, 5000));
}

// Goal: another key's record, another epoch's, half of one and two mixed are told as what nobody
// writes.
TEST(RecordTest, OtherBytesAreUnreadable) {
  const Epoch epoch = {.prefix = "verify", .number = 4};
  const KeyId large = {Family::kRegister, 3};
  std::string value;
  EncodeRegister(epoch, large, 31, &value);
  std::string other;
  EncodeRegister(epoch, large, 32, &other);
  std::vector<int32_t> numbers;
  const auto expect_unreadable = [&](const Epoch& of, const KeyId& key, absl::string_view bytes) {
    Decode(of, key, bytes, &numbers);
    EXPECT_THAT(numbers, ElementsAre(kUnreadable));
  };
  expect_unreadable(epoch, {Family::kRegister, 7}, value);
  expect_unreadable({.prefix = "verify", .number = 5}, large, value);
  expect_unreadable(epoch, large, absl::string_view(value).substr(0, 2500));
  expect_unreadable(epoch, large, value.substr(0, 2500) + other.substr(2500));
  expect_unreadable(epoch, large, "");
  expect_unreadable(epoch, {Family::kList, 3}, value);
  expect_unreadable(epoch, {Family::kList, 3}, "abc");
}

TEST(RecordTest, KeysHaveNamesOfTheirOwn) {
  const Epoch epoch = {.prefix = "verify-1", .number = 4};
  EXPECT_EQ(KeyName(epoch, {Family::kList, 7}), "verify-1/4/l7");
  EXPECT_EQ(KeyName(epoch, {Family::kList, 7}, /*other_place=*/true), "verify-1/4/l7b");
  EXPECT_EQ(KeyName(epoch, {Family::kRegister, 7}), "verify-1/4/r7");
}

}  // namespace
}  // namespace acre::verify
