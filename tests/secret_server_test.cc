// A secret between real programs: kv_server, the client library on all paths, kv_cli and ycsb.

#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/client.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/scoped_fd.h"
#include "tests/or_die.h"
#include "tests/process.h"
#include "tests/test_cluster.h"
#include "transport/bootstrap_wire.h"
#include "transport/socket.h"

namespace acre::tests {
namespace {

constexpr Path kPaths[] = {Path::kAuto, Path::kMapped, Path::kOneSided, Path::kRpc, Path::kTcp};

// Writes a secret's file that its owner alone can read.
std::string WriteSecret(const std::string& name, const std::string& bytes, mode_t mode = 0600) {
  const std::string path = absl::StrCat(testing::TempDir(), "/", name);
  unlink(path.c_str());
  std::ofstream(path, std::ios::binary) << bytes;
  PCHECK(chmod(path.c_str(), mode) == 0);
  return path;
}

std::string RightSecret() { return WriteSecret("right", "correct horse battery staple\n"); }
std::string WrongSecret() { return WriteSecret("wrong", "correct horse battery stable\n"); }

std::unique_ptr<KvServer> StartWith(const std::string& secret_file,
                                    const std::string& listen = "127.0.0.1:0") {
  return StartOrDie({.listen = listen, .more = {"--secret_file=" + secret_file}});
}

ClientOptions OptionsWith(const std::string& address, Path path, const std::string& secret_file) {
  ClientOptions options = OptionsFor(address, path);
  options.secret_file = secret_file;
  return options;
}

// What comes of a whole life of a client: the first error, or OK.
absl::Status Use(const ClientOptions& options) {
  const auto client = Client::Connect(options);
  if (!client.ok()) return client.status();
  const absl::Status put = (*client)->Put("key", "value");
  if (!put.ok()) return put;
  const absl::StatusOr<std::string> got = (*client)->Get("key");
  if (!got.ok()) return got.status();
  return *got == "value" ? absl::OkStatus() : absl::InternalError(*got);
}

uint64_t Refused(Client* client, absl::string_view reason) {
  const std::string name = absl::StrCat("handshakes_refused_", reason, " ");
  const std::string stats = client->ServerStats().value();
  for (absl::string_view line : absl::StrSplit(stats, '\n')) {
    uint64_t value;
    if (absl::ConsumePrefix(&line, name) && absl::SimpleAtoi(line, &value)) return value;
  }
  LOG(FATAL) << "no counter " << name << "in " << stats;
}

Outcome RunProgram(std::vector<std::string> command) {
  auto process = Process::Start(std::move(command));
  CHECK(process.ok()) << process.status();
  return (*process)->Wait();
}

std::string WithPortOf(const std::string& host, const std::string& address) {
  return transport::HostPort{host, transport::ParseHostPort(address)->port}.ToString();
}

// ---- Flags.

TEST(SecretFlags, ABadFileIsOneClearLine) {
  const auto expect = [](const std::string& file, const std::string& part) {
    const Outcome outcome = RunKvServer({"--listen=127.0.0.1:0", "--secret_file=" + file});
    EXPECT_GT(outcome.exit_code, 0) << part;
    EXPECT_EQ(std::count(outcome.stderr_text.begin(), outcome.stderr_text.end(), '\n'), 1);
    EXPECT_TRUE(absl::StrContains(outcome.stderr_text, "--secret_file: ")) << outcome.stderr_text;
    EXPECT_TRUE(absl::StrContains(outcome.stderr_text, part)) << outcome.stderr_text;
    // The library judges by the same rules. A client without a name for the file has no secret.
    if (file.empty()) return;
    const auto client = Client::Connect(OptionsWith("127.0.0.1:1", Path::kTcp, file));
    EXPECT_TRUE(absl::IsInvalidArgument(client.status())) << client.status();
    EXPECT_TRUE(absl::StrContains(client.status().message(), part)) << client.status();
  };
  expect("/nowhere/secret", "cannot be read");
  expect("", "cannot be read");
  expect(WriteSecret("empty", ""), "is empty");
  expect(WriteSecret("short", "hunter2"), "at least 16");
  const std::string open = WriteSecret("open", std::string(32, 'x'), 0644);
  expect(open, "chmod 600 " + open);
}

TEST(SecretFlags, ReadmeAndHelpNameIt) {
  EXPECT_TRUE(absl::StrContains(RunKvServer({"--help"}).stdout_text, "--secret_file"));
  for (const char* program : {"client/kv_cli", "bench/ycsb"}) {
    EXPECT_TRUE(absl::StrContains(RunProgram({program, "--help"}).stdout_text, "--secret_file"));
  }
}

// ---- Who gets in.

TEST(Secret, AllPathsWorkWithIt) {
  const std::string secret = RightSecret();
  const auto server = StartWith(secret);
  for (const Path path : kPaths) {
    EXPECT_EQ(Use(OptionsWith(server->address(), path, secret)), absl::OkStatus())
        << PathName(path);
  }
  const Outcome outcome = server->Stop();
  EXPECT_EQ(outcome.stderr_text, "");
  EXPECT_TRUE(absl::StrContains(outcome.stdout_text, "clients prove a secret"));
}

// Goal: the file is read once, by Connect(), whichever servers the client comes to later.
TEST(Secret, AClientOfAClusterNeedsTheFileOnlyAtFirst) {
  const std::string servers_file = RightSecret();
  TestCluster cluster({OwnAddress(), OwnAddress()}, {"--secret_file=" + servers_file});
  for (const Path path : kPaths) {
    const std::string own_file = WriteSecret("own", "correct horse battery staple");
    const auto client = ConnectOrDie(OptionsWith(cluster.addresses[0], path, own_file));
    PCHECK(unlink(own_file.c_str()) == 0);
    for (size_t server = 0; server < 2; ++server) {
      const std::string key = cluster.KeyOf(server);
      EXPECT_EQ(client->Put(key, "value"), absl::OkStatus()) << PathName(path);
      EXPECT_EQ(client->Get(key).value(), "value");
    }
  }
}

TEST(Secret, NobodyElseGetsInOnAnyPath) {
  const std::string secret = RightSecret();
  const auto server = StartWith(secret);
  for (const Path path : kPaths) {
    for (const std::string& file : {std::string(), WrongSecret()}) {
      const absl::Status status = Use(OptionsWith(server->address(), path, file));
      EXPECT_TRUE(absl::IsPermissionDenied(status)) << PathName(path) << ": " << status;
      EXPECT_TRUE(absl::StrContains(status.message(), "--secret_file")) << status;
      EXPECT_TRUE(absl::StrContains(status.message(), server->address())) << status;
    }
  }
  const auto friendly = ConnectOrDie(OptionsWith(server->address(), Path::kRpc, secret));
  EXPECT_TRUE(absl::IsNotFound(friendly->Get("key").status()));
  EXPECT_EQ(Refused(friendly.get(), "secret"), std::size(kPaths));
  EXPECT_EQ(Refused(friendly.get(), "no_secret"), std::size(kPaths));
}

// Goal: a client that was told to want a proof does not go on without one.
TEST(Secret, AServerWithoutOneIsRefusedOnAllPaths) {
  const auto server = StartOrDie();
  for (const Path path : kPaths) {
    const absl::Status status = Use(OptionsWith(server->address(), path, RightSecret()));
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << PathName(path) << ": " << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "has no secret")) << status;
  }
  EXPECT_EQ(Refused(ConnectOrDie(server->address()).get(), "none_to_prove"), std::size(kPaths));
}

