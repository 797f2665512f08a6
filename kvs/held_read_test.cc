// RemoteReader on a card that completes its READs when the test says so: tasks that are destroyed
// meanwhile leave nothing behind, and deadlines are kept.

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kvs/card_test_util.h"
#include "kvs/table_test_util.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre::kvs {
namespace {

// More than a reader has landings for buckets, and than it has for objects.
constexpr int kManyReads = 200;
// No test needs as many passes of the loop.
constexpr int kPassesMax = 1000;

// A card to the table's only region. Lets the first `let_through` READs through at once, and holds the
// others till Release().
class GateCard : public TestCard {
 public:
  explicit GateCard(const SharedWord* words) : words_(words) {}

  absl::Status DoPost(absl::Span<const transport::WorkRequest> batch) override {
    for (const transport::WorkRequest& request : batch) {
      held_.push_back(request);
      if (let_through > 0) {
        --let_through;
        Release();
      }
    }
    return absl::OkStatus();
  }
  void Release() {
    for (const transport::WorkRequest& request : held_) {
      CopyFromShared(reinterpret_cast<uint64_t*>(request.local),
                     words_ + request.remote_offset_bytes / kWordBytes,
                     request.length_bytes / kWordBytes, CopyOrder::kAscending);
      Complete(request);
    }
    held_.clear();
  }
  const std::deque<transport::WorkRequest>& held() const { return held_; }

  int let_through = 0;

 private:
  const SharedWord* const words_;
  std::deque<transport::WorkRequest> held_;
};

class HeldReadTest : public ::testing::Test {
 public:  // For coroutines, which take the test as a parameter.
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(server_.Open(&clock_, 1, 1 << 20, 1));
    writer_ = std::make_unique<TableWriter>(server_.table(), &scheduler_);
    Put(kShort, "value");
    Put(kLong, std::string(5000, 'v'));
    card_ = std::make_unique<GateCard>(server_.segment(0).words());
    transport::ShmFabric::Options options;
    options.clock = &clock_;
    auto fabric = transport::ShmFabric::Create(options);
    ASSERT_TRUE(fabric.ok()) << fabric.status();
    fabric_ = *std::move(fabric);
    port_ = std::make_unique<transport::Port>(&scheduler_, card_.get());
    const RegionEntry entry = {TestServer::kFirstRegionId, {1}, 1 << 20};
    card_->let_through = 1;  // The READ of the layout.
    auto reader = scheduler_.RunUntilDone(RemoteReader::Create(
        fabric_.get(), port_.get(), card_.get(), {entry}, 1, TestReaders::kNoDeadlineNs));
    ASSERT_TRUE(reader.ok()) << reader.status();
    reader_ = *std::move(reader);
  }
  void TearDown() override {
    reader_.reset();
    port_.reset();
    writer_.reset();
  }

  void Put(const std::string& key, const std::string& value) {
    const absl::Status status = scheduler_.RunUntilDone(writer_->Put(key, value));
    ASSERT_TRUE(status.ok()) << status;
  }
  static Task<void> GetOnce(RemoteReader* reader, const std::string* key, absl::Status* status) {
    std::string value;
    *status = co_await reader->Get(*key, &value, TestReaders::kNoDeadlineNs);
  }
  SpawnHandle StartGet(const std::string& key) {
    status_ = absl::UnknownError("not done: no place to read into is left");
    SpawnHandle handle = scheduler_.Spawn(GetOnce(reader_.get(), &key, &status_));
    scheduler_.RunOnce();
    return handle;
  }
  // Starts Gets, of each of which `let_through` READs go through and the next one is held, and
  // destroys their tasks.
  void CancelGets(const std::string& key, int count, int let_through) {
    for (int i = 0; i < count; ++i) {
      card_->let_through = let_through;
      SpawnHandle handle = StartGet(key);
      scheduler_.RunOnce();
      ASSERT_FALSE(handle.done());
      handle.Cancel();
    }
    card_->let_through = 0;
  }
  void ReleaseAll() {
    card_->Release();
    for (int i = 0; i < kPassesMax; ++i) scheduler_.RunOnce();
  }
  // A Get whose deadline passes while a READ of it is held, or a landing is missing.
  absl::Status GetForTwoMs(const std::string& key) {
    std::string value;
    return scheduler_.RunUntilDone(reader_->Get(key, &value, scheduler_.NowNs() + 2'000'000));
  }
  // A Get on a card that lets all through.
  absl::Status GetNow(const std::string& key) {
    card_->let_through = kPassesMax;
    SpawnHandle handle = StartGet(key);
    for (int i = 0; i < kPassesMax && !handle.done(); ++i) scheduler_.RunOnce();
    handle.Cancel();
    card_->let_through = 0;
    return status_;
  }

