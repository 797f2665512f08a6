#include "runtime/mutex.h"

#include <thread>

#include "gtest/gtest.h"

namespace acre {
namespace {

struct Counter {
  Mutex mutex;
  int count ABSL_GUARDED_BY(mutex) = 0;
};

// Goal: threads take turns, and tsan sees that they do (it does not under an absl::Mutex).
TEST(MutexTest, ThreadsTakeTurns) {
  constexpr int kRoundsPerThread = 10000;
  Counter counter;
  const auto add = [&counter] {
    for (int round = 0; round < kRoundsPerThread; ++round) {
      MutexLock lock(&counter.mutex);
      ++counter.count;
    }
  };
  std::thread first(add);
  std::thread second(add);
  first.join();
  second.join();
  MutexLock lock(&counter.mutex);
  EXPECT_EQ(counter.count, 2 * kRoundsPerThread);
}

}  // namespace
}  // namespace acre
