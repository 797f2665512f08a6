#include "client/put_judge.h"

#include <gtest/gtest.h>

namespace acre {
namespace {

// So many Puts that take so long each way. Returns how many went one-sided.
uint64_t Put(PutJudge* judge, uint64_t puts, uint64_t rpc_ns, uint64_t one_sided_ns) {
  uint64_t one_sided = 0;
  for (uint64_t i = 0; i < puts; ++i) {
    const bool is_one_sided = judge->OneSided();
    one_sided += is_one_sided ? 1 : 0;
    judge->Note(is_one_sided, is_one_sided ? one_sided_ns : rpc_ns);
  }
  return one_sided;
}

TEST(PutJudgeTest, ShortLivedClientsNeverTry) {
  PutJudge judge;
  EXPECT_EQ(Put(&judge, PutJudge::kPutsBeforeTry, 1000, 1), 0u);
}

TEST(PutJudgeTest, GoesTheQuickerWayAndTriesTheOther) {
  PutJudge judge;
  (void)Put(&judge, PutJudge::kPutsBeforeTry, 3000, 2000);
  EXPECT_GT(Put(&judge, 6400, 3000, 2000), 6400 * 9 / 10u);
  // The server's CPU has become free.
  (void)Put(&judge, 6400, 1000, 2000);
  const uint64_t tries = Put(&judge, 6400, 1000, 2000);
  EXPECT_EQ(tries, 6400 / PutJudge::kTryEvery);
  // And busy again: the tries find out.
  (void)Put(&judge, 6400, 9000, 2000);
  EXPECT_GT(Put(&judge, 6400, 9000, 2000), 6400 * 9 / 10u);
}

}  // namespace
}  // namespace acre
