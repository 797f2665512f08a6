// A remote writer that dies: after each single request of an update, and after each number of words of each of its
// WRITEs, whoever stands beside it in the lock's queues. After its repair the record is whole, old or new, and new if
// and only if the redo record was whole; versions have risen; the lock is free, and everybody goes on.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kvs/mortal_fabric_test_util.h"
#include "kvs/redo.h"
#include "kvs/remote_writer_test_util.h"
#include "lock/lock_keeper.h"
#include "lock/lock_repair.h"
#include "lock/lock_test_mesh.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/conformance/test_fabric.h"
#include "transport/fabric.h"

namespace acre::kvs {
namespace {

constexpr uint32_t kVictim = 2;
constexpr uint64_t kNoDeadline = UINT64_MAX;
constexpr char kOld[] = "a value, the old one";
constexpr char kNew[] = "the new value, longer than that";

// Who else wants the record.
enum class Company : uint8_t {
  kNobody,
  kRemoteBehind,  // An update by another client, begun when the victim is dead, and not yet repaired.
  kLocalBehind,   // Likewise a Put, a Get and an update of a server thread.
  kHolderBefore,  // Another client holds the lock when the victim comes, and till after the repair.
  kHolderBeforeAndBehind,
};

class Scene final : private LockSurvivors, private LockKeeper::Fence {
 public:
  explicit Scene(const Mortality& death) : mortality_(death) {
    Scheduler::Options options;
    options.poll_mode = PollMode::kBusy;
    for (uint32_t id = 1; id <= 3; ++id) {
      auto made = transport::MakeTestFabric(&clock_);
      CHECK(made.ok()) << made.status();
      std::unique_ptr<transport::Fabric> fabric = *std::move(made);
      if (id == kVictim) fabric = std::make_unique<MortalFabric>(std::move(fabric), &alive_);
      nodes_[id] = std::make_unique<LockNode>(std::move(fabric), &clock_, id, options);
    }
    MakeTableRegion(node(1));
    home_ = std::make_unique<TestHome>(node(1));
    const auto progress = [this] { Pass(); };
    for (const uint32_t id : {2, 3}) {
      LockNode::JoinHome(node(id), node(1), LockKind::kALock, 3, progress);
      LockNode::JoinPeer(node(id), node(id == 2 ? 3 : 2), progress);
    }
    for (const uint32_t id : {2, 3}) {
      clients_[id] = std::make_unique<TestClient>(node(id));
      Run(id, clients_[id]->Open(node(1)->lock_region()->size_bytes()));
    }
    node(1)->MakeRepair(this, home_->repair(), this, progress);
  }
  ~Scene() {
    if (!victim_is_closed_) CloseVictim();
    clients_[3]->Close();
    node(3)->Close();
    home_.reset();
    node(1)->Close();
  }

  void Run(uint32_t id, Task<void> task) {
    const SpawnHandle handle = node(id)->scheduler().Spawn(std::move(task));
    PassUntil([&] { return handle.done(); });
  }
  template <class T>
  static Task<void> Into(Task<T> task, absl::optional<T>* result) {
    *result = co_await std::move(task);
  }
  template <class T>
  T RunTask(uint32_t id, Task<T> task) {
    absl::optional<T> result;
    Run(id, Into(std::move(task), &result));
    return *std::move(result);
  }
  template <class IsDone>
  void PassUntil(const IsDone& is_done) {
    CHECK(transport::StepUntil(&clock_, is_done, [this] { Pass(); })) << "it hangs";
  }

  // The whole story. Gives the number of requests of the victim's update.
  void Play(Company company) {
    ASSERT_EQ(Put(kOld), absl::OkStatus());
    // Its descriptor, and its place for redo records, have been used before.
    ASSERT_TRUE(*Update(kVictim, "warm"));
    ASSERT_TRUE(*Update(kVictim, kOld));
    slot_ = home_->Find(kKey).slot;
    version_ = slot_->first().version();
    const bool holds_before =
        company == Company::kHolderBefore || company == Company::kHolderBeforeAndBehind;
    absl::StatusOr<HeldLock> held = HeldLock();
    if (holds_before) held = RunTask(3, node(3)->remote_locker()->Acquire(lock()));
    ASSERT_TRUE(held.ok());

    alive_ = mortality_;  // From here on it counts.
    absl::optional<absl::StatusOr<bool>> updated;
    SpawnHandle update = node(kVictim)->scheduler().Spawn(
        Into(clients_[kVictim]->writer()->Update(kKey, kNew, kNoDeadline), &updated));
    for (int i = 0; i < 300 && !alive_.is_dead && !updated.has_value(); ++i) Pass();
    requests_count_ = alive_.requests_count;
    words_of_writes_ = alive_.words_of_writes;
    alive_.is_dead = true;  // Also if it waits, or is done.
    // A reader that looks now sees the old value, the new one, or that somebody is at work.
    SlotCopy copy;
    LoadSlot(*slot_, &copy);
    if (copy.IsConsistent()) ExpectOldOrNew(copy);
    redo_is_whole_ = HasWholeRedo();
    StartCompany(company);
    for (int i = 0; i < 100; ++i) Pass();

    update.Cancel();
    CloseVictim();
    node(1)->keeper()->OnDeath(kVictim);
    PassUntil([&] { return node(1)->keeper()->idle(); });
    if (holds_before) {
      LoadSlot(*slot_, &copy);
      EXPECT_EQ(copy.first().version(), version_) << "written beside the holder";
      ASSERT_EQ(RunTask(3, node(3)->remote_locker()->Release(*std::move(held))), absl::OkStatus());
    }
    PassUntil([&] { return company_done_ == company_size_ && node(3)->remote_locker()->idle(); });
    ExpectAftermath();
  }

