// Processes that die, or stand still and go on, while they hold and await ALocks: threads of the home's machine that
// have the locks mapped, and remote ones, among simulated processes and all that cards may do (E1 to E12, but for
// connections that break by themselves: those are deaths, and drawn here).
//
// A lock guards a record of two lines, all of whose words are the same number. A holder announces the number that it
// makes (its redo record), then writes it, word by word or in a WRITE that may be torn, then gives the lock back.
// Judged are: one holder at a time, where a dead one is inside until its home has fenced it; every record that a
// holder finds is whole, and none of the numbers is lost; everybody who lives gets on; all locks end up free.
//
// More seeds: bazel test --config=sim --test_env=ACRE_LOCK_SEEDS=10000 //lock:repair_sim_test

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lock/lock_test_mesh.h"
#include "lock/sim_survivors.h"
#include "lock/sim_test_faults.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/sim/seeds.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/sim/sim_fabric.h"
#include "transport/sim/sim_network.h"

namespace acre {
namespace {

using transport::SimFaults;
using transport::SimNetwork;

constexpr uint64_t kUs = 1'000;
constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kS = 1'000'000'000;
constexpr uint32_t kLocks = 2;
constexpr uint32_t kRecordWords = 2 * kLineBytes / kWordBytes;
constexpr uint32_t kFirstLocalProcess = 50;

// A redo record: which acquisition makes which number. 0: none.
struct Redo {
  uint64_t word = 0;
  uint64_t value = 0;
  uint64_t checksum = 0;
  static Redo Of(uint64_t word, uint64_t value) { return {word, value, word ^ value * 3 ^ 0x5a}; }
  bool IsFor(uint64_t of) const { return word == of && checksum == (word ^ value * 3 ^ 0x5a); }
};
constexpr uint64_t kRedoOffset = sizeof(LockIntent);  // In a remote intent.

// What nobody under test looks at.
class Judge {
 public:
  void OnEnter(uint32_t lock, uint32_t process) {
    std::erase_if(inside_[lock], [this](uint32_t other) { return fenced_.contains(other); });
    if (fenced_.contains(process))
      return;  // A zombie, which believes to be inside: it changes nothing.
    if (!inside_[lock].empty())
      Find(absl::StrCat("process ", process, " enters lock ", lock, " beside process ",
                        inside_[lock].front()));
    inside_[lock].push_back(process);
  }
  void OnRecord(uint32_t lock, uint32_t process, const uint64_t* words) {
    if (fenced_.contains(process)) return;
    for (uint32_t i = 1; i < kRecordWords; ++i) {
      if (words[i] != words[0]) Find(absl::StrCat("process ", process, " finds a torn record"));
    }
    if (words[0] < confirmed_[lock]) Find("a number is lost");
  }
  void OnAnnounce(uint32_t lock) { ++announced_[lock]; }
  // It gives the lock back, or has begun to; `process` still counts as inside, if it dies, until it is fenced.
  void OnLeave(uint32_t lock, uint32_t process) { std::erase(inside_[lock], process); }
  void OnConfirmed(uint32_t lock) { ++confirmed_[lock]; }
  void OnFenced(uint32_t process) { fenced_.insert(process); }
  bool is_fenced(uint32_t process) const { return fenced_.contains(process); }
  void JudgeEnd(uint32_t lock, const SharedWord* record) {
    const uint64_t value = record[0].Load(std::memory_order_relaxed);
    for (uint32_t i = 1; i < kRecordWords; ++i) {
      if (record[i].Load(std::memory_order_relaxed) != value) Find("a torn record at the end");
    }
    if (value < confirmed_[lock]) Find("a number is lost");
    if (value > announced_[lock]) Find("a number that nobody made");
  }
  uint64_t confirmed() const { return confirmed_[0] + confirmed_[1]; }
  const std::string& finding() const { return finding_; }

