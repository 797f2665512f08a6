// The memory orders of the local cohort: local_cohort.h as it is shipped, on relacy's model of
// memory, with a remote cohort that does what the fabric promises, and with a reader of the queue.
// Then each order weakened that must not be: found each time.

#include <array>
#include <iostream>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "lock/local_cohort.h"
#include "lock/lock_words.h"
#include "lock/relacy_word.h"

namespace acre {
namespace {

using Steps = LocalCohort<RelacyWord>;

constexpr size_t kThreadsMax = 3;
constexpr size_t kLocksMax = 2;
constexpr uint32_t kRoundsMax = 4;

// What a thread does.
enum class Part {
  kHolder,     // Acquires, as long as it takes.
  kTrier,      // TryAcquire.
  kImpatient,  // Acquires, but leaves if the remote cohort is there twice when it leads.
  kRemote,     // The remote cohort.
  kReader,     // The home, which reads the queue of lock 0 from its tail.
};

struct Scenario {
  size_t threads;
  std::array<Part, kThreadsMax> parts;
  uint32_t rounds;  // Of each thread.
  uint32_t budget;
  size_t locks = 1;  // Taken in turn.
};

// The one that runs; relacy makes what it tests by a default constructor.
const Scenario* scenario = nullptr;

constexpr LocalWord kNotToldYet = LocalWord::FromBits(UINT64_MAX);

uint64_t AddressOf(size_t lock) { return 1000 + lock; }

struct World {
  World() {
    for (auto& lock : locks) {
      lock.local_tail.Name("local_tail");
      lock.remote_tail.Name("remote_tail");
      lock.victim.Name("victim");
    }
    for (unsigned thread = 0; thread < kThreadsMax; ++thread) {
      descriptors[thread].grant.NameOwned("grant", thread);
      descriptors[thread].next.NameOwned("next", thread);
      descriptors[thread].word.NameOwned("word", thread);
      descriptors[thread].lock.NameOwned("lock", thread);
      descriptors[thread].pred.NameOwned("pred", thread);
    }
    for (auto& value : data) value(RL_INFO) = 0;
    for (auto& by_sequence : preds) by_sequence.fill(kNotToldYet);
  }

  Steps::Descriptor* DescriptorOf(LocalWord word) { return &descriptors[word.index() - 1]; }

  LocalWord PredOf(LocalWord word) const { return preds[word.index() - 1][word.sequence()]; }

  // What a holder does. Whoever is not ordered behind the last one races on `data`.
  void UseLock(size_t lock) {
    RL_ASSERT(!is_held[lock]);
    is_held[lock] = true;
    data[lock](RL_INFO) += 1;
    rl::ctx().sched();
    data[lock](RL_INFO) += 1;
    uses[lock] += 2;
    is_held[lock] = false;
  }

  std::array<Steps::Lock, kLocksMax> locks;
  std::array<Steps::Descriptor, kThreadsMax> descriptors;  // One of each thread.
  std::array<rl::var<uint64_t>, kLocksMax> data;           // What the locks guard.
  // Not part of the model: nothing switches threads around them.
  std::array<bool, kLocksMax> is_held{};
  std::array<uint64_t, kLocksMax> uses{};
  // By index and sequence, as soon as the owner knows.
  std::array<std::array<LocalWord, kRoundsMax + 1>, kThreadsMax> preds;
};

// ---- The parts.

// The steps in the order of docs/alock.md.
class LocalThread {
 public:
  LocalThread(World* world, uint32_t index)
      : world_(world), mine_(&world->descriptors[index - 1]), word_(index, 0) {}

  void AcquireAndRelease(size_t lock, int looks_max) {
    Prepare(lock);
    const LocalWord pred = Steps::Enqueue(&world_->locks[lock], mine_, word_);
    Enqueued(pred);
    uint32_t budget = 0;
    if (!pred.is_null()) {
      Steps::Link(world_->DescriptorOf(pred), word_);
      budget = WaitForGrant();
    }
    if (budget == 0) {
      if (!Lead(lock, looks_max)) return HandOn(lock, 0);
      budget = scenario->budget;
    }
    world_->UseLock(lock);
    HandOn(lock, budget - 1);
  }

