#include "server/socket_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvs/socket_wire.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/wait_queue.h"
#include "transport/server_place.h"

namespace acre::server {
namespace {

using kvs::SocketOpcode;
using kvs::SocketRequestHeader;
using kvs::SocketResponseHeader;
using testing::HasSubstr;

// A store whose Puts may be held back, as a bucket's lock does.
class FakeStore : public SocketService {
 public:
  explicit FakeStore(Scheduler* scheduler) : unlocked_(scheduler) { unlocked_.Set(); }

  bool GetAtOnce(absl::string_view key, std::string* value, absl::Status* status) override {
    if (key == kBusyKey && !unlocked_.is_set()) return false;
    *status = Find(key, value);
    return true;
  }
  Task<absl::Status> Get(absl::string_view key, std::string* value) override {
    ++gets_begun_;
    co_await unlocked_.Wait();
    co_return Find(key, value);
  }
  Task<absl::Status> Put(absl::string_view key, absl::string_view value) override {
    ++puts_begun_;
    co_await unlocked_.Wait();
    records_[std::string(key)] = std::string(value);
    co_return absl::OkStatus();
  }
  Task<absl::Status> Delete(absl::string_view key) override {
    co_await unlocked_.Wait();
    const bool erased = records_.erase(std::string(key)) > 0;
    co_return erased ? absl::OkStatus() : absl::NotFoundError("no such record");
  }
  std::string Stats() override { return absl::StrCat("records ", records_.size(), "\n"); }
  absl::Status Cluster(uint64_t view, std::string* answer) override {
    if (view != 0 && view != kView) return transport::OtherView(kView, view);
    *answer = "the cluster";
    return absl::OkStatus();
  }
  absl::Status Find(absl::string_view key, std::string* value) const {
    const auto found = records_.find(std::string(key));
    if (found == records_.end()) return absl::NotFoundError("no such record");
    *value = found->second;
    return absl::OkStatus();
  }
  static constexpr uint64_t kView = 7;
  static constexpr absl::string_view kBusyKey = "busy";  // Gets of it wait for the lock, too.

  void Lock() { unlocked_.Reset(); }
  void Unlock() { unlocked_.Set(); }
  int puts_begun() const { return puts_begun_; }
  int gets_begun() const { return gets_begun_; }  // That had to wait.

 private:
  std::map<std::string, std::string> records_;
  Event unlocked_;
  int puts_begun_ = 0;
  int gets_begun_ = 0;
};

std::string Header(uint8_t opcode, size_t key_bytes, size_t value_bytes, uint8_t reserved = 0) {
  const SocketRequestHeader header = {.opcode = opcode,
                                      .reserved0 = reserved,
                                      .key_bytes = static_cast<uint16_t>(key_bytes),
                                      .value_bytes = static_cast<uint32_t>(value_bytes)};
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header));
}

std::string Request(SocketOpcode opcode, absl::string_view key, absl::string_view value = "") {
  return absl::StrCat(Header(static_cast<uint8_t>(opcode), key.size(), value.size()), key, value);
}
std::string BytesOf(uint64_t view) {
  return std::string(reinterpret_cast<const char*>(&view), sizeof(view));
}
std::string Get(absl::string_view key) { return Request(SocketOpcode::kGet, key); }
std::string Put(absl::string_view key, absl::string_view value) {
  return Request(SocketOpcode::kPut, key, value);
}
std::string Delete(absl::string_view key) { return Request(SocketOpcode::kDelete, key); }

