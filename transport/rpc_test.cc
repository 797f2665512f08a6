// Calls: two schedulers driven pass by pass by one thread.

#include "transport/rpc.h"

#include <array>
#include <bit>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/deadline.h"
#include "runtime/frame_pool.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/rpc_test_util.h"

namespace acre::transport {
namespace {

using ::testing::HasSubstr;

enum Method : uint16_t { kEcho = 1, kFail = 2, kWait = 3 };

class TestHandler : public RpcHandler {
 public:
  explicit TestHandler(Scheduler* scheduler) : go_on(scheduler) {}

  Task<absl::Status> Handle(RpcContext* context) override {
    const Guard guard(this);
    order.emplace_back(context->request.substr(0, 16));
    if (context->method == kFail) {
      co_return absl::NotFoundError(context->request);
    }
    if (context->method == kWait) co_await go_on.Wait();
    if (context->method > kWait) co_return absl::UnimplementedError("no such method");
    context->response.assign(context->request.data(), context->request.size());
    co_return absl::OkStatus();
  }

  WaitQueue go_on;
  std::vector<std::string> order;
  int running = 0;

 private:
  // Also runs when a handler is cancelled.
  struct Guard {
    explicit Guard(TestHandler* h) : handler(h) { ++handler->running; }
    ~Guard() { --handler->running; }
    TestHandler* const handler;
  };
};

// A call and what became of it.
struct Call {
  std::string request = {};
  std::string response = {};
  absl::Status status = absl::UnknownError("not done");
  SpawnHandle handle = {};
};

Task<void> RunCall(RpcPeer* peer, uint16_t method, Call* call) {
  call->status = co_await peer->Call(method, "", call->request, &call->response);
}
Task<void> RunCallUntil(Scheduler* scheduler, uint64_t deadline_ns, RpcPeer* peer, uint16_t method,
                        Call* call) {
  Task<absl::Status> task = peer->Call(method, "", call->request, &call->response);
  call->status = co_await WithDeadline(*scheduler, deadline_ns, std::move(task));
}

class RpcTest : public ::testing::Test {
 protected:
  // Handlers that still wait are cancelled before what they wait for goes.
  void TearDown() override {
    client_.CloseAll();
    server_.CloseAll();
  }
  void JoinNodes(const ChannelOptions& options = {}) {
    ASSERT_NO_FATAL_FAILURE(JoinChannels(&client_, &server_, options));
    client_.StartRpc(client_.peers[0].get(), &client_handler_);
    server_.StartRpc(server_.peers[0].get(), &handler_);
  }
  RpcPeer* peer() { return client_.peers[0]->rpc.get(); }
  void Start(uint16_t method, Call* call) {
    call->handle = client_.scheduler.Spawn(RunCall(peer(), method, call));
  }
  void StepBoth() {
    client_.scheduler.RunOnce();
    server_.scheduler.RunOnce();
  }
  void RunUntilDone(const Call& call) {
    while (!call.handle.done()) StepBoth();
  }
  void RunUntilIdle() {
    for (int idle = 0; idle < TestFabricIdlePasses();) {
      const bool client_worked = client_.scheduler.RunOnce();
      const bool server_worked = server_.scheduler.RunOnce();
      idle = client_worked || server_worked ? 0 : idle + 1;
    }
  }

  RealClock clock_;
  RpcNode client_{&clock_};
  RpcNode server_{&clock_};
  TestHandler client_handler_{&client_.scheduler};
  TestHandler handler_{&server_.scheduler};
};

TEST_F(RpcTest, ResponsesAndStatusesTravel) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  Call echo = {.request = "hello"};
  Start(kEcho, &echo);
  RunUntilDone(echo);
  EXPECT_TRUE(echo.status.ok()) << echo.status;
  EXPECT_EQ(echo.response, "hello");

  Call fail = {.request = std::string(5000, 'n'), .response = "untouched"};
  Start(kFail, &fail);
  RunUntilDone(fail);
  EXPECT_EQ(fail.status, absl::NotFoundError(std::string(kStatusMessageBytesMax, 'n')));
  EXPECT_EQ(fail.response, "untouched");

