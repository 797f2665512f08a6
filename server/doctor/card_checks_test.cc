#include "server/doctor/card_checks.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "server/doctor/fake_root.h"

namespace acre::doctor {
namespace {

using transport::VerbsCard;
using transport::VerbsGid;
using transport::VerbsPort;
using transport::VerbsReport;

constexpr uint64_t kMemoryBytes = uint64_t{64} << 30;

VerbsReport GoodReport() {
  VerbsPort port = {.number = 1, .is_active = true, .state = "active", .gbit_per_second = 100};
  port.mtu_active_bytes = port.mtu_max_bytes = 4096;
  port.gids = {{0, "fe80::1", "RoCE v2"}, {3, "::ffff:10.0.0.1", "RoCE v2"}};
  VerbsCard card = {.name = "mlx5_0", .firmware = "16.35", .atomics = "hca"};
  card.region_bytes_max = UINT64_MAX;
  card.ports = {port};
  VerbsReport report;
  report.cards = {card};
  report.addresses = {{"10.0.0.1", "mlx5_0"}};
  return report;
}

std::vector<Check> ChecksOf(const std::string& root, const VerbsReport& report, bool is_wanted,
                            absl::string_view device = "", uint64_t memory_bytes = kMemoryBytes) {
  Findings findings;
  CheckCards(root, report, is_wanted, device, memory_bytes, &findings);
  return findings.all();
}

// The only check of that name.
Check Named(const std::vector<Check>& checks, absl::string_view what) {
  const auto is_it = [&](const Check& check) { return check.what == what; };
  EXPECT_EQ(std::count_if(checks.begin(), checks.end(), is_it), 1) << what;
  const auto it = std::find_if(checks.begin(), checks.end(), is_it);
  return it == checks.end() ? Check() : *it;
}

TEST(CardChecksTest, AGoodCardIsAllOk) {
  const FakeRoot root;
  for (const Check& check : ChecksOf(root.path(), GoodReport(), true)) {
    EXPECT_EQ(check.verdict, Verdict::kOk) << check.what << ": " << check.found;
  }
}

TEST(CardChecksTest, NoCardIsBadOnlyForWhoWantsOne) {
  const FakeRoot root;
  EXPECT_EQ(Named(ChecksOf(root.path(), {}, false), "device").verdict, Verdict::kOk);
  const Check check = Named(ChecksOf(root.path(), {}, true), "device");
  EXPECT_EQ(check.verdict, Verdict::kBad);
  EXPECT_TRUE(std::any_of(check.mend.begin(), check.mend.end(), [](const std::string& mend) {
    return absl::StrContains(mend, "rdma link add rxe0 type rxe netdev eth0");
  }));
}

TEST(CardChecksTest, ACardWithoutADriverInUserSpaceIsFound) {
  const FakeRoot root;
  root.Write("/sys/class/infiniband/mlx5_0/node_type", "1: CA\n");
  const Check check = Named(ChecksOf(root.path(), {}, true), "device");
  EXPECT_EQ(check.verdict, Verdict::kBad);
  EXPECT_TRUE(absl::StrContains(check.found, "mlx5_0")) << check.found;
  EXPECT_TRUE(absl::StrContains(check.mend.at(0), "ibverbs-providers")) << check.mend.at(0);
}

TEST(CardChecksTest, APortWithoutALinkNamesItsInterface) {
  const FakeRoot root;
  root.Write("/sys/class/infiniband/mlx5_0/device/net/enp1s0/mtu", "1500\n");
  VerbsReport report = GoodReport();
  report.cards[0].ports[0].is_active = false;
  report.cards[0].ports[0].state = "down";
  Check check = Named(ChecksOf(root.path(), report, true), "mlx5_0:1 port");
  EXPECT_EQ(check.verdict, Verdict::kNote);
  EXPECT_TRUE(absl::StartsWith(check.mend.at(0), "ip link set enp1s0 up")) << check.mend.at(0);
  report.cards[0].ports[0].is_infiniband = true;
  check = Named(ChecksOf(root.path(), report, true), "mlx5_0:1 port");
  EXPECT_TRUE(absl::StrContains(check.mend.at(0), "opensm")) << check.mend.at(0);
}

TEST(CardChecksTest, ASmallMtuIsANoteWithTheCommand) {
  const FakeRoot root;
  root.Write("/sys/class/infiniband/mlx5_0/parent", "eth7\n");
  VerbsReport report = GoodReport();
  report.cards[0].ports[0].mtu_active_bytes = 1024;
  const Check check = Named(ChecksOf(root.path(), report, true), "mlx5_0:1 MTU");
  EXPECT_EQ(check.verdict, Verdict::kNote);
  EXPECT_EQ(check.found, "1024 of 4096 possible");
  EXPECT_TRUE(absl::StartsWith(check.mend.at(0), "ip link set eth7 mtu 4200")) << check.mend.at(0);
}

// Goal: what counts is a region, of which a server has several, not all of its memory.
TEST(CardChecksTest, MemoryThatTheCardDoesNotRegisterAtOnceIsBad) {
  const FakeRoot root;
  VerbsReport report = GoodReport();
  const auto limits = [&](uint64_t region_bytes_max, uint64_t memory_bytes, bool is_wanted = true) {
    report.cards[0].region_bytes_max = region_bytes_max;
    return Named(ChecksOf(root.path(), report, is_wanted, "", memory_bytes), "mlx5_0 limits");
  };
  constexpr uint64_t kGib = uint64_t{1} << 30;
  for (const uint64_t enough : {2 * kGib, 64 * kGib, UINT64_MAX, uint64_t{0}}) {
    const Check check = limits(enough, 64 * kGib);
    EXPECT_EQ(check.verdict, Verdict::kOk) << check.found;
    EXPECT_TRUE(check.mend.empty());
  }
  EXPECT_TRUE(absl::StrContains(limits(UINT64_MAX, kGib).found, "any number of bytes in a region"));
  EXPECT_EQ(limits(kGib, kGib).verdict, Verdict::kOk);
  // Two regions of 1.5 GiB.
  EXPECT_EQ(limits(3 * kGib / 2, 3 * kGib).verdict, Verdict::kOk);

  const Check check = limits(kGib, 64 * kGib);
  EXPECT_EQ(check.verdict, Verdict::kBad);
  EXPECT_TRUE(absl::StrContains(check.found,
                                "1 GiB in a region: less than the 2 GiB that a server "
                                "with --memory=64 GiB registers at once"))
      << check.found;
  EXPECT_TRUE(absl::StartsWith(check.mend.at(0), "kv_server --memory=1024M ")) << check.mend.at(0);
  EXPECT_EQ(limits(kGib, 64 * kGib, /*is_wanted=*/false).verdict, Verdict::kNote);
}

TEST(CardChecksTest, AddressesThatNoCardHasAreBad) {
  const FakeRoot root;
  VerbsReport report = GoodReport();
  report.addresses.clear();
  EXPECT_EQ(Named(ChecksOf(root.path(), report, true), "address").verdict, Verdict::kBad);
  EXPECT_EQ(Named(ChecksOf(root.path(), report, false), "address").verdict, Verdict::kNote);
  report.rdma_cm = absl::UnavailableError("no rdma_cm here");
  const Check check = Named(ChecksOf(root.path(), report, true), "rdma_cm");
  EXPECT_EQ(check.verdict, Verdict::kBad);
  EXPECT_TRUE(absl::StrContains(check.mend.at(0), "modprobe rdma_ucm")) << check.mend.at(0);
}

TEST(CardChecksTest, DeviceLeavesOthersOut) {
  const FakeRoot root;
  VerbsReport report = GoodReport();
  report.cards.push_back({.name = "mlx5_1", .opened = absl::PermissionDeniedError("not yours")});
  EXPECT_EQ(Named(ChecksOf(root.path(), report, true), "mlx5_1").verdict, Verdict::kBad);
  for (const char* device : {"mlx5_0", "10.0.0.1"}) {
    for (const Check& check : ChecksOf(root.path(), report, true, device)) {
      EXPECT_EQ(check.verdict, Verdict::kOk) << check.what << ": " << check.found;
    }
  }
  const Check check = Named(ChecksOf(root.path(), report, true, "mlx5_7"), "device");
  EXPECT_EQ(check.verdict, Verdict::kBad);
  EXPECT_EQ(check.found, "there is no mlx5_7, only mlx5_0, mlx5_1");
}

TEST(CardChecksTest, ACardWithoutAtomicsCannotBeUsed) {
  const FakeRoot root;
  VerbsReport report = GoodReport();
  report.cards[0].atomics = "none";
  EXPECT_EQ(Named(ChecksOf(root.path(), report, true), "mlx5_0 atomics").verdict, Verdict::kBad);
}

}  // namespace
}  // namespace acre::doctor
