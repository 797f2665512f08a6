#include "transport/providers/providers.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"

namespace acre::transport {
namespace {

// There is no card, or none that will do.
bool IsMissing(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsFailedPrecondition(status);
}

TEST(ProvidersTest, EachGivesAFabricOfItsNameOrSaysWhatIsMissing) {
  RealClock clock;
  for (const absl::string_view name : ProviderNames()) {
    const auto fabric = OpenProvider(name, {.clock = &clock});
    if (fabric.ok()) {
      EXPECT_EQ((*fabric)->device().provider, name);
    } else {
      EXPECT_EQ(name, "verbs") << fabric.status();
      EXPECT_TRUE(IsMissing(fabric.status())) << fabric.status();
    }
  }
}

TEST(ProvidersTest, OthersAreRefusedWithAListOfThoseThereAre) {
  RealClock clock;
  for (const absl::string_view name : {"", "sim", "SHM", "shm ", "infiniband"}) {
    const absl::Status status = OpenProvider(name, {.clock = &clock}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_EQ(status, JudgeProvider(name));
    EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat("\"", name, "\""))) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "shm, verbs, tcp")) << status;
  }
}

TEST(ProvidersTest, ADeviceWithoutTheFabricThatUsesItIsRefused) {
  using Names = std::vector<std::string>;
  for (const char* device : {"mlx5_0", "10.0.0.1"}) {
    for (const Names& fabrics : {Names{"shm"}, Names{"tcp"}, Names{"tcp", "shm"}}) {
      const absl::Status status = JudgeDevice(device, fabrics);
      EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
      EXPECT_TRUE(absl::StrContains(status.message(), device)) << status;
      EXPECT_TRUE(absl::StrContains(status.message(), "choose fabric verbs")) << status;
    }
    for (const Names& fabrics : {Names{"verbs"}, Names{"shm", "verbs", "tcp"}}) {
      EXPECT_EQ(JudgeDevice(device, fabrics), absl::OkStatus());
    }
  }
  EXPECT_EQ(JudgeDevice("", Names{"shm", "tcp"}), absl::OkStatus());
}

// Where there is a card it is still not this one.
TEST(ProvidersTest, ADeviceThatIsNotThereIsNoReasonToTakeAnother) {
  RealClock clock;
  for (const char* device : {"no_card_0", "192.0.2.1", "2001:db8::1"}) {
    const absl::Status status = OpenProvider("verbs", {.clock = &clock, .device = device}).status();
    EXPECT_TRUE(IsMissing(status)) << device << ": " << status;
  }
}

}  // namespace
}  // namespace acre::transport