  const std::string kShort = "short";
  const std::string kLong = "long";
  RealClock clock_;
  // Busy: the card wakes nobody (kvs/card_test_util.h).
  Scheduler scheduler_{{.clock = &clock_, .poll_mode = PollMode::kBusy, .name = "held_read_test"}};
  TestServer server_;
  std::unique_ptr<TableWriter> writer_;
  std::unique_ptr<GateCard> card_;
  std::unique_ptr<transport::Fabric> fabric_;
  std::unique_ptr<transport::Port> port_;
  std::unique_ptr<RemoteReader> reader_;
  absl::Status status_;
};

// Goal: landings of READs that nobody waits for any more are used again once the READs have ended.
TEST_F(HeldReadTest, CancelledGetsGiveTheirLandingsBack) {
  ASSERT_NO_FATAL_FAILURE(CancelGets(kShort, kManyReads, 0));
  EXPECT_FALSE(GetNow(kShort).ok()) << "it had a landing, though a READ is under way to each";
  ReleaseAll();
  ASSERT_EQ(GetNow(kShort), absl::OkStatus());
  EXPECT_EQ(GetNow(kLong), absl::OkStatus());
}

// Goal: and not before: no two READs that are under way land in one place.
TEST_F(HeldReadTest, LandingsAreNotUsedBeforeTheirReadsHaveEnded) {
  ASSERT_NO_FATAL_FAILURE(CancelGets(kShort, kManyReads, 0));
  ASSERT_GT(card_->held().size(), 1u);
  for (const transport::WorkRequest& one : card_->held()) {
    for (const transport::WorkRequest& other : card_->held()) {
      EXPECT_TRUE(&one == &other || one.local != other.local);
    }
  }
}

// Goal: the same of the few places for objects.
TEST_F(HeldReadTest, CancelledReadsOfObjectsGiveTheirLandingsBack) {
  ASSERT_NO_FATAL_FAILURE(CancelGets(kLong, kManyReads, 1));
  EXPECT_LT(card_->held().size(), 10u);
  ReleaseAll();
  EXPECT_EQ(GetNow(kLong), absl::OkStatus());
}

TEST_F(HeldReadTest, CancelledMultiGetsGiveTheirLandingsBack) {
  const std::vector<absl::string_view> keys(16, kShort);
  std::vector<std::string> values(keys.size());
  std::vector<absl::Status> statuses(keys.size());
  for (int i = 0; i < kManyReads; ++i) {
    SpawnHandle handle = scheduler_.Spawn(reader_->MultiGet(
        keys, absl::MakeSpan(values), absl::MakeSpan(statuses), TestReaders::kNoDeadlineNs));
    scheduler_.RunOnce();
    ASSERT_FALSE(handle.done());
    handle.Cancel();
    ReleaseAll();
  }
  EXPECT_EQ(GetNow(kShort), absl::OkStatus());
}

// Goal: a READ that came through, and whose task is destroyed before it ran again, keeps nothing.
TEST_F(HeldReadTest, CancelledBetweenCompletionAndResumptionKeepsNothing) {
  const auto cancel = [](SpawnHandle* handle) -> Task<void> {
    handle->Cancel();
    co_return;
  };
  for (int i = 0; i < kManyReads; ++i) {
    SpawnHandle handle;
    // Runs first in the pass in which the completion is polled.
    handle = StartGet(kShort);
    ASSERT_FALSE(handle.done());
    scheduler_.Spawn(cancel(&handle)).Detach();
    card_->Release();
    scheduler_.RunOnce();
    ASSERT_TRUE(handle.done());
  }
  EXPECT_EQ(GetNow(kShort), absl::OkStatus());
}

// Goal: what is under way on a queue pair that goes, goes with it.
TEST_F(HeldReadTest, QueuePairThatGoesGivesAllLandingsBack) {
  ASSERT_NO_FATAL_FAILURE(CancelGets(kShort, kManyReads, 0));
  port_->Forget(card_.get());
  EXPECT_EQ(GetNow(kShort), absl::OkStatus());
}

// Goal: the reader knows of each read that is in the middle of what it does, whoever began it, till its
// end, and of no other: what was freed is kept for those (kvs/epoch.h).
TEST_F(HeldReadTest, ReadsUnderWayAreCounted) {
  EXPECT_EQ(reader_->reads_under_way(), 0u);
  card_->let_through = 1;  // The bucket: then it is at the object.
  SpawnHandle at_object = StartGet(kLong);
  EXPECT_EQ(reader_->reads_under_way(), 1u);
  SpawnHandle at_bucket = StartGet(kShort);
  EXPECT_EQ(reader_->reads_under_way(), 2u);
  ReleaseAll();
  EXPECT_TRUE(at_object.done());
  EXPECT_TRUE(at_bucket.done());
  EXPECT_EQ(reader_->reads_under_way(), 0u);
  // A cancelled one has ended, though its READ is under way.
  ASSERT_NO_FATAL_FAILURE(CancelGets(kLong, 3, 1));
  ASSERT_NO_FATAL_FAILURE(CancelGets(kShort, 3, 0));
  EXPECT_EQ(reader_->reads_under_way(), 0u);
  ReleaseAll();
  EXPECT_EQ(GetNow(kLong), absl::OkStatus());
  EXPECT_EQ(reader_->reads_under_way(), 0u);
}

