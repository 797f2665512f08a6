#include "client/socket_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvs/limits.h"
#include "kvs/socket_wire.h"
#include "runtime/clock.h"
#include "runtime/deadline.h"
#include "runtime/scheduler.h"

namespace acre {
namespace {

using kvs::SocketOpcode;
using kvs::SocketRequestHeader;
using kvs::SocketResponseHeader;
using testing::HasSubstr;

std::string Response(SocketOpcode opcode, absl::StatusCode code, absl::string_view payload,
                     uint16_t reserved = 0) {
  const SocketResponseHeader header = {.opcode = static_cast<uint8_t>(opcode),
                                       .code = static_cast<uint8_t>(code),
                                       .reserved0 = reserved,
                                       .payload_bytes = static_cast<uint32_t>(payload.size())};
  return absl::StrCat(absl::string_view(reinterpret_cast<const char*>(&header), sizeof(header)),
                      payload);
}
std::string Value(absl::string_view value) {
  return Response(SocketOpcode::kGet, absl::StatusCode::kOk, value);
}

// The server's end of the connection, played by the test on the same thread.
class SocketClientTest : public testing::Test {
 protected:
  SocketClientTest() : scheduler_({.clock = &clock_}) {
    listen_fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    PCHECK(bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    PCHECK(listen(listen_fd_, 16) == 0);
    socklen_t size = sizeof(address);
    PCHECK(getsockname(listen_fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    server_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
    auto client = scheduler_.RunUntilDone(
        SocketClient::Connect(&scheduler_, server_, clock_.NowNs() + 10'000'000'000));
    CHECK(client.ok()) << client.status();
    client_ = *std::move(client);
    fd_ = accept(listen_fd_, nullptr, nullptr);
    PCHECK(fd_ >= 0);
  }
  ~SocketClientTest() override {
    client_.reset();
    CloseServer();
    close(listen_fd_);
  }

  void CloseServer() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }
  std::string Receive(size_t bytes) {
    std::string received(bytes, '\0');
    size_t got = 0;
    while (got < bytes) {
      const ssize_t count = recv(fd_, received.data() + got, bytes - got, MSG_DONTWAIT);
      CHECK(count > 0 || errno == EAGAIN);
      if (count > 0) got += static_cast<size_t>(count);
      scheduler_.RunOnce();
    }
    return received;
  }
  void Send(absl::string_view bytes) {
    PCHECK(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size()));
  }

  // A call under way: spawned, its answer kept.
  struct Call {
    std::string key = "key";
    std::string value;
    absl::Status status = absl::UnknownError("not done");
    SpawnHandle task;
  };
  Task<void> RunGet(Call* call) {
    absl::Status status = co_await client_->Get(call->key, &call->value);
    call->status = status;
  }
  std::unique_ptr<Call> StartGet() {
    auto call = std::make_unique<Call>();
    call->task = scheduler_.Spawn(RunGet(call.get()));
    return call;
  }
  void Finish(Call* call) {
    while (!call->task.done()) scheduler_.RunOnce();
  }
  static constexpr size_t kGetBytes = sizeof(SocketRequestHeader) + 3;

  RealClock clock_;
  Scheduler scheduler_;
  int listen_fd_ = -1;
  int fd_ = -1;
  std::string server_;
  std::unique_ptr<SocketClient> client_;
};

TEST_F(SocketClientTest, SaysWhoItIsBeforeAnyRequest) {
  EXPECT_EQ(Receive(8), kvs::kSocketPreamble);
}

TEST_F(SocketClientTest, CallsOfOnePassLeaveTogetherAndAreAnsweredInOrder) {
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 100; ++i) calls.push_back(StartGet());
  Receive(8 + 100 * kGetBytes);
  std::string answers;
  for (int i = 0; i < 100; ++i) answers += Value(absl::StrCat("value ", i));
  Send(answers);
  for (int i = 0; i < 100; ++i) {
    Finish(calls[i].get());
    EXPECT_TRUE(calls[i]->status.ok());
    EXPECT_EQ(calls[i]->value, absl::StrCat("value ", i));
  }
}

TEST_F(SocketClientTest, AnswerThatComesByteByByteIsUnderstood) {
  const auto call = StartGet();
  Receive(8 + kGetBytes);
  for (const char byte : Value("slow")) {
    Send(absl::string_view(&byte, 1));
    for (int i = 0; i < 10; ++i) scheduler_.RunOnce();
  }
  Finish(call.get());
  EXPECT_EQ(call->value, "slow");
}

TEST_F(SocketClientTest, ErrorsOfTheServerArrive) {
  const auto call = StartGet();
  Receive(8 + kGetBytes);
  Send(Response(SocketOpcode::kGet, absl::StatusCode::kNotFound, "no such record"));
  Finish(call.get());
  EXPECT_EQ(call->status, absl::NotFoundError("no such record"));
  EXPECT_TRUE(client_->status().ok());
}

TEST_F(SocketClientTest, LimitsAreJudgedBeforeAnythingIsSent) {
  const std::string key(kvs::kKeyBytesMax + 1, 'k');
  const std::string value(kvs::kValueBytesMax + 1, 'v');
  EXPECT_TRUE(absl::IsInvalidArgument(scheduler_.RunUntilDone(client_->Put("", "v"))));
  EXPECT_TRUE(absl::IsInvalidArgument(scheduler_.RunUntilDone(client_->Put(key, "v"))));
  EXPECT_TRUE(absl::IsInvalidArgument(scheduler_.RunUntilDone(client_->Put("k", value))));
  EXPECT_TRUE(absl::IsInvalidArgument(scheduler_.RunUntilDone(client_->Delete(key))));
}

TEST_F(SocketClientTest, MultiGetMixesAnswersAndRefusals) {
  const std::vector<absl::string_view> keys = {"aaa", "", "bbb"};
  std::vector<std::string> values(3);
  std::vector<absl::Status> statuses(3);
  Send(absl::StrCat(Value("1"), Response(SocketOpcode::kGet, absl::StatusCode::kNotFound, "none")));
  // The answers lie ready, and are read only when there is a request for them.
  scheduler_.RunUntilDone(
      client_->MultiGet(keys, absl::MakeSpan(values), absl::MakeSpan(statuses)));
  EXPECT_TRUE(statuses[0].ok());
  EXPECT_EQ(values[0], "1");
  EXPECT_TRUE(absl::IsInvalidArgument(statuses[1]));
  EXPECT_TRUE(absl::IsNotFound(statuses[2]));
}

// Goal: a call that is given up leaves its place in the order: later answers find their callers.
TEST_F(SocketClientTest, CancelledCallDoesNotShiftTheOthers) {
  const auto first = StartGet();
  const auto second = StartGet();
  const auto third = StartGet();
  Receive(8 + 3 * kGetBytes);
  second->task.Cancel();
  Send(absl::StrCat(Value("1"), Value("2"), Value("3")));
  Finish(first.get());
  Finish(third.get());
  EXPECT_EQ(first->value, "1");
  EXPECT_EQ(third->value, "3");
  EXPECT_EQ(second->value, "");
}

TEST_F(SocketClientTest, ServerThatGoesFailsAllCallsAndLaterOnes) {
  const auto first = StartGet();
  const auto second = StartGet();
  Receive(8 + 2 * kGetBytes);
  Send(Value("1"));
  CloseServer();
  Finish(first.get());
  Finish(second.get());
  EXPECT_EQ(first->value, "1");
  EXPECT_TRUE(absl::IsUnavailable(second->status));
  EXPECT_TRUE(absl::IsUnavailable(client_->status()));
  std::string value;
  EXPECT_TRUE(absl::IsUnavailable(scheduler_.RunUntilDone(client_->Get("key", &value))));
}

TEST_F(SocketClientTest, ClientThatGoesFailsItsCalls) {
  const auto call = StartGet();
  Receive(8 + kGetBytes);
  client_.reset();
  Finish(call.get());
  EXPECT_TRUE(absl::IsUnavailable(call->status));
}

// Goal: who is refused learns why, in the server's words, whatever it has asked for meanwhile.
TEST_F(SocketClientTest, ARefusalIsWhatAllCallsGet) {
  const auto first = StartGet();
  const auto second = StartGet();
  Receive(8 + 2 * kGetBytes);
  const absl::Status why = absl::PermissionDeniedError("the server asks for a secret");
  const std::string refusal = kvs::EncodeSocketRefusal(why);
  Send(absl::StrCat(Value("1"), absl::string_view(refusal).substr(0, 20)));
  Finish(first.get());
  EXPECT_EQ(first->value, "1");
  Send(absl::string_view(refusal).substr(20));
  Finish(second.get());
  EXPECT_EQ(second->status, why);
  EXPECT_EQ(client_->status(), why);
  std::string value;
  EXPECT_EQ(scheduler_.RunUntilDone(client_->Get("key", &value)), why);
}

// Goal: a server's bytes are judged: nonsense breaks the connection with a reason, nothing else.
TEST_F(SocketClientTest, NonsenseFromTheServerBreaksTheConnection) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {Response(SocketOpcode::kPut, absl::StatusCode::kOk, ""), "another kind"},
      {Response(SocketOpcode::kGet, absl::StatusCode::kOk, "v", 1), "reserved"},
      {Response(SocketOpcode::kGet, static_cast<absl::StatusCode>(17), ""), "status code"},
      {Response(SocketOpcode::kGet, absl::StatusCode::kNotFound, std::string(1025, 'm')),
       "message is too long"},
      {std::string("\x01\x00\x00\x00\xff\xff\xff\xff", 8), "1048576"},
      {std::string("\0\0\0\0\0\0\0\0", 8), "refusal makes no sense: unknown status code"},
      {std::string("\0\x07\x01\0\0\0\0\0", 8), "refusal makes no sense: reserved"},
      {std::string("\0\x07\0\0\x01\x04\0\0", 8), "refusal makes no sense: message is too long"},
  };
  for (const auto& [bytes, why] : cases) {
    const std::unique_ptr<SocketConnection> connection =
        SocketConnection::Connect(server_, 10'000).value();
    const int fd = accept(listen_fd_, nullptr, nullptr);
    PCHECK(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0);
    connection->QueueGet("key");
    SocketResponse response;
    bool drained = false;
    while (connection->Receive(&drained).ok()) EXPECT_FALSE(connection->Next(&response));
    EXPECT_TRUE(absl::IsUnavailable(connection->status()));
    EXPECT_THAT(connection->status().message(), HasSubstr(why));
    close(fd);
  }
}

TEST(SocketConnectionTest, BadNamesAndClosedPortsAreTold) {
  EXPECT_TRUE(absl::IsInvalidArgument(SocketConnection::Connect("nonsense", 1000).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(SocketConnection::Connect("host:99999", 1000).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(SocketConnection::Connect(":80", 1000).status()));
  const absl::Status closed = SocketConnection::Connect("127.0.0.1:1", 1000).status();
  EXPECT_TRUE(absl::IsUnavailable(closed));
  EXPECT_THAT(closed.message(), HasSubstr("127.0.0.1:1"));
  RealClock clock;
  Scheduler scheduler({.clock = &clock});
  EXPECT_TRUE(absl::IsUnavailable(scheduler
                                      .RunUntilDone(SocketClient::Connect(
                                          &scheduler, "127.0.0.1:1", clock.NowNs() + 1'000'000'000))
                                      .status()));
}

}  // namespace
}  // namespace acre