 private:
  void Find(std::string what) {
    if (finding_.empty()) finding_ = std::move(what);
  }
  std::string finding_;
  std::vector<uint32_t> inside_[kLocks];
  std::set<uint32_t> fenced_;
  uint64_t confirmed_[kLocks] = {};
  uint64_t announced_[kLocks] = {};
};

struct Plan {
  int locals = 2;  // Processes of the home's machine.
  int remotes = 3;
  int tasks = 2;  // Of each.
  int rounds = 10;
  int kills = 2;       // How many of those die,
  int pauses = 1;      // and how many stand still for a while.
  int breaks = 0;      // Connections between two that live.
  bool fences = true;  // Mistakes that must be found if these are false.
  bool repairs_data = true;
  uint64_t patience_ns = 10 * kS;  // Virtual time after which it hangs.
};

class Scene final : private GuardedData, private LockKeeper::Fence {
 public:
  Scene(uint64_t seed, const Plan& plan, const SimFaults& faults)
      : plan_(plan),
        random_(seed),
        world_({.seed = seed}),
        network_(&world_, {.faults = SimFaults::None()}) {
    home_ = MakeNode(1);
    home_->MakeLocks(kLocks);
    local_redo_.reset(new SharedWord[size_t{home_->arena()->descriptors_count()} * 3]());
    const auto progress = [this] { RunFor(kUs); };
    for (int i = 0; i < plan_.remotes; ++i) {
      remotes_.push_back(MakeNode(static_cast<uint32_t>(i + 2)));
      LockNode::JoinHome(remotes_.back().get(), home_.get(), LockKind::kALock, 2, progress);
    }
    for (const auto& from : remotes_) {
      for (const auto& to : remotes_) {
        if (from != to) LockNode::JoinPeer(from.get(), to.get(), progress);
      }
      const uint32_t id = from->process_id();
      from->SetOnUnreachable([this, id](uint32_t other) { Report(id, other); });
    }
    survivors_ = std::make_unique<SimSurvivors>(
        SimSurvivors::Options{.home = home_.get(),
                              .random = &random_,
                              .find_node = [this](uint32_t id) { return remotes_[id - 2].get(); },
                              .is_dead = [this](uint32_t id) { return processes_[id]->is_dead(); },
                              .fences = plan_.fences});
    home_->MakeRepair(survivors_.get(), this, this, progress);
    for (int i = 0; i < plan_.locals; ++i) {
      const uint32_t id = kFirstLocalProcess + static_cast<uint32_t>(i);
      processes_[id] = world_.AddProcess(processes_[1]->machine(), absl::StrCat("p", id));
    }
    network_.SetFaults(faults);
  }
  ~Scene() override {
    // Of killed processes everything leaks (runtime/sim/world.h).
    for (const auto& [id, process] : processes_) process->Kill();
    RunFor(kMs);
    for (auto& remote : remotes_) (void)remote.release();
    (void)home_.release();
    (void)local_redo_.release();
  }

