// What a client picks where there are RDMA cards, and what it says when it cannot. Needs two cards.

#include <memory>
#include <string>

#include "client/client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/or_die.h"

namespace acre::tests {
namespace {

TEST(VerbsOnlyTest, ClientTakesTheBestThatReachesAndSaysWhich) {
  const auto both = StartOrDie({.more = {"--fabric=verbs,tcp"}});
  EXPECT_EQ(ConnectOrDie(both->address(), Path::kAuto)->fabric(), "verbs");
  EXPECT_EQ(ConnectOrDie(both->address(), Path::kAuto)->path(), Path::kOneSided);
  EXPECT_EQ(ConnectOrDie(both->address(), {Path::kAuto, "tcp"})->fabric(), "tcp");
  const auto all = StartOrDie();
  EXPECT_EQ(ConnectOrDie(all->address(), Path::kAuto)->fabric(), "shm");
}

TEST(VerbsOnlyTest, VerbsThatTheServerDoesNotOfferIsAnError) {
  const auto server = StartOrDie({.more = {"--fabric=shm,tcp", "--device="}});
  const absl::Status status =
      Client::Connect(OptionsFor(server->address(), {Path::kAuto, "verbs"})).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("verbs"));
}

TEST(VerbsOnlyTest, CardThatIsNotThereIsAnError) {
  const auto server = StartOrDie({.more = {"--fabric=verbs,tcp"}});
  for (const char* fabric : {"verbs", "auto"}) {
    ClientOptions options = OptionsFor(server->address(), {Path::kAuto, fabric});
    options.device = "rxe7";
    const absl::Status status = Client::Connect(options).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("rxe7"));
  }
}

// Goal: a server that has only cards is whole: memory of its own at the card, with a lease.
TEST(VerbsOnlyTest, ServerOfVerbsAloneWorks) {
  const auto server = StartOrDie({.more = {"--fabric=verbs"}});
  const auto client = ConnectOrDie(server->address(), {Path::kAuto, "verbs"});
  EXPECT_EQ(client->Put("key", std::string(5'000, 'x')), absl::OkStatus());
  EXPECT_EQ(client->Get("key").value(), std::string(5'000, 'x'));
  const Outcome outcome = server->Stop();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
}

}  // namespace
}  // namespace acre::tests
