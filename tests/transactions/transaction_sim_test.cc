// The workers of one home and plain writers as simulated threads: any interleaving of their loads and stores, with
// store buffers (E11), out of a seed. While they run versions rise, but that odd ones may be undone
// (tests/checkers/version_watcher.h); in the end what was told is judged as in the race.
//
// More seeds: bazel test --config=sim --test_env=ACRE_TRANSACTION_SEEDS=1000 //tests/transactions:transaction_sim_test

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/isolation/checker.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "kvs/remote_writer_test_util.h"
#include "kvs/table.h"
#include "lock/lock_test_mesh.h"
#include "runtime/sim/seeds.h"
#include "runtime/sim/world.h"
#include "tests/checkers/version_watcher.h"
#include "tests/transactions/workload.h"
#include "transport/sim/sim_fabric.h"
#include "transport/sim/sim_network.h"

namespace acre::kvs {
namespace {

constexpr uint64_t kScanNs = 10'000;
constexpr uint64_t kPatienceNs = 20'000'000'000;

class SimulatedHome {
 public:
  SimulatedHome(uint64_t seed, bool validates)
      : world_({.seed = seed}), network_(&world_, {.faults = transport::SimFaults::None()}) {
    sim::Machine* const machine = world_.AddMachine("m");
    process_ = world_.AddProcess(machine, "server");
    auto fabric = transport::SimFabric::Create(&network_, process_, {});
    CHECK(fabric.ok()) << fabric.status();
    node_ =
        std::make_unique<LockNode>(*std::move(fabric), machine->clock(), 1, Scheduler::Options());
    MakeTableRegion(node_.get());
    transport::MemoryRegion* const region = node_->lock_region();
    auto table = Table::Create({.index_percent = 2}, absl::MakeSpan(&region, 1));
    CHECK(table.ok()) << table.status();
    table_ = *std::move(table);
    scene_.clock = machine->clock();
    scene_.table = table_.get();
    scene_.transactions_count = 40;
    scene_.validates = validates;
    scene_.between = [this] { world_.Spend(50); };
    ChooseKeys(&scene_);
    for (uint32_t i = 0; i < kWorkers; ++i) {
      workers_.emplace_back(&scene_, i, seed * kWorkers + i);
    }
  }

  // Empty: they all got on, and versions rose.
  std::string Run() {
    size_t left = kWorkers + kPlainWriters;
    for (TransactionWorker& worker : workers_) {
      process_->Spawn("worker", [&] {
        worker.Run();
        --left;
      });
    }
    for (uint64_t i = 0; i < kPlainWriters; ++i) {
      process_->Spawn("plain", [&, i] {
        WritePlainly(&scene_, 100 + i);
        --left;
      });
    }
    Watch();
    if (!world_.RunUntil([&] { return left == 0 || !finding_.empty(); },
                         world_.NowNs() + kPatienceNs)) {
      return "hangs";
    }
    return finding_;
  }
  isolation::Report Judge() {
    ExpectSound(&scene_);
    const auto report = isolation::Check(WholeHistory(&scene_, workers_));
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : isolation::Report();
  }
  Counts counts() const { return SumOf(workers_); }

 private:
  void Watch() {
    for (const std::string& wrong : watcher_.Scan(table_->segments()[0].get())) {
      if (finding_.empty()) finding_ = wrong;
    }
    world_.After(kScanNs, [this] { Watch(); });
  }

  sim::World world_;
  transport::SimNetwork network_;
  sim::Process* process_ = nullptr;
  std::unique_ptr<LockNode> node_;
  std::unique_ptr<Table> table_;
  TransactionScene scene_;
  std::deque<TransactionWorker> workers_;
  checkers::VersionWatcher watcher_;
  std::string finding_;
};

TEST(TransactionSimTest, WhatCommitsIsStrictlySerialisable) {
  uint64_t committed = 0;
  uint64_t refused = 0;
  const uint64_t seeds = SeedsOr("ACRE_TRANSACTION_SEEDS", 300);
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    SimulatedHome home(seed, /*validates=*/true);
    ASSERT_EQ(home.Run(), "") << "seed " << seed;
    const isolation::Report report = home.Judge();
    ASSERT_TRUE(report.Keeps(isolation::Level::kStrictSerializable)) << "seed " << seed << "\n"
                                                                     << isolation::ToText(report);
    const Counts counts = home.counts();
    committed += counts.committed;
    refused += counts.locked + counts.changed + counts.invalidated;
  }
  LOG(INFO) << committed << " committed, " << refused << " refused";
  EXPECT_GT(committed, 20 * seeds);
  EXPECT_GT(refused, seeds);
}

// Goal: a mistake shows, and soon.
TEST(TransactionSimTest, WithoutValidationItIsNot) {
  bool found = false;
  for (uint64_t seed = 1; seed <= 60 && !found; ++seed) {
    SimulatedHome home(seed, /*validates=*/false);
    ASSERT_EQ(home.Run(), "") << "seed " << seed;
    found = !home.Judge().Keeps(isolation::Level::kSerializable);
    if (found) LOG(INFO) << "found with seed " << seed;
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace acre::kvs
