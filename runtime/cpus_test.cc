#include "runtime/cpus.h"

#include <sched.h>

#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace acre {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<int> Parse(const std::string& list) {
  const auto cpus = ParseCpus(list);
  EXPECT_TRUE(cpus.ok()) << cpus.status();
  return cpus.ok() ? *cpus : std::vector<int>{-1};
}

TEST(CpusTest, ListsAreAscendingAndNameEachOnce) {
  EXPECT_THAT(Parse("3"), ElementsAre(3));
  EXPECT_THAT(Parse("8,0-3"), ElementsAre(0, 1, 2, 3, 8));
  EXPECT_THAT(Parse("1-2,2-3"), ElementsAre(1, 2, 3));
  EXPECT_THAT(Parse(" 5 \n"), ElementsAre(5));
  EXPECT_THAT(Parse(""), IsEmpty());
}

TEST(CpusTest, WhatIsNoListIsRefusedInWords) {
  for (const char* list : {"x", "1-", "-1", "3-1", "0-999999", "1;2", "99999999999"}) {
    const auto cpus = ParseCpus(list);
    EXPECT_TRUE(absl::IsInvalidArgument(cpus.status())) << list << ": " << cpus.status();
    EXPECT_THAT(std::string(cpus.status().message()), HasSubstr("0,2-5"));
  }
}

TEST(CpusTest, OnlyCpusThatTheProcessMayUseAreTaken) {
  const std::vector<int> usable = UsableCpus();
  ASSERT_FALSE(usable.empty());
  EXPECT_TRUE(CheckCpus(usable).ok());
  const int none = CPU_SETSIZE - 1;
  ASSERT_NE(usable.back(), none);
  EXPECT_THAT(std::string(CheckCpus({none}).message()), HasSubstr("CPU 1023 is not one"));
  EXPECT_TRUE(absl::IsInvalidArgument(StayOnCpus({none})));
}

TEST(CpusTest, AThreadStaysWhereItIsPutAndOthersDoNot) {
  const std::vector<int> before = UsableCpus();
  std::thread([&] {
    EXPECT_TRUE(StayOnCpus({before.back()}).ok());
    EXPECT_THAT(UsableCpus(), ElementsAre(before.back()));
    EXPECT_EQ(sched_getcpu(), before.back());
    std::thread([&] { EXPECT_THAT(UsableCpus(), ElementsAre(before.back())); }).join();
  }).join();
  EXPECT_EQ(UsableCpus(), before);
}

}  // namespace
}  // namespace acre
