// Locks by name as users have them: clients in processes and threads of their own, a server, kill -9.

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/client.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/deadline.h"
#include "runtime/scheduler.h"
#include "tests/process.h"
#include "tests/test_cluster.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

constexpr uint64_t kNsPerMs = 1'000'000;

std::unique_ptr<Client> ConnectTo(const std::vector<std::string>& servers,
                                  const std::string& fabric = "auto", Path path = Path::kAuto) {
  ClientOptions options;
  options.servers = servers;
  options.fabric = fabric;
  options.path = path;
  auto client = Client::Connect(options);
  CHECK(client.ok()) << client.status();
  return *std::move(client);
}

// A kv_cli that reads commands from us, one a line.
class CliShell {
 public:
  explicit CliShell(const std::string& server) {
    // The pipe keeps its standard input open: the shell lives till it is killed.
    auto process = Process::Start(
        {"/bin/sh", "-c",
         absl::StrCat(
             "mkfifo \"$TEST_TMPDIR/in.$$\" && echo ready $$ && exec client/kv_cli --servers=",
             server, " < \"$TEST_TMPDIR/in.$$\"")});
    CHECK(process.ok()) << process.status();
    process_ = *std::move(process);
    const auto ready = process_->WaitForOutput("ready");
    CHECK(ready.ok()) << ready.status();
    const std::vector<std::string> words = absl::StrSplit(*ready, ' ');
    input_ = fopen(absl::StrCat(getenv("TEST_TMPDIR"), "/in.", words[1]).c_str(), "w");
    CHECK(input_ != nullptr);
  }
  ~CliShell() { fclose(input_); }

  // Sends a line, and waits for the line of the answer with this text.
  std::string Ask(const std::string& line, const std::string& text) {
    fprintf(input_, "%s\n", line.c_str());
    fflush(input_);
    const auto answer = process_->WaitForOutput(text);
    CHECK(answer.ok()) << answer.status();
    return *answer;
  }
  void Kill() {
    process_->Signal(SIGKILL);
    EXPECT_EQ(process_->Wait().signal, SIGKILL);
  }

 private:
  std::unique_ptr<Process> process_;
  FILE* input_;
};

