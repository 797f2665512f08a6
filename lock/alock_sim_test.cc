// ALocks among simulated processes: threads of the home, whose stores are late and which stall anywhere, and
// remote ones, over cards that do all they may (E1 to E6, E9, E11, E12 of docs/simulator.md).
//
// Each lock guards a record of two lines, all of whose words are the same number, which each holder reads and
// raises by one. Judged are: one holder at a time; no update lost, no record torn; first come, first served
// within a cohort; how often a cohort passes the other one by; that everybody gets on.

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lock/lock_test_mesh.h"
#include "lock/sim_test_faults.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"
#include "transport/sim/sim_fabric.h"
#include "transport/sim/sim_network.h"

namespace acre {
namespace {

using transport::SimFaults;
using transport::SimNetwork;

constexpr uint64_t kNsPerUs = 1'000;
constexpr uint64_t kNsPerS = 1'000'000'000;
constexpr uint32_t kLocks = 2;
constexpr uint32_t kRecordWords = 2 * kLineBytes / kWordBytes;
constexpr uint32_t kRemoteBudget = 2;
constexpr uint32_t kLocalBudget = 3;

// What nobody under test looks at: threads switch at shared words only.
class Judge {
 public:
  Judge(const LockNode* home, bool judges_bypass) : home_(home), judges_bypass_(judges_bypass) {}

  // A holder is inside; `word` is the name of its acquisition, `pred` that of the one before it in the queue.
  void OnEnter(uint32_t lock, Cohort cohort, uint64_t word, uint64_t pred) {
    Of& of = locks_[lock];
    if (++of.inside != 1) Find("two are inside");
    // Whoever is passed over has given up, and never enters.
    std::set<uint64_t>& passed_over = of.passed_over[cohort];
    if (pred != 0 && pred != of.last[cohort]) passed_over.insert(pred);
    if (passed_over.contains(word)) Find("not first come, first served");
    of.last[cohort] = word;
    JudgeBypass(lock, cohort, &of);
  }
  void OnLeave(uint32_t lock) {
    --locks_[lock].inside;
    ++locks_[lock].entries;
  }
  void OnRecord(const uint64_t* words) {
    for (uint32_t i = 1; i < kRecordWords; ++i) {
      if (words[i] != words[0]) Find("a torn record");
    }
  }
  uint64_t entries(uint32_t lock) const { return locks_[lock].entries; }
  uint64_t entries_of(Cohort cohort) const { return entries_of_.at(cohort); }
  const std::string& finding() const { return finding_; }

 private:
  struct Of {
    int inside = 0;
    uint64_t entries = 0;
    std::map<Cohort, uint64_t> last;
    std::map<Cohort, std::set<uint64_t>> passed_over;
    uint32_t passes[3] = {};
  };

  void Find(const char* what) {
    if (finding_.empty()) finding_ = what;
  }
  // While the other cohort waits, this one enters as often as is left of its budget; then its leader lets the
  // other go first, and may come first once more, if that one's WRITE to victim comes only then. A leader that
  // gives up starts this anew.
  void JudgeBypass(uint32_t lock, Cohort cohort, Of* of) {
    ++entries_of_[cohort];
    const bool is_local = cohort == Cohort::kLocal;
    const Cohort other = is_local ? Cohort::kRemote : Cohort::kLocal;
    const auto* const words = reinterpret_cast<const uint64_t*>(home_->WordsOf(lock));
    const bool other_waits =
        words[is_local ? 1 : 0] != 0 && words[2] == static_cast<uint64_t>(other);
    uint32_t& passes = of->passes[static_cast<size_t>(cohort)];
    passes = other_waits ? passes + 1 : 0;
    of->passes[static_cast<size_t>(other)] = 0;
    if (judges_bypass_ && passes > 2 * (is_local ? kLocalBudget : kRemoteBudget)) {
      Find("passed by beyond the budget");
    }
  }

