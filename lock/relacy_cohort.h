// The threads of one or two ALocks on relacy's model of memory: local ones, which run local_cohort.h
// as it is shipped, a remote cohort that does what the fabric promises, and the home, which reads
// the queue and repairs it. What they must keep to is asserted here; which of them run, and with
// which orders, is the test's (lock/local_cohort_relacy_test.cc).
//
// Threads: those of relacy. A test runs one simulation at a time.

#ifndef ACRE_LOCK_RELACY_COHORT_H_
#define ACRE_LOCK_RELACY_COHORT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>

#include "absl/types/optional.h"
#include "lock/local_cohort.h"
#include "lock/lock_words.h"
#include "lock/relacy_word.h"

namespace acre::relacy {

using Steps = LocalCohort<RelacyWord>;

constexpr size_t kThreadsMax = RelacyWord::kThreadsMax;
constexpr size_t kLocksMax = 2;
constexpr uint32_t kRoundsMax = 4;

// Where a thread is: the steps of docs/alock.md, and what is no step of the protocol.
enum Step : WordStep {
  kClaim = kAnyStep + 1,  // A descriptor (lock/local_arena.h).
  kA1,
  kA3,  // And A2: until it is in the queue.
  kA5,
  kB1,
  kB2,
  kB3,
  kInside,  // Between the two changes that it makes under the lock.
  kR1,
  kR2,
  kRead,  // The home: the queue.
  kL1,
  kL2,
  kFree,
  kStepsCount,
};

// What a thread does.
enum class Part {
  kHolder,     // Acquires, as long as it takes.
  kTrier,      // TryAcquire.
  kImpatient,  // Acquires, but leaves if the remote cohort is there twice when it leads.
  kMortal,     // Acquires, dies somewhere, and begins again as another process. The first thread.
  kRemote,     // The remote cohort of lock 0.
  kReader,     // The home, which reads the queue of lock 0 from its tail.
  kHome,       // The home, which repairs what kMortal left.
};

struct Scenario {
  size_t threads;
  std::array<Part, kThreadsMax> parts;
  uint32_t rounds;  // Of each thread, at most kRoundsMax.
  uint32_t budget;
  size_t locks = 1;  // Taken in turn.
};

// The one that runs; relacy makes what it tests by a default constructor.
inline const Scenario* scenario = nullptr;

// What came about in all simulations since the last reset: that a test tests what it says.
struct Met {
  uint64_t granted = 0;                            // A5 found the lock.
  uint64_t moved_on = 0;                           // A5 found a predecessor's next acquisition.
  std::array<uint64_t, kStepsCount> died_in = {};  // By step.
  uint64_t repaired = 0;                           // Died in a queue.
  uint64_t repaired_inside = 0;                    // Died with the lock.
};
inline Met met;

inline bool IsDead() { return RelacyWord::Mine().is_dead; }
// A dead thread stays where it died.
inline void Enter(Step step) {
  if (!IsDead()) RelacyWord::Mine().step = step;
}

constexpr LocalWord kNotToldYet = LocalWord::FromBits(UINT64_MAX);
constexpr int64_t kNotLeftYet = -1;

inline uint64_t AddressOf(size_t lock) { return 1000 + lock; }

struct World {
  World() {
    RelacyWord::threads = {};
    for (auto& lock : locks) {
      lock.local_tail.Name("local_tail");
      lock.remote_tail.Name("remote_tail");
      lock.victim.Name("victim");
    }
    for (auto& descriptor : descriptors) {
      descriptor.grant.NameOwned("grant");
      descriptor.word.NameOwned("word");
      descriptor.lock.NameOwned("lock");
      descriptor.pred.NameOwned("pred");
      descriptor.owner.Name("owner");
    }
    is_dead.Name("is_dead");
    for (auto& value : data) value(RL_INFO) = 0;
    for (auto& by_sequence : preds) by_sequence.fill(kNotToldYet);
    for (auto& by_sequence : grants) by_sequence.fill(kNotLeftYet);
  }

