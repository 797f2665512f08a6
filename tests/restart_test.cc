// Servers that stop, die and come back, and what their clients then see.

#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/scoped_fd.h"
#include "tests/or_die.h"
#include "tests/process.h"
#include "transport/socket.h"

namespace acre::tests {
namespace {

// Fewer than this many calls in a row may fail on a server that is there again.
constexpr int kCallsToReconnectMax = 5;

class RestartTest : public testing::TestWithParam<Way> {};

// The reader does nothing while its server is killed, restarted and written to by somebody else; what it
// reads then is the new value, or Unavailable. Never the old one. Fewer than `failures_max` calls in a row
// may fail on a server that is there.
void SleepThroughRestarts(const Way& way, std::vector<std::string> server_flags, int failures_max) {
  const auto server = StartOrDie({.more = std::move(server_flags)});
  auto reader = ConnectOrDie(server->address(), way);
  for (int round = 0; round < 5; ++round) {
    const auto old_writer = ConnectOrDie(server->address(), Path::kRpc);
    ASSERT_EQ(old_writer->Put("key", absl::StrCat("old", round)), absl::OkStatus());
    absl::StatusOr<std::string> seen = reader->Get("key");
    for (int i = 0; i < failures_max && !seen.ok(); ++i) seen = reader->Get("key");
    ASSERT_TRUE(seen.ok()) << seen.status();
    ASSERT_EQ(*seen, absl::StrCat("old", round));

    server->Kill();
    ASSERT_EQ(server->StartAgain(), absl::OkStatus());
    const auto new_writer = ConnectOrDie(server->address(), Path::kRpc);
    ASSERT_EQ(new_writer->Put("key", absl::StrCat("new", round)), absl::OkStatus());

    seen = reader->Get("key");
    for (int i = 0; i < failures_max && !seen.ok(); ++i) {
      ASSERT_TRUE(absl::IsUnavailable(seen.status())) << seen.status();
      EXPECT_NE(seen.status().message().find(server->address()), absl::string_view::npos)
          << seen.status();
      seen = reader->Get("key");
    }
    ASSERT_TRUE(seen.ok()) << seen.status();
    EXPECT_EQ(*seen, absl::StrCat("new", round));
  }
}

// Goal: the promise of death marks.
TEST_P(RestartTest, ReaderThatSleptThroughARestartNeverSeesTheOldValue) {
  SleepThroughRestarts(GetParam(), {}, kCallsToReconnectMax);
}

// Goal: the same promise, kept by leases.
TEST_P(RestartTest, WithoutMarksItNeverSeesTheOldValueEither) {
  // A server that renews its lease late, on a busy machine, fails calls till it does.
  SleepThroughRestarts(GetParam(), {"--death_marks=false", "--lease_ms=500"}, 100'000);
}

// Goal: after a death the next server waits for the dead one's lease if it had one, whatever its own is.
TEST(LeaseTest, StartAfterADeathWaitsForALeaseOnly) {
  for (const bool has_marks : {true, false}) {
    const auto server = StartOrDie(
        {.more = {"--lease_ms=2000", has_marks ? "--death_marks=true" : "--death_marks=false"}});
    const auto client = ConnectOrDie(server->address(), Path::kRpc);
    const absl::StatusOr<std::string> stats = client->ServerStats();
    ASSERT_TRUE(stats.ok()) << stats.status();
    EXPECT_TRUE(absl::StrContains(*stats, has_marks ? "death_marks 1\n" : "death_marks 0\n"));
    server->Kill();
    RealClock clock;
    const uint64_t start_ns = clock.NowNs();
    ASSERT_EQ(server->StartAgain(), absl::OkStatus());
    if (!has_marks) {
      EXPECT_GE(clock.NowNs() - start_ns, 2'000'000'000u);
    }
    const Outcome outcome = server->Stop();
    EXPECT_TRUE(absl::StrContains(outcome.stderr_text, "its records are lost"));
    EXPECT_EQ(absl::StrContains(outcome.stderr_text, "lease is over, in 2000 ms"), !has_marks)
        << outcome.stderr_text;
    EXPECT_TRUE(absl::StrContains(outcome.stdout_text,
                                  has_marks ? "deaths marked by the kernel" : "lease 2000 ms"))
        << outcome.stdout_text;
  }
}

TEST_P(RestartTest, CallsFailWhileTheServerIsGoneAndSucceedAfter) {
  const auto server = StartOrDie();
  const auto client = ConnectOrDie(server->address(), GetParam());
  ASSERT_EQ(client->Put("key", "1"), absl::OkStatus());
  KillAndOutliveLease(server.get(), client.get(), "key");
  // Each of these finds out by itself or tries to connect: either way it fails.
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(absl::IsUnavailable(client->Put("key", "2")));
  const absl::Status status = client->Get("key").status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  ASSERT_EQ(server->StartAgain(), absl::OkStatus());
  absl::Status put = client->Put("key", "3");
  ASSERT_EQ(put, absl::OkStatus());
  EXPECT_EQ(client->Get("key").value(), "3");
}

// Goal: readers need not wait for the lease when a server stops cleanly.
TEST_P(RestartTest, CleanStopIsSeenAtOnceAndNobodyWaits) {
  const auto server = StartOrDie({.more = {"--death_marks=false", "--lease_ms=10000"}});
  const auto client = ConnectOrDie(server->address(), GetParam());
  ASSERT_EQ(client->Put("key", "1"), absl::OkStatus());
  const Outcome outcome = server->Stop();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
  EXPECT_TRUE(absl::IsUnavailable(client->Get("key").status()));
  RealClock clock;
  const uint64_t start_ns = clock.NowNs();
  ASSERT_EQ(server->StartAgain(), absl::OkStatus());
  EXPECT_LT(clock.NowNs() - start_ns, 8'000'000'000u) << "it waited for a lease that nobody has";
  absl::Status put = client->Put("key", "2");
  EXPECT_EQ(put, absl::OkStatus());
}

// Goal: however the server ends, nobody reads its memory any more once somebody else can have its port: who
// listens there next may hold newer values.
TEST(PortTest, WhoeverHasThePortNextFindsReadersRefused) {
  const std::vector<std::vector<int>> ends = {{SIGTERM}, {SIGKILL}, {SIGTERM, SIGKILL}};
  for (int round = 0; round < 15; ++round) {
    const auto server = StartOrDie();
    const auto host_port = transport::ParseHostPort(server->address());
    ASSERT_TRUE(host_port.ok());
    const auto address = transport::ParseAddress(*host_port);
    ASSERT_TRUE(address.has_value());
    ClientOptions options = OptionsFor(server->address(), Path::kMapped);
    options.operation_timeout_ms = 100;  // It may try to connect to us, who never answer.
    auto client = Client::Connect(options);
    ASSERT_TRUE(client.ok()) << client.status();
    ASSERT_EQ((*client)->Put("key", "old"), absl::OkStatus());
    ASSERT_EQ((*client)->Get("key").value(), "old");
    for (const int signal : ends[static_cast<size_t>(round) % ends.size()]) {
      server->process().Signal(signal);
    }
    ScopedFd taken;
    while (!taken.is_open()) {
      auto socket = transport::BindSocket(*address);
      if (socket.ok() && transport::StartListening(socket->get()).ok()) taken = *std::move(socket);
    }
    const absl::StatusOr<std::string> seen = (*client)->Get("key");
    EXPECT_FALSE(seen.ok()) << "round " << round;
    server->process().Wait();
  }
}

// Runs one coroutine client. Calls are made and driven by hand, so that they are surely under way.
class UnderWay {
 public:
  explicit UnderWay(ClientOptions options) : scheduler_({.clock = &clock_, .name = "test"}) {
    auto client = scheduler_.RunUntilDone(AsyncClient::Connect(&scheduler_, std::move(options)));
    CHECK(client.ok()) << client.status();
    client_ = *std::move(client);
  }

  AsyncClient& client() { return *client_; }
  Scheduler& scheduler() { return scheduler_; }

  // Starts `count` Puts and Gets, and lets them go as far as they get.
  void Start(int count) {
    for (int i = 0; i < count; ++i) tasks_.push_back(scheduler_.Spawn(PutOnce()));
    for (int i = 0; i < count; ++i) tasks_.push_back(scheduler_.Spawn(GetOnce()));
    for (int i = 0; i < 10; ++i) scheduler_.RunOnce();
  }
  void Finish() {
    scheduler_.RunUntilDone(JoinAll());
    tasks_.clear();
  }
  const std::vector<absl::Status>& statuses() const { return statuses_; }

 private:
  Task<void> PutOnce() {
    absl::Status status = co_await client_->Put("key", "value");
    statuses_.push_back(std::move(status));
  }
  Task<void> GetOnce() {
    std::string value;
    absl::Status status = co_await client_->Get("key", &value);
    statuses_.push_back(std::move(status));
  }
  Task<void> JoinAll() {
    for (SpawnHandle& task : tasks_) co_await task.Join();
  }

  RealClock clock_;
  Scheduler scheduler_;
  std::unique_ptr<AsyncClient> client_;
  std::vector<SpawnHandle> tasks_;
  std::vector<absl::Status> statuses_;
};

TEST(UnderWayTest, CallsUnderWayAtADeathEndWithUnavailable) {
  for (const Way& way : {Way(Path::kRpc), Way(Path::kTcp), Way(Path::kRpc, "tcp")}) {
    const auto server = StartOrDie();
    UnderWay calls(OptionsFor(server->address(), way));
    server->process().Freeze();  // It takes requests no more, so none is answered.
    calls.Start(20);
    EXPECT_TRUE(calls.statuses().empty());
    server->Kill();
    calls.Finish();
    ASSERT_EQ(calls.statuses().size(), 40u);
    for (const absl::Status& status : calls.statuses()) {
      EXPECT_TRUE(absl::IsUnavailable(status)) << way.Name() << ": " << status;
    }
  }
}

TEST(UnderWayTest, StalledServerMeansDeadlineExceededAndThenGoesOn) {
  for (const Way& way : {Way(Path::kRpc), Way(Path::kTcp), Way(Path::kRpc, "tcp")}) {
    const auto server = StartOrDie();
    ClientOptions options = OptionsFor(server->address(), way);
    options.operation_timeout_ms = 100;
    UnderWay calls(options);
    server->process().Freeze();
    calls.Start(20);
    calls.Finish();
    for (const absl::Status& status : calls.statuses()) {
      EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << way.Name() << ": " << status;
      EXPECT_NE(status.message().find(server->address()), absl::string_view::npos) << status;
    }
    server->process().Signal(SIGCONT);
    absl::Status status = absl::UnknownError("");
    for (int i = 0; i < 100 && !status.ok(); ++i) {
      status = calls.scheduler().RunUntilDone(calls.client().Put("key", "again"));
    }
    EXPECT_EQ(status, absl::OkStatus());
  }
}

// Goal: READs are held up behind messages that a stalled server does not take, and end at the deadline as
// calls do; once it goes on, so do they.
TEST(UnderWayTest, OneSidedReadsBehindAStalledServerEndAtTheDeadline) {
  const auto server = StartOrDie();
  ClientOptions options = OptionsFor(server->address(), Path::kOneSided);
  options.operation_timeout_ms = 300;
  UnderWay calls(options);
  ASSERT_EQ(calls.scheduler().RunUntilDone(calls.client().Put("key", "value")), absl::OkStatus());
  server->process().Freeze();
  // More Puts, one by one, than a receive queue holds.
  for (int i = 0; i < 400; ++i) calls.Start(1);
  calls.Finish();
  int held_up = 0;
  for (const absl::Status& status : calls.statuses()) {
    EXPECT_TRUE(status.ok() || absl::IsDeadlineExceeded(status)) << status;
    held_up += absl::StrContains(status.message(), "READ");
  }
  EXPECT_GT(held_up, 0) << "no READ was held up";
  server->process().Signal(SIGCONT);
  std::string value;
  absl::Status status = absl::UnknownError("");
  for (int i = 0; i < 100 && !status.ok(); ++i) {
    status = calls.scheduler().RunUntilDone(calls.client().Get("key", &value));
  }
  EXPECT_EQ(status, absl::OkStatus());
  EXPECT_EQ(value, "value");
}

// Goal: an operation waits for the server that is being restarted no longer than its attempt, and many
// of them share one.
TEST(UnderWayTest, ManyCallsOnADeadServerAllFailAndLaterAllSucceed) {
  const auto server = StartOrDie();
  UnderWay calls(OptionsFor(server->address(), Path::kRpc));
  server->Kill();
  for (int i = 0; i < 3; ++i) {
    calls.Start(50);
    calls.Finish();
  }
  ASSERT_EQ(calls.statuses().size(), 300u);
  for (const absl::Status& status : calls.statuses()) EXPECT_TRUE(absl::IsUnavailable(status));
  ASSERT_EQ(server->StartAgain(), absl::OkStatus());
  EXPECT_EQ(calls.scheduler().RunUntilDone(calls.client().Put("key", "again")), absl::OkStatus());
}

// A client of a server that was restarted, has noticed the end of the first, and finds the second frozen: it
// takes connections, and says nothing.
class FrozenAtConnectTest : public testing::TestWithParam<Way> {
 protected:
  void SetUpWith(int64_t connect_timeout_ms, int64_t operation_timeout_ms) {
    server_ = StartOrDie();
    ClientOptions options = OptionsFor(server_->address(), GetParam());
    options.connect_timeout_ms = connect_timeout_ms;
    options.operation_timeout_ms = operation_timeout_ms;
    calls_ = std::make_unique<UnderWay>(options);
    server_->Kill();
    const absl::Status gone = scheduler().RunUntilDone(calls_->client().Put("key", "value"));
    ASSERT_FALSE(gone.ok());
    ASSERT_EQ(server_->StartAgain(), absl::OkStatus());
    server_->process().Freeze();
  }
  static Task<void> Put(AsyncClient* client, absl::Status* status) {
    *status = co_await client->Put("key", "value");
  }
  SpawnHandle StartPut(absl::Status* status) {
    SpawnHandle handle = scheduler().Spawn(Put(&calls_->client(), status));
    for (int i = 0; i < 1000; ++i) scheduler().RunOnce();
    EXPECT_FALSE(handle.done()) << *status;
    return handle;
  }
  static Task<void> Join(SpawnHandle* handle) { co_await handle->Join(); }
  Scheduler& scheduler() { return calls_->scheduler(); }

  std::unique_ptr<KvServer> server_;
  std::unique_ptr<UnderWay> calls_;
};

// Goal: who gives up does not take along the others that wait for the same attempt to connect.
TEST_P(FrozenAtConnectTest, CancelledCallLeavesTheAttemptToTheOthers) {
  ASSERT_NO_FATAL_FAILURE(SetUpWith(60'000, 60'000));
  absl::Status first, second;
  SpawnHandle one = StartPut(&first);
  SpawnHandle other = StartPut(&second);
  one.Cancel();
  for (int i = 0; i < 1000; ++i) scheduler().RunOnce();
  server_->process().Signal(SIGCONT);
  scheduler().RunUntilDone(Join(&other));
  EXPECT_EQ(second, absl::OkStatus());
}

// Goal: each waits till its own deadline, and the attempt outlives them all: the next call has its fruit.
TEST_P(FrozenAtConnectTest, AttemptOutlivesTheCallsThatWaitedForIt) {
  ASSERT_NO_FATAL_FAILURE(SetUpWith(600'000, 300));
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = scheduler().RunUntilDone(calls_->client().Put("key", "value"));
    EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
    EXPECT_NE(status.message().find(server_->address()), absl::string_view::npos) << status;
  }
  server_->process().Signal(SIGCONT);
  // Each call waits 300 ms at most for a server that goes on by now.
  absl::Status status = absl::UnknownError("");
  for (int i = 0; i < 1000 && !status.ok(); ++i) {
    status = scheduler().RunUntilDone(calls_->client().Put("key", "value"));
  }
  EXPECT_EQ(status, absl::OkStatus());
}

// Goal: a client may go in the middle of an attempt.
TEST_P(FrozenAtConnectTest, ClientMayGoWhileItConnects) {
  ASSERT_NO_FATAL_FAILURE(SetUpWith(60'000, 60'000));
  absl::Status status;
  StartPut(&status).Cancel();
  calls_.reset();
}

INSTANTIATE_TEST_SUITE_P(All, FrozenAtConnectTest, testing::ValuesIn(AllWays()),
                         [](const auto& test) { return test.param.Name(); });

INSTANTIATE_TEST_SUITE_P(All, RestartTest, testing::ValuesIn(AllWays()),
                         [](const auto& test) { return test.param.Name(); });

}  // namespace
}  // namespace acre::tests
