// Notices: two schedulers driven pass by pass by one thread.

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/frame_pool.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/rpc.h"
#include "transport/rpc_test_util.h"

namespace acre::transport {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

enum Method : uint16_t { kTell = 1, kRefuse = 2 };

// Notes what comes, in order, and answers with nothing.
class Home : public RpcHandler {
 public:
  Task<absl::Status> Handle(RpcContext* context) override {
    order.push_back(absl::StrCat("call ", context->request.substr(0, 16)));
    co_return absl::OkStatus();
  }
  absl::Status OnNotice(uint16_t method, uint64_t /*view*/, absl::string_view notice) override {
    if (method == kRefuse) return absl::DataLossError("refused");
    order.push_back(absl::StrCat("notice ", notice));
    return absl::OkStatus();
  }
  std::vector<std::string> order;
};

// A message and what became of it.
struct Sent {
  std::string text = {};
  std::string response = {};
  absl::Status status = absl::UnknownError("not done");
  SpawnHandle handle = {};
};

Task<void> RunNotify(RpcPeer* peer, Sent* sent) {
  sent->status = co_await peer->Notify(kTell, sent->text);
}
Task<void> RunNotifyInRoom(RpcPeer* peer, NoticeRoom room, Sent* sent) {
  sent->status = co_await peer->Notify(std::move(room), kTell, sent->text);
}
Task<void> RunCall(RpcPeer* peer, Sent* sent) {
  sent->status = co_await peer->Call(kTell, sent->text, "", &sent->response);
}

class NoticeTest : public ::testing::Test {
 protected:
  void TearDown() override {
    client_.CloseAll();
    server_.CloseAll();
  }
  void JoinNodes(const ChannelOptions& options = {}) {
    ASSERT_NO_FATAL_FAILURE(JoinChannels(&client_, &server_, options));
    client_.StartRpc(client_.peers[0].get(), nullptr);
    server_.StartRpc(server_.peers[0].get(), &home_);
  }
  RpcPeer* peer() { return client_.peers[0]->rpc.get(); }
  void Notify(Sent* sent) { sent->handle = client_.scheduler.Spawn(RunNotify(peer(), sent)); }
  void NotifyInRoom(NoticeRoom room, Sent* sent) {
    sent->handle = client_.scheduler.Spawn(RunNotifyInRoom(peer(), std::move(room), sent));
  }
  void Call(Sent* sent) { sent->handle = client_.scheduler.Spawn(RunCall(peer(), sent)); }
  void RunUntilDone(const Sent& sent) {
    ASSERT_TRUE(StepUntil(
        &clock_, [&] { return sent.handle.done(); },
        [this] {
          client_.scheduler.RunOnce();
          server_.scheduler.RunOnce();
        }));
  }
  // The server stands still; but who serves its memory does not.
  void RunClientUntilDone(const Sent& sent) {
    ASSERT_TRUE(StepUntil(
        &clock_, [&] { return sent.handle.done(); }, [this] { client_.scheduler.RunOnce(); }));
  }
  void RunUntilIdle(bool with_server) {
    for (int idle = 0; idle < TestFabricIdlePasses();) {
      bool worked = client_.scheduler.RunOnce();
      if (with_server) worked |= server_.scheduler.RunOnce();
      idle = worked ? 0 : idle + 1;
    }
  }

