// A server in the test's own process, several threads of it and several clients, under tsan.

#include <sys/random.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "server/server.h"

namespace acre::tests {
namespace {

using server::Server;
using server::ServerOptions;

constexpr int kClients = 4;
constexpr int kKeysOfEach = 40;
constexpr int kRounds = 60;

std::unique_ptr<Server> StartOrDie(Clock* clock, int threads) {
  ServerOptions options;
  options.listen = {"127.0.0.1", 0};
  options.threads = threads;
  options.memory_bytes = uint64_t{64} << 20;
  options.region_bytes_max = uint64_t{32} << 20;
  options.huge_pages = transport::HugePages::kOff;
  options.lease_ms = 5000;  // Under tsan, on a busy machine, threads may stall.
  options.state_dir = testing::TempDir() + "/state";
  options.clock = clock;
  options.wall_ns = [] { return uint64_t{1}; };
  options.fill_random = [](absl::Span<uint8_t> bytes) {
    PCHECK(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  };
  auto server = Server::Start(std::move(options));
  CHECK(server.ok()) << server.status();
  return *std::move(server);
}

std::unique_ptr<Client> ConnectOrDie(const std::string& address, Path path) {
  ClientOptions options;
  options.servers = {address};
  options.path = path;
  options.operation_timeout_ms = 60'000;
  options.connect_timeout_ms = 60'000;
  auto client = Client::Connect(options);
  CHECK(client.ok()) << client.status();
  return *std::move(client);
}

// A value that proves itself: its number, again and again, at a length that differs.
std::string ValueOf(int round) {
  std::string value;
  do {
    absl::StrAppend(&value, round, ",");
  } while (value.size() < static_cast<size_t>(round % 7) * 100);
  return value;
}

// Its number, or -1 if it is nobody's value.
int RoundOf(const std::string& value) {
  int round;
  if (!absl::SimpleAtoi(value.substr(0, value.find(',')), &round)) return -1;
  return value == ValueOf(round) ? round : -1;
}

// Writes keys of its own, and sees each of its writes; reads everybody's, and sees them rise.
void WriteAndRead(const std::string& address, Path path, int self) {
  const auto client = ConnectOrDie(address, path);
  std::vector<std::vector<int>> seen(kClients, std::vector<int>(kKeysOfEach, 0));
  Random random(static_cast<uint64_t>(self));
  for (int round = 1; round <= kRounds; ++round) {
    for (int i = 0; i < kKeysOfEach; ++i) {
      const std::string key = absl::StrCat("client", self, "key", i);
      ASSERT_EQ(client->Put(key, ValueOf(round)), absl::OkStatus());
      ASSERT_EQ(client->Get(key).value(), ValueOf(round));
      const int other = static_cast<int>(random.Uniform(kClients));
      const int which = static_cast<int>(random.Uniform(kKeysOfEach));
      const auto value = client->Get(absl::StrCat("client", other, "key", which));
      if (!value.ok()) {
        ASSERT_TRUE(absl::IsNotFound(value.status())) << value.status();
        ASSERT_EQ(seen[other][which], 0) << "a record has gone";
        continue;
      }
      const int got = RoundOf(*value);
      ASSERT_GE(got, seen[other][which]) << "torn or stale";
      seen[other][which] = got;
    }
  }
}

TEST(ServerTest, ManyClientsOnSeveralThreads) {
  RealClock clock;
  const auto server = StartOrDie(&clock, /*threads=*/2);
  const Path paths[kClients] = {Path::kMapped, Path::kOneSided, Path::kRpc, Path::kTcp};
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back(WriteAndRead, server->address(), paths[i], i);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_NE(server->Stats().find(absl::StrCat("records ", kClients * kKeysOfEach, "\n")),
            std::string::npos)
      << server->Stats();
  EXPECT_EQ(server->Stop(), absl::OkStatus());
}

// Goal: refusals are counted on one thread while others tell the count.
TEST(ServerTest, RefusalsAreCountedWhileOthersAsk) {
  RealClock clock;
  const auto server = StartOrDie(&clock, /*threads=*/2);
  const std::string file = testing::TempDir() + "/secret";
  std::ofstream(file) << "a secret that nobody asked for";
  PCHECK(chmod(file.c_str(), 0600) == 0);
  constexpr int kRefusals = 20;
  std::vector<std::thread> threads;
  for (const Path path : {Path::kRpc, Path::kTcp}) {
    threads.emplace_back([&, path] {
      const auto client = ConnectOrDie(server->address(), path);
      const std::string last = absl::StrCat("handshakes_refused_none_to_prove ", kRefusals, "\n");
      while (client->ServerStats().value().find(last) == std::string::npos) {
      }
    });
  }
  for (int i = 0; i < kRefusals; ++i) {
    ClientOptions options;
    options.servers = {server->address()};
    options.path = Path::kRpc;
    options.secret_file = file;
    options.connect_timeout_ms = 60'000;
    const absl::Status status = Client::Connect(options).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  }
  for (std::thread& thread : threads) thread.join();
}

// Goal: clients that come and go while others work, and while the server stops.
TEST(ServerTest, StopsUnderLoad) {
  RealClock clock;
  auto server = StartOrDie(&clock, /*threads=*/2);
  const std::string address = server->address();
  // Set by the test when the server has gone; a client that reads true may stop. Relaxed: a hint.
  std::atomic<bool> gone{false};
  std::atomic<int> working{0};
  std::vector<std::thread> threads;
  for (const Path path : {Path::kMapped, Path::kOneSided, Path::kRpc, Path::kTcp}) {
    threads.emplace_back([&, path] {
      int failures = 0;
      while (!gone.load(std::memory_order_relaxed) && failures < 3) {
        ClientOptions options;
        options.servers = {address};
        options.path = path;
        const auto client = Client::Connect(options);
        if (!client.ok()) {
          EXPECT_TRUE(absl::IsUnavailable(client.status())) << client.status();
          ++failures;
          continue;
        }
        for (int i = 0; i < 20; ++i) {
          const absl::Status put = (*client)->Put("key", "value");
          const absl::Status get = (*client)->Get("key").status();
          EXPECT_TRUE(put.ok() || absl::IsUnavailable(put)) << put;
          EXPECT_TRUE(get.ok() || absl::IsUnavailable(get) || absl::IsNotFound(get)) << get;
          if (i == 19) working.fetch_add(1, std::memory_order_relaxed);
        }
      }
    });
  }
  while (working.load(std::memory_order_relaxed) < 20) std::this_thread::yield();
  EXPECT_EQ(server->Stop(), absl::OkStatus());
  server.reset();
  gone.store(true, std::memory_order_relaxed);
  for (std::thread& thread : threads) thread.join();
}

TEST(ServerTest, SecondServerOnOneAddressIsRefused) {
  RealClock clock;
  const auto server = StartOrDie(&clock, /*threads=*/1);
  ServerOptions options;
  options.listen = *transport::ParseHostPort(server->address());
  options.clock = &clock;
  options.wall_ns = [] { return uint64_t{1}; };
  options.fill_random = [](absl::Span<uint8_t> bytes) { bytes[0] = 1; };
  options.state_dir = testing::TempDir() + "/state";
  EXPECT_TRUE(absl::IsAlreadyExists(Server::Start(std::move(options)).status()));
}

}  // namespace
}  // namespace acre::tests
