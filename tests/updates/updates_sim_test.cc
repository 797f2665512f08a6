// Records of one server that remote clients update by themselves while its own threads put, delete and read the same
// ones, among simulated processes and all that cards may do (E1 to E12, but for connections that break by themselves:
// those are deaths, and dealt out here). Clients die, or stand still, are given up, and go on: at any of their steps.
//
// All keys are of two neighbouring buckets, so that records move, and everybody meets at two locks. Judged are: the
// history of each key is linearizable; versions rise (tests/checkers/version_watcher.h); everybody who lives gets on;
// in the end all locks are free, and all records whole.
//
// More seeds: bazel test --config=sim --test_env=ACRE_UPDATE_SEEDS=10000 //tests/updates:updates_sim_test

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kvs/remote_writer_test_util.h"
#include "lock/lock_test_mesh.h"
#include "lock/sim_survivors.h"
#include "lock/sim_test_faults.h"
#include "runtime/planted_bug.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/sim/seeds.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"
#include "tests/checkers/linearizability.h"
#include "tests/checkers/recorder.h"
#include "tests/checkers/version_watcher.h"
#include "tests/sim/plants.h"
#include "tests/updates/workload.h"
#include "transport/sim/sim_fabric.h"
#include "transport/sim/sim_network.h"

namespace acre::kvs {
namespace {

using checkers::ClientLog;
using transport::SimFaults;
using transport::SimNetwork;

constexpr uint64_t kUs = 1'000;
constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kS = 1'000'000'000;
constexpr uint64_t kHomeBucket = 20;
constexpr uint64_t kScanNs = 20 * kUs;

struct Plan {
  int remotes = 3;
  int tasks = 2;                   // Of each, and of each server thread.
  int rounds = 12;                 // Of each task.
  int server_tasks = 2;            // Of each of two threads. 0: the server changes nothing.
  int kills = 2;                   // How many of the remotes die,
  int pauses = 1;                  // and how many stand still, and are given up.
  uint64_t patience_ns = 20 * kS;  // Virtual time after which it hangs.
};

class Scene final : private LockKeeper::Fence {
 public:
  Scene(uint64_t seed, const Plan& plan, const SimFaults& faults)
      : plan_(plan),
        random_(seed),
        world_({.seed = seed}),
        network_(&world_, {.faults = SimFaults::None()}) {
    home_node_ = MakeNode(1);
    MakeTableRegion(home_node_.get());
    home_ = std::make_unique<TestHome>(home_node_.get(), /*index_percent=*/2);
    const auto progress = [this] { RunFor(kUs); };
    for (int i = 0; i < plan_.remotes; ++i) {
      remotes_.push_back(MakeNode(static_cast<uint32_t>(i + 2)));
      LockNode::JoinHome(remotes_.back().get(), home_node_.get(), LockKind::kALock, 2, progress);
    }
    for (const auto& from : remotes_) {
      for (const auto& to : remotes_) {
        if (from != to) LockNode::JoinPeer(from.get(), to.get(), progress);
      }
      const uint32_t id = from->process_id();
      from->SetOnUnreachable([this, id](uint32_t other) { Report(id, other); });
    }
    survivors_ = std::make_unique<SimSurvivors>(SimSurvivors::Options{
        .home = home_node_.get(),
        .random = &random_,
        .find_node = [this](uint32_t id) { return remotes_[id - 2].get(); },
        .is_dead = [this](uint32_t id) { return processes_[id]->is_dead(); }});
    home_node_->MakeRepair(survivors_.get(), home_->repair(), this, progress);
    OpenClients();
    Fill();
    network_.SetFaults(faults);
  }
  ~Scene() override {
    // Of killed processes everything leaks (runtime/sim/world.h).
    for (const auto& [id, process] : processes_) process->Kill();
    RunFor(kMs);
    for (auto& client : clients_) (void)client.release();
    for (auto& remote : remotes_) (void)remote.release();
    (void)home_.release();
    (void)home_node_.release();
  }

  // Empty: all went well.
  std::string Run() {
    processes_[1]->Spawn("keeper", [this] { RunHome(); });
    processes_[1]->Spawn("worker", [this] { RunWorker(); });
    for (const auto& client : clients_) {
      TestClient* const of = client.get();
      processes_[of->node()->process_id()]->Spawn("remote", [this, of] { RunRemote(of); });
    }
    MakeTrouble();
    Watch();
    const bool done = world_.RunUntil([&] { return !finding_.empty() || IsDone(); },
                                      world_.NowNs() + plan_.patience_ns);
    if (!finding_.empty()) return finding_;
    if (!done) return "hangs";
    return JudgeEnd();
  }
  uint64_t updates_count() const {
    uint64_t count = 0;
    for (const auto& task : client_tasks_) count += task->updates_count();
    return count;
  }
  uint64_t applied_count() const { return home_->repair()->applied_count(); }
  uint64_t moves_count() const {
    uint64_t count = 0;
    for (const auto& client : clients_) count += client->writer()->stats().retries;
    return count;
  }

