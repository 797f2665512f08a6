// Clusters of kv_server processes: keys find their servers on all paths, servers die and come back, start anew
// with other lists, and disagree.

#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "tests/or_die.h"
#include "tests/process.h"
#include "tests/test_cluster.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

constexpr int kKeys = 200;
// So many calls in a row may fail till a client goes by another list of servers, which is there.
constexpr int kCallsToLearnMax = 20;

class ClusterTest : public testing::TestWithParam<Way> {};

std::string KeyAt(int i) { return absl::StrCat("key", i); }
// Inline, and out of line.
std::string ValueAt(int i, absl::string_view of = "v") {
  return absl::StrCat(of, i, std::string(i % 4 == 0 ? 200 : 0, 'x'));
}

void PutAll(Client* client, absl::string_view of = "v") {
  for (int i = 0; i < kKeys; ++i) {
    const absl::Status status = client->Put(KeyAt(i), ValueAt(i, of));
    ASSERT_EQ(status, absl::OkStatus()) << KeyAt(i);
  }
}

// Goal: any member tells of all others; every path finds every key; an answer stands where its key stood.
TEST_P(ClusterTest, OneMemberLeadsToAllKeys) {
  TestCluster cluster(3);
  for (const std::string& member : cluster.addresses) {
    const auto client = JoinOrDie({member}, GetParam());
    EXPECT_EQ(client->Servers(), cluster.addresses);
    ASSERT_NO_FATAL_FAILURE(PutAll(client.get(), member));
    for (int i = 0; i < kKeys; ++i) {
      const absl::StatusOr<std::string> value = client->Get(KeyAt(i));
      ASSERT_TRUE(value.ok()) << value.status();
      EXPECT_EQ(*value, ValueAt(i, member));
    }
    EXPECT_TRUE(absl::IsNotFound(client->Get("absent").status()));
    std::vector<std::string> keys = {"", "absent"};
    for (int i = kKeys - 1; i >= 0; --i) keys.push_back(KeyAt(i));
    const std::vector<absl::string_view> views(keys.begin(), keys.end());
    const std::vector<absl::StatusOr<std::string>> values = client->MultiGet(views);
    EXPECT_TRUE(absl::IsInvalidArgument(values[0].status())) << values[0].status();
    EXPECT_TRUE(absl::IsNotFound(values[1].status())) << values[1].status();
    for (int i = 0; i < kKeys; ++i) {
      ASSERT_TRUE(values[kKeys + 1 - i].ok()) << values[kKeys + 1 - i].status();
      EXPECT_EQ(*values[kKeys + 1 - i], ValueAt(i, member));
    }
    EXPECT_EQ(client->Delete(KeyAt(0)), absl::OkStatus());
    EXPECT_TRUE(absl::IsNotFound(client->Delete(KeyAt(0))));
    EXPECT_TRUE(absl::IsNotFound(client->Get(KeyAt(0)).status()));
  }
  // All of them have their shares, and nobody was asked for another's.
  const auto client = JoinOrDie(cluster.addresses, GetParam());
  uint64_t records = 0;
  for (const std::string& server : cluster.addresses) {
    const uint64_t of_server = StatOf(client.get(), server, "records");
    EXPECT_GT(of_server, kKeys / 6u) << server;
    records += of_server;
    EXPECT_EQ(StatOf(client.get(), server, "keys_refused"), 0u);
    EXPECT_EQ(StatOf(client.get(), server, "views_refused"), 0u);
  }
  EXPECT_EQ(records, kKeys - 1u);
}

// Goal: reads in a cluster go past the servers too.
TEST(ClusterReadsTest, MappedAndOneSidedReadsEnterNoServer) {
  TestCluster cluster(3);
  ASSERT_NO_FATAL_FAILURE(PutAll(JoinOrDie(cluster.addresses, Path::kRpc).get()));
  for (const Path path : {Path::kMapped, Path::kOneSided}) {
    const auto client = JoinOrDie({cluster.addresses[0]}, path);
    for (int i = 0; i < kKeys; ++i) ASSERT_TRUE(client->Get(KeyAt(i)).ok());
    EXPECT_EQ(client->reader_stats().gets, static_cast<uint64_t>(kKeys));
    for (const std::string& server : cluster.addresses) {
      EXPECT_EQ(StatOf(client.get(), server, "gets_rpc"), 0u);
      EXPECT_EQ(StatOf(client.get(), server, "gets_socket"), 0u);
    }
  }
}

