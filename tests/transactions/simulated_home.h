// The workers of one home and plain writers as simulated threads: any interleaving of their loads and stores, with
// store buffers (E11), out of a seed. While they run versions rise, but that odd ones may be undone
// (tests/checkers/version_watcher.h); in the end what was told is judged as in the race. With odd seeds the workers'
// connections are of shared memory, and two of three read in place; with even ones, all READ by cards.

#ifndef ACRE_TESTS_TRANSACTIONS_SIMULATED_HOME_H_
#define ACRE_TESTS_TRANSACTIONS_SIMULATED_HOME_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/isolation/checker.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "kvs/mapped_reader.h"
#include "kvs/remote_writer_test_util.h"
#include "kvs/table.h"
#include "lock/lock_test_mesh.h"
#include "runtime/sim/world.h"
#include "tests/checkers/version_watcher.h"
#include "tests/transactions/workload.h"
#include "transport/sim/sim_fabric.h"
#include "transport/sim/sim_network.h"

namespace acre::kvs {

class SimulatedHome {
 public:
  static constexpr uint64_t kScanNs = 10'000;
  static constexpr uint64_t kPatienceNs = 20'000'000'000;
  static constexpr uint64_t kReadPatienceNs = 20'000;
  static constexpr uint64_t kProgressNs = 1'000;
  struct Mistakes {
    bool validates = true;
    bool validates_reads = true;
  };
  SimulatedHome(uint64_t seed, const Mistakes& mistakes)
      : world_({.seed = seed}),
        network_(&world_, {.faults = transport::SimFaults::None()}),
        device_(seed % 2 == 0 ? transport::SimDevice::kCard : transport::SimDevice::kSharedMemory) {
    sim::Machine* const machine = world_.AddMachine("m");
    process_ = world_.AddProcess(machine, "server");
    node_ = MakeNode(machine, 1);
    MakeTableRegion(node_.get());
    transport::MemoryRegion* const region = node_->lock_region();
    auto table = Table::Create({.index_percent = 2}, absl::MakeSpan(&region, 1));
    CHECK(table.ok()) << table.status();
    table_ = *std::move(table);
    scene_.clock = machine->clock();
    scene_.table = table_.get();
    scene_.transactions_count = 40;
    scene_.validates = mistakes.validates;
    scene_.validates_reads = mistakes.validates_reads;
    scene_.between = [this] { world_.Spend(50); };
    scene_.open_reads = [this](uint32_t index) { return OpenReads(index); };
    ChooseKeys(&scene_);
    const auto progress = [this] {
      world_.RunUntil([] { return false; }, world_.NowNs() + kProgressNs);
    };
    for (uint32_t i = 0; i < kWorkers; ++i) {
      nodes_.push_back(MakeNode(machine, 2 + i));
      LockNode::JoinHome(nodes_.back().get(), node_.get(), LockKind::kALock, 2, progress);
    }
    clients_.resize(kWorkers);
    mapped_.resize(kWorkers);
    for (uint32_t i = 0; i < kWorkers; ++i) {
      workers_.emplace_back(&scene_, i, seed * kWorkers + i);
    }
  }

  ~SimulatedHome() {
    for (const auto& client : clients_) {
      if (client != nullptr) client->Close();
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
  std::unique_ptr<LockNode> MakeNode(sim::Machine* machine, uint32_t id) {
    auto fabric = transport::SimFabric::Create(&network_, process_, {.device = device_});
    CHECK(fabric.ok()) << fabric.status();
    return std::make_unique<LockNode>(*std::move(fabric), machine->clock(), id);
  }
  // On the worker's thread.
  WorkerReads OpenReads(uint32_t index) {
    LockNode* const node = nodes_[index].get();
    Scheduler& scheduler = node->scheduler();
    scheduler.DetachFromThread();
    WorkerReads reads = {.scheduler = &scheduler, .patience_ns = kReadPatienceNs};
    const size_t region_bytes = node_->lock_region()->size_bytes();
    if (device_ == transport::SimDevice::kSharedMemory && index % 2 == 0) {
      auto mapped = MappedReader::Create(node->home_queue_pair(),
                                         {{kTestLockRegion, node->lock_key(), region_bytes}},
                                         scene_.clock, kReadPatienceNs);
      CHECK(mapped.ok()) << mapped.status();
      mapped_[index] = *std::move(mapped);
      reads.mapped = mapped_[index].get();
    } else {
      clients_[index] = std::make_unique<TestClient>(node);
      scheduler.RunUntilDone(clients_[index]->Open(region_bytes));
      reads.remote = clients_[index]->reader();
    }
    return reads;
  }
  void Watch() {
    for (const std::string& wrong : watcher_.Scan(table_->segments()[0].get())) {
      if (finding_.empty()) finding_ = wrong;
    }
    world_.After(kScanNs, [this] { Watch(); });
  }

  sim::World world_;
  transport::SimNetwork network_;
  sim::Process* process_ = nullptr;
  const transport::SimDevice device_;
  std::unique_ptr<LockNode> node_;
  // Of the workers: connections, and what reads by them.
  std::vector<std::unique_ptr<LockNode>> nodes_;
  std::vector<std::unique_ptr<TestClient>> clients_;
  std::vector<std::unique_ptr<MappedReader>> mapped_;
  std::unique_ptr<Table> table_;
  TransactionScene scene_;
  std::deque<TransactionWorker> workers_;
  checkers::VersionWatcher watcher_;
  std::string finding_;
};

}  // namespace acre::kvs

#endif  // ACRE_TESTS_TRANSACTIONS_SIMULATED_HOME_H_