  uint64_t requests_count() const { return requests_count_; }
  const std::vector<uint32_t>& words_of_writes() const { return words_of_writes_; }
  bool redo_was_whole() const { return redo_is_whole_; }

 private:
  static constexpr char kKey[] = "key";

  LockNode* node(uint32_t id) { return nodes_.at(id).get(); }
  void Pass() {
    for (const auto& [id, node] : nodes_) {
      if (id == kVictim && (alive_.is_dead || victim_is_closed_)) continue;
      node->scheduler().RunOnce();
    }
  }
  absl::Status Put(const std::string& value) {
    return RunTask(1, home_->writer()->Put(kKey, value));
  }
  absl::StatusOr<bool> Update(uint32_t id, const std::string& value) {
    return RunTask(id, clients_[id]->writer()->Update(kKey, value, kNoDeadline));
  }
  GlobalAddress lock() const { return home_->segment().LockOf(home_->HomeOf(kKey)).address; }

  void ExpectOldOrNew(const SlotCopy& copy) {
    const bool is_new = copy.inline_value() == kNew;
    EXPECT_TRUE(is_new || copy.inline_value() == kOld) << copy.inline_value();
    EXPECT_EQ(copy.first().version(), is_new ? version_ + 2 : version_);
  }
  bool HasWholeRedo() const {
    const SharedWord* const intents = nodes_.at(1)->IntentsOf(kVictim)->words();
    for (uint32_t index = 0; index < kTestDescriptors; ++index) {
      const RemoteWord place(kVictim, index, 0);
      Redo redo;
      CopyFromShared(&redo.word, intents + RedoOffset(place) / kWordBytes, kRedoWords,
                     CopyOrder::kAscending);
      const uint64_t word =
          intents[LockIntentOffset(place) / kWordBytes].Load(std::memory_order_relaxed);
      if (redo.IsFor(RemoteWord::FromBits(word)) && redo.first_word().version() == version_ + 2) {
        return true;
      }
    }
    return false;
  }

  Task<void> BehindIt(uint32_t id) {
    const absl::StatusOr<bool> updated =
        co_await clients_[id]->writer()->Update(kKey, "behind", kNoDeadline);
    EXPECT_TRUE(updated.ok() && *updated) << updated.status();
    ++company_done_;
  }
  Task<void> PutBehindIt() {
    const absl::Status status = co_await home_->writer()->Put(kKey, "behind");
    EXPECT_EQ(status, absl::OkStatus());
    ++company_done_;
  }
  Task<void> GetBesideIt() {
    std::string value;
    const absl::Status status = co_await home_->writer()->Get(kKey, &value);
    EXPECT_EQ(status, absl::OkStatus());
    EXPECT_TRUE(value == kOld || value == kNew || value == "behind") << value;
    ++company_done_;
  }
  void StartCompany(Company company) {
    if (company == Company::kRemoteBehind || company == Company::kHolderBeforeAndBehind) {
      ++company_size_;
      node(3)->scheduler().Spawn(BehindIt(3)).Detach();
    }
    if (company == Company::kLocalBehind) {
      company_size_ += 2;
      node(1)->scheduler().Spawn(GetBesideIt()).Detach();
      node(1)->scheduler().Spawn(PutBehindIt()).Detach();
    }
  }
  void ExpectAftermath() {
    SlotCopy copy;
    LoadSlot(*slot_, &copy);
    ASSERT_TRUE(copy.IsConsistent());
    if (company_size_ == 0) {
      EXPECT_EQ(copy.inline_value(), redo_is_whole_ ? kNew : kOld);
      ExpectOldOrNew(copy);
    } else {
      EXPECT_EQ(copy.inline_value(), "behind");
      EXPECT_EQ(copy.first().version(), version_ + (redo_is_whole_ ? 4 : 2));
    }
    EXPECT_EQ(home_->repair()->refused_count(), 0u);
    const LockWords& words = *home_->LockOf(home_->HomeOf(kKey));
    EXPECT_EQ(words.remote_tail.Load(std::memory_order_acquire), 0u);
    EXPECT_EQ(words.local_tail.Load(std::memory_order_acquire), 0u);
    EXPECT_TRUE(node(1)->remote_repair()->IsForgettable(kVictim));
    // And on it goes.
    ASSERT_EQ(Put("put"), absl::OkStatus());
    const absl::StatusOr<bool> updated = Update(3, "updated");
    ASSERT_TRUE(updated.ok() && *updated) << updated.status();
    std::string value;
    EXPECT_EQ(RunTask(3, clients_[3]->reader()->Get(kKey, &value, kNoDeadline)), absl::OkStatus());
    EXPECT_EQ(value, "updated");
    EXPECT_EQ(slot_->first().version(), copy.first().version() + 4);
    home_->segment().CheckInvariants();
  }

