// Workers of one home and plain writers that meet at few keys, and the judgement of what they were told: for tests
// with threads and for simulated ones.
//
// Each worker has several transactions open at a time, so that they meet also where threads rarely do. Keys are
// lists that transactions append to. Others are put, deleted and moved around beside them, by plain writers and by
// transactions, blindly. Requests come twice; transactions are ended for coordinators that are taken for dead.
// Beside them each worker waits for a hold now and then, under which a transaction finds nothing in its way.
//
// Workers read by the product's readers, and validate all reads behind each. So also what an aborted transaction saw
// must have stood together: its reads are judged as a transaction of their own (opacity).
//
// Threads: a TransactionWorker is confined to the thread that runs it.

#ifndef ACRE_TESTS_TRANSACTIONS_WORKLOAD_H_
#define ACRE_TESTS_TRANSACTIONS_WORKLOAD_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "client/isolation/history.h"
#include "gtest/gtest.h"
#include "kvs/table.h"
#include "kvs/table_test_util.h"
#include "kvs/transaction_home.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "tests/checkers/table_invariants.h"
#include "tests/transactions/home_scene.h"
#include "tests/transactions/marked_read.h"
#include "tests/transactions/worker_reads.h"

namespace acre::kvs {

constexpr size_t kWorkers = 3;
constexpr size_t kPlainWriters = 1;
constexpr size_t kOpenMax = 3;  // Of each worker.
constexpr uint32_t kListsOfHome = 4;
constexpr size_t kScratchesOfHome = 5;
constexpr size_t kElementsMax = 300;
// Two neighbours, and some apart: what shares no bucket is what only validation keeps apart.
constexpr uint64_t kHomes[] = {5, 6, 20, 40, 60};

inline std::vector<int64_t> ListOf(const std::string& value) {
  std::vector<int64_t> list(value.size() / 8);
  std::memcpy(list.data(), value.data(), 8 * list.size());  // private memory
  return list;
}
inline std::string Appended(std::string value, int64_t element) {
  value.append(reinterpret_cast<const char*>(&element), 8);
  return value;
}

// What all threads share.
struct TransactionScene {
  Clock* clock = nullptr;
  Table* table = nullptr;
  uint64_t transactions_count = 0;  // Of each worker.
  std::function<void()> between = [] {
  };  // Behind each step of a thread: where virtual time passes.
  // What worker `index` reads with. Called on its thread, which uses it until it ends.
  std::function<WorkerReads(uint32_t index)> open_reads;
  TransactionHolders holders;
  std::vector<std::string> lists;
  std::vector<std::string> scratches;
  bool validates = true;
  bool validates_reads =
      true;  // Behind each one: else what aborts is believed to have seen what stood.
  // Places of events (isolation::Transaction). seq_cst: the order of real time.
  std::atomic<uint64_t> events{0};
  std::atomic<size_t> workers_left{kWorkers};  // Plain writers end some time after it is 0.
};

struct Counts {
  uint64_t committed = 0;
  uint64_t locked = 0;
  uint64_t winners = 0;
  uint64_t changed = 0;
  uint64_t invalidated = 0;
  uint64_t ended = 0;  // By promise and resolution.
  uint64_t seen = 0;   // Aborted ones that saw something.
  uint64_t torn = 0;   // That would have seen what never stood together, or might have.
  uint64_t held = 0;   // Committed under a hold.
};

class TransactionWorker {
 public:
  TransactionWorker(TransactionScene* scene, uint32_t index, uint64_t seed)
      : scene_(scene), index_(index), random_(seed) {}