// Goal: a flood of strangers fills no log, and takes nothing from those who may come in.
TEST(Secret, AFloodOfWrongOnesIsOneLineInTheLog) {
  const std::string secret = RightSecret();
  const std::string wrong = WrongSecret();
  const auto server = StartWith(secret);
  const auto friendly = ConnectOrDie(OptionsWith(server->address(), Path::kRpc, secret));
  const int before = server->process().DescriptorsCount();
  constexpr uint64_t kFlood = 100;
  for (uint64_t i = 0; i < kFlood; ++i) {
    EXPECT_FALSE(Use(OptionsWith(server->address(), Path::kTcp, wrong)).ok());
    ASSERT_EQ(friendly->Put("key", "value"), absl::OkStatus());
  }
  EXPECT_EQ(Refused(friendly.get(), "secret"), kFlood);
  EXPECT_LE(server->process().DescriptorsCount(), before + 2) << "but for those just closing";
  const Outcome outcome = server->Stop();
  EXPECT_EQ(std::count(outcome.stderr_text.begin(), outcome.stderr_text.end(), '\n'), 1)
      << outcome.stderr_text;
  EXPECT_TRUE(absl::StrContains(outcome.stderr_text, "is refused: the client's secret"));
}

// ---- Addresses.

// This machine's own addresses that others could reach, as far as it has some.
std::vector<std::string> OwnAddresses() {
  std::vector<std::string> hosts;
  ifaddrs* list = nullptr;
  PCHECK(getifaddrs(&list) == 0);
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
    const transport::SocketAddress address(entry->ifa_addr, sizeof(sockaddr_in));
    if (!address.is_loopback()) {
      hosts.push_back(transport::ParseHostPort(address.ToString())->host);
    }
  }
  freeifaddrs(list);
  return hosts;
}

