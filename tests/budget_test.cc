// What operations cost on the network: a Get that hits one READ, one that misses two, a Put one WRITE of each
// side, each in one round trip but the miss, whose second READ waits for the first. A Put that goes one-sided
// costs its client ten requests in four round trips, and the server nothing.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "gtest/gtest.h"
#include "tests/or_die.h"

namespace acre::tests {
namespace {

constexpr uint64_t kOperations = 500;

// Few enough that no bucket overflows, so that each key is where its home says.
std::vector<std::string> Keys(absl::string_view kind) {
  std::vector<std::string> keys;
  for (uint64_t i = 0; i < kOperations; ++i) keys.push_back(absl::StrCat(kind, i));
  return keys;
}

class BudgetTest : public testing::TestWithParam<Way> {
 protected:
  // What `work` cost the client.
  template <class Work>
  transport::VerbCounters CostOf(Work work) {
    transport::VerbCounters cost;
    cost -= client_->verbs();
    work();
    cost += client_->verbs();
    return cost;
  }
  void PutAll(const std::vector<std::string>& keys, const std::string& value) {
    for (const std::string& key : keys) ASSERT_EQ(client_->Put(key, value), absl::OkStatus());
  }

  const std::unique_ptr<KvServer> server_ = StartOrDie();
  const std::unique_ptr<Client> client_ = ConnectOrDie(server_->address(), GetParam());
  // Counts, and is counted by nobody: it goes over a socket.
  const std::unique_ptr<Client> observer_ = ConnectOrDie(server_->address(), Path::kTcp);
};

// A record that does not lie in the index goes by RPC whatever the Put's path, and nothing is read for it.
TEST_P(BudgetTest, PutIsOneWriteOfEachSide) {
  PutAll(Keys("warm up"), "value");
  const uint64_t before = StatOf(observer_.get(), "verbs_write");
  const transport::VerbCounters cost = CostOf([&] { PutAll(Keys("key"), std::string(100, 'v')); });
  const uint64_t of_server = StatOf(observer_.get(), "verbs_write") - before;
  if (GetParam().path == Path::kTcp) {
    EXPECT_EQ(cost, transport::VerbCounters());
    EXPECT_EQ(of_server, 0u);
    return;
  }
  EXPECT_EQ(cost.atomics, 0u);
  EXPECT_LE(cost.reads, kOperations / 10);
  EXPECT_EQ(cost.round_trips - cost.reads, kOperations);
  // The client looks at the epoch five times a lease, and a receiver tells its head once in a while.
  EXPECT_GE(cost.writes, kOperations);
  EXPECT_LE(cost.writes, kOperations + kOperations / 10);
  EXPECT_GE(of_server, kOperations);
  EXPECT_LE(of_server, kOperations + kOperations / 10);
}

// Of docs/updates.md: U1 a READ; U2 a WRITE, an atomic, a READ; U3 a READ; U4 four WRITEs and an atomic.
TEST_P(BudgetTest, UpdateIsOneCallOrTenRequestsInFourRoundTrips) {
  if (GetParam().path == Path::kTcp) return;
  const std::vector<std::string> keys = Keys("key");
  PutAll(keys, "value");
  // The first update makes what the others need.
  ASSERT_EQ(client_->Put(keys[0], "first"), absl::OkStatus());
  const uint64_t writes_before = StatOf(observer_.get(), "verbs_write");
  const uint64_t puts_before = StatOf(observer_.get(), "puts_rpc");
  const transport::VerbCounters cost = CostOf([&] { PutAll(keys, "other"); });
  const uint64_t writes_of_server = StatOf(observer_.get(), "verbs_write") - writes_before;
  const uint64_t puts_by_rpc = StatOf(observer_.get(), "puts_rpc") - puts_before;
  // READs of the epoch come on top, and a receiver tells its head.
  constexpr uint64_t kNowAndThen = kOperations / 10;
  const auto expect_about = [](uint64_t count, uint64_t expected) {
    EXPECT_GE(count, expected);
    EXPECT_LE(count, expected + kNowAndThen);
  };
  if (GetParam().put_path == PutPath::kOneSided) {
    EXPECT_EQ(client_->writer_stats().updates, kOperations + 1);
    expect_about(cost.reads, 3 * kOperations);
    expect_about(cost.writes, 5 * kOperations);
    EXPECT_EQ(cost.atomics, 2 * kOperations);
    expect_about(cost.round_trips, 4 * kOperations);
    expect_about(writes_of_server, 0);
    EXPECT_EQ(puts_by_rpc, 0u);
  } else {
    expect_about(cost.reads, 0);
    expect_about(cost.writes, kOperations);
    EXPECT_EQ(cost.atomics, 0u);
    expect_about(cost.round_trips, kOperations);
    expect_about(writes_of_server, kOperations);
    EXPECT_EQ(puts_by_rpc, kOperations);
  }
}

TEST_P(BudgetTest, GetIsOneReadAndAMissTwo) {
  const Path path = GetParam().path;
  const std::vector<std::string> keys = Keys("key");
  PutAll(keys, "value");
  std::string value;
  const transport::VerbCounters hit = CostOf([&] {
    for (const std::string& key : keys) ASSERT_EQ(client_->Get(key, &value), absl::OkStatus());
  });
  const transport::VerbCounters miss = CostOf([&] {
    for (const std::string& key : Keys("absent")) {
      ASSERT_TRUE(absl::IsNotFound(client_->Get(key, &value)));
    }
  });
  switch (path) {
    case Path::kOneSided:
      // READs of the epoch come on top, a few in all this time.
      EXPECT_GE(hit.reads, kOperations);
      EXPECT_LE(hit.reads, kOperations + kOperations / 10);
      EXPECT_EQ(hit.round_trips, hit.reads);
      EXPECT_GE(miss.reads, 2 * kOperations);
      EXPECT_LE(miss.reads, 2 * kOperations + kOperations / 10);
      EXPECT_LE(hit.writes + miss.writes, kOperations / 10);
      break;
    case Path::kRpc:
      EXPECT_GE(hit.writes, kOperations);
      EXPECT_LE(hit.writes, kOperations + kOperations / 10);
      EXPECT_EQ(hit.round_trips - hit.reads, kOperations);
      break;
    default:
      // In place, or over a socket: none but looks at the epoch.
      EXPECT_LE(hit.reads + hit.writes + miss.reads + miss.writes, kOperations / 10);
  }
}

// Goal: a MultiGet is as many READs, and one doorbell.
TEST_P(BudgetTest, MultiGetIsOneRoundTrip) {
  if (GetParam().path != Path::kOneSided) return;
  const std::vector<std::string> keys = Keys("key");
  PutAll(keys, "value");
  constexpr size_t kBatch = 16;
  const std::vector<absl::string_view> batch(keys.begin(), keys.begin() + kBatch);
  std::vector<std::string> values(kBatch);
  std::vector<absl::Status> statuses(kBatch);
  const transport::VerbCounters cost = CostOf([&] {
    for (uint64_t i = 0; i < kOperations; ++i) {
      client_->MultiGet(batch, absl::MakeSpan(values), absl::MakeSpan(statuses));
      for (const absl::Status& status : statuses) ASSERT_EQ(status, absl::OkStatus());
    }
  });
  EXPECT_GE(cost.reads, kBatch * kOperations);
  EXPECT_LE(cost.reads, kBatch * kOperations + kOperations / 10);
  EXPECT_GE(cost.round_trips, kOperations);
  EXPECT_LE(cost.round_trips, kOperations + kOperations / 10);
}

INSTANTIATE_TEST_SUITE_P(All, BudgetTest, testing::ValuesIn(AllWays()),
                         [](const auto& test) { return test.param.Name(); });

}  // namespace
}  // namespace acre::tests