// Goal: a READ that is held up is given up at the deadline, by the first READ of a Get, of a miss's
// second collect, and of an object.
TEST_F(HeldReadTest, HeldUpReadEndsAtTheDeadline) {
  for (int i = 0; i < kManyReads / 10; ++i) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(GetForTwoMs(kShort)));
    card_->let_through = 1;
    EXPECT_TRUE(absl::IsDeadlineExceeded(GetForTwoMs("not there")));
    card_->let_through = 1;
    EXPECT_TRUE(absl::IsDeadlineExceeded(GetForTwoMs(kLong)));
    ReleaseAll();
  }
  EXPECT_EQ(GetNow(kShort), absl::OkStatus());
  EXPECT_EQ(GetNow(kLong), absl::OkStatus());
}

// Goal: who finds all landings taken waits for one till the deadline, no longer.
TEST_F(HeldReadTest, WaitForALandingEndsAtTheDeadline) {
  ASSERT_NO_FATAL_FAILURE(CancelGets(kLong, kManyReads, 1));
  card_->let_through = 1;
  EXPECT_TRUE(absl::IsDeadlineExceeded(GetForTwoMs(kLong)));
  card_->let_through = 0;
  ASSERT_NO_FATAL_FAILURE(CancelGets(kShort, kManyReads, 0));
  EXPECT_TRUE(absl::IsDeadlineExceeded(GetForTwoMs(kShort)));
  ReleaseAll();
  EXPECT_EQ(GetNow(kShort), absl::OkStatus());
  EXPECT_EQ(GetNow(kLong), absl::OkStatus());
}

// Goal: a MultiGet ends at the deadline with an answer for each key, and posts nothing more.
TEST_F(HeldReadTest, MultiGetEndsAtTheDeadline) {
  std::vector<absl::string_view> keys(100, kShort);
  keys[50] = "";
  std::vector<std::string> values(keys.size());
  std::vector<absl::Status> statuses(keys.size());
  card_->let_through = 16;  // One doorbell.
  scheduler_.RunUntilDone(reader_->MultiGet(keys, absl::MakeSpan(values), absl::MakeSpan(statuses),
                                            scheduler_.NowNs() + 2'000'000));
  for (size_t i = 0; i < keys.size(); ++i) {
    const absl::StatusCode expected = i < 16    ? absl::StatusCode::kOk
                                      : i == 50 ? absl::StatusCode::kInvalidArgument
                                                : absl::StatusCode::kDeadlineExceeded;
    EXPECT_EQ(statuses[i].code(), expected) << i;
  }
  EXPECT_EQ(card_->held().size(), 16u);
  ReleaseAll();
  EXPECT_EQ(GetNow(kShort), absl::OkStatus());
}

// Goal: what completes at once is given, though the deadline has passed.
TEST_F(HeldReadTest, ReadThatCompletesAtOnceNeedsNoDeadline) {
  card_->let_through = 10;
  std::string value;
  EXPECT_EQ(scheduler_.RunUntilDone(reader_->Get(kLong, &value, /*deadline_ns=*/1)),
            absl::OkStatus());
  EXPECT_EQ(value, std::string(5000, 'v'));
}

// Goal: a validation keeps its deadline, and its READs, which share a landing, give it back when all have ended.
TEST_F(HeldReadTest, ValidationsKeepTheirDeadline) {
  std::string value;
  MarkedGet get = {kShort, &value, {}, {}};
  card_->let_through = 1;
  scheduler_.RunUntilDone(reader_->MultiGetMarked({&get, 1}, TestReaders::kNoDeadlineNs));
  ASSERT_TRUE(get.status.ok()) << get.status;
  const std::vector<ReadMark> marks(3, get.mark);
  absl::optional<size_t> changed = 7;
  for (int i = 0; i < kManyReads; ++i) {
    // Once all landings are taken they are what is waited for.
    const absl::Status status =
        scheduler_.RunUntilDone(reader_->Validate(marks, &changed, scheduler_.NowNs() + 10'000));
    ASSERT_TRUE(absl::IsDeadlineExceeded(status)) << status;
    ASSERT_FALSE(changed.has_value());
  }
  ASSERT_GT(card_->held().size(), 100u);
  ReleaseAll();
  EXPECT_EQ(reader_->reads_under_way(), 0u);
  Put(kShort, "other");
  for (int i = 0; i < kManyReads; ++i) {
    card_->let_through = 3;
    ASSERT_TRUE(
        scheduler_.RunUntilDone(reader_->Validate(marks, &changed, TestReaders::kNoDeadlineNs))
            .ok());
    ASSERT_EQ(changed, absl::optional<size_t>(0));
  }
  // Gets find their landings free again.
  EXPECT_EQ(GetNow(kShort), absl::OkStatus());
}

}  // namespace
}  // namespace acre::kvs