  // Empty: all went well.
  std::string Run() {
    processes_[1]->Spawn("keeper", [this] { RunHome(); });
    for (int i = 0; i < plan_.locals; ++i) {
      const uint32_t id = kFirstLocalProcess + static_cast<uint32_t>(i);
      processes_[id]->Spawn("local", [this, id] { RunLocal(id); });
    }
    for (const auto& remote : remotes_) {
      LockNode* const node = remote.get();
      processes_[node->process_id()]->Spawn("remote", [this, node] { RunRemote(node); });
    }
    MakeTrouble();
    const bool done = world_.RunUntil([&] { return !judge_.finding().empty() || IsDone(); },
                                      world_.NowNs() + plan_.patience_ns);
    if (!judge_.finding().empty()) return judge_.finding();
    if (!done) return Stuck();
    for (uint32_t lock = 0; lock < kLocks; ++lock) {
      judge_.JudgeEnd(lock, home_->RecordOf(lock));
      if (!home_->IsFree(lock)) return absl::StrCat("lock ", lock, " is not free at the end");
    }
    return judge_.finding();
  }
  const Judge& judge() const { return judge_; }
  uint64_t repaired() const {
    return home_->remote_repair()->repaired_count() + home_->local_repair()->adopted_count();
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

  // Kills some, and pauses some remote ones for so long that the home gives them up.
  void MakeTrouble() {
    std::vector<uint32_t> ids;
    for (const auto& [id, process] : processes_) {
      if (id != 1) ids.push_back(id);
    }
    for (int i = 0; i < plan_.breaks; ++i) {
      LockNode* const node = remotes_[random_.Uniform(remotes_.size())].get();
      const auto other = static_cast<uint32_t>(2 + random_.Uniform(remotes_.size()));
      if (other == node->process_id()) continue;
      world_.After(random_.Uniform(200 * kUs), [this, node, other] { Break(node, other); });
    }
    for (int i = 0; i < plan_.kills + plan_.pauses && !ids.empty(); ++i) {
      const size_t chosen = random_.Uniform(ids.size());
      const uint32_t id = ids[chosen];
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(chosen));
      sim::Process* const process = processes_[id];
      const uint64_t at_ns = random_.Uniform(300 * kUs);
      if (i < plan_.kills) {
        ++notices_left_;
        world_.After(at_ns, [process] { process->Kill(); });
        process->OnDeath([this, id] {
          const uint64_t notice_ns = random_.Uniform(2) == 0 ? 0 : random_.Uniform(200 * kUs);
          world_.After(notice_ns, [this, id] { Notice(id); });
        });
      } else if (id < kFirstLocalProcess) {
        ++notices_left_;
        world_.After(at_ns, [process] { process->Pause(); });
        world_.After(at_ns + random_.Uniform(100 * kUs), [this, id] { Notice(id); });
        world_.After(at_ns + random_.Uniform(40 * kMs), [process] { process->Resume(); });
      }
    }
  }
  // `id` tells the home that it cannot reach `other`: a message, which one that is fenced cannot send.
  void Report(uint32_t id, uint32_t other) {
    ++notices_left_;
    world_.After(random_.Uniform(100 * kUs), [this, id, other] {
      if (judge_.is_fenced(id)) {
        --notices_left_;
      } else {
        Notice(other);
      }
    });
  }
  void Break(LockNode* node, uint32_t other) {
    survivors_->Tell(node->process_id(), [node, other] { node->CloseTo(other); });
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
    return notices_left_ == 0 && dead_.empty() && home_is_idle_;
  }
  std::string Stuck() const {
    std::string who = "hangs:";
    for (const auto& [id, process] : processes_) {
      if (id != 1 && !process->is_dead() && !done_.contains(id)) absl::StrAppend(&who, " p", id);
    }
    for (uint32_t lock = 0; lock < kLocks; ++lock) {
      const auto* const words = reinterpret_cast<const uint64_t*>(home_->WordsOf(lock));
      absl::StrAppend(&who, " lock ", lock, " ", absl::Hex(words[0]), " ", absl::Hex(words[1]), " ",
                      words[2]);
    }
    return absl::StrCat(who, home_is_idle_ ? "" : ", repair is under way");
  }

  void RunHome() {
    home_->scheduler().DetachFromThread();
    while (true) {
      while (!dead_.empty()) {
        home_->keeper()->OnDeath(dead_.front());
        dead_.pop_front();
      }
      home_->scheduler().RunOnce();
      home_is_idle_ = home_->keeper()->idle() && home_->local_repair()->idle() && dead_.empty();
      world_.Spend(100);
    }
  }
  void RunLocal(uint32_t id) {
    Scheduler scheduler({.clock = processes_[id]->machine()->clock(), .seed = id});
    LockThread thread(&scheduler, home_->arena(), {.process_id = id, .budget = 3});
    int left = plan_.tasks;
    for (int i = 0; i < plan_.tasks; ++i) {
      scheduler.Spawn(WorkLocally(&thread, id, random_.Uniform(1 << 30), &left)).Detach();
    }
    while (left > 0 || !thread.idle()) {
      scheduler.RunOnce();
      world_.Spend(50);
    }
    done_.insert(id);
  }
  void RunRemote(LockNode* node) {
    node->scheduler().DetachFromThread();
    int left = plan_.tasks;
    for (int i = 0; i < plan_.tasks; ++i) {
      node->scheduler().Spawn(WorkRemotely(node, random_.Uniform(1 << 30), i, &left)).Detach();
    }
    // Goes on answering when it has nothing to do any more.
    while (true) {
      survivors_->AnswerQuestions(node);
      node->scheduler().RunOnce();
      if (left == 0 && node->remote_locker()->idle()) done_.insert(node->process_id());
      world_.Spend(50);
    }
  }

  // ---- Work.

