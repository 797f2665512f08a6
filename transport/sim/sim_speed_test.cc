// What simulated requests cost in real time. Printed, not judged: machines differ.

#include <time.h>

#include <cstdint>
#include <iostream>
#include <memory>
#include <vector>

#include "transport/sim/sim_test_util.h"

namespace acre::transport {
namespace {

uint64_t CpuNs() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

// One client thread that sleeps while its request is under way, as a scheduler does.
void Measure(const char* what, const SimFaults& faults, Opcode opcode, uint32_t words) {
  constexpr int kRequests = 20'000;
  SimTestWorld test(1, faults);
  SimTestNode client(&test, test.world()->AddMachine("client"));
  SimTestNode server(&test, test.world()->AddMachine("server"));
  const auto region = server.MakeRegion(7, kRightsAll);
  SimTestConnection connection = ConnectNodes(&client, &server);
  const RemoteKey key = GrantAll(connection.server.get(), *region);
  const WorkRequest request = client.Request(opcode, key, 0, 0, words);
  const uint64_t start_ns = CpuNs();
  test.Run(client.process(), [&] {
    for (int i = 0; i < kRequests; ++i) {
      CHECK(connection.client->Post({&request, 1}).ok());
      test.world()->Sleep(kUs);
      CHECK(client.Await().status == CompletionStatus::kOk);
    }
  });
  const uint64_t took_ns = CpuNs() - start_ns;
  EXPECT_GE(test.counts().requests, static_cast<uint64_t>(kRequests));
  std::cout << what << ": " << took_ns / kRequests << " ns each\n";
}

TEST(SimSpeedTest, RequestsASecond) {
  SimFaults faults = SimFaults::All();
  faults.lost_connection = 0;
  Measure("READ of 512 B, no faults", SimFaults::None(), Opcode::kRead, 64);
  Measure("READ of 512 B, all faults", faults, Opcode::kRead, 64);
  Measure("WRITE of 64 B, no faults", SimFaults::None(), Opcode::kWrite, 8);
  Measure("WRITE of 64 B, all faults", faults, Opcode::kWrite, 8);
  Measure("COMPARE_SWAP, all faults", faults, Opcode::kCompareSwap, 1);
}

}  // namespace
}  // namespace acre::transport
