#include "bench/inserted_records.h"

#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace acre::bench {
namespace {

TEST(InsertedRecordsTest, CountWaitsForTheOldestInsert) {
  InsertedRecords records(100);
  const uint64_t first = records.Begin();
  const uint64_t second = records.Begin();
  const uint64_t third = records.Begin();
  EXPECT_EQ(first, 100u);
  EXPECT_EQ(third, 102u);
  records.Finish(third, true);
  records.Finish(second, true);
  EXPECT_EQ(records.count(), 100u);
  records.Finish(first, true);
  EXPECT_EQ(records.count(), 103u);
}

TEST(InsertedRecordsTest, FailedInsertIsGivenOutAgain) {
  InsertedRecords records(0);
  const uint64_t first = records.Begin();
  const uint64_t second = records.Begin();
  records.Finish(second, true);
  records.Finish(first, false);
  EXPECT_EQ(records.count(), 0u);
  EXPECT_EQ(records.Begin(), first);
  records.Finish(first, true);
  EXPECT_EQ(records.count(), 2u);
}

TEST(InsertedRecordsTest, ThreadsInsertEachRecordOnce) {
  InsertedRecords records(10);
  constexpr int kThreads = 4;
  constexpr uint64_t kInserts = 50'000;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&records, i] {
      for (uint64_t n = 0; n < kInserts; ++n) {
        const uint64_t number = records.Begin();
        records.Finish(number, n % 7 != static_cast<uint64_t>(i));
        EXPECT_LE(records.count(), 10 + kThreads * kInserts);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  while (records.count() < 10 + kThreads * kInserts) records.Finish(records.Begin(), true);
  EXPECT_EQ(records.count(), 10 + kThreads * kInserts);
}

}  // namespace
}  // namespace acre::bench