  Call unknown;
  Start(77, &unknown);
  RunUntilDone(unknown);
  EXPECT_TRUE(absl::IsUnimplemented(unknown.status)) << unknown.status;
  EXPECT_EQ(peer()->calls_outstanding(), 0u);
}

TEST_F(RpcTest, BothSidesCall) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  Call from_client = {.request = "ping"};
  Call from_server = {.request = "pong"};
  Start(kEcho, &from_client);
  from_server.handle =
      server_.scheduler.Spawn(RunCall(server_.peers[0]->rpc.get(), kEcho, &from_server));
  RunUntilDone(from_client);
  RunUntilDone(from_server);
  EXPECT_EQ(from_client.response, "ping");
  EXPECT_EQ(from_server.response, "pong");
}

// Goal: more calls at once than there are slots: all wait their turn, in order.
TEST_F(RpcTest, CallsBeyondTheLimitWaitInOrder) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  std::vector<Call> calls(3 * kCallsMax);
  for (size_t i = 0; i < calls.size(); ++i) {
    calls[i].request = absl::StrCat(i);
    Start(kEcho, &calls[i]);
  }
  for (const Call& call : calls) RunUntilDone(call);
  ASSERT_EQ(handler_.order.size(), calls.size());
  for (size_t i = 0; i < calls.size(); ++i) {
    EXPECT_EQ(handler_.order[i], absl::StrCat(i));
    EXPECT_TRUE(calls[i].status.ok()) << calls[i].status;
    EXPECT_EQ(calls[i].response, calls[i].request);
  }
}

// Goal: requests and responses that do not fit in a small ring, nor the large ones in the area,
// wait without losing or reordering anything.
TEST_F(RpcTest, CallsWaitForRoomInOrder) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes({.ring_bytes = kRingBytesMin}));
  std::mt19937_64 random(1);
  std::vector<Call> calls(600);
  for (size_t i = 0; i < calls.size(); ++i) {
    const size_t bytes = random() % 20 == 0 ? random() % kRpcBytesMax : random() % 300;
    calls[i].request = absl::StrCat("request ", i, " ");
    calls[i].request.resize(calls[i].request.size() + bytes, static_cast<char>('a' + i % 26));
    calls[i].request.resize(std::min<size_t>(calls[i].request.size(), kRpcBytesMax));
    Start(kEcho, &calls[i]);
  }
  for (const Call& call : calls) RunUntilDone(call);
  for (size_t i = 0; i < calls.size(); ++i) {
    ASSERT_TRUE(calls[i].status.ok()) << calls[i].status;
    ASSERT_TRUE(calls[i].response == calls[i].request) << i;
    ASSERT_EQ(handler_.order[i], calls[i].request.substr(0, 16));
  }
}

TEST_F(RpcTest, LargestRequestAndResponseArrive) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  for (int i = 0; i < 10; ++i) {
    Call call = {.request = std::string(kRpcBytesMax, static_cast<char>('a' + i))};
    Start(kEcho, &call);
    RunUntilDone(call);
    ASSERT_TRUE(call.status.ok()) << call.status;
    ASSERT_TRUE(call.response == call.request);
  }
}

// Goal: a handler that waits holds nobody up.
TEST_F(RpcTest, SuspendedHandlersLetOthersPass) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  std::vector<Call> waiting(100);
  for (Call& call : waiting) Start(kWait, &call);
  Call echo = {.request = "passes"};
  Start(kEcho, &echo);
  RunUntilDone(echo);
  EXPECT_EQ(handler_.running, 100);
  EXPECT_EQ(server_.peers[0]->rpc->requests_outstanding(), 100u);
  handler_.go_on.NotifyAll();
  for (const Call& call : waiting) {
    RunUntilDone(call);
    EXPECT_TRUE(call.status.ok()) << call.status;
  }
  EXPECT_EQ(handler_.running, 0);
}

