// The heap against a model of it: every byte is in one place, and what rests is left alone.

#include "kvs/heap.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kvs/epoch.h"
#include "runtime/random.h"
#include "runtime/shared_word.h"

namespace acre::kvs {
namespace {

constexpr uint64_t kHeapOffset = 5 * kHeapPageBytes;
constexpr uint64_t kOverflowBytes = 256;

// Nobody reads: what was freed two ticks ago is safe.
void Tick(EpochClock* epochs) { epochs->Tick(1, 1, nullptr, 0); }

// A heap whose every answer is checked.
class CheckedHeap {
 public:
  CheckedHeap(uint64_t bytes, EpochClock* epochs)
      : bytes_(bytes),
        epochs_(epochs),
        heap_(kHeapOffset, bytes, epochs,
              [this](uint64_t offset, uint64_t size) { OnFormat(offset, size); }) {}

  struct Object {
    uint64_t offset;
    size_t bytes;
  };

  // nullopt: no memory, and then nothing rests any more.
  absl::optional<Object> Allocate(size_t bytes) {
    const absl::optional<uint64_t> offset = heap_.Allocate(bytes);
    NoteReuse();
    if (!offset.has_value()) {
      EXPECT_TRUE(resting_.empty()) << "gave up while memory rested";
      return absl::nullopt;
    }
    EXPECT_EQ(*offset % kCellAlignment, 0u);
    EXPECT_GE(Heap::RoundedBytes(bytes), bytes);
    Occupy(*offset, Heap::RoundedBytes(bytes));
    for (const auto& [first, size] : formatted_) {
      EXPECT_FALSE(*offset < first + size && first < *offset + bytes)
          << "an object in memory of overflow buckets";
    }
    return Object{*offset, bytes};
  }
  void Free(const Object& object) {
    used_.erase(object.offset);
    heap_.Free(object.offset, object.bytes);
  }
  void Retire(const Object& object) {
    resting_.push_back({object, epochs_->Now()});
    heap_.Retire(object.offset, object.bytes);
  }
  absl::optional<uint64_t> AllocateOverflowBucket() {
    const absl::optional<uint64_t> offset = heap_.AllocateOverflowBucket();
    NoteReuse();
    if (!offset.has_value()) {
      EXPECT_TRUE(resting_.empty()) << "gave up while memory rested";
      return absl::nullopt;
    }
    EXPECT_EQ(*offset % kOverflowBytes, 0u);
    Occupy(*offset, kOverflowBytes);
    const auto run = std::prev(formatted_.upper_bound(*offset));
    EXPECT_LE(*offset + kOverflowBytes, run->first + run->second) << "not formatted";
    ++overflow_buckets_;
    return offset;
  }
  void FreeOverflowBucket(uint64_t offset) {
    used_.erase(offset);
    --overflow_buckets_;
    heap_.FreeOverflowBucket(offset);
  }
  void CheckStats() const {
    const Heap::Stats stats = heap_.stats();
    uint64_t used = 0;
    for (const auto& [offset, bytes] : used_) used += bytes;
    EXPECT_LE(stats.bytes_free + used, bytes_);
    EXPECT_EQ(stats.bytes_resting, RestingBytes());
    EXPECT_EQ(stats.overflow_buckets, overflow_buckets_);
    if (used_.empty()) {
      EXPECT_EQ(stats.bytes_free, bytes_) << "memory was lost";
    }
    CheckBooks();
  }
  Heap::Stats stats() const { return heap_.stats(); }
  size_t resting_count() const { return resting_.size(); }
  size_t formatted_runs() const { return formatted_.size(); }

 private:
  struct Resting {
    Object object;
    uint64_t epoch;
  };

