#include "server/doctor/numa_checks.h"

#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "server/doctor/fake_root.h"

namespace acre::doctor {
namespace {

void WriteTwoNodes(const FakeRoot& root) {
  root.Write("/sys/devices/system/node/online", "0,2\n");
  root.Write("/sys/devices/system/node/node0/cpulist", "0-3\n");
  root.Write("/sys/devices/system/node/node0/distance", "10 21\n");
  root.Write("/sys/devices/system/node/node2/cpulist", "4-7\n");
  root.Write("/sys/devices/system/node/node2/distance", "21 10\n");
  root.Write("/sys/class/infiniband/mlx5_0/device/numa_node", "2\n");
}

TEST(NumaChecksTest, CpusOfTheCardsNodeAreRight) {
  const FakeRoot root;
  WriteTwoNodes(root);
  const Check check = CheckNumaDistance(root.path(), "mlx5_0", {4, 5});
  EXPECT_EQ(check.verdict, Verdict::kOk);
  EXPECT_TRUE(absl::StrContains(check.found, "node 2 (distance 10)")) << check.found;
}

TEST(NumaChecksTest, CpusOfOtherNodesAreANoteThatSaysHowToBind) {
  const FakeRoot root;
  WriteTwoNodes(root);
  for (const std::vector<int>& cpus : {std::vector<int>{0}, std::vector<int>{0, 7}}) {
    const Check check = CheckNumaDistance(root.path(), "mlx5_0", cpus);
    EXPECT_EQ(check.verdict, Verdict::kNote);
    EXPECT_TRUE(absl::StrContains(check.found, "node 0 (distance 21)")) << check.found;
    EXPECT_TRUE(absl::StrContains(check.mend.at(0), "--cpunodebind=2")) << check.mend.at(0);
  }
}

TEST(NumaChecksTest, ACardWithoutAPlaceIsNear) {
  const FakeRoot root;
  WriteTwoNodes(root);
  EXPECT_EQ(CheckNumaDistance(root.path(), "rxe0", {0}).verdict, Verdict::kOk);
  root.Write("/sys/class/infiniband/mlx5_0/device/numa_node", "-1\n");
  EXPECT_EQ(CheckNumaDistance(root.path(), "mlx5_0", {0}).verdict, Verdict::kOk);
}

}  // namespace
}  // namespace acre::doctor
