#include "bench/inserted_records.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "glog/logging.h"
#include "gtest/gtest.h"
#include "runtime/scoped_fd.h"
#include "runtime/shared_word.h"

namespace acre::bench {
namespace {

std::unique_ptr<InsertedRecords> CreateOrDie(uint64_t loaded_count) {
  auto records = InsertedRecords::Create(loaded_count);
  CHECK(records.ok()) << records.status();
  return *std::move(records);
}

// As another process would, which got the descriptor.
std::unique_ptr<InsertedRecords> OpenOrDie(const InsertedRecords& records) {
  auto opened = InsertedRecords::Open(ScopedFd(fcntl(records.fd(), F_DUPFD_CLOEXEC, 0)));
  CHECK(opened.ok()) << opened.status();
  return *std::move(opened);
}

// How often each number was inserted, counted by processes together.
class Tally {
 public:
  explicit Tally(uint64_t numbers_count)
      : bytes_(numbers_count * sizeof(SharedWord)),
        words_(static_cast<SharedWord*>(
            mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    CHECK(words_ != MAP_FAILED);
  }
  ~Tally() { munmap(words_, bytes_); }
  // Relaxed: read when all that add have ended.
  void Add(uint64_t number) {
    CHECK_LT(number, bytes_ / sizeof(SharedWord));
    static_cast<void>(words_[number].FetchAdd(1, std::memory_order_relaxed));
  }
  uint64_t Of(uint64_t number) const { return words_[number].Load(std::memory_order_relaxed); }

 private:
  const size_t bytes_;
  SharedWord* const words_;
};

void Insert(InsertedRecords* records, Tally* tally) {
  const uint64_t number = records->Begin().value();
  tally->Add(number);
  records->Finish(number, true);
}

// Inserts that many records. One attempt in seven fails besides.
void InsertMany(InsertedRecords* records, uint64_t inserts, uint64_t fails_at, Tally* tally) {
  uint64_t count_before = records->count();
  for (uint64_t n = 0; n < inserts; ++n) {
    if (n % 7 == fails_at) records->Finish(records->Begin().value(), false);
    Insert(records, tally);
    const uint64_t count = records->count();
    CHECK_GE(count, count_before);
    count_before = count;
  }
}

// Requires: nobody inserts any more, `inserts` were done.
void ExpectEachOnce(InsertedRecords* records, uint64_t loaded, uint64_t inserts, Tally* tally) {
  // A failure that came last may still have to be made good.
  while (records->count() < loaded + inserts) Insert(records, tally);
  for (uint64_t n = loaded; n < records->count(); ++n) ASSERT_EQ(tally->Of(n), 1u) << n;
}

TEST(InsertedRecordsTest, CountWaitsForTheOldestInsert) {
  const auto records = CreateOrDie(100);
  const uint64_t first = records->Begin().value();
  const uint64_t second = records->Begin().value();
  const uint64_t third = records->Begin().value();
  EXPECT_EQ(first, 100u);
  EXPECT_EQ(third, 102u);
  records->Finish(third, true);
  records->Finish(second, true);
  EXPECT_EQ(records->count(), 100u);
  records->Finish(first, true);
  EXPECT_EQ(records->count(), 103u);
}

TEST(InsertedRecordsTest, FailedInsertIsGivenOutAgain) {
  const auto records = CreateOrDie(0);
  const uint64_t first = records->Begin().value();
  const uint64_t second = records->Begin().value();
  records->Finish(second, true);
  records->Finish(first, false);
  EXPECT_EQ(records->count(), 0u);
  EXPECT_EQ(records->Begin(), first);
  EXPECT_EQ(records->Begin(), second + 1);
  records->Finish(first, true);
  EXPECT_EQ(records->count(), 2u);
}

TEST(InsertedRecordsTest, BothSidesOfADescriptorInsertAmongTheSame) {
  const auto records = CreateOrDie(10);
  const auto others = OpenOrDie(*records);
  const uint64_t first = records->Begin().value();
  const uint64_t second = others->Begin().value();
  EXPECT_EQ(second, first + 1);
  others->Finish(second, true);
  EXPECT_EQ(records->count(), 10u);
  records->Finish(first, false);
  EXPECT_EQ(others->Begin(), first);
  others->Finish(first, true);
  EXPECT_EQ(records->count(), 12u);
  EXPECT_EQ(others->count(), 12u);
}

TEST(InsertedRecordsTest, OtherDescriptorsAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(InsertedRecords::Open(ScopedFd()).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      InsertedRecords::Open(ScopedFd(open("/dev/null", O_RDWR | O_CLOEXEC))).status()));
}

// Goal: one insert that takes very long holds the others up, but neither fails nor confuses them; marks are
// used more than once on the way.
TEST(InsertedRecordsTest, OvertakenInsertStopsTheOthersAtTheLimit) {
  constexpr uint64_t kMax = InsertedRecords::kAheadMax;
  const auto records = CreateOrDie(5);
  for (uint64_t begin = 5; begin < 5 + 2 * kMax; begin += kMax) {
    const uint64_t oldest = records->Begin().value();
    ASSERT_EQ(oldest, begin);
    for (uint64_t n = 1; n < kMax; ++n) records->Finish(records->Begin().value(), true);
    EXPECT_EQ(records->Begin(), absl::nullopt);
    EXPECT_EQ(records->count(), oldest);
    records->Finish(oldest, true);
    EXPECT_EQ(records->count(), oldest + kMax);
  }
}

TEST(InsertedRecordsTest, ThreadsInsertEachRecordOnce) {
  constexpr uint64_t kThreads = 4;
  constexpr uint64_t kInserts = 50'000;
  const auto records = CreateOrDie(10);
  Tally tally(10 + kThreads * kInserts + kThreads);
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] { InsertMany(records.get(), kInserts, /*fails_at=*/i, &tally); });
  }
  for (std::thread& thread : threads) thread.join();
  ExpectEachOnce(records.get(), 10, kThreads * kInserts, &tally);
}

