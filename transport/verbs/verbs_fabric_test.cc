// What the provider says on machines of all kinds, with cards or without.

#include "transport/verbs/verbs_fabric.h"

#include <string>

#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "transport/verbs/verbs_listener.h"

namespace acre::transport {
namespace {

TEST(VerbsFabricTest, WhoHasNoCardIsToldSo) {
  RealClock clock;
  const auto any = VerbsFabric::Create({.clock = &clock});
  EXPECT_EQ(any.ok(), !VerbsFabric::Addresses().empty()) << any.status();
  if (!any.ok()) {
    EXPECT_EQ(any.status().code(), absl::StatusCode::kNotFound);
    EXPECT_NE(any.status().message().find("RDMA device"), std::string::npos) << any.status();
  }
  EXPECT_EQ(VerbsFabric::Create({.clock = &clock, .device = "no_such_card"}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(VerbsFabricTest, OptionsOutOfRangeAreRefused) {
  RealClock clock;
  for (const VerbsFabric::Options& options :
       {VerbsFabric::Options{.clock = &clock, .send_queue_depth = 0},
        VerbsFabric::Options{.clock = &clock, .send_queue_depth = 1 << 20},
        VerbsFabric::Options{.clock = &clock, .receive_queue_depth = 1},
        VerbsFabric::Options{.clock = &clock, .receive_queue_depth = 1 << 20},
        VerbsFabric::Options{.clock = &clock, .inline_bytes_max = 1 << 20},
        VerbsFabric::Options{.clock = &clock, .address = "not an address"}}) {
    EXPECT_EQ(VerbsFabric::Create(options).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(VerbsEndpointTest, OnlyEndpointsAreTaken) {
  for (const std::string good : {"10.9.9.1", "fd00::1"}) {
    const bool is_v6 = good.find(':') != std::string::npos;
    const auto parsed = ParseVerbsEndpoint("verbs:" + (is_v6 ? "[" + good + "]" : good) + ":4711");
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->Host(), good);
  }
  for (const char* bad : {"", "verbs:", "shm:x", "verbs:10.9.9.1", "verbs:10.9.9.1:", "verbs::1",
                          "verbs:10.9.9.1:0", "verbs:10.9.9.1:65536", "verbs:10.9.9.1:-1",
                          "verbs:[fd00::1:4711", "verbs:name:4711", "verbs:4711"}) {
    EXPECT_EQ(ParseVerbsEndpoint(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace acre::transport
