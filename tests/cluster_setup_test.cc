// Clusters that are set up wrongly, keys that come to the wrong server, and the programs on a cluster.

#include <poll.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/client.h"
#include "client/fabric_backend.h"
#include "client/socket_connection.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvs/wire.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "tests/or_die.h"
#include "tests/process.h"
#include "tests/test_cluster.h"
#include "transport/bootstrap_peer.h"
#include "transport/port.h"
#include "transport/shm/shm_fabric.h"
#include "transport/socket.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr Path kPaths[] = {Path::kMapped, Path::kOneSided, Path::kRpc, Path::kTcp};

// ---- Files and addresses.

TEST(ClusterFlagTest, WrongFilesAreOneClearLine) {
  const std::string listen = OwnAddress();
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"/no/such/file", "cannot read this file"},
      {WriteClusterFile({}), "names no server"},
      {WriteClusterFile({OwnAddress()}), absl::StrCat("has no line ", listen)},
      {WriteClusterFile({listen, OwnAddress(), listen}), "lines 2 and 4 name the same server"},
      {WriteClusterFile({listen, "nonsense"}), "line 3: \"nonsense\" is no HOST:PORT"},
      {WriteClusterFile(std::vector<std::string>(1, listen + " x:1")), "one a line"}};
  for (const auto& [file, why] : cases) {
    const Outcome outcome =
        RunKvServer({"--listen=" + listen, "--memory=16M", "--cluster=" + file});
    EXPECT_EQ(outcome.exit_code, 1) << file;
    EXPECT_THAT(outcome.stderr_text, HasSubstr(why)) << file;
    EXPECT_THAT(outcome.stderr_text, HasSubstr("cluster")) << file;
    EXPECT_EQ(std::count(outcome.stderr_text.begin(), outcome.stderr_text.end(), '\n'), 1)
        << outcome.stderr_text;
  }
}

// Goal: the same server twice is one server.
TEST(ClusterMembersTest, DoubledServersAreHarmless) {
  TestCluster cluster(2);
  const std::string& first = cluster.addresses[0];
  for (const Path path : kPaths) {
    const auto client = JoinOrDie({first, first, cluster.addresses[1], first}, path);
    EXPECT_EQ(client->Servers(), cluster.addresses);
    EXPECT_EQ(client->Put(cluster.KeyOf(1), "v"), absl::OkStatus());
    EXPECT_EQ(client->Get(cluster.KeyOf(1)).value(), "v");
  }
  const auto alone = StartOrDie({.memory = "16M"});
  const auto client = JoinOrDie({alone->address(), alone->address()}, Path::kAuto);
  EXPECT_EQ(client->Servers(), std::vector<std::string>{alone->address()});
  EXPECT_EQ(client->Put("key", "v"), absl::OkStatus());
}

// Goal: two servers that are no cluster are not taken for one.
TEST(ClusterMembersTest, ServersOfTwoClustersAreRefused) {
  const auto alone = StartOrDie({.memory = "16M"});
  const auto other = StartOrDie({.memory = "16M"});
  TestCluster cluster(1);
  for (const Path path : kPaths) {
    for (const std::vector<std::string>& servers :
         std::vector<std::vector<std::string>>{{alone->address(), other->address()},
                                               {alone->address(), cluster.addresses[0]},
                                               {cluster.addresses[0], alone->address()}}) {
      ClientOptions options;
      options.servers = servers;
      options.path = path;
      const absl::Status status = Client::Connect(options).status();
      EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(servers[0]));
      EXPECT_THAT(std::string(status.message()), HasSubstr(servers[1]));
    }
  }
}

