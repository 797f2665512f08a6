#include "tests/sim/plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/hash.h"
#include "kvs/segment_layout.h"

namespace acre::simulation {
namespace {

constexpr size_t kKeysMin = 8;
constexpr size_t kKeysMax = 40;
constexpr size_t kHeapedKeysMax = 16;
constexpr size_t kChurnedKeysMax = 12;
constexpr uint64_t kWindowMax = 12;

int Below(Random* random, int bound) {
  return static_cast<int>(random->Uniform(static_cast<uint64_t>(bound)));
}

// Small and large numbers alike: uniform in its logarithm, roughly.
uint64_t DrawScale(Random* random, uint64_t from, uint64_t to) {
  uint64_t bound = from;
  while (bound < to && random->Uniform(3) != 0) bound *= 2;
  return from + random->Uniform(std::min(bound, to));
}

// Keys of whole words, other short ones, and some that do not fit into a slot.
std::string DrawKey(Random* random, size_t number) {
  static constexpr size_t kBytes[] = {8, 8, 16, 24, 3, 11, 31, 32, 70};
  std::string key = absl::StrCat("k", number, "-", random->Uniform(1'000'000), "-");
  const size_t bytes = kBytes[random->Uniform(9)];
  while (key.size() < bytes) key.append(key);
  key.resize(std::max<size_t>(bytes, 3));
  return key;
}

// How keys lie.
enum class Crowd : uint8_t {
  kSpread,  // On some buckets side by side, as it comes.
  kFull,    // They nearly fill those: most inserts displace.
  kHeaped,  // A few more than one home has room for, and they come and go: most deletes pull from a chain.
  // Likewise, all in one segment, and nearly all of them are there at any time: who misses one is mostly
  // wrong.
  kChurned,
};

// Their homes lie in a few buckets, side by side: so buckets fill, records are displaced, chains grow.
std::vector<std::string> DrawKeys(Random* random, Crowd crowd, int segments) {
  const auto layout = kvs::SegmentLayout::Plan(1, 1, kSegmentBytes, kIndexPercent);
  CHECK(layout.ok()) << layout.status();
  const bool is_one_home = crowd == Crowd::kHeaped || crowd == Crowd::kChurned;
  const size_t keys_max = crowd == Crowd::kChurned  ? kChurnedKeysMax
                          : crowd == Crowd::kHeaped ? kHeapedKeysMax
                                                    : kKeysMax;
  const size_t count = kKeysMin + random->Uniform(keys_max - kKeysMin + 1);
  const uint64_t window = is_one_home             ? 1
                          : crowd == Crowd::kFull ? 1 + count / 4 + random->Uniform(count / 4)
                                                  : 1 + random->Uniform(kWindowMax);
  // At times at the end, where the spare bucket is.
  const uint64_t first = random->Uniform(4) == 0
                             ? layout->buckets_count - window
                             : random->Uniform(layout->buckets_count - window + 1);
  std::vector<std::string> keys;
  while (keys.size() < count) {
    std::string key = DrawKey(random, keys.size());
    const uint64_t hash = kvs::HashKey(key);
    const uint64_t home = kvs::HomeBucket(hash, layout->buckets_count);
    if (home < first || home >= first + window) continue;
    const bool is_in_first = kvs::SegmentIndex(hash, static_cast<uint64_t>(segments)) == 0;
    if (!is_in_first && (crowd == Crowd::kChurned || random->Uniform(4) != 0)) continue;
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(std::move(key));
  }
  return keys;
}

void DrawClients(Random* random, Plan* plan) {
  static constexpr int kCounts[] = {1, 2, 2, 2, 2, 3};
  const int count = plan->is_churned ? 2 + Below(random, 2) : kCounts[random->Uniform(6)];
  // Many fill a small ring, so that senders wait for room in it.
  const int coroutines_max = random->Uniform(4) == 0 ? 20 : 4;
  for (int i = 0; i < count; ++i) {
    Plan::Client client;
    const bool can_map = plan->device == transport::SimDevice::kSharedMemory;
    // Where records move, those who read the memory themselves are the ones to look at.
    switch (random->Uniform(plan->is_churned ? 12 : 4)) {
      case 0:
        client.path = Path::kRpc;
        break;
      case 1:
        client.path = Path::kOneSided;
        break;
      default:
        client.path = can_map ? Path::kMapped : Path::kOneSided;
    }
    client.machine = Below(random, plan->machines);
    client.coroutines = 1 + Below(random, coroutines_max);
    plan->clients.push_back(client);
  }
}

void DrawWork(Random* random, Plan* plan) {
  const auto crowd = plan->is_churned ? Crowd::kChurned : static_cast<Crowd>(random->Uniform(3));
  plan->keys = DrawKeys(random, crowd, plan->segments);
  const bool is_heaped = crowd == Crowd::kHeaped;
  Plan::Mix mix;
  mix.puts_percent = is_heaped ? 25 + Below(random, 25) : 10 + Below(random, 50);
  mix.deletes_percent = is_heaped ? 15 + Below(random, 15) : Below(random, 40);
  mix.multi_gets_percent = Below(random, 10);
  for (Plan::Client& client : plan->clients) client.mix = mix;
  static constexpr int kLarge[] = {0, 5, 30, 100};
  plan->large_values_percent = kLarge[random->Uniform(4)];
  plan->value_bytes_max = DrawScale(random, 256, 16'384);
  if (random->Uniform(3) == 0) {
    plan->spare_heap_bytes = 16'384 + DrawScale(random, 4'096, 131'072);
  }
  static constexpr uint64_t kShortTimeouts[] = {0, 64, 64, 8};
  plan->short_timeouts_one_in = kShortTimeouts[random->Uniform(4)];
  plan->timeout_ns = DrawScale(random, kMs, 16 * kMs);
  plan->burst_max = DrawScale(random, 4, 256);
  plan->operations_in_all = 1'000 + random->Uniform(3'000);
  plan->faults_end_ns = DrawScale(random, 2 * kMs, 40 * kMs);
  plan->scan_interval_ns = DrawScale(random, 50 * kUs, 500 * kUs);
}

// "Churn" in docs/simulator.md. The first client deletes records and puts them back, which moves others; the
// other clients look for them. It pauses between two waves: in a home that changes all the time no two
// collects are alike, and who misses a record that has just been inserted may be right.
void DrawChurn(Random* random, Plan* plan) {
  for (Plan::Client& client : plan->clients) {
    const bool is_writer = &client == &plan->clients.front();
    client.coroutines = is_writer ? 1 + Below(random, 3) : 4 + Below(random, 16);
    client.mix = {};
    if (is_writer) {
      client.mix.waves_percent = 80;
    } else {
      client.mix.puts_percent = Below(random, 3);
      client.mix.multi_gets_percent = Below(random, 60);
    }
  }
  plan->wave_keys_max = 2 + random->Uniform(4);
  plan->wave_pause_ns_max = 100 * kUs + random->Uniform(400 * kUs);
  plan->spare_heap_bytes = 0;
  plan->burst_max = DrawScale(random, 4, 64);
  plan->operations_in_all = 16'000 + random->Uniform(4'000);
  plan->faults_end_ns = 24 * kMs + random->Uniform(8 * kMs);
  plan->split_reads = random->Uniform(2) == 0 ? 0.5 : 1;
  plan->line_ns_max = random->Uniform(2) == 0 ? 2 * kUs : 4 * kUs;
}

}  // namespace

