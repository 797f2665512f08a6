// Peers that lie, keep silent, or send what nobody asked for: they lose their connection, and nothing else
// happens.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "transport/region_header.h"
#include "transport/tcp/tcp_engine.h"
#include "transport/tcp/tcp_listener.h"
#include "transport/tcp/tcp_test_peer.h"

namespace acre::transport {
namespace {

constexpr uint64_t kRegionBytes = 1 << 16;

class TcpHostileTest : public testing::Test {
 protected:
  // The two streams of a peer that has behaved so far, and our queue pair to it.
  struct Peer {
    std::unique_ptr<RawStream> requests;   // It asks.
    std::unique_ptr<RawStream> responses;  // We ask.
    std::unique_ptr<QueuePair> queue_pair;
    RemoteKey key;
  };

  Peer Welcome() {
    Peer peer;
    peer.requests = std::make_unique<RawStream>(*listener_);
    peer.responses = std::make_unique<RawStream>(*listener_);
    CHECK(peer.requests->SendStruct(GoodHello(TcpRole::kMyRequests)));
    CHECK(peer.responses->SendStruct(GoodHello(TcpRole::kYourRequests)));
    peer.queue_pair = Take(AwaitRequest(listener_.get())->Accept(queue_.get(), ""));
    const auto answer = peer.requests->ReceiveStruct<TcpHello>();
    CHECK(answer.has_value() && answer->role == TcpRole::kAnswer);
    peer.key = Take(peer.queue_pair->Grant(*region_, kRightsAll));
    return peer;
  }

  // Polls the listener until the stream is closed. Nobody is shown to the caller.
  void ExpectDropped(RawStream* stream) {
    while (true) {
      EXPECT_EQ(listener_->Poll(), nullptr);
      pollfd event = {.fd = stream->fd(), .events = POLLIN, .revents = 0};
      if (poll(&event, 1, 1) == 1) break;
    }
    EXPECT_TRUE(stream->IsClosed());
  }

  void ExpectBroken(const Peer& peer) {
    const Completion completion = AwaitAsleep(queue_.get());
    EXPECT_EQ(completion.kind, CompletionKind::kDisconnected);
    EXPECT_EQ(peer.queue_pair->state(), QueuePairState::kBroken);
    EXPECT_FALSE(peer.queue_pair->status().ok());
  }

  void ExpectUntouched() {
    for (size_t i = kRegionHeaderBytes / kWordBytes; i < kRegionBytes / kWordBytes; ++i) {
      ASSERT_EQ(region_->words()[i].Load(std::memory_order_acquire), 0u) << "word " << i;
    }
  }

  // Somebody who behaves still gets on.
  void ExpectServed() {
    Peer peer = Welcome();
    ASSERT_TRUE(
        peer.requests->SendStruct(GoodRequest(TcpOpcode::kRead, peer.key, kRegionHeaderBytes, 16)));
    const auto response = peer.requests->ReceiveStruct<TcpResponseWire>();
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->payload_bytes, 16u);
    EXPECT_EQ(peer.requests->Receive(16).value(), std::string(16, '\0'));
  }

  static std::unique_ptr<MemoryRegion> MakeRegion(Fabric* fabric) {
    RegionOptions options;
    options.region_id = 1;
    options.size_bytes = kRegionBytes;
    options.peer_rights = kRightsAll;
    return Take(fabric->CreateRegion(options));
  }

