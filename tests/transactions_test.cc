// Transactions as users have them: kv_server processes, alone and as a cluster, clients in threads and processes of their
// own, kill -9. What is strictly serialisable and what is not, //client:kv_verify and its test judge.

#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvs/write_plan.h"
#include "runtime/clock.h"
#include "tests/or_die.h"
#include "tests/process.h"
#include "tests/test_cluster.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

std::vector<Way> WaysOfTransactions() {
  std::vector<Way> ways;
  for (const Way& way : AllWays()) {
    if (way.path == Path::kMapped || way.path == Path::kOneSided) ways.push_back(way);
  }
  return ways;
}

class TransactionsTest : public testing::TestWithParam<Way> {
 protected:
  std::unique_ptr<Client> Join() { return JoinOrDie(cluster_.addresses, GetParam()); }
  std::string A(absl::string_view prefix = "key") const { return cluster_.KeyOf(0, prefix); }
  std::string B(absl::string_view prefix = "key") const { return cluster_.KeyOf(1, prefix); }
  uint64_t StatOfAll(Client* client, absl::string_view name) {
    uint64_t sum = 0;
    for (const std::string& address : cluster_.addresses) sum += StatOf(client, address, name);
    return sum;
  }

  TestCluster cluster_{2};
};

INSTANTIATE_TEST_SUITE_P(All, TransactionsTest, testing::ValuesIn(WaysOfTransactions()),
                         [](const auto& of) { return of.param.Name(); });

TEST_P(TransactionsTest, WritesOnTwoServersHappenTogether) {
  const auto client = Join();
  const auto other = Join();
  Transaction transaction = client->Begin();
  EXPECT_TRUE(absl::IsNotFound(transaction.Get(A()).status()));
  ASSERT_EQ(transaction.Put(A(), "1"), absl::OkStatus());
  ASSERT_EQ(transaction.Put(B(), "2"), absl::OkStatus());
  EXPECT_EQ(transaction.Get(A()).value(), "1") << "it sees its own writes";
  EXPECT_TRUE(absl::IsNotFound(other->Get(A()).status())) << "others do not";
  ASSERT_EQ(transaction.Commit(), absl::OkStatus());
  EXPECT_EQ(other->Get(A()).value(), "1");
  EXPECT_EQ(other->Get(B()).value(), "2");
  EXPECT_TRUE(absl::IsFailedPrecondition(transaction.Put(A(), "3"))) << "it has ended";
  EXPECT_EQ(client->transaction_stats().committed, 1u);
  // Records of each kind, changed and deleted.
  const std::string long_value(5000, 'v');
  ASSERT_EQ(client->RunTransaction([&](Transaction* again) -> absl::Status {
    if (again->Get(B()).value() != "2") return absl::InternalError("not as it was left");
    absl::Status status = again->Put(A(), long_value);
    status.Update(again->Delete(B()));
    status.Update(again->Delete(B("absent")));
    return status;
  }),
            absl::OkStatus());
  EXPECT_EQ(other->Get(A()).value(), long_value);
  EXPECT_TRUE(absl::IsNotFound(other->Get(B()).status()));
}

TEST_P(TransactionsTest, NothingHappensOfWhatFailsOrIsLeft) {
  const auto client = Join();
  ASSERT_EQ(client->Put(A(), "old"), absl::OkStatus());
  {
    Transaction left = client->Begin();
    ASSERT_EQ(left.Put(A(), "new"), absl::OkStatus());
  }
  EXPECT_EQ(client->Get(A()).value(), "old");
  EXPECT_EQ(client->RunTransaction([&](Transaction* transaction) -> absl::Status {
    EXPECT_EQ(transaction->Put(A(), "new"), absl::OkStatus());
    EXPECT_EQ(transaction->Put(B(), "new"), absl::OkStatus());
    return absl::CancelledError("its own reason");
  }),
            absl::CancelledError("its own reason"));
  EXPECT_EQ(client->Get(A()).value(), "old");
  EXPECT_TRUE(absl::IsNotFound(client->Get(B()).status()));
  EXPECT_EQ(StatOfAll(client.get(), "transactions_open"), 0u);
}

