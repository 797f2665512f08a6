#include "bench/sim/lock_simulation.h"

#include <functional>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "bench/lock_acceptor.h"
#include "bench/lock_memory.h"
#include "bench/lock_worker.h"
#include "glog/logging.h"
#include "runtime/sim/world.h"
#include "transport/sim/sim_fabric.h"
#include "transport/sim/sim_network.h"

namespace acre::bench {
namespace {

// From the command to the begin of a slice: by then all threads are there.
constexpr uint64_t kStartNs = 200'000;
// Beyond what it should take. Virtual time is cheap only while nothing happens: all spin.
constexpr uint64_t kPatienceNs = 50'000'000;
constexpr uint64_t kSetupPatienceNs = 10'000'000'000;
constexpr uint64_t kLookNs = 20'000;

}  // namespace

// A process of the load: what LockProcess is to a real one.
struct SimulatedProcess {
  // With the clock of its machine. Outlives what follows, which borrows it.
  LockLoadOptions load;
  sim::Process* process = nullptr;
  std::unique_ptr<transport::Fabric> fabric;
  std::unique_ptr<LockMemory> memory;
  std::unique_ptr<LockAcceptor> acceptor;
  sim::Thread* acceptor_thread = nullptr;
  std::vector<LockKeys> granted;  // By thread of all processes.
  std::vector<std::unique_ptr<LockWorker>> workers;
};

class LockSimulation::World {
 public:
  explicit World(const LockLoadOptions& load)
      : load_(load),
        world_({.seed = load.seed, .store_buffers = false, .stalls = false, .caches = true}),
        network_(&world_, {.faults = transport::SimFaults::None()}),
        processes_(load.processes_count()) {}

