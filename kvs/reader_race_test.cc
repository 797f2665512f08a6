// Readers against writers, on threads of their own, at 90 % load with displacement and deletion: no
// value that a reader returns is torn, stale or foreign, and no key that is always there is ever
// missed.
//
// Bounded by a count of reads. A longer hunt, in config opt as well as tsan:
//   bazel test --config=opt --test_env=ACRE_RACE_READS=20000000 //kvs:reader_race_test

#include <array>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kvs/key_history_test_util.h"
#include "kvs/table_test_util.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"

namespace acre::kvs {
namespace {

constexpr size_t kWriters = 2;
constexpr size_t kSegmentBytes = 1 << 20;
constexpr size_t kMultiGetKeys = 20;
constexpr size_t kCycleKeys = 12;

uint64_t ReadsPerReader() {
  const char* const wanted = std::getenv("ACRE_RACE_READS");
  uint64_t reads = 0;
  return wanted != nullptr && absl::SimpleAtoi(wanted, &reads) ? reads : 40'000;
}

// Where the records are that the threads meet at.
enum class Crowd {
  kWholeTable,  // Two segments, 90 % of the slots full.
  kFewHomes,  // Four neighbouring homes have all the keys: nearly each change moves other records.
};

class ReaderRace {
 public:
  void Run(Crowd crowd) {
    const bool is_whole = crowd == Crowd::kWholeTable;
    ASSERT_NO_FATAL_FAILURE(
        server_.Open(&clock_, is_whole ? 2 : 1, kSegmentBytes, is_whole ? 20 : 1));
    if (is_whole) {
      MakeKeysOfAllHomes();
    } else {
      MakeKeysOfFewHomes();
    }
    ASSERT_NO_FATAL_FAILURE(mapped_.Connect(&clock_, &server_));
    ASSERT_NO_FATAL_FAILURE(remote_.Connect(&clock_, &server_));
    std::vector<std::thread> writers;
    for (size_t i = 0; i < kWriters; ++i) {
      writers.emplace_back([this, i, is_whole] { is_whole ? Write(i) : WriteInCycles(i); });
    }
    while (loaded_.load(std::memory_order_acquire) < kWriters) std::this_thread::yield();
    std::vector<std::thread> readers;
    readers.emplace_back([this] { ReadMapped(); });
    readers.emplace_back([this] { ReadRemote(); });
    readers.emplace_back([this] { ReadAsOwner(); });
    for (std::thread& reader : readers) reader.join();
    stop_.store(true, std::memory_order_relaxed);
    for (std::thread& writer : writers) writer.join();
    Report();
  }

 private:
  void MakeKeysOfAllHomes() {
    const uint64_t slots = server_.table()->Stats().main_slots;
    // Of the keys that come and go half are there at a time: together 90 % of the slots.
    const uint64_t always = slots * 6 / 10;
    const uint64_t churning = slots * 6 / 10;
    keys_ = std::vector<KeyState>(always + churning);
    for (uint64_t i = 0; i < keys_.size(); ++i) {
      keys_[i].key = absl::StrCat("key ", i);
      keys_[i].is_always_there = i % 2 == 0;
    }
  }
  // For each writer three keys that fill a bucket, then nine whose home is the bucket before it: one
  // after the other displaces the three, then they chain. Deleted in this order they are pulled out
  // of the chain again.
  void MakeKeysOfFewHomes() {
    keys_ = std::vector<KeyState>(kWriters * kCycleKeys);
    const uint64_t buckets_count = server_.segment(0).layout().buckets_count;
    KeyState* next = keys_.data();
    for (uint64_t writer = 0; writer < kWriters; ++writer) {
      const uint64_t home = 6 * writer;
      for (std::string& key : KeysOfHome("pushed ", home + 1, buckets_count, kSlotsPerBucket)) {
        next++->key = std::move(key);
      }
      const size_t pushing = kCycleKeys - kSlotsPerBucket;
      for (std::string& key : KeysOfHome("pushing ", home, buckets_count, pushing)) {
        next++->key = std::move(key);
      }
    }
  }
  void WriteInCycles(size_t writer_index) {
    Scheduler scheduler({.clock = &clock_, .name = "writer"});
    TableWriter writer(server_.table(), &scheduler);
    loaded_.fetch_add(1, std::memory_order_release);
    uint64_t changes = 0;
    while (!stop_.load(std::memory_order_relaxed)) {
      for (int half = 0; half < 2; ++half) {  // All of them are put, then all are deleted.
        for (size_t i = 0; i < kCycleKeys; ++i) {
          Change(&keys_[writer_index * kCycleKeys + i], &writer, &scheduler);
        }
      }
      changes += 2 * kCycleKeys;
      if (writer_index == 0) server_.Tick();
    }
    changes_.fetch_add(changes, std::memory_order_relaxed);
  }
  bool Mine(size_t writer, uint64_t index) const { return index / 2 % kWriters == writer; }