  RealClock clock_;
  RpcNode client_{&clock_};
  RpcNode server_{&clock_};
  Home home_;
};

// Goal: calls and notices arrive once, in the order in which they were made, also when they wait for room.
TEST_F(NoticeTest, NoticesArriveOnceAndInOrderWithCalls) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes({.ring_bytes = kRingBytesMin}));
  std::vector<Sent> sent(600);
  std::vector<std::string> expected;
  for (size_t i = 0; i < sent.size(); ++i) {
    const bool is_call = i % 3 == 0;
    sent[i].text = absl::StrCat("number ", i);
    expected.push_back(absl::StrCat(is_call ? "call " : "notice ", sent[i].text));
    if (is_call) {
      sent[i].text.resize(i % 9 == 0 ? 5000 : 100, '\0');
      expected.back() = absl::StrCat("call ", sent[i].text.substr(0, 16));
      Call(&sent[i]);
    } else {
      Notify(&sent[i]);
    }
  }
  for (const Sent& one : sent) ASSERT_NO_FATAL_FAILURE(RunUntilDone(one));
  for (const Sent& one : sent) EXPECT_TRUE(one.status.ok()) << one.status;
  RunUntilIdle(/*with_server=*/true);  // Placed is not taken yet.
  EXPECT_EQ(home_.order, expected);
  EXPECT_EQ(peer()->notices_made(), 400u);
}

TEST_F(NoticeTest, LongestAndEmptyNoticesArrive) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes({.ring_bytes = kRingBytesMin}));
  Sent longest = {.text = std::string(kNoticeBytesMax, '\0')};
  Sent empty;
  Notify(&longest);
  Notify(&empty);
  ASSERT_NO_FATAL_FAILURE(RunUntilDone(empty));
  EXPECT_TRUE(longest.status.ok()) << longest.status;
  RunUntilIdle(/*with_server=*/true);
  EXPECT_THAT(home_.order, ElementsAre("notice " + longest.text, "notice "));
}

// Goal: a server that polls nothing any more takes all that its client was told to be placed, and nothing else.
TEST_F(NoticeTest, PlacedNoticesAreDrainedOthersDropped) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  Sent one = {.text = "one"};
  Sent call = {.text = "call"};
  Sent large_call = {.text = std::string(50'000, 'l')};
  Sent two = {.text = "two"};
  Notify(&one);
  Call(&call);
  Call(&large_call);
  Notify(&two);
  ASSERT_NO_FATAL_FAILURE(RunClientUntilDone(two));
  EXPECT_TRUE(one.status.ok()) << one.status;
  EXPECT_TRUE(two.status.ok()) << two.status;
  EXPECT_EQ(server_.GiveUp(0), 2u);
  EXPECT_THAT(home_.order, ElementsAre("notice one", "notice two"));
  ASSERT_NO_FATAL_FAILURE(RunClientUntilDone(large_call));
  EXPECT_TRUE(absl::IsUnavailable(call.status)) << call.status;
  EXPECT_TRUE(absl::IsUnavailable(large_call.status)) << large_call.status;
}

// Goal: the same behind a large call whose payload the server has begun to READ.
TEST_F(NoticeTest, DrainSkipsAPayloadThatIsBeingRead) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  Sent large_call = {.text = std::string(50'000, 'l')};
  Sent behind = {.text = "behind"};
  Call(&large_call);
  Notify(&behind);
  ASSERT_NO_FATAL_FAILURE(RunClientUntilDone(behind));
  EXPECT_TRUE(behind.status.ok()) << behind.status;
  // One look at the ring, which posts the READ; nobody polls its completion.
  server_.peers[0]->rpc->Poll();
  server_.peers[0]->rpc->Poll();
  EXPECT_EQ(server_.GiveUp(0), 1u);
  EXPECT_THAT(home_.order, ElementsAre("notice behind"));
}

TEST_F(NoticeTest, WhoWasGivenUpIsTold) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  EXPECT_EQ(server_.GiveUp(0), 0u);
  Sent late = {.text = "late"};
  Notify(&late);
  ASSERT_NO_FATAL_FAILURE(RunClientUntilDone(late));
  EXPECT_TRUE(absl::IsUnavailable(late.status)) << late.status;
  Sent later = {.text = "later"};
  Notify(&later);
  ASSERT_NO_FATAL_FAILURE(RunClientUntilDone(later));
  EXPECT_TRUE(absl::IsUnavailable(later.status)) << later.status;
  EXPECT_TRUE(absl::IsUnavailable(peer()->ReserveNotice().status()));
  EXPECT_TRUE(home_.order.empty());
}

// Goal: where no queue pair's end is the fence, the gate alone is: the connection still stands.
TEST_F(NoticeTest, AClosedGateIsSeen) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  if (client_.peers[0]->queue_pair->ack_is_placement()) return;
  server_.peers[0]->channel->CloseGate();
  Sent late = {.text = "late"};
  Notify(&late);
  ASSERT_NO_FATAL_FAILURE(RunClientUntilDone(late));
  EXPECT_TRUE(absl::IsUnavailable(late.status)) << late.status;
  EXPECT_THAT(std::string(late.status.message()), HasSubstr("given us up"));
}