TEST(InsertedRecordsTest, ProcessesInsertEachRecordOnce) {
  constexpr uint64_t kProcesses = 3;
  constexpr uint64_t kInserts = 50'000;
  const auto records = CreateOrDie(10);
  Tally tally(10 + kProcesses * kInserts + kProcesses);
  std::vector<pid_t> children;
  for (uint64_t i = 0; i < kProcesses; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      InsertMany(OpenOrDie(*records).get(), kInserts, /*fails_at=*/i, &tally);
      _exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int exit_status = -1;
    ASSERT_EQ(waitpid(child, &exit_status, 0), child);
    EXPECT_EQ(exit_status, 0);
  }
  ExpectEachOnce(records.get(), 10, kProcesses * kInserts, &tally);
}

// Goal: wherever a process is killed, the others go on, and the count covers nothing that is not there: what
// the dead one may have begun stays out, with all behind it.
TEST(InsertedRecordsTest, KilledProcessHoldsUpNobody) {
  constexpr int kRounds = 20;
  constexpr uint64_t kInsertsMax = 10'000'000;  // More than it lives to do.
  for (int round = 0; round < kRounds; ++round) {
    const auto records = CreateOrDie(10);
    Tally tally(kInsertsMax + 2000);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      while (records->count() < kInsertsMax) Insert(records.get(), &tally);
      while (true) pause();
    }
    // It is in the midst of it.
    while (records->count() < 1000) std::this_thread::yield();
    ASSERT_EQ(kill(child, SIGKILL), 0);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);

    const uint64_t count_before = records->count();
    for (uint64_t n = 10; n < count_before; ++n) ASSERT_EQ(tally.Of(n), 1u) << n;
    uint64_t last = 0;
    for (int n = 0; n < 1000; ++n) {
      last = records->Begin().value();
      ASSERT_EQ(tally.Of(last), 0u) << last;
      records->Finish(last, true);
    }
    // All was inserted, but perhaps for one that it had under way.
    EXPECT_TRUE(records->count() == last + 1 || records->count() == count_before)
        << records->count() << " " << last << " " << count_before;
  }
}

}  // namespace
}  // namespace acre::bench
