// What peers that do not behave cost a `kv_doctor --serve`: over real sockets, the host on its own thread.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/mutex.h"
#include "runtime/scheduler.h"
#include "runtime/system_random.h"
#include "server/doctor/pair_checks.h"
#include "server/doctor/pair_host.h"
#include "server/doctor/pair_wire.h"
#include "transport/bootstrap_peer.h"
#include "transport/bootstrap_wire.h"
#include "transport/fabric.h"
#include "transport/port.h"
#include "transport/providers/providers.h"
#include "transport/refusal_log.h"
#include "transport/secret.h"
#include "transport/socket.h"
#include "transport/stream.h"

namespace acre::doctor {
namespace {

using transport::QueuePairState;
using transport::RefusalReason;
using Secret = std::shared_ptr<const transport::Secret>;

constexpr uint64_t kSecondNs = 1'000'000'000;

Secret SecretOf(absl::string_view text) {
  return transport::Secret::FromBytes(std::string(text)).value();
}

class PairStrangersTest : public testing::Test {
 protected:
  PairStrangersTest() : scheduler_({.clock = &clock_, .name = "stranger"}) {
    transport::ProviderOptions options;
    options.clock = &clock_;
    fabric_ = transport::OpenProvider("tcp", options).value();
    queue_ = fabric_->CreateCompletionQueue().value();
    port_ = std::make_unique<transport::Port>(&scheduler_, queue_.get());
  }

  void StartHost(Secret secret = nullptr, uint64_t link_ns_max = PairHostOptions().link_ns_max) {
    PairHostOptions options;
    options.clock = &clock_;
    options.listen = {"127.0.0.1", 0};
    options.fabrics = {"tcp"};
    options.secret = std::move(secret);
    options.fill_random = FillSystemRandom;
    options.say = [this](absl::string_view line) {
      MutexLock lock(&mutex_);
      said_.emplace_back(line);
    };
    options.link_ns_max = link_ns_max;
    host_ = PairHost::Start(std::move(options)).value();
  }
  std::vector<Check> CheckAgainstHost(Secret secret = nullptr) {
    PairOptions options;
    options.clock = &clock_;
    options.peer = transport::ParseHostPort(host_->address()).value();
    options.fabrics = {"tcp"};
    options.credentials = {std::move(secret), FillSystemRandom};
    Findings findings;
    CheckPair(options, &findings);
    return findings.all();
  }
  // How many lines of the host's have `part` in them.
  int SaidCount(absl::string_view part) {
    MutexLock lock(&mutex_);
    int count = 0;
    for (const std::string& line : said_) count += absl::StrContains(line, part) ? 1 : 0;
    return count;
  }

  // A stream to the host, and what it says there.
  std::unique_ptr<transport::Stream> SayToHost(std::string bytes) {
    const auto address = transport::ParseHostPort(host_->address()).value();
    auto fd = transport::StartConnect(transport::Resolve(address).value().front());
    auto stream = std::make_unique<transport::Stream>(&scheduler_, *std::move(fd));
    const uint64_t deadline_ns = scheduler_.NowNs() + 20 * kSecondNs;
    EXPECT_EQ(scheduler_.RunUntilDone(stream->FinishConnect(deadline_ns)), absl::OkStatus());
    EXPECT_EQ(scheduler_.RunUntilDone(stream->Write(std::move(bytes), deadline_ns)),
              absl::OkStatus());
    return stream;
  }
  absl::Status ReadFrom(transport::Stream* stream, void* to, size_t bytes) {
    return scheduler_.RunUntilDone(stream->Read(to, bytes, scheduler_.NowNs() + 20 * kSecondNs));
  }
  // The Welcome of a host without a secret.
  transport::Welcome BeWelcomed(transport::Stream* stream) {
    transport::MessageHeader header;
    EXPECT_EQ(ReadFrom(stream, &header, sizeof(header)), absl::OkStatus());
    EXPECT_EQ(CheckHeader(header, transport::BootstrapMessage::kWelcome), absl::OkStatus());
    std::string body(header.body_bytes, '\0');
    EXPECT_EQ(ReadFrom(stream, body.data(), body.size()), absl::OkStatus());
    return transport::ParseWelcome(body).value();
  }