  const LockNode* const home_;
  const bool judges_bypass_;
  std::string finding_;
  Of locks_[kLocks];
  std::map<Cohort, uint64_t> entries_of_ = {{Cohort::kLocal, 0}, {Cohort::kRemote, 0}};
};

struct Plan {
  LockKind kind = LockKind::kALock;
  int local_threads = 2;
  int remotes = 2;
  int tasks = 2;
  int rounds = 12;
  bool deadlines = true;
  bool cpu_atomics_on_the_remote_word = false;  // The mistake that must be found.
  uint64_t patience_ns = 20 * kNsPerS;          // Virtual time after which it hangs.
};

// Threads, their work, and the end of it.
class Scene {
 public:
  Scene(uint64_t seed, const Plan& plan, const SimFaults& faults)
      : plan_(plan),
        seed_(seed),
        world_({.seed = seed}),
        network_(&world_, {.faults = SimFaults::None()}) {
    home_ = MakeNode(1);
    home_->MakeLocks(kLocks);
    judge_ = std::make_unique<Judge>(home_.get(), !plan.deadlines);
    const auto progress = [this] {
      world_.RunUntil([] { return false; }, world_.NowNs() + kNsPerUs);
    };
    for (int i = 0; i < plan_.remotes; ++i) {
      remotes_.push_back(MakeNode(static_cast<uint32_t>(i + 2)));
      LockNode::JoinHome(remotes_.back().get(), home_.get(), plan.kind, kRemoteBudget, progress);
    }
    for (const auto& from : remotes_) {
      for (const auto& to : remotes_) {
        if (from != to) LockNode::JoinPeer(from.get(), to.get(), progress);
      }
    }
    network_.SetFaults(faults);
  }
  ~Scene() {
    // After a finding threads stand still in the middle of things: what they have is left to them.
    if (!judge_->finding().empty() || !is_done_) {
      for (auto& remote : remotes_) (void)remote.release();
      (void)home_.release();
      return;
    }
    for (const auto& remote : remotes_) remote->Close();
    home_->Close();
  }

  // Empty: all went well.
  std::string Run() {
    for (int i = 0; i < plan_.local_threads; ++i) {
      processes_[0]->Spawn("local", [this, i] { RunLocalThread(static_cast<uint64_t>(i)); });
    }
    for (size_t i = 0; i < remotes_.size(); ++i) {
      processes_[i + 1]->Spawn("remote", [this, i] { RunRemoteThread(remotes_[i].get(), i); });
    }
    const int threads = plan_.local_threads + plan_.remotes;
    const bool done =
        world_.RunUntil([&] { return threads_done_ == threads || !judge_->finding().empty(); },
                        world_.NowNs() + plan_.patience_ns);
    is_done_ = done;
    if (!judge_->finding().empty()) return judge_->finding();
    if (!done) return absl::StrCat("hangs: ", threads_done_, " of ", threads, " are done");
    for (uint32_t lock = 0; lock < kLocks; ++lock) {
      const uint64_t value = home_->RecordOf(lock)->Load(std::memory_order_relaxed);
      if (value != judge_->entries(lock)) return "an update was lost";
      if (!home_->IsFree(lock)) return "a lock is not free at the end";
    }
    return "";
  }
  const Judge& judge() const { return *judge_; }
  const transport::SimCounts& counts() const { return std::as_const(network_).counts(); }

 private:
  std::unique_ptr<LockNode> MakeNode(uint32_t process_id) {
    sim::Machine* const machine = world_.AddMachine(absl::StrCat("m", process_id));
    sim::Process* const process = world_.AddProcess(machine, absl::StrCat("p", process_id));
    processes_.push_back(process);
    auto fabric = transport::SimFabric::Create(&network_, process, {});
    CHECK(fabric.ok()) << fabric.status();
    Scheduler::Options options;
    options.spin_ns = 2 * kNsPerUs;
    return std::make_unique<LockNode>(*std::move(fabric), machine->clock(), process_id, options);
  }

  // Runs the scheduler till `*tasks_left` is 0 and nothing is on its way.
  template <class IsIdle>
  void RunUntilIdle(Scheduler* scheduler, const int* tasks_left, const IsIdle& is_idle) {
    while (*tasks_left > 0 || !is_idle()) {
      scheduler->RunOnce();
      world_.Spend(50);
    }
    ++threads_done_;
  }

  void RunLocalThread(uint64_t number) {
    Scheduler scheduler({.clock = processes_[0]->machine()->clock(), .seed = seed_ + number});
    LockThread thread(&scheduler, home_->arena(), {.budget = kLocalBudget});
    int tasks_left = plan_.tasks;
    for (int i = 0; i < plan_.tasks; ++i) {
      const uint64_t seed = seed_ * 1000 + number * 10 + static_cast<uint64_t>(i);
      scheduler
          .Spawn(plan_.cpu_atomics_on_the_remote_word
                     ? WorkWithCpuAtomics(&scheduler, seed, &tasks_left)
                     : WorkLocally(&thread, &scheduler, seed, &tasks_left))
          .Detach();
    }
    RunUntilIdle(&scheduler, &tasks_left, [&thread] { return thread.idle(); });
  }