class LocksTest : public testing::TestWithParam<const char*> {
 protected:
  LocksTest() {
    auto server = KvServer::Start({.more = {"--threads=2"}});
    CHECK(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  std::unique_ptr<Client> Connect(const std::string& fabric = "auto") {
    return ConnectTo({server_->address()}, fabric);
  }
  // Asks the server till its locks, as text, are as wanted.
  template <class IsWanted>
  std::string LocksWhen(Client* client, const IsWanted& is_wanted) {
    RealClock clock;
    const uint64_t give_up_ns = clock.NowNs() + 30'000 * kNsPerMs;
    std::string text;
    do {
      CHECK_LT(clock.NowNs(), give_up_ns) << text;
      text = client->Locks().value();
    } while (!is_wanted(text));
    return text;
  }
  static bool HasText(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  std::unique_ptr<KvServer> server_;
};

class LocksOnFabric : public LocksTest {};
INSTANTIATE_TEST_SUITE_P(Fabrics, LocksOnFabric, testing::Values("shm", "tcp"),
                         [](const auto& of) { return std::string(of.param); });

TEST_P(LocksOnFabric, HeldByOneAtATimeWithRisingTokens) {
  const auto one = Connect(GetParam());
  const auto other = Connect(GetParam());
  uint64_t last_token = 0;
  for (int round = 0; round < 20; ++round) {
    Client* const holder = round % 2 == 0 ? one.get() : other.get();
    Client* const rival = round % 2 == 0 ? other.get() : one.get();
    const NamedLock held = holder->Lock("a lock").value();
    EXPECT_GT(held.token, last_token);
    last_token = held.token;
    EXPECT_FALSE(rival->TryLock("a lock").value().has_value());
    EXPECT_FALSE(holder->TryLock("a lock").value().has_value()) << "it is not reentrant";
    EXPECT_TRUE(absl::IsDeadlineExceeded(rival->Lock("a lock", 1).status()));
    EXPECT_TRUE(rival->TryLock(absl::StrCat("another ", round)).value().has_value());
    EXPECT_TRUE(holder->Unlock(held).ok());
    EXPECT_TRUE(absl::IsFailedPrecondition(holder->Unlock(held))) << "given back once";
  }
  EXPECT_THAT(one->Locks().value(), HasSubstr("lock \"another 1\" held_by"));
}

// Goal: many clients' threads, one lock: a number that each raises without any atomic comes out right.
TEST_P(LocksOnFabric, ManyThreadsExcludeEachOther) {
  constexpr int kThreads = 6;
  constexpr int kRounds = 60;
  const auto watcher = Connect(GetParam());
  ASSERT_TRUE(watcher->Put("count", "0").ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this] {
      const auto client = Connect(GetParam());
      for (int round = 0; round < kRounds; ++round) {
        const NamedLock held = client->Lock("counter's").value();
        const int count = std::stoi(client->Get("count").value());
        EXPECT_TRUE(client->Put("count", std::to_string(count + 1)).ok());
        EXPECT_TRUE(client->Unlock(held).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(watcher->Get("count").value(), std::to_string(kThreads * kRounds));
  EXPECT_EQ(watcher->Locks().value(), "");
}

// Goal: kill -9 of the holder: its lock is the next one's, who had waited, and the dead one's waiting place too.
TEST_F(LocksTest, DeadClientsLockBecomesFreeByItself) {
  const auto client = Connect();
  auto holder = std::make_unique<CliShell>(server_->address());
  auto waiter = std::make_unique<CliShell>(server_->address());
  const std::string token = holder->Ask("lock precious", "token ");
  std::thread blocked([&] { waiter->Ask("lock precious", "token "); });
  LocksWhen(client.get(), [](const std::string& text) { return HasText(text, "waiters 1"); });
  std::atomic<bool> has_it{false};
  std::thread second([&] {
    const auto own = Connect();
    const NamedLock held = own->Lock("precious").value();
    EXPECT_GT(absl::StrCat("token ", held.token), token);
    has_it = true;
    EXPECT_TRUE(own->Unlock(held).ok());
  });
  LocksWhen(client.get(), [](const std::string& text) { return HasText(text, "waiters 2"); });
  EXPECT_FALSE(has_it);
  holder->Kill();
  blocked.join();
  EXPECT_FALSE(has_it) << "first come, first served";
  waiter->Kill();
  second.join();
  EXPECT_TRUE(has_it);
  LocksWhen(client.get(), [](const std::string& text) { return text.empty(); });
}

// Goal: locks are listed with holder, waiters and ages; force-unlock wants the holder's token; who is robbed learns
// it.
TEST_F(LocksTest, ForcedOpenByItsTokenOnly) {
  const auto holder = Connect();
  const NamedLock held = holder->Lock("stuck \"here\"").value();
  std::thread waiting([&] {
    const auto waiter = Connect();
    const NamedLock got = waiter->Lock("stuck \"here\"").value();
    EXPECT_GT(got.token, held.token);
    EXPECT_TRUE(waiter->Unlock(got).ok());
  });
  const auto client = Connect();
  const std::string listed =
      LocksWhen(client.get(), [](const std::string& text) { return HasText(text, "awaited_by"); });
  EXPECT_THAT(listed, HasSubstr("lock \"stuck \\\"here\\\"\" held_by client_"));
  EXPECT_THAT(listed, HasSubstr(absl::StrCat(" token ", held.token, " held_ms ")));
  EXPECT_THAT(listed, HasSubstr("cohort local waiters 1"));
  EXPECT_TRUE(absl::IsFailedPrecondition(client->ForceUnlock(held.name, held.token - 1)));
  EXPECT_TRUE(absl::IsNotFound(client->ForceUnlock("no such lock", 1)));
  EXPECT_TRUE(client->ForceUnlock(held.name, held.token).ok());
  waiting.join();
  const absl::Status robbed = holder->Unlock(held);
  EXPECT_TRUE(absl::IsFailedPrecondition(robbed)) << robbed;
  EXPECT_THAT(std::string(robbed.message()), HasSubstr("lost"));
  EXPECT_THAT(client->ServerStats().value(), HasSubstr("locks_forced 1\n"));
}

Task<void> LockAndGiveUp(AsyncClient* client, Scheduler* scheduler) {
  for (int round = 0; round < 30; ++round) {
    Task<absl::StatusOr<NamedLock>> lock = client->Lock("given up");
    const auto deadline_ns = scheduler->NowNs() + static_cast<uint64_t>(round) * 20'000;
    const absl::StatusOr<NamedLock> held =
        co_await WithDeadline(*scheduler, deadline_ns, std::move(lock));
    if (held.ok()) {
      const absl::Status released = co_await client->Unlock(*held);
      CHECK(released.ok()) << released;
    }
  }
  // Comes behind all that was taken back on the way.
  const absl::StatusOr<NamedLock> last = co_await client->Lock("given up");
  CHECK(last.ok()) << last.status();
  const absl::Status released = co_await client->Unlock(*last);
  CHECK(released.ok()) << released;
}

// Goal: a Lock() that is destroyed at any moment leaves nothing at the server.
TEST_F(LocksTest, GivenUpOnTheWayLeavesNothing) {
  RealClock clock;
  Scheduler scheduler({.clock = &clock});
  ClientOptions options;
  options.servers = {server_->address()};
  {
    auto client = scheduler.RunUntilDone(AsyncClient::Connect(&scheduler, options));
    ASSERT_TRUE(client.ok()) << client.status();
    scheduler.RunUntilDone(LockAndGiveUp(client->get(), &scheduler));
    const auto watcher = Connect();
    const NamedLock held = watcher->Lock("given up").value();
    EXPECT_TRUE(watcher->Unlock(held).ok());
    // What it has taken back on the way was sent while its scheduler ran.
    LocksWhen(watcher.get(), [](const std::string& text) { return text.empty(); });
  }
}

Task<void> LockUnlock(AsyncClient* client, int* done) {
  const absl::StatusOr<NamedLock> held = co_await client->Lock("popular");
  CHECK(held.ok()) << held.status();
  const absl::Status released = co_await client->Unlock(*held);
  CHECK(released.ok()) << released;
  ++*done;
}

// Goal: more tasks of one client want a lock than calls may wait at once: those that hold it still get on.
TEST_F(LocksTest, ManyTasksOfOneClientDoNotLockThemselvesOut) {
  RealClock clock;
  Scheduler scheduler({.clock = &clock});
  ClientOptions options;
  options.servers = {server_->address()};
  auto client = scheduler.RunUntilDone(AsyncClient::Connect(&scheduler, options));
  ASSERT_TRUE(client.ok()) << client.status();
  constexpr int kTasks = 1500;
  int done = 0;
  std::vector<SpawnHandle> tasks;
  for (int i = 0; i < kTasks; ++i) {
    tasks.push_back(scheduler.Spawn(LockUnlock(client->get(), &done)));
  }
  while (done < kTasks) scheduler.RunOnce();
}

// Goal: a server that is restarted has no locks, who held one learns it, and tokens go on rising.
TEST_F(LocksTest, RestartedServerKnowsNoLocks) {
  const auto client = Connect();
  const NamedLock held = client->Lock("over a restart").value();
  server_->Kill();
  const absl::Status started = server_->StartAgain();
  ASSERT_TRUE(started.ok()) << started;
  // The first call may be the one that finds the connection broken, and says so.
  absl::Status lost = client->Unlock(held);
  if (absl::IsUnavailable(lost)) lost = client->Unlock(held);
  EXPECT_TRUE(absl::IsFailedPrecondition(lost)) << lost;
  const NamedLock anew = client->Lock("over a restart").value();
  EXPECT_GT(anew.token, held.token);
}

// Goal: in a cluster a lock is at one server, the same for all clients.
TEST(LocksOfClusterTest, LocksAreSpreadOverServers) {
  TestCluster cluster(3);
  const auto one = ConnectTo(cluster.addresses);
  const auto other = ConnectTo({cluster.addresses[1]});
  std::vector<NamedLock> held;
  for (int i = 0; i < 30; ++i) held.push_back(one->Lock(absl::StrCat("lock ", i)).value());
  for (const NamedLock& lock : held) EXPECT_FALSE(other->TryLock(lock.name).value().has_value());
  int servers_with_locks = 0;
  for (const std::string& server : one->Servers()) {
    servers_with_locks += one->Locks(server).value().empty() ? 0 : 1;
  }
  EXPECT_EQ(servers_with_locks, 3);
  for (const NamedLock& lock : held) EXPECT_TRUE(one->Unlock(lock).ok());
}

TEST_F(LocksTest, PathTcpSaysThatItHasNone) {
  const auto client = ConnectTo({server_->address()}, "auto", Path::kTcp);
  const absl::Status status = client->Lock("any").status();
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_TRUE(absl::IsInvalidArgument(Connect()->Lock("").status()));
}

}  // namespace
}  // namespace acre::tests