  RealClock clock_;
  Scheduler scheduler_;
  std::unique_ptr<transport::Fabric> fabric_;
  std::unique_ptr<transport::CompletionQueue> queue_;
  std::unique_ptr<transport::Port> port_;
  Mutex mutex_;
  std::vector<std::string> said_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<PairHost> host_;  // Last: its thread says things.
};

TEST_F(PairStrangersTest, RefusedPeersAreCountedAndToldOnce) {
  StartHost(SecretOf("0123456789abcdef"));
  for (int i = 0; i < 3; ++i) CheckAgainstHost(SecretOf("another-secret-0"));
  CheckAgainstHost();
  CheckAgainstHost(SecretOf("0123456789abcdef"));
  EXPECT_EQ(host_->refusals().Count(RefusalReason::kSecret), 3u);
  EXPECT_EQ(host_->refusals().Count(RefusalReason::kNoSecret), 1u);
  EXPECT_EQ(SaidCount("is refused: "), 2);
  EXPECT_EQ(SaidCount("a client at 127.0.0.1:"), 2);
  EXPECT_EQ(host_->Tally(),
            "connections checked over: 1, refused (no_secret): 1, refused (secret): 3");
}

// Goal: who takes it for something else is seen, with what it said, and no byte of that goes to a terminal as it is.
TEST_F(PairStrangersTest, OtherProtocolsAreCountedAndTold) {
  StartHost();
  const auto stream = SayToHost("GET\x1b[2J/");
  char byte;
  EXPECT_TRUE(absl::IsUnavailable(ReadFrom(stream.get(), &byte, 1)));
  EXPECT_EQ(host_->refusals().Count(RefusalReason::kNonsense), 1u);
  EXPECT_EQ(SaidCount("it opens with \"GET\\x1b[2J/\""), 1);
}

// Goal: a peer that went through the handshake and then does nothing is not kept.
TEST_F(PairStrangersTest, SilentPeerDoesNotStay) {
  StartHost(/*secret=*/nullptr, /*link_ns_max=*/20'000'000);
  transport::ConnectOptions options;
  options.server = transport::ParseHostPort(host_->address()).value();
  options.layout_version = kDoctorLayout;
  options.fabrics = {{fabric_.get(), port_.get()}};
  options.channel.region_id = 1;
  options.deadline_ns = scheduler_.NowNs() + 20 * kSecondNs;
  auto peer = scheduler_.RunUntilDone(transport::ConnectPeer(std::move(options)));
  ASSERT_EQ(peer.status(), absl::OkStatus());
  // Ends by the host's doing alone.
  while (peer->link.queue_pair()->state() != QueuePairState::kBroken) scheduler_.RunOnce();
  EXPECT_EQ(SaidCount("a peer on tcp has been here for 20 ms"), 1);
}

// Goal: peers that were greeted while there was room, and come on the fabric all at once, are no more than there
// may be.
TEST_F(PairStrangersTest, LimitHoldsForThoseGreetedBefore) {
  constexpr size_t kTooMany = 2;
  StartHost();
  transport::Hello hello;
  hello.layout_version = kDoctorLayout;
  hello.fabric = "tcp";
  const std::string greeting = absl::StrCat(transport::kBootstrapPurpose, EncodeHello(hello));
  std::vector<std::unique_ptr<transport::Stream>> streams;
  std::vector<transport::Welcome> welcomes;
  for (size_t i = 0; i < PairHost::kPeersMax + kTooMany; ++i) {
    streams.push_back(SayToHost(greeting));
    welcomes.push_back(BeWelcomed(streams.back().get()));
  }
  EXPECT_EQ(host_->crowded_out_count(), 0u);
  std::vector<std::unique_ptr<transport::QueuePair>> queue_pairs;
  for (const transport::Welcome& welcome : welcomes) {
    queue_pairs.push_back(fabric_
                              ->Connect(welcome.fabrics.at(0).endpoint, queue_.get(),
                                        transport::EncodeToken(welcome.token))
                              .value());
  }
  size_t taken = 0;
  size_t sent_away = 0;
  for (const auto& queue_pair : queue_pairs) {
    while (queue_pair->state() == QueuePairState::kConnecting) scheduler_.RunOnce();
    ++(queue_pair->state() == QueuePairState::kReady ? taken : sent_away);
  }
  EXPECT_EQ(taken, PairHost::kPeersMax);
  EXPECT_EQ(sent_away, kTooMany);
  EXPECT_EQ(host_->crowded_out_count(), kTooMany);
  EXPECT_EQ(SaidCount("16 peers are checking already"), 1);
  // Those who come now are sent away in the first step, with the reason.
  const std::vector<Check> checks = CheckAgainstHost();
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_TRUE(absl::StrContains(checks[0].found, "16 peers are checking already"))
      << checks[0].found;
  EXPECT_EQ(host_->crowded_out_count(), kTooMany + 1);
  for (const auto& queue_pair : queue_pairs) port_->Forget(queue_pair.get());
}

}  // namespace
}  // namespace acre::doctor
