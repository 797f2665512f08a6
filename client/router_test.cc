// The router against servers that the test plays, by the socket path: lists that change, contradict each other,
// or make no sense.

#include "client/router.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvs/cluster.h"
#include "kvs/socket_wire.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/scoped_fd.h"
#include "transport/socket.h"

namespace acre {
namespace {

using kvs::SocketOpcode;
using kvs::SocketRequestHeader;
using kvs::SocketResponseHeader;
using testing::HasSubstr;
using transport::HostPort;

// A server on the test's own scheduler, which answers as it is told.
class FakeServer {
 public:
  explicit FakeServer(Scheduler* scheduler) : scheduler_(scheduler) {
    auto fd = transport::BindSocket(transport::Resolve({"127.0.0.1", 0}).value().front());
    CHECK(fd.ok()) << fd.status();
    listening_ = *std::move(fd);
    CHECK(transport::StartListening(listening_.get()).ok());
    address_ =
        transport::ParseHostPort(transport::LocalAddress(listening_.get()).ToString()).value();
    CHECK(scheduler_->WatchFd(listening_.get(), EPOLLIN, [this](uint32_t) { Accept(); }).ok());
  }
  ~FakeServer() {
    scheduler_->UnwatchFd(listening_.get());
    for (Connection& connection : connections_) scheduler_->UnwatchFd(connection.fd.get());
  }

  const HostPort& address() const { return address_; }
  // What it tells, and whether it serves keys; else it says that they are another server's.
  kvs::ClusterAnswer cluster;
  bool serves = true;
  // If set, called at each operation: false, and it does not answer.
  std::function<bool()> on_operation;
  // If set, what it tells instead, each time anew.
  std::function<std::string()> tell;

  int asked = 0;
  int operations = 0;

 private:
  struct Connection {
    ScopedFd fd;
    std::string input;
    bool greeted = false;
  };