  Steps::Descriptor* DescriptorOf(LocalWord word) { return &descriptors[word.index() - 1]; }

  LocalWord& PredOf(LocalWord word) { return preds[word.index() - 1][word.sequence()]; }
  // What it left with (R1), kNotLeftYet before.
  int64_t& GrantOf(LocalWord word) { return grants[word.index() - 1][word.sequence()]; }
  bool HasLeft(LocalWord word) { return GrantOf(word) != kNotLeftYet; }

  // Whoever is not ordered behind the last one that changed it races on `data`.
  void Change(size_t lock) {
    data[lock](RL_INFO) += 1;
    changes[lock] += 1;
  }

  std::array<Steps::Lock, kLocksMax> locks;
  std::array<Steps::Descriptor, kThreadsMax> descriptors;  // One of each thread.
  std::array<rl::var<uint64_t>, kLocksMax> data;           // What the locks guard.
  RelacyWord is_dead;                                      // The kernel's word on kMortal.
  // Not part of the model: nothing switches threads around them.
  std::array<bool, kLocksMax> is_held{};
  std::array<uint64_t, kLocksMax> changes{};
  bool died_holding = false;  // kMortal, before R1.
  // By index and sequence, as soon as it is so.
  std::array<std::array<LocalWord, kRoundsMax + 2>, kThreadsMax> preds;
  std::array<std::array<int64_t, kRoundsMax + 2>, kThreadsMax> grants;
};

// The steps in the order of docs/alock.md, with a descriptor that is used again at once. Whoever may
// die is asked behind each step whether it has: then nothing more happens.
class LocalThread {
 public:
  LocalThread(World* world, uint32_t index)
      : world_(world), mine_(&world->descriptors[index - 1]), word_(index, 0) {}

  void AcquireAndRelease(size_t lock, int looks_max) {
    Prepare(lock);
    At(kA3);
    const LocalWord pred = Steps::Enqueue(&world_->locks[lock], mine_, word_);
    if (IsDead()) return;
    world_->PredOf(word_) = pred;
    uint32_t budget = pred.is_null() ? 0 : WaitForGrant(pred);
    if (budget == 0) {
      const bool leads = Lead(lock, looks_max);
      if (IsDead()) return;
      if (!leads) return HandOn(lock, 0);
      budget = scenario->budget;
    }
    if (IsDead()) return;
    UseLock(lock);
    HandOn(lock, budget - 1);
  }

  void TryAcquireAndRelease(size_t lock) {
    Prepare(lock);
    At(kA3);
    if (!Steps::TryEnqueue(&world_->locks[lock], mine_, word_)) return;
    world_->PredOf(word_) = LocalWord();
    At(kB1);
    if (!Steps::OtherIsAbsent(world_->locks[lock])) return HandOn(lock, 0);
    UseLock(lock);
    HandOn(lock, scenario->budget - 1);
  }

  // Dies in one of its rounds, in any step, and goes on as another process that gets its descriptor
  // from the home. Its locks are taken in turn.
  void LiveTwice() {
    Claim(1);
    const uint32_t last_round = rl::rand(scenario->rounds);
    for (uint32_t round = 0; round <= last_round; ++round) {
      if (round == last_round) {
        dies_in_ = static_cast<Step>(kA1 + rl::rand(kR2 - kA1 + 1));
      }
      AcquireAndRelease(round % scenario->locks, 0);
      if (IsDead()) break;
    }
    // Or with nothing to do.
    if (IsDead()) ++met.died_in[RelacyWord::Mine().step];
    world_->died_holding = holds_;
    holds_ = false;
    RelacyWord::Mine() = WordThread();
    dies_in_ = kClaim;
    world_->is_dead.Store(1, std::memory_order_release);
    Claim(2);
    AcquireAndRelease(0, 0);
  }