// Goal: calls that end by deadline leak no frame, and their late answers harm nobody.
TEST_F(RpcTest, DeadlinesForgetCallsAndLeakNothing) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  Call warm_up;
  Start(kEcho, &warm_up);
  RunUntilDone(warm_up);
  warm_up.handle.Detach();
  RunUntilIdle();
  const int64_t blocks = FramePool::LiveBlocks();
  for (int round = 0; round < 3; ++round) {
    std::vector<Call> calls(200);
    for (Call& call : calls) {
      call.request = "late";
      call.handle = client_.scheduler.Spawn(
          RunCallUntil(&client_.scheduler, clock_.NowNs() + 1'000'000, peer(), kWait, &call));
    }
    for (const Call& call : calls) {
      RunUntilDone(call);
      EXPECT_TRUE(absl::IsDeadlineExceeded(call.status)) << call.status;
    }
    RunUntilIdle();  // All requests have arrived.
    EXPECT_EQ(handler_.running, 200);
    EXPECT_EQ(peer()->calls_outstanding(), 200u);
    handler_.go_on.NotifyAll();
    RunUntilIdle();
    EXPECT_EQ(peer()->calls_outstanding(), 0u);
    for (const Call& call : calls) EXPECT_EQ(call.response, "");
  }
  EXPECT_EQ(FramePool::LiveBlocks(), blocks);
  EXPECT_TRUE(client_.peers[0]->channel->ok()) << client_.peers[0]->channel->status();
}

// Goal: calls are cancelled wherever they wait: for a slot, for room, for an answer.
TEST_F(RpcTest, CallsAreCancelledWhereverTheyWait) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes({.ring_bytes = kRingBytesMin}));
  std::vector<Call> calls(kCallsMax + 100);
  for (Call& call : calls) {
    call.request = std::string(100, 'c');
    Start(kWait, &call);
  }
  client_.scheduler.RunOnce();
  ASSERT_EQ(peer()->calls_outstanding(), kCallsMax);
  for (size_t i = 0; i < calls.size(); i += 2) calls[i].handle.Cancel();
  RunUntilIdle();
  for (int i = 0; i < 100; ++i) {
    handler_.go_on.NotifyAll();
    RunUntilIdle();
  }
  for (size_t i = 0; i < calls.size(); ++i) {
    EXPECT_TRUE(calls[i].handle.done());
    EXPECT_EQ(calls[i].status.ok(), i % 2 == 1) << i << " " << calls[i].status;
  }
  EXPECT_EQ(peer()->calls_outstanding(), 0u);
}

TEST_F(RpcTest, OutstandingCallsEndWhenThePeerGoes) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  std::vector<Call> calls(kCallsMax + 10);
  for (Call& call : calls) Start(kWait, &call);
  RunUntilIdle();
  EXPECT_EQ(handler_.running, static_cast<int>(kCallsMax));
  server_.Close(0);
  EXPECT_EQ(handler_.running, 0) << "handlers under way are cancelled";
  for (const Call& call : calls) {
    while (!call.handle.done()) client_.scheduler.RunOnce();
    EXPECT_TRUE(absl::IsUnavailable(call.status)) << call.status;
  }
  Call late;
  Start(kEcho, &late);
  while (!late.handle.done()) client_.scheduler.RunOnce();
  EXPECT_TRUE(absl::IsUnavailable(late.status)) << late.status;
}

TEST_F(RpcTest, DestroyedPeerEndsItsCalls) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  std::vector<Call> calls(10);
  for (Call& call : calls) Start(kWait, &call);
  RunUntilIdle();
  client_.StopRpc(client_.peers[0].get());
  for (const Call& call : calls) {
    while (!call.handle.done()) client_.scheduler.RunOnce();
    EXPECT_TRUE(absl::IsUnavailable(call.status)) << call.status;
  }
}

// Goal: handlers that end after the channel broke do no harm.
TEST_F(RpcTest, HandlersOutliveABrokenChannel) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  Call call;
  Start(kWait, &call);
  RunUntilIdle();
  client_.Close(0);
  while (server_.peers[0]->channel->ok()) server_.scheduler.RunOnce();
  RunUntilIdle();
  EXPECT_EQ(handler_.running, 1);
  handler_.go_on.NotifyAll();
  RunUntilIdle();
  EXPECT_EQ(handler_.running, 0);
  EXPECT_EQ(server_.peers[0]->rpc->requests_outstanding(), 0u);
}

