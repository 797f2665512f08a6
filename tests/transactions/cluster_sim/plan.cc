#include "tests/transactions/cluster_sim/plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/hash.h"
#include "kvs/key_share.h"
#include "kvs/segment_layout.h"

namespace acre::cluster_sim {
namespace {

int Below(Random* random, int bound) {
  return static_cast<int>(random->Uniform(static_cast<uint64_t>(bound)));
}

uint64_t DrawScale(Random* random, uint64_t from, uint64_t to) {
  uint64_t bound = from;
  while (bound < to && random->Uniform(3) != 0) bound *= 2;
  return from + random->Uniform(std::min(bound, to));
}

// Keys of a home that lie in a few buckets, side by side: so that deletes pull records out of chains.
void DrawKeysOf(Random* random, size_t home, ClusterPlan* plan) {
  const auto layout = kvs::SegmentLayout::Plan(1, 1, kSegmentBytes, kIndexPercent);
  CHECK(layout.ok()) << layout.status();
  const uint64_t window = 1 + random->Uniform(3);
  const uint64_t first = random->Uniform(layout->buckets_count - window + 1);
  size_t count = 0;
  for (uint64_t number = 0; count < kKeysOfHome; ++number) {
    std::string name =
        absl::StrCat("key ", home, ".", number, random->Uniform(8) == 0 ? " which is long" : "");
    const uint64_t hash = kvs::HashKey(name);
    if (kvs::KeyShare::ServerIndex(hash, plan->homes) != home) continue;
    const uint64_t bucket = kvs::HomeBucket(hash, layout->buckets_count);
    if (bucket < first || bucket >= first + window) continue;
    const KeyKind kind = count < kListsOfHome                      ? KeyKind::kList
                         : count < kListsOfHome + kRegistersOfHome ? KeyKind::kRegister
                                                                   : KeyKind::kScratch;
    plan->keys.push_back({std::move(name), home, kind});
    ++count;
  }
}

}  // namespace

ClusterPlan ClusterPlan::Draw(Random* random) {
  ClusterPlan plan;
  const bool is_card = random->Uniform(2) == 0;
  plan.device = is_card ? transport::SimDevice::kCard : transport::SimDevice::kSharedMemory;
  plan.is_mapped = !is_card && random->Uniform(3) != 0;
  plan.stalls = random->Uniform(4) != 0;
  plan.store_buffers = random->Uniform(8) != 0;
  plan.homes = 2 + random->Uniform(2);
  plan.workers = 1 + Below(random, 2);
  plan.coordinators = 2 + random->Uniform(2);
  plan.coroutines = 1 + Below(random, 4);
  plan.shares_machines = random->Uniform(4) == 0;
  plan.spin_ns = DrawScale(random, 500, 8 * kUs);
  static constexpr uint32_t kRingBytes[] = {1'024, 4'096, 4'096, 65'536};
  plan.ring_bytes = kRingBytes[random->Uniform(4)];
  plan.lease_ns = 60 * kMs + random->Uniform(60 * kMs);
  plan.timeout_ns = DrawScale(random, 2 * kMs, 32 * kMs);
  plan.DrawKeys(random);
  plan.runs_percent = Below(random, 101);
  plan.think_ns_max = DrawScale(random, 1 * kUs, 200 * kUs);
  plan.pause_ns_max = DrawScale(random, 1 * kUs, 200 * kUs);
  plan.faults_end_ns = DrawScale(random, 2 * kMs, 16 * kMs);
  plan.troubles = random->Uniform(9);
  plan.homes_die = random->Uniform(3) == 0;
  plan.mortal_home = random->Uniform(plan.homes);
  return plan;
}

void ClusterPlan::DrawKeys(Random* random) {
  keys.clear();
  for (size_t home = 0; home < homes; ++home) DrawKeysOf(random, home, this);
}

std::string ClusterPlan::ToText() const {
  return absl::StrCat(device == transport::SimDevice::kCard ? "cards" : "shared memory",
                      is_mapped ? ", mapped" : ", READs", ", homes ", homes, " of ", workers,
                      " workers, coordinators ", coordinators, " of ", coroutines,
                      " coroutines, ring ", ring_bytes, ", timeout ", timeout_ns / kUs,
                      " us, faults for ", faults_end_ns / kUs, " us, troubles ", troubles,
                      homes_die ? ", homes die" : "", stalls ? ", stalls" : "",
                      store_buffers ? ", store buffers" : "");
}

}  // namespace acre::cluster_sim