  // The machines and their processes, open to each other.
  absl::Status Open() {
    std::vector<sim::Machine*> machines;
    for (uint32_t node = 0; node < load_.nodes; ++node) {
      machines.push_back(world_.AddMachine(absl::StrCat("node ", node)));
    }
    for (uint32_t i = 0; i < processes_.size(); ++i) {
      SimulatedProcess& process = processes_[i];
      sim::Machine* const machine = machines[load_.NodeOfProcess(i)];
      process.load = load_;
      process.load.clock = machine->clock();
      process.process = world_.AddProcess(machine, absl::StrCat("process ", i));
      auto fabric = transport::SimFabric::Create(&network_, process.process, {.can_map = true});
      if (!fabric.ok()) return fabric.status();
      process.fabric = *std::move(fabric);
      auto memory = LockMemory::Create(&process.load, i, process.fabric.get());
      if (!memory.ok()) return memory.status();
      process.memory = *std::move(memory);
      process.acceptor = std::make_unique<LockAcceptor>(
          &process.load, process.fabric.get(),
          [&process](transport::QueuePair* queue_pair, uint32_t thread) {
            return process.memory->GrantTo(queue_pair, thread);
          });
      const absl::Status status = process.acceptor->Open();
      if (!status.ok()) return status;
      process.acceptor_thread =
          process.process->Spawn("acceptor", [&process] { process.acceptor->Serve(); });
      for (uint32_t thread = 0; thread < load_.threads; ++thread) {
        process.workers.push_back(
            std::make_unique<LockWorker>(process.memory->WorkerOptions(thread)));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Connect() {
    std::vector<std::string> endpoints;
    for (const SimulatedProcess& process : processes_) {
      endpoints.push_back(process.acceptor->endpoint());
    }
    absl::Status status = RunThreads([&endpoints](SimulatedProcess*, LockWorker* worker,
                                                  uint32_t) { return worker->Connect(endpoints); },
                                     kSetupPatienceNs);
    if (!status.ok()) return status;
    // The last ones may be connected for their side only.
    status = RunThreads(
        [this](SimulatedProcess* process, LockWorker*, uint32_t thread) {
          return thread % load_.threads == 0 ? AwaitKeys(process) : absl::OkStatus();
        },
        kSetupPatienceNs);
    if (!status.ok()) return status;
    return RunThreads(
        [this](SimulatedProcess*, LockWorker* worker, uint32_t thread) {
          std::vector<LockKeys> keys;
          for (const SimulatedProcess& process : processes_) {
            keys.push_back(process.granted[thread]);
          }
          return worker->Attach(keys);
        },
        kSetupPatienceNs);
  }

  absl::StatusOr<std::vector<LockTotal>> Run(const LockTask& task, uint64_t run_ns) {
    std::vector<LockSlice> slices;  // By process: in the time of its machine.
    for (const SimulatedProcess& process : processes_) {
      const uint64_t begin_ns = process.load.clock->NowNs() + kStartNs;
      slices.push_back({.task = task, .begin_ns = begin_ns, .end_ns = begin_ns + run_ns});
    }
    std::vector<LockTotal> totals(load_.threads_count());
    const absl::Status status = RunThreads(
        [&](SimulatedProcess*, LockWorker* worker, uint32_t thread) {
          absl::StatusOr<LockTotal> total = worker->Run(slices[load_.ProcessOfThread(thread)]);
          if (total.ok()) totals[thread] = *std::move(total);
          return total.status();
        },
        kStartNs + run_ns + kPatienceNs);
    if (!status.ok()) return status;
    return totals;
  }

  absl::StatusOr<LockCounts> Count() {
    LockCounts counts;
    const auto add = [](const std::vector<uint64_t>& numbers, std::vector<uint64_t>* sums) {
      sums->resize(numbers.size());
      for (size_t i = 0; i < numbers.size(); ++i) (*sums)[i] += numbers[i];
    };
    for (const SimulatedProcess& process : processes_) {
      const absl::StatusOr<std::vector<uint64_t>> counted = process.memory->Count();
      if (!counted.ok()) return counted.status();
      add(*counted, &counts.counted);
      add(TakenBy(process.workers), &counts.taken);
    }
    return counts;
  }

  // Everything but the world goes.
  absl::Status Close() {
    for (SimulatedProcess& process : processes_) process.workers.clear();
    for (SimulatedProcess& process : processes_) process.acceptor->Stop();
    for (const SimulatedProcess& process : processes_) {
      const auto has_ended = [&process] { return process.acceptor_thread->has_ended(); };
      if (!world_.RunUntil(has_ended, world_.NowNs() + kSetupPatienceNs)) {
        return absl::InternalError("an acceptor does not stop");
      }
    }
    for (SimulatedProcess& process : processes_) process.acceptor.reset();
    for (SimulatedProcess& process : processes_) process.memory.reset();
    for (SimulatedProcess& process : processes_) process.fabric.reset();
    return absl::OkStatus();
  }

 private:
  using Body =
      std::function<absl::Status(SimulatedProcess* process, LockWorker* worker, uint32_t thread)>;

  // A thread for each worker, till all have ended or one tells an error: others may wait for it then.
  absl::Status RunThreads(const Body& body, uint64_t patience_ns) {
    absl::Status status;
    size_t ended = 0;
    for (uint32_t thread = 0; thread < load_.threads_count(); ++thread) {
      SimulatedProcess* const process = &processes_[load_.ProcessOfThread(thread)];
      LockWorker* const worker = process->workers[thread % load_.threads].get();
      process->process->Spawn("worker", [&, process, worker, thread] {
        const absl::Status told = body(process, worker, thread);
        if (!told.ok()) status = told;
        ++ended;
      });
    }
    const auto is_over = [&] { return ended == load_.threads_count() || !status.ok(); };
    if (!world_.RunUntil(is_over, world_.NowNs() + patience_ns)) {
      return absl::InternalError(
          absl::StrCat(load_.threads_count() - ended, " threads do not get on"));
    }
    return status;
  }

  absl::Status AwaitKeys(SimulatedProcess* process) {
    for (;;) {
      absl::StatusOr<std::vector<LockKeys>> granted = process->acceptor->Keys();
      if (!granted.ok()) return granted.status();
      if (!granted->empty()) {
        process->granted = *std::move(granted);
        return absl::OkStatus();
      }
      world_.Sleep(kLookNs);
    }
  }

  const LockLoadOptions load_;
  sim::World world_;
  transport::SimNetwork network_;
  std::vector<SimulatedProcess> processes_;  // By number.
};

LockSimulation::LockSimulation(std::unique_ptr<World> world) : world_(std::move(world)) {}

LockSimulation::~LockSimulation() {
  // What Finish() has not ended stands still in the midst of things.
  (void)world_.release();
}

absl::StatusOr<std::unique_ptr<LockSimulation>> LockSimulation::Start(const LockLoadOptions& load) {
  auto cluster = absl::WrapUnique(new LockSimulation(std::make_unique<World>(load)));
  absl::Status status = cluster->world_->Open();
  if (status.ok()) status = cluster->world_->Connect();
  if (!status.ok()) return status;
  return cluster;
}

absl::StatusOr<std::vector<LockTotal>> LockSimulation::Run(const LockTask& task, uint64_t run_ns) {
  return world_->Run(task, run_ns);
}

absl::StatusOr<LockCounts> LockSimulation::Count() { return world_->Count(); }

absl::Status LockSimulation::Finish() {
  const absl::Status status = world_->Close();
  if (status.ok()) world_.reset();
  return status;
}

}  // namespace acre::bench