Plan Plan::Draw(Random* random) {
  Plan plan;
  plan.is_churned = random->Uniform(4) == 0;
  // Only a card's READs are sampled in any order: where records move there are more of them.
  plan.device = random->Uniform(4) < (plan.is_churned ? 3 : 2)
                    ? transport::SimDevice::kCard
                    : transport::SimDevice::kSharedMemory;
  const bool is_card = plan.device == transport::SimDevice::kCard;
  plan.machines = is_card ? 1 + Below(random, 3) : 1;
  plan.marks_deaths = random->Uniform(3) != 0;
  plan.stalls = random->Uniform(4) != 0;
  plan.store_buffers = random->Uniform(8) != 0;
  // A lease of mapped memory is longer than what the coarse clock may be late (docs/leases.md). Without one
  // it is only the measure of epochs.
  const bool has_lease = !is_card && !plan.marks_deaths;
  plan.lease_ns =
      has_lease ? 60 * kMs + random->Uniform(60 * kMs) : DrawScale(random, 500 * kUs, 50 * kMs);
  plan.threads = 1 + Below(random, 2);
  plan.segments = 1 + Below(random, 2);
  plan.spin_ns = DrawScale(random, 500, 8 * kUs);
  static constexpr uint32_t kRingBytes[] = {1'024, 1'024, 4'096, 65'536};
  plan.ring_bytes = kRingBytes[random->Uniform(4)];
  DrawClients(random, &plan);
  DrawWork(random, &plan);
  if (plan.is_churned) DrawChurn(random, &plan);
  return plan;
}

std::string Plan::ToText() const {
  std::string text = absl::StrCat(
      device == transport::SimDevice::kCard ? "cards" : "shared memory", ", machines ", machines,
      marks_deaths ? ", death marks" : ", leases", ", lease ", lease_ns / kUs, " us, threads ",
      threads, ", segments ", segments, ", spare heap ", spare_heap_bytes, ", keys ", keys.size(),
      is_churned ? ", churned" : "", ", faults for ", faults_end_ns / kUs, " us, clients");
  for (const Client& client : clients) {
    absl::StrAppend(&text, " ", PathName(client.path), "*", client.coroutines, "@", client.machine);
  }
  return text;
}

}  // namespace acre::simulation
