// Transactions of several workers of one home, and plain writers, on threads of their own, over few keys of five
// homes: what commits is strictly serialisable by the isolation checker (docs/isolation.md), what
// aborts leaves nothing, and in the end the table and the books of its heap are whole.
//
// Each worker has several transactions open at a time, so that they meet also where threads rarely do. Keys are
// lists that transactions append to. Others are put, deleted and moved around beside them, by plain writers and by
// transactions, blindly. Requests come twice; transactions are ended for coordinators that are taken for dead.
//
// A longer hunt: bazel test --config=opt --test_env=ACRE_RACE_TRANSACTIONS=200000 //tests/transactions:transaction_race_test

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/isolation/checker.h"
#include "client/isolation/history.h"
#include "gtest/gtest.h"
#include "kvs/table_test_util.h"
#include "kvs/transaction_home.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "tests/checkers/table_invariants.h"
#include "tests/transactions/home_scene.h"
#include "tests/transactions/marked_read.h"

namespace acre::kvs {
namespace {

constexpr size_t kWorkers = 3;
constexpr size_t kPlainWriters = 1;
constexpr size_t kOpenMax = 3;  // Of each worker.
constexpr uint32_t kListsOfHome = 4;
constexpr size_t kScratchesOfHome = 5;
constexpr size_t kElementsMax = 300;
// Two neighbours, and some apart: what shares no bucket is what only validation keeps apart.
constexpr uint64_t kHomes[] = {5, 6, 20, 40, 60};

uint64_t TransactionsPerWorker() {
  const char* const wanted = std::getenv("ACRE_RACE_TRANSACTIONS");
  uint64_t count = 0;
  return wanted != nullptr && absl::SimpleAtoi(wanted, &count) ? count : 1'500;
}

std::vector<int64_t> ListOf(const std::string& value) {
  std::vector<int64_t> list(value.size() / 8);
  std::memcpy(list.data(), value.data(), 8 * list.size());  // private memory
  return list;
}
std::string Appended(std::string value, int64_t element) {
  value.append(reinterpret_cast<const char*>(&element), 8);
  return value;
}

// What all threads share.
struct Scene {
  RealClock clock;
  TestServer server;
  TransactionHolders holders;
  std::vector<std::string> lists;
  std::vector<std::string> scratches;
  bool validates = true;
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
};

class TransactionWorker {
 public:
  TransactionWorker(Scene* scene, uint32_t index)
      : scene_(scene), index_(index), random_(index + 1) {}

  void Run() {
    Scheduler scheduler({.clock = &scene_->clock, .name = "worker"});
    TransactionHome home(scene_->server.table(), &scheduler, &scene_->holders);
    home_ = &home;
    open_ = std::vector<std::unique_ptr<Open>>(kOpenMax);
    const uint64_t count = TransactionsPerWorker();
    while (sequence_ < count) {
      std::unique_ptr<Open>* const open = &open_[random_.Uniform(kOpenMax)];
      *open != nullptr ? Finish(open) : Begin(open);
    }
    for (auto& open : open_) {
      if (open != nullptr) Finish(&open);
    }
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
  };

