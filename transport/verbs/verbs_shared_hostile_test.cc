// Peers that make nonsense of queue pairs for several threads. Needs a card, as verbs_rxe_test.cc does.

#include <sched.h>

#include <memory>
#include <thread>

#include "transport/verbs/verbs_listener.h"
#include "transport/verbs/verbs_shared_test_util.h"
#include "transport/verbs/verbs_test_util.h"
#include "transport/verbs/verbs_wire.h"

namespace acre::transport {
namespace {

class VerbsSharedHostileTest : public VerbsSharedTest {
 protected:
  void ConnectRaw(uint32_t lanes = 3) {
    raw_ =
        std::make_unique<RawPeer>(client_.address, Take(ParseVerbsEndpoint(listener_->endpoint())),
                                  EncodeVerbsHello(16, lanes, ""));
    std::thread connecting([this] { EXPECT_TRUE(raw_->Connect()); });
    std::unique_ptr<ConnectionRequest> request;
    while (request == nullptr) request = listener_->Poll();
    victim_ = Take(request->Accept(server_.queue.get(), ""));
    connecting.join();
  }
  static uint32_t Message(VerbsMessageKind kind, uint8_t lane, uint16_t credits = 0) {
    return EncodeVerbsMessage({.kind = kind, .lane = lane, .credits = credits});
  }

  std::unique_ptr<QueuePair> victim_;
  std::unique_ptr<RawPeer> raw_;
};

TEST_F(VerbsSharedHostileTest, MessagesThatMakeNoSenseEndTheirQueuePairOnly) {
  VerbsConnection honest = ConnectFrom(client_.queue.get());
  using Kind = VerbsMessageKind;
  for (const uint32_t bits :
       {Message(Kind::kOpen, 0), Message(Kind::kOpen, 3), Message(Kind::kOpen, 255),
        Message(Kind::kAccepted, 1), Message(Kind::kRejected, 0), Message(Kind::kConfirmed, 0),
        Message(Kind::kConfirmed, 1), Message(Kind::kClosed, 1), Message(Kind::kClosed, 9),
        Message(Kind::kCredits, 1, 1), Message(Kind::kCredits, 0, 1),
        Message(Kind::kCredits, 0, 0xffff)}) {
    SCOPED_TRACE(bits);
    ConnectRaw();
    raw_->Post(IBV_WR_SEND_WITH_IMM, bits);
    ExpectGone(server_.queue.get(), victim_.get());
    victim_.reset();
    raw_.reset();
    ExpectWorks(honest, client_.queue.get(), 3);
  }
}

TEST_F(VerbsSharedHostileTest, KnocksWhereTheyMayNotEndTheirQueuePairOnly) {
  VerbsConnection honest = ConnectFrom(client_.queue.get());
  for (const int lane : {1, 2, 3, 255}) {
    ConnectRaw();
    raw_->Post(IBV_WR_RDMA_WRITE_WITH_IMM, EncodeLaneImmediate(static_cast<uint8_t>(lane), 1));
    ExpectGone(server_.queue.get(), victim_.get());
    victim_.reset();
    raw_.reset();
  }
  ExpectWorks(honest, client_.queue.get(), 3);
}

TEST_F(VerbsSharedHostileTest, OpeningTwiceAndWhatNobodyWantsAnyMore) {
  ConnectRaw();
  raw_->Send(IBV_WR_SEND_WITH_IMM, Message(VerbsMessageKind::kOpen, 1), 48);
  std::unique_ptr<ConnectionRequest> request;
  Completion none;
  while (request == nullptr) {
    ASSERT_EQ(server_.queue->Poll({&none, 1}), 0u);
    request = listener_->Poll();
  }
  EXPECT_EQ(request->private_data().size(), 48u);
  EXPECT_NE(request->home(), nullptr);
  raw_->Post(IBV_WR_SEND_WITH_IMM, Message(VerbsMessageKind::kOpen, 1));
  ExpectGone(server_.queue.get(), victim_.get());
  // What it asked for before cannot be had any more, on any queue.
  EXPECT_EQ(request->Accept(server_.queue.get(), "").status().code(),
            absl::StatusCode::kUnavailable);
  const auto other = Take(server_.fabric->CreateCompletionQueue());
  EXPECT_EQ(request->Accept(other.get(), "").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(VerbsSharedHostileTest, QueuePairForOneHasNoOtherLanes) {
  for (const VerbsMessageKind kind : {VerbsMessageKind::kClosed, VerbsMessageKind::kOpen}) {
    ConnectRaw(/*lanes=*/1);
    raw_->Post(IBV_WR_SEND_WITH_IMM, Message(kind, 0));
    ExpectGone(server_.queue.get(), victim_.get());
    victim_.reset();
    raw_.reset();
  }
}

// Goal: what no client is counted for costs the server nothing for long.
TEST_F(VerbsSharedHostileTest, QueuePairThatIsKeptWithoutALaneIsTakenAway) {
  VerbsConnection honest = ConnectFrom(client_.queue.get());
  ConnectRaw();
  raw_->Send(IBV_WR_SEND_WITH_IMM, Message(VerbsMessageKind::kClosed, 0));
  ExpectGone(server_.queue.get(), victim_.get());
  victim_.reset();
  EXPECT_EQ(server_.fabric->card_queue_pairs(), 2);
  Completion none;
  while (server_.fabric->card_queue_pairs() > 1) {
    ASSERT_EQ(server_.queue->Poll({&none, 1}), 0u);
    sched_yield();
  }
  ExpectWorks(honest, client_.queue.get(), 3);
}

TEST_F(VerbsSharedHostileTest, HelloOfMoreLanesThanFitIsRejected) {
  VerbsNode deep(1, /*receive_queue_depth=*/1'024);
  const std::unique_ptr<Listener> listener = Take(deep.fabric->Listen());
  RawPeer raw(client_.address, Take(ParseVerbsEndpoint(listener->endpoint())),
              EncodeVerbsHello(1'024, 32, ""));
  ExpectRejected(&raw, listener.get());
}

}  // namespace
}  // namespace acre::transport