TEST_P(TransactionsTest, WhatChangedBehindAReadIsNoticed) {
  const auto client = Join();
  const auto other = Join();
  ASSERT_EQ(client->Put(A(), "1"), absl::OkStatus());
  ASSERT_EQ(client->Put(B(), "1"), absl::OkStatus());
  // Its next read: it would see what never stood together.
  Transaction torn = client->Begin();
  EXPECT_EQ(torn.Get(A()).value(), "1");
  ASSERT_EQ(other->Put(A(), "2"), absl::OkStatus());
  EXPECT_TRUE(absl::IsAborted(torn.Get(B()).status()));
  EXPECT_EQ(torn.reason().phase, AbortReason::Phase::kRead);
  EXPECT_EQ(torn.reason().key, A());
  EXPECT_TRUE(absl::IsAborted(torn.Commit())) << "and so does all that follows";
  // At its locks.
  Transaction loses = client->Begin();
  EXPECT_EQ(loses.Get(A()).value(), "2");
  ASSERT_EQ(other->Put(A(), "3"), absl::OkStatus());
  ASSERT_EQ(loses.Put(A(), "mine"), absl::OkStatus());
  ASSERT_EQ(loses.Put(B(), "mine"), absl::OkStatus());
  const absl::Status lost = loses.Commit();
  EXPECT_TRUE(absl::IsAborted(lost)) << lost;
  EXPECT_THAT(std::string(lost.message()), HasSubstr(A()));
  EXPECT_EQ(loses.reason().phase, AbortReason::Phase::kLock);
  EXPECT_EQ(loses.reason().key, A());
  EXPECT_FALSE(loses.is_outcome_unknown());
  // What it only read, at its commit.
  Transaction skewed = client->Begin();
  EXPECT_EQ(skewed.Get(A()).value(), "3");
  ASSERT_EQ(other->Put(A(), "4"), absl::OkStatus());
  ASSERT_EQ(skewed.Put(B(), "mine"), absl::OkStatus());
  EXPECT_TRUE(absl::IsAborted(skewed.Commit()));
  EXPECT_EQ(skewed.reason().phase, AbortReason::Phase::kValidate);
  EXPECT_EQ(skewed.reason().key, A());
  // What was not there, too.
  Transaction missed = client->Begin();
  EXPECT_TRUE(absl::IsNotFound(missed.Get(A("absent")).status()));
  ASSERT_EQ(other->Put(A("absent"), "there"), absl::OkStatus());
  ASSERT_EQ(missed.Put(B(), "mine"), absl::OkStatus());
  EXPECT_TRUE(absl::IsAborted(missed.Commit()));
  EXPECT_EQ(missed.reason().key, A("absent"));
  EXPECT_EQ(client->Get(A()).value(), "4");
  EXPECT_EQ(client->Get(B()).value(), "1");
  EXPECT_EQ(StatOfAll(client.get(), "transactions_open"), 0u);
}

TEST_P(TransactionsTest, InsertsNextToWhatItFoundAbsent) {
  const auto client = Join();
  // Many keys of one server: some share a home bucket, whose misses its own inserts would spoil.
  ASSERT_EQ(client->RunTransaction([&](Transaction* transaction) -> absl::Status {
    for (int i = 0, found = 0; found < 100; ++i) {
      const std::string key = absl::StrCat("many", i);
      if (cluster_.HomeOf(key) != 0) continue;
      ++found;
      const absl::Status read = transaction->Get(key).status();
      if (!absl::IsNotFound(read)) return absl::InternalError(read.ToString());
      if (found % 2 == 0) continue;
      if (absl::Status put = transaction->Put(key, "v"); !put.ok()) return put;
    }
    return absl::OkStatus();
  }),
            absl::OkStatus());
  uint64_t aborted = 0;
  for (const uint64_t count : client->transaction_stats().aborted) aborted += count;
  EXPECT_EQ(aborted, 0u) << "nobody got in its way";
}

TEST_P(TransactionsTest, LimitsAreToldInWords) {
  const auto client = Join();
  Transaction transaction = client->Begin();
  EXPECT_TRUE(absl::IsInvalidArgument(transaction.Put("", "v")));
  EXPECT_TRUE(absl::IsInvalidArgument(transaction.Put("k", std::string((1 << 20) + 1, 'v'))));
  EXPECT_TRUE(absl::IsInvalidArgument(transaction.Get("").status()));
  for (size_t i = 0, found = 0; found <= kvs::kTransactionWritesMax; ++i) {
    const std::string key = absl::StrCat("limit", i);
    if (cluster_.HomeOf(key) != 0) continue;
    ++found;
    ASSERT_EQ(transaction.Put(key, "v"), absl::OkStatus());
  }
  const absl::Status too_many = transaction.Commit();
  EXPECT_TRUE(absl::IsInvalidArgument(too_many)) << too_many;
  Transaction large = client->Begin();
  ASSERT_EQ(large.Put(A("x"), std::string(1 << 20, 'v')), absl::OkStatus());
  ASSERT_EQ(large.Put(A("y"), std::string(1 << 20, 'v')), absl::OkStatus());
  const absl::Status too_large = large.Commit();
  EXPECT_TRUE(absl::IsInvalidArgument(too_large)) << too_large;
  EXPECT_TRUE(absl::IsNotFound(client->Get(A("x")).status()));
}

TEST_P(TransactionsTest, ReadOnlyOnesCostReadsAndValidations) {
  const auto client = Join();
  ASSERT_EQ(client->Put(A(), "1"), absl::OkStatus());
  ASSERT_EQ(client->Put(B(), "1"), absl::OkStatus());
  const TransactionStats before = client->transaction_stats();
  const transport::VerbCounters verbs_before = client->verbs();
  const std::vector<std::string> keys = {A(), B()};
  ASSERT_EQ(client->RunTransaction([&](Transaction* transaction) -> absl::Status {
    std::vector<absl::string_view> views(keys.begin(), keys.end());
    std::vector<std::string> values(2);
    std::vector<absl::Status> statuses(2);
    transaction->MultiGet(views, absl::MakeSpan(values), absl::MakeSpan(statuses));
    if (!statuses[0].ok()) return statuses[0];
    return statuses[1];
  }),
            absl::OkStatus());
  const TransactionStats after = client->transaction_stats();
  EXPECT_EQ(after.reads - before.reads, 2u);
  EXPECT_EQ(after.read_validations - before.read_validations, 2u);
  EXPECT_EQ(after.calls, before.calls);
  EXPECT_EQ(after.notices, before.notices);
  transport::VerbCounters verbs = client->verbs();
  verbs -= verbs_before;
  EXPECT_EQ(verbs.writes, 0u);
  EXPECT_EQ(verbs.reads, GetParam().path == Path::kMapped ? 0u : 4u);
}