  // The books and what was handed out make up the heap.
  void CheckBooks() const {
    const Heap::Books books = heap_.CopyOfBooks();
    std::map<uint64_t, uint64_t> all = used_;
    size_t resting = 0;
    for (const Heap::Piece& piece : books.pieces) {
      if (piece.use == Heap::Use::kResting) {
        ++resting;
        EXPECT_EQ(used_.count(piece.offset), 1u);
        continue;
      }
      EXPECT_TRUE(all.emplace(piece.offset, piece.bytes).second) << "free and in use";
    }
    EXPECT_EQ(resting, resting_.size());
    uint64_t end = kHeapOffset;
    for (const auto& [offset, bytes] : all) {
      EXPECT_EQ(offset, end);
      end = offset + bytes;
    }
    EXPECT_EQ(end, kHeapOffset + bytes_);
    const std::map<uint64_t, uint64_t> runs(books.overflow_runs.begin(), books.overflow_runs.end());
    EXPECT_EQ(runs, formatted_);
  }
  uint64_t RestingBytes() const {
    uint64_t bytes = 0;
    for (const Resting& resting : resting_) bytes += Heap::RoundedBytes(resting.object.bytes);
    return bytes;
  }
  // Finds out from the statistics how many of the oldest objects came back into use.
  void NoteReuse() {
    uint64_t early = 0;
    while (RestingBytes() > heap_.stats().bytes_resting) {
      if (resting_.front().epoch >= epochs_->SafeBefore()) ++early;
      used_.erase(resting_.front().object.offset);
      resting_.pop_front();
    }
    EXPECT_EQ(RestingBytes(), heap_.stats().bytes_resting) << "not the oldest came back";
    reused_early_ += early;
    EXPECT_EQ(heap_.stats().reused_early, reused_early_);
  }
  void Occupy(uint64_t offset, uint64_t bytes) {
    EXPECT_GE(offset, kHeapOffset);
    EXPECT_LE(offset + bytes, kHeapOffset + bytes_);
    const auto next = used_.lower_bound(offset);
    if (next != used_.end()) {
      EXPECT_LE(offset + bytes, next->first) << "overlap";
    }
    if (next != used_.begin()) {
      EXPECT_LE(std::prev(next)->first + std::prev(next)->second, offset) << "overlap";
    }
    used_[offset] = bytes;
  }
  void OnFormat(uint64_t offset, uint64_t bytes) {
    EXPECT_EQ(formatted_.count(offset), 0u) << "formatted twice";
    formatted_[offset] = bytes;
  }

  const uint64_t bytes_;
  EpochClock* const epochs_;
  Heap heap_;
  std::map<uint64_t, uint64_t> used_;       // Live and resting objects, live overflow buckets.
  std::map<uint64_t, uint64_t> formatted_;  // Runs of overflow buckets.
  std::deque<Resting> resting_;
  uint64_t overflow_buckets_ = 0;
  uint64_t reused_early_ = 0;
};

size_t RandomSize(Random* random) {
  const size_t magnitude = random->Uniform(15);  // Up to 1 MiB, small sizes as often as large ones.
  return 1 + random->Uniform(size_t{64} << magnitude);
}

// Goal: over random histories no two allocations overlap, nothing that rests is given out before
// its epoch while there is other memory, then the oldest goes first and is counted; in the end all
// memory is back, in one piece but for the runs of overflow buckets.
TEST(HeapTest, RandomHistoriesAgreeWithTheModel) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    EpochClock epochs;
    const uint64_t bytes = (uint64_t{1} << 20) * (1 + random.Uniform(4));
    CheckedHeap heap(bytes, &epochs);
    std::vector<CheckedHeap::Object> objects;
    std::vector<uint64_t> buckets;
    for (int i = 0; i < 4000; ++i) {
      const uint64_t action = random.Uniform(20);
      if (action < 10) {
        const auto object = heap.Allocate(RandomSize(&random));
        if (object.has_value()) objects.push_back(*object);
      } else if (action < 16 && !objects.empty()) {
        std::swap(objects[random.Uniform(objects.size())], objects.back());
        if (action < 12) {
          heap.Free(objects.back());
        } else {
          heap.Retire(objects.back());
        }
        objects.pop_back();
      } else if (action == 16) {
        const auto bucket = heap.AllocateOverflowBucket();
        if (bucket.has_value()) buckets.push_back(*bucket);
      } else if (action == 17 && !buckets.empty()) {
        std::swap(buckets[random.Uniform(buckets.size())], buckets.back());
        heap.FreeOverflowBucket(buckets.back());
        buckets.pop_back();
      } else if (action == 18) {
        Tick(&epochs);
      }
      if (i % 50 == 0) heap.CheckStats();
    }
    for (const CheckedHeap::Object& object : objects) heap.Retire(object);
    for (const uint64_t bucket : buckets) heap.FreeOverflowBucket(bucket);
    heap.CheckStats();
    // Nothing fits that is as large as the heap, but asking for it brings back all that rests.
    EXPECT_FALSE(heap.Allocate(bytes + 1).has_value());
    EXPECT_EQ(heap.resting_count(), 0u);
    heap.CheckStats();
  }
}