  void Accept() {
    int error;
    ScopedFd fd = transport::AcceptSocket(listening_.get(), &error);
    if (!fd.is_open()) return;
    connections_.emplace_back().fd = std::move(fd);
    Connection* const connection = &connections_.back();
    CHECK(scheduler_
              ->WatchFd(connection->fd.get(), EPOLLIN,
                        [this, connection](uint32_t) { Serve(connection); })
              .ok());
  }
  void Serve(Connection* connection) {
    char bytes[4096];
    const ssize_t got = recv(connection->fd.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
    if (got <= 0) {
      scheduler_->UnwatchFd(connection->fd.get());
      connections_.remove_if([connection](const Connection& c) { return &c == connection; });
      return;
    }
    connection->input.append(bytes, static_cast<size_t>(got));
    std::string& input = connection->input;
    if (!connection->greeted && input.size() >= kvs::kSocketPreamble.size()) {
      input.erase(0, kvs::kSocketPreamble.size());
      connection->greeted = true;
    }
    SocketRequestHeader header;
    while (connection->greeted && input.size() >= sizeof(header)) {
      std::memcpy(&header, input.data(), sizeof(header));  // private memory
      const size_t frame_bytes = sizeof(header) + header.key_bytes + header.value_bytes;
      if (input.size() < frame_bytes) return;
      Answer(connection, header, input.substr(sizeof(header) + header.key_bytes));
      input.erase(0, frame_bytes);
    }
  }
  void Answer(Connection* connection, const SocketRequestHeader& header, const std::string& value) {
    absl::Status status;
    std::string payload;
    if (header.opcode == static_cast<uint8_t>(SocketOpcode::kCluster)) {
      ++asked;
      uint64_t view;
      std::memcpy(&view, value.data(), sizeof(view));  // private memory
      payload = tell ? tell() : kvs::EncodeClusterAnswer(cluster);
      if (!tell && view != 0 && view != cluster.place.view) {
        status = transport::OtherView(cluster.place.view, view);
      }
    } else {
      ++operations;
      if (on_operation && !on_operation()) return;
      if (!serves) status = absl::OutOfRangeError("the key is another server's");
    }
    if (!status.ok()) payload = std::string(status.message());
    const SocketResponseHeader response = {.opcode = header.opcode,
                                           .code = static_cast<uint8_t>(status.code()),
                                           .reserved0 = 0,
                                           .payload_bytes = static_cast<uint32_t>(payload.size())};
    const std::string bytes =
        std::string(reinterpret_cast<const char*>(&response), sizeof(response)) + payload;
    CHECK_EQ(send(connection->fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
             static_cast<ssize_t>(bytes.size()));
  }

  Scheduler* const scheduler_;
  ScopedFd listening_;
  HostPort address_;
  std::list<Connection> connections_;
};

kvs::ClusterAnswer AnswerOf(std::vector<HostPort> servers, uint32_t number) {
  kvs::ClusterAnswer answer;
  answer.place = {kvs::ViewOf(servers), number, static_cast<uint32_t>(servers.size())};
  answer.generation = number;
  answer.segments_count = 1;
  answer.servers = std::move(servers);
  return answer;
}

// Time that passes when the test says so, besides that of the machine.
class JumpingClock final : public Clock {
 public:
  uint64_t NowNs() override { return real_.NowNs() + jumped_ns; }

  uint64_t jumped_ns = 0;

 private:
  RealClock real_;
};

class RouterTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Router>> Connect(int64_t timeout_ms = 5000) {
    ClientOptions options;
    options.servers = {one_.address().ToString()};
    options.path = Path::kTcp;
    options.operation_timeout_ms = timeout_ms;
    return scheduler_.RunUntilDone(Router::Connect(&scheduler_, options));
  }
  absl::Status Put(Router* router, const std::string& key) {
    return scheduler_.RunUntilDone(router->Put(key, "value"));
  }
  // Both are of the cluster of these.
  void Tell(const std::vector<HostPort>& servers) {
    const kvs::ClusterMap map{0, servers};
    for (FakeServer* server : {&one_, &two_}) {
      server->cluster = AnswerOf(servers, map.NumberOf(server->address()));
    }
  }

  // A key of the first of two servers.
  static std::string KeyOfFirst() {
    for (int i = 0;; ++i) {
      std::string key = absl::StrCat("key", i);
      if (kvs::KeyShare::ServerIndex(kvs::HashKey(key), 2) == 0) return key;
    }
  }

  JumpingClock clock_;
  Scheduler scheduler_{{.clock = &clock_, .name = "router_test"}};
  FakeServer one_{&scheduler_};
  FakeServer two_{&scheduler_};
};

TEST_F(RouterTest, OthersAreConnectedToWhenTheirKeysAreWanted) {
  Tell({one_.address(), two_.address()});
  auto router = Connect();
  ASSERT_TRUE(router.ok()) << router.status();
  EXPECT_EQ(two_.asked, 0);
  for (int i = 0; i < 20; ++i) {
    const absl::Status status = Put(router->get(), absl::StrCat("key", i));
    EXPECT_EQ(status, absl::OkStatus());
  }
  EXPECT_GT(one_.operations, 0);
  EXPECT_GT(two_.operations, 0);
  EXPECT_EQ(one_.operations + two_.operations, 20);
  EXPECT_EQ(two_.asked, 1);
}

// Goal: a server that refuses what is its own, by the list that it tells, makes an error, not a loop.
TEST_F(RouterTest, RefusalsWithoutANewListAreAnError) {
  Tell({one_.address(), two_.address()});
  auto router = Connect();
  ASSERT_TRUE(router.ok()) << router.status();
  one_.serves = two_.serves = false;
  const absl::Status status = Put(router->get(), "key");
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("the key is another server's"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--cluster file"));
  EXPECT_EQ(one_.operations + two_.operations, 1) << "nothing had changed: not tried again";
}

// Goal: servers that tell another list each time cannot keep an operation busy for ever.
TEST_F(RouterTest, ListsThatNeverRestEndInAnError) {
  Tell({one_.address()});
  two_.cluster = one_.cluster;
  auto router = Connect();
  ASSERT_TRUE(router.ok()) << router.status();
  one_.serves = false;
  one_.tell = [&] {
    // Another for each connection, which asks twice. Nobody listens there.
    const auto port = static_cast<uint16_t>((one_.asked + 1) / 2);
    return kvs::EncodeClusterAnswer(AnswerOf({one_.address(), {"127.0.0.1", port}}, 1));
  };
  const absl::Status status = Put(router->get(), KeyOfFirst());
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("--cluster file"));
  EXPECT_GT(one_.operations, 1) << "tried by the new lists";
  EXPECT_LT(one_.operations, 10);
}

// Goal: of the servers that tell another list, one whose address leads elsewhere hides no good one.
TEST_F(RouterTest, WrongAddressDoesNotHideANewList) {
  Tell({one_.address(), two_.address()});
  auto router = Connect();
  ASSERT_TRUE(router.ok()) << router.status();
  const std::vector<HostPort> list = {two_.address(), one_.address()};
  two_.cluster = AnswerOf(list, 1);
  one_.cluster = AnswerOf(list, 1);  // It is the list's second.
  one_.serves = false;
  const absl::Status status = Put(router->get(), KeyOfFirst());
  EXPECT_EQ(status, absl::OkStatus());
  EXPECT_EQ(two_.operations, 1);
}

// Goal: what is done again by a new list is still the same operation: it has no more time than that.
TEST_F(RouterTest, DoneAgainWithinTheTimeOfOneOperation) {
  constexpr uint64_t kNsPerS = 1'000'000'000;
  const std::string key = KeyOfFirst();
  const absl::string_view keys[] = {key};
  std::string values[1];
  absl::Status statuses[1];
  for (const bool is_multi_get : {false, true}) {
    one_.operations = 0;
    one_.serves = true;
    one_.on_operation = nullptr;
    Tell({one_.address(), two_.address()});
    auto router = Connect(/*timeout_ms=*/60'000);
    ASSERT_TRUE(router.ok()) << router.status();
    Tell({two_.address(), one_.address()});
    // Refused after 40 s, and then not answered.
    one_.serves = false;
    one_.on_operation = two_.on_operation = [&] {
      clock_.jumped_ns += 40 * kNsPerS;
      return one_.operations == 1 && two_.operations == 0;
    };
    two_.operations = 0;
    const uint64_t begun_ns = clock_.NowNs();
    if (is_multi_get) {
      scheduler_.RunUntilDone((*router)->MultiGet(keys, values, statuses));
    } else {
      statuses[0] = scheduler_.RunUntilDone((*router)->Get(key, &values[0]));
    }
    EXPECT_TRUE(absl::IsDeadlineExceeded(statuses[0])) << statuses[0];
    EXPECT_EQ(one_.operations, 1);
    EXPECT_EQ(two_.operations, 1) << "done again";
    EXPECT_LT(clock_.NowNs() - begun_ns, 100 * kNsPerS) << "a time of its own";
  }
}

// Goal: a list that is not that of its view, or rubbish, is refused at once.
TEST_F(RouterTest, ListsThatMakeNoSenseAreDataLoss) {
  kvs::ClusterAnswer wrong = AnswerOf({one_.address(), two_.address()}, 1);
  ++wrong.place.view;
  for (const std::string& bytes : {std::string("rubbish"), kvs::EncodeClusterAnswer(wrong)}) {
    one_.tell = [&bytes] { return bytes; };
    const absl::Status status = Connect().status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(one_.address().ToString()));
  }
}

// Goal: so is a server that says one thing when it is connected to, and another when it is asked.
TEST_F(RouterTest, ServerOfTwoPlacesIsDataLoss) {
  bool first = true;
  one_.tell = [&] {
    const std::vector<HostPort> servers = {one_.address(), two_.address()};
    const uint32_t number = std::exchange(first, false) ? 2 : 1;
    return kvs::EncodeClusterAnswer(AnswerOf(servers, number));
  };
  const absl::Status status = Connect().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("another place"));
}

}  // namespace
}  // namespace acre