 private:
  // ---- Processes.

  std::unique_ptr<LockNode> MakeNode(uint32_t id) {
    sim::Machine* const machine = world_.AddMachine(absl::StrCat("m", id));
    processes_[id] = world_.AddProcess(machine, absl::StrCat("p", id));
    auto fabric = transport::SimFabric::Create(&network_, processes_[id], {});
    CHECK(fabric.ok()) << fabric.status();
    Scheduler::Options options;
    options.spin_ns = 2 * kUs;
    return std::make_unique<LockNode>(*std::move(fabric), machine->clock(), id, options);
  }
  void RunFor(uint64_t ns) {
    world_.RunUntil([] { return false; }, world_.NowNs() + ns);
  }
  void OpenClients() {
    size_t open = 0;
    for (const auto& remote : remotes_) {
      LockNode* const node = remote.get();
      clients_.push_back(std::make_unique<TestClient>(node));
      TestClient* const client = clients_.back().get();
      processes_[node->process_id()]->Spawn("open", [this, node, client, &open] {
        node->scheduler().DetachFromThread();
        const SpawnHandle handle =
            node->scheduler().Spawn(client->Open(home_node_->lock_region()->size_bytes()));
        while (!handle.done()) {
          node->scheduler().RunOnce();
          world_.Spend(50);
        }
        node->scheduler().DetachFromThread();
        ++open;
      });
    }
    CHECK(world_.RunUntil([&] { return open == clients_.size(); }, world_.NowNs() + kS));
    RunFor(kMs);
  }
  // Four keys of a home, of which one lies in the next bucket, and two of that one's.
  void Fill() {
    keys_ = home_->KeysOf(kHomeBucket, 4);
    for (std::string& key : home_->KeysOf(kHomeBucket + 1, 2)) keys_.push_back(std::move(key));
    ClientLog* const log = recorder_.AddClient();
    bool done = false;
    processes_[1]->Spawn("fill", [this, log, &done] {
      home_node_->scheduler().DetachFromThread();
      for (const std::string& key : keys_) {
        const size_t put = log->StartPut(world_.NowNs(), key, "first");
        const absl::Status status =
            home_node_->scheduler().RunUntilDone(home_->writer()->Put(key, "first"));
        CHECK(status.ok()) << status;
        log->EndPut(put, world_.NowNs());
      }
      home_node_->scheduler().DetachFromThread();
      done = true;
    });
    CHECK(world_.RunUntil([&] { return done; }, world_.NowNs() + kS));
  }

  void MakeTrouble() {
    std::vector<uint32_t> ids;
    for (const auto& remote : remotes_) ids.push_back(remote->process_id());
    for (int i = 0; i < plan_.kills + plan_.pauses && !ids.empty(); ++i) {
      const size_t chosen = random_.Uniform(ids.size());
      const uint32_t id = ids[chosen];
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(chosen));
      sim::Process* const process = processes_[id];
      const uint64_t at_ns = random_.Uniform(300 * kUs);
      ++notices_left_;
      if (i < plan_.kills) {
        if (random_.Uniform(3) == 0) {
          world_.After(at_ns, [process] { process->Kill(); });
        } else {
          world_.After(at_ns, [this, id] { Stalk(id, 0, world_.NowNs() + 5 * kMs); });
        }
        process->OnDeath([this, id] {
          const uint64_t notice_ns = random_.Uniform(2) == 0 ? 0 : random_.Uniform(200 * kUs);
          world_.After(notice_ns, [this, id] { Notice(id); });
        });
      } else {
        world_.After(at_ns, [process] { process->Pause(); });
        world_.After(at_ns + random_.Uniform(100 * kUs), [this, id] { Notice(id); });
        world_.After(at_ns + random_.Uniform(40 * kMs), [process] { process->Resume(); });
      }
    }
  }
  // Kills it soon after it has posted the WRITEs of an update: that is over in a moment, and what dies by chance is
  // nearly always elsewhere. `writes`: how many it had posted before; 0: begin to count.
  void Stalk(uint32_t id, uint64_t writes, uint64_t give_up_ns) {
    const uint64_t now = clients_[id - 2]->writer()->stats().writes + 1;
    if ((writes != 0 && now != writes) || world_.NowNs() > give_up_ns) {
      sim::Process* const process = processes_[id];
      world_.After(random_.Uniform(4 * kUs), [process] { process->Kill(); });
      return;
    }
    world_.After(100, [this, id, now, give_up_ns] { Stalk(id, now, give_up_ns); });
  }
  // `id` tells the home that it cannot reach `other`: a message, which one that is fenced cannot send.
  void Report(uint32_t id, uint32_t other) {
    ++notices_left_;
    world_.After(random_.Uniform(100 * kUs), [this, id, other] {
      if (fenced_.contains(id)) {
        --notices_left_;
      } else {
        Notice(other);
      }
    });
  }
  void Notice(uint32_t id) {
    --notices_left_;
    dead_.push_back(id);
    home_is_idle_ = false;
  }
  bool IsDone() const {
    for (const auto& [id, process] : processes_) {
      if (id != 1 && !process->is_dead() && !done_.contains(id)) return false;
    }
    for (const auto& task : server_tasks_) {
      if (!task->is_done()) return false;
    }
    return has_begun_ == 2 && notices_left_ == 0 && dead_.empty() && home_is_idle_;
  }