// Goal: who runs a server learns that a crowd keeps clients out, and from one line in the log.
TEST(Secret, ACrowdAtTheDoorIsCounted) {
  constexpr size_t kCrowd = 300;
  constexpr size_t kPlaces = 256;
  const std::string secret = RightSecret();
  const auto server = StartWith(secret);
  const auto friendly = ConnectOrDie(OptionsWith(server->address(), Path::kRpc, secret));
  EXPECT_EQ(Refused(friendly.get(), "crowd"), 0u);
  const auto address =
      transport::Resolve(transport::ParseHostPort(server->address()).value()).value().front();
  std::vector<ScopedFd> silent;
  for (size_t i = 0; i < kCrowd; ++i) silent.push_back(transport::StartConnect(address).value());
  while (Refused(friendly.get(), "crowd") < kCrowd - kPlaces) {
  }
  EXPECT_EQ(friendly->Put("key", "value"), absl::OkStatus());
  const Outcome outcome = server->Stop();
  EXPECT_TRUE(absl::StrContains(outcome.stderr_text,
                                "closed unheard, 256 connections are at the door already"))
      << outcome.stderr_text;
  EXPECT_EQ(std::count(outcome.stderr_text.begin(), outcome.stderr_text.end(), '\n'), 1)
      << outcome.stderr_text;
}

TEST(Secret, WithItAServerListensEverywhere) {
  const std::string secret = RightSecret();
  const auto server = StartWith(secret, "0.0.0.0:0");
  std::vector<std::string> hosts = OwnAddresses();
  hosts.push_back("127.0.0.1");
  for (const std::string& host : hosts) {
    const std::string address = WithPortOf(host, server->address());
    for (const Path path : kPaths) {
      EXPECT_EQ(Use(OptionsWith(address, path, secret)), absl::OkStatus())
          << address << PathName(path);
    }
    EXPECT_TRUE(absl::IsPermissionDenied(Use(OptionsFor(address, Path::kTcp))));
  }
}

// ---- Time.

class SecretRestartTest : public testing::TestWithParam<Path> {};

TEST_P(SecretRestartTest, AClientComesBackWithIt) {
  const std::string secret = RightSecret();
  const auto server = StartWith(secret);
  const auto client = ConnectOrDie(OptionsWith(server->address(), GetParam(), secret));
  for (int round = 0; round < 3; ++round) {
    server->Kill();
    EXPECT_FALSE(client->Put("key", "lost").ok());
    ASSERT_EQ(server->StartAgain(), absl::OkStatus());
    ASSERT_EQ(client->Put("key", absl::StrCat(round)), absl::OkStatus());
    EXPECT_EQ(client->Get("key").value(), absl::StrCat(round));
  }
}

// Goal: a client whose secret is no longer good gets told so by each call, at once; it goes on when
// the server has the right one again.
TEST_P(SecretRestartTest, AnotherSecretIsToldAndNotRetriedForEver) {
  const std::string secret = RightSecret();
  const std::string servers = WriteSecret("servers", "correct horse battery staple");
  const auto server = StartWith(servers);
  const auto client = ConnectOrDie(OptionsWith(server->address(), GetParam(), secret));
  server->Kill();
  WriteSecret("servers", "something else altogether");
  ASSERT_EQ(server->StartAgain(), absl::OkStatus());
  absl::Status status = client->Put("key", "value");
  if (absl::IsUnavailable(status)) status = client->Put("key", "value");  // It found the break.
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "--secret_file")) << status;
    status = client->Get("key").status();
  }
  server->Kill();
  WriteSecret("servers", "correct horse battery staple");
  ASSERT_EQ(server->StartAgain(), absl::OkStatus());
  EXPECT_EQ(client->Put("key", "value"), absl::OkStatus());
}