// The client's end of a connection, on the test's thread: it steps the server while it waits.
class Peer {
 public:
  Peer(Scheduler* scheduler, int fd) : scheduler_(scheduler), fd_(fd) {}
  Peer(Peer&& other) noexcept
      : scheduler_(other.scheduler_), fd_(std::exchange(other.fd_, -1)), input_(other.input_) {}
  ~Peer() { Close(); }

  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }
  void FinishSending() { shutdown(fd_, SHUT_WR); }

  void Send(absl::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
      CHECK(sent > 0 || errno == EAGAIN);
      scheduler_->RunOnce();
    }
  }
  // Sends till the other side takes no more for a while. The number of bytes taken.
  size_t SendTillStuck(absl::string_view bytes) {
    size_t taken_bytes = 0;
    int stuck_count = 0;
    while (stuck_count < 1000 && !bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      stuck_count = sent > 0 ? 0 : stuck_count + 1;
      if (sent > 0) {
        taken_bytes += static_cast<size_t>(sent);
        bytes.remove_prefix(static_cast<size_t>(sent));
      }
      scheduler_->RunOnce();
    }
    return taken_bytes;
  }

  // The next answer: its opcode, code and payload. code 255: the connection ended instead.
  struct Answer {
    uint8_t opcode = 0;
    uint8_t code = 255;
    std::string payload;
  };
  Answer Receive() {
    Answer answer;
    if (!Await(sizeof(SocketResponseHeader))) return answer;
    SocketResponseHeader header;
    std::memcpy(&header, input_.data(), sizeof(header));
    if (!Await(sizeof(header) + header.payload_bytes)) return answer;
    answer = {header.opcode, header.code, input_.substr(sizeof(header), header.payload_bytes)};
    input_.erase(0, sizeof(header) + header.payload_bytes);
    return answer;
  }
  // "code payload", for tests that look at these alone.
  std::string ReceiveText() {
    const Answer answer = Receive();
    return absl::StrCat(answer.code, " ", answer.payload);
  }
  // Nothing more comes, and the connection ends.
  bool AtEnd() { return !Await(1) && input_.empty(); }

 private:
  bool Await(size_t bytes) {
    char space[65536];
    while (input_.size() < bytes) {
      const ssize_t got = recv(fd_, space, sizeof(space), MSG_DONTWAIT);
      if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
      if (got > 0) input_.append(space, static_cast<size_t>(got));
      scheduler_->RunOnce();
    }
    return true;
  }

  Scheduler* const scheduler_;
  int fd_;
  std::string input_;
};

