// Epochs: what clients announce, and when freed memory is safe to use again.

#include "kvs/epoch.h"

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/shared_word.h"

namespace acre::kvs {
namespace {

constexpr uint64_t kLeaseNs = 500;

class EpochTest : public ::testing::Test {
 protected:
  // Time passes by `ns`, then the clock ticks.
  void Tick(uint64_t ns = kLeaseNs / 5) {
    now_ns_ += ns;
    SharedWord* const headers[] = {&headers_[0], &headers_[1]};
    clock_.Tick(now_ns_, kLeaseNs, headers, 2);
  }
  void Announce(SharedWord* word, uint64_t epoch) { word->Store(epoch, std::memory_order_release); }
  uint64_t Published(size_t header) const {
    return headers_[header].Load(std::memory_order_acquire);
  }

  EpochClock clock_;
  uint64_t now_ns_ = 1'000'000;
  SharedWord headers_[2] = {};
  SharedWord a_{};
  SharedWord b_{};
};

// Goal: the epoch rises with each tick, all headers show it, and what was freed in the epoch that
// is going on is never safe.
TEST_F(EpochTest, TicksRaiseAndPublishTheEpoch) {
  EXPECT_EQ(clock_.Now(), 1u);
  for (uint64_t epoch = 2; epoch < 100; ++epoch) {
    Tick();
    EXPECT_EQ(clock_.Now(), epoch);
    EXPECT_EQ(Published(0), epoch);
    EXPECT_EQ(Published(1), epoch);
    EXPECT_LT(clock_.SafeBefore(), epoch);
  }
  EXPECT_EQ(clock_.SafeBefore(), 98u) << "nobody reads: all but the last epoch is safe";
}

// Goal: what a client may still read, freed in the epoch that it announced or later, is not safe.
TEST_F(EpochTest, SlowestClientHoldsMemoryBack) {
  clock_.Add(&a_, now_ns_);
  clock_.Add(&b_, now_ns_);
  Announce(&a_, 1);
  Announce(&b_, 1);
  Tick();
  Tick();
  EXPECT_LE(clock_.SafeBefore(), 1u);
  Announce(&a_, 3);
  Tick();
  EXPECT_LE(clock_.SafeBefore(), 1u) << "b is still in epoch 1";
  Announce(&b_, 2);
  Tick();
  EXPECT_EQ(clock_.SafeBefore(), 2u);
  Announce(&b_, 5);
  Tick();
  EXPECT_EQ(clock_.SafeBefore(), 3u) << "a is the slowest now";
}

// Goal: a client that has announced nothing yet holds everything back, as long as its lease lasts.
TEST_F(EpochTest, NewClientHoldsEverythingBack) {
  Tick();
  Tick();
  const uint64_t before = clock_.SafeBefore();
  clock_.Add(&a_, now_ns_);
  for (int i = 0; i < 4; ++i) Tick();
  EXPECT_EQ(clock_.SafeBefore(), before);
}

// Goal: a client that is silent for a lease is left out, and counts again as soon as it speaks.
TEST_F(EpochTest, SilentClientIsDroppedAfterALeaseAndComesBack) {
  clock_.Add(&a_, now_ns_);
  Announce(&a_, 1);
  Tick();  // It is seen to speak: its lease runs from now on.
  for (int i = 0; i < 4; ++i) {
    Tick();
    EXPECT_LE(clock_.SafeBefore(), 1u) << "tick " << i;
  }
  Tick();
  EXPECT_EQ(clock_.SafeBefore(), clock_.Now() - 1) << "its lease is over";
  const uint64_t back_in = clock_.Now();
  Announce(&a_, back_in);
  for (int i = 0; i < 4; ++i) Tick();
  EXPECT_EQ(clock_.SafeBefore(), back_in);
}

// Goal: a removed client holds nothing back, and its word is not looked at any more.
TEST_F(EpochTest, RemovedClientIsForgotten) {
  {
    SharedWord gone{};
    clock_.Add(&gone, now_ns_);
    Tick();
    clock_.Remove(&gone);
  }
  Tick();
  EXPECT_EQ(clock_.SafeBefore(), clock_.Now() - 1);
}

// Goal: values that make no sense harm only their client: a huge one makes nothing safe that is
// not, one that goes back takes nothing back, one that changes at every tick holds back for as long
// as the client is there, no longer.
TEST_F(EpochTest, HostileValuesDoNoHarm) {
  clock_.Add(&a_, now_ns_);
  clock_.Add(&b_, now_ns_);
  Announce(&b_, 1);
  Announce(&a_, ~uint64_t{0});
  Tick();
  Tick();
  EXPECT_LE(clock_.SafeBefore(), 1u) << "b is honest, and in epoch 1";
  Announce(&b_, 3);
  Tick();
  EXPECT_EQ(clock_.SafeBefore(), 3u);
  uint64_t last = clock_.SafeBefore();
  for (const uint64_t value : {uint64_t{0}, uint64_t{1} << 63, uint64_t{1}, ~uint64_t{0} - 1}) {
    Announce(&a_, value);
    Announce(&b_, clock_.Now());
    Tick();
    EXPECT_GE(clock_.SafeBefore(), last) << "it only rises";
    EXPECT_LT(clock_.SafeBefore(), clock_.Now());
    last = clock_.SafeBefore();
  }
  clock_.Remove(&a_);
  Announce(&b_, clock_.Now());
  Tick();
  EXPECT_EQ(clock_.SafeBefore(), clock_.Now() - 1);
}

// Goal: threads read their clocks before they enter, so a client may be added with a time a little
// later than that of the next tick: it is as alive as any.
TEST_F(EpochTest, ClientAddedAheadOfTheTicksTimeIsAlive) {
  const uint64_t before = clock_.SafeBefore();
  clock_.Add(&a_, now_ns_ + 2 * kLeaseNs / 5);
  Tick();
  EXPECT_EQ(clock_.SafeBefore(), before);
}

}  // namespace
}  // namespace acre::kvs