// Goal: a peer that asks for more than fits is told so, and served again when there is room.
TEST_F(RpcTest, HeldBytesOfAPeerAreBounded) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  constexpr size_t kFitting = kHeldBytesMax / kRpcBytesMax;
  std::vector<Call> calls(kFitting + 5);
  for (Call& call : calls) {
    call.request = std::string(kRpcBytesMax, 'h');
    Start(kWait, &call);
  }
  RunUntilIdle();
  EXPECT_EQ(handler_.running, static_cast<int>(kFitting));
  for (size_t i = kFitting; i < calls.size(); ++i) {
    EXPECT_TRUE(absl::IsResourceExhausted(calls[i].status)) << calls[i].status;
  }
  handler_.go_on.NotifyAll();
  RunUntilIdle();
  for (size_t i = 0; i < kFitting; ++i) EXPECT_TRUE(calls[i].status.ok()) << calls[i].status;
  Call echo = {.request = std::string(kRpcBytesMax, 'e')};
  Start(kEcho, &echo);
  RunUntilDone(echo);
  EXPECT_TRUE(echo.status.ok()) << echo.status;
}

// ---- Peers that break the protocol: the other side speaks through a bare channel.

class HostileRpcTest : public ::testing::Test, public Channel::Receiver {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(JoinChannels(&hostile_, &node_, {.peer_name = "hostile"}));
    node_.StartRpc(node_.peers[0].get(), &handler_);
  }
  void TearDown() override {
    hostile_.CloseAll();
    node_.CloseAll();
  }
  absl::Status OnMessage(uint8_t, uint64_t, absl::string_view payload) override {
    received.emplace_back(payload);
    return absl::OkStatus();
  }
  void Send(uint8_t type, uint32_t call_id, uint16_t code, uint16_t reserved,
            const std::string& body = "", uint64_t view = 0) {
    std::string payload(8, '\0');
    std::memcpy(payload.data(), &call_id, 4);       // Private memory.
    std::memcpy(payload.data() + 4, &code, 2);      // Private memory.
    std::memcpy(payload.data() + 6, &reserved, 2);  // Private memory.
    SendRaw(type, payload + body, view);
  }
  void SendRaw(uint8_t type, const std::string& payload, uint64_t view = 0) {
    absl::Status sent;
    StepTill([&] {
      sent = channel()->Send(type, view, {payload});
      return !absl::IsResourceExhausted(sent);
    });
    ASSERT_TRUE(sent.ok()) << sent;
    Step();
  }
  void Step() {
    for (int i = 0; i < 3; ++i) {
      channel()->Flush();
      node_.scheduler.RunOnce();
      hostile_.scheduler.RunOnce();
      channel()->Poll(this, 100);
    }
  }
  template <class IsDone>
  void StepTill(const IsDone& is_done) {
    ASSERT_TRUE(StepUntil(&clock_, is_done, [this] { Step(); }));
  }
  void StepTillAnswered() {
    StepTill([this] { return call_.handle.done(); });
  }
  // A call of the honest side that the hostile one has received, unless the channel is broken before.
  uint32_t CallIdOfNewCall() {
    const size_t before = received.size();
    call_.handle = node_.scheduler.Spawn(RunCall(node_.peers[0]->rpc.get(), kEcho, &call_));
    StepTill([this, before] { return received.size() > before || !node_.peers[0]->channel->ok(); });
    if (received.size() == before) return 0;
    uint32_t call_id = 0;
    std::memcpy(&call_id, received.back().data(), 4);  // Private memory.
    return call_id;
  }
  void ExpectBroken(const std::string& why) {
    StepTill([this] { return !node_.peers[0]->channel->ok(); });
    const absl::Status status = node_.peers[0]->channel->status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("hostile"));
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  }
  Channel* channel() { return hostile_.peers[0]->channel.get(); }

  static constexpr uint8_t kRequest = 1;
  static constexpr uint8_t kResponse = 2;

  RealClock clock_;
  RpcNode hostile_{&clock_};
  RpcNode node_{&clock_};
  TestHandler handler_{&node_.scheduler};
  Call call_;
  std::vector<std::string> received;
};

TEST_F(HostileRpcTest, ShortMessage) {
  SendRaw(kRequest, "short");
  ExpectBroken("length");
}

TEST_F(HostileRpcTest, UnknownType) {
  Send(9, 0, 0, 0);
  ExpectBroken("type");
}

TEST_F(HostileRpcTest, ReservedBits) {
  Send(kRequest, 0, kEcho, 1);
  ExpectBroken("reserved");
}

