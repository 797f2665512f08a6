#include "server/doctor/memory_checks.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/doctor/fake_root.h"

namespace acre::doctor {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

void WriteMemlock(const FakeRoot& root, absl::string_view soft, absl::string_view hard) {
  root.Write(
      "/proc/self/limits",
      absl::StrCat("Limit                     Soft Limit           Hard Limit           Units\n"
                   "Max locked memory         ",
                   soft, "              ", hard,
                   "              bytes\nMax address space         1 2 bytes\n"));
}

TEST(MemoryChecksTest, TheTightestCgroupIsTold) {
  const FakeRoot root;
  root.Write("/proc/meminfo", "MemAvailable:    4194304 kB\n");
  Check check = CheckAvailableMemory(root.path(), 1024 * kMiB);
  EXPECT_EQ(check.verdict, Verdict::kOk);
  EXPECT_EQ(check.found, "4 GiB available, no limit by a cgroup");
  root.Write("/proc/self/cgroup", "0::/outer/inner\n");
  root.Write("/sys/fs/cgroup/outer/inner/memory.max", "max\n");
  root.Write("/sys/fs/cgroup/outer/memory.max", absl::StrCat(512 * kMiB));
  root.Write("/sys/fs/cgroup/outer/memory.current", "0");
  check = CheckAvailableMemory(root.path(), 1024 * kMiB);
  EXPECT_EQ(check.verdict, Verdict::kBad);
  EXPECT_TRUE(absl::StrContains(check.found, "may have 512 MiB in all")) << check.found;
  EXPECT_EQ(check.mend.size(), 2u);
  EXPECT_EQ(CheckAvailableMemory(root.path(), 256 * kMiB).verdict, Verdict::kOk);
}

// In a container the process's cgroup is the root that it sees, and may have a limit.
TEST(MemoryChecksTest, AContainersOwnCgroupCounts) {
  const FakeRoot root;
  root.Write("/proc/self/cgroup", "0::/\n");
  root.Write("/sys/fs/cgroup/memory.max", absl::StrCat(512 * kMiB));
  EXPECT_TRUE(absl::StrContains(CheckAvailableMemory(root.path(), kMiB).found, "512 MiB"));
}

TEST(MemoryChecksTest, MemlockMustHoldTheMemoryTwice) {
  const FakeRoot root;
  WriteMemlock(root, "unlimited", "unlimited");
  EXPECT_EQ(CheckMemlock(root.path(), 1024 * kMiB).verdict, Verdict::kOk);
  WriteMemlock(root, absl::StrCat(1024 * kMiB), "unlimited");
  EXPECT_EQ(CheckMemlock(root.path(), 448 * kMiB).verdict, Verdict::kOk);
  const Check check = CheckMemlock(root.path(), 449 * kMiB);
  EXPECT_EQ(check.verdict, Verdict::kBad);
  EXPECT_TRUE(absl::StartsWith(check.mend.at(0), "ulimit -l unlimited")) << check.mend.at(0);
}

TEST(MemoryChecksTest, AHardLimitTakesRoot) {
  const FakeRoot root;
  WriteMemlock(root, "65536", "65536");
  const Check check = CheckMemlock(root.path(), kMiB);
  EXPECT_EQ(check.verdict, Verdict::kBad);
  EXPECT_TRUE(absl::StrContains(check.mend.at(0), "/etc/security/limits.d")) << check.mend.at(0);
}

TEST(MemoryChecksTest, WhoMayLockAnythingIsNotLimited) {
  const FakeRoot root;
  WriteMemlock(root, "65536", "65536");
  root.Write("/proc/self/status", "Name:\tx\nCapEff:\t0000000000004000\n");
  EXPECT_EQ(CheckMemlock(root.path(), kMiB).verdict, Verdict::kOk);
  root.Write("/proc/self/status", "Name:\tx\nCapEff:\t000001ffffffbfff\n");
  EXPECT_EQ(CheckMemlock(root.path(), kMiB).verdict, Verdict::kBad);
}

TEST(MemoryChecksTest, NoProcIsANote) {
  const FakeRoot root;
  EXPECT_EQ(CheckMemlock(root.path(), kMiB).verdict, Verdict::kNote);
  root.Write("/proc/self/limits", "Max locked memory         some              more\n");
  EXPECT_EQ(CheckMemlock(root.path(), kMiB).verdict, Verdict::kNote);
  EXPECT_EQ(CheckHugePages(root.path(), kMiB).size(), 1u);
}

TEST(MemoryChecksTest, HugePagesOfOneSizeSuffice) {
  const FakeRoot root;
  const std::string pages = "/sys/kernel/mm/hugepages/hugepages-";
  root.Write(pages + "2048kB/nr_hugepages", "100\n");
  root.Write(pages + "2048kB/free_hugepages", "60\n");
  root.Write(pages + "2048kB/resv_hugepages", "10\n");
  root.Write(pages + "1048576kB/nr_hugepages", "0\n");
  root.Write(pages + "1048576kB/free_hugepages", "0\n");
  for (const Check& check : CheckHugePages(root.path(), 100 * kMiB)) {
    EXPECT_EQ(check.verdict, Verdict::kOk) << check.found;
  }
  const std::vector<Check> checks = CheckHugePages(root.path(), 102 * kMiB);
  ASSERT_EQ(checks.size(), 2u);
  for (const Check& check : checks) EXPECT_EQ(check.verdict, Verdict::kNote) << check.found;
  EXPECT_EQ(checks[1].found, "2 MiB: 50 of 100 free, --memory=102 MiB takes 51");
  // Those in use stay in use.
  EXPECT_TRUE(absl::StartsWith(checks[1].mend.at(0),
                               "echo 101 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"))
      << checks[1].mend.at(0);
}

}  // namespace
}  // namespace acre::doctor