  void Run() {
    reads_ = scene_->open_reads(index_);
    TransactionHome home(scene_->table, reads_.scheduler, &scene_->holders);
    home_ = &home;
    scheduler_ = reads_.scheduler;
    open_ = std::vector<std::unique_ptr<Open>>(kOpenMax);
    while (sequence_ < scene_->transactions_count) {
      std::unique_ptr<Open>* const open = &open_[random_.Uniform(kOpenMax)];
      *open != nullptr ? Finish(open) : Begin(open);
      TendHold();
      scene_->between();
    }
    for (auto& open : open_) {
      if (open != nullptr) Finish(&open);
    }
    while (hold_keys_.has_value()) {
      TendHold();
      scene_->between();
    }
    EXPECT_EQ(home.holds_count(), 0u);
    EXPECT_EQ(home.open_count(), 0u);
    EXPECT_LT(home.kept_count(), 200u);
    scene_->workers_left.fetch_sub(1, std::memory_order_release);
  }

  const std::deque<isolation::Transaction>& history() const { return history_; }
  const Counts& counts() const { return counts_; }

 private:
  struct Open {
    TransactionId id;
    isolation::Transaction* told = nullptr;  // In history_.
    std::vector<uint32_t> keys;              // Lists read, each once.
    std::vector<MarkedRead> reads;
    std::deque<std::string> values;  // Of the writes.
    std::vector<TransactionWrite> writes;
    std::vector<ReadMark> misses;  // Judged at LOCK.
    std::vector<ReadMark> marks;   // To be validated.
    size_t stood = 0;              // So many of the first reads stood together.
  };

  void Begin(std::unique_ptr<Open>* slot) {
    auto open = std::make_unique<Open>();
    StartTold(open.get(), index_ * kOpenMax + static_cast<size_t>(slot - open_.data()));
    if (!ReadSome(open.get())) return End(open.get(), isolation::Outcome::kAborted);
    ChooseWrites(open.get());
    if (open->writes.empty()) {
      *slot = std::move(open);
      return;
    }
    const bool at_once = scene_->validates && random_.Uniform(4) == 0;
    const auto lock = [&] {
      return at_once ? home_->CommitAtOnce(open->id, open->writes, open->misses, open->marks)
                     : home_->Lock(open->id, {}, open->writes, open->misses);
    };
    const TransactionVote vote = lock();
    if (random_.Uniform(8) == 0) {
      EXPECT_EQ(lock().answer, vote.answer);
    }
    if (!vote.is_yes()) {
      Count(vote);
      return End(open.get(), isolation::Outcome::kAborted);
    }
    if (at_once) return End(open.get(), isolation::Outcome::kCommitted);
    *slot = std::move(open);
  }

  // Asks for a hold, waits for it beside all that the worker does, and uses it.
  void TendHold() {
    if (!hold_keys_.has_value()) {
      if (random_.Uniform(12) == 0) StartHold();
      return;
    }
    scheduler_->RunOnce();
    if (!hold_task_.done()) return;
    if (hold_status_.ok()) {
      UseHold();
    } else {
      // Its time is real in the race.
      EXPECT_TRUE(absl::IsDeadlineExceeded(hold_status_)) << hold_status_;
    }
    hold_keys_.reset();
  }
  void StartHold() {
    hold_keys_.emplace();
    std::vector<absl::string_view> keys;
    for (size_t count = 1 + random_.Uniform(4); count > 0; --count) {
      const auto key = static_cast<uint32_t>(random_.Uniform(scene_->lists.size()));
      if (std::count(hold_keys_->begin(), hold_keys_->end(), key) != 0) continue;
      hold_keys_->push_back(key);
      keys.push_back(scene_->lists[key]);
    }
    const auto run = [](Task<absl::Status> hold, absl::Status* status) -> Task<void> {
      *status = co_await std::move(hold);
    };
    hold_task_ = scheduler_->Spawn(
        run(home_->Hold(Coordinator(), ++hold_id_, keys, UINT64_MAX), &hold_status_));
  }
  // Reads and appends to all that it holds: nothing can refuse it. Once in a while it is aborted and runs again.
  void UseHold() {
    while (hold_keys_.has_value()) {
      auto open = std::make_unique<Open>();
      StartTold(open.get(), kWorkers * kOpenMax + index_);
      for (const uint32_t key : *hold_keys_) {
        absl::optional<MarkedRead> read = reads_.Read(scene_->lists[key]);
        scene_->between();
        ASSERT_TRUE(read.has_value()) << "somebody writes what is held";
        TellRead(open.get(), key, *std::move(read));
      }
      for (size_t i = 0; i < open->keys.size(); ++i) Append(open.get(), i);
      if (open->writes.empty()) {
        home_->Release(open->id.coordinator, hold_id_);
        return End(open.get(), isolation::Outcome::kAborted);
      }
      const bool at_once = random_.Uniform(2) == 0;
      const TransactionVote vote =
          at_once ? home_->CommitAtOnce(open->id, open->writes, {}, {}, hold_id_)
                  : home_->Lock(open->id, {}, open->writes, {}, hold_id_);
      EXPECT_TRUE(vote.is_yes()) << vote.status;
      scene_->between();
      const bool commits = at_once || Decide(open->id, random_.Uniform(4) != 0);
      End(open.get(), commits ? isolation::Outcome::kCommitted : isolation::Outcome::kAborted);
      if (!commits) continue;
      ++counts_.held;
      return;
    }
  }