TEST(ClusterMembersTest, MissingServersAreToldApart) {
  TestCluster cluster(2);
  cluster.servers[0]->Kill();
  const std::string nobody = OwnAddress();
  ClientOptions options;
  // A member that is down is no reason not to begin.
  options.servers = {cluster.addresses[0], cluster.addresses[1]};
  auto client = Client::Connect(options);
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_EQ((*client)->Put(cluster.KeyOf(1), "v"), absl::OkStatus());
  EXPECT_TRUE(absl::IsUnavailable((*client)->Put(cluster.KeyOf(0), "v")));
  // An address that is no member, and silent, is a mistake.
  options.servers = {cluster.addresses[1], nobody};
  const absl::Status wrong = Client::Connect(options).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(wrong)) << wrong;
  EXPECT_THAT(std::string(wrong.message()), HasSubstr(nobody));
  // Nobody at all.
  options.servers = {nobody, cluster.addresses[0]};
  const absl::Status none = Client::Connect(options).status();
  EXPECT_TRUE(absl::IsUnavailable(none)) << none;
  EXPECT_THAT(std::string(none.message()), HasSubstr(nobody));
  options.servers = {};
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Connect(options).status()));
}

// Goal: an address that leads to another server than the list says is found out, and named.
TEST(ClusterMembersTest, AddressThatLeadsToAnotherServerIsNamed) {
  // Two names of one server: it is number 1, and so is the other name's.
  const std::string address = absl::StrCat(
      "127.0.0.1:", transport::ParseHostPort(StartOrDie({.memory = "16M"})->address())->port);
  const std::string alias = absl::StrReplaceAll(address, {{"127.0.0.1", "localhost"}});
  const auto server = StartMember(address, WriteClusterFile({address, alias}));
  for (const Path path : kPaths) {
    const auto client = JoinOrDie({address}, path);
    int named = 0;
    for (int i = 0; i < 20; ++i) {
      const absl::Status status = client->Put(absl::StrCat("key", i), "v");
      if (status.ok()) continue;
      EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
      EXPECT_THAT(std::string(status.message()),
                  HasSubstr("says that it is server 1 of 2 of the cluster, whose file has this "
                            "address as server 2"));
      ++named;
    }
    EXPECT_GT(named, 0);
    EXPECT_LT(named, 20);
    ClientOptions options;
    options.servers = {alias};
    options.path = path;
    EXPECT_TRUE(absl::IsFailedPrecondition(Client::Connect(options).status()));
  }
}

// ---- Keys at the wrong server, and frames of another view, past the client that would not do that.

class ForeignKeyTest : public testing::Test {
 protected:
  ForeignKeyTest() : cluster_(2), scheduler_({.clock = &clock_, .name = "foreign_key_test"}) {
    auto fabric = transport::ShmFabric::Create({.clock = &clock_});
    CHECK(fabric.ok()) << fabric.status();
    fabric_ = *std::move(fabric);
    queue_ = *fabric_->CreateCompletionQueue();
    port_ = std::make_unique<transport::Port>(&scheduler_, queue_.get());
  }
  // A connection to server 1, with its frames of this view, or of its own.
  std::shared_ptr<FabricBackend> Connect(Path path, absl::optional<uint64_t> view) {
    transport::ConnectOptions options;
    options.server = *transport::ParseHostPort(cluster_.addresses[0]);
    options.layout_version = kvs::kLayoutVersion;
    options.fabrics = {{fabric_.get(), port_.get()}};
    options.channel.region_id = next_region_id_;
    options.deadline_ns = DeadlineNs();
    auto peer = scheduler_.RunUntilDone(transport::ConnectPeer(std::move(options)));
    CHECK(peer.ok()) << peer.status();
    if (view.has_value()) peer->place.view = *view;
    FabricBackend::Options made;
    made.path = path;
    made.region_id = next_region_id_ + 1;
    made.operation_timeout_ns = 5 * kSecondNs;
    made.deadline_ns = DeadlineNs();
    next_region_id_ += FabricBackend::kRegionIds;
    auto backend = scheduler_.RunUntilDone(
        FabricBackend::Create(fabric_.get(), port_.get(), *std::move(peer), made));
    CHECK(backend.ok()) << backend.status();
    return *std::move(backend);
  }
  uint64_t DeadlineNs() { return scheduler_.NowNs() + 20 * kSecondNs; }
  absl::Status Get(FabricBackend* backend, const std::string& key) {
    std::string value;
    return scheduler_.RunUntilDone(backend->Get(key, &value, DeadlineNs()));
  }
  uint64_t Stat(absl::string_view name) {
    return StatOf(JoinOrDie(cluster_.addresses, Path::kRpc).get(), cluster_.addresses[0], name);
  }

