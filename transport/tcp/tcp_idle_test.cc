// What the fabric's thread costs when nobody asks anything.

#include <time.h>

#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "transport/region_header.h"
#include "transport/tcp/tcp_test_peer.h"

namespace acre::transport {
namespace {

uint64_t ProcessCpuNs() {
  timespec now;
  CHECK_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now), 0);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

Task<void> WaitHalfASecond(Scheduler* scheduler) { co_await scheduler->SleepFor(500'000'000); }

std::unique_ptr<MemoryRegion> MakeRegion(Fabric* fabric, uint32_t region_id) {
  RegionOptions options;
  options.region_id = region_id;
  options.size_bytes = 1 << 14;
  options.peer_rights = kRightsAll;
  return Take(fabric->CreateRegion(options));
}

// Answers a few hundred READs in a row on fabrics of `clock`, for which the thread learns to spin, and gives
// what the process uses when they have ended, as a share of a core.
double UseOfCoreAfterReads(Clock* clock) {
  auto server = Take(TcpFabric::Create({.clock = clock}));
  auto client = Take(TcpFabric::Create({.clock = clock}));
  auto region = MakeRegion(server.get(), 7);
  auto local = MakeRegion(client.get(), 8);
  auto server_queue = Take(server->CreateCompletionQueue());
  auto client_queue = Take(client->CreateCompletionQueue());
  auto listener = Take(server->Listen());
  auto asking = Take(client->Connect(listener->endpoint(), client_queue.get(), ""));
  std::unique_ptr<QueuePair> answering;
  Completion completion;
  while (asking->state() == QueuePairState::kConnecting) {
    if (auto request = listener->Poll()) answering = Take(request->Accept(server_queue.get(), ""));
    (void)client_queue->Poll({&completion, 1});
  }
  const RemoteKey key = Take(answering->Grant(*region, kRightsAll));
  for (int i = 0; i < 300; ++i) {
    WorkRequest request;
    request.opcode = Opcode::kRead;
    request.local = local->words() + kRegionHeaderBytes / kWordBytes;
    request.local_region = local.get();
    request.length_bytes = kWordBytes;
    request.remote_key = key;
    request.remote_offset_bytes = kRegionHeaderBytes;
    EXPECT_TRUE(asking->Post({&request, 1}).ok());
    do {
      while (client_queue->Poll({&completion, 1}) == 0) continue;
    } while (completion.kind != CompletionKind::kSend);
    EXPECT_EQ(completion.status, CompletionStatus::kOk);
  }

  RealClock real_clock;
  Scheduler scheduler({.clock = &real_clock});
  const uint64_t begin_ns = real_clock.NowNs();
  const uint64_t begin_cpu_ns = ProcessCpuNs();
  scheduler.RunUntilDone(WaitHalfASecond(&scheduler));
  const uint64_t cpu_ns = ProcessCpuNs() - begin_cpu_ns;
  return static_cast<double>(cpu_ns) / static_cast<double>(real_clock.NowNs() - begin_ns);
}

TEST(TcpIdleTest, SleepsWhenNothingComes) {
  RealClock clock;
  EXPECT_LT(UseOfCoreAfterReads(&clock), 0.01);
}

TEST(TcpIdleTest, SleepsAlsoByAClockThatStandsStill) {
  ManualClock clock;
  EXPECT_LT(UseOfCoreAfterReads(&clock), 0.01);
}

}  // namespace
}  // namespace acre::transport