  void TryAcquireAndRelease(size_t lock) {
    Prepare(lock);
    if (!Steps::TryEnqueue(&world_->locks[lock], mine_, word_)) return;
    Enqueued(LocalWord());
    if (!Steps::OtherIsAbsent(world_->locks[lock])) return HandOn(lock, 0);
    world_->UseLock(lock);
    HandOn(lock, scenario->budget - 1);
  }

 private:
  void Prepare(size_t lock) {
    word_ = word_.Next();
    Steps::Prepare(mine_, word_, AddressOf(lock));
  }
  void Enqueued(LocalWord pred) { world_->preds[word_.index() - 1][word_.sequence()] = pred; }

  uint32_t WaitForGrant() {
    while (true) {
      if (const auto budget = Steps::Granted(*mine_, word_)) return *budget;
      rl::yield(1, RL_INFO);
    }
  }

  // False: gave up. looks_max: how often to look; 0: for ever.
  bool Lead(size_t lock, int looks_max) {
    if (Steps::OtherIsAbsent(world_->locks[lock])) return true;
    Steps::BecomeVictim(&world_->locks[lock]);
    for (int looks = 1; !Steps::MayEnter(world_->locks[lock]); ++looks) {
      if (looks == looks_max) return false;
      rl::yield(1, RL_INFO);
    }
    return true;
  }

  void HandOn(size_t lock, uint32_t budget) {
    LocalWord next = Steps::Successor(*mine_, word_);
    if (next.is_null()) {
      if (Steps::LeaveEmpty(&world_->locks[lock], word_)) return;
      while ((next = Steps::Successor(*mine_, word_)).is_null()) rl::yield(1, RL_INFO);
    }
    Steps::Grant(world_->DescriptorOf(next), next, budget);
  }

  World* world_;
  Steps::Descriptor* mine_;
  LocalWord word_;
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
      world_->UseLock(0);
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

// The home, which reads a queue backwards ("Why a queue can be read backwards" in docs/alock.md).
class Reader {
 public:
  explicit Reader(World* world) : world_(world) {}

  // Lock 0, from the tail to the head, or to the first that has left.
  void Read() {
    LocalWord successor;
    LocalWord word =
        LocalWord::FromBits(world_->locks[0].local_tail.Load(std::memory_order_acquire));
    while (!word.is_null()) {
      LocalWord pred;
      if (!ReadOne(word, &pred)) {
        if (!successor.is_null()) ExpectGranted(successor);
        return;
      }
      successor = word;
      word = pred;
    }
  }

 private:
  // What stands beside `word` is of this acquisition. False: it has left.
  bool ReadOne(LocalWord word, LocalWord* pred) {
    const Steps::Descriptor& descriptor = *world_->DescriptorOf(word);
    const uint64_t lock = descriptor.lock.Load(std::memory_order_acquire);
    *pred = LocalWord::FromBits(descriptor.pred.Load(std::memory_order_acquire));
    const LocalWord next = LocalWord::FromBits(descriptor.next.Load(std::memory_order_acquire));
    const uint64_t grant = descriptor.grant.Load(std::memory_order_acquire);
    // Last. Acquire: if it has left, its grant to its successor is seen.
    if (descriptor.word.Load(std::memory_order_acquire) != word.bits()) return false;
    RL_ASSERT(lock == AddressOf(0));
    RL_ASSERT(*pred == world_->PredOf(word) || world_->PredOf(word) == kNotToldYet);
    RL_ASSERT(!next.is_null());
    RL_ASSERT(next == word || world_->PredOf(next) == word);
    RL_ASSERT(grant >> 32 == word.sequence());
    return true;
  }

  // Whose predecessor has left.
  void ExpectGranted(LocalWord word) {
    const Steps::Descriptor& descriptor = *world_->DescriptorOf(word);
    const LockGrant grant = LockGrant::FromBits(descriptor.grant.Load(std::memory_order_acquire));
    if (descriptor.word.Load(std::memory_order_acquire) != word.bits()) return;
    RL_ASSERT(grant.IsFor(word.sequence()));
  }

