// The mixes of bench/txn: what they choose, what they load, and what their transactions do, against a map in place of
// the store.

#include "bench/transactions/workload.h"

#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/transactions/smallbank.h"
#include "bench/transactions/tatp.h"
#include "bench/transactions/transfer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvs/hash.h"
#include "kvs/key_share.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"

namespace acre::bench {
namespace {

using testing::HasSubstr;
using Store = std::map<std::string, std::string>;

// Of one attempt that nobody disturbs: it commits into the map.
class MapTransaction : public TxnCalls {
 public:
  explicit MapTransaction(Store* store) : store_(store) {}

  Task<absl::Status> Get(absl::string_view key, std::string* value) override {
    co_return Read(key, value);
  }
  Task<void> MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses) override {
    ++multi_gets_;
    for (size_t i = 0; i < keys.size(); ++i) statuses[i] = Read(keys[i], &values[i]);
    co_return;
  }
  absl::Status Put(absl::string_view key, absl::string_view value) override {
    writes_[std::string(key)] = std::string(value);
    return absl::OkStatus();
  }
  absl::Status Delete(absl::string_view key) override {
    writes_[std::string(key)] = absl::nullopt;
    return absl::OkStatus();
  }
  void Commit() {
    for (const auto& [key, value] : writes_) {
      if (value.has_value()) {
        (*store_)[key] = *value;
      } else {
        store_->erase(key);
      }
    }
  }

  const std::set<std::string>& reads() const { return reads_; }
  size_t writes_count() const { return writes_.size(); }
  int multi_gets() const { return multi_gets_; }

 private:
  absl::Status Read(absl::string_view key, std::string* value) {
    reads_.insert(std::string(key));
    const auto found = store_->find(std::string(key));
    if (found == store_->end()) return absl::NotFoundError("no such record");
    *value = found->second;
    return absl::OkStatus();
  }

  Store* const store_;
  std::set<std::string> reads_;
  std::map<std::string, absl::optional<std::string>> writes_;
  int multi_gets_ = 0;
};

Store Populate(const TxnWorkload& workload) {
  Store store;
  std::vector<TxnRecord> records;
  for (uint32_t unit = 0; unit < workload.units_count(); ++unit) {
    workload.AppendRecords(unit, &records);
  }
  for (const TxnRecord& record : records) {
    EXPECT_TRUE(store.emplace(record.key, record.value).second) << "a key twice";
  }
  return store;
}

int64_t Audit(const TxnWorkload& workload, const Store& store) {
  std::vector<std::string> keys;
  for (uint32_t unit = 0; unit < workload.units_count(); ++unit) {
    workload.AppendAuditKeys(unit, &keys);
  }
  int64_t sum = 0;
  for (const std::string& key : keys) {
    const auto found = store.find(key);
    if (found == store.end()) {
      EXPECT_TRUE(workload.audit_keys_may_miss());
      continue;
    }
    const absl::StatusOr<int64_t> value = workload.AuditValue(found->second);
    EXPECT_TRUE(value.ok()) << value.status();
    sum += value.value_or(0);
  }
  return sum;
}

uint64_t ServerOf(const std::string& key, uint32_t servers_count) {
  return kvs::KeyShare::ServerIndex(kvs::HashKey(key), servers_count);
}

struct KindCounts {
  int times = 0;
  int refused = 0;
  std::set<size_t> reads;   // How many records one read.
  std::set<size_t> writes;  // How many one wrote, of those that were not refused.
};

// Runs transactions against a map, by kind; the audit is looked at after each.
class MixTest : public testing::Test {
 protected:
  std::vector<KindCounts> Run(const TxnWorkload& workload, int times) {
    Store store = Populate(workload);
    int64_t expected = Audit(workload, store);
    const std::unique_ptr<TxnActor> actor = workload.MakeActor(/*seed=*/7);
    std::vector<KindCounts> kinds(workload.kinds().size());
    for (int i = 0; i < times; ++i) {
      KindCounts& kind = kinds[actor->PickNext()];
      // An attempt that fails to commit leaves nothing behind, in the actor neither.
      MapTransaction lost(&store);
      EXPECT_EQ(scheduler_.RunUntilDone(actor->Attempt(&lost)), absl::OkStatus());
      MapTransaction transaction(&store);
      EXPECT_EQ(scheduler_.RunUntilDone(actor->Attempt(&transaction)), absl::OkStatus());
      transaction.Commit();
      ++kind.times;
      kind.refused += actor->effect().refused ? 1 : 0;
      kind.reads.insert(transaction.reads().size());
      if (actor->effect().refused) {
        EXPECT_EQ(transaction.writes_count(), 0u);
        EXPECT_EQ(actor->effect().audit_change, 0);
      } else {
        kind.writes.insert(transaction.writes_count());
      }
      expected += actor->effect().audit_change;
    }
    EXPECT_EQ(Audit(workload, store), expected);
    return kinds;
  }