  void Begin(std::unique_ptr<Open>* slot) {
    auto open = std::make_unique<Open>();
    open->id = {{.view = 1, .process_id = 10 + index_, .thread = 0}, ++sequence_};
    open->told = &history_.emplace_back();
    open->told->process = static_cast<int64_t>(index_ * kOpenMax) + (slot - open_.data());
    open->told->invoked_at = NextEvent();
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

  // False: somebody has one of them locked, maybe this very thread.
  bool ReadSome(Open* open) {
    const size_t count = 1 + random_.Uniform(4);
    while (open->keys.size() < count) {
      auto key = static_cast<uint32_t>(random_.Uniform(scene_->lists.size()));
      // One list of each home is liked best.
      if (random_.Uniform(4) != 0) key = key / kListsOfHome * kListsOfHome;
      if (std::find(open->keys.begin(), open->keys.end(), key) != open->keys.end()) continue;
      absl::optional<MarkedRead> read;
      for (int tries = 0; tries < 20 && !read.has_value(); ++tries) {
        read = TryMarkedRead(*scene_->server.table(), scene_->lists[key]);
      }
      if (!read.has_value()) return false;
      open->keys.push_back(key);
      open->reads.push_back(*std::move(read));
      isolation::Op op;
      op.key = key;
      op.seen = isolation::Seen::kList;
      op.list = ListOf(open->reads.back().value);
      open->told->ops.push_back(std::move(op));
    }
    return true;
  }

  void ChooseWrites(Open* open) {
    std::vector<bool> is_written(open->keys.size());
    for (size_t i = 0; i < open->keys.size(); ++i) {
      const MarkedRead& read = open->reads[i];
      if (random_.Uniform(3) != 0 || read.value.size() / 8 >= kElementsMax) continue;
      is_written[i] = true;
      const auto element = static_cast<int64_t>(open->id.sequence * kWorkers + index_);
      open->values.push_back(Appended(read.value, element));
      open->writes.push_back(
          After(read, BlindPut(scene_->lists[open->keys[i]], open->values.back())));
      isolation::Op op;
      op.kind = isolation::OpKind::kAppend;
      op.key = open->keys[i];
      op.value = element;
      open->told->ops.push_back(std::move(op));
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
      const SegmentLayout& layout = scene_->server.table()->SegmentOf(hash).layout();
      if (ReadMark::OfMiss(layout, hash, 0).word == miss.word) return true;
    }
    return false;
  }

  void Finish(std::unique_ptr<Open>* slot) {
    const std::unique_ptr<Open> open = std::move(*slot);
    bool commits = true;
    for (const ReadMark& mark : open->marks) {
      if (scene_->validates && !mark.IsStill(Reload(*scene_->server.table(), mark))) {
        commits = false;
      }
    }
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

  Scene* const scene_;
  const uint32_t index_;
  Random random_;
  TransactionHome* home_ = nullptr;
  std::vector<std::unique_ptr<Open>> open_;
  uint64_t sequence_ = 0;
  std::deque<isolation::Transaction> history_;
  Counts counts_;
};

void WritePlainly(Scene* scene, uint64_t seed) {
  Scheduler scheduler({.clock = &scene->clock, .name = "plain"});
  TableWriter writer(scene->server.table(), &scheduler);
  Random random(seed);
  while (scene->workers_left.load(std::memory_order_acquire) > 0) {
    const std::string& key = scene->scratches[random.Uniform(scene->scratches.size())];
    const std::string value(random.Uniform(100), 'p');
    const absl::Status status = random.Uniform(2) == 0
                                    ? scheduler.RunUntilDone(writer.Put(key, value))
                                    : scheduler.RunUntilDone(writer.Delete(key));
    EXPECT_TRUE(status.ok() || absl::IsNotFound(status)) << status;
    scene->server.Tick();
  }
}

void OpenScene(Scene* scene) {
  ASSERT_NO_FATAL_FAILURE(scene->server.Open(&scene->clock, 1, 4 << 20, /*index_percent=*/1));
  const uint64_t buckets_count = scene->server.segment(0).layout().buckets_count;
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
isolation::History WholeHistory(Scene* scene, const std::deque<TransactionWorker>& workers) {
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
    const auto read = TryMarkedRead(*scene->server.table(), scene->lists[key]);
    isolation::Op op;
    op.key = key;
    op.seen = isolation::Seen::kList;
    if (read.has_value()) op.list = ListOf(read->value);
    last.ops.push_back(std::move(op));
  }
  last.returned_at = scene->events.fetch_add(1);
  return history;
}

void ExpectSound(Scene* scene) {
  scene->server.segment(0).CheckInvariants();
  checkers::Model model;
  for (const auto* keys : {&scene->lists, &scene->scratches}) {
    for (const std::string& key : *keys) {
      const auto read = TryMarkedRead(*scene->server.table(), key);
      ASSERT_TRUE(read.has_value()) << key << " stayed locked";
      if (read->found) model[key] = read->value;
    }
  }
  EXPECT_EQ(checkers::ToText(checkers::CheckTable(*scene->server.table(), model)), "");
}

isolation::Report Race(bool validates) {
  Scene scene;
  scene.validates = validates;
  OpenScene(&scene);
  std::deque<TransactionWorker> workers;
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kWorkers; ++i) workers.emplace_back(&scene, i);
  for (TransactionWorker& worker : workers) {
    threads.emplace_back([&worker] { worker.Run(); });
  }
  for (uint64_t i = 0; i < kPlainWriters; ++i) {
    threads.emplace_back([&scene, i] { WritePlainly(&scene, 100 + i); });
  }
  for (std::thread& thread : threads) thread.join();
  Counts all;
  for (const TransactionWorker& worker : workers) {
    all.committed += worker.counts().committed;
    all.locked += worker.counts().locked;
    all.winners += worker.counts().winners;
    all.changed += worker.counts().changed;
    all.invalidated += worker.counts().invalidated;
    all.ended += worker.counts().ended;
  }
  std::cout << all.committed << " committed, " << all.locked << " found locks (" << all.winners
            << " told whose), " << all.changed << " found changes, " << all.invalidated
            << " did not validate, " << all.ended << " ended by others\n";
  EXPECT_GT(all.committed, TransactionsPerWorker() / 4);
  EXPECT_GT(all.winners, 0u);
  EXPECT_GT(all.changed + all.invalidated, 0u);
  EXPECT_GT(all.ended, 0u);
  ExpectSound(&scene);
  const auto report = isolation::Check(WholeHistory(&scene, workers));
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? *report : isolation::Report();
}

TEST(TransactionRaceTest, WhatCommitsIsStrictlySerialisable) {
  const isolation::Report report = Race(/*validates=*/true);
  EXPECT_TRUE(report.Keeps(isolation::Level::kStrictSerializable)) << isolation::ToText(report);
}

// Goal: the race is one in which a mistake shows: in two of three rounds under tsan.
TEST(TransactionRaceTest, WithoutValidationItIsNot) {
  isolation::Report report;
  for (int round = 0; round < 20 && report.Keeps(isolation::Level::kSerializable); ++round) {
    report = Race(/*validates=*/false);
  }
  EXPECT_FALSE(report.Keeps(isolation::Level::kSerializable));
  EXPECT_TRUE(report.Keeps(isolation::Level::kReadCommitted)) << isolation::ToText(report);
}

}  // namespace
}  // namespace acre::kvs
