// Free-running threads against the fabric: what may be seen, and what must not (F3, A1, A2).
//
// These judge the machine's memory model, so they run optimised and without a sanitizer; or the
// simulator's, with its threads. Where a test wants to see an anomaly it tries until it does, within
// a bound that is far beyond what it takes.

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "runtime/random.h"
#include "runtime/shared_word.h"
#include "runtime/this_thread.h"
#include "transport/conformance/conformance.h"

namespace acre::transport {
namespace {

// A place where two threads meet, in turn after turn, as closely as they can.
class Meeting {
 public:
  void Arrive() {
    const uint64_t turn = arrived_.FetchAdd(1, std::memory_order_acq_rel) / 2;
    for (int spins = 0; arrived_.Load(std::memory_order_acquire) / 2 == turn; ++spins) {
      // The other may be waiting for our core.
      if (spins % 4096 == 4095) YieldThread();
    }
  }

 private:
  SharedWord arrived_;
};

class LitmusTest : public ConformanceTest {
 protected:
  LitmusTest() : client_(provider_), server_(provider_), connection_(Connect(client_, server_)) {}

  // Words of the region that lie in lines of their own.
  SharedWord& x() { return Target(*region_, 0); }
  SharedWord& y() { return Target(*region_, 16); }
  static constexpr uint64_t kYOffset = kDataOffset + 16 * kWordBytes;

