// How clients come to take locks by themselves, and go (docs/updates.md, "Taking part"): one that goes at any step of
// it, many at once, one that the server does not answer, a server that stops meanwhile. With ways_trusted_*.cc.

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
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
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "tests/or_die.h"
#include "tests/process.h"

namespace acre::tests {
namespace {

constexpr uint64_t kPatienceNs = 60'000'000'000;

Way WayOfWriters() {
  for (const Way& way : AllWays()) {
    if (way.put_path == PutPath::kOneSided) return way;
  }
  LOG(FATAL) << "no way to write by oneself";
}

// A client whose thread does only what it is told.
struct SteppedClient {
  explicit SteppedClient(const ClientOptions& options) {
    auto connected = scheduler.RunUntilDone(AsyncClient::Connect(&scheduler, options));
    CHECK(connected.ok()) << connected.status();
    client = *std::move(connected);
  }
  ~SteppedClient() {
    for (SpawnHandle& put : puts) put.Cancel();
  }
  // `status` outlives the client.
  void StartPut(std::string key, absl::Status* status) {
    puts.push_back(scheduler.Spawn(PutInto(std::move(key), status)));
  }
  bool AreOver() const {
    for (const SpawnHandle& put : puts) {
      if (!put.done()) return false;
    }
    return true;
  }
  Task<void> PutInto(std::string key, absl::Status* status) {
    const absl::Status put = co_await client->Put(key, "value");
    *status = put;
  }

  RealClock clock;
  Scheduler scheduler{{.clock = &clock}};
  std::unique_ptr<AsyncClient> client;
  std::vector<SpawnHandle> puts;
};

class JoiningTest : public testing::Test {
 protected:
  ClientOptions OptionsOfWriters() const { return OptionsFor(server_->address(), WayOfWriters()); }
  std::unique_ptr<Client> Caller() {
    return ConnectOrDie(server_->address(),
                        {Path::kRpc, WayOfWriters().fabric.c_str(), PutPath::kRpc});
  }
  void Await(const std::string& what, const std::function<bool()>& is_so) {
    RealClock clock;
    const uint64_t give_up_ns = clock.NowNs() + kPatienceNs;
    while (!is_so()) CHECK_LT(clock.NowNs(), give_up_ns) << what;
  }
  // Nobody takes part any more, and nobody was killed for it; what the server holds open is down to `descriptors`.
  void AwaitNobody(Client* caller, int descriptors) {
    Await("writers go", [&] { return StatOf(caller, "writers") == 0; });
    Await("each end is known",
          [&] { return StatOf(caller, "writers_fenced") == StatOf(caller, "writers_joined"); });
    Await("connections go", [&] { return server_->process().DescriptorsCount() <= descriptors; });
    EXPECT_EQ(StatOf(caller, "writers_killed"), 0u);
  }
  // What it holds open after somebody was there and has gone. As long as that becomes less he is on his way.
  int DescriptorsAfterAVisit(Client* caller) {
    const int before = server_->process().DescriptorsCount();
    ExpectOneCanJoin();
    Await("the visitor goes", [&] { return StatOf(caller, "writers") == 0; });
    Await("each end is known",
          [&] { return StatOf(caller, "writers_fenced") == StatOf(caller, "writers_joined"); });
    // Threads and epoll sets that a fabric keeps from its first connection on.
    constexpr int kKeptMax = 8;
    Await("the visitor's connections go",
          [&] { return server_->process().DescriptorsCount() <= before + kKeptMax; });
    return before + kKeptMax;
  }
  // And updates.
  void ExpectOneCanJoin() {
    const auto writer = ConnectOrDie(OptionsOfWriters());
    ASSERT_EQ(writer->Put("key", "first"), absl::OkStatus());
    ASSERT_EQ(writer->Put("key", "second"), absl::OkStatus());
    EXPECT_GE(writer->writer_stats().updates, 1u);
  }