  RealClock clock_;
  std::unique_ptr<TcpFabric> fabric_ = Take(TcpFabric::Create({.clock = &clock_}));
  std::unique_ptr<MemoryRegion> region_ = MakeRegion(fabric_.get());
  std::unique_ptr<CompletionQueue> queue_ = Take(fabric_->CreateCompletionQueue());
  std::unique_ptr<Listener> listener_ = Take(fabric_->Listen());
};

TEST_F(TcpHostileTest, BadHellosAreDropped) {
  const std::vector<std::function<void(TcpHello*)>> lies = {
      [](TcpHello* hello) { hello->magic ^= 1; },
      [](TcpHello* hello) { hello->version += 1; },
      [](TcpHello* hello) { hello->role = TcpRole{0}; },
      [](TcpHello* hello) { hello->role = TcpRole{4}; },
      [](TcpHello* hello) { hello->role = TcpRole::kAnswer; },
      [](TcpHello* hello) { hello->reserved0 = 1; },
      [](TcpHello* hello) { hello->private_data_bytes = kPrivateDataBytesMax + 1; },
      [](TcpHello* hello) { hello->private_data[5] = 'x'; },
  };
  for (size_t i = 0; i < lies.size(); ++i) {
    SCOPED_TRACE(i);
    RawStream stream(*listener_);
    TcpHello hello = GoodHello(TcpRole::kMyRequests);
    lies[i](&hello);
    ASSERT_TRUE(stream.SendStruct(hello));
    ExpectDropped(&stream);
  }
  ExpectServed();
}

TEST_F(TcpHostileTest, BytesThatAreNoHelloAreDropped) {
  RawStream http(*listener_);
  ASSERT_TRUE(http.Send("GET / HTTP/1.1\r\n\r\n"));
  ExpectDropped(&http);
  RawStream hasty(*listener_);
  // More than a hello before anybody has answered.
  ASSERT_TRUE(hasty.SendStruct(GoodHello(TcpRole::kMyRequests)));
  ASSERT_TRUE(hasty.Send("more"));
  ExpectDropped(&hasty);
  RawStream leaver(*listener_);
  ASSERT_TRUE(leaver.Send("AC"));
  leaver.ShutDown();
  ExpectDropped(&leaver);
  ExpectServed();
}

// Goal: streams of two peers are never taken for one connection, nor two of the same kind.
TEST_F(TcpHostileTest, OnlyStreamsThatBelongTogetherMakeAConnection) {
  RawStream one(*listener_);
  RawStream same(*listener_);
  RawStream other(*listener_);
  ASSERT_TRUE(one.SendStruct(GoodHello(TcpRole::kMyRequests, 1)));
  ASSERT_TRUE(same.SendStruct(GoodHello(TcpRole::kMyRequests, 1)));
  ASSERT_TRUE(other.SendStruct(GoodHello(TcpRole::kYourRequests, 2)));
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(listener_->Poll(), nullptr);
  RawStream match(*listener_);
  ASSERT_TRUE(match.SendStruct(GoodHello(TcpRole::kMyRequests, 2)));
  EXPECT_NE(AwaitRequest(listener_.get()), nullptr);
}

TEST_F(TcpHostileTest, WhoOnlyConnectsMakesRoomForOthers) {
  size_t told = 0;
  listener_->SetRefused([&told](absl::string_view peer, const absl::Status& why) {
    EXPECT_TRUE(absl::StartsWith(peer, "127.0.0.1:")) << peer;
    EXPECT_TRUE(absl::IsResourceExhausted(why)) << why;
    ++told;
  });
  std::vector<std::unique_ptr<RawStream>> silent;
  for (int i = 0; i < 400; ++i) {
    silent.push_back(std::make_unique<RawStream>(*listener_));
    if (i % 16 == 0) {
      EXPECT_EQ(listener_->Poll(), nullptr);
    }
  }
  ExpectServed();
  listener_->SetRefused(nullptr);
  // Two more came to be served. Those whose time was over first, on a slow machine, did not have to make room.
  EXPECT_GT(told, 0u);
  EXPECT_LE(told, 402 - TcpListener::kWaitingMax);
}

// Goal: who has said hello and waits for its other stream keeps its place among any number that say nothing.
TEST_F(TcpHostileTest, SilentCrowdDoesNotCrowdOutWhoSpoke) {
  RawStream first(*listener_);
  ASSERT_TRUE(first.SendStruct(GoodHello(TcpRole::kMyRequests, 9)));
  std::vector<std::unique_ptr<RawStream>> silent;
  for (int i = 0; i < 400; ++i) {
    if (i % 16 == 0) {
      EXPECT_EQ(listener_->Poll(), nullptr);
    }
    silent.push_back(std::make_unique<RawStream>(*listener_));
  }
  RawStream second(*listener_);
  ASSERT_TRUE(second.SendStruct(GoodHello(TcpRole::kYourRequests, 9)));
  EXPECT_NE(AwaitRequest(listener_.get()), nullptr);
}

TEST_F(TcpHostileTest, BadRequestsBreakTheConnectionOnly) {
  const std::vector<std::function<void(TcpRequestWire*)>> lies = {
      [](TcpRequestWire* wire) { wire->opcode = TcpOpcode{0}; },
      [](TcpRequestWire* wire) { wire->opcode = TcpOpcode{6}; },
      [](TcpRequestWire* wire) { wire->opcode = TcpOpcode{255}; },
      [](TcpRequestWire* wire) { wire->flags = 2; },
      [](TcpRequestWire* wire) { wire->reserved0 = 1; },
      [](TcpRequestWire* wire) { wire->reserved1 = 1; },
      [](TcpRequestWire* wire) { wire->immediate = 1; },
      [](TcpRequestWire* wire) { wire->opcode = TcpOpcode::kFetchAdd, wire->length_bytes = 16; },
      [](TcpRequestWire* wire) { wire->opcode = TcpOpcode::kCompareSwap, wire->length_bytes = 0; },
  };
  for (size_t i = 0; i < lies.size(); ++i) {
    SCOPED_TRACE(i);
    Peer peer = Welcome();
    TcpRequestWire wire = GoodRequest(TcpOpcode::kWrite, peer.key, kRegionHeaderBytes, 8);
    lies[i](&wire);
    ASSERT_TRUE(peer.requests->SendStruct(wire));
    peer.requests->Send(std::string(8, 'x'));
    ExpectBroken(peer);
    EXPECT_TRUE(peer.requests->IsClosed());
    EXPECT_TRUE(peer.responses->IsClosed());
  }
  ExpectUntouched();
  ExpectServed();
}

// Goal: what a peer may not do gets its status back, and the end of the stream behind it.
TEST_F(TcpHostileTest, RefusedRequestsAreAnsweredAndTouchNothing) {
  struct Case {
    TcpOpcode opcode;
    uint64_t key_change;
    uint64_t offset_bytes;
    uint32_t length_bytes;
    TcpStatus status;
  };
  for (const Case& c :
       {Case{TcpOpcode::kWrite, 0, kRegionBytes - 8, 16, TcpStatus::kBounds},
        Case{TcpOpcode::kWrite, 0, ~uint64_t{7}, 16, TcpStatus::kBounds},
        Case{TcpOpcode::kWrite, 0, 0, 0xfffffff8, TcpStatus::kBounds},
        Case{TcpOpcode::kRead, 0, kRegionBytes, 8, TcpStatus::kBounds},
        Case{TcpOpcode::kWrite, uint64_t{1} << 8, kRegionHeaderBytes, 8, TcpStatus::kBadKey},
        Case{TcpOpcode::kWrite, ~uint64_t{0}, kRegionHeaderBytes, 8, TcpStatus::kBadKey}}) {
    SCOPED_TRACE(c.offset_bytes);
    Peer peer = Welcome();
    TcpRequestWire wire =
        GoodRequest(c.opcode, {peer.key.bits ^ c.key_change}, c.offset_bytes, c.length_bytes);
    ASSERT_TRUE(peer.requests->SendStruct(wire));
    peer.requests->Send(std::string(4096, 'x'));
    const auto response = peer.requests->ReceiveStruct<TcpResponseWire>();
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->status, c.status);
    EXPECT_TRUE(peer.requests->IsClosed());
    ExpectBroken(peer);
  }
  ExpectUntouched();
  ExpectServed();
}