  void Write(size_t writer_index) {
    Scheduler scheduler({.clock = &clock_, .name = "writer"});
    TableWriter writer(server_.table(), &scheduler);
    Random random(writer_index);
    for (uint64_t i = 0; i < keys_.size(); ++i) {
      if (Mine(writer_index, i)) Change(&keys_[i], &writer, &scheduler);
    }
    loaded_.fetch_add(1, std::memory_order_release);
    uint64_t changes = 0;
    while (!stop_.load(std::memory_order_relaxed)) {
      const uint64_t index = random.Uniform(keys_.size());
      if (!Mine(writer_index, index)) continue;
      // Those that come and go do so twice as often as the others are updated.
      if (keys_[index].is_always_there && random.Uniform(2) == 0) continue;
      Change(&keys_[index], &writer, &scheduler);
      if (++changes % 64 == 0 && writer_index == 0) server_.Tick();
    }
    changes_.fetch_add(changes, std::memory_order_relaxed);
  }
  void Change(KeyState* state, TableWriter* writer, Scheduler* scheduler) {
    const uint64_t change = state->started.load(std::memory_order_relaxed) + 1;
    state->started.store(change, std::memory_order_seq_cst);
    const std::string value = ValueOf(*state, change);
    const absl::Status status = state->IsThereAfter(change)
                                    ? scheduler->RunUntilDone(writer->Put(state->key, value))
                                    : scheduler->RunUntilDone(writer->Delete(state->key));
    EXPECT_TRUE(status.ok()) << status;
    state->done.store(change, std::memory_order_release);
  }

  // Reads random keys by `read`, which answers for one, and by `multi_read`, for many.
  template <class Read, class MultiRead>
  void ReadAndJudge(absl::string_view who, uint64_t seed, const Read& read,
                    const MultiRead& multi_read) {
    Random random(seed);
    const uint64_t reads = ReadsPerReader();
    std::string value;
    for (uint64_t i = 0; i < reads && !failed_.load(std::memory_order_relaxed);) {
      KeyState* const state = &keys_[random.Uniform(keys_.size())];
      const uint64_t done = state->done.load(std::memory_order_seq_cst);
      const absl::Status status = read(state->key, &value);
      Judge(who, *state, done, status, value);
      ++i;
      if (i % 4 != 0) continue;
      std::array<KeyState*, kMultiGetKeys> states;
      std::array<absl::string_view, kMultiGetKeys> keys;
      std::array<uint64_t, kMultiGetKeys> dones;
      std::array<std::string, kMultiGetKeys> values;
      std::array<absl::Status, kMultiGetKeys> statuses;
      for (size_t k = 0; k < kMultiGetKeys; ++k) {
        states[k] = &keys_[random.Uniform(keys_.size())];
        keys[k] = states[k]->key;
        dones[k] = states[k]->done.load(std::memory_order_seq_cst);
      }
      multi_read(keys, absl::MakeSpan(values), absl::MakeSpan(statuses));
      for (size_t k = 0; k < kMultiGetKeys; ++k) {
        Judge(who, *states[k], dones[k], statuses[k], values[k]);
      }
      i += kMultiGetKeys;
    }
  }
  void Judge(absl::string_view who, const KeyState& state, uint64_t done_before,
             const absl::Status& status, const std::string& value) {
    const uint64_t started_after = state.started.load(std::memory_order_seq_cst);
    const std::string why = WhyWrong(state, done_before, started_after, status, value);
    if (why.empty()) return;
    failed_.store(true, std::memory_order_relaxed);
    ADD_FAILURE() << who << ", " << state.key << ": " << why;
  }