  Task<void> WorkLocally(LockThread* thread, uint32_t id, uint64_t seed, int* left) {
    Random random(seed);
    for (int round = 0; round < plan_.rounds; ++round) {
      const auto lock = static_cast<uint32_t>(random.Uniform(kLocks));
      LockThread::Place* place = thread->Start({home_->WordsOf(lock), TestLockAddress(lock)});
      const uint64_t patience = random.Uniform(5) == 0 ? random.Uniform(20) : UINT64_MAX;
      for (uint64_t waited = 0; !thread->Advance(place); ++waited) {
        if (waited == patience) {
          thread->Abandon(std::exchange(place, nullptr));
          break;
        }
        co_await thread->scheduler()->Yield();
      }
      if (place == nullptr) continue;
      judge_.OnEnter(lock, id);
      SharedWord* const record = home_->RecordOf(lock);
      uint64_t words[kRecordWords];
      CopyFromShared(words, record, kRecordWords, CopyOrder::kAscending);
      judge_.OnRecord(lock, id, words);
      if (random.Uniform(4) == 0) co_await thread->scheduler()->Yield();
      judge_.OnAnnounce(lock);
      const Redo redo = Redo::Of(place->word.bits(), words[0] + 1);
      CopyToShared(local_redo_.get() + size_t{place->word.index()} * 3, &redo.word, 3,
                   CopyOrder::kAscending);
      for (uint32_t i = 0; i < kRecordWords; ++i) {
        record[i].Store(words[0] + 1, std::memory_order_release);
      }
      judge_.OnLeave(lock, id);
      thread->Release(place);
      judge_.OnConfirmed(lock);
    }
    --*left;
  }

  Task<void> WorkRemotely(LockNode* node, uint64_t seed, int task, int* left) {
    Random random(seed);
    transport::RegionOptions options;
    options.region_id = 10 + static_cast<uint32_t>(task);
    options.size_bytes = transport::kRegionHeaderBytes + 2 * kRecordWords * kWordBytes;
    auto buffer = node->fabric()->CreateRegion(options);
    CHECK(buffer.ok()) << buffer.status();
    SharedWord* const words = (*buffer)->words() + transport::kRegionHeaderBytes / kWordBytes;
    for (int round = 0; round < plan_.rounds; ++round) {
      const auto lock = static_cast<uint32_t>(random.Uniform(kLocks));
      const uint64_t deadline_ns = random.Uniform(5) == 0
                                       ? node->scheduler().NowNs() + random.Uniform(100 * kUs)
                                       : UINT64_MAX;
      absl::StatusOr<HeldLock> held =
          co_await node->remote_locker()->AcquireUntil(TestLockAddress(lock), deadline_ns);
      if (absl::IsDeadlineExceeded(held.status())) continue;
      if (!held.ok()) break;  // The home has given us up.
      const absl::Status updated =
          co_await UpdateRemotely(node, lock, buffer->get(), words, *std::move(held));
      if (!updated.ok()) break;
    }
    --*left;
  }
  Task<absl::Status> UpdateRemotely(LockNode* node, uint32_t lock,
                                    const transport::MemoryRegion* buffer, SharedWord* words,
                                    HeldLock held) {
    const uint32_t id = node->process_id();
    judge_.OnEnter(lock, id);
    transport::WorkRequest record;
    record.opcode = transport::Opcode::kRead;
    record.local = words;
    record.local_region = buffer;
    record.length_bytes = kRecordWords * kWordBytes;
    record.remote_key = node->lock_key();
    record.remote_offset_bytes = TestLockAddress(lock).offset_bytes() + kTestRecordOffset;
    const transport::CompletionStatus read =
        co_await node->port()->Execute(node->home_queue_pair(), {&record, 1});
    if (read != transport::CompletionStatus::kOk) co_return absl::UnavailableError("fenced");
    judge_.OnRecord(lock, id, reinterpret_cast<const uint64_t*>(words));
    const uint64_t value = words[0].Load(std::memory_order_relaxed) + 1;
    for (uint32_t i = 0; i < kRecordWords; ++i) words[i].Store(value, std::memory_order_relaxed);
    const RemoteWord word = node->remote_locker()->WordOf(held);
    const Redo redo = Redo::Of(word.bits(), value);
    CopyToShared(words + kRecordWords, &redo.word, 3, CopyOrder::kAscending);
    transport::WorkRequest announce = record;
    announce.opcode = record.opcode = transport::Opcode::kWrite;
    announce.local = words + kRecordWords;
    announce.length_bytes = 3 * kWordBytes;
    announce.remote_key = node->intents_key();
    announce.remote_offset_bytes = LockIntentOffset(word) + kRedoOffset;
    const transport::WorkRequest batch[] = {announce, record};
    judge_.OnAnnounce(lock);
    judge_.OnLeave(lock, id);
    const absl::Status released = co_await node->remote_locker()->Release(std::move(held), batch);
    if (released.ok()) judge_.OnConfirmed(lock);
    co_return released;
  }

  // ---- GuardedData: at the home.