  TransactionThread Coordinator() const {
    return {.view = 1, .process_id = 10 + index_, .thread = 0};
  }
  void StartTold(Open* open, size_t process) {
    open->id = {Coordinator(), ++sequence_};
    open->told = &history_.emplace_back();
    open->told->process = static_cast<int64_t>(process);
    open->told->invoked_at = NextEvent();
  }
  static void TellRead(Open* open, uint32_t key, MarkedRead read) {
    open->keys.push_back(key);
    open->reads.push_back(std::move(read));
    isolation::Op op;
    op.key = key;
    op.seen = isolation::Seen::kList;
    op.list = ListOf(open->reads.back().value);
    open->told->ops.push_back(std::move(op));
  }
  // To the list that it read at this place. False: it is long enough.
  bool Append(Open* open, size_t place) {
    const MarkedRead& read = open->reads[place];
    if (read.value.size() / 8 >= kElementsMax) return false;
    const auto element = static_cast<int64_t>(open->id.sequence * kWorkers + index_);
    open->values.push_back(Appended(read.value, element));
    open->writes.push_back(
        After(read, BlindPut(scene_->lists[open->keys[place]], open->values.back())));
    isolation::Op op;
    op.kind = isolation::OpKind::kAppend;
    op.key = open->keys[place];
    op.value = element;
    open->told->ops.push_back(std::move(op));
    return true;
  }

  // False: somebody has one of them locked, maybe this very thread, or one that was read has changed.
  bool ReadSome(Open* open) {
    const size_t count = 1 + random_.Uniform(4);
    while (open->keys.size() < count) {
      auto key = static_cast<uint32_t>(random_.Uniform(scene_->lists.size()));
      // One list of each home is liked best.
      if (random_.Uniform(4) != 0) key = key / kListsOfHome * kListsOfHome;
      if (std::find(open->keys.begin(), open->keys.end(), key) != open->keys.end()) continue;
      absl::optional<MarkedRead> read = reads_.Read(scene_->lists[key]);
      scene_->between();
      if (!read.has_value()) return false;
      TellRead(open, key, *std::move(read));
      if (scene_->validates && !AllStand(open)) return false;
    }
    return true;
  }
  // Behind the last read.
  bool AllStand(Open* open) {
    std::vector<ReadMark> marks;
    for (const MarkedRead& read : open->reads) marks.push_back(read.mark);
    if (scene_->validates_reads && !reads_.Stand(marks)) {
      ++counts_.torn;
      return false;
    }
    open->stood = marks.size();
    return true;
  }