// Goal: all sizes round up by at most an eighth (above 512 B, below a span's limit) or to 64 B, and
// sizes never shrink.
TEST(HeapTest, RoundingIsTightAndMonotone) {
  size_t last = 0;
  for (size_t bytes = 1; bytes <= 3 * kCellBytesMax; ++bytes) {
    const size_t rounded = Heap::RoundedBytes(bytes);
    ASSERT_GE(rounded, bytes);
    ASSERT_GE(rounded, last);
    if (bytes <= 512) {
      ASSERT_LT(rounded - bytes, kCellAlignment);
    } else if (bytes <= kCellBytesMax) {
      ASSERT_LT((rounded - bytes) * 8, rounded);
    } else {
      ASSERT_LT(rounded - bytes, kHeapPageBytes);
    }
    last = rounded;
  }
}

// Goal: a heap gives out all of itself, says no after that, and is one piece again when all is
// back.
TEST(HeapTest, ExhaustedHeapComesBackWhole) {
  constexpr uint64_t kBytes = 1 << 20;
  for (const size_t bytes : {size_t{64}, size_t{192}, size_t{4096}, size_t{40'000}}) {
    EpochClock epochs;
    CheckedHeap heap(kBytes, &epochs);
    std::vector<CheckedHeap::Object> objects;
    for (auto object = heap.Allocate(bytes); object.has_value(); object = heap.Allocate(bytes)) {
      objects.push_back(*object);
    }
    EXPECT_GE(objects.size() * Heap::RoundedBytes(bytes), kBytes - kBytes / 16);
    // Every other one goes: half of the memory is free, and none of it in large pieces.
    for (size_t i = 0; i < objects.size(); i += 2) heap.Free(objects[i]);
    heap.CheckStats();
    EXPECT_FALSE(heap.Allocate(kBytes / 2).has_value());
    for (size_t i = 1; i < objects.size(); i += 2) heap.Free(objects[i]);
    heap.CheckStats();
    const auto whole = heap.Allocate(kBytes);
    ASSERT_TRUE(whole.has_value()) << "free pages were not joined again";
    EXPECT_EQ(whole->offset, kHeapOffset);
    heap.Free(*whole);
    heap.CheckStats();
  }
}

// Goal: an object that rests is not given out before its epoch has passed while there is other
// memory, and comes back by itself afterwards.
TEST(HeapTest, RestingObjectsWaitForTheirEpoch) {
  EpochClock epochs;
  CheckedHeap heap(1 << 20, &epochs);
  SharedWord client{};
  epochs.Add(&client, 0);
  client.Store(1, std::memory_order_release);
  const auto resting = heap.Allocate(100'000);
  ASSERT_TRUE(resting.has_value());
  heap.Retire(*resting);
  for (int i = 0; i < 10; ++i) {
    epochs.Tick(1, 1000, nullptr, 0);  // The client is in epoch 1, within its lease.
    const auto other = heap.Allocate(64);
    ASSERT_TRUE(other.has_value());
    ASSERT_EQ(heap.resting_count(), 1u);
  }
  client.Store(2, std::memory_order_release);
  epochs.Tick(2, 1000, nullptr, 0);
  ASSERT_TRUE(heap.Allocate(64).has_value());
  EXPECT_EQ(heap.resting_count(), 0u);
  EXPECT_EQ(heap.stats().reused_early, 0u);
}

// Goal: when memory runs out the oldest resting objects are used early, only as many as needed, and
// counted, for objects as for overflow buckets.
TEST(HeapTest, FullHeapTakesTheOldestRestingObjectsEarly) {
  constexpr size_t kPiece = 128 << 10;
  EpochClock epochs;
  CheckedHeap heap(8 * kPiece, &epochs);
  std::vector<CheckedHeap::Object> objects;
  for (int i = 0; i < 8; ++i) objects.push_back(heap.Allocate(kPiece).value());
  for (const size_t i : {size_t{3}, size_t{5}, size_t{1}}) heap.Retire(objects[i]);
  const auto object = heap.Allocate(kPiece);
  ASSERT_TRUE(object.has_value());
  EXPECT_EQ(object->offset, objects[3].offset);
  EXPECT_EQ(heap.stats().reused_early, 1u);
  const auto bucket = heap.AllocateOverflowBucket();
  ASSERT_TRUE(bucket.has_value());
  EXPECT_EQ(*bucket, objects[5].offset);
  EXPECT_EQ(heap.stats().reused_early, 2u);
  EXPECT_EQ(heap.resting_count(), 1u);
  heap.CheckStats();
}

// Goal: memory of overflow buckets stays memory of overflow buckets, however empty the heap is.
TEST(HeapTest, OverflowBucketsAreTypeStable) {
  EpochClock epochs;
  CheckedHeap heap(1 << 20, &epochs);
  std::vector<uint64_t> buckets;
  for (int i = 0; i < 200; ++i) buckets.push_back(heap.AllocateOverflowBucket().value());
  const size_t runs = heap.formatted_runs();
  const std::set<uint64_t> places(buckets.begin(), buckets.end());
  for (const uint64_t bucket : buckets) heap.FreeOverflowBucket(bucket);
  // CheckedHeap refuses objects that lie in these runs.
  std::vector<CheckedHeap::Object> objects;
  for (auto object = heap.Allocate(256); object.has_value(); object = heap.Allocate(256)) {
    objects.push_back(*object);
  }
  for (int i = 0; i < 200; ++i) {
    const auto bucket = heap.AllocateOverflowBucket();
    ASSERT_TRUE(bucket.has_value());
    EXPECT_EQ(places.count(*bucket), 1u);
  }
  EXPECT_EQ(heap.formatted_runs(), runs) << "formatted again";
}

// Goal: giving back, as one's own, what was not taken ends the process: it is our own bug.
TEST(HeapDeathTest, FreeingWhatWasNotTakenDies) {
  EpochClock epochs;
  CheckedHeap heap(1 << 20, &epochs);
  const CheckedHeap::Object object = heap.Allocate(192).value();
  EXPECT_DEATH(heap.Free({object.offset + 64, 192}), "not handed out");
  EXPECT_DEATH(heap.Free({object.offset + 192, 192}), "not handed out");
  EXPECT_DEATH(heap.Free({object.offset + (512 << 10), 192}), "not handed out");
}

// Goal: what a slot or a chain names and was not handed out, or not so, is refused, and nothing changes; what was is
// taken back once.
TEST(HeapTest, WhatASpoiltSlotNamesIsRefused) {
  constexpr uint64_t kBytes = 1 << 20;
  EpochClock epochs;
  Heap heap(kHeapOffset, kBytes, &epochs, [](uint64_t, uint64_t) {});
  const uint64_t cell = heap.Allocate(192).value();
  const uint64_t run = heap.Allocate(100'000).value();
  const uint64_t bucket = heap.AllocateOverflowBucket().value();
  const Heap::Stats before = heap.stats();
  uint64_t refused = 0;
  const auto expect_refused = [&](uint64_t offset, size_t bytes) {
    heap.Retire(offset, bytes);
    EXPECT_EQ(heap.stats().refused, ++refused) << offset << ", " << bytes << " B";
  };
  for (const uint64_t offset :
       {uint64_t{0}, kHeapOffset - 64, kHeapOffset + kBytes, kHeapOffset + kBytes - 64,
        uint64_t{1} << 40, ~uint64_t{63}, cell + 64, cell + 1, cell + 192, run,
        run + kHeapPageBytes, bucket}) {
    expect_refused(offset, 192);
  }
  for (const size_t bytes :
       {size_t{0}, size_t{64}, size_t{256}, size_t{100'000}, size_t{1} << 40}) {
    expect_refused(cell, bytes);
  }
  for (const size_t bytes : {size_t{192}, size_t{90'000}, size_t{200'000}, ~size_t{0}}) {
    expect_refused(run, bytes);
  }
  expect_refused(run + kHeapPageBytes, 100'000);
  expect_refused(bucket, 256);
  for (const uint64_t offset : {uint64_t{0}, cell, run, bucket + 64, bucket + kOverflowBytes,
                                kHeapOffset + kBytes, ~uint64_t{255}}) {
    heap.FreeOverflowBucket(offset);
    EXPECT_EQ(heap.stats().refused, ++refused) << offset;
  }
  EXPECT_EQ(heap.stats().bytes_free, before.bytes_free);
  EXPECT_EQ(heap.stats().bytes_resting, 0u);
  EXPECT_EQ(heap.stats().overflow_buckets, 1u);
  heap.Retire(cell, 192);
  heap.Retire(run, 100'000);
  heap.FreeOverflowBucket(bucket);
  EXPECT_EQ(heap.stats().refused, refused);
  // Resting, then free.
  for (int i = 0; i < 2; ++i) {
    expect_refused(cell, 192);
    expect_refused(run, 100'000);
    EXPECT_FALSE(heap.Allocate(2 * kBytes).has_value());  // Brings back all that rests.
    EXPECT_EQ(heap.stats().bytes_resting, 0u);
  }
  heap.FreeOverflowBucket(bucket);
  EXPECT_EQ(heap.stats().refused, ++refused);
}

}  // namespace
}  // namespace acre::kvs
