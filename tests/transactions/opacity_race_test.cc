// Opacity, on threads: a home's transactions keep the sum of two keys, one inline and one out of line, and move a third
// record to and fro between two homes. Readers of both kinds read in any order, and validate behind each read: what
// stood, stood together.

#include <atomic>
#include <cstring>
#include <iostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kvs/table_test_util.h"
#include "kvs/transaction_home.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/this_thread.h"
#include "tests/transactions/home_scene.h"
#include "tests/transactions/worker_reads.h"

namespace acre::kvs {
namespace {

constexpr int64_t kSum = 1'000'000;
constexpr uint64_t kStandsWanted = 1'000;
constexpr uint64_t kTornWanted = 5;
constexpr uint64_t kRoundsMax = 1'000'000;

std::string NumberWith(int64_t number, size_t bytes) {
  std::string value(bytes, 'n');
  std::memcpy(value.data(), &number, sizeof(number));  // private memory
  return value;
}
int64_t NumberOf(const std::string& value) {
  int64_t number;
  std::memcpy(&number, value.data(), sizeof(number));  // private memory
  return number;
}

class OpacityRace {
 public:
  enum Key { kInline, kOutOfLine, kHere, kThere, kKeysCount };
  struct Tally {
    uint64_t stood = 0;    // Rounds in which all four stood.
    uint64_t refused = 0;  // Rounds that ended with a validation.
    uint64_t torn = 0;     // Of those, what was read never stood together.
  };

  void Run(bool by_mapping) {
    ASSERT_NO_FATAL_FAILURE(server_.Open(&clock_, 1, 4 << 20, /*index_percent=*/1));
    const uint64_t buckets_count = server_.segment(0).layout().buckets_count;
    for (const uint64_t home : {5, 20, 40, 60}) {
      keys_.push_back(KeysOfHome("key ", home, buckets_count, 1)[0]);
    }
    ASSERT_NO_FATAL_FAILURE(readers_.Connect(&clock_, &server_));
    std::thread writer([this] { Write(); });
    std::thread reader([this, by_mapping] { Read(by_mapping); });
    reader.join();
    stop_.store(true, std::memory_order_release);
    writer.join();
    std::cout << tally_.stood << " stood, " << tally_.refused << " refused, of which "
              << tally_.torn << " were torn; " << commits_ << " commits\n";
    EXPECT_GE(tally_.stood, kStandsWanted);
    EXPECT_GE(tally_.torn, kTornWanted);
  }

 private:
  void Write() {
    Scheduler scheduler({.clock = &clock_, .name = "writer"});
    TransactionHolders holders;
    TransactionHome home(server_.table(), &scheduler, &holders);
    Random random(1);
    bool is_here = false;
    for (uint64_t sequence = 1; !stop_.load(std::memory_order_acquire); ++sequence) {
      const auto next = static_cast<int64_t>(random.Uniform(kSum));
      const std::string one = NumberWith(next, 8);
      const std::string other = NumberWith(kSum - next, 300);
      std::vector<TransactionWrite> writes = {BlindPut(keys_[kInline], one),
                                              BlindPut(keys_[kOutOfLine], other),
                                              BlindPut(keys_[is_here ? kThere : kHere], "x"),
                                              BlindDelete(keys_[is_here ? kHere : kThere])};
      const TransactionId id = HomeScene::Id(sequence);
      ASSERT_TRUE(home.Lock(id, {}, writes, {}).is_yes());
      if (sequence == 1 || random.Uniform(4) != 0) {
        ASSERT_TRUE(home.Commit(id).ok());
        is_here = !is_here;
        ++commits_;
      } else {
        ASSERT_TRUE(home.Abort(id).ok());
      }
      ASSERT_TRUE(home.Truncate(id.coordinator, {}, sequence + 1).ok());
      if (sequence % 16 == 0) server_.Tick();
      begun_.store(true, std::memory_order_release);
      for (uint64_t i = random.Uniform(3'000); i > 0; --i) PauseThread();
    }
  }

  void Read(bool by_mapping) {
    Scheduler scheduler({.clock = &clock_, .name = "reader"});
    readers_.Open(&scheduler);
    const WorkerReads reads = {.scheduler = &scheduler,
                               .mapped = by_mapping ? readers_.mapped() : nullptr,
                               .remote = by_mapping ? nullptr : readers_.remote(),
                               .patience_ns = 1'000'000};
    while (!begun_.load(std::memory_order_acquire)) YieldThread();
    Random random(2);
    for (uint64_t round = 0; round < kRoundsMax && !testing::Test::HasFailure(); ++round) {
      if (tally_.stood >= kStandsWanted && tally_.torn >= kTornWanted) break;
      std::vector<int> order = {kInline, kOutOfLine, kHere, kThere};
      for (size_t i = order.size() - 1; i > 0; --i)
        std::swap(order[i], order[random.Uniform(i + 1)]);
      ReadRound(reads, order, /*validates_each=*/random.Uniform(2) == 0);
    }
    readers_.Close();
  }
  // Validates behind each read, or behind the last.
  void ReadRound(const WorkerReads& reads, const std::vector<int>& order, bool validates_each) {
    absl::optional<MarkedRead> got[kKeysCount];
    std::vector<ReadMark> marks;
    for (const int key : order) {
      got[key] = reads.Read(keys_[static_cast<size_t>(key)]);
      if (!got[key].has_value()) return;  // It stayed locked.
      marks.push_back(got[key]->mark);
      if (!validates_each && marks.size() < order.size()) continue;
      if (!reads.Stand(marks)) {
        ++tally_.refused;
        if (!IsWhole(got)) ++tally_.torn;
        return;
      }
      EXPECT_TRUE(IsWhole(got)) << "what stood never stood together";
    }
    ++tally_.stood;
  }
  // Of those that were read.
  static bool IsWhole(const absl::optional<MarkedRead> (&got)[kKeysCount]) {
    if (got[kInline].has_value() && got[kOutOfLine].has_value() &&
        NumberOf(got[kInline]->value) + NumberOf(got[kOutOfLine]->value) != kSum) {
      return false;
    }
    return !got[kHere].has_value() || !got[kThere].has_value() ||
           got[kHere]->found != got[kThere]->found;
  }

  RealClock clock_;
  TestServer server_;
  TestReaders readers_;
  std::vector<std::string> keys_;
  std::atomic<bool> begun_{false};  // All keys that shall be there are (release).
  std::atomic<bool> stop_{false};   // The writer sees it some time later.
  uint64_t commits_ = 0;            // The writer's, read when it has ended.
  Tally tally_;                     // The reader's, likewise.
};

TEST(OpacityRaceTest, WhatStandsStoodTogetherForTheMappedReader) { OpacityRace().Run(true); }
TEST(OpacityRaceTest, WhatStandsStoodTogetherForTheRemoteReader) { OpacityRace().Run(false); }

}  // namespace
}  // namespace acre::kvs