  void RunRemoteThread(LockNode* node, uint64_t number) {
    node->scheduler().DetachFromThread();
    int tasks_left = plan_.tasks;
    for (int i = 0; i < plan_.tasks; ++i) {
      const uint64_t seed = seed_ * 1000 + 500 + number * 10 + static_cast<uint64_t>(i);
      node->scheduler().Spawn(WorkRemotely(node, seed, i, &tasks_left)).Detach();
    }
    RunUntilIdle(&node->scheduler(), &tasks_left, [node] { return node->remote_locker()->idle(); });
    node->scheduler().DetachFromThread();
  }

  // Raises the record, word by word, with time in between.
  void RaiseRecord(uint32_t lock) {
    SharedWord* const record = home_->RecordOf(lock);
    uint64_t words[kRecordWords];
    for (uint32_t i = 0; i < kRecordWords; ++i) {
      words[i] = record[i].Load(std::memory_order_relaxed);
    }
    judge_->OnRecord(words);
    for (uint32_t i = 0; i < kRecordWords; ++i) {
      record[i].Store(words[0] + 1, std::memory_order_relaxed);
    }
  }

  Task<void> WorkLocally(LockThread* thread, Scheduler* scheduler, uint64_t seed, int* left) {
    Random random(seed);
    for (int round = 0; round < plan_.rounds; ++round) {
      const auto lock = static_cast<uint32_t>(random.Uniform(kLocks));
      const MappedLock mapped = {home_->WordsOf(lock), TestLockAddress(lock)};
      const uint64_t patience =
          plan_.deadlines && random.Uniform(4) == 0 ? random.Uniform(20) : UINT64_MAX;
      LockThread::Place* place = thread->Start(mapped);
      uint64_t waited = 0;
      while (!thread->Advance(place)) {
        if (waited++ == patience) {
          thread->Abandon(std::exchange(place, nullptr));
          break;
        }
        co_await scheduler->Yield();
      }
      if (place == nullptr) continue;
      const uint64_t pred = place->descriptor->pred.Load(std::memory_order_relaxed);
      judge_->OnEnter(lock, Cohort::kLocal, place->word.bits(), pred);
      RaiseRecord(lock);
      if (random.Uniform(4) == 0) co_await scheduler->Yield();
      judge_->OnLeave(lock);
      thread->Release(place);
    }
    --*left;
  }

  // What design and docs/alock.md forbid: a CPU's compare-exchange on a word of fabric atomics.
  Task<void> WorkWithCpuAtomics(Scheduler* scheduler, uint64_t seed, int* left) {
    Random random(seed);
    for (int round = 0; round < plan_.rounds; ++round) {
      const auto lock = static_cast<uint32_t>(random.Uniform(kLocks));
      SharedWord* const word = &home_->WordsOf(lock)->remote_tail;
      uint64_t expected = 0;
      while (!word->CompareExchange(&expected, seed, std::memory_order_seq_cst)) {
        expected = 0;
        co_await scheduler->Yield();
      }
      judge_->OnEnter(lock, Cohort::kLocal, seed, 0);
      RaiseRecord(lock);
      judge_->OnLeave(lock);
      expected = seed;
      (void)word->CompareExchange(&expected, 0, std::memory_order_seq_cst);
    }
    --*left;
  }