// Goal: a notice whose task is destroyed is not sent if it waited, and sent if it did not.
TEST_F(NoticeTest, DestroyedTasksOfWaitingNoticesSendNothing) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes({.ring_bytes = kRingBytesMin}));
  const int64_t blocks = FramePool::LiveBlocks();
  std::vector<Sent> sent(50);
  for (size_t i = 0; i < sent.size(); ++i) {
    sent[i].text = absl::StrCat(i);
    Notify(&sent[i]);
  }
  RunUntilIdle(/*with_server=*/false);  // The ring is full.
  size_t placed = 0;
  while (placed < sent.size() && sent[placed].handle.done()) ++placed;
  EXPECT_GT(placed, 5u);
  EXPECT_LT(placed, sent.size());
  for (Sent& one : sent) one.handle.Cancel();
  sent.clear();
  RunUntilIdle(/*with_server=*/true);
  EXPECT_EQ(home_.order.size(), placed);
  EXPECT_EQ(FramePool::LiveBlocks(), blocks);
}

TEST_F(NoticeTest, DestroyedPeerEndsItsNotices) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes({.ring_bytes = kRingBytesMin}));
  std::vector<Sent> sent(50);
  for (Sent& one : sent) Notify(&one);
  RunUntilIdle(/*with_server=*/false);
  auto room = peer()->ReserveNotice();  // None there, or one that outlives its peer.
  client_.StopRpc(client_.peers[0].get());
  RunUntilIdle(/*with_server=*/false);
  for (const Sent& one : sent) {
    ASSERT_TRUE(one.handle.done());
    EXPECT_TRUE(one.status.ok() || absl::IsUnavailable(one.status)) << one.status;
  }
  EXPECT_TRUE(absl::IsUnavailable(sent.back().status)) << sent.back().status;
}

// ---- Reserved room.

// Goal: a notice with room of its own is placed though nothing else finds room, and the server stands still.
TEST_F(NoticeTest, RoomOfItsOwnIsThereInAFullRing) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes({.ring_bytes = 1 << 13}));
  std::vector<NoticeRoom> rooms;
  for (;;) {
    auto room = peer()->ReserveNotice();
    if (!room.ok()) {
      EXPECT_TRUE(absl::IsResourceExhausted(room.status())) << room.status();
      break;
    }
    rooms.push_back(*std::move(room));
  }
  ASSERT_GT(rooms.size(), 10u);
  std::vector<Sent> calls(200);
  for (size_t i = 0; i < calls.size(); ++i) {
    calls[i].text = std::string(1 + i % 300, 'c');
    Call(&calls[i]);
  }
  RunUntilIdle(/*with_server=*/false);
  std::vector<Sent> notices(rooms.size());
  for (size_t i = 0; i < notices.size(); ++i) {
    notices[i].text = std::string((i * 13) % (kReservedNoticeBytes + 1), 'n');
    NotifyInRoom(std::move(rooms[i]), &notices[i]);
    // Some leave together.
    if (i % 4 != 0) continue;
    ASSERT_NO_FATAL_FAILURE(RunClientUntilDone(notices[i]));
  }
  for (const Sent& notice : notices) {
    ASSERT_NO_FATAL_FAILURE(RunClientUntilDone(notice));
    EXPECT_TRUE(notice.status.ok()) << notice.status;
  }
  for (const Sent& call : calls) ASSERT_NO_FATAL_FAILURE(RunUntilDone(call));
  for (const Sent& call : calls) EXPECT_TRUE(call.status.ok()) << call.status;
  EXPECT_EQ(home_.order.size(), calls.size() + notices.size());
}

