// One-sided updates by clients with threads of their own, beside two server threads that put, delete and read the same
// records: on a real fabric, under tsan.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kvs/remote_writer_test_util.h"
#include "lock/lock_test_mesh.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "tests/checkers/linearizability.h"
#include "tests/checkers/recorder.h"
#include "tests/updates/workload.h"
#include "transport/conformance/test_fabric.h"

namespace acre::kvs {
namespace {

constexpr int kClients = 3;
constexpr int kTasks = 2;  // Of each client, and of each server thread.
constexpr int kRounds = 400;
constexpr uint64_t kHomeBucket = 20;

class UpdatesRace {
 public:
  UpdatesRace() {
    home_node_ = MakeNode(1);
    MakeTableRegion(home_node_.get());
    home_ = std::make_unique<TestHome>(home_node_.get());
    const auto progress = [this] {
      home_node_->scheduler().RunOnce();
      for (const auto& node : nodes_) node->scheduler().RunOnce();
    };
    for (int i = 0; i < kClients; ++i) nodes_.push_back(MakeNode(static_cast<uint32_t>(i + 2)));
    for (const auto& node : nodes_) {
      LockNode::JoinHome(node.get(), home_node_.get(), LockKind::kALock, 3, progress);
      for (const auto& other : nodes_) {
        if (other != node) LockNode::JoinPeer(node.get(), other.get(), progress);
      }
      clients_.push_back(std::make_unique<TestClient>(node.get()));
      const SpawnHandle opening =
          node->scheduler().Spawn(clients_.back()->Open(home_node_->lock_region()->size_bytes()));
      while (!opening.done()) progress();
    }
    keys_ = home_->KeysOf(kHomeBucket, 4);
    for (std::string& key : home_->KeysOf(kHomeBucket + 1, 2)) keys_.push_back(std::move(key));
    checkers::ClientLog* const log = recorder_.AddClient();
    for (const std::string& key : keys_) {
      const size_t put = log->StartPut(clock_.NowNs(), key, "first");
      const absl::Status status =
          home_node_->scheduler().RunUntilDone(home_->writer()->Put(key, "first"));
      CHECK(status.ok()) << status;
      log->EndPut(put, clock_.NowNs());
    }
    for (int i = 0; i < (kClients + 2) * kTasks; ++i) {
      UpdateTask::Options options;
      options.now_ns = [this] { return clock_.NowNs(); };
      options.log = recorder_.AddClient();
      options.keys = &keys_;
      options.number = i;
      options.seed = static_cast<uint64_t>(i) + 1;
      options.rounds = kRounds;
      options.pace = &pace_;
      tasks_.push_back(std::make_unique<UpdateTask>(std::move(options)));
    }
  }
  ~UpdatesRace() {
    for (const auto& client : clients_) client->Close();
    for (const auto& node : nodes_) node->Close();
    home_.reset();
    home_node_->Close();
  }

  void Run() {
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kClients; ++i) {
      threads.emplace_back([this, i] {
        RunThread(&nodes_[i]->scheduler(), i,
                  [this, i](UpdateTask* task) { return task->Work(clients_[i].get()); });
      });
    }
    threads.emplace_back([this] {
      RunThread(&home_node_->scheduler(), kClients, [this](UpdateTask* task) {
        return task->Serve(home_->writer(), &home_node_->scheduler());
      });
    });
    threads.emplace_back([this] {
      Scheduler scheduler({.clock = &clock_, .name = "worker"});
      TableWriter writer(home_->table(), &scheduler);
      RunThread(&scheduler, kClients + 1,
                [&](UpdateTask* task) { return task->Serve(&writer, &scheduler); });
    });
    for (std::thread& thread : threads) thread.join();
    Judge();
  }

 private:
  std::unique_ptr<LockNode> MakeNode(uint32_t id) {
    auto fabric = transport::MakeTestFabric(&clock_);
    CHECK(fabric.ok()) << fabric.status();
    Scheduler::Options options;
    options.poll_mode = PollMode::kBusy;
    return std::make_unique<LockNode>(*std::move(fabric), &clock_, id, options);
  }
  // Runs the tasks of the thread with that number, and goes on for the others until all are done.
  template <class Start>
  void RunThread(Scheduler* scheduler, size_t number, const Start& start) {
    scheduler->DetachFromThread();
    std::vector<SpawnHandle> handles;
    for (size_t i = 0; i < kTasks; ++i) {
      handles.push_back(scheduler->Spawn(start(tasks_[number * kTasks + i].get())));
    }
    const auto is_done = [](const SpawnHandle& handle) { return handle.done(); };
    bool was_done = false;
    while (threads_left_.load(std::memory_order_acquire) > 0) {
      scheduler->RunOnce();
      if (was_done || !std::all_of(handles.begin(), handles.end(), is_done)) continue;
      was_done = true;
      pace_.End();
      threads_left_.fetch_sub(1, std::memory_order_acq_rel);
    }
    scheduler->DetachFromThread();
  }
  void Judge() {
    uint64_t updates = 0;
    for (const auto& task : tasks_) {
      EXPECT_EQ(task->finding(), "");
      updates += task->updates_count();
    }
    EXPECT_GT(updates, uint64_t{kRounds});
    checkers::ClientLog* const log = recorder_.AddClient();
    for (const std::string& key : keys_) {
      std::string value;
      absl::Status status;
      const size_t get = log->StartGet(clock_.NowNs(), key);
      ASSERT_TRUE(home_->writer()->GetAtOnce(key, &value, &status));
      log->EndGet(get, clock_.NowNs(),
                  status.ok() ? absl::optional<absl::string_view>(value) : absl::nullopt);
    }
    for (uint64_t bucket = kHomeBucket; bucket < kHomeBucket + 3; ++bucket) {
      EXPECT_EQ(home_->LockOf(bucket)->remote_tail.Load(std::memory_order_acquire), 0u);
    }
    home_->segment().CheckInvariants();
    EXPECT_EQ(checkers::ToText(checkers::CheckLinearizability(recorder_.Take())), "");
    LOG(INFO) << updates << " updates";
  }

  RealClock clock_;
  std::unique_ptr<LockNode> home_node_;
  std::unique_ptr<TestHome> home_;
  std::vector<std::unique_ptr<LockNode>> nodes_;
  std::vector<std::unique_ptr<TestClient>> clients_;
  std::vector<std::string> keys_;
  checkers::Recorder recorder_;
  std::vector<std::unique_ptr<UpdateTask>> tasks_;
  UpdatePace pace_;
  std::atomic<int> threads_left_{
      kClients + 2};  // Acquire and release: what their tasks did is theirs till then.
};

TEST(UpdatesRaceTest, HistoriesAreLinearizableAndNothingIsLeftBehind) {
  UpdatesRace race;
  race.Run();
}

}  // namespace
}  // namespace acre::kvs
