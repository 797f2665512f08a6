// The choice of fabrics by name, and that there is one of each kind.

#include "client/fabric_set.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "transport/fabric.h"

namespace acre {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FabricSetTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<FabricSet>> Create(absl::string_view name, bool must_map = false) {
    return FabricSet::Create(&scheduler_, name, must_map);
  }
  std::vector<std::string> Opened(absl::string_view name, bool must_map = false) {
    const auto set = Create(name, must_map);
    if (!set.ok()) return {std::string(set.status().message())};
    const auto fabrics = (*set)->Open();
    if (!fabrics.ok()) return {std::string(fabrics.status().message())};
    std::vector<std::string> providers;
    for (const auto& local : *fabrics) providers.push_back(local.fabric->device().provider);
    return providers;
  }

  RealClock clock_;
  Scheduler scheduler_{{.clock = &clock_, .name = "fabric_set_test"}};
};

TEST_F(FabricSetTest, AutoIsAllBestFirstAndANameIsOne) {
  EXPECT_THAT(Opened("auto"), ElementsAre("shm", "tcp"));
  EXPECT_THAT(Opened("shm"), ElementsAre("shm"));
  EXPECT_THAT(Opened("tcp"), ElementsAre("tcp"));
  EXPECT_THAT(Opened("auto", /*must_map=*/true), ElementsAre("shm"));
  EXPECT_THAT(Opened("shm", /*must_map=*/true), ElementsAre("shm"));
}

TEST_F(FabricSetTest, NamesThatCannotBeAreErrors) {
  const absl::Status unknown = Create("smoke").status();
  EXPECT_TRUE(absl::IsInvalidArgument(unknown)) << unknown;
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("\"smoke\": use one of auto, shm, tcp"));
  const absl::Status unbuilt = Create("verbs").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(unbuilt)) << unbuilt;
  const absl::Status unmapped = Create("tcp", /*must_map=*/true).status();
  EXPECT_TRUE(absl::IsInvalidArgument(unmapped)) << unmapped;
  EXPECT_THAT(std::string(unmapped.message()), HasSubstr("which fabric tcp cannot"));
}

// Goal: all who ask are lent the same ones, made when first asked for.
TEST_F(FabricSetTest, FabricsAreMadeOnce) {
  const auto set = Create("auto");
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ((*set)->opened_count(), 0u);
  const auto first = (*set)->Open();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*set)->opened_count(), 2u);
  const auto second = (*set)->Open();
  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_EQ(first->size(), second->size());
  for (size_t i = 0; i < first->size(); ++i) {
    EXPECT_EQ((*first)[i].fabric, (*second)[i].fabric);
    EXPECT_EQ((*first)[i].port, (*second)[i].port);
  }
}

TEST_F(FabricSetTest, RegionIdsAreNeverTheSameNorZero) {
  const auto set = Create("shm");
  ASSERT_TRUE(set.ok()) << set.status();
  const uint32_t first = (*set)->TakeRegionIds(3);
  EXPECT_GT(first, 0u);
  EXPECT_EQ((*set)->TakeRegionIds(2), first + 3);
  EXPECT_EQ((*set)->TakeRegionIds(1), first + 5);
}

}  // namespace
}  // namespace acre