// Goal: calls go on however long others hold all the room that may be held.
TEST_F(NoticeTest, HeldRoomStarvesNobody) {
  for (const uint32_t ring_bytes : {kRingBytesMin, 1u << 13, 1u << 15}) {
    ASSERT_NO_FATAL_FAILURE(JoinNodes({.ring_bytes = ring_bytes}));
    std::vector<NoticeRoom> rooms;
    for (auto room = peer()->ReserveNotice(); room.ok(); room = peer()->ReserveNotice()) {
      rooms.push_back(*std::move(room));
    }
    EXPECT_GE(rooms.size(), 1u);
    const uint32_t inline_bytes = InlineBytesMax(ring_bytes / kWordBytes);
    std::vector<Sent> calls(300);
    for (size_t i = 0; i < calls.size(); ++i) {
      // The longest frames, and others that leave the most before the ring's end.
      calls[i].text = std::string(inline_bytes - 8 - (i % 3) * 40, 'c');
      Call(&calls[i]);
    }
    for (const Sent& call : calls) ASSERT_NO_FATAL_FAILURE(RunUntilDone(call));
    for (const Sent& call : calls) EXPECT_TRUE(call.status.ok()) << call.status;
    rooms.clear();
    client_.CloseAll();
    server_.CloseAll();
  }
}

TEST_F(NoticeTest, RoomIsGivenBackAndUsedUpOnce) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes({.ring_bytes = kRingBytesMin}));
  for (int round = 0; round < 100; ++round) {
    absl::StatusOr<NoticeRoom> room = absl::UnknownError("not asked");
    ASSERT_TRUE(StepUntil(
        &clock_, [&] { return (room = peer()->ReserveNotice()).ok(); },
        [this] { RunUntilIdle(/*with_server=*/true); }))
        << room.status();
    EXPECT_TRUE(absl::IsResourceExhausted(peer()->ReserveNotice().status()));
    if (round % 3 == 0) continue;
    Sent sent = {.text = "in room"};
    NotifyInRoom(*std::move(room), &sent);
    EXPECT_FALSE(room->is_held());
    if (round % 3 == 1) {  // A task that never ran.
      sent.handle.Cancel();
      continue;
    }
    ASSERT_NO_FATAL_FAILURE(RunUntilDone(sent));
    EXPECT_TRUE(sent.status.ok()) << sent.status;
  }
}

// ---- What it costs.

TEST_F(NoticeTest, ANoticeIsOneWrite) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  const QueuePair* const queue_pair = client_.peers[0]->queue_pair.get();
  const VerbCounters before = queue_pair->verbs();
  const VerbCounters server_before = server_.peers[0]->queue_pair->verbs();
  Sent notice = {.text = std::string(kReservedNoticeBytes, 'n')};
  Notify(&notice);
  ASSERT_NO_FATAL_FAILURE(RunUntilDone(notice));
  EXPECT_EQ(queue_pair->verbs().writes - before.writes, 1u);
  EXPECT_EQ(queue_pair->verbs().reads, before.reads);
  EXPECT_EQ(queue_pair->verbs().doorbells - before.doorbells, 1u);

  Sent call = {.text = "call"};
  Call(&call);
  ASSERT_NO_FATAL_FAILURE(RunUntilDone(call));
  EXPECT_EQ(queue_pair->verbs().writes - before.writes, 2u);
  EXPECT_EQ(server_.peers[0]->queue_pair->verbs().writes - server_before.writes, 1u);
}