  World* world_;
};

// ---- Running them.

template <rl::thread_id_t kThreads>
class Suite : public rl::test_suite<Suite<kThreads>, kThreads> {
 public:
  void thread(unsigned thread) {
    LocalThread local(world_.get(), thread + 1);
    for (uint32_t round = 0; round < scenario->rounds; ++round) {
      const size_t lock = round % scenario->locks;
      switch (scenario->parts[thread]) {
        case Part::kHolder:
          local.AcquireAndRelease(lock, 0);
          break;
        case Part::kTrier:
          local.TryAcquireAndRelease(lock);
          break;
        case Part::kImpatient:
          local.AcquireAndRelease(lock, 2);
          break;
        case Part::kRemote:
          if (round == 0) RemoteThread(world_.get()).Run(scenario->rounds);
          break;
        case Part::kReader:
          Reader(world_.get()).Read();
          break;
      }
    }
  }

  void after() {
    for (size_t lock = 0; lock < kLocksMax; ++lock) {
      RL_ASSERT(world_->locks[lock].local_tail.Load(std::memory_order_relaxed) == 0);
      RL_ASSERT(world_->locks[lock].remote_tail.Load(std::memory_order_relaxed) == 0);
      RL_ASSERT(world_->data[lock](RL_INFO).load() == world_->uses[lock]);
    }
  }

 private:
  // Of its own, since it is aligned and relacy's memory for a suite is not. After a failure relacy
  // forgets its suite without a destructor, and this with it.
  std::unique_ptr<World> world_ = std::make_unique<World>();
};

bool Simulate(rl::test_params* params) {
  if (scenario->threads == 2) return rl::simulate<Suite<2>>(*params);
  return rl::simulate<Suite<3>>(*params);
}

// Runs it from relacy's seed 1 on: the same each time. relacy prints to `output`, a failure with
// its history.
rl::test_result_e Explore(const Scenario& what, rl::test_params params, std::ostream* output) {
  scenario = &what;
  params.output_stream = output;
  params.progress_stream = output;
  // About a hundred times the steps of a usual run: who waits for a grant that was lost is found as
  // a livelock.
  params.execution_depth_limit = 10'000;
  Simulate(&params);
  return params.test_result;
}

rl::test_result_e ExploreSilently(const Scenario& what, const rl::test_params& params) {
  std::ostream nowhere(nullptr);
  return Explore(what, params, &nowhere);
}

// `runs` random schedules.
rl::test_params Random(uint64_t runs) {
  rl::test_params params;
  params.search_type = rl::random_scheduler_type;
  params.iteration_count = runs;
  return params;
}

// All schedules that take the CPU away from a thread that could go on at most `switches` times.
rl::test_params AllWithin(unsigned switches) {
  rl::test_params params;
  params.search_type = rl::fair_context_bound_scheduler_type;
  params.context_bound = switches;
  return params;
}

constexpr Part kHolder = Part::kHolder;
constexpr Part kRemote = Part::kRemote;

Scenario TwoLocals(uint32_t rounds, uint32_t budget) {
  return {.threads = 2, .parts = {kHolder, kHolder}, .rounds = rounds, .budget = budget};
}
Scenario ThreeLocals(uint32_t rounds, uint32_t budget) {
  return {.threads = 3, .parts = {kHolder, kHolder, kHolder}, .rounds = rounds, .budget = budget};
}
Scenario LocalAndRemote(uint32_t rounds, uint32_t budget) {
  return {.threads = 2, .parts = {kHolder, kRemote}, .rounds = rounds, .budget = budget};
}
Scenario TwoLocalsAndRemote(uint32_t rounds, uint32_t budget) {
  return {.threads = 3, .parts = {kHolder, kHolder, kRemote}, .rounds = rounds, .budget = budget};
}
Scenario HolderAndRemoteAnd(Part third, uint32_t budget) {
  return {.threads = 3, .parts = {kHolder, third, kRemote}, .rounds = 3, .budget = budget};
}
// Of two locks in turn, so that a descriptor's `lock` changes.
Scenario TwoLocalsAndReader(uint32_t rounds) {
  return {.threads = 3,
          .parts = {kHolder, kHolder, Part::kReader},
          .rounds = rounds,
          .budget = 2,
          .locks = 2};
}

// ---- The orders as they are.

class LocalCohortRelacyTest : public testing::TestWithParam<RelacyModel> {
 protected:
  LocalCohortRelacyTest() {
    RelacyWord::model = GetParam();
    RelacyWord::weakening = Weakening();
  }

