// What a client picks where there are RDMA cards, and what it says when it cannot. Needs two cards.

#include <stdio.h>

#include <array>
#include <barrier>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "glog/logging.h"
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

// ---- Threads that share queue pairs.

// Of all processes on all cards: "0: rxe0: pd 2 cq 1 qp 1 cm_id 0 mr 0 ctx 1".
int QueuePairsAtCards() {
  FILE* const pipe = popen("/bin/rdma resource show", "r");
  CHECK(pipe != nullptr);
  int sum = 0;
  std::array<char, 256> line;
  while (fgets(line.data(), line.size(), pipe) != nullptr) {
    const char* const count = strstr(line.data(), " qp ");
    if (count != nullptr) sum += atoi(count + 4);
  }
  CHECK_EQ(pclose(pipe), 0);
  return sum;
}

// Runs `work` on so many threads, each with a client of its own on path `way`, all connected before any begins.
void RunClients(const std::string& address, const Way& way, uint32_t threads_per_qp, int count,
                const std::function<void(int, Client*)>& work,
                const std::function<void()>& once_connected) {
  ClientOptions options = OptionsFor(address, way);
  options.threads_per_qp = threads_per_qp;
  std::barrier connected(count + 1);
  std::barrier seen(count + 1);
  std::vector<std::thread> threads;
  for (int t = 0; t < count; ++t) {
    threads.emplace_back([&, t] {
      const auto client = Client::Connect(options);
      CHECK(client.ok()) << client.status();
      connected.arrive_and_wait();
      seen.arrive_and_wait();
      work(t, client->get());
    });
  }
  connected.arrive_and_wait();
  once_connected();
  seen.arrive_and_wait();
  for (std::thread& thread : threads) thread.join();
}

// Goal: each thread reads and writes as if it were alone, through one queue pair of the card for all of them;
// whether the server's threads share theirs or not.
TEST(VerbsOnlyTest, ThreadsThatShareAQueuePairReadAndWrite) {
  constexpr int kThreads = 4;
  for (const char* server_sharing : {"--threads_per_qp=1", "--threads_per_qp=2"}) {
    SCOPED_TRACE(server_sharing);
    const auto server = StartOrDie({.more = {"--fabric=verbs", "--threads=2", server_sharing}});
    const int before = QueuePairsAtCards();
    for (const Path path : {Path::kOneSided, Path::kRpc}) {
      RunClients(
          server->address(), {path, "verbs"}, /*threads_per_qp=*/32, kThreads,
          [](int t, Client* client) {
            for (int i = 0; i < 50; ++i) {
              const std::string key = absl::StrCat("thread ", t, " key ", i % 10);
              const std::string value = absl::StrCat(t, ":", i, std::string(i * 100, 'x'));
              ASSERT_EQ(client->Put(key, value), absl::OkStatus());
              ASSERT_EQ(client->Get(key).value(), value);
            }
            const std::string key = absl::StrCat("thread ", t, " key 9");
            const std::vector<absl::string_view> keys(32, key);
            for (const auto& value : client->MultiGet(keys))
              ASSERT_TRUE(value.ok()) << value.status();
          },
          [before] { EXPECT_EQ(QueuePairsAtCards(), before + 2) << "one at each side"; });
      RunClients(
          server->address(), {path, "verbs"}, 1, 2, [](int, Client*) {},
          [before] { EXPECT_EQ(QueuePairsAtCards(), before + 4) << "two at each side"; });
    }
  }
}

// Goal: one of them that goes, in whatever order, takes nothing of the others along.
TEST(VerbsOnlyTest, ThreadsThatShareAQueuePairComeAndGo) {
  const auto server = StartOrDie({.more = {"--fabric=verbs"}});
  ClientOptions options = OptionsFor(server->address(), {Path::kOneSided, "verbs"});
  options.threads_per_qp = 3;
  const auto stays = Client::Connect(options);
  ASSERT_TRUE(stays.ok()) << stays.status();
  ASSERT_EQ((*stays)->Put("key", "value"), absl::OkStatus());
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&options, t] {
      for (int round = 0; round < 15; ++round) {
        const auto client = Client::Connect(options);
        CHECK(client.ok()) << client.status();
        const std::string key = absl::StrCat("thread ", t);
        CHECK_EQ((*client)->Put(key, absl::StrCat(round)), absl::OkStatus());
        CHECK_EQ((*client)->Get(key).value(), absl::StrCat(round));
      }
    });
  }
  for (int i = 0; i < 300; ++i) ASSERT_EQ((*stays)->Get("key").value(), "value");
  for (std::thread& thread : threads) thread.join();
  ASSERT_EQ((*stays)->Get("key").value(), "value");
}

}  // namespace
}  // namespace acre::tests