  const std::unique_ptr<KvServer> server_ = StartOrDie({.more = {"--threads=2"}});
};

// Goal: a client that goes before, between, or behind any steps of joining, or in the middle of its first updates,
// leaves the home as it was; on shm it is not taken for dead, which would end this process.
TEST_F(JoiningTest, WhoGoesAtAnyStepLeavesNothing) {
  const auto caller = Caller();
  const int descriptors = DescriptorsAfterAVisit(caller.get());
  // How many steps there are, at most: those of whole ones, more or less as many each time.
  uint64_t steps = 0;
  absl::Status status[2];
  {
    SteppedClient whole(OptionsOfWriters());
    for (absl::Status& of : status) whole.StartPut("key", &of);
    for (; !whole.AreOver(); ++steps) whole.scheduler.RunOnce();
  }
  for (const absl::Status& of : status) EXPECT_EQ(of, absl::OkStatus());
  constexpr uint64_t kTries = 60;
  uint64_t cut_off = 0;
  for (uint64_t i = 0; i < kTries; ++i) {
    SCOPED_TRACE(i);
    {
      SteppedClient client(OptionsOfWriters());
      for (absl::Status& of : status) client.StartPut("key", &of);
      const uint64_t last = steps * i / kTries;
      for (uint64_t step = 0; step < last && !client.AreOver(); ++step) client.scheduler.RunOnce();
      if (!client.AreOver()) ++cut_off;
    }
    if (i % 10 == 0) AwaitNobody(caller.get(), descriptors);
  }
  EXPECT_GT(cut_off, kTries / 4);
  AwaitNobody(caller.get(), descriptors);
  ExpectOneCanJoin();
  EXPECT_EQ(caller->Put("key", "by call"), absl::OkStatus()) << "its lock is free";
}

// Goal: all Puts that await the same attempt to join are told when it fails; the next one tries again.
TEST_F(JoiningTest, PutsThatAwaitOneAttemptAreAllTold) {
  ASSERT_EQ(Caller()->Put("key", "before"), absl::OkStatus());
  ClientOptions options = OptionsOfWriters();
  options.path = Path::kRpc;
  options.connect_timeout_ms = 2'000;
  options.operation_timeout_ms = 30'000;
  SteppedClient client(options);
  server_->process().Freeze();
  absl::Status status[3];
  for (absl::Status& of : status) client.StartPut("key", &of);
  while (!client.AreOver()) client.scheduler.RunOnce();
  for (const absl::Status& of : status) EXPECT_FALSE(of.ok());
  server_->process().Signal(SIGCONT);
  absl::Status later = absl::UnknownError("");
  Await("it joins after all", [&] {
    client.StartPut("key", &later);
    while (!client.AreOver()) client.scheduler.RunOnce();
    return later.ok();
  });
  EXPECT_GE(client.client->writer_stats().updates, 1u);
}

// Goal: as many as come at once take part, and go, and nothing is left of them.
TEST_F(JoiningTest, ACrowdComesAndGoes) {
  const auto caller = Caller();
  const int descriptors = DescriptorsAfterAVisit(caller.get());
  const uint64_t joined_before = StatOf(caller.get(), "writers_joined");
  constexpr uint64_t kClients = 32;
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kClients; ++i) {
    threads.emplace_back([&] {
      ClientOptions options = OptionsOfWriters();
      options.connect_timeout_ms = options.operation_timeout_ms = 60'000;
      const auto client = ConnectOrDie(options);
      for (int put = 0; put < 3; ++put)
        CHECK_EQ(client->Put("key", "of the crowd"), absl::OkStatus());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(StatOf(caller.get(), "writers_joined"), joined_before + kClients);
  AwaitNobody(caller.get(), descriptors);
  EXPECT_EQ(caller->Put("key", "by call"), absl::OkStatus());
  ExpectOneCanJoin();
}

// Goal: a server that stops while it buries somebody ends in order, and one that begins anew knows nothing of it.
TEST_F(JoiningTest, AServerThatStopsDuringABurial) {
  ASSERT_EQ(Caller()->Put("key", "before"), absl::OkStatus());
  for (int round = 0; round < 3; ++round) {
    // A process of its own, that updates till it is killed. No thread of ours runs when it is made.
    const pid_t hammer = fork();
    PCHECK(hammer >= 0);
    if (hammer == 0) {
      const auto client = ConnectOrDie(OptionsOfWriters());
      while (true) (void)client->Put("key", "of the hammer");
    }
    {
      const auto caller = Caller();
      Await("it takes part", [&] { return StatOf(caller.get(), "writers") == 1; });
    }
    PCHECK(kill(hammer, SIGKILL) == 0);
    EXPECT_EQ(server_->Stop().exit_code, 0);
    PCHECK(waitpid(hammer, nullptr, 0) == hammer);
    ASSERT_EQ(server_->StartAgain(), absl::OkStatus());
    ExpectOneCanJoin();
  }
}

}  // namespace
}  // namespace acre::tests