  void CloseVictim() {
    clients_[kVictim]->Close();
    node(kVictim)->Close();
    victim_is_closed_ = true;
  }
  // ---- LockKeeper::Fence, LockSurvivors. The victim executes its requests by itself, on shm, and has stopped.
  Task<void> Close(uint32_t id) override {
    node(1)->CloseTo(id);
    co_return;
  }
  RemoteDescriptors* DescriptorsOf(RemoteWord word, absl::Span<const uint32_t> dead) {
    CHECK_EQ(word.process_id(), 3u);
    for (const uint32_t id : dead) node(3)->CloseTo(id);
    return node(3)->descriptors();
  }
  Task<absl::StatusOr<bool>> StandBy(RemoteWord word, absl::Span<const uint32_t> dead) override {
    co_return DescriptorsOf(word, dead)->StandBy(word, dead);
  }
  Task<absl::Status> SetSuccessor(RemoteWord word, RemoteWord successor) override {
    DescriptorsOf(word, {})->SetSuccessor(word, successor);
    co_return absl::OkStatus();
  }
  Task<absl::StatusOr<bool>> HasGrant(RemoteWord word, absl::Span<const uint32_t> dead) override {
    co_return DescriptorsOf(word, dead)->HasGrant(word);
  }
  Task<absl::Status> GrantLeadership(RemoteWord word) override {
    DescriptorsOf(word, {})->GrantLeadership(word);
    co_return absl::OkStatus();
  }

  const Mortality mortality_;
  Mortality alive_;  // The victim's.
  RealClock clock_;
  std::map<uint32_t, std::unique_ptr<LockNode>> nodes_;
  std::unique_ptr<TestHome> home_;
  std::map<uint32_t, std::unique_ptr<TestClient>> clients_;
  bool victim_is_closed_ = false;
  bool redo_is_whole_ = false;
  Slot* slot_ = nullptr;
  uint64_t version_ = 0;
  uint64_t requests_count_ = 0;
  std::vector<uint32_t> words_of_writes_;
  int company_size_ = 0;
  int company_done_ = 0;
};

class RemoteCrashTest : public ::testing::TestWithParam<Company> {};
INSTANTIATE_TEST_SUITE_P(All, RemoteCrashTest,
                         ::testing::Values(Company::kNobody, Company::kRemoteBehind,
                                           Company::kLocalBehind, Company::kHolderBefore,
                                           Company::kHolderBeforeAndBehind));

TEST_P(RemoteCrashTest, RecordIsWholeAndTheLockGoesOnWhereverItDies) {
  // What there is to die in.
  std::vector<uint32_t> words_of_writes;
  {
    Scene whole({});
    whole.Play(GetParam());
    words_of_writes = whole.words_of_writes();
  }
  const bool waits =
      GetParam() == Company::kHolderBefore || GetParam() == Company::kHolderBeforeAndBehind;
  ASSERT_EQ(words_of_writes.size(), waits ? 7u : 10u) << "requests of an update";
  int news = 0;
  int olds = 0;
  for (size_t request = 0; request <= words_of_writes.size(); ++request) {
    const uint32_t words_max = request < words_of_writes.size() ? words_of_writes[request] : 0;
    for (uint32_t words = 0; words < std::max(words_max, 1u); ++words) {
      for (const bool are_last_words : {false, true}) {
        if (words == 0 && are_last_words) continue;
        SCOPED_TRACE(absl::StrCat("dies in request ", request, " after ", words,
                                  are_last_words ? " of its last words" : " words"));
        Mortality death;
        death.requests_left = request;
        death.words = words;
        death.are_last_words = are_last_words;
        Scene scene(death);
        scene.Play(GetParam());
        if (HasFatalFailure() || HasNonfatalFailure()) return;
        ++(scene.redo_was_whole() ? news : olds);
      }
    }
  }
  if (!waits) {
    EXPECT_GT(news, 40);
  }
  EXPECT_GT(olds, waits ? 10 : 20);
}

}  // namespace
}  // namespace acre::kvs