  // How many chunks may pass till a loss shows that must show. The first will do where both threads have a
  // core; where others keep the cores busy most chunks see no overlap of the two.
  int ChunksMax() const { return provider_->atomicity() == Atomicity::kHca ? 20'000 : 5; }

  // Store buffering: one thread runs `write_x_read_y`, the other stores y and loads x, `rounds`
  // times. Returns whether both ever missed the other's store.
  bool BothMissed(uint64_t rounds, const std::function<uint64_t(uint64_t)>& write_x_read_y) {
    Meeting meeting;
    // Written by the server's thread before the second meeting of a round, read by the client's
    // after it.
    uint64_t server_saw = 0;
    SharedWord is_over;
    const auto server = [&] {
      Random random(1);
      for (uint64_t round = 1;; ++round) {
        meeting.Arrive();
        if (is_over.Load(std::memory_order_acquire) != 0) return;
        Dawdle(&random);
        // A store that is ordered before the load that follows: this side does its part.
        (void)y().Exchange(round, std::memory_order_seq_cst);
        server_saw = x().Load(std::memory_order_acquire);
        meeting.Arrive();
      }
    };
    bool both_missed = false;
    const auto client = [&] {
      Random random(2);
      for (uint64_t round = 1; round <= rounds && !both_missed; ++round) {
        meeting.Arrive();
        Dawdle(&random);
        const uint64_t client_saw = write_x_read_y(round);
        meeting.Arrive();
        both_missed = client_saw < round && server_saw < round;
      }
      is_over.Store(1, std::memory_order_release);
      meeting.Arrive();
    };
    provider_->RunThreads({client, server});
    x().Store(0, std::memory_order_seq_cst);
    y().Store(0, std::memory_order_seq_cst);
    return both_missed;
  }

  // Some tens of nanoseconds, so that the threads meet in all ways.
  static void Dawdle(Random* random) {
    for (uint64_t i = random->Uniform(64); i > 0; --i) asm volatile("");
  }

  // Runs `request` over and over on the fabric while `on_cpu` does its part. Returns how often it
  // ran.
  uint64_t RunBeside(const WorkRequest& request, const std::function<void()>& on_cpu) {
    SharedWord is_started;
    SharedWord is_over;
    uint64_t count = 0;
    const auto fabric = [&] {
      is_started.Store(1, std::memory_order_release);
      while (is_over.Load(std::memory_order_acquire) == 0) {
        Post(connection_.client.get(), {request});
        CHECK(Await(client_.queue.get()).status == CompletionStatus::kOk);
        ++count;
      }
    };
    const auto cpu = [&] {
      while (is_started.Load(std::memory_order_acquire) == 0) YieldThread();
      on_cpu();
      is_over.Store(1, std::memory_order_release);
    };
    provider_->RunThreads({fabric, cpu});
    return count;
  }

  Node client_;
  Node server_;
  std::unique_ptr<MemoryRegion> region_ = server_.MakeRegion(7, kRightsAll);
  Connection connection_;
  RemoteKey key_ = Grant(connection_.server.get(), *region_, kRightsAll);
};
ACRE_CONFORMANCE_SUITE(LitmusTest);

TEST_P(LitmusTest, WriteThenReadNeverMissesWhatTheCpuDidMeanwhile) {
  for (const bool in_one_batch : {true, false}) {
    EXPECT_FALSE(BothMissed(provider_->Rounds(200'000), [&](uint64_t round) {
      SetLocal(client_, 0, round);
      WorkRequest write = Request(Opcode::kWrite, client_, 0, key_);
      write.signaled = false;
      const WorkRequest read = Request(Opcode::kRead, client_, 1, key_, kYOffset);
      if (in_one_batch) {
        Post(connection_.client.get(), {write, read});
      } else {
        Post(connection_.client.get(), {write});
        Post(connection_.client.get(), {read});
      }
      CHECK(Await(client_.queue.get()).status == CompletionStatus::kOk);
      return GetLocal(client_, 1);
    }));
  }
}

// Goal: the READ that returns with its data is ordered behind what was posted like any other.
TEST_P(LitmusTest, WriteThenReadAtOnceNeverMissesEither) {
  if (!provider_->reads_at_once()) return;
  for (const bool is_atomic : {false, true}) {
    EXPECT_FALSE(BothMissed(200'000, [&](uint64_t round) {
      SetLocal(client_, 0, round);
      WorkRequest change =
          is_atomic ? FetchAdd(client_, 0, key_, 1) : Request(Opcode::kWrite, client_, 0, key_);
      Post(connection_.client.get(), {change});
      CompletionStatus status = CompletionStatus::kFlushed;
      CHECK(connection_.client->ReadAtOnce(Request(Opcode::kRead, client_, 1, key_, kYOffset),
                                           &status));
      CHECK(status == CompletionStatus::kOk);
      CHECK(Await(client_.queue.get()).status == CompletionStatus::kOk);
      return GetLocal(client_, 1);
    }));
  }
}

TEST_P(LitmusTest, AtomicThenReadNeverMissesEither) {
  EXPECT_FALSE(BothMissed(provider_->Rounds(200'000), [&](uint64_t) {
    WorkRequest add = FetchAdd(client_, 0, key_, 1);
    add.signaled = false;
    Post(connection_.client.get(), {add, Request(Opcode::kRead, client_, 1, key_, kYOffset)});
    CHECK(Await(client_.queue.get()).status == CompletionStatus::kOk);
    return GetLocal(client_, 1);
  }));
}

// The test's teeth: what a provider would do that forgot the fence.
TEST_P(LitmusTest, CopiesWithoutAFenceDoMiss) {
  if (!client_.fabric->device().can_map) return;
  const auto mapped = connection_.client->Map(key_);
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  SharedWord* x_there = &mapped->writable_words[kDataOffset / kWordBytes];
  SharedWord* y_there = &mapped->writable_words[kYOffset / kWordBytes];
  // Several times: a simulated thread may have a CPU whose stores never wait.
  bool is_missed = false;
  for (int i = 0; i < 20 && !is_missed; ++i) {
    is_missed = BothMissed(provider_->Rounds(1'000'000), [&](uint64_t round) {
      CopyToShared(x_there, &round, 1, CopyOrder::kAscending);
      uint64_t seen;
      CopyFromShared(&seen, y_there, 1, CopyOrder::kAscending);
      return seen;
    });
  }
  EXPECT_TRUE(is_missed);
}

TEST_P(LitmusTest, CpuAddsAreLostBesideFabricAddsOnlyWithHca) {
  const uint64_t chunk_adds = provider_->CpuRounds(200'000);
  const int chunks_max = ChunksMax();
  bool is_lost = false;
  for (int chunk = 0; chunk < chunks_max && !is_lost; ++chunk) {
    x().Store(0, std::memory_order_seq_cst);
    const uint64_t added_there = RunBeside(FetchAdd(client_, 0, key_, 1), [&] {
      for (uint64_t i = 0; i < chunk_adds; ++i) (void)x().FetchAdd(1, std::memory_order_seq_cst);
    });
    is_lost = x().Load(std::memory_order_seq_cst) != chunk_adds + added_there;
  }
  EXPECT_EQ(is_lost, provider_->atomicity() == Atomicity::kHca);
}

TEST_P(LitmusTest, FailingCompareSwapUndoesAStoreOnlyWithHca) {
  const uint64_t chunk_stores = provider_->CpuRounds(200'000);
  const int chunks_max = ChunksMax();
  bool is_undone = false;
  for (int chunk = 0; chunk < chunks_max && !is_undone; ++chunk) {
    // It never finds what it compares with.
    RunBeside(CompareSwap(client_, 0, key_, ~uint64_t{0}, 0), [&] {
      for (uint64_t i = 1; i <= chunk_stores && !is_undone; ++i) {
        x().Store(i, std::memory_order_seq_cst);
        for (int looks = 0; looks < 8; ++looks) {
          is_undone = is_undone || x().Load(std::memory_order_acquire) != i;
        }
      }
    });
  }
  EXPECT_EQ(is_undone, provider_->atomicity() == Atomicity::kHca);
}

TEST_P(LitmusTest, FabricAtomicsNeverLoseEachOther) {
  const uint64_t adds = provider_->Rounds(200'000);
  Node other(provider_);
  Connection connection = Connect(other, server_);
  const RemoteKey key = Grant(connection.server.get(), *region_, kRightsAll);
  uint64_t added_here = 0;
  x().Store(0, std::memory_order_seq_cst);
  const uint64_t added_there = RunBeside(FetchAdd(client_, 0, key_, 1), [&] {
    for (; added_here < adds; ++added_here) {
      Post(connection.client.get(), {FetchAdd(other, 0, key, 1)});
      CHECK(Await(other.queue.get()).status == CompletionStatus::kOk);
    }
  });
  EXPECT_EQ(x().Load(std::memory_order_seq_cst), added_here + added_there);
}

}  // namespace
}  // namespace acre::transport