// Goal: the keys of a dead server are unavailable, all others are served; when it is back so are its keys.
TEST_P(ClusterTest, OneServerDownOthersServe) {
  TestCluster cluster(3);
  const auto client = JoinOrDie({cluster.addresses[1]}, GetParam());
  ASSERT_NO_FATAL_FAILURE(PutAll(client.get()));
  KillAndOutliveLease(cluster.servers[0].get(), client.get(), cluster.KeyOf(0));
  std::vector<std::string> keys;
  for (int i = 0; i < kKeys; ++i) keys.push_back(KeyAt(i));
  const std::vector<absl::string_view> views(keys.begin(), keys.end());
  const auto expect = [&](size_t i, const absl::StatusOr<std::string>& value) {
    if (cluster.HomeOf(keys[i]) == 0) {
      EXPECT_TRUE(absl::IsUnavailable(value.status())) << value.status();
      EXPECT_THAT(std::string(value.status().message()), HasSubstr(cluster.addresses[0]));
    } else {
      ASSERT_TRUE(value.ok()) << value.status();
      EXPECT_EQ(*value, ValueAt(static_cast<int>(i)));
    }
  };
  // Not so many: an operation on a dead server waits for an attempt to connect.
  for (size_t i = 0; i < 30; ++i) ASSERT_NO_FATAL_FAILURE(expect(i, client->Get(keys[i])));
  const std::vector<absl::StatusOr<std::string>> values = client->MultiGet(views);
  for (size_t i = 0; i < keys.size(); ++i) ASSERT_NO_FATAL_FAILURE(expect(i, values[i]));
  EXPECT_TRUE(absl::IsUnavailable(client->Put(cluster.KeyOf(0), "x")));
  EXPECT_EQ(client->Put(cluster.KeyOf(2), "x"), absl::OkStatus());
  // Who comes now finds the others, whomever he asks first.
  EXPECT_EQ(JoinOrDie(cluster.addresses, GetParam())->Get(cluster.KeyOf(2)).value(), "x");

  ASSERT_EQ(cluster.servers[0]->StartAgain(), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(client->Get(cluster.KeyOf(0)).status())) << "its records are lost";
  EXPECT_EQ(client->Put(cluster.KeyOf(0), "y"), absl::OkStatus());
  EXPECT_EQ(client->Get(cluster.KeyOf(0)).value(), "y");
  EXPECT_EQ(client->Get(cluster.KeyOf(2)).value(), "x");
}

// Goal: a client that slept while its servers were started anew with another list never gets a wrong answer:
// values of now, or errors, and those are over after a few calls.
TEST_P(ClusterTest, AnotherListOfServersIsLearnt) {
  TestCluster cluster(3);
  const std::vector<std::string> all = cluster.addresses;
  const auto client = JoinOrDie({all[0], all[1]}, GetParam());
  ASSERT_NO_FATAL_FAILURE(PutAll(client.get(), "old"));
  for (const std::vector<std::string>& list : std::vector<std::vector<std::string>>{
           {all[0], all[1]}, {all[2], all[1], all[0]}, {all[1]}, {all[1], all[0]}}) {
    cluster.Kill();
    cluster.Start(list);
    const std::string now = absl::StrCat("new", list.size(), list.back());
    ASSERT_NO_FATAL_FAILURE(PutAll(JoinOrDie({list[0]}, Path::kRpc).get(), now));
    int failures = 0;
    for (int i = 0; i < kKeys; ++i) {
      absl::StatusOr<std::string> value = client->Get(KeyAt(i));
      for (; !value.ok() && failures < kCallsToLearnMax; ++failures) {
        ASSERT_TRUE(absl::IsUnavailable(value.status())) << value.status();
        value = client->Get(KeyAt(i));
      }
      ASSERT_TRUE(value.ok()) << value.status();
      ASSERT_EQ(*value, ValueAt(i, now));
    }
    EXPECT_EQ(client->Servers(), list);
    const absl::Status put = client->Put("key0", "written by the old client");
    EXPECT_EQ(put, absl::OkStatus());
  }
}