TEST_P(TransactionsTest, TransfersOfManyKeepTheSum) {
  constexpr int kAccounts = 6;
  constexpr int kThreads = 3;
  const int rounds = WaysAreSlow() ? 50 : 400;
  const auto client = Join();
  const auto key_of = [](uint64_t account) { return absl::StrCat("account", account); };
  for (int i = 0; i < kAccounts; ++i) ASSERT_EQ(client->Put(key_of(i), "1000"), absl::OkStatus());
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      const auto own = Join();
      for (int round = 0; round < rounds; ++round) {
        const int from = (thread + round) % kAccounts;
        const int to = (from + 1 + round % (kAccounts - 1)) % kAccounts;
        const absl::Status moved =
            own->RunTransaction([&](Transaction* transaction) -> absl::Status {
              const auto a = transaction->Get(key_of(from));
              if (!a.ok()) return a.status();
              const auto b = transaction->Get(key_of(to));
              if (!b.ok()) return b.status();
              int64_t of_a = 0;
              int64_t of_b = 0;
              CHECK(absl::SimpleAtoi(*a, &of_a) && absl::SimpleAtoi(*b, &of_b));
              absl::Status status = transaction->Put(key_of(from), absl::StrCat(of_a - 1));
              status.Update(transaction->Put(key_of(to), absl::StrCat(of_b + 1)));
              return status;
            });
        EXPECT_EQ(moved, absl::OkStatus());
      }
    });
  }
  // Meanwhile whoever reads them all sees the whole sum: each time, not only in those that commit.
  bool stop = false;
  int sums = 0;
  while (!stop) {
    stop = sums >= rounds / 4;
    const absl::Status read = client->RunTransaction([&](Transaction* transaction) -> absl::Status {
      int64_t sum = 0;
      for (int i = 0; i < kAccounts; ++i) {
        const auto value = transaction->Get(key_of(i));
        if (!value.ok()) return value.status();
        int64_t amount = 0;
        CHECK(absl::SimpleAtoi(*value, &amount));
        sum += amount;
      }
      EXPECT_EQ(sum, kAccounts * 1000);
      return absl::OkStatus();
    });
    EXPECT_EQ(read, absl::OkStatus());
    ++sums;
  }
  for (std::thread& thread : threads) thread.join();
  int64_t sum = 0;
  for (int i = 0; i < kAccounts; ++i) {
    int64_t amount = 0;
    CHECK(absl::SimpleAtoi(client->Get(key_of(i)).value(), &amount));
    sum += amount;
  }
  EXPECT_EQ(sum, kAccounts * 1000);
  EXPECT_EQ(StatOfAll(client.get(), "transactions_open"), 0u);
}

TEST_P(TransactionsTest, AServerThatIsStartedAnewIsAnotherOne) {
  const auto client = Join();
  ASSERT_EQ(client->Put(A(), "1"), absl::OkStatus());
  ASSERT_EQ(client->Put(B(), "1"), absl::OkStatus());
  Transaction transaction = client->Begin();
  EXPECT_EQ(transaction.Get(A()).value(), "1");
  EXPECT_EQ(transaction.Get(B()).value(), "1");
  KillAndOutliveLease(cluster_.servers[1].get(), client.get(), B());
  cluster_.servers[1] = StartMember(cluster_.addresses[1], cluster_.file);
  ASSERT_EQ(transaction.Put(A(), "2"), absl::OkStatus());
  const absl::Status status = transaction.Commit();
  EXPECT_FALSE(status.ok()) << "what it read is gone";
  EXPECT_FALSE(transaction.is_outcome_unknown());
  EXPECT_EQ(client->Get(A()).value(), "1");
  // And the next one gets on.
  ASSERT_EQ(client->RunTransaction([&](Transaction* next) -> absl::Status {
    absl::Status put = next->Put(A(), "3");
    put.Update(next->Put(B(), "3"));
    return put;
  }),
            absl::OkStatus());
  EXPECT_EQ(client->Get(B()).value(), "3");
}

TEST(TransactionPathsTest, PathsThatReadNoMemorySaySo) {
  const auto server = StartOrDie();
  for (const Path path : {Path::kRpc, Path::kTcp}) {
    const auto client = ConnectOrDie(server->address(), path);
    Transaction transaction = client->Begin();
    const absl::Status status = transaction.Get("key").status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("path"));
  }
}

}  // namespace
}  // namespace acre::tests