  Task<void> WorkRemotely(LockNode* node, uint64_t seed, int task, int* left) {
    Random random(seed);
    RemoteLocker* const locker = node->remote_locker();
    transport::RegionOptions options;
    options.region_id = 10 + static_cast<uint32_t>(task);
    options.size_bytes = transport::kRegionHeaderBytes + kRecordWords * kWordBytes;
    auto buffer = node->fabric()->CreateRegion(options);
    CHECK(buffer.ok()) << buffer.status();
    SharedWord* const words = (*buffer)->words() + transport::kRegionHeaderBytes / kWordBytes;
    for (int round = 0; round < plan_.rounds; ++round) {
      const auto lock = static_cast<uint32_t>(random.Uniform(kLocks));
      const uint64_t deadline_ns = plan_.deadlines && random.Uniform(4) == 0
                                       ? node->scheduler().NowNs() + random.Uniform(100 * kNsPerUs)
                                       : UINT64_MAX;
      absl::StatusOr<HeldLock> held =
          co_await locker->AcquireUntil(TestLockAddress(lock), deadline_ns);
      if (absl::IsDeadlineExceeded(held.status())) continue;
      CHECK(held.ok()) << held.status();
      const RemoteWord word = locker->WordOf(*held);
      const SharedWord* const intent =
          home_->IntentsOf(node->process_id())->words() + LockIntentOffset(word) / kWordBytes;
      judge_->OnEnter(
          lock, Cohort::kRemote, word.bits(),
          plan_.kind == LockKind::kSpin ? 0 : intent[2].Load(std::memory_order_relaxed));
      transport::WorkRequest request;
      request.opcode = transport::Opcode::kRead;
      request.local = words;
      request.local_region = buffer->get();
      request.length_bytes = kRecordWords * kWordBytes;
      request.remote_key = node->lock_key();
      request.remote_offset_bytes = TestLockAddress(lock).offset_bytes() + kTestRecordOffset;
      const transport::CompletionStatus read =
          co_await node->port()->Execute(node->home_queue_pair(), {&request, 1});
      CHECK(read == transport::CompletionStatus::kOk);
      judge_->OnRecord(reinterpret_cast<const uint64_t*>(words));
      const uint64_t value = words[0].Load(std::memory_order_relaxed);
      for (uint32_t i = 0; i < kRecordWords; ++i) {
        words[i].Store(value + 1, std::memory_order_relaxed);
      }
      request.opcode = transport::Opcode::kWrite;
      judge_->OnLeave(lock);
      const absl::Status released = co_await locker->Release(*std::move(held), {&request, 1});
      CHECK(released.ok()) << released;
    }
    --*left;
  }

  const Plan plan_;
  const uint64_t seed_;
  sim::World world_;
  SimNetwork network_;
  std::vector<sim::Process*> processes_;
  std::unique_ptr<LockNode> home_;
  std::vector<std::unique_ptr<LockNode>> remotes_;
  std::unique_ptr<Judge> judge_;
  int threads_done_ = 0;
  bool is_done_ = false;
};

TEST(ALockSimTest, ExcludesInOrderAndWithinBudgets) {
  uint64_t local_entries = 0;
  uint64_t remote_entries = 0;
  uint64_t split_atomics = 0;
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    Plan plan;
    plan.local_threads = static_cast<int>(1 + seed % 3);
    plan.remotes = static_cast<int>(1 + seed / 3 % 3);
    plan.deadlines = seed % 2 == 0;
    Scene scene(seed, plan, DrawWithoutBreaks(seed));
    ASSERT_EQ(scene.Run(), "") << "seed " << seed;
    local_entries += scene.judge().entries_of(Cohort::kLocal);
    remote_entries += scene.judge().entries_of(Cohort::kRemote);
    split_atomics += scene.counts().split_atomics;
    EXPECT_EQ(scene.counts().writes_back, 0u)
        << "something was undone that changed under a COMPARE_SWAP";
  }
  EXPECT_GT(local_entries, 1'000u);
  EXPECT_GT(remote_entries, 1'000u);
  EXPECT_GT(split_atomics, 1'000u);
}

TEST(ALockSimTest, WholeNetworkExcludesInOrder) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    Scene scene(seed, Plan{}, SimFaults::None());
    ASSERT_EQ(scene.Run(), "") << "seed " << seed;
  }
}

// The locks that ALock is measured against, all through the fabric.
TEST(ALockSimTest, McsAndSpinLocksExclude) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Plan plan;
    plan.kind = seed % 2 == 0 ? LockKind::kMcs : LockKind::kSpin;
    plan.local_threads = 0;
    plan.remotes = 3;
    Scene scene(seed, plan, DrawWithoutBreaks(seed));
    ASSERT_EQ(scene.Run(), "") << "seed " << seed;
  }
}

// Goal: the judge and the network are no fools: a lock whose word both a CPU and cards change atomically is
// found out, where cards are kHca.
TEST(ALockSimTest, CpuAndFabricAtomicsOnOneWordAreFoundOut) {
  int found = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Plan plan;
    plan.kind = LockKind::kSpin;
    plan.deadlines = false;
    plan.cpu_atomics_on_the_remote_word = true;
    plan.patience_ns = kNsPerS / 10;  // An unlock that is lost is a finding, too.
    Scene scene(seed, plan, DrawWithoutBreaks(seed));
    if (!scene.Run().empty()) ++found;
  }
  EXPECT_GT(found, 5);
}

}  // namespace
}  // namespace acre