// Goal: the same, found out by a MultiGet.
TEST_P(ClusterTest, AnotherListOfServersIsLearntByAMultiGet) {
  TestCluster cluster(3);
  const auto client = JoinOrDie(cluster.addresses, GetParam());
  ASSERT_NO_FATAL_FAILURE(PutAll(client.get(), "old"));
  cluster.Kill();
  cluster.Start({cluster.addresses[2], cluster.addresses[1], cluster.addresses[0]});
  ASSERT_NO_FATAL_FAILURE(PutAll(JoinOrDie(cluster.addresses, Path::kRpc).get(), "new"));
  std::vector<std::string> keys;
  for (int i = 0; i < kKeys; ++i) keys.push_back(KeyAt(i));
  const std::vector<absl::string_view> views(keys.begin(), keys.end());
  for (int call = 0;; ++call) {
    ASSERT_LT(call, kCallsToLearnMax);
    int answers = 0;
    const std::vector<absl::StatusOr<std::string>> values = client->MultiGet(views);
    for (int i = 0; i < kKeys; ++i) {
      if (values[i].ok()) {
        ASSERT_EQ(*values[i], ValueAt(i, "new"));
        ++answers;
      } else {
        ASSERT_TRUE(absl::IsUnavailable(values[i].status())) << values[i].status();
      }
    }
    if (answers == kKeys) break;
  }
}

// Goal: a mapped MultiGet asks again itself for what its readers failed at, as other paths do: of a server that
// is back it tells what is there now, by another list it finds all keys.
TEST(ClusterReadsTest, MappedMultiGetFindsServersThatAreBack) {
  TestCluster cluster(3);
  const auto client = JoinOrDie(cluster.addresses, Path::kMapped);
  ASSERT_NO_FATAL_FAILURE(PutAll(client.get()));
  std::vector<std::string> keys;
  for (int i = 0; i < kKeys; ++i) keys.push_back(KeyAt(i));
  const std::vector<absl::string_view> views(keys.begin(), keys.end());

  cluster.servers[0]->Kill();
  ASSERT_EQ(cluster.servers[0]->StartAgain(), absl::OkStatus());
  std::vector<absl::StatusOr<std::string>> values = client->MultiGet(views);
  for (int i = 0; i < kKeys; ++i) {
    if (cluster.HomeOf(keys[i]) == 0) {
      EXPECT_TRUE(absl::IsNotFound(values[i].status())) << values[i].status();
    } else {
      ASSERT_TRUE(values[i].ok()) << values[i].status();
      EXPECT_EQ(*values[i], ValueAt(i));
    }
  }

  cluster.Kill();
  cluster.Start({cluster.addresses[2], cluster.addresses[1], cluster.addresses[0]});
  ASSERT_NO_FATAL_FAILURE(PutAll(JoinOrDie(cluster.addresses, Path::kRpc).get(), "new"));
  values = client->MultiGet(views);
  for (int i = 0; i < kKeys; ++i) {
    ASSERT_TRUE(values[i].ok()) << values[i].status();
    EXPECT_EQ(*values[i], ValueAt(i, "new"));
  }
}

size_t ThreadsOfThisProcess() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

// Goal: a client has one thread of the tcp fabric, to however many servers it is connected.
TEST(ClusterReadsTest, OneFabricThreadForAllServers) {
  TestCluster cluster(3);
  const size_t threads = ThreadsOfThisProcess();
  ClientOptions options;
  options.servers = cluster.addresses;
  options.fabric = "tcp";
  const auto client = ConnectOrDie(options);
  ASSERT_NO_FATAL_FAILURE(PutAll(client.get()));
  for (int i = 0; i < kKeys; ++i) ASSERT_TRUE(client->Get(KeyAt(i)).ok());
  EXPECT_EQ(client->fabric(), "tcp");
  EXPECT_EQ(ThreadsOfThisProcess(), threads + 1);
}