  void ReadMapped() {
    Scheduler scheduler({.clock = &clock_, .name = "mapped"});
    mapped_.Open(&scheduler);
    ReadAndJudge(
        "mapped", 100,
        [this](absl::string_view key, std::string* value) {
          return mapped_.mapped()->Get(key, value);
        },
        [this](auto keys, auto values, auto statuses) {
          mapped_.mapped()->MultiGet(keys, values, statuses);
        });
    mapped_stats_ = mapped_.mapped()->stats();
    mapped_.Close();
  }
  void ReadRemote() {
    Scheduler scheduler({.clock = &clock_, .name = "remote"});
    remote_.Open(&scheduler);
    ReadAndJudge(
        "remote", 200,
        [this](absl::string_view key, std::string* value) { return remote_.RemoteGet(key, value); },
        [this](auto keys, auto values, auto statuses) {
          remote_.RemoteMultiGet(keys, values, statuses);
        });
    remote_stats_ = remote_.remote()->stats();
    remote_.Close();
  }
  // In the writers' own mapping, where tsan sees both sides.
  void ReadAsOwner() {
    Scheduler scheduler({.clock = &clock_, .name = "owner"});
    TableWriter reader(server_.table(), &scheduler);
    ReadAndJudge(
        "owner", 300,
        [&](absl::string_view key, std::string* value) {
          return scheduler.RunUntilDone(reader.Get(key, value));
        },
        [&](auto keys, auto values, auto statuses) {
          for (size_t i = 0; i < keys.size(); ++i) {
            statuses[i] = scheduler.RunUntilDone(reader.Get(keys[i], &values[i]));
          }
        });
  }

  void Report() {
    const TableStats stats = server_.table()->Stats();
    for (const auto& segment : server_.table()->segments()) segment->CheckInvariants();
    std::cout << changes_.load() << " changes, " << stats.displacements << " displacements, "
              << stats.overflow_buckets << " overflow buckets, "
              << stats.records * 100 / stats.main_slots << " % full; mapped: " << mapped_stats_.gets
              << " gets, " << mapped_stats_.retries << " retries, " << mapped_stats_.misses
              << " misses; remote: " << remote_stats_.gets << " gets, " << remote_stats_.retries
              << " retries, " << remote_stats_.misses << " misses\n";
    EXPECT_GT(stats.displacements, 0u);
    EXPECT_GT(remote_stats_.misses, 0u);
  }

  RealClock clock_;
  TestServer server_;
  TestReaders mapped_;
  TestReaders remote_;
  std::vector<KeyState> keys_;
  std::atomic<size_t> loaded_{0};     // Writers that have put their keys (release).
  std::atomic<bool> stop_{false};     // Writers see it some time later.
  std::atomic<bool> failed_{false};   // Readers end early, some time later.
  std::atomic<uint64_t> changes_{0};  // Read after all threads have ended.
  ReaderStats mapped_stats_;
  ReaderStats remote_stats_;
};

TEST(ReaderRaceTest, NothingIsTornStaleForeignOrMissed) { ReaderRace().Run(Crowd::kWholeTable); }

// Goal: the same where readers meet writers all the time. A table that leaves out the structure
// version around moves does not pass.
TEST(ReaderRaceTest, NothingIsMissedInACrowd) { ReaderRace().Run(Crowd::kFewHomes); }

}  // namespace
}  // namespace acre::kvs