  static void ExpectHolds(const Scenario& what, const rl::test_params& params) {
    const rl::test_result_e result = ExploreSilently(what, params);
    EXPECT_EQ(result, rl::test_result_success) << rl::test_result_str(result);
    if (result != rl::test_result_success) Explore(what, params, &std::cout);
  }
};

TEST_P(LocalCohortRelacyTest, LocalsInEveryOrder) {
  for (const uint32_t budget : {1, 2}) {
    ExpectHolds(TwoLocals(1, budget), AllWithin(4));
    ExpectHolds(TwoLocals(2, budget), AllWithin(3));
  }
}

TEST_P(LocalCohortRelacyTest, Locals) {
  for (const uint32_t budget : {1, 2}) {
    ExpectHolds(TwoLocals(4, budget), Random(40'000));
    ExpectHolds(ThreeLocals(3, budget), Random(40'000));
  }
}

TEST_P(LocalCohortRelacyTest, LocalsAndRemoteInEveryOrder) {
  ExpectHolds(LocalAndRemote(1, 1), AllWithin(4));
  ExpectHolds(LocalAndRemote(2, 1), AllWithin(2));
  ExpectHolds(TwoLocalsAndRemote(1, 1), AllWithin(2));
  ExpectHolds(TwoLocalsAndRemote(1, 2), AllWithin(2));
}

TEST_P(LocalCohortRelacyTest, LocalsAndRemote) {
  for (const uint32_t budget : {1, 2}) {
    ExpectHolds(LocalAndRemote(4, budget), Random(40'000));
    ExpectHolds(TwoLocalsAndRemote(4, budget), Random(80'000));
  }
}

TEST_P(LocalCohortRelacyTest, WhoTriesOrGivesUpLeavesTheOthersInOrder) {
  for (const uint32_t budget : {1, 2}) {
    ExpectHolds(HolderAndRemoteAnd(Part::kTrier, budget), Random(40'000));
    ExpectHolds(HolderAndRemoteAnd(Part::kImpatient, budget), Random(40'000));
  }
}

TEST_P(LocalCohortRelacyTest, QueueReadBackwardsIsTheQueue) {
  ExpectHolds(TwoLocalsAndReader(1), AllWithin(3));
  ExpectHolds(TwoLocalsAndReader(4), Random(80'000));
}

std::string NameOf(RelacyModel model) {
  return model == RelacyModel::kSeqCst ? "SeqCst" : "Fences";
}

INSTANTIATE_TEST_SUITE_P(Models, LocalCohortRelacyTest,
                         testing::Values(RelacyModel::kSeqCst, RelacyModel::kFences),
                         [](const auto& test) { return NameOf(test.param); });

// ---- Each order weaker than it is, alone.

struct Weakened {
  const char* name;  // Step of docs/alock.md, and to what it was weakened.
  Weakening weakening;
  RelacyModel model;
  Scenario scenario;
};

class WeakenedOrderTest : public testing::TestWithParam<Weakened> {
 protected:
  ~WeakenedOrderTest() override { RelacyWord::weakening = Weakening(); }
};

// A mutual exclusion that breaks, a race on what the lock guards, two stores that nothing orders,
// or a queue read wrongly. Not a livelock, which would only say that somebody waits.
TEST_P(WeakenedOrderTest, IsFound) {
  RelacyWord::model = GetParam().model;
  RelacyWord::weakening = GetParam().weakening;
  const rl::test_result_e result = ExploreSilently(GetParam().scenario, Random(40'000));
  EXPECT_TRUE(result == rl::test_result_data_race || result == rl::test_result_user_assert_failed)
      << rl::test_result_str(result);
}

constexpr auto kLoad = WordOperation::kLoad;
constexpr auto kStore = WordOperation::kStore;
constexpr auto kExchange = WordOperation::kCompareExchange;
constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kAcquire = std::memory_order_acquire;
constexpr auto kRelease = std::memory_order_release;
constexpr auto kAcqRel = std::memory_order_acq_rel;
constexpr auto kSeqCst = std::memory_order_seq_cst;

std::vector<Weakened> AllWeakened() {
  constexpr auto kPlain = RelacyModel::kSeqCst;
  constexpr auto kFences = RelacyModel::kFences;
  const Scenario locals = TwoLocals(3, 2);
  const Scenario remote = LocalAndRemote(4, 1);
  const Scenario both = TwoLocalsAndRemote(4, 1);
  const Scenario reader = TwoLocalsAndReader(4);
  return {
      {"A1WordRelaxed", {"word", kStore, kRelease, kRelaxed}, kPlain, reader},
      {"A1LockRelaxed", {"lock", kStore, kRelease, kRelaxed}, kPlain, reader},
      {"A1GrantRelaxed", {"grant", kStore, kRelease, kRelaxed, WordUser::kOwner}, kPlain, reader},
      {"A1NextRelaxed", {"next", kStore, kRelease, kRelaxed, WordUser::kOwner}, kPlain, reader},
      {"A2Relaxed", {"pred", kStore, kRelease, kRelaxed}, kPlain, reader},
      {"A3Relaxed", {"local_tail", kExchange, kSeqCst, kRelaxed}, kPlain, locals},
      {"A3Acquire", {"local_tail", kExchange, kSeqCst, kAcquire}, kPlain, locals},
      {"A3Release", {"local_tail", kExchange, kSeqCst, kRelease}, kPlain, locals},
      {"A3AcqRel", {"local_tail", kExchange, kSeqCst, kAcqRel}, kPlain, remote},
      {"A3WithoutFence", {"local_tail", kExchange, kSeqCst, kAcqRel}, kFences, remote},
      {"A4Relaxed", {"next", kStore, kRelease, kRelaxed, WordUser::kOthers}, kPlain, locals},
      {"A5Relaxed", {"grant", kLoad, kAcquire, kRelaxed}, kPlain, locals},
      {"B1Relaxed", {"remote_tail", kLoad, kSeqCst, kRelaxed}, kFences, remote},
      {"B1Acquire", {"remote_tail", kLoad, kSeqCst, kAcquire}, kPlain, remote},
      {"B2Relaxed", {"victim", kStore, kSeqCst, kRelaxed}, kPlain, both},
      {"B2WithoutFence", {"victim", kStore, kSeqCst, kRelease}, kFences, both},
      {"B3VictimRelaxed", {"victim", kLoad, kSeqCst, kRelaxed}, kPlain, both},
      {"R1NextRelaxed", {"next", kLoad, kAcquire, kRelaxed}, kPlain, locals},
      {"R1TailRelaxed", {"local_tail", kExchange, kRelease, kRelaxed}, kPlain, locals},
      {"R3Relaxed", {"grant", kStore, kRelease, kRelaxed, WordUser::kOthers}, kPlain, locals},
      // The home, reading.
      {"ReaderTailRelaxed", {"local_tail", kLoad, kAcquire, kRelaxed}, kPlain, reader},
      {"ReaderWordRelaxed", {"word", kLoad, kAcquire, kRelaxed}, kPlain, reader},
      {"ReaderLockRelaxed", {"lock", kLoad, kAcquire, kRelaxed}, kPlain, reader},
      {"ReaderPredRelaxed", {"pred", kLoad, kAcquire, kRelaxed}, kPlain, reader},
      {"ReaderNextRelaxed", {"next", kLoad, kAcquire, kRelaxed, WordUser::kOthers}, kPlain, reader},
      {"ReaderGrantRelaxed",
       {"grant", kLoad, kAcquire, kRelaxed, WordUser::kOthers},
       kPlain,
       reader},
      // What the fabric promises.
      {"RemoteA3WithoutFence",
       {"remote_tail", WordOperation::kFabricCompareSwap, kSeqCst, kAcqRel},
       kFences,
       remote},
      {"RemoteB2WithoutFence",
       {"victim", WordOperation::kFabricWrite, kSeqCst, kRelease},
       kFences,
       remote},
  };
}

INSTANTIATE_TEST_SUITE_P(All, WeakenedOrderTest, testing::ValuesIn(AllWeakened()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace acre