  ManualClock clock_;
  Scheduler scheduler_{{.clock = &clock_, .never_sleep = true}};
};

// Within five standard deviations, and half a percent for what is not drawn.
void ExpectShare(int count, int of, double share) {
  const double deviation = std::sqrt(share * (1 - share) / of);
  EXPECT_NEAR(static_cast<double>(count) / of, share, 5 * deviation + 0.005);
}

void ExpectShares(const TxnWorkload& workload, const std::vector<KindCounts>& kinds, int times) {
  uint32_t percent = 0;
  for (size_t i = 0; i < kinds.size(); ++i) {
    SCOPED_TRACE(workload.kinds()[i].name);
    ExpectShare(kinds[i].times, times, workload.kinds()[i].percent / 100.0);
    percent += workload.kinds()[i].percent;
  }
  EXPECT_EQ(percent, 100u);
}

using Sizes = std::set<size_t>;

TEST_F(MixTest, TransferReadsTwoAndWritesTwo) {
  const auto workload = MakeTransfer({.units_count = 100}, /*read_percent=*/0);
  ASSERT_EQ(workload->kinds().size(), 1u);
  const auto kinds = Run(*workload, 1000);
  EXPECT_EQ(kinds[0].times, 1000);
  EXPECT_EQ(kinds[0].refused, 0);
  EXPECT_EQ(kinds[0].reads, Sizes{2});
  EXPECT_EQ(kinds[0].writes, Sizes{2});
}

TEST_F(MixTest, ReadersOfTransfersWriteNothing) {
  const auto workload = MakeTransfer({.units_count = 100}, /*read_percent=*/30);
  const auto kinds = Run(*workload, 20'000);
  ExpectShares(*workload, kinds, 20'000);
  EXPECT_EQ(kinds[1].reads, Sizes{2});
  EXPECT_EQ(kinds[1].writes, Sizes{0});
}

TEST_F(MixTest, BothAccountsAreReadAtOnce) {
  const auto workload = MakeTransfer({.units_count = 100}, /*read_percent=*/0);
  Store store = Populate(*workload);
  const auto actor = workload->MakeActor(1);
  actor->PickNext();
  MapTransaction transaction(&store);
  ASSERT_EQ(scheduler_.RunUntilDone(actor->Attempt(&transaction)), absl::OkStatus());
  EXPECT_EQ(transaction.multi_gets(), 1);
}

TEST_F(MixTest, CounterCounts) {
  const auto workload = MakeCounter();
  const auto kinds = Run(*workload, 100);
  EXPECT_EQ(kinds[0].writes, Sizes{1});
}

// Goal: a record of somebody else is an error, not a number.
TEST_F(MixTest, ForeignRecordsAreNoticed) {
  const auto workload = MakeTransfer({.units_count = 2}, /*read_percent=*/0);
  Store store = Populate(*workload);
  for (auto& [key, value] : store) value = "what somebody else wrote";
  const auto actor = workload->MakeActor(1);
  actor->PickNext();
  MapTransaction transaction(&store);
  EXPECT_TRUE(absl::IsDataLoss(scheduler_.RunUntilDone(actor->Attempt(&transaction))));
  EXPECT_TRUE(absl::IsDataLoss(workload->AuditValue("what somebody else wrote").status()));
  store.clear();
  EXPECT_TRUE(absl::IsNotFound(scheduler_.RunUntilDone(actor->Attempt(&transaction))));
}

// Goal: the published shares, and each kind touches what it should. Few customers and little money: all is refused now
// and then.
TEST_F(MixTest, SmallBankIsAsPublished) {
  const auto workload = MakeSmallBank({.units_count = 4});
  constexpr int kTimes = 40'000;
  const auto kinds = Run(*workload, kTimes);
  ExpectShares(*workload, kinds, kTimes);
  const std::vector<std::pair<Sizes, Sizes>> expected = {{{3}, {3}}, {{2}, {0}}, {{1}, {1}},
                                                         {{2}, {2}}, {{1}, {1}}, {{2}, {1}}};
  for (size_t i = 0; i < kinds.size(); ++i) {
    SCOPED_TRACE(workload->kinds()[i].name);
    EXPECT_EQ(kinds[i].reads, expected[i].first);
    EXPECT_EQ(kinds[i].writes, expected[i].second);
  }
  EXPECT_GT(kinds[3].refused, 0);
  EXPECT_GT(kinds[4].refused, 0);
  EXPECT_EQ(kinds[0].refused + kinds[1].refused + kinds[2].refused + kinds[5].refused, 0);
}

// Goal: the published shares, refusals as the population makes them, and rows that each kind touches.
TEST_F(MixTest, TatpIsAsPublished) {
  const auto workload = MakeTatp({.subscribers = 20'000});
  constexpr int kTimes = 50'000;
  const auto kinds = Run(*workload, kTimes);
  ExpectShares(*workload, kinds, kTimes);
  const std::vector<std::pair<Sizes, Sizes>> expected = {
      {{1}, {0}}, {{1, 2, 3, 4}, {0}}, {{1}, {0}}, {{2}, {2}}, {{2}, {1}}, {{3}, {1}}, {{2}, {1}}};
  const double refused[] = {0, 0.852, 0.375, 0.375, 0, 0.6875, 0.6875};
  for (size_t i = 0; i < kinds.size(); ++i) {
    SCOPED_TRACE(workload->kinds()[i].name);
    EXPECT_EQ(kinds[i].reads, expected[i].first);
    EXPECT_EQ(kinds[i].writes, expected[i].second);
    EXPECT_NEAR(static_cast<double>(kinds[i].refused) / kinds[i].times, refused[i], 0.04);
  }
}

TEST(TatpTest, PopulationIsAsPublished) {
  constexpr uint32_t kSubscribers = 5'000;
  const auto workload = MakeTatp({.subscribers = kSubscribers});
  std::map<char, int> rows;
  for (const auto& [key, value] : Populate(*workload)) {
    ++rows[key[0]];
    EXPECT_LE(key.size() + value.size(), 48u) << "does not lie in the index";
  }
  EXPECT_EQ(rows['u'], static_cast<int>(kSubscribers));
  EXPECT_EQ(rows['n'], static_cast<int>(kSubscribers));
  EXPECT_NEAR(rows['a'], 2.5 * kSubscribers, 0.05 * kSubscribers);
  EXPECT_NEAR(rows['f'], 2.5 * kSubscribers, 0.05 * kSubscribers);
  EXPECT_NEAR(rows['w'], 3.75 * kSubscribers, 0.1 * kSubscribers);
}

// Goal: as (random | random) makes it: numbers with many ones in their low 16 bits come far more often. Of n = 65536
// with A = 65535 each bit is 1 with 3/4.
TEST(TatpTest, SubscribersAreChosenNonUniformly) {
  constexpr uint32_t kSubscribers = 65'536;
  constexpr int kTimes = 200'000;
  Random random(3);
  std::vector<int> ones(16);
  for (int i = 0; i < kTimes; ++i) {
    const uint32_t subscriber = PickSubscriber(kSubscribers, &random);
    ASSERT_LT(subscriber, kSubscribers);
    for (int bit = 0; bit < 16; ++bit) ones[bit] += subscriber >> bit & 1;
  }
  for (const int count : ones) ExpectShare(count, kTimes, 0.75);
  for (const uint32_t few : {1u, 2u, 3u}) EXPECT_LT(PickSubscriber(few, &random), few);
}

TEST(TxnKeysTest, RecordsOfAUnitAreOnItsServer) {
  for (const uint32_t servers_count : {1u, 2u, 3u, 4u}) {
    const std::unique_ptr<TxnWorkload> workloads[] = {
        MakeTransfer({.units_count = 1000, .servers_count = servers_count}, 0),
        MakeSmallBank({.units_count = 1000, .servers_count = servers_count}),
        MakeTatp({.subscribers = 1000, .servers_count = servers_count})};
    for (const auto& workload : workloads) {
      std::vector<TxnRecord> records;
      for (uint32_t unit = 0; unit < 1000; ++unit) {
        records.clear();
        workload->AppendRecords(unit, &records);
        for (const TxnRecord& record : records) {
          ASSERT_EQ(ServerOf(record.key, servers_count), unit % servers_count);
        }
      }
    }
  }
}

TEST(TatpTest, SpreadSubscribersHaveRowsOnSeveralServers) {
  const auto count_spread = [](uint32_t spread_percent) {
    const auto workload =
        MakeTatp({.subscribers = 1000, .servers_count = 2, .spread_percent = spread_percent});
    int spread = 0;
    for (uint32_t unit = 0; unit < 1000; ++unit) {
      std::vector<TxnRecord> records;
      workload->AppendRecords(unit, &records);
      std::set<uint64_t> servers;
      for (const TxnRecord& record : records) servers.insert(ServerOf(record.key, 2));
      spread += servers.size() > 1 ? 1 : 0;
    }
    return spread;
  };
  EXPECT_EQ(count_spread(0), 0);
  EXPECT_NEAR(count_spread(50), 500, 60);
  EXPECT_GT(count_spread(100), 900);
}

TEST(UnitChoiceTest, TwoUnitsAreApartAsOftenAsAsked) {
  Random random(5);
  for (const uint32_t servers_count : {2u, 3u, 4u}) {
    for (const int percent : {0, 30, 100}) {
      const UnitChoice choice = {
          .units_count = 997, .servers_count = servers_count, .distributed_percent = percent};
      ASSERT_EQ(JudgeChoice(choice), absl::OkStatus());
      int apart = 0;
      for (int i = 0; i < 20'000; ++i) {
        const auto [one, other] = PickTwoUnits(choice, &random);
        ASSERT_NE(one, other);
        apart += one % servers_count != other % servers_count ? 1 : 0;
      }
      ExpectShare(apart, 20'000, percent / 100.0);
    }
  }
}

TEST(UnitChoiceTest, HotUnitsAreChosenAsOftenAsAsked) {
  Random random(5);
  const UnitChoice choice = {
      .units_count = 1000, .servers_count = 2, .hot_percent = 90, .hot_units = 10};
  int hot = 0;
  std::set<uint32_t> seen;
  for (int i = 0; i < 20'000; ++i) {
    const uint32_t unit = PickUnit(choice, &random);
    seen.insert(unit);
    hot += unit < 10 ? 1 : 0;
  }
  ExpectShare(hot, 20'000, 0.9 + 0.1 * 0.01);
  EXPECT_GT(seen.size(), 800u);
}

TEST(UnitChoiceTest, ImpossibleChoicesAreRefused) {
  const std::vector<std::pair<UnitChoice, const char*>> cases = {
      {{.units_count = 1}, "--accounts"},
      {{.units_count = 7, .servers_count = 4}, "--accounts"},
      {{.units_count = 100, .distributed_percent = 1}, "--distributed"},
      {{.units_count = 100, .hot_percent = 1, .hot_units = 1}, "--hot_keys"},
      {{.units_count = 100, .hot_percent = 1, .hot_units = 101}, "--hot_keys"}};
  for (const auto& [choice, why] : cases) {
    const absl::Status status = JudgeChoice(choice);
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_THAT(status.message(), HasSubstr(why));
  }
}

}  // namespace
}  // namespace acre::bench
