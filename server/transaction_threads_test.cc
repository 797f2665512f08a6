#include "server/transaction_threads.h"

#include "gtest/gtest.h"

namespace acre::server {
namespace {

using kvs::TransactionOutcome;
using kvs::TransactionThread;

TransactionThread Thread(uint32_t thread) { return {0, 7, thread}; }

class TransactionThreadsTest : public testing::Test {
 protected:
  bool Binds(uint32_t thread, int worker, uint64_t connection) {
    const absl::Status status = threads_.Bind(Thread(thread), worker, connection);
    EXPECT_TRUE(status.ok() || absl::IsFailedPrecondition(status)) << status;
    return status.ok();
  }

  TransactionThreads threads_;
};

TEST_F(TransactionThreadsTest, BelongsToTheFirstThatShowsIt) {
  EXPECT_FALSE(threads_.Find(Thread(1)).has_value());
  EXPECT_TRUE(Binds(1, 0, 5));
  EXPECT_TRUE(Binds(1, 0, 5)) << "again";
  EXPECT_FALSE(Binds(1, 0, 6));
  EXPECT_FALSE(Binds(1, 1, 5)) << "the same number at another worker";
  EXPECT_TRUE(Binds(2, 1, 5));
  EXPECT_EQ(threads_.Find(Thread(2))->worker, 1);
}

TEST_F(TransactionThreadsTest, NothingIsTakenOnceItHasEnded) {
  ASSERT_TRUE(Binds(1, 0, 5));
  threads_.EndConnection(Thread(1));
  EXPECT_FALSE(Binds(1, 0, 5));
  EXPECT_FALSE(Binds(1, 0, 6));
  EXPECT_EQ(threads_.Find(Thread(1))->worker, 0) << "what it left lies there";
}

TEST_F(TransactionThreadsTest, OneThatIsClosedBeforeItComesIsOver) {
  EXPECT_FALSE(threads_.Close(Thread(1)).has_value());
  EXPECT_FALSE(Binds(1, 0, 5));
  const auto place = threads_.Find(Thread(1));
  ASSERT_TRUE(place.has_value());
  EXPECT_TRUE(place->is_over);
  EXPECT_EQ(place->worker, TransactionThreads::kNoWorker);
  EXPECT_EQ(TransactionThreads::OutcomeOf(*place, {Thread(1), 1}), TransactionOutcome::kPromised);
}

TEST_F(TransactionThreadsTest, OneThatIsClosedKeepsItsPlace) {
  ASSERT_TRUE(Binds(1, 0, 5));
  const auto before = threads_.Close(Thread(1));
  ASSERT_TRUE(before.has_value());
  EXPECT_FALSE(before->is_closed);
  EXPECT_EQ(before->connection, 5u);
  EXPECT_FALSE(Binds(1, 0, 5));
  EXPECT_TRUE(threads_.Close(Thread(1))->is_closed) << "again";
}

TEST_F(TransactionThreadsTest, TheLastOutcomesOutliveIt) {
  ASSERT_TRUE(Binds(1, 0, 5));
  threads_.EndConnection(Thread(1));
  threads_.Forget(Thread(1), {4, 6}, /*finished_below=*/3);
  const auto place = threads_.Find(Thread(1));
  ASSERT_TRUE(place.has_value());
  const auto outcome = [&](uint64_t sequence) {
    return TransactionThreads::OutcomeOf(*place, {Thread(1), sequence});
  };
  EXPECT_EQ(outcome(2), TransactionOutcome::kUnknown);
  EXPECT_EQ(outcome(4), TransactionOutcome::kCommitted);
  EXPECT_EQ(outcome(5), TransactionOutcome::kPromised);
  EXPECT_EQ(outcome(6), TransactionOutcome::kCommitted);
  EXPECT_EQ(outcome(7), TransactionOutcome::kPromised);
}

TEST_F(TransactionThreadsTest, OnlySoManyThatAreOverAreRemembered) {
  const auto end = [&](uint32_t thread) {
    ASSERT_TRUE(Binds(thread, 0, 5));
    threads_.EndConnection(Thread(thread));
    threads_.Forget(Thread(thread), {}, 0);
  };
  constexpr auto kMax = static_cast<uint32_t>(TransactionThreads::kOverMax);
  ASSERT_TRUE(Binds(kMax + 10, 0, 6));
  for (uint32_t thread = 1; thread <= kMax; ++thread) end(thread);
  EXPECT_TRUE(threads_.Find(Thread(1)).has_value());
  end(kMax + 1);
  EXPECT_FALSE(threads_.Find(Thread(1)).has_value());
  EXPECT_TRUE(threads_.Find(Thread(2)).has_value());
  EXPECT_TRUE(threads_.Find(Thread(kMax + 10)).has_value()) << "one that is there is none of them";
}

}  // namespace
}  // namespace acre::server