// Goal: an answer in a frame of another view is no answer.
TEST_F(HostileRpcTest, ResponseOfAnotherView) {
  const uint32_t call_id = CallIdOfNewCall();
  Send(kResponse, call_id, 0, 0, "of another cluster", /*view=*/7);
  ExpectBroken("view");
  EXPECT_EQ(call_.response, "");
}

TEST_F(HostileRpcTest, RequestIdOutOfBounds) {
  Send(kRequest, kCallsMax, kEcho, 0);
  ExpectBroken("call id");
}

TEST_F(HostileRpcTest, RequestIdInUse) {
  Send(kRequest, 5, kWait, 0);
  StepTill([this] { return handler_.running == 1; });
  Send(kRequest, 5, kWait, 0);
  ExpectBroken("call id");
}

TEST_F(HostileRpcTest, ResponseToNoCall) {
  Send(kResponse, 0, 0, 0);
  ExpectBroken("call id");
}

TEST_F(HostileRpcTest, ResponseToSlotOutOfBounds) {
  Send(kResponse, 0xffff, 0, 0);
  ExpectBroken("call id");
}

TEST_F(HostileRpcTest, ResponseTwice) {
  const uint32_t call_id = CallIdOfNewCall();
  Send(kResponse, call_id, 0, 0, "once");
  StepTillAnswered();
  EXPECT_EQ(call_.response, "once");
  Send(kResponse, call_id, 0, 0, "twice");
  ExpectBroken("call id");
  EXPECT_EQ(call_.response, "once");
}

TEST_F(HostileRpcTest, ResponseOfAnotherGeneration) {
  const uint32_t call_id = CallIdOfNewCall();
  Send(kResponse, call_id ^ 1u << 16, 0, 0, "x");
  ExpectBroken("call id");
  StepTillAnswered();
  EXPECT_TRUE(absl::IsUnavailable(call_.status)) << call_.status;
}

TEST_F(HostileRpcTest, UnknownStatusCode) {
  const uint32_t call_id = CallIdOfNewCall();
  Send(kResponse, call_id, 17, 0);
  ExpectBroken("status code");
}

TEST_F(HostileRpcTest, StatusMessageTooLong) {
  const uint32_t call_id = CallIdOfNewCall();
  Send(kResponse, call_id, 5, 0, std::string(kStatusMessageBytesMax + 1, 'm'));
  ExpectBroken("status message");
}

TEST_F(HostileRpcTest, RequestToOneThatServesNone) {
  node_.StopRpc(node_.peers[0].get());
  // Its channel is broken by now: a fresh pair, without a handler.
  hostile_.Close(0);
  node_.Close(0);
  ASSERT_NO_FATAL_FAILURE(JoinChannels(&hostile_, &node_, {.peer_name = "hostile"}));
  node_.StartRpc(node_.peers[0].get(), nullptr);
  Send(kRequest, 0, kEcho, 0);
  ExpectBroken("serves none");
}

// Goal: random messages break the channel or are served; no more.
TEST_F(HostileRpcTest, RandomMessagesNeverHurt) {
  std::mt19937_64 random(7);
  const int rounds = TestFabricRounds(200);
  int broken = 0;
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < 20 && node_.peers[0]->channel->ok(); ++i) {
      if (random() % 4 == 0) CallIdOfNewCall();
      const auto type = static_cast<uint8_t>(1 + random() % (random() % 8 == 0 ? 255 : 2));
      const auto id = static_cast<uint32_t>(random() % 8 == 0 ? random() : random() % 8);
      const auto code = static_cast<uint16_t>(random() % (random() % 8 == 0 ? 65536 : 4));
      Send(type, id, code, random() % 50 == 0 ? 1 : 0, std::string(random() % 2000, 'r'));
      if (random() % 4 == 0) handler_.go_on.NotifyAll();
    }
    if (node_.peers[0]->channel->ok()) continue;
    ++broken;
    node_.Close(0);
    hostile_.Close(0);
    received.clear();
    ASSERT_NO_FATAL_FAILURE(JoinChannels(&hostile_, &node_, {.peer_name = "hostile"}));
    node_.StartRpc(node_.peers[0].get(), &handler_);
  }
  EXPECT_GT(broken, rounds / 4);
}

}  // namespace
}  // namespace acre::transport