  TestCluster cluster_;
  RealClock clock_;
  Scheduler scheduler_;
  std::unique_ptr<transport::Fabric> fabric_;
  std::unique_ptr<transport::CompletionQueue> queue_;
  std::unique_ptr<transport::Port> port_;
  uint32_t next_region_id_ = 1;
};

// Goal: a server, and whoever reads its memory, says that the key is another's; never that it is not there.
TEST_F(ForeignKeyTest, IsRefusedOnEveryPath) {
  const std::string own = cluster_.KeyOf(0);
  const std::string foreign = cluster_.KeyOf(1);
  uint64_t refused = 0;
  for (const Path path : {Path::kMapped, Path::kOneSided, Path::kRpc}) {
    const auto backend = Connect(path, absl::nullopt);
    EXPECT_TRUE(absl::IsNotFound(Get(backend.get(), own))) << Get(backend.get(), own);
    const absl::Status get = Get(backend.get(), foreign);
    EXPECT_TRUE(absl::IsOutOfRange(get)) << PathName(path) << get;
    EXPECT_THAT(std::string(get.message()), HasSubstr("belongs to server 2 of 2"));
    const absl::Status put = scheduler_.RunUntilDone(backend->Put(foreign, "v", DeadlineNs()));
    EXPECT_TRUE(absl::IsOutOfRange(put)) << put;
    const absl::Status deleted = scheduler_.RunUntilDone(backend->Delete(foreign, DeadlineNs()));
    EXPECT_TRUE(absl::IsOutOfRange(deleted)) << deleted;
    const std::vector<absl::string_view> keys = {foreign, own};
    std::vector<std::string> values(2);
    std::vector<absl::Status> statuses(2);
    scheduler_.RunUntilDone(
        backend->MultiGet(keys, absl::MakeSpan(values), absl::MakeSpan(statuses), DeadlineNs()));
    EXPECT_TRUE(absl::IsOutOfRange(statuses[0])) << statuses[0];
    EXPECT_TRUE(absl::IsNotFound(statuses[1])) << statuses[1];
    refused += path == Path::kRpc ? 4 : 2;  // What entered the server.
  }
  EXPECT_EQ(Stat("keys_refused"), refused);
  EXPECT_EQ(Stat("records"), 0u);
}