 private:
  // As LocalArena::Claim.
  void Claim(uint64_t process_id) {
    At(kClaim);
    uint64_t free = 0;
    while (mine_->owner.Load(std::memory_order_relaxed) != 0) rl::yield(1, RL_INFO);
    RL_ASSERT(mine_->owner.CompareExchange(&free, process_id, std::memory_order_acquire));
    const uint64_t last = mine_->word.Load(std::memory_order_relaxed);
    word_ = LocalWord(word_.index(), LocalWord::FromBits(last).sequence());
  }

  void At(Step step) {
    Enter(step);
    // Then it dies in this step, before its first operation or a later one, or in the next.
    if (dies_in_ == step && step != kClaim) {
      RelacyWord::Mine().operations_left = static_cast<int>(rl::rand(3));
      dies_in_ = kClaim;
    }
  }

  void Prepare(size_t lock) {
    word_ = word_.Next();
    At(kA1);
    Steps::Prepare(mine_, word_, AddressOf(lock));
  }

  uint32_t WaitForGrant(LocalWord pred) {
    At(kA5);
    while (true) {
      const auto budget = Steps::Granted(*world_->DescriptorOf(pred), pred);
      if (IsDead()) return 0;
      if (budget.has_value()) {
        const int64_t granted = world_->GrantOf(pred);
        const bool is_the_grant = granted == int64_t{*budget};
        RL_ASSERT(is_the_grant || (granted != kNotLeftYet && *budget == 0));
        ++(is_the_grant ? met.granted : met.moved_on);
        return *budget;
      }
      rl::yield(1, RL_INFO);
    }
  }

  // False: gave up. looks_max: how often to look; 0: for ever.
  bool Lead(size_t lock, int looks_max) {
    At(kB1);
    if (Steps::OtherIsAbsent(world_->locks[lock])) return true;
    At(kB2);
    Steps::BecomeVictim(&world_->locks[lock]);
    At(kB3);
    for (int looks = 1; !Steps::MayEnter(world_->locks[lock]); ++looks) {
      if (looks == looks_max) return false;
      rl::yield(1, RL_INFO);
    }
    return true;
  }

  // What a holder does. The home completes what a dead one began.
  void UseLock(size_t lock) {
    RL_ASSERT(!world_->is_held[lock]);
    world_->is_held[lock] = true;
    holds_ = true;
    world_->Change(lock);
    At(kInside);
    rl::ctx().sched();
    if (RelacyWord::Mine().operations_left == 0) {
      RelacyWord::Mine().is_dead = true;
      return;
    }
    world_->Change(lock);
    world_->is_held[lock] = false;
  }

  void HandOn(size_t lock, uint32_t budget) {
    if (IsDead()) return;
    At(kR1);
    Steps::Grant(mine_, word_, budget);
    if (IsDead()) return;
    world_->GrantOf(word_) = budget;
    holds_ = false;
    At(kR2);
    Steps::LeaveEmpty(&world_->locks[lock], word_);
  }

  World* world_;
  Steps::Descriptor* mine_;
  LocalWord word_;
  bool holds_ = false;
  Step dies_in_ = kClaim;  // kClaim: in none.
};

// The whole remote cohort of lock 0. Two remote holders that follow each other are one thread here:
// all that the first did, its data WRITEs among it, has completed when the second has its grant.
class RemoteThread {
 public:
  explicit RemoteThread(World* world) : world_(world), lock_(&world->locks[0]) {}

  void Run(uint32_t rounds) {
    for (uint32_t round = 0; round < rounds; ++round) {
      RL_ASSERT(Enqueue());
      Lead();  // At once, or by the grant of 0 of the one before.
      UseLock();
      // Else a successor is in the queue already: the tail does not become 0.
      if (round + 1 == rounds || rl::rand(2) == 0) {
        RL_ASSERT(lock_->remote_tail.FabricCompareSwap(word_, 0));
        word_ = 0;
      }
    }
  }

