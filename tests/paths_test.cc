// The store as its clients see it, on every path, against a kv_server process.

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "gtest/gtest.h"
#include "kvs/limits.h"
#include "tests/or_die.h"
#include "tests/process.h"

namespace acre::tests {
namespace {

uint64_t GetsServed(Client* client) {
  return StatOf(client, "gets_rpc") + StatOf(client, "gets_socket");
}

// Bytes of every value, zeros included, different for each `seed`.
std::string Bytes(size_t count, uint32_t seed) {
  std::string bytes(count, '\0');
  uint32_t state = seed * 2654435761u + 1;
  for (char& byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

class PathsTest : public testing::TestWithParam<Way> {
 protected:
  static void SetUpTestSuite() { server_ = StartOrDie({.more = {"--threads=2"}}).release(); }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }
  std::unique_ptr<Client> Connect() { return ConnectOrDie(server_->address(), GetParam()); }

  static KvServer* server_;
};
KvServer* PathsTest::server_ = nullptr;

// Goal: what was put is what is got, whatever its bytes and sizes.
TEST_P(PathsTest, ValuesOfAllSizesComeBack) {
  const auto client = Connect();
  uint32_t seed = 1;
  for (size_t key_bytes : {size_t{1}, size_t{16}, size_t{31}, size_t{100}, kvs::kKeyBytesMax}) {
    for (size_t value_bytes : {size_t{0}, size_t{1}, size_t{32}, size_t{47}, size_t{64},
                               size_t{500}, size_t{4096}, size_t{70'000}, kvs::kValueBytesMax}) {
      const std::string key = Bytes(key_bytes, seed);
      const std::string value = Bytes(value_bytes, seed + 1);
      seed += 2;
      ASSERT_EQ(client->Put(key, value), absl::OkStatus()) << key_bytes << "/" << value_bytes;
      const absl::StatusOr<std::string> got = client->Get(key);
      ASSERT_TRUE(got.ok()) << key_bytes << "/" << value_bytes << ": " << got.status();
      EXPECT_TRUE(*got == value) << key_bytes << "/" << value_bytes;
      ASSERT_EQ(client->Delete(key), absl::OkStatus());
    }
  }
}

TEST_P(PathsTest, KeysAreBinarySafe) {
  const auto client = Connect();
  const std::vector<std::string> keys = {std::string(1, '\0'),   std::string(2, '\0'),
                                         std::string("a\0b", 3), std::string("a\0c", 3),
                                         std::string("a"),       std::string("\xff\xfe\n", 3)};
  for (const std::string& key : keys) ASSERT_EQ(client->Put(key, key + key), absl::OkStatus());
  for (const std::string& key : keys) EXPECT_EQ(client->Get(key).value(), key + key);
  for (const std::string& key : keys) ASSERT_EQ(client->Delete(key), absl::OkStatus());
}

TEST_P(PathsTest, UpdateAndDeleteAreSeenAtOnce) {
  const auto client = Connect();
  const auto other = ConnectOrDie(server_->address(), Path::kRpc);
  for (int i = 0; i < 200; ++i) {
    const std::string value = Bytes(static_cast<size_t>(i) * 13, 77);
    ASSERT_EQ(other->Put("moving", value), absl::OkStatus());
    EXPECT_EQ(client->Get("moving").value(), value);
    ASSERT_EQ(client->Put("moving", "mine"), absl::OkStatus());
    EXPECT_EQ(other->Get("moving").value(), "mine");
    ASSERT_EQ(other->Delete("moving"), absl::OkStatus());
    EXPECT_TRUE(absl::IsNotFound(client->Get("moving").status()));
    EXPECT_TRUE(absl::IsNotFound(client->Delete("moving")));
  }
}

TEST_P(PathsTest, GetIntoTheCallersMemoryReplacesIt) {
  const auto client = Connect();
  ASSERT_EQ(client->Put("short", "s"), absl::OkStatus());
  std::string value(1000, 'x');
  ASSERT_EQ(client->Get("short", &value), absl::OkStatus());
  EXPECT_EQ(value, "s");
}

TEST_P(PathsTest, MultiGetAnswersEachKeyInItsPlace) {
  const auto client = Connect();
  std::vector<std::string> keys;
  for (int i = 0; i < 700; ++i) keys.push_back(absl::StrCat("multi", i));
  for (int i = 0; i < 700; i += 2) {
    ASSERT_EQ(client->Put(keys[i], Bytes(static_cast<size_t>(i), 5)), absl::OkStatus());
  }
  std::vector<absl::string_view> views(keys.begin(), keys.end());
  views[101] = "";  // Out of the limits: its own answer, nobody else's.
  const auto values = client->MultiGet(views);
  ASSERT_EQ(values.size(), views.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (i == 101) {
      EXPECT_TRUE(absl::IsInvalidArgument(values[i].status())) << values[i].status();
    } else if (i % 2 == 1) {
      EXPECT_TRUE(absl::IsNotFound(values[i].status())) << values[i].status();
    } else {
      ASSERT_TRUE(values[i].ok()) << values[i].status();
      EXPECT_EQ(*values[i], Bytes(i, 5));
    }
  }
  EXPECT_TRUE(client->MultiGet({}).empty());
}

// Goal: answers that do not fit into one message are asked for again.
TEST_P(PathsTest, MultiGetOfLargeValues) {
  const auto client = Connect();
  std::vector<std::string> keys;
  for (uint32_t i = 0; i < 6; ++i) {
    keys.push_back(absl::StrCat("large", i));
    ASSERT_EQ(client->Put(keys.back(), Bytes(kvs::kValueBytesMax - i, i)), absl::OkStatus());
  }
  const std::vector<absl::string_view> views(keys.begin(), keys.end());
  const auto values = client->MultiGet(views);
  for (uint32_t i = 0; i < 6; ++i) {
    ASSERT_TRUE(values[i].ok()) << values[i].status();
    EXPECT_TRUE(*values[i] == Bytes(kvs::kValueBytesMax - i, i));
    ASSERT_EQ(client->Delete(keys[i]), absl::OkStatus());
  }
}

TEST_P(PathsTest, LimitsAreCheckedBeforeAnythingIsSent) {
  const auto client = Connect();
  const uint64_t puts = StatOf(client.get(), "puts_rpc") + StatOf(client.get(), "puts_socket");
  const std::string long_key(kvs::kKeyBytesMax + 1, 'k');
  const std::string long_value(kvs::kValueBytesMax + 1, 'v');
  EXPECT_TRUE(absl::IsInvalidArgument(client->Put("", "v")));
  EXPECT_TRUE(absl::IsInvalidArgument(client->Put(long_key, "v")));
  EXPECT_TRUE(absl::IsInvalidArgument(client->Put("k", long_value)));
  EXPECT_TRUE(absl::IsInvalidArgument(client->Get("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(client->Get(long_key).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(client->Delete(long_key)));
  EXPECT_EQ(StatOf(client.get(), "puts_rpc") + StatOf(client.get(), "puts_socket"), puts);
}

// Goal: whoever says "one-sided" means it.
TEST_P(PathsTest, OnlyRpcAndTcpEnterTheServer) {
  const auto client = Connect();
  ASSERT_EQ(client->Put("counted", "1"), absl::OkStatus());
  const auto observer = ConnectOrDie(server_->address(), Path::kRpc);
  const uint64_t before = GetsServed(observer.get());
  const std::vector<absl::string_view> keys(10, "counted");
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(client->Get("counted").ok());
  for (int i = 0; i < 1000; ++i) ASSERT_FALSE(client->Get("not there").ok());
  client->MultiGet(keys);
  const Path path = GetParam().path;
  const bool enters = path == Path::kRpc || path == Path::kTcp;
  EXPECT_EQ(GetsServed(observer.get()) - before, enters ? 2010u : 0u);
  EXPECT_EQ(client->path(), path);
  const std::string fabric = GetParam().fabric == "auto" ? "shm" : GetParam().fabric;
  EXPECT_EQ(client->fabric(), path == Path::kTcp ? "socket" : fabric);
  EXPECT_EQ(client->reader_stats().gets, enters ? 0u : 2010u);
}

INSTANTIATE_TEST_SUITE_P(All, PathsTest, testing::ValuesIn(AllWays()),
                         [](const auto& test) { return test.param.Name(); });

TEST(ClientTest, AutoPicksMappedOnOneMachine) {
  auto server = KvServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(ConnectOrDie((*server)->address(), Path::kAuto)->path(), Path::kMapped);
}

TEST(ClientTest, AutoPicksOneSidedOnTcp) {
  auto server = KvServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  const auto client = ConnectOrDie((*server)->address(), {Path::kAuto, "tcp"});
  EXPECT_EQ(client->path(), Path::kOneSided);
  EXPECT_EQ(client->fabric(), "tcp");
}

// Goal: a client takes what there is, and is told if that is not what it asked for.
TEST(ClientTest, FabricsThatTheServerDoesNotOfferAreErrors) {
  for (const std::string offered : {"shm", "tcp"}) {
    const auto server = StartOrDie({.more = {"--fabric=" + offered}});
    const auto client = ConnectOrDie(server->address(), Path::kAuto);
    EXPECT_EQ(client->fabric(), offered);
    EXPECT_EQ(client->Put("key", "value"), absl::OkStatus());
    EXPECT_EQ(client->Get("key").value(), "value");
    const std::string other = offered == "shm" ? "tcp" : "shm";
    const absl::Status status =
        Client::Connect(OptionsFor(server->address(), {Path::kAuto, other.c_str()})).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_NE(status.message().find(offered), absl::string_view::npos) << status;
    EXPECT_EQ(server->Stop().exit_code, 0);
  }
}

TEST(ClientTest, PathMappedWantsFabricShm) {
  const auto server = StartOrDie({.more = {"--fabric=tcp"}});
  const auto connect = [&server](const char* fabric) {
    return Client::Connect(OptionsFor(server->address(), {Path::kMapped, fabric})).status();
  };
  EXPECT_TRUE(absl::IsInvalidArgument(connect("tcp"))) << connect("tcp");
  EXPECT_NE(connect("tcp").message().find("mapped"), absl::string_view::npos);
  EXPECT_TRUE(absl::IsFailedPrecondition(connect("auto"))) << connect("auto");
}

TEST(ClientTest, ServerMayBeNamed) {
  auto server = KvServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string& address = (*server)->address();
  const std::string named = absl::StrCat("localhost", address.substr(address.rfind(':')));
  for (const Path path : {Path::kMapped, Path::kTcp}) {
    const auto client = ConnectOrDie(named, path);
    EXPECT_EQ(client->Put("key", "value"), absl::OkStatus());
  }
}

TEST(ClientTest, BadOptionsAreNamed) {
  const auto connect = [](std::string server, std::string fabric) {
    ClientOptions options;
    options.servers = {std::move(server)};
    options.fabric = std::move(fabric);
    return Client::Connect(options).status();
  };
  EXPECT_TRUE(absl::IsInvalidArgument(connect("nonsense", "auto")));
  EXPECT_TRUE(absl::IsInvalidArgument(connect("127.0.0.1:7400", "carrier-pigeon")));
  // There is a card, and no server; or there is no card.
  const absl::Status verbs = connect("127.0.0.1:1", "verbs");
  EXPECT_TRUE(absl::IsFailedPrecondition(verbs) || absl::IsUnavailable(verbs)) << verbs;
  const absl::Status nobody = connect("127.0.0.1:1", "auto");
  EXPECT_TRUE(absl::IsUnavailable(nobody));
  EXPECT_NE(nobody.message().find("127.0.0.1:1"), absl::string_view::npos) << nobody;
  EXPECT_TRUE(absl::IsInvalidArgument(ParsePath("fast").status()));
}

}  // namespace
}  // namespace acre::tests
