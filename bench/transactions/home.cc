// What a home spends on a transaction (kvs/transaction_home.h), without a network: Google Benchmark, one thread.
//
//   bazel run --config=opt //bench/transactions:home
//
//   CommitAtOnce/N    N blind updates of N homes in cache: LOCK, install, and the watermark of one behind
//   LockCommit/N      the same in two calls
//   Put               two plain Puts, to compare with CommitAtOnce/2
//
// To add one: a function, and BENCHMARK() at the end.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "benchmark/benchmark.h"
#include "glog/logging.h"
#include "kvs/table.h"
#include "kvs/transaction_holders.h"
#include "kvs/transaction_home.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "transport/fabric.h"
#include "transport/shm/shm_fabric.h"

namespace acre::kvs {
namespace {

constexpr size_t kKeys = 1024;

class Home {
 public:
  Home() {
    auto fabric = transport::ShmFabric::Create({.clock = &clock_});
    CHECK(fabric.ok()) << fabric.status();
    fabric_ = *std::move(fabric);
    transport::RegionOptions options;
    options.region_id = 1000;
    options.size_bytes = 16 << 20;
    auto region = fabric_->CreateRegion(options);
    CHECK(region.ok()) << region.status();
    region_ = *std::move(region);
    transport::MemoryRegion* const raw = region_.get();
    auto table = Table::Create({}, absl::MakeSpan(&raw, 1));
    CHECK(table.ok()) << table.status();
    table_ = *std::move(table);
    writer_ = std::make_unique<TableWriter>(table_.get(), &scheduler_);
    home_ = std::make_unique<TransactionHome>(table_.get(), &scheduler_, &holders_);
    for (size_t i = 0; i < kKeys; ++i) {
      keys_.push_back(absl::StrCat("key ", i));
      Put(i);
    }
  }

  void Put(size_t key) {
    const absl::Status status = scheduler_.RunUntilDone(writer_->Put(keys_[key % kKeys], "value"));
    CHECK(status.ok()) << status;
  }
  // The next `count` keys, blindly.
  void Choose(size_t count, std::vector<TransactionWrite>* writes) {
    writes->clear();
    for (size_t i = 0; i < count; ++i) {
      TransactionWrite& write = writes->emplace_back();
      write.key = keys_[next_key_++ % kKeys];
      write.value = "value";
    }
  }
  // Of the next transaction; the one before it is over.
  TransactionId Begin() {
    const TransactionId id = {{.view = 1, .process_id = 7}, ++sequence_};
    const absl::Status status = home_->Truncate(id.coordinator, {}, sequence_);
    CHECK(status.ok()) << status;
    return id;
  }
  TransactionHome* home() { return home_.get(); }

 private:
  RealClock clock_;
  Scheduler scheduler_{{.clock = &clock_, .name = "bench"}};
  std::unique_ptr<transport::Fabric> fabric_;
  std::unique_ptr<transport::MemoryRegion> region_;
  std::unique_ptr<Table> table_;
  TransactionHolders holders_;
  std::unique_ptr<TableWriter> writer_;
  std::unique_ptr<TransactionHome> home_;
  std::vector<std::string> keys_;
  size_t next_key_ = 0;
  uint64_t sequence_ = 0;
};

void CommitAtOnce(benchmark::State& state) {  // NOLINT: the library's signature.
  Home home;
  std::vector<TransactionWrite> writes;
  for (auto _ : state) {
    home.Choose(static_cast<size_t>(state.range(0)), &writes);
    CHECK(home.home()->CommitAtOnce(home.Begin(), writes, {}, {}).is_yes());
  }
}

void LockCommit(benchmark::State& state) {  // NOLINT: the library's signature.
  Home home;
  std::vector<TransactionWrite> writes;
  const TransactionParticipant homes[] = {{0, 1}, {1, 1}};
  for (auto _ : state) {
    home.Choose(static_cast<size_t>(state.range(0)), &writes);
    const TransactionId id = home.Begin();
    CHECK(home.home()->Lock(id, homes, writes, {}).is_yes());
    CHECK(home.home()->Commit(id).ok());
  }
}

void Put(benchmark::State& state) {  // NOLINT: the library's signature.
  Home home;
  size_t key = 0;
  for (auto _ : state) {
    home.Put(key++);
    home.Put(key++);
  }
}

BENCHMARK(CommitAtOnce)->Arg(1)->Arg(2)->Arg(8);
BENCHMARK(LockCommit)->Arg(2);
BENCHMARK(Put);

}  // namespace
}  // namespace acre::kvs

BENCHMARK_MAIN();
