// ALocks from both sides, and the RDMA MCS and spin locks, on a real fabric: one holder, in order, no grant lost,
// whoever gives up; and what each of it costs in verbs.

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lock/lock_test_mesh.h"
#include "lock/locker.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/conformance/test_fabric.h"
#include "transport/fabric.h"

namespace acre {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using transport::VerbCounters;

constexpr uint32_t kLocks = 4;
constexpr uint32_t kRemoteBudget = 3;

MATCHER_P(IsOf, process_id, "") { return arg.process_id() == static_cast<uint32_t>(process_id); }

// A home with one thread of its own, and remote processes; all of them take turns on this thread.
class RemoteLockTest : public ::testing::Test {
 public:  // For coroutines, which take the test as a parameter.
  void Make(int remote_count, LockKind kind = LockKind::kALock) {
    const auto make_fabric = [this] {
      auto fabric = transport::MakeTestFabric(&clock_);
      CHECK(fabric.ok()) << fabric.status();
      return *std::move(fabric);
    };
    Scheduler::Options options;
    options.poll_mode = PollMode::kBusy;
    home_ = std::make_unique<LockNode>(make_fabric(), &clock_, 1, options);
    home_->MakeLocks(kLocks);
    for (int i = 0; i < remote_count; ++i) {
      remotes_.push_back(std::make_unique<LockNode>(make_fabric(), &clock_,
                                                    static_cast<uint32_t>(i + 2), options));
    }
    const auto progress = [this] { Pass(); };
    for (const auto& remote : remotes_) {
      LockNode::JoinHome(remote.get(), home_.get(), kind, kRemoteBudget, progress);
      for (const auto& other : remotes_) {
        if (other != remote) LockNode::JoinPeer(remote.get(), other.get(), progress);
      }
    }
  }
  ~RemoteLockTest() override {
    for (const auto& remote : remotes_) remote->Close();
    home_->Close();
  }

  void Pass() {
    home_->scheduler().RunOnce();
    for (const auto& remote : remotes_) {
      if (remote != nullptr) remote->scheduler().RunOnce();
    }
  }
  template <class IsDone>
  [[nodiscard]] bool PassUntil(const IsDone& is_done) {
    return transport::StepUntil(&clock_, is_done, [this] { Pass(); });
  }
  // As many passes as let most of what is under way complete.
  void PassOften() {
    const int passes = std::min(4 * transport::TestFabricIdlePasses(), 400);
    for (int i = 0; i < passes; ++i) Pass();
  }
  bool AllIsQuiet() {
    for (const auto& remote : remotes_) {
      if (!remote->remote_locker()->idle()) return false;
    }
    return home_->lock_thread()->idle();
  }
  bool AllIsFree() {
    for (uint32_t i = 0; i < kLocks; ++i) {
      if (!home_->IsFree(i)) return false;
    }
    return AllIsQuiet();
  }

  // Takes the lock, notes its turn, holds on till the gate opens, gives it back.
  Task<void> HoldUntilOpen(Locker* locker, Scheduler* scheduler, uint32_t lock, int name) {
    absl::StatusOr<HeldLock> held = co_await locker->Acquire(TestLockAddress(lock));
    if (!held.ok()) {
      failures_.push_back(held.status());
      co_return;
    }
    turns_.push_back(name);
    while (!open_) co_await scheduler->Yield();
    const absl::Status released = co_await locker->Release(*std::move(held));
    EXPECT_TRUE(released.ok()) << released;
    ++released_;
  }
  SpawnHandle SpawnRemote(size_t remote, uint32_t lock, int name) {
    LockNode& node = *remotes_[remote];
    return node.scheduler().Spawn(
        HoldUntilOpen(node.remote_locker(), &node.scheduler(), lock, name));
  }
  SpawnHandle SpawnLocal(uint32_t lock, int name) {
    return home_->scheduler().Spawn(
        HoldUntilOpen(home_->local_locker(), &home_->scheduler(), lock, name));
  }
  // Spawns it and sees it stand in the queue, or hold the lock.
  SpawnHandle QueueRemote(size_t remote, uint32_t lock, int name) {
    const LockWords& words = *home_->WordsOf(lock);
    const uint64_t before = words.remote_tail.Load(std::memory_order_acquire);
    SpawnHandle handle = SpawnRemote(remote, lock, name);
    EXPECT_TRUE(
        PassUntil([&] { return words.remote_tail.Load(std::memory_order_acquire) != before; }));
    PassOften();
    return handle;
  }

