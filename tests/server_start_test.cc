// Starts that fail late.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/system_random.h"
#include "runtime/wall_clock.h"
#include "server/server.h"
#include "transport/socket.h"

namespace acre::tests {
namespace {

using server::Server;
using server::ServerOptions;

// Goal: a server whose port is taken from under it while it starts has served nobody, and the next one does not
// take it for a dead one, whose records were lost and whose lease is to be waited for.
TEST(ServerStartTest, StartThatFailsAtTheDoorIsNoDeath) {
  RealClock clock;
  auto rival = transport::BindSocket(transport::Resolve({"127.0.0.1", 0}).value().front());
  ASSERT_TRUE(rival.ok()) << rival.status();
  const transport::HostPort address =
      transport::ParseHostPort(transport::LocalAddress(rival->get()).ToString()).value();
  const auto options_saying = [&](std::vector<std::string>* said) {
    ServerOptions options;
    options.listen = address;
    options.memory_bytes = uint64_t{16} << 20;
    options.huge_pages = transport::HugePages::kOff;
    options.death_marks = false;
    options.state_dir = testing::TempDir() + "/state";
    options.clock = &clock;
    options.fill_random = FillSystemRandom;
    options.wall_ns = WallClockNs;
    options.say = [said](absl::string_view line) { said->emplace_back(line); };
    return options;
  };
  std::vector<std::string> said;
  ServerOptions late = options_saying(&said);
  bool is_taken = false;
  // Both are bound; the rival listens first. Asked while memory is made, behind Bind().
  late.stop_requested = [&] {
    if (!is_taken) is_taken = transport::StartListening(rival->get()).ok();
    return false;
  };
  const absl::Status failed = Server::Start(std::move(late)).status();
  ASSERT_TRUE(absl::IsAlreadyExists(failed)) << failed;
  ASSERT_TRUE(is_taken);
  rival->Close();
  said.clear();
  const auto next = Server::Start(options_saying(&said));
  ASSERT_TRUE(next.ok()) << next.status();
  for (const std::string& line : said) {
    EXPECT_FALSE(absl::StrContains(line, "did not stop cleanly")) << line;
  }
}

}  // namespace
}  // namespace acre::tests