TEST_F(NoticeTest, NoticesThatLeaveTogetherShareAWrite) {
  ASSERT_NO_FATAL_FAILURE(JoinNodes());
  const QueuePair* const queue_pair = client_.peers[0]->queue_pair.get();
  const VerbCounters before = queue_pair->verbs();
  std::vector<Sent> sent(20);
  for (Sent& one : sent) Notify(&one);
  for (const Sent& one : sent) ASSERT_NO_FATAL_FAILURE(RunUntilDone(one));
  EXPECT_EQ(queue_pair->verbs().writes - before.writes, 1u);
  EXPECT_EQ(queue_pair->verbs().reads, before.reads);
}

// ---- Peers that break the protocol: the other side speaks through a bare channel.

class HostileNoticeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(JoinChannels(&hostile_, &node_, {.peer_name = "hostile"}));
  }
  void TearDown() override {
    hostile_.CloseAll();
    node_.CloseAll();
  }
  void Send(uint8_t type, uint32_t call_id, uint16_t method, const std::string& body) {
    std::string payload(8, '\0');
    std::memcpy(payload.data(), &call_id, 4);     // Private memory.
    std::memcpy(payload.data() + 4, &method, 2);  // Private memory.
    ASSERT_TRUE(hostile_.peers[0]->channel->Send(type, 0, {payload, body}).ok());
    hostile_.peers[0]->channel->Flush();
  }
  void ExpectBroken(RpcHandler* handler, const std::string& why) {
    node_.StartRpc(node_.peers[0].get(), handler);
    ASSERT_TRUE(StepUntil(
        &clock_, [this] { return !node_.peers[0]->channel->ok(); },
        [this] {
          node_.scheduler.RunOnce();
          hostile_.scheduler.RunOnce();
        }));
    const absl::Status status = node_.peers[0]->channel->status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("hostile"));
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  }

  static constexpr uint8_t kNotice = 3;

  RealClock clock_;
  RpcNode hostile_{&clock_};
  RpcNode node_{&clock_};
  Home home_;
};

TEST_F(HostileNoticeTest, NoticeToOneThatTakesNone) {
  Send(kNotice, 0, kTell, "x");
  ExpectBroken(nullptr, "takes none");
}

TEST_F(HostileNoticeTest, NoticeToAHandlerThatTakesNone) {
  class : public RpcHandler {
    Task<absl::Status> Handle(RpcContext*) override { co_return absl::OkStatus(); }
  } handler;
  Send(kNotice, 0, kTell, "x");
  ExpectBroken(&handler, "nobody takes");
}

TEST_F(HostileNoticeTest, NoticeWithACallId) {
  Send(kNotice, 1, kTell, "x");
  ExpectBroken(&home_, "call id");
}

TEST_F(HostileNoticeTest, NoticeTooLong) {
  Send(kNotice, 0, kTell, std::string(kNoticeBytesMax + 1, 'x'));
  ExpectBroken(&home_, "length");
}

TEST_F(HostileNoticeTest, NoticeByReference) {
  Send(kNotice, 0, kTell, std::string(100'000, 'x'));
  ExpectBroken(&home_, "length");
}

// Goal: what lies behind a notice that is refused is neither delivered nor drained.
TEST_F(HostileNoticeTest, RefusedNoticeEndsDraining) {
  Send(kNotice, 0, kRefuse, "x");
  Send(kNotice, 0, kTell, "behind");
  ExpectBroken(&home_, "refused");
  EXPECT_EQ(node_.GiveUp(0), 0u);
  EXPECT_TRUE(home_.order.empty());
}

// Goal: the same when nobody looks before the ring is drained.
TEST_F(HostileNoticeTest, RefusedNoticeEndsDrainingAtOnce) {
  node_.StartRpc(node_.peers[0].get(), &home_);
  Send(kNotice, 0, kTell, "before");
  Send(kNotice, 0, kRefuse, "x");
  Send(kNotice, 0, kTell, "behind");
  for (int i = 0; i < TestFabricIdlePasses(); ++i) hostile_.scheduler.RunOnce();
  EXPECT_LE(node_.GiveUp(0), 1u);
  for (const std::string& taken : home_.order) EXPECT_EQ(taken, "notice before");
}

}  // namespace
}  // namespace acre::transport
