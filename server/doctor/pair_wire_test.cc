#include "server/doctor/pair_wire.h"

#include <string>

#include "gtest/gtest.h"
#include "transport/wire_bytes.h"

namespace acre::doctor {
namespace {

TEST(PairWireTest, IntroductionsComeThrough) {
  const Introduction sent = {"0b1f-22", {"shm", "verbs", "tcp"}};
  const auto came = ParseIntroduction(EncodeIntroduction(sent));
  ASSERT_TRUE(came.ok()) << came.status();
  EXPECT_EQ(came->boot_id, sent.boot_id);
  EXPECT_EQ(came->fabrics, sent.fabrics);
}

TEST(PairWireTest, NonsenseIsRefused) {
  for (const std::string& bytes :
       {std::string(), std::string("boot"), std::string("boot "), std::string(" tcp"),
        std::string("boot tcp,"), std::string("boot tcp more"), std::string("boot t\033[2J"),
        std::string("boot \0", 6), std::string("boot a,b,c,d,e,f,g,h,i"),
        "boot " + std::string(1000, 'a')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseIntroduction(bytes).status())) << bytes;
  }
  for (const AreaWire& area : {AreaWire{0, 128}, AreaWire{1, 127}}) {
    std::string bytes;
    transport::AppendWire(&bytes, area);
    EXPECT_TRUE(absl::IsInvalidArgument(ParseArea(bytes).status()));
  }
  for (const size_t size : {0, 15, 17, 23, 25}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseArea(std::string(size, '\1')).status())) << size;
    EXPECT_TRUE(absl::IsInvalidArgument(ParseTrial(std::string(size, '\1')).status())) << size;
  }
}

}  // namespace
}  // namespace acre::doctor