// Goal: whoever asks without reading what is answered fills its own pipe, and no memory of ours.
TEST_F(TcpHostileTest, WhoReadsNoAnswersIsNotServedAheadOfThem) {
  Peer peer = Welcome();
  const TcpRequestWire wire =
      GoodRequest(TcpOpcode::kRead, peer.key, 0, static_cast<uint32_t>(kRegionBytes));
  std::string batch;
  for (int i = 0; i < 1000; ++i) batch.append(reinterpret_cast<const char*>(&wire), sizeof(wire));
  // 64 MiB of answers: far more than all buffers on the way.
  ASSERT_TRUE(peer.requests->Send(batch));
  ExpectServed();
  // It reads at last, and nothing is missing.
  for (int i = 0; i < 1000; ++i) {
    uint32_t left_bytes = kRegionBytes;
    while (left_bytes > 0) {
      const auto response = peer.requests->ReceiveStruct<TcpResponseWire>();
      ASSERT_TRUE(response.has_value());
      ASSERT_GT(response->payload_bytes, 0u);
      ASSERT_LE(response->payload_bytes, left_bytes);
      ASSERT_TRUE(peer.requests->Receive(response->payload_bytes).has_value());
      left_bytes -= response->payload_bytes;
    }
  }
}

// Goal: requests cut into the smallest pieces are put together again.
TEST_F(TcpHostileTest, RequestsMayComeByteByByte) {
  Peer peer = Welcome();
  TcpRequestWire wire = GoodRequest(TcpOpcode::kWrite, peer.key, kRegionHeaderBytes, 16);
  std::string bytes(reinterpret_cast<const char*>(&wire), sizeof(wire));
  bytes += "0123456789abcdef";
  for (const char byte : bytes) ASSERT_TRUE(peer.requests->Send({&byte, 1}));
  const auto response = peer.requests->ReceiveStruct<TcpResponseWire>();
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->acks, 1u);
  EXPECT_EQ(region_->words()[kRegionHeaderBytes / kWordBytes].Load(std::memory_order_acquire),
            0x3736353433323130u);
}