  void Apply(GlobalAddress lock, const Redo& redo) {
    if (!plan_.repairs_data) return;
    const uint32_t number =
        (lock.offset_bytes() - TestLockAddress(0).offset_bytes()) / kTestLockStride;
    SharedWord* const record = home_->RecordOf(number);
    uint64_t words[kRecordWords];
    CopyFromShared(words, record, kRecordWords, CopyOrder::kAscending);
    if (*std::min_element(words, words + kRecordWords) >= redo.value) return;
    for (uint32_t i = 0; i < kRecordWords; ++i) {
      record[i].Store(redo.value, std::memory_order_release);
    }
  }
  void RepairLocal(GlobalAddress lock, LocalWord dead) override {
    Redo redo;
    CopyFromShared(&redo.word, local_redo_.get() + size_t{dead.index()} * 3, 3,
                   CopyOrder::kAscending);
    if (redo.IsFor(dead.bits())) Apply(lock, redo);
  }
  void RepairRemote(GlobalAddress lock, absl::Span<const RemoteWord> dead) override {
    for (const RemoteWord word : dead) {
      Redo redo;
      CopyFromShared(&redo.word,
                     home_->IntentsOf(word.process_id())->words() +
                         (LockIntentOffset(word) + kRedoOffset) / kWordBytes,
                     3, CopyOrder::kAscending);
      if (redo.IsFor(word.bits())) Apply(lock, redo);
    }
  }

  // ---- LockKeeper::Fence.

  Task<void> Close(uint32_t id) override {
    if (id >= kFirstLocalProcess) {
      // Killed, and seen to exit: what was in its store buffers has landed.
      processes_[id]->Kill();
      co_await home_->scheduler().SleepFor(100 * kUs);
    } else if (plan_.fences) {
      home_->CloseTo(id);
    }
    judge_.OnFenced(id);
  }

  const Plan plan_;
  Random random_;
  sim::World world_;
  SimNetwork network_;
  std::map<uint32_t, sim::Process*> processes_;
  std::unique_ptr<LockNode> home_;
  std::vector<std::unique_ptr<LockNode>> remotes_;
  std::unique_ptr<SharedWord[]> local_redo_;  // Of each descriptor of the arena.
  std::unique_ptr<SimSurvivors> survivors_;
  std::deque<uint32_t> dead_;  // To be told to the keeper.
  int notices_left_ = 0;       // Of deaths.
  std::set<uint32_t> done_;
  Judge judge_;
  bool home_is_idle_ = true;
};

Plan DrawPlan(uint64_t seed) {
  Plan plan;
  plan.kills = static_cast<int>(seed % 4);
  plan.pauses = static_cast<int>(seed / 4 % 2);
  plan.breaks = static_cast<int>(seed / 8 % 3);
  plan.locals = static_cast<int>(seed % 3);
  plan.remotes = static_cast<int>(2 + seed / 3 % 4);
  return plan;
}

TEST(RepairSimTest, SurvivorsGoOnWhoeverDies) {
  uint64_t repaired = 0;
  uint64_t confirmed = 0;
  const uint64_t seeds = SeedsOr("ACRE_LOCK_SEEDS", 120);
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    Scene scene(seed, DrawPlan(seed), DrawWithoutBreaks(seed));
    ASSERT_EQ(scene.Run(), "") << "seed " << seed;
    repaired += scene.repaired();
    confirmed += scene.judge().confirmed();
  }
  EXPECT_GT(repaired, seeds / 2) << "too few died where it matters";
  EXPECT_GT(confirmed, 20 * seeds);
}

// Goal: the judge sees what repair is for. Without one half of it he finds something.
TEST(RepairSimTest, RepairWithoutDataOrFencesIsFoundOut) {
  for (const bool fences : {false, true}) {
    uint64_t found = 0;
    for (uint64_t seed = 1; found == 0 && seed <= 300; ++seed) {
      Plan plan = DrawPlan(seed);
      plan.fences = fences;
      plan.repairs_data = !fences;
      plan.breaks = 0;
      plan.patience_ns = kS / 5;
      Scene scene(seed, plan, DrawWithoutBreaks(seed));
      if (!scene.Run().empty()) found = seed;
    }
    EXPECT_NE(found, 0u) << (fences ? "without repair of data" : "without fences");
    LOG(INFO) << (fences ? "without repair of data" : "without fences") << ": found at seed "
              << found;
  }
}

}  // namespace
}  // namespace acre