INSTANTIATE_TEST_SUITE_P(Paths, SecretRestartTest,
                         testing::Values(Path::kMapped, Path::kOneSided, Path::kRpc, Path::kTcp),
                         [](const auto& path) { return PathName(path.param); });

// ---- Strangers.

// Sends bytes and reads till the server hangs up.
std::string AnswerTo(const std::string& address, const std::string& bytes) {
  const auto addresses = transport::Resolve(transport::ParseHostPort(address).value());
  const ScopedFd fd(socket(addresses->front().family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  PCHECK(connect(fd.get(), addresses->front().get(), addresses->front().length_bytes()) == 0);
  (void)!send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  shutdown(fd.get(), SHUT_WR);
  std::string text;
  char got_bytes[4096];
  for (;;) {
    pollfd ready{.fd = fd.get(), .events = POLLIN, .revents = 0};
    CHECK_EQ(poll(&ready, 1, 30'000), 1) << "the server holds a connection for too long";
    const ssize_t got = read(fd.get(), got_bytes, sizeof(got_bytes));
    if (got <= 0) return text;
    text.append(got_bytes, static_cast<size_t>(got));
  }
}

// Goal: the socket baseline is no way around the secret, not even for who speaks it well.
TEST(Secret, TheSocketBaselineIsNoWayAround) {
  const std::string secret = RightSecret();
  const auto server = StartWith(secret);
  const auto friendly = ConnectOrDie(OptionsWith(server->address(), Path::kTcp, secret));
  ASSERT_EQ(friendly->Put("key", "a value that others must not see"), absl::OkStatus());
  const std::string get("\x01\0\x03\0\0\0\0\0key", 11);
  const std::string remove("\x03\0\x03\0\0\0\0\0key", 11);
  transport::Hello hello;
  hello.has_secret = true;
  const std::string proven = absl::StrCat(transport::kProvenPurpose, transport::EncodeHello(hello));
  for (const std::string& bytes :
       {"ACREKVS1" + get, "ACREKVS1" + remove,
        absl::StrCat(transport::kProvenPurpose, "ACREKVS1", get), proven + "ACREKVS1" + get,
        proven + transport::EncodeProof({}) + "ACREKVS1" + get,
        proven + transport::EncodeChallenge({}) + "ACREKVS1" + get,
        absl::StrCat(transport::kProvenPurpose, transport::EncodeHello({}), "ACREKVS1", get)}) {
    EXPECT_FALSE(absl::StrContains(AnswerTo(server->address(), bytes), "must not see"));
  }
  EXPECT_EQ(friendly->Get("key").value(), "a value that others must not see");
}

// ---- Programs.

TEST(Secret, ProgramsTakeIt) {
  const std::string secret = RightSecret();
  const auto server = StartWith(secret);
  const std::string servers = "--servers=" + server->address();
  const std::string with = "--secret_file=" + secret;
  EXPECT_EQ(RunProgram({"client/kv_cli", servers, with, "put", "key", "value"}).exit_code, 0);
  const Outcome got = RunProgram({"client/kv_cli", servers, with, "--path=tcp", "get", "key"});
  EXPECT_EQ(got.stdout_text, "value") << got.stderr_text;
  const Outcome refused = RunProgram({"client/kv_cli", servers, "get", "key"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(std::count(refused.stderr_text.begin(), refused.stderr_text.end(), '\n'), 1);
  EXPECT_TRUE(absl::StrContains(refused.stderr_text, "--secret_file")) << refused.stderr_text;

  const std::vector<std::string> ycsb = {"bench/ycsb", servers, with, "--records=1000",
                                         "--connections=2"};
  std::vector<std::string> load = ycsb;
  load.push_back("--load");
  EXPECT_EQ(RunProgram(load).exit_code, 0);
  std::vector<std::string> run = ycsb;
  for (const char* flag : {"--path=mapped,one_sided,rpc,tcp", "--seconds=0.1", "--warmup=0"}) {
    run.push_back(flag);
  }
  const Outcome ran = RunProgram(run);
  EXPECT_EQ(ran.exit_code, 0) << ran.stderr_text;
}

}  // namespace
}  // namespace acre::tests
