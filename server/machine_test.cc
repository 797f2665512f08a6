#include "server/machine.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "server/memory.h"

namespace acre::server {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

void Write(const std::string& path, absl::string_view text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

TEST(MachineTest, ReadsWhatTheKernelSays) {
  const std::string root = testing::TempDir() + "/machine";
  Write(root + "/proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    4194304 kB\n");
  const std::string pages = root + "/sys/kernel/mm/hugepages/";
  Write(pages + "hugepages-2048kB/free_hugepages", "10\n");
  Write(pages + "hugepages-2048kB/resv_hugepages", "4\n");
  Write(pages + "hugepages-1048576kB/free_hugepages", "2\n");
  MachineMemory memory = ReadMachineMemory(root);
  EXPECT_EQ(memory.available_bytes, 4096 * kMiB);
  EXPECT_EQ(memory.free_2m_bytes, 12 * kMiB);
  EXPECT_EQ(memory.free_1g_bytes, 2048 * kMiB);
  // The tightest cgroup on the way up counts.
  Write(root + "/proc/self/cgroup", "0::/outer/inner\n");
  Write(root + "/sys/fs/cgroup/outer/inner/memory.max", "max\n");
  Write(root + "/sys/fs/cgroup/outer/memory.max", "1073741824\n");
  Write(root + "/sys/fs/cgroup/outer/memory.current", "73741824\n");
  memory = ReadMachineMemory(root);
  EXPECT_EQ(memory.available_bytes, 1'000'000'000u);
}

TEST(MachineTest, MemoryIsCheckedByKindOfPage) {
  const MachineMemory machine = {
      .available_bytes = 1128 * kMiB, .free_2m_bytes = 200 * kMiB, .free_1g_bytes = 1024 * kMiB};
  EXPECT_TRUE(CheckMemory(1000 * kMiB, transport::HugePages::kOff, machine).ok());
  EXPECT_TRUE(
      absl::IsResourceExhausted(CheckMemory(1001 * kMiB, transport::HugePages::kOff, machine)));
  EXPECT_TRUE(CheckMemory(200 * kMiB, transport::HugePages::k2M, machine).ok());
  EXPECT_FALSE(CheckMemory(202 * kMiB, transport::HugePages::k2M, machine).ok());
  EXPECT_TRUE(CheckMemory(1024 * kMiB, transport::HugePages::k1G, machine).ok());
  EXPECT_FALSE(CheckMemory(2048 * kMiB, transport::HugePages::k1G, machine).ok());
  EXPECT_TRUE(CheckMemory(2224 * kMiB, transport::HugePages::kAuto, machine).ok());
  EXPECT_FALSE(CheckMemory(2226 * kMiB, transport::HugePages::kAuto, machine).ok());
}

TEST(MachineTest, ThisMachineHasSomething) {
  EXPECT_GT(ReadMachineMemory("").available_bytes, 0u);
  EXPECT_FALSE(ReadBootId().value().empty());
}

TEST(PlanRegionsTest, AsFewAsMayBeOfEqualSize) {
  const auto plan = [](uint64_t memory_bytes, uint64_t region_bytes_max) {
    const RegionPlan made = PlanRegions(memory_bytes, region_bytes_max);
    return std::make_pair(made.count, made.bytes / kMiB);
  };
  using Pair = std::pair<uint64_t, uint64_t>;
  EXPECT_EQ(plan(16 * kMiB, 2048 * kMiB), Pair(1, 16));
  EXPECT_EQ(plan(2048 * kMiB, 2048 * kMiB), Pair(1, 2048));
  EXPECT_EQ(plan(2049 * kMiB, 2048 * kMiB), Pair(2, 1024));
  EXPECT_EQ(plan(64 * 1024 * kMiB, 2048 * kMiB), Pair(32, 2048));
  EXPECT_EQ(plan(0, kMiB), Pair(1, 0));
}

}  // namespace
}  // namespace acre::server
