// READ, WRITE, atomics, their order and their errors: F1 to F9, A1 to A3, E1, E2.

#include <algorithm>
#include <numeric>
#include <vector>

#include "transport/conformance/conformance.h"

namespace acre::transport {
namespace {

class DataTest : public ConformanceTest {
 protected:
  DataTest() : client_(provider_), server_(provider_), connection_(Connect(client_, server_)) {}

  Completion PostAndAwait(const WorkRequest& request) {
    Post(connection_.client.get(), {request});
    return Await(client_.queue.get());
  }

  Node client_;
  Node server_;
  std::unique_ptr<MemoryRegion> region_ = server_.MakeRegion(7, kRightsAll);
  Connection connection_;
  RemoteKey key_ = Grant(connection_.server.get(), *region_, kRightsAll);
};
ACRE_CONFORMANCE_SUITE(DataTest);

TEST_P(DataTest, ReadBringsWhatTheOwnerStored) {
  for (size_t i = 0; i < 64; ++i) Target(*region_, i).Store(1000 + i, std::memory_order_release);
  WorkRequest read = Request(Opcode::kRead, client_, 8, key_);
  read.length_bytes = 64 * kWordBytes;

  const Completion done = PostAndAwait(read);

  EXPECT_EQ(done.kind, CompletionKind::kSend);
  EXPECT_EQ(done.status, CompletionStatus::kOk);
  EXPECT_EQ(done.opcode, Opcode::kRead);
  EXPECT_EQ(done.id, read.id);
  EXPECT_EQ(done.queue_pair, connection_.client.get());
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(GetLocal(client_, 8 + i), 1000 + i);
  EXPECT_EQ(GetLocal(client_, 7), 0u) << "bytes before the buffer";
  EXPECT_EQ(GetLocal(client_, 72), 0u) << "bytes behind the buffer";
}

TEST_P(DataTest, WriteLandsAtItsPlaceAndNowhereElse) {
  for (size_t i = 0; i < 3; ++i) SetLocal(client_, i, 5 + i);
  WorkRequest write = Request(Opcode::kWrite, client_, 0, key_, kDataOffset + 8);
  write.length_bytes = 24;

  EXPECT_EQ(PostAndAwait(write).status, CompletionStatus::kOk);
  // F8: a CPU of the target may see it a moment later, so ask through the fabric.
  EXPECT_EQ(PostAndAwait(Request(Opcode::kRead, client_, 9, key_)).status, CompletionStatus::kOk);

  const std::vector<uint64_t> expected = {0, 5, 6, 7, 0};
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(Target(*region_, i).Load(std::memory_order_acquire), expected[i]);
  }
}

TEST_P(DataTest, LaterRequestsOfABatchSeeEarlierOnes) {
  SetLocal(client_, 0, 40);
  Post(connection_.client.get(),
       {Request(Opcode::kWrite, client_, 0, key_), FetchAdd(client_, 1, key_, 2),
        CompareSwap(client_, 2, key_, 42, 7), Request(Opcode::kRead, client_, 3, key_)});

  for (uint64_t id = 100; id < 104; ++id) {
    const Completion done = Await(client_.queue.get());
    EXPECT_EQ(done.id, id);
    EXPECT_EQ(done.status, CompletionStatus::kOk);
  }
  EXPECT_EQ(GetLocal(client_, 1), 40u);
  EXPECT_EQ(GetLocal(client_, 2), 42u);
  EXPECT_EQ(GetLocal(client_, 3), 7u);
}

TEST_P(DataTest, FencedWriteDoesNotOvertakeARead) {
  Target(*region_).Store(1, std::memory_order_release);
  SetLocal(client_, 1, 2);
  WorkRequest write = Request(Opcode::kWrite, client_, 1, key_);
  write.fence = true;

  Post(connection_.client.get(), {Request(Opcode::kRead, client_, 0, key_), write});

  Await(client_.queue.get());
  Await(client_.queue.get());
  EXPECT_EQ(GetLocal(client_, 0), 1u);
}

TEST_P(DataTest, UnsignaledRequestsCompleteSilently) {
  WorkRequest add = FetchAdd(client_, 0, key_, 1);
  add.signaled = false;
  WorkRequest last = FetchAdd(client_, 1, key_, 1);

  Post(connection_.client.get(), {add, add, add, last});

  EXPECT_EQ(Await(client_.queue.get()).id, last.id);
  EXPECT_EQ(GetLocal(client_, 1), 3u) << "the signaled completion confirms those before it";
  EXPECT_EQ(GetLocal(client_, 0), 2u);
  ExpectQuiet(client_.queue.get());
}

TEST_P(DataTest, InlineBytesAreTakenAtPost) {
  const uint32_t bytes = client_.fabric->device().inline_bytes_max & ~uint32_t{7};
  std::vector<SharedWord> words(bytes / kWordBytes);
  if (bytes == 0) return;  // The device has none: nothing is promised.
  for (size_t i = 0; i < words.size(); ++i) words[i].Store(i + 1, std::memory_order_relaxed);
  WorkRequest write = Request(Opcode::kWrite, client_, 0, key_);
  write.inline_data = true;
  write.local = words.data();
  write.local_region = nullptr;
  write.length_bytes = bytes;

  Post(connection_.client.get(), {write});
  for (SharedWord& word : words) word.Store(0, std::memory_order_relaxed);

  EXPECT_EQ(Await(client_.queue.get()).status, CompletionStatus::kOk);
  EXPECT_EQ(PostAndAwait(Request(Opcode::kRead, client_, 0, key_)).status, CompletionStatus::kOk);
  for (size_t i = 0; i < words.size(); ++i) {
    EXPECT_EQ(Target(*region_, i).Load(std::memory_order_acquire), i + 1);
  }
}

TEST_P(DataTest, RequestOfNoBytesTouchesNothing) {
  WorkRequest read = Request(Opcode::kRead, client_, 0, RemoteKey());
  read.length_bytes = 0;
  read.local = nullptr;
  read.local_region = nullptr;

  EXPECT_EQ(PostAndAwait(read).status, CompletionStatus::kOk);
}

TEST_P(DataTest, CompareSwapSwapsOnlyWhatItExpects) {
  Target(*region_).Store(10, std::memory_order_release);

  EXPECT_EQ(PostAndAwait(CompareSwap(client_, 0, key_, 11, 99)).status, CompletionStatus::kOk);
  EXPECT_EQ(GetLocal(client_, 0), 10u) << "the old value comes back";
  EXPECT_EQ(PostAndAwait(Request(Opcode::kRead, client_, 1, key_)).status, CompletionStatus::kOk);
  EXPECT_EQ(GetLocal(client_, 1), 10u);

  EXPECT_EQ(PostAndAwait(CompareSwap(client_, 0, key_, 10, 99)).status, CompletionStatus::kOk);
  EXPECT_EQ(GetLocal(client_, 0), 10u);
  EXPECT_EQ(PostAndAwait(Request(Opcode::kRead, client_, 1, key_)).status, CompletionStatus::kOk);
  EXPECT_EQ(GetLocal(client_, 1), 99u);
}

TEST_P(DataTest, FetchAddWrapsAround) {
  Target(*region_).Store(~uint64_t{0}, std::memory_order_release);

  EXPECT_EQ(PostAndAwait(FetchAdd(client_, 0, key_, 3)).status, CompletionStatus::kOk);
  EXPECT_EQ(PostAndAwait(Request(Opcode::kRead, client_, 1, key_)).status, CompletionStatus::kOk);

  EXPECT_EQ(GetLocal(client_, 0), ~uint64_t{0});
  EXPECT_EQ(GetLocal(client_, 1), 2u);
}

TEST_P(DataTest, AtomicInAnotherDomainIsRefused) {
  Node other(provider_, /*atomic_domain=*/1);
  auto region = other.MakeRegion(8, kRightsAll);
  Connection connection = Connect(client_, other);
  const RemoteKey key = Grant(connection.server.get(), *region, kRightsAll);

  Post(connection.client.get(),
       {Request(Opcode::kWrite, client_, 0, key), FetchAdd(client_, 1, key, 1)});

  EXPECT_EQ(Await(client_.queue.get()).status, CompletionStatus::kOk)
      << "only atomics mind the domain";
  ExpectBroken(client_, other, connection, 101, CompletionStatus::kAtomicDomain);
  EXPECT_EQ(Target(*region).Load(std::memory_order_acquire), 0u);
}

// One way to get a request wrong, and what it completes with.
struct Mistake {
  const char* what;
  Opcode opcode;
  uint64_t offset_bytes;
  uint32_t length_bytes;
  CompletionStatus status;
};

constexpr uint64_t kRegionBytes = 1 << 16;
constexpr Mistake kMistakes[] = {
    {"READ that ends behind the region", Opcode::kRead, kRegionBytes - 8, 16,
     CompletionStatus::kBounds},
    {"WRITE that ends behind the region", Opcode::kWrite, kRegionBytes - 8, 16,
     CompletionStatus::kBounds},
    {"READ that starts behind the region", Opcode::kRead, kRegionBytes, 8,
     CompletionStatus::kBounds},
    {"WRITE whose end wraps around", Opcode::kWrite, ~uint64_t{7}, 16, CompletionStatus::kBounds},
    {"FETCH_ADD behind the region", Opcode::kFetchAdd, kRegionBytes, 8, CompletionStatus::kBounds},
    {"READ of half a word", Opcode::kRead, kDataOffset, 4, CompletionStatus::kBounds},
    {"WRITE off a word's start", Opcode::kWrite, kDataOffset + 4, 8, CompletionStatus::kBounds},
    {"COMPARE_SWAP off a word's start", Opcode::kCompareSwap, kDataOffset + 1, 8,
     CompletionStatus::kBounds},
};

TEST_P(DataTest, MistakesBreakTheConnectionAndTouchNothing) {
  for (const Mistake& mistake : kMistakes) {
    SCOPED_TRACE(mistake.what);
    Connection connection = Connect(client_, server_);
    const RemoteKey key = Grant(connection.server.get(), *region_, kRightsAll);
    SetLocal(client_, 0, 77);
    WorkRequest bad = Request(mistake.opcode, client_, 0, key, mistake.offset_bytes);
    bad.length_bytes = mistake.length_bytes;
    bad.swap_or_add = 77;
    bad.signaled = false;  // E1: an error completes all the same.

    Post(connection.client.get(), {bad});

    ExpectBroken(client_, server_, connection, 100, mistake.status);
    for (size_t i = kDataOffset / kWordBytes; i < kRegionBytes / kWordBytes; ++i) {
      ASSERT_EQ(region_->words()[i].Load(std::memory_order_acquire), 0u) << "word " << i;
    }
  }
}

TEST_P(DataTest, UnknownKeysBreakTheConnection) {
  for (const uint64_t bits :
       {uint64_t{0}, key_.bits + 1, key_.bits ^ (uint64_t{1} << 40), ~uint64_t{0}}) {
    SCOPED_TRACE(bits);
    Connection connection = Connect(client_, server_);
    Grant(connection.server.get(), *region_, kRightsAll);

    Post(connection.client.get(), {Request(Opcode::kWrite, client_, 0, RemoteKey{bits})});

    ExpectBroken(client_, server_, connection, 100, CompletionStatus::kBadKey);
  }
}

TEST_P(DataTest, KeyWithoutTheRightIsRefused) {
  auto read_only = server_.MakeRegion(9, kRightRead);
  auto written = server_.MakeRegion(10, kRightRead | kRightWrite);
  struct Case {
    const MemoryRegion* region;
    uint32_t rights;
    Opcode opcode;
  };
  for (const Case& c : {Case{read_only.get(), kRightRead, Opcode::kWrite},
                        Case{read_only.get(), kRightRead, Opcode::kFetchAdd},
                        Case{written.get(), kRightWrite, Opcode::kRead},
                        Case{written.get(), kRightRead | kRightWrite, Opcode::kCompareSwap}}) {
    SCOPED_TRACE(static_cast<int>(c.opcode));
    Connection connection = Connect(client_, server_);
    const RemoteKey key = Grant(connection.server.get(), *c.region, c.rights);
    WorkRequest request = Request(c.opcode, client_, 0, key);
    request.swap_or_add = 5;

    Post(connection.client.get(), {request});

    ExpectBroken(client_, server_, connection, 100, CompletionStatus::kAccess);
    EXPECT_EQ(Target(*c.region).Load(std::memory_order_acquire), 0u);
  }
}

// Goal: a READ that does not wait is ordered behind what was posted, and leaves no trace in the queues.
TEST_P(DataTest, ReadAtOnceSeesTheWriteBeforeIt) {
  SetLocal(client_, 0, 77);
  Post(connection_.client.get(), {Request(Opcode::kWrite, client_, 0, key_)});
  const WorkRequest read = Request(Opcode::kRead, client_, 1, key_);
  CompletionStatus status = CompletionStatus::kFlushed;
  const bool was_read = connection_.client->ReadAtOnce(read, &status);
  ASSERT_EQ(was_read, provider_->reads_at_once());
  if (!was_read) {
    // Nothing was done.
    EXPECT_EQ(status, CompletionStatus::kFlushed);
    EXPECT_EQ(GetLocal(client_, 1), 0u);
    return;
  }
  EXPECT_EQ(status, CompletionStatus::kOk);
  EXPECT_EQ(GetLocal(client_, 1), 77u);
  EXPECT_EQ(Await(client_.queue.get()).opcode, Opcode::kWrite);
  ExpectQuiet(client_.queue.get());
}

// Goal: its errors break the queue pair on both sides, as those of a posted READ do.
TEST_P(DataTest, ReadAtOnceThatFailsBreaksTheQueuePair) {
  const WorkRequest bad = Request(Opcode::kRead, client_, 1, key_, 3);
  CompletionStatus status = CompletionStatus::kOk;
  ASSERT_EQ(connection_.client->ReadAtOnce(bad, &status), provider_->reads_at_once());
  if (!provider_->reads_at_once()) return;
  EXPECT_EQ(status, CompletionStatus::kBounds);
  ExpectDisconnected(client_, connection_.client.get());
  ExpectDisconnected(server_, connection_.server.get());
  EXPECT_FALSE(connection_.client->ReadAtOnce(Request(Opcode::kRead, client_, 1, key_), &status));
  ExpectQuiet(client_.queue.get());
}

TEST_P(DataTest, WhatFollowsAnErrorIsFlushed) {
  SetLocal(client_, 0, 1);
  WorkRequest good = Request(Opcode::kWrite, client_, 0, key_);
  WorkRequest bad = Request(Opcode::kRead, client_, 1, key_, 3);
  WorkRequest behind = Request(Opcode::kWrite, client_, 2, key_, kDataOffset + 8);
  behind.signaled = false;
  SetLocal(client_, 2, 2);

  Post(connection_.client.get(), {good, bad, behind, behind});

  EXPECT_EQ(Await(client_.queue.get()).status, CompletionStatus::kOk);
  EXPECT_EQ(Await(client_.queue.get()).status, CompletionStatus::kBounds);
  EXPECT_EQ(Await(client_.queue.get()).status, CompletionStatus::kFlushed);
  EXPECT_EQ(Await(client_.queue.get()).status, CompletionStatus::kFlushed);
  ExpectDisconnected(client_, connection_.client.get());
  ExpectDisconnected(server_, connection_.server.get());
  EXPECT_EQ(Target(*region_, 1).Load(std::memory_order_acquire), 0u);

  // It never heals, and says so in the same way.
  Post(connection_.client.get(), {good});
  const Completion later = Await(client_.queue.get());
  EXPECT_EQ(later.status, CompletionStatus::kFlushed);
  EXPECT_EQ(later.id, good.id);
  ExpectQuiet(client_.queue.get());
}

TEST_P(DataTest, ClosedRegionIsABadKey) {
  WorkRequest read = Request(Opcode::kRead, client_, 0, key_);
  EXPECT_EQ(PostAndAwait(read).status, CompletionStatus::kOk);

  region_.reset();
  Post(connection_.client.get(), {read});

  ExpectBroken(client_, server_, connection_, read.id, CompletionStatus::kBadKey);
}

TEST_P(DataTest, KeyIsKnownAsSoonAsItWasToldHoweverManyWereGranted) {
  constexpr int kRegions = 50;
  std::vector<std::unique_ptr<MemoryRegion>> regions;
  std::vector<RemoteKey> keys;
  for (int i = 0; i < kRegions; ++i) {
    regions.push_back(server_.MakeRegion(static_cast<uint32_t>(100 + i), kRightRead));
    Target(*regions.back()).Store(static_cast<uint64_t>(i), std::memory_order_release);
    keys.push_back(Grant(connection_.server.get(), *regions.back(), kRightRead));
    // A grant that finds its way blocked is sent when the granter polls.
    Completion none;
    EXPECT_EQ(server_.queue->Poll({&none, 1}), 0u);
  }
  for (int i = kRegions - 1; i >= 0; --i) {
    EXPECT_EQ(PostAndAwait(Request(Opcode::kRead, client_, 0, keys[static_cast<size_t>(i)])).status,
              CompletionStatus::kOk);
    EXPECT_EQ(GetLocal(client_, 0), static_cast<uint64_t>(i));
  }
}

TEST_P(DataTest, GrantsNoMoreThanTheRegionAllows) {
  auto read_only = server_.MakeRegion(11, kRightRead);
  for (const uint32_t rights :
       {uint32_t{kRightWrite}, uint32_t{kRightsAll}, uint32_t{0}, uint32_t{16}}) {
    EXPECT_EQ(connection_.server->Grant(*read_only, rights).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_P(DataTest, MapShowsTheSameMemory) {
  auto read_only = server_.MakeRegion(12, kRightRead);
  const RemoteKey read_key = Grant(connection_.server.get(), *read_only, kRightRead);
  if (!client_.fabric->device().can_map) {
    EXPECT_EQ(connection_.client->Map(key_).status().code(), absl::StatusCode::kFailedPrecondition);
    return;
  }
  const auto writable = connection_.client->Map(key_);
  const auto readable = connection_.client->Map(read_key);
  ASSERT_TRUE(writable.ok()) << writable.status();
  ASSERT_TRUE(readable.ok()) << readable.status();

  EXPECT_EQ(writable->size_bytes, region_->size_bytes());
  EXPECT_EQ(readable->writable_words, nullptr);
  writable->writable_words[kDataOffset / kWordBytes].Store(3, std::memory_order_release);
  Target(*read_only).Store(4, std::memory_order_release);
  EXPECT_EQ(Target(*region_).Load(std::memory_order_acquire), 3u);
  EXPECT_EQ(readable->words[kDataOffset / kWordBytes].Load(std::memory_order_acquire), 4u);
  EXPECT_EQ(connection_.client->Map(RemoteKey{12345}).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace acre::transport