  void RunHome() {
    home_node_->scheduler().DetachFromThread();
    SpawnServerTasks(&home_node_->scheduler(), home_->writer());
    while (true) {
      while (!dead_.empty()) {
        home_node_->keeper()->OnDeath(dead_.front());
        dead_.pop_front();
      }
      home_node_->scheduler().RunOnce();
      home_is_idle_ = home_node_->keeper()->idle() && dead_.empty();
      world_.Spend(100);
    }
  }
  void RunWorker() {
    Scheduler scheduler({.clock = processes_[1]->machine()->clock(), .seed = 99});
    TableWriter writer(home_->table(), &scheduler);
    SpawnServerTasks(&scheduler, &writer);
    while (true) {
      scheduler.RunOnce();
      world_.Spend(100);
    }
  }
  void SpawnServerTasks(Scheduler* scheduler, TableWriter* writer) {
    for (int i = 0; i < plan_.server_tasks; ++i) {
      server_tasks_.push_back(MakeTask());
      scheduler->Spawn(server_tasks_.back()->Serve(writer, scheduler)).Detach();
    }
    ++has_begun_;
  }
  std::unique_ptr<UpdateTask> MakeTask() {
    UpdateTask::Options options;
    options.now_ns = [this] { return world_.NowNs(); };
    options.log = recorder_.AddClient();
    options.keys = &keys_;
    options.number = ++tasks_count_;
    options.seed = random_.Uniform(1 << 30);
    options.rounds = plan_.rounds;
    return std::make_unique<UpdateTask>(std::move(options));
  }
  void RunRemote(TestClient* client) {
    LockNode* const node = client->node();
    node->scheduler().DetachFromThread();
    std::vector<UpdateTask*> mine;
    for (int i = 0; i < plan_.tasks; ++i) {
      client_tasks_.push_back(MakeTask());
      mine.push_back(client_tasks_.back().get());
      node->scheduler().Spawn(mine.back()->Work(client)).Detach();
    }
    // Goes on answering when it has nothing to do any more.
    while (true) {
      survivors_->AnswerQuestions(node);
      node->scheduler().RunOnce();
      const auto is_done = [](const UpdateTask* task) { return task->is_done(); };
      if (std::all_of(mine.begin(), mine.end(), is_done) && node->remote_locker()->idle()) {
        done_.insert(node->process_id());
      }
      world_.Spend(50);
    }
  }

  Task<void> Close(uint32_t id) override {
    home_node_->CloseTo(id);
    fenced_.insert(id);
    co_return;
  }

  // ---- Judgement.

  void Find(std::string what) {
    if (finding_.empty()) finding_ = std::move(what);
  }
  void Watch() {
    for (const std::string& wrong : watcher_.Scan(&home_->segment())) Find(wrong);
    world_.After(kScanNs, [this] { Watch(); });
  }
  std::string JudgeEnd() {
    for (uint64_t bucket = kHomeBucket; bucket < kHomeBucket + 3; ++bucket) {
      const LockWords& lock = *home_->LockOf(bucket);
      if (lock.local_tail.Load(std::memory_order_relaxed) != 0 ||
          lock.remote_tail.Load(std::memory_order_relaxed) != 0) {
        return absl::StrCat("the lock of bucket ", bucket, " is not free at the end");
      }
    }
    if (home_->repair()->refused_count() > 0) return "a true redo record was refused";
    for (const auto* const tasks : {&server_tasks_, &client_tasks_}) {
      for (const auto& task : *tasks) Find(task->finding());
    }
    if (!finding_.empty()) return finding_;
    ClientLog* const log = recorder_.AddClient();
    for (const std::string& key : keys_) {
      std::string value;
      absl::Status status;
      const size_t get = log->StartGet(world_.NowNs(), key);
      if (!home_->writer()->GetAtOnce(key, &value, &status)) {
        return absl::StrCat(key, " is half-written at the end");
      }
      if (status.ok()) {
        log->EndGet(get, world_.NowNs(), absl::string_view(value));
      } else {
        log->EndGet(get, world_.NowNs(), absl::nullopt);
      }
    }
    home_->segment().CheckInvariants();
    return checkers::ToText(checkers::CheckLinearizability(recorder_.Take()));
  }

