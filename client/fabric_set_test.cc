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

using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;

class FabricSetTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<FabricSet>> Create(absl::string_view name, bool must_map = false) {
    return FabricSet::Create(&scheduler_, {.name = std::string(name),
                                           .device = device_,
                                           .threads_per_qp = threads_per_qp_,
                                           .must_map = must_map});
  }
  std::vector<std::string> Opened(absl::string_view name, bool must_map = false) {
    const auto set = Create(name, must_map);
    if (!set.ok()) return {std::string(set.status().message())};
    std::vector<std::string> providers;
    for (const auto& fabrics : {(*set)->Open(), (*set)->OpenMore()}) {
      if (!fabrics.ok()) return {std::string(fabrics.status().message())};
      for (const auto& local : *fabrics) providers.push_back(local.fabric->device().provider);
    }
    return providers;
  }

  std::string device_;
  uint32_t threads_per_qp_ = 1;
  RealClock clock_;
  Scheduler scheduler_{{.clock = &clock_, .name = "fabric_set_test"}};
};

TEST_F(FabricSetTest, AutoIsAllBestFirstAndANameIsOne) {
  // Where there is a card it stands between them.
  EXPECT_THAT(Opened("auto"), AnyOf(ElementsAre("shm", "tcp"), ElementsAre("shm", "verbs", "tcp")));
  EXPECT_THAT(Opened("shm"), ElementsAre("shm"));
  EXPECT_THAT(Opened("tcp"), ElementsAre("tcp"));
  EXPECT_THAT(Opened("auto", /*must_map=*/true), ElementsAre("shm"));
  EXPECT_THAT(Opened("shm", /*must_map=*/true), ElementsAre("shm"));
}

TEST_F(FabricSetTest, NamesThatCannotBeAreErrors) {
  const absl::Status unknown = Create("smoke").status();
  EXPECT_TRUE(absl::IsInvalidArgument(unknown)) << unknown;
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("\"smoke\", only shm, verbs, tcp; auto"));
  for (const uint32_t threads : {0u, 33u}) {
    threads_per_qp_ = threads;
    const absl::Status status = Create("auto").status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("threads_per_qp is 1 to 32"));
  }
  threads_per_qp_ = 32;
  EXPECT_TRUE(Create("auto").ok());
  const absl::Status unmapped = Create("tcp", /*must_map=*/true).status();
  EXPECT_TRUE(absl::IsInvalidArgument(unmapped)) << unmapped;
  EXPECT_THAT(std::string(unmapped.message()), HasSubstr("which fabric tcp cannot"));
}

// Goal: whoever asks for a card, by any name of fabric, gets that one or an error.
TEST_F(FabricSetTest, ACardThatIsNotThereIsAnErrorAlsoOfAuto) {
  device_ = "no_card_0";
  for (const char* name : {"auto", "verbs"}) {
    const auto set = Create(name);
    ASSERT_TRUE(set.ok()) << set.status();
    for (int i = 0; i < 2; ++i) {
      const absl::Status status =
          (*set)->has_more() ? (*set)->OpenMore().status() : (*set)->Open().status();
      EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("fabric verbs: "));
    }
  }
}

TEST_F(FabricSetTest, ACardForAFabricThatUsesNoneIsAnError) {
  device_ = "no_card_0";
  for (const char* name : {"shm", "tcp"}) {
    const absl::Status status = Create(name).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("choose fabric verbs"));
  }
}

// Goal: all who ask are lent the same ones, made when first asked for.
TEST_F(FabricSetTest, FabricsAreMadeOnce) {
  const auto set = Create("auto");
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ((*set)->opened_count(), 0u);
  const auto best = (*set)->Open();
  ASSERT_TRUE(best.ok()) << best.status();
  ASSERT_EQ(best->size(), 1u);
  EXPECT_EQ((*set)->opened_count(), 1u) << "what is not needed is opened";
  const auto first = (*set)->OpenMore();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*set)->opened_count(), 1 + first->size());
  const auto second = (*set)->OpenMore();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ((*set)->Open()->front().port, best->front().port);
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