  // What the home reads of a word in a queue; nullopt: another acquisition's intent is there.
  absl::optional<LockIntent> IntentOf(RemoteWord word) {
    LockIntent intent;
    CopyFromShared(
        &intent.word,
        home_->IntentsOf(word.process_id())->words() + LockIntentOffset(word) / kWordBytes,
        sizeof(intent) / kWordBytes, CopyOrder::kAscending);
    if (!intent.IsWhole() || intent.word != word.bits()) return absl::nullopt;
    return intent;
  }
  // The queue of that lock as the home reads it, from its tail.
  std::vector<RemoteWord> QueueBackwards(uint32_t lock) {
    std::vector<RemoteWord> words;
    auto word =
        RemoteWord::FromBits(home_->WordsOf(lock)->remote_tail.Load(std::memory_order_acquire));
    while (!word.is_null()) {
      const absl::optional<LockIntent> intent = IntentOf(word);
      if (!intent.has_value()) break;
      EXPECT_EQ(intent->lock, TestLockAddress(lock).bits());
      words.push_back(word);
      word = RemoteWord::FromBits(intent->pred);
    }
    return words;
  }

  RealClock clock_;
  std::unique_ptr<LockNode> home_;
  std::vector<std::unique_ptr<LockNode>> remotes_;
  std::vector<int> turns_;
  std::vector<absl::Status> failures_;
  int released_ = 0;
  bool open_ = false;
};

class EveryKind : public RemoteLockTest, public ::testing::WithParamInterface<LockKind> {};

std::string NameOfKind(const ::testing::TestParamInfo<LockKind>& info) {
  switch (info.param) {
    case LockKind::kALock:
      return "ALock";
    case LockKind::kMcs:
      return "Mcs";
    case LockKind::kSpin:
      return "Spin";
  }
  return "?";
}
INSTANTIATE_TEST_SUITE_P(Kinds, EveryKind,
                         ::testing::Values(LockKind::kALock, LockKind::kMcs, LockKind::kSpin),
                         NameOfKind);

Task<void> TakeAndGiveBack(LockNode* node, absl::Span<const transport::WorkRequest> data,
                           VerbCounters* to_take, VerbCounters* to_release) {
  RemoteLocker* const locker = node->remote_locker();
  VerbCounters before = node->home_queue_pair()->verbs();
  absl::StatusOr<HeldLock> held = co_await locker->Acquire(TestLockAddress(1));
  CHECK(held.ok()) << held.status();
  *to_take = node->home_queue_pair()->verbs();
  *to_take -= before;
  before = node->home_queue_pair()->verbs();
  const absl::Status released = co_await locker->Release(*std::move(held), data);
  CHECK(released.ok()) << released;
  *to_release = node->home_queue_pair()->verbs();
  *to_release -= before;
}

// Goal: a free lock costs two verbs and the intent, in one doorbell and one round trip; its release one verb,
// behind the data in their doorbell.
TEST_P(EveryKind, FreeLockCostsOneRoundTripAndSoDoesItsRelease) {
  Make(1, GetParam());
  LockNode* const node = remotes_[0].get();
  transport::RegionOptions options;
  options.region_id = 50;
  options.size_bytes = transport::kRegionHeaderBytes + kLineBytes;
  auto source = node->fabric()->CreateRegion(options);
  ASSERT_TRUE(source.ok());
  SharedWord* const word = (*source)->words() + transport::kRegionHeaderBytes / kWordBytes;
  word->Store(4711, std::memory_order_relaxed);
  transport::WorkRequest data;
  data.opcode = transport::Opcode::kWrite;
  data.local = word;
  data.local_region = source->get();
  data.length_bytes = kWordBytes;
  data.remote_key = node->lock_key();
  data.remote_offset_bytes = TestLockAddress(1).offset_bytes() + kTestRecordOffset;

  VerbCounters to_take;
  VerbCounters to_release;
  for (int round = 0; round < 3; ++round) {
    node->scheduler().RunUntilDone(TakeAndGiveBack(node, {&data, 1}, &to_take, &to_release));
    const uint64_t line_reads = GetParam() == LockKind::kALock ? 1 : 0;
    EXPECT_EQ(
        to_take,
        (VerbCounters{
            .reads = line_reads, .writes = 1, .atomics = 1, .doorbells = 1, .round_trips = 1}));
    EXPECT_EQ(to_release,
              (VerbCounters{.writes = 1, .atomics = 1, .doorbells = 1, .round_trips = 1}));
  }
  EXPECT_EQ(home_->RecordOf(1)->Load(std::memory_order_acquire), 4711u);
  EXPECT_EQ(home_->WordsOf(1)->victim.Load(std::memory_order_acquire), 0u)
      << "a free lock's victim is not touched";
  EXPECT_TRUE(home_->IsFree(1));
}

// Goal: what the home reads in an intent is what stands in the queue.
TEST_F(RemoteLockTest, IntentsTellTheQueueBackwards) {
  Make(3);
  const SpawnHandle first = QueueRemote(0, 2, 1);
  const SpawnHandle second = QueueRemote(1, 2, 2);
  const SpawnHandle third = QueueRemote(2, 2, 3);
  EXPECT_THAT(QueueBackwards(2), ElementsAre(IsOf(4), IsOf(3), IsOf(2)));
  open_ = true;
  ASSERT_TRUE(PassUntil([&] { return released_ == 3 && AllIsFree(); }));
}

// Goal: a grant that does not reach its successor is told, and whoever sent it stays where the home looks for it, however
// often that thread takes locks from then on: the home, which fences one of the two, sees that the other is next.
TEST_F(RemoteLockTest, WhoseGrantGotLostStaysInTheQueue) {
  Make(2);
  std::vector<uint32_t> unreachable;
  remotes_[0]->SetOnUnreachable([&](uint32_t other) { unreachable.push_back(other); });
  const SpawnHandle holder = QueueRemote(0, 2, 1);
  SpawnHandle successor = QueueRemote(1, 2, 2);
  remotes_[0]->CloseTo(remotes_[1]->process_id());
  open_ = true;
  ASSERT_TRUE(PassUntil([&] { return released_ == 1; }));
  EXPECT_THAT(unreachable, ElementsAre(3));
  for (int i = 2; i < 5; ++i) {
    const SpawnHandle again = SpawnRemote(0, 1, 1);
    ASSERT_TRUE(PassUntil([&] { return released_ == i && home_->IsFree(1); }));
  }
  const std::vector<RemoteWord> queue = QueueBackwards(2);
  ASSERT_THAT(queue, ElementsAre(IsOf(3), IsOf(2)));
  // The home settles it: who sent the grant says that it has left, so the other one leads.
  EXPECT_TRUE(remotes_[0]->descriptors()->HasLeft(queue[1]));
  EXPECT_FALSE(remotes_[1]->descriptors()->HasGrant(queue[0]));
  remotes_[1]->descriptors()->GrantLeadership(queue[0]);
  ASSERT_TRUE(PassUntil([&] { return released_ == 5 && AllIsFree(); }));
}

// Goal: first come, first served, and whoever waits sends nothing meanwhile (but with a spin lock).
TEST_F(RemoteLockTest, QueueIsFirstComeFirstServedAndWaitersAreSilent) {
  Make(3);
  std::vector<SpawnHandle> handles;
  for (int i = 0; i < 3; ++i) handles.push_back(QueueRemote(static_cast<size_t>(i), 0, i));
  // Another task of the first process: its predecessor is another process, its successor would be its own.
  handles.push_back(QueueRemote(0, 0, 3));
  handles.push_back(QueueRemote(0, 0, 4));
  EXPECT_THAT(turns_, ElementsAre(0));
  std::vector<VerbCounters> before;
  for (const auto& remote : remotes_) before.push_back(remote->home_queue_pair()->verbs());
  PassOften();
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(remotes_[i]->home_queue_pair()->verbs(), before[i]) << "of remote " << i;
  }
  open_ = true;
  ASSERT_TRUE(PassUntil([&] { return released_ == 5 && AllIsFree(); }));
  EXPECT_THAT(turns_, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(failures_, IsEmpty());
}

// Goal: neither cohort is let in while the other is inside, in either order.
TEST_F(RemoteLockTest, CohortsExcludeEachOther) {
  Make(2);
  const SpawnHandle remote = QueueRemote(0, 0, 1);
  const SpawnHandle local = SpawnLocal(0, 2);
  const SpawnHandle other = SpawnLocal(1, 3);
  PassOften();
  const SpawnHandle remote_of_local = SpawnRemote(1, 1, 4);
  PassOften();
  EXPECT_THAT(turns_, ElementsAre(1, 3)) << "a lock was taken twice, or a free one not at all";
  open_ = true;
  ASSERT_TRUE(PassUntil([&] { return released_ == 4 && AllIsFree(); }));
}

// Goal: while a local thread waits, the remote cohort hands the lock on to itself no more often than its budget
// says, and the other way round.
TEST_F(RemoteLockTest, BudgetsBoundHowOftenACohortPassesTheOtherBy) {
  Make(2);
  std::vector<SpawnHandle> handles;
  for (int i = 0; i < 8; ++i) handles.push_back(QueueRemote(static_cast<size_t>(i % 2), 0, i));
  handles.push_back(SpawnLocal(0, 100));
  PassOften();
  open_ = true;
  ASSERT_TRUE(PassUntil([&] { return released_ == 9 && AllIsFree(); }));
  EXPECT_THAT(turns_, ElementsAre(0, 1, 2, 100, 3, 4, 5, 6, 7)) << "the budget is 3";

  turns_.clear();
  open_ = false;
  for (int i = 0; i < 8; ++i) handles.push_back(SpawnLocal(0, i));
  PassOften();
  handles.push_back(QueueRemote(0, 0, 100));
  open_ = true;
  ASSERT_TRUE(PassUntil([&] { return released_ == 18 && AllIsFree(); }));
  EXPECT_THAT(turns_, ElementsAre(0, 1, 2, 3, 4, 100, 5, 6, 7)) << "the budget is 5";
}

Task<void> Try(Locker* locker, uint32_t lock, int* result) {
  absl::StatusOr<HeldLock> held = co_await locker->TryAcquire(TestLockAddress(lock));
  CHECK(held.ok()) << held.status();
  *result = *held ? 1 : 0;
  if (*held) {
    const absl::Status released = co_await locker->Release(*std::move(held));
    CHECK(released.ok()) << released;
  }
}

// Goal: a try takes what is free, and leaves nothing behind where somebody is, of either cohort.
TEST_P(EveryKind, TryTakesWhatIsFreeAndLeavesNothingBehind) {
  Make(2, GetParam());
  const auto try_remote = [this](size_t remote) {
    int result = -1;
    remotes_[remote]->scheduler().RunUntilDone(Try(remotes_[remote]->remote_locker(), 0, &result));
    EXPECT_TRUE(PassUntil([this] { return AllIsQuiet(); }));
    return result;
  };
  EXPECT_EQ(try_remote(0), 1);
  EXPECT_TRUE(home_->IsFree(0));
  {
    const SpawnHandle holder = QueueRemote(0, 0, 1);
    EXPECT_EQ(try_remote(1), 0);
    open_ = true;
    ASSERT_TRUE(PassUntil([&] { return released_ == 1 && AllIsFree(); }));
  }
  if (GetParam() == LockKind::kALock) {
    open_ = false;
    const SpawnHandle holder = SpawnLocal(0, 2);
    PassOften();
    EXPECT_EQ(try_remote(0), 0);
    EXPECT_EQ(home_->WordsOf(0)->remote_tail.Load(std::memory_order_acquire), 0u);
    open_ = true;
    ASSERT_TRUE(PassUntil([&] { return released_ == 2 && AllIsFree(); }));
  }
  EXPECT_EQ(try_remote(1), 1);
}

Task<void> WaitUntil(Locker* locker, uint32_t lock, uint64_t deadline_ns, absl::Status* result) {
  absl::StatusOr<HeldLock> held = co_await locker->AcquireUntil(TestLockAddress(lock), deadline_ns);
  *result = held.status();
}

// Goal: at its deadline a waiter is told so, wherever it stands; the others get the lock in order, and it ends up
// free.
TEST_P(EveryKind, DeadlineEndsTheWaitAndTheQueueGoesOn) {
  Make(3, GetParam());
  const bool is_alock = GetParam() == LockKind::kALock;
  // Who holds: remote; and, of an ALock, local, so that the one who gives up is a leader.
  for (int holder = 0; holder < (is_alock ? 2 : 1); ++holder) {
    turns_.clear();
    open_ = false;
    released_ = 0;
    SpawnHandle holding = holder == 0 ? QueueRemote(0, 0, 0) : SpawnLocal(0, 0);
    ASSERT_TRUE(PassUntil([this] { return turns_.size() == 1; }));
    absl::Status result = absl::UnknownError("none yet");
    SpawnHandle waiting = remotes_[1]->scheduler().Spawn(
        WaitUntil(remotes_[1]->remote_locker(), 0, clock_.NowNs() + 2'000'000, &result));
    PassOften();
    SpawnHandle behind = SpawnRemote(2, 0, 2);
    ASSERT_TRUE(PassUntil([&] { return waiting.done(); }));
    EXPECT_TRUE(absl::IsDeadlineExceeded(result)) << result;
    PassOften();
    EXPECT_THAT(turns_, ElementsAre(0));
    open_ = true;
    ASSERT_TRUE(PassUntil([&] { return released_ == 2 && AllIsFree(); }));
    EXPECT_THAT(turns_, ElementsAre(0, 2));
  }
}

// Goal: whoever is destroyed on its way, after any number of passes, leaves a lock that goes on, and ends up free.
TEST_P(EveryKind, CancelledAnywhereItLeavesTheLockToTheOthers) {
  Make(3, GetParam());
  const int rounds = transport::TestFabricRounds(60);
  for (int round = 0; round < rounds; ++round) {
    turns_.clear();
    released_ = 0;
    open_ = round % 2 == 0;
    SpawnHandle before = SpawnRemote(0, 0, 0);
    if (round % 3 == 0) PassOften();
    SpawnHandle cancelled = SpawnRemote(1, 0, 1);
    for (int i = 0; i < round / 4; ++i) Pass();
    SpawnHandle behind = SpawnRemote(2, 0, 2);
    SpawnHandle local;
    if (GetParam() == LockKind::kALock && round % 5 == 0) local = SpawnLocal(0, 3);
    for (int i = 0; i < round % 4; ++i) Pass();
    cancelled.Cancel();
    PassOften();
    open_ = true;
    ASSERT_TRUE(PassUntil([&] { return before.done() && behind.done() && AllIsFree(); }))
        << "round " << round << ": " << absl::StrCat("turns ", turns_.size());
  }
  EXPECT_THAT(failures_, IsEmpty());
}

// Goal: a lock that is dropped, not released, is given back.
TEST_P(EveryKind, DroppedGuardGivesTheLockBack) {
  Make(2, GetParam());
  const auto take_and_drop = [](Locker* locker) -> Task<void> {
    const absl::StatusOr<HeldLock> held = co_await locker->Acquire(TestLockAddress(3));
    CHECK(held.ok()) << held.status();
  };
  remotes_[0]->scheduler().RunUntilDone(take_and_drop(remotes_[0]->remote_locker()));
  remotes_[0]->scheduler().RunUntilDone(remotes_[0]->remote_locker()->Drain());
  EXPECT_TRUE(home_->IsFree(3));
  open_ = true;
  const SpawnHandle next = SpawnRemote(1, 3, 1);
  ASSERT_TRUE(PassUntil([&] { return released_ == 1 && AllIsFree(); }));
}

Task<void> ReleaseAndLook(RemoteLocker* locker, bool* go, Scheduler* scheduler, bool* was_idle) {
  absl::StatusOr<HeldLock> held = co_await locker->Acquire(TestLockAddress(0));
  CHECK(held.ok()) << held.status();
  while (!*go) co_await scheduler->Yield();
  const absl::Status released = co_await locker->Release(*std::move(held));
  EXPECT_TRUE(released.ok()) << released;
  *was_idle = locker->idle();
}

// Goal: a thread may stop running its scheduler as soon as its release is done: who was behind it has the lock, and
// never waits for it any more.
TEST_P(EveryKind, ReleaseIsDoneWhenTheLockWasHandedOn) {
  Make(2, GetParam());
  bool go = false;
  bool was_idle = false;
  const SpawnHandle holder = remotes_[0]->scheduler().Spawn(
      ReleaseAndLook(remotes_[0]->remote_locker(), &go, &remotes_[0]->scheduler(), &was_idle));
  ASSERT_TRUE(PassUntil([this] { return !home_->IsFree(0); }));
  PassOften();
  const SpawnHandle next = SpawnRemote(1, 0, 1);
  PassOften();
  go = true;
  ASSERT_TRUE(PassUntil([&] { return holder.done(); }));
  EXPECT_TRUE(was_idle);
  // From here on without the first.
  open_ = true;
  ASSERT_TRUE(transport::StepUntil(
      &clock_, [this] { return released_ == 1; },
      [this] {
        home_->scheduler().RunOnce();
        remotes_[1]->scheduler().RunOnce();
      }));
  ASSERT_TRUE(PassUntil([this] { return AllIsFree(); }));
}

Task<void> TakeMany(LockNode* node, int count, int* taken, absl::Status* refused) {
  std::vector<HeldLock> held;
  for (int i = 0; i < count; ++i) {
    // The same owner holds several locks; a wait for one of its own would never end.
    absl::StatusOr<HeldLock> one =
        co_await node->remote_locker()->TryAcquire(TestLockAddress(static_cast<uint32_t>(i)));
    CHECK(one.ok()) << one.status();
    if (*one) held.push_back(*std::move(one));
  }
  *taken = static_cast<int>(held.size());
  std::vector<SpawnHandle> waiting;
  absl::Status status;
  for (uint32_t i = 0; i < kTestDescriptors; ++i) {
    waiting.push_back(
        node->scheduler().Spawn(WaitUntil(node->remote_locker(), 0, UINT64_MAX, &status)));
  }
  co_await node->scheduler().Yield();
  co_await node->scheduler().Yield();
  const absl::StatusOr<HeldLock> one_more =
      co_await node->remote_locker()->Acquire(TestLockAddress(0));
  *refused = one_more.status();
  for (SpawnHandle& handle : waiting) handle.Cancel();
}

// Goal: an owner holds any number of locks; too many at once are refused in words, and may be tried again later.
TEST_F(RemoteLockTest, OwnerHoldsManyLocksAndTooManyAreRefused) {
  Make(1);
  int taken = 0;
  absl::Status refused;
  remotes_[0]->scheduler().RunUntilDone(
      TakeMany(remotes_[0].get(), static_cast<int>(kLocks), &taken, &refused));
  EXPECT_EQ(taken, static_cast<int>(kLocks));
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  ASSERT_TRUE(PassUntil([this] { return AllIsFree(); }));
}

// Goal: what peers write into a descriptor that is not for this acquisition, or makes no sense, is not taken for
// a grant.
TEST_F(RemoteLockTest, StaleAndAbsurdGrantsAreIgnored) {
  Make(2);
  const SpawnHandle holder = QueueRemote(0, 0, 0);
  const SpawnHandle waiter = QueueRemote(1, 0, 1);
  const RemoteWord word =
      RemoteWord::FromBits(home_->WordsOf(0)->remote_tail.Load(std::memory_order_acquire));
  ASSERT_EQ(word.process_id(), remotes_[1]->process_id());
  SharedWord* const grant = remotes_[1]->descriptors()->region().words() +
                            RemoteDescriptors::GrantOffset(word) / kWordBytes;
  for (const uint64_t bits :
       {LockGrant::Of(word.sequence() - 1, 3).bits(), LockGrant::Of(word.sequence() + 1, 0).bits(),
        LockGrant::Of(word.sequence(), LockBudgets::kMax + 1).bits(), uint64_t{0}, UINT64_MAX}) {
    grant->Store(bits, std::memory_order_release);
    PassOften();
    EXPECT_THAT(turns_, ElementsAre(0)) << "let in by " << bits;
  }
  grant->Store(LockGrant::Wait(word.sequence()).bits(), std::memory_order_release);
  open_ = true;
  ASSERT_TRUE(PassUntil([&] { return released_ == 2 && AllIsFree(); }));
}

// Goal: a home that goes takes its locks along: holders and waiters are told, nobody hangs.
TEST_P(EveryKind, LostHomeIsToldToHoldersAndWaiters) {
  Make(2, GetParam());
  SpawnHandle holder = QueueRemote(0, 0, 0);
  SpawnHandle waiter = SpawnRemote(1, 0, 1);
  PassOften();
  const auto acquire = [](Locker* locker, absl::Status* status) -> Task<void> {
    const absl::StatusOr<HeldLock> held = co_await locker->Acquire(TestLockAddress(1));
    *status = held.status();
  };
  home_->Close();
  ASSERT_TRUE(transport::StepUntil(
      &clock_, [&] { return waiter.done(); },
      [this] {
        for (const auto& remote : remotes_) remote->scheduler().RunOnce();
      }));
  ASSERT_EQ(failures_.size(), 1u);
  EXPECT_TRUE(absl::IsUnavailable(failures_[0])) << failures_[0];
  absl::Status later;
  remotes_[1]->scheduler().RunUntilDone(acquire(remotes_[1]->remote_locker(), &later));
  EXPECT_TRUE(absl::IsUnavailable(later)) << later;
  holder.Cancel();  // What it held is gone: nothing is to be given back.
}

}  // namespace
}  // namespace acre