// Goal: servers with different files are no cluster: nobody answers for a key by the wrong one.
TEST_P(ClusterTest, ServersThatDisagreeAreNamed) {
  TestCluster cluster(2);
  const std::string stranger = OwnAddress();
  const std::string other_file =
      WriteClusterFile({cluster.addresses[0], cluster.addresses[1], stranger});
  const auto odd_one = StartMember(stranger, other_file);
  const auto client = JoinOrDie({cluster.addresses[0]}, GetParam());
  ASSERT_NO_FATAL_FAILURE(PutAll(client.get()));

  ClientOptions both = OptionsFor(stranger, GetParam());
  both.servers = {cluster.addresses[0], stranger};
  const absl::Status refused = Client::Connect(both).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("not of one cluster"));
  EXPECT_THAT(std::string(refused.message()), HasSubstr(stranger));

  // By the stranger's list it is server 3, and the two others are of another view.
  const auto lost = JoinOrDie({stranger}, GetParam());
  int served = 0;
  for (int i = 0; i < 12; ++i) {
    const absl::StatusOr<std::string> value = lost->Get(KeyAt(i));
    const bool is_strangers = kvs::KeyShare::ServerIndex(kvs::HashKey(KeyAt(i)), 3) == 2;
    if (is_strangers) {
      EXPECT_TRUE(absl::IsNotFound(value.status())) << value.status();
      ++served;
    } else {
      EXPECT_TRUE(absl::IsUnavailable(value.status())) << value.status();
      EXPECT_THAT(std::string(value.status().message()), HasSubstr("cluster file differs: view"));
    }
  }
  EXPECT_GT(served, 0);
  EXPECT_LT(served, 12);
  EXPECT_GT(StatOf(client.get(), cluster.addresses[0], "views_refused") +
                StatOf(client.get(), cluster.addresses[1], "views_refused"),
            0u);
  for (int i = 0; i < kKeys; ++i) ASSERT_TRUE(client->Get(KeyAt(i)).ok());
}

// Goal: as long as one server goes by the old list, a client does; what the others have is unavailable.
TEST_P(ClusterTest, ListChangesWhenTheLastServerDoes) {
  TestCluster cluster(2);
  const std::vector<std::string> old = cluster.addresses;
  const auto client = JoinOrDie(old, GetParam());
  ASSERT_NO_FATAL_FAILURE(PutAll(client.get()));
  const std::string key0 = cluster.KeyOf(0);
  const std::string key1 = cluster.KeyOf(1);
  const std::string file = WriteClusterFile({old[1], old[0]});

  cluster.servers[1]->Kill();
  cluster.servers[1] = StartMember(old[1], file);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(client->Get(key0).ok());
    const absl::Status status = client->Get(key1).status();
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    const absl::Status put = client->Put(key1, "x");
    EXPECT_TRUE(absl::IsUnavailable(put)) << put;
  }
  EXPECT_THAT(std::string(client->Put(key1, "x").message()), HasSubstr("cluster file differs"));

  cluster.servers[0]->Kill();
  cluster.servers[0] = StartMember(old[0], file);
  absl::Status put = client->Put(key1, "y");
  for (int i = 0; !put.ok() && i < kCallsToLearnMax; ++i) put = client->Put(key1, "y");
  EXPECT_EQ(put, absl::OkStatus());
  EXPECT_EQ(client->Get(key1).value(), "y");
  EXPECT_EQ(client->Servers(), (std::vector<std::string>{old[1], old[0]}));
}

Task<void> Append(AsyncClient* client, std::string key) {
  for (int i = 0; i < 50; ++i) {
    const std::string value = absl::StrCat(i);
    const absl::Status put = co_await client->Put(key, value);
    std::string seen;
    const absl::Status get = co_await client->Get(key, &seen);
    EXPECT_EQ(put, absl::OkStatus());
    EXPECT_EQ(get, absl::OkStatus());
    EXPECT_EQ(seen, value);
  }
}

// Goal: many coroutines at once, each with its keys on all servers.
TEST_P(ClusterTest, ManyCoroutinesOnAllServers) {
  TestCluster cluster(3);
  RealClock clock;
  Scheduler scheduler({.clock = &clock, .name = "cluster_test"});
  const ClientOptions options = OptionsFor(cluster.addresses[2], GetParam());
  auto client = scheduler.RunUntilDone(AsyncClient::Connect(&scheduler, options));
  ASSERT_TRUE(client.ok()) << client.status();
  std::vector<SpawnHandle> tasks;
  for (int i = 0; i < 50; ++i) {
    tasks.push_back(scheduler.Spawn(Append(client->get(), KeyAt(i))));
  }
  for (SpawnHandle& task : tasks) {
    while (!task.done()) scheduler.RunOnce();
  }
}

INSTANTIATE_TEST_SUITE_P(All, ClusterTest, testing::ValuesIn(AllWays()),
                         [](const auto& test) { return test.param.Name(); });

}  // namespace
}  // namespace acre::tests