 private:
  bool Enqueue() {
    const uint64_t before = word_;
    word_ = RemoteWord(1, 0, ++sequence_).bits();
    return lock_->remote_tail.FabricCompareSwap(before, word_);
  }

  void Lead() {
    if (lock_->local_tail.FabricRead() == 0) return;
    lock_->victim.FabricWrite(static_cast<uint64_t>(Cohort::kRemote));
    while (!MayEnter()) rl::yield(1, RL_INFO);
  }

  void UseLock() {
    RL_ASSERT(!world_->is_held[0]);
    world_->is_held[0] = true;
    world_->Change(0);
    rl::ctx().sched();
    world_->Change(0);
    world_->is_held[0] = false;
  }

  // The words of one READ are sampled in either order (F5).
  bool MayEnter() {
    if (rl::rand(2) == 0) return LocalsAreAbsent() || LocalIsVictim();
    return LocalIsVictim() || LocalsAreAbsent();
  }
  bool LocalsAreAbsent() { return lock_->local_tail.FabricRead() == 0; }
  bool LocalIsVictim() {
    return lock_->victim.FabricRead() != static_cast<uint64_t>(Cohort::kRemote);
  }

  World* world_;
  Steps::Lock* lock_;
  uint64_t word_ = 0;  // In the tail; 0: the queue is empty.
  uint32_t sequence_ = 0;
};

// The home: what LocalRepair does, with the same loads in the same order.
class Home {
 public:
  explicit Home(World* world) : world_(world) {}

  // From the tail of lock 0 to the head, or to the first that has left ("Why a queue can be read
  // backwards" in docs/alock.md).
  void ReadQueue() { (void)IsInQueue(0, LocalWord()); }

  // Waits till kMortal is dead.
  void Repair() {
    Enter(kRead);
    while (world_->is_dead.Load(std::memory_order_acquire) == 0) rl::yield(1, RL_INFO);
    Steps::Descriptor* const mine = &world_->descriptors[0];
    const LocalWord word = LocalWord::FromBits(mine->word.Load(std::memory_order_relaxed));
    const uint64_t address = mine->lock.Load(std::memory_order_relaxed);
    if (!word.is_null() && address != 0) {
      const size_t lock = address - AddressOf(0);
      if (IsInQueue(lock, word)) {
        ++met.repaired;
        while (!RepairStep(lock, word)) rl::yield(1, RL_INFO);
      } else {
        RL_ASSERT(world_->PredOf(word) == kNotToldYet || world_->HasLeft(word));
      }
    }
    // As LocalArena::Free.
    Enter(kFree);
    mine->word.Store(LocalWord(1, word.sequence()).bits(), std::memory_order_relaxed);
    mine->owner.Store(0, std::memory_order_release);
  }

 private:
  struct Entry {
    uint64_t lock;
    LocalWord pred;
    bool has_left;
  };

  // Null: it has left. Else what belongs to `word`, which stands in the queue of `lock`.
  absl::optional<Entry> Read(size_t lock, LocalWord word) {
    const Steps::Descriptor& descriptor = *world_->DescriptorOf(word);
    Entry entry;
    entry.lock = descriptor.lock.Load(std::memory_order_acquire);
    entry.pred = LocalWord::FromBits(descriptor.pred.Load(std::memory_order_acquire));
    entry.has_left = Steps::Granted(descriptor, word).has_value();
    RL_ASSERT(!entry.has_left || world_->HasLeft(word));
    if (descriptor.word.Load(std::memory_order_acquire) != word.bits()) {
      // Whoever finds it so knows what it did.
      RL_ASSERT(world_->HasLeft(word));
      RL_ASSERT(Steps::Granted(descriptor, word).has_value());
      return absl::nullopt;
    }
    RL_ASSERT(entry.lock == AddressOf(lock));
    RL_ASSERT(entry.pred == world_->PredOf(word) || world_->PredOf(word) == kNotToldYet);
    return entry;
  }

