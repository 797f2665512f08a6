// Plan: what a seed says of a run, before it begins: who takes part, on which machines, over which device,
// with which keys and values, and for how long.

#ifndef ACRE_TESTS_SIM_PLAN_H_
#define ACRE_TESTS_SIM_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "client/client.h"
#include "runtime/random.h"
#include "transport/sim/sim_context.h"

namespace acre::simulation {

constexpr uint64_t kUs = 1'000;
constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kSegmentBytes = uint64_t{1} << 20;  // The least that a segment takes.
constexpr int kIndexPercent = 1;                       // 39 main buckets in that.

struct Plan {
  // The cluster.
  transport::SimDevice device = transport::SimDevice::kCard;
  int machines = 1;
  bool marks_deaths = false;  // Else mapped memory has a lease.
  bool stalls = true;
  bool store_buffers = true;
  uint64_t lease_ns = 0;
  // Records of one home move all the time, under those who look for them ("Churn" in docs/simulator.md).
  bool is_churned = false;
  // Then cards sample this share of the READs line by line, in any order, with so long between two lines.
  double split_reads = 0;
  uint64_t line_ns_max = 0;

  // The server, on the first machine.
  int threads = 1;
  int segments = 1;
  uint64_t spin_ns = 0;
  uint32_t ring_bytes = 0;
  // What is left of each segment's heap when the server starts; 0: all.
  uint64_t spare_heap_bytes = 0;

  // What a client does, of its operations; the others are Gets.
  struct Mix {
    int puts_percent = 0;
    int deletes_percent = 0;
    int multi_gets_percent = 0;
    // A pause, then Deletes of some keys one after another, then Puts of the same.
    int waves_percent = 0;
  };
  struct Client {
    Path path = Path::kRpc;
    int machine = 0;
    int coroutines = 1;
    Mix mix;
  };
  std::vector<Client> clients;

  // What the clients do.
  std::vector<std::string> keys;
  uint64_t timeout_ns = 0;             // Of an operation.
  uint64_t short_timeouts_one_in = 0;  // So many operations one is given up soon. 0: none.
  uint64_t operations_in_all = 0;      // While there are faults.
  uint64_t wave_keys_max = 0;          // Of Mix::waves_percent.
  uint64_t wave_pause_ns_max = 0;
  int large_values_percent = 0;  // Out of line.
  uint64_t value_bytes_max = 0;  // Of those.
  uint64_t burst_max = 0;        // Operations without a pause.

  // When the faults stop.
  uint64_t faults_end_ns = 0;
  // How often somebody looks whether versions rise.
  uint64_t scan_interval_ns = 0;

  static Plan Draw(Random* random);
  // One line.
  std::string ToText() const;
};

}  // namespace acre::simulation

#endif  // ACRE_TESTS_SIM_PLAN_H_