// The answer to what was queued.
absl::Status AnswerOf(SocketConnection* connection) {
  CHECK(connection->Flush().ok());
  SocketResponse response;
  while (!connection->Next(&response)) {
    pollfd ready{.fd = connection->fd(), .events = POLLIN, .revents = 0};
    PCHECK(poll(&ready, 1, 20'000) == 1);
    bool drained = false;
    CHECK(connection->Receive(&drained).ok());
  }
  return response.ToStatus();
}

TEST_F(ForeignKeyTest, IsRefusedOnTheSocketToo) {
  auto connection = SocketConnection::Connect(cluster_.addresses[0], 5000);
  ASSERT_TRUE(connection.ok()) << connection.status();
  SocketConnection* const socket = connection->get();
  const std::string foreign = cluster_.KeyOf(1);
  socket->QueueGet(foreign);
  EXPECT_TRUE(absl::IsOutOfRange(AnswerOf(socket)));
  socket->QueuePut(foreign, "v");
  EXPECT_TRUE(absl::IsOutOfRange(AnswerOf(socket)));
  socket->QueueDelete(foreign);
  EXPECT_TRUE(absl::IsOutOfRange(AnswerOf(socket)));
  socket->QueueGet(cluster_.KeyOf(0));
  EXPECT_TRUE(absl::IsNotFound(AnswerOf(socket)));
  socket->QueueCluster(12345);
  const absl::Status status = AnswerOf(socket);
  EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("yours 0000000000003039"));
  EXPECT_EQ(Stat("keys_refused"), 3u);
  EXPECT_EQ(Stat("views_refused"), 1u);
}

// Goal: every frame carries the view, and the server looks at it.
TEST_F(ForeignKeyTest, FramesOfAnotherViewAreRefused) {
  for (const uint64_t view : {uint64_t{0}, uint64_t{12345}}) {
    const auto backend = Connect(Path::kRpc, view);
    const absl::Status get = Get(backend.get(), cluster_.KeyOf(0));
    EXPECT_TRUE(absl::IsOutOfRange(get)) << get;
    EXPECT_THAT(std::string(get.message()), HasSubstr("the server's cluster file differs: view "));
  }
  EXPECT_EQ(Stat("views_refused"), 2u);
}

// ---- The programs.

Outcome RunProgram(std::vector<std::string> command) {
  auto process = Process::Start(std::move(command));
  CHECK(process.ok()) << process.status();
  return (*process)->Wait();
}

TEST(ClusterProgramsTest, KvCliListsServersAndTheirStats) {
  TestCluster cluster(3);
  const std::string flag = "--servers=" + cluster.addresses[1];
  const std::string two =
      absl::StrCat("--servers=", cluster.addresses[2], ",", cluster.addresses[0]);
  EXPECT_EQ(RunProgram({"client/kv_cli", flag, "put", "k", "v"}).exit_code, 0);
  EXPECT_EQ(RunProgram({"client/kv_cli", two, "get", "k"}).stdout_text, "v");
  const Outcome servers = RunProgram({"client/kv_cli", flag, "servers"});
  EXPECT_EQ(servers.exit_code, 0) << servers.stderr_text;
  EXPECT_EQ(servers.stdout_text,
            absl::StrCat("1 ", cluster.addresses[0], " answers\n2 ", cluster.addresses[1],
                         " answers\n3 ", cluster.addresses[2], " answers\n"));
  const Outcome stats = RunProgram({"client/kv_cli", flag, "stats"});
  EXPECT_EQ(stats.exit_code, 0) << stats.stderr_text;
  for (int i = 1; i <= 3; ++i) {
    EXPECT_THAT(stats.stdout_text, HasSubstr(absl::StrCat("\nserver_number ", i, "\n")));
  }
  const Outcome one = RunProgram({"client/kv_cli", flag, "stats", cluster.addresses[2]});
  EXPECT_THAT(one.stdout_text, HasSubstr("\nserver_number 3\n"));
  EXPECT_THAT(one.stdout_text, testing::Not(HasSubstr("\nserver_number 1\n")));
  EXPECT_EQ(RunProgram({"client/kv_cli", flag, "stats", "127.0.0.1:1"}).exit_code, 1);
}

TEST(ClusterProgramsTest, YcsbLoadsAndRunsOnAllServers) {
  TestCluster cluster(3);
  const std::string flag = "--servers=" + cluster.addresses[1];
  const Outcome loaded = RunProgram({"bench/ycsb", flag, "--records=3000", "--load"});
  EXPECT_EQ(loaded.exit_code, 0) << loaded.stderr_text;
  const auto client = JoinOrDie(cluster.addresses, Path::kRpc);
  for (const std::string& server : cluster.addresses) {
    EXPECT_GT(StatOf(client.get(), server, "records"), 800u);
  }
  const Outcome run = RunProgram({"bench/ycsb", flag, "--records=3000", "--workload=d",
                                  "--path=mapped,one_sided,rpc,tcp", "--seconds=0.2", "--warmup=0",
                                  "--connections=2"});
  EXPECT_EQ(run.exit_code, 0) << run.stderr_text;
  for (const Path path : kPaths) EXPECT_THAT(run.stdout_text, HasSubstr(PathName(path)));
}

}  // namespace
}  // namespace acre::tests