  const Plan plan_;
  Random random_;
  sim::World world_;
  SimNetwork network_;
  std::map<uint32_t, sim::Process*> processes_;
  std::unique_ptr<LockNode> home_node_;
  std::unique_ptr<TestHome> home_;
  std::vector<std::unique_ptr<LockNode>> remotes_;
  std::vector<std::unique_ptr<TestClient>> clients_;
  std::unique_ptr<SimSurvivors> survivors_;
  std::vector<std::string> keys_;
  std::deque<uint32_t> dead_;  // To be told to the keeper.
  std::set<uint32_t> fenced_;
  std::set<uint32_t> done_;
  int notices_left_ = 0;  // Of deaths.
  int has_begun_ = 0;     // Server threads.
  int tasks_count_ = 0;
  std::vector<std::unique_ptr<UpdateTask>> server_tasks_;
  std::vector<std::unique_ptr<UpdateTask>> client_tasks_;
  bool home_is_idle_ = true;
  checkers::Recorder recorder_;
  checkers::VersionWatcher watcher_;
  std::string finding_;
};

Plan DrawPlan(uint64_t seed) {
  Plan plan;
  plan.kills = static_cast<int>(seed % 4);
  plan.pauses = static_cast<int>(seed / 4 % 2);
  plan.remotes = static_cast<int>(2 + seed / 3 % 4);
  plan.server_tasks = static_cast<int>(seed / 2 % 3);
  return plan;
}

TEST(UpdatesSimTest, NoUpdateIsLostOrTornWhoeverDies) {
  uint64_t updates = 0;
  uint64_t applied = 0;
  uint64_t moves = 0;
  const uint64_t seeds = SeedsOr("ACRE_UPDATE_SEEDS", 80);
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    Scene scene(seed, DrawPlan(seed), DrawWithoutBreaks(seed));
    ASSERT_EQ(scene.Run(), "") << "seed " << seed;
    updates += scene.updates_count();
    applied += scene.applied_count();
    moves += scene.moves_count();
  }
  LOG(INFO) << updates << " updates, " << applied << " finished by repair, " << moves
            << " times a record had moved under a writer";
  EXPECT_GT(updates, 10 * seeds);
  EXPECT_GT(applied, seeds / 20) << "too few died where it matters";
  EXPECT_GT(moves, 0u);
}

// Goal: the judge sees what each of the steps is for.
TEST(UpdatesSimTest, MistakesAreFoundOut) {
  const struct {
    PlantedBug bug;
    const char* name;
    uint64_t seeds_max;
  } kPlants[] = {
      {PlantedBug::kRedoAfterMark, "redo after the mark", 600},
      {PlantedBug::kSlotNotReadAgain, "slot not read again", 600},
      {PlantedBug::kRepairIgnoresVersion, "versions not looked at in repair", 600},
  };
  for (const auto& plant : kPlants) {
    const simulation::ScopedPlant planted(PlantedBit(plant.bug));
    uint64_t found = 0;
    std::string finding;
    for (uint64_t seed = 1; found == 0 && seed <= plant.seeds_max; ++seed) {
      Plan plan = DrawPlan(seed);
      if (plant.bug == PlantedBug::kRepairIgnoresVersion) {
        // Two dead side by side, and others that came between them.
        plan.remotes = 5;
        plan.kills = 4;
        plan.pauses = 0;
        plan.server_tasks = 2;
      }
      plan.patience_ns = kS;
      Scene scene(seed, plan, DrawWithoutBreaks(seed));
      finding = scene.Run();
      if (!finding.empty()) found = seed;
    }
    EXPECT_NE(found, 0u) << plant.name;
    LOG(INFO) << plant.name << ": found at seed " << found << ": " << finding.substr(0, 200);
  }
}

}  // namespace
}  // namespace acre::kvs