class SocketServerTest : public testing::Test {
 protected:
  SocketServerTest()
      : scheduler_({.clock = &clock_}),
        store_(&scheduler_),
        server_(std::make_unique<SocketServer>(&scheduler_, &store_)) {
    listen_fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    PCHECK(bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    PCHECK(listen(listen_fd_, 1024) == 0);
    socklen_t size = sizeof(address_);
    PCHECK(getsockname(listen_fd_, reinterpret_cast<sockaddr*>(&address_), &size) == 0);
  }
  ~SocketServerTest() override { close(listen_fd_); }

  Peer Connect(std::string already_read = "") {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    PCHECK(connect(fd, reinterpret_cast<sockaddr*>(&address_), sizeof(address_)) == 0);
    const int accepted = accept(listen_fd_, nullptr, nullptr);
    PCHECK(accepted >= 0);
    server_->AddConnection(accepted, std::move(already_read));
    return Peer(&scheduler_, fd);
  }

  uint64_t open_count() {
    return server_->counters().connections_open.Load(std::memory_order_relaxed);
  }
  uint64_t refused_count() {
    return server_->counters().connections_refused.Load(std::memory_order_relaxed);
  }

  RealClock clock_;
  Scheduler scheduler_;
  FakeStore store_;
  std::unique_ptr<SocketServer> server_;
  int listen_fd_ = -1;
  sockaddr_in address_ = {};
};

const std::string kOk = "0 ";
const std::string kNotFound = "5 no such record";

TEST_F(SocketServerTest, AnswersEachKindOfRequest) {
  Peer peer = Connect();
  peer.Send(Get("k"));
  EXPECT_EQ(peer.ReceiveText(), kNotFound);
  peer.Send(Put("k", absl::string_view("v\0w", 3)));
  EXPECT_EQ(peer.ReceiveText(), kOk);
  peer.Send(Get("k"));
  EXPECT_EQ(peer.ReceiveText(), absl::StrCat("0 ", absl::string_view("v\0w", 3)));
  peer.Send(Header(static_cast<uint8_t>(SocketOpcode::kStats), 0, 0));
  EXPECT_EQ(peer.ReceiveText(), "0 records 1\n");
  for (const uint64_t view : {uint64_t{0}, FakeStore::kView}) {
    peer.Send(Request(SocketOpcode::kCluster, "", BytesOf(view)));
    EXPECT_EQ(peer.ReceiveText(), "0 the cluster");
  }
  peer.Send(Request(SocketOpcode::kCluster, "", BytesOf(FakeStore::kView + 1)));
  EXPECT_THAT(peer.ReceiveText(), HasSubstr("differs"));
  peer.Send(Delete("k"));
  EXPECT_EQ(peer.ReceiveText(), kOk);
  peer.Send(Delete("k"));
  EXPECT_EQ(peer.ReceiveText(), kNotFound);
  EXPECT_EQ(server_->counters().requests.Load(std::memory_order_relaxed), 9u);
}

// Goal: answers come in the order of the requests, and each request sees those before it.
TEST_F(SocketServerTest, PipelinedRequestsAreAnsweredInOrder) {
  Peer peer = Connect();
  std::string requests;
  for (int i = 0; i < 1000; ++i) {
    absl::StrAppend(&requests, Put("k", absl::StrCat(i)), Get("k"), Delete("k"), Get("k"));
  }
  peer.Send(requests);
  for (int i = 0; i < 1000; ++i) {
    const Peer::Answer put = peer.Receive();
    ASSERT_EQ(put.opcode, static_cast<uint8_t>(SocketOpcode::kPut));
    ASSERT_EQ(put.code, 0);
    ASSERT_EQ(peer.ReceiveText(), absl::StrCat("0 ", i));
    ASSERT_EQ(peer.ReceiveText(), kOk);
    ASSERT_EQ(peer.ReceiveText(), kNotFound);
  }
}

TEST_F(SocketServerTest, RequestsThatComeByteByByteAreAnswered) {
  Peer peer = Connect();
  const std::string requests = absl::StrCat(Put("key", "value"), Get("key"), Delete("key"));
  for (const char byte : requests) peer.Send(absl::string_view(&byte, 1));
  EXPECT_EQ(peer.ReceiveText(), kOk);
  EXPECT_EQ(peer.ReceiveText(), "0 value");
  EXPECT_EQ(peer.ReceiveText(), kOk);
}

TEST_F(SocketServerTest, BytesReadBeforeTheHandOverCount) {
  const std::string requests = absl::StrCat(Put("key", "value"), Get("key"));
  Peer peer = Connect(requests.substr(0, 11));
  peer.Send(requests.substr(11));
  EXPECT_EQ(peer.ReceiveText(), kOk);
  EXPECT_EQ(peer.ReceiveText(), "0 value");
  Peer other = Connect(Get("key"));
  EXPECT_EQ(other.ReceiveText(), "0 value");
}

TEST_F(SocketServerTest, LargestKeyAndValueGoThroughAndTheEmptyValue) {
  Peer peer = Connect();
  const std::string key(kvs::kKeyBytesMax, 'k');
  std::string value(kvs::kValueBytesMax, 'v');
  for (size_t i = 0; i < value.size(); i += 997) value[i] = static_cast<char>(i);
  for (int i = 0; i < 3; ++i) {
    peer.Send(absl::StrCat(Put(key, value), Get(key), Put("empty", ""), Get("empty")));
    EXPECT_EQ(peer.ReceiveText(), kOk);
    EXPECT_TRUE(peer.ReceiveText() == absl::StrCat("0 ", value));
    EXPECT_EQ(peer.ReceiveText(), kOk);
    EXPECT_EQ(peer.ReceiveText(), "0 ");
  }
}

struct BadBytes {
  const char* name;
  std::string bytes;
  const char* why;
};
class SocketServerBadBytesTest : public SocketServerTest,
                                 public testing::WithParamInterface<BadBytes> {};

// Goal: what came before is answered, then why, then the end; other connections notice nothing.
TEST_P(SocketServerBadBytesTest, CloseThatConnectionOnly) {
  Peer good = Connect();
  good.Send(Put("k", "v"));
  EXPECT_EQ(good.ReceiveText(), kOk);
  Peer bad = Connect();
  bad.Send(absl::StrCat(Get("k"), GetParam().bytes));
  EXPECT_EQ(bad.ReceiveText(), "0 v");
  const Peer::Answer answer = bad.Receive();
  EXPECT_EQ(answer.code, static_cast<uint8_t>(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(answer.payload, HasSubstr(GetParam().why));
  EXPECT_TRUE(bad.AtEnd());
  EXPECT_EQ(refused_count(), 1u);
  bad.Close();
  while (open_count() > 1) scheduler_.RunOnce();
  good.Send(Get("k"));
  EXPECT_EQ(good.ReceiveText(), "0 v");
}

INSTANTIATE_TEST_SUITE_P(
    All, SocketServerBadBytesTest,
    testing::Values(
        BadBytes{"Garbage", "GET / HTTP/1.1\r\nHost: acre\r\n\r\n", "unknown opcode"},
        BadBytes{"OpcodeZero", std::string(8, '\0'), "unknown opcode"},
        BadBytes{"ReservedByte", absl::StrCat(Header(1, 1, 0, 7), "k"), "reserved byte"},
        BadBytes{"EmptyKey", Header(1, 0, 0), "key is empty"},
        BadBytes{"LongKey", Header(1, 4097, 0), "longer than 4096"},
        BadBytes{"LongestKey", Header(2, 65535, 10), "longer than 4096"},
        BadBytes{"LongValue", absl::StrCat(Header(2, 1, (1 << 20) + 1), "k"), "1048576"},
        BadBytes{"LongestValue", absl::StrCat(Header(2, 1, UINT32_MAX), "k"), "1048576"},
        BadBytes{"GetWithValue", absl::StrCat(Header(1, 1, 5), "kvalue"), "no value"},
        BadBytes{"StatsWithKey", absl::StrCat(Header(4, 3, 0), "key"), "no key"},
        BadBytes{"ClusterWithKey", absl::StrCat(Header(5, 3, 8), "key12345678"), "no key"},
        BadBytes{"ClusterWithoutView", Header(5, 0, 0), "8 bytes"},
        BadBytes{"MuchBehindIt", std::string(1 << 20, '\xff'), "unknown opcode"}),
    [](const auto& param_info) { return param_info.param.name; });

TEST_F(SocketServerTest, EndlessGarbageEndsTheConnection) {
  Peer peer = Connect();
  const std::string garbage(1 << 20, '\xff');
  for (int i = 0; i < 64 && open_count() > 0; ++i) peer.SendTillStuck(garbage);
  EXPECT_EQ(open_count(), 0u);
}

// Goal: a client that sends and never reads costs a bounded amount of memory, and keeps nobody
// waiting.
TEST_F(SocketServerTest, SlowReaderIsNotReadOnAndGetsAllItsAnswersInTheEnd) {
  Peer slow = Connect();
  const std::string value(100'000, 'v');
  slow.Send(Put("k", value));
  EXPECT_EQ(slow.ReceiveText(), kOk);
  std::string requests;
  constexpr int kRequestsCount = 1'000'000;
  for (int i = 0; i < kRequestsCount; ++i) requests += Get("k");
  const size_t taken_bytes = slow.SendTillStuck(requests);
  EXPECT_LT(taken_bytes, requests.size());
  const uint64_t executed = server_->counters().requests.Load(std::memory_order_relaxed);
  EXPECT_LT(executed * value.size(), 64u << 20);  // The kernel's buffers, and ours.

  Peer other = Connect();
  other.Send(Get("k"));
  EXPECT_TRUE(other.ReceiveText() == absl::StrCat("0 ", value));

  const size_t complete = taken_bytes / Get("k").size();
  for (size_t i = 0; i < std::min<size_t>(complete, 3000); ++i) {
    ASSERT_TRUE(slow.ReceiveText() == absl::StrCat("0 ", value)) << i;
  }
}

// Goal: a Put that waits for a lock holds back its own connection, and no other.
TEST_F(SocketServerTest, WaitingPutSuspendsItsConnectionOnly) {
  Peer peer = Connect();
  Peer other = Connect();
  store_.Lock();
  peer.Send(absl::StrCat(Get("k"), Put("k", "1"), Get("k"), Put("k", "2")));
  while (store_.puts_begun() == 0) scheduler_.RunOnce();
  peer.Send(absl::StrCat(Get("k"), Delete("k")));
  other.Send(Get("k"));
  EXPECT_EQ(other.ReceiveText(), kNotFound);
  EXPECT_EQ(store_.puts_begun(), 1);
  store_.Unlock();
  EXPECT_EQ(peer.ReceiveText(), kNotFound);
  EXPECT_EQ(peer.ReceiveText(), kOk);
  EXPECT_EQ(peer.ReceiveText(), "0 1");
  EXPECT_EQ(peer.ReceiveText(), kOk);
  EXPECT_EQ(peer.ReceiveText(), "0 2");
  EXPECT_EQ(peer.ReceiveText(), kOk);
}

// Goal: likewise a Get that waits for a writer. Its answer stays in order, and is its own.
TEST_F(SocketServerTest, WaitingGetSuspendsItsConnectionOnly) {
  Peer peer = Connect();
  Peer other = Connect();
  peer.Send(absl::StrCat(Put("busy", "1"), Put("k", "2")));
  EXPECT_EQ(peer.ReceiveText(), kOk);
  EXPECT_EQ(peer.ReceiveText(), kOk);
  store_.Lock();
  peer.Send(absl::StrCat(Get("k"), Get("busy"), Get("k"), Get("nobody")));
  while (store_.gets_begun() == 0) scheduler_.RunOnce();
  other.Send(absl::StrCat(Get("k"), Get("nobody")));
  EXPECT_EQ(other.ReceiveText(), "0 2");
  EXPECT_EQ(other.ReceiveText(), kNotFound);
  EXPECT_EQ(store_.gets_begun(), 1);
  store_.Unlock();
  EXPECT_EQ(peer.ReceiveText(), "0 2");
  EXPECT_EQ(peer.ReceiveText(), "0 1");
  EXPECT_EQ(peer.ReceiveText(), "0 2");
  EXPECT_EQ(peer.ReceiveText(), kNotFound);
}

TEST_F(SocketServerTest, DisconnectInTheMiddleOfARequestEndsTheConnection) {
  Peer peer = Connect();
  peer.Send(Put("key", std::string(1000, 'v')).substr(0, 500));
  peer.Close();
  while (open_count() > 0) scheduler_.RunOnce();
  EXPECT_EQ(store_.puts_begun(), 0);
  EXPECT_EQ(refused_count(), 0u);
}

TEST_F(SocketServerTest, DisconnectWhileAPutWaitsLetsThePutFinish) {
  Peer peer = Connect();
  store_.Lock();
  peer.Send(Put("key", "v"));
  while (store_.puts_begun() == 0) scheduler_.RunOnce();
  peer.Close();
  for (int i = 0; i < 100; ++i) scheduler_.RunOnce();
  EXPECT_EQ(open_count(), 1u);
  store_.Unlock();
  while (open_count() > 0) scheduler_.RunOnce();
  std::string value;
  EXPECT_TRUE(store_.Find("key", &value).ok());
}

TEST_F(SocketServerTest, ServerThatGoesCancelsWhatWaits) {
  Peer peer = Connect();
  store_.Lock();
  peer.Send(Put("key", "v"));
  while (store_.puts_begun() == 0) scheduler_.RunOnce();
  server_.reset();
  EXPECT_TRUE(peer.AtEnd());
  store_.Unlock();
}

// Goal: a client that shuts down its sending side still gets all answers.
TEST_F(SocketServerTest, HalfClosedConnectionIsAnsweredToTheEnd) {
  Peer peer = Connect();
  const std::string value(100'000, 'v');
  peer.Send(Put("k", value));
  EXPECT_EQ(peer.ReceiveText(), kOk);
  std::string requests;
  for (int i = 0; i < 100; ++i) requests += Get("k");
  peer.Send(requests);
  peer.FinishSending();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(peer.ReceiveText() == absl::StrCat("0 ", value)) << i;
  }
  EXPECT_TRUE(peer.AtEnd());
  EXPECT_EQ(open_count(), 0u);
}

TEST_F(SocketServerTest, ManyConnectionsAreServedSideBySide) {
  std::vector<Peer> peers;
  constexpr int kPeersCount = 300;
  for (int i = 0; i < kPeersCount; ++i) peers.push_back(Connect());
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < kPeersCount; ++i) {
      const std::string key = absl::StrCat("key", i);
      peers[i].Send(absl::StrCat(Put(key, absl::StrCat(i, "/", round)), Get(key)));
    }
    for (int i = 0; i < kPeersCount; ++i) {
      ASSERT_EQ(peers[i].ReceiveText(), kOk);
      ASSERT_EQ(peers[i].ReceiveText(), absl::StrCat("0 ", i, "/", round));
    }
  }
  EXPECT_EQ(open_count(), static_cast<uint64_t>(kPeersCount));
  peers.clear();
  while (open_count() > 0) scheduler_.RunOnce();
}

}  // namespace
}  // namespace acre::server