  void ChooseWrites(Open* open) {
    std::vector<bool> is_written(open->keys.size());
    for (size_t i = 0; i < open->keys.size(); ++i) {
      if (random_.Uniform(3) != 0) continue;
      is_written[i] = Append(open, i);
    }
    if (!open->writes.empty() && random_.Uniform(4) == 0) {
      const std::string& key = scene_->scratches[random_.Uniform(scene_->scratches.size())];
      open->values.push_back(std::string(random_.Uniform(100), 's'));
      open->writes.push_back(random_.Uniform(2) == 0 ? BlindDelete(key)
                                                     : BlindPut(key, open->values.back()));
    }
    for (size_t i = 0; i < open->keys.size(); ++i) {
      if (is_written[i]) continue;
      const MarkedRead& read = open->reads[i];
      (!read.found && IsOfWrittenHome(*open, read.mark) ? open->misses : open->marks)
          .push_back(read.mark);
    }
  }
  bool IsOfWrittenHome(const Open& open, const ReadMark& miss) const {
    for (const TransactionWrite& write : open.writes) {
      const uint64_t hash = HashKey(write.key);
      const SegmentLayout& layout = scene_->table->SegmentOf(hash).layout();
      if (ReadMark::OfMiss(layout, hash, 0).word == miss.word) return true;
    }
    return false;
  }

  void Finish(std::unique_ptr<Open>* slot) {
    const std::unique_ptr<Open> open = std::move(*slot);
    bool commits = !scene_->validates || reads_.Stand(open->marks);
    if (!commits) ++counts_.invalidated;
    if (!open->writes.empty()) commits = Decide(open->id, commits && random_.Uniform(10) != 0);
    End(open.get(), commits ? isolation::Outcome::kCommitted : isolation::Outcome::kAborted);
  }
  bool Decide(const TransactionId& id, bool commits) {
    if (random_.Uniform(6) == 0) {
      EXPECT_EQ(home_->Promise(id), TransactionOutcome::kPromised);
      EXPECT_FALSE(home_->Commit(id).ok());
      EXPECT_TRUE(home_->Resolve(id, commits).ok());
      ++counts_.ended;
    }
    for (uint64_t times = 1 + random_.Uniform(2); times > 0; --times) {
      EXPECT_TRUE((commits ? home_->Commit(id) : home_->Abort(id)).ok());
    }
    return commits;
  }

  void End(Open* open, isolation::Outcome outcome) {
    open->told->returned_at = NextEvent();
    open->told->outcome = outcome;
    if (outcome == isolation::Outcome::kCommitted) {
      ++counts_.committed;
    } else if (open->stood > 0) {
      // Reads come first.
      open->told->ops.resize(open->stood);
      open->told->outcome = isolation::Outcome::kCommitted;
      ++counts_.seen;
    } else {
      for (isolation::Op& op : open->told->ops) {
        if (op.kind != isolation::OpKind::kRead) continue;
        op.seen = isolation::Seen::kUntold;
        op.list.clear();
      }
    }
    if (random_.Uniform(32) != 0) return;
    uint64_t finished_below = open->id.sequence;
    for (const auto& other : open_) {
      if (other != nullptr) finished_below = std::min(finished_below, other->id.sequence);
    }
    EXPECT_TRUE(home_->Truncate(open->id.coordinator, {{open->id.sequence}}, finished_below).ok());
  }

  void Count(const TransactionVote& vote) {
    if (vote.answer == TransactionVote::Answer::kLocked) {
      ++counts_.locked;
      if (vote.winner.has_value()) ++counts_.winners;
    } else {
      EXPECT_EQ(vote.answer, TransactionVote::Answer::kChanged) << vote.status;
      ++counts_.changed;
    }
  }
  uint64_t NextEvent() { return scene_->events.fetch_add(1, std::memory_order_seq_cst); }

