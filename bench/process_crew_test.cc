#include "bench/process_crew.h"

#include <cmath>

#include "gtest/gtest.h"
#include "runtime/random.h"

namespace acre::bench {
namespace {

PathTotal RandomTotal(Random* random) {
  PathTotal total;
  total.operations_per_second = random->NextDouble() * 1e7;
  total.result.operations = random->Next();
  total.result.errors = random->Uniform(10);
  total.result.backlog = random->Uniform(1000);
  total.result.run_ns = random->Uniform(uint64_t{1} << 40);
  total.result.reader = {.gets = random->Uniform(1000),
                         .reads = random->Uniform(1000),
                         .retries = random->Uniform(1000),
                         .misses = random->Uniform(1000)};
  total.result.verbs = {.reads = random->Uniform(1000),
                        .writes = random->Uniform(1000),
                        .atomics = random->Uniform(1000),
                        .doorbells = random->Uniform(1000),
                        .round_trips = random->Uniform(1000)};
  for (int i = 0; i < 1000; ++i) {
    total.result.latency_ns.Add(static_cast<uint64_t>(std::exp(random->NextDouble() * 25)),
                                1 + random->Uniform(251));
  }
  return total;
}

void ExpectSame(const PathTotal& actual, const PathTotal& expected) {
  EXPECT_EQ(actual.operations_per_second, expected.operations_per_second);
  EXPECT_EQ(actual.result.operations, expected.result.operations);
  EXPECT_EQ(actual.result.errors, expected.result.errors);
  EXPECT_EQ(actual.result.backlog, expected.result.backlog);
  EXPECT_EQ(actual.result.run_ns, expected.result.run_ns);
  EXPECT_EQ(actual.result.reader.gets, expected.result.reader.gets);
  EXPECT_EQ(actual.result.reader.reads, expected.result.reader.reads);
  EXPECT_EQ(actual.result.reader.retries, expected.result.reader.retries);
  EXPECT_EQ(actual.result.reader.misses, expected.result.reader.misses);
  EXPECT_EQ(actual.result.verbs, expected.result.verbs);
  EXPECT_EQ(actual.result.latency_ns, expected.result.latency_ns);
}

// Goal: nothing is lost or rounded between a child and its parent, and a sum has every part.
TEST(TotalsTest, TravelExactlyAndAddUp) {
  Random random(1);
  const std::vector<PathTotal> sent = {RandomTotal(&random), PathTotal(), RandomTotal(&random)};
  const absl::optional<std::vector<PathTotal>> received = ParseTotals(SerializeTotals(sent));
  ASSERT_TRUE(received.has_value());
  ASSERT_EQ(received->size(), sent.size());
  for (size_t i = 0; i < sent.size(); ++i) ExpectSame((*received)[i], sent[i]);

  Result sum = sent[0].result;
  sum.Add((*received)[2].result);
  EXPECT_EQ(sum.operations, sent[0].result.operations + sent[2].result.operations);
  EXPECT_EQ(sum.backlog, sent[0].result.backlog + sent[2].result.backlog);
  EXPECT_EQ(sum.reader.misses, sent[0].result.reader.misses + sent[2].result.reader.misses);
  EXPECT_EQ(sum.verbs.writes, sent[0].result.verbs.writes + sent[2].result.verbs.writes);
  EXPECT_EQ(sum.latency_ns.count(),
            sent[0].result.latency_ns.count() + sent[2].result.latency_ns.count());
}

TEST(TotalsTest, OtherTextIsRefused) {
  for (const char* text :
       {"", "x", "1 2 3", "1.5 1 2 3 4 5 6 7 8 9 10 11 12 13",
        "1.5 1 2 3 4 5 6 7 8 9 10 11 12 -13 0", "1.5 1 2 3 4 5 6 7 8 9 10 11 12 13 0 1",
        "1.5 1 2 3 4 5 6 7 8 9 10 11 12 13 0\n"}) {
    EXPECT_FALSE(ParseTotals(text).has_value()) << text;
  }
  EXPECT_TRUE(ParseTotals("1.5 1 2 3 4 5 6 7 8 9 10 11 12 13 0 1:1").has_value());
}

}  // namespace
}  // namespace acre::bench