  bool IsInQueue(size_t lock, LocalWord word) {
    Enter(kRead);
    const RelacyWord& tail = world_->locks[lock].local_tail;
    LocalWord at = LocalWord::FromBits(tail.Load(std::memory_order_acquire));
    while (!at.is_null()) {
      if (at == word) return true;
      const absl::optional<Entry> entry = Read(lock, at);
      if (!entry.has_value() || entry->has_left) return false;
      at = entry->pred;
    }
    return false;
  }

  // As LocalRepair::Step.
  bool RepairStep(size_t lock, LocalWord word) {
    Steps::Descriptor* const mine = world_->DescriptorOf(word);
    Enter(kL1);
    if (!Steps::Granted(*mine, word).has_value()) {
      const LocalWord pred = LocalWord::FromBits(mine->pred.Load(std::memory_order_relaxed));
      if (!pred.is_null() && !Steps::Granted(*world_->DescriptorOf(pred), pred).has_value()) {
        return false;
      }
      RepairData(lock);
      Steps::Grant(mine, word, 0);
      world_->GrantOf(word) = 0;
    }
    Enter(kL2);
    Steps::LeaveEmpty(&world_->locks[lock], word);
    return true;
  }

  // One that held nothing has no redo record that is not applied.
  void RepairData(size_t lock) {
    if (!world_->died_holding) return;
    ++met.repaired_inside;
    world_->Change(lock);
    world_->is_held[lock] = false;
  }

  World* world_;
};

template <rl::thread_id_t kThreads>
class Suite : public rl::test_suite<Suite<kThreads>, kThreads> {
 public:
  void thread(unsigned thread) {
    LocalThread local(world_.get(), thread + 1);
    const Part part = scenario->parts[thread];
    if (part == Part::kMortal) return local.LiveTwice();
    if (part == Part::kRemote) return RemoteThread(world_.get()).Run(scenario->rounds);
    if (part == Part::kHome) return Home(world_.get()).Repair();
    for (uint32_t round = 0; round < scenario->rounds; ++round) {
      const size_t lock = round % scenario->locks;
      if (part == Part::kHolder) local.AcquireAndRelease(lock, 0);
      if (part == Part::kTrier) local.TryAcquireAndRelease(lock);
      if (part == Part::kImpatient) local.AcquireAndRelease(lock, 2);
      if (part == Part::kReader) Home(world_.get()).ReadQueue();
    }
  }

  void after() {
    for (size_t lock = 0; lock < kLocksMax; ++lock) {
      RL_ASSERT(world_->locks[lock].local_tail.Load(std::memory_order_relaxed) == 0);
      RL_ASSERT(world_->locks[lock].remote_tail.Load(std::memory_order_relaxed) == 0);
      RL_ASSERT(world_->data[lock](RL_INFO).load() == world_->changes[lock]);
    }
  }

 private:
  // Of its own, since it is aligned and relacy's memory for a suite is not. After a failure relacy
  // forgets its suite without a destructor, and this with it.
  std::unique_ptr<World> world_ = std::make_unique<World>();
};

// Runs it from relacy's seed 1 on: the same each time. relacy prints to `output`, a failure with
// its history.
inline rl::test_result_e Explore(const Scenario& what, rl::test_params params,
                                 std::ostream* output) {
  scenario = &what;
  params.output_stream = output;
  params.progress_stream = output;
  // About a hundred times the steps of a usual run: who waits for a grant that was lost is found as
  // a livelock.
  params.execution_depth_limit = 10'000;
  if (what.threads == 2) {
    rl::simulate<Suite<2>>(params);
  } else if (what.threads == 3) {
    rl::simulate<Suite<3>>(params);
  } else {
    rl::simulate<Suite<4>>(params);
  }
  return params.test_result;
}

}  // namespace acre::relacy

#endif  // ACRE_LOCK_RELACY_COHORT_H_