  TransactionScene* const scene_;
  const uint32_t index_;
  Random random_;
  WorkerReads reads_;
  TransactionHome* home_ = nullptr;
  Scheduler* scheduler_ = nullptr;
  std::vector<std::unique_ptr<Open>> open_;
  uint64_t sequence_ = 0;
  absl::optional<std::vector<uint32_t>> hold_keys_;  // Lists of a hold, while there is one.
  uint64_t hold_id_ = 0;
  absl::Status hold_status_;
  SpawnHandle hold_task_;
  std::deque<isolation::Transaction> history_;
  Counts counts_;
};

inline Counts SumOf(const std::deque<TransactionWorker>& workers) {
  Counts all;
  for (const TransactionWorker& worker : workers) {
    all.committed += worker.counts().committed;
    all.locked += worker.counts().locked;
    all.winners += worker.counts().winners;
    all.changed += worker.counts().changed;
    all.invalidated += worker.counts().invalidated;
    all.ended += worker.counts().ended;
    all.seen += worker.counts().seen;
    all.torn += worker.counts().torn;
    all.held += worker.counts().held;
  }
  return all;
}

inline void WritePlainly(TransactionScene* scene, uint64_t seed) {
  Scheduler scheduler({.clock = scene->clock, .name = "plain"});
  TableWriter writer(scene->table, &scheduler);
  Random random(seed);
  while (scene->workers_left.load(std::memory_order_acquire) > 0) {
    const std::string& key = scene->scratches[random.Uniform(scene->scratches.size())];
    const std::string value(random.Uniform(100), 'p');
    const absl::Status status = random.Uniform(2) == 0
                                    ? scheduler.RunUntilDone(writer.Put(key, value))
                                    : scheduler.RunUntilDone(writer.Delete(key));
    EXPECT_TRUE(status.ok() || absl::IsNotFound(status)) << status;
    scene->between();
  }
}

// Once it has a clock and a table.
inline void ChooseKeys(TransactionScene* scene) {
  const uint64_t buckets_count = scene->table->segments()[0]->layout().buckets_count;
  for (const uint64_t home : kHomes) {
    for (std::string& key : KeysOfHome("list ", home, buckets_count, kListsOfHome)) {
      scene->lists.push_back(std::move(key));
    }
    for (std::string& key : KeysOfHome("scratch ", home, buckets_count, kScratchesOfHome)) {
      scene->scratches.push_back(std::move(key));
    }
  }
}

// All that was told, and behind it one reader of every list, alone.
inline isolation::History WholeHistory(TransactionScene* scene,
                                       const std::deque<TransactionWorker>& workers) {
  isolation::History history;
  for (const std::string& key : scene->lists) history.keys.push_back(absl::StrCat("\"", key, "\""));
  for (const TransactionWorker& worker : workers) {
    history.transactions.insert(history.transactions.end(), worker.history().begin(),
                                worker.history().end());
  }
  isolation::Transaction& last = history.transactions.emplace_back();
  last.outcome = isolation::Outcome::kCommitted;
  last.process = 1000;
  last.invoked_at = scene->events.fetch_add(1);
  for (uint32_t key = 0; key < scene->lists.size(); ++key) {
    const auto read = TryMarkedRead(*scene->table, scene->lists[key]);
    isolation::Op op;
    op.key = key;
    op.seen = isolation::Seen::kList;
    if (read.has_value()) op.list = ListOf(read->value);
    last.ops.push_back(std::move(op));
  }
  last.returned_at = scene->events.fetch_add(1);
  return history;
}

inline void ExpectSound(TransactionScene* scene) {
  scene->table->segments()[0]->CheckInvariants();
  checkers::Model model;
  for (const auto* keys : {&scene->lists, &scene->scratches}) {
    for (const std::string& key : *keys) {
      const auto read = TryMarkedRead(*scene->table, key);
      ASSERT_TRUE(read.has_value()) << key << " stayed locked";
      if (read->found) model[key] = read->value;
    }
  }
  EXPECT_EQ(checkers::ToText(checkers::CheckTable(*scene->table, model)), "");
}

}  // namespace acre::kvs

#endif  // ACRE_TESTS_TRANSACTIONS_WORKLOAD_H_