// Goal: answers that nobody asked for, or of the wrong kind, break the connection and land nowhere.
TEST_F(TcpHostileTest, BadAnswersBreakTheConnectionOnly) {
  const std::vector<TcpResponseWire> lies = {
      {.payload_bytes = 0, .acks = 0, .status = TcpStatus::kOk, .reserved0 = 0},
      {.payload_bytes = 0, .acks = 1, .status = TcpStatus::kOk, .reserved0 = 0},
      {.payload_bytes = 8, .acks = 1, .status = TcpStatus::kOk, .reserved0 = 0},
      {.payload_bytes = 24, .acks = 0, .status = TcpStatus::kOk, .reserved0 = 0},
      {.payload_bytes = 4, .acks = 0, .status = TcpStatus::kOk, .reserved0 = 0},
      {.payload_bytes = 0xfffffff8, .acks = 0, .status = TcpStatus::kOk, .reserved0 = 0},
      {.payload_bytes = 0, .acks = 0, .status = TcpStatus{9}, .reserved0 = 0},
      {.payload_bytes = 0, .acks = 0, .status = TcpStatus::kBounds, .reserved0 = 1},
      {.payload_bytes = 8, .acks = 0, .status = TcpStatus::kBounds, .reserved0 = 0},
  };
  for (size_t i = 0; i < lies.size(); ++i) {
    SCOPED_TRACE(i);
    Peer peer = Welcome();
    WorkRequest read;
    read.local = region_->words() + kRegionHeaderBytes / kWordBytes;
    read.local_region = region_.get();
    read.length_bytes = 16;
    read.remote_key = RemoteKey{0x101};
    ASSERT_TRUE(peer.queue_pair->Post({&read, 1}).ok());
    ASSERT_TRUE(peer.responses->ReceiveStruct<TcpRequestWire>().has_value());
    ASSERT_TRUE(peer.responses->SendStruct(lies[i]));
    peer.responses->Send(std::string(64, 'x'));
    EXPECT_EQ(AwaitAsleep(queue_.get()).status, CompletionStatus::kFlushed);
    ExpectBroken(peer);
  }
  ExpectUntouched();
  ExpectServed();
}

// Goal: a peer that closes one stream and keeps the other open does not hold up those who wait.
TEST_F(TcpHostileTest, OneStreamThatStaysOpenHoldsNobodyUp) {
  Peer peer = Welcome();
  WorkRequest read;
  read.local = region_->words() + kRegionHeaderBytes / kWordBytes;
  read.local_region = region_.get();
  read.length_bytes = 16;
  read.remote_key = RemoteKey{0x101};
  ASSERT_TRUE(peer.queue_pair->Post({&read, 1}).ok());
  peer.requests.reset();
  EXPECT_EQ(AwaitAsleep(queue_.get()).status, CompletionStatus::kFlushed);
  ExpectBroken(peer);
}

}  // namespace
}  // namespace acre::transport
