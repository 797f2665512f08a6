// Each fault of a card: it shows within a few worlds when it is on, and never when it is off.

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "transport/sim/sim_test_util.h"

namespace acre::transport {
namespace {

constexpr uint64_t kSeeds = 20;
constexpr int kRounds = 200;

// Two nodes on two machines, the server's memory open to the client.
struct Pair {
  Pair(uint64_t seed, const SimFaults& faults, const SimFabric::Options& options = {})
      : test(seed, faults),
        client(&test, test.world()->AddMachine("client"), options),
        server(&test, test.world()->AddMachine("server"), options),
        region(server.MakeRegion(7, kRightsAll)),
        connection(ConnectNodes(&client, &server)),
        key(GrantAll(connection.server.get(), *region)) {}

  SharedWord& Word(size_t index) { return SimTestNode::Word(*region, index); }
  // Runs both side by side, as threads of the two processes, till the client's ends. `on_server` is called
  // over and over.
  void RunBeside(const std::function<void()>& on_client, const std::function<void()>& on_server) {
    bool is_over = false;
    bool has_ended = false;
    server.process()->Spawn("server", [&] {
      while (!is_over) on_server();
      has_ended = true;
    });
    test.Run(client.process(), on_client);
    is_over = true;
    CHECK(test.RunUntil([&] { return has_ended; }));
  }

  SimTestWorld test;
  SimTestNode client;
  SimTestNode server;
  std::unique_ptr<MemoryRegion> region;
  SimTestConnection connection;
  RemoteKey key;
};

// In how many of the worlds with these faults `shows` says yes.
uint64_t WorldsThatShow(const SimFaults& faults, const std::function<bool(Pair*)>& shows) {
  uint64_t count = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Pair pair(seed, faults);
    if (shows(&pair)) ++count;
  }
  return count;
}

// E1. A CPU adds to the word that the card adds to.
bool LosesAnAdd(Pair* pair) {
  uint64_t added = 0;
  pair->RunBeside(
      [pair] {
        WorkRequest add = pair->client.Request(Opcode::kFetchAdd, pair->key, 0, 0);
        add.swap_or_add = 1;
        for (int i = 0; i < kRounds; ++i) {
          ASSERT_EQ(pair->client.Execute(pair->connection.client.get(), add),
                    CompletionStatus::kOk);
        }
      },
      [&] {
        (void)pair->Word(0).FetchAdd(1, std::memory_order_seq_cst);
        ++added;
      });
  return pair->Word(0).Load(std::memory_order_relaxed) != added + kRounds;
}

TEST(SimFaultTest, SplitAtomicsLoseAddsOfCpus) {
  SimFaults faults;
  EXPECT_EQ(WorldsThatShow(faults, LosesAnAdd), 0u);
  faults.split_atomic = 0.5;
  EXPECT_EQ(WorldsThatShow(faults, LosesAnAdd), kSeeds);
}

// E12. A CPU stores to a word while a COMPARE_SWAP fails on it.
bool UndoesAStore(Pair* pair) {
  bool is_undone = false;
  uint64_t value = 0;
  pair->RunBeside(
      [pair] {
        WorkRequest swap = pair->client.Request(Opcode::kCompareSwap, pair->key, 0, 0);
        swap.compare = ~uint64_t{0};
        for (int i = 0; i < kRounds; ++i) {
          ASSERT_EQ(pair->client.Execute(pair->connection.client.get(), swap),
                    CompletionStatus::kOk);
        }
      },
      [&] {
        pair->Word(0).Store(++value, std::memory_order_seq_cst);
        for (int i = 0; i < 50; ++i) {
          if (pair->Word(0).Load(std::memory_order_acquire) != value) is_undone = true;
        }
      });
  return is_undone;
}

TEST(SimFaultTest, FailingCompareSwapsUndoStores) {
  SimFaults faults;
  faults.split_atomic = 0.5;
  EXPECT_EQ(WorldsThatShow(faults, UndoesAStore), 0u);
  faults.write_back = 0.5;
  EXPECT_EQ(WorldsThatShow(faults, UndoesAStore), kSeeds);
}

TEST(SimFaultTest, AtomicsOfCardsNeverLoseEachOther) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Pair pair(seed, SimFaults::All());
    pair.test.network()->SetFaults([] {
      SimFaults faults = SimFaults::All();
      faults.lost_connection = 0;
      return faults;
    }());
    SimTestNode other(&pair.test, pair.client.process()->machine());
    SimTestConnection connection = ConnectNodes(&other, &pair.server);
    const RemoteKey key = GrantAll(connection.server.get(), *pair.region);
    const auto add = [](SimTestNode* node, QueuePair* queue_pair, RemoteKey key_of) {
      WorkRequest request = node->Request(Opcode::kFetchAdd, key_of, 0, 0);
      request.swap_or_add = 1;
      for (int i = 0; i < kRounds; ++i) {
        ASSERT_EQ(node->Execute(queue_pair, request), CompletionStatus::kOk);
      }
    };
    int ended = 0;
    pair.client.process()->Spawn("one", [&] {
      add(&pair.client, pair.connection.client.get(), pair.key);
      ++ended;
    });
    other.process()->Spawn("other", [&] {
      add(&other, connection.client.get(), key);
      ++ended;
    });
    ASSERT_TRUE(pair.test.RunUntil([&] { return ended == 2; }));
    EXPECT_EQ(pair.Word(0).Load(std::memory_order_relaxed), 2u * kRounds);
  }
}

// E2. The server stores one number into 16 words after another; a READ of one moment finds some words of
// the new number in front, and behind them words of the one before.
struct Samples {
  bool torn_lines = false;  // A line that is newer than an earlier one, or two or more behind it.
  bool torn_words = false;  // The same within a line.
};
Samples SampleWhileStored(Pair* pair) {
  Samples samples;
  uint64_t number = 0;
  pair->RunBeside(
      [&] {
        const WorkRequest read = pair->client.Request(Opcode::kRead, pair->key, 0, 0, 16);
        for (int i = 0; i < kRounds; ++i) {
          ASSERT_EQ(pair->client.Execute(pair->connection.client.get(), read),
                    CompletionStatus::kOk);
          uint64_t words[16];
          for (size_t w = 0; w < 16; ++w) {
            words[w] = pair->client.Local(w)->Load(std::memory_order_relaxed);
          }
          for (size_t w = 0; w < 16; ++w) {
            const size_t line = w - w % 8;
            if (words[w] > words[line] || words[w] + 1 < words[line]) samples.torn_words = true;
            if (words[w] > words[0] || words[w] + 1 < words[0]) samples.torn_lines = true;
          }
        }
      },
      [&] {
        ++number;
        for (size_t w = 0; w < 16; ++w) pair->Word(w).Store(number, std::memory_order_release);
      });
  return samples;
}
bool TearsLines(Pair* pair) { return SampleWhileStored(pair).torn_lines; }
bool TearsWords(Pair* pair) { return SampleWhileStored(pair).torn_words; }

TEST(SimFaultTest, SplitReadsSampleLinesAtDifferentTimes) {
  SimFaults faults;
  EXPECT_EQ(WorldsThatShow(faults, TearsLines), 0u);
  faults.split_read = 0.5;
  EXPECT_GT(WorldsThatShow(faults, TearsLines), 0u);
  faults.any_order = 0.5;
  faults.line_ns_max = 2 * kUs;
  EXPECT_EQ(WorldsThatShow(faults, TearsLines), kSeeds);
  EXPECT_EQ(WorldsThatShow(faults, TearsWords), 0u);
}

TEST(SimFaultTest, ReadsWordByWordTearLines) {
  SimFaults faults;
  faults.word_by_word = 0.5;
  EXPECT_EQ(WorldsThatShow(faults, TearsWords), kSeeds);
}

// E3. A WRITE of 16 words: the server's CPU finds some of it there and some not, in which order?
struct Landing {
  bool later_line_first = false;
  bool earlier_line_first = false;
  bool word_up = false;
  bool word_down = false;
  bool any() const { return later_line_first || earlier_line_first || word_up || word_down; }
};
Landing WatchLanding(Pair* pair) {
  Landing landing;
  pair->RunBeside(
      [&] {
        for (uint64_t i = 1; i <= kRounds; ++i) {
          for (size_t w = 0; w < 16; ++w) {
            pair->client.Local(w)->Store(i, std::memory_order_relaxed);
          }
          const WorkRequest write = pair->client.Request(Opcode::kWrite, pair->key, 0, 0, 16);
          ASSERT_EQ(pair->client.Execute(pair->connection.client.get(), write),
                    CompletionStatus::kOk);
        }
      },
      [&] {
        // The first is loaded first: if it is the newer one, the other should have been there as well.
        const auto is_ahead = [pair](size_t first, size_t second) {
          const uint64_t value = pair->Word(first).Load(std::memory_order_acquire);
          return pair->Word(second).Load(std::memory_order_acquire) < value;
        };
        if (is_ahead(8, 0)) landing.later_line_first = true;
        if (is_ahead(0, 8)) landing.earlier_line_first = true;
        if (is_ahead(1, 6)) landing.word_up = true;
        if (is_ahead(6, 1)) landing.word_down = true;
      });
  return landing;
}

TEST(SimFaultTest, SplitWritesLandPieceByPiece) {
  SimFaults faults;
  EXPECT_EQ(WorldsThatShow(faults, [](Pair* pair) { return WatchLanding(pair).any(); }), 0u);
  faults.split_write = 0.8;
  const auto earlier = [](Pair* pair) { return WatchLanding(pair).earlier_line_first; };
  const auto later = [](Pair* pair) { return WatchLanding(pair).later_line_first; };
  EXPECT_EQ(WorldsThatShow(faults, earlier), kSeeds);
  EXPECT_EQ(WorldsThatShow(faults, later), 0u);
  faults.any_order = 0.5;
  EXPECT_EQ(WorldsThatShow(faults, later), kSeeds);
}

TEST(SimFaultTest, WritesWordByWordGoUpAndDown) {
  SimFaults faults;
  faults.word_by_word = 0.8;
  EXPECT_EQ(WorldsThatShow(faults,
                           [](Pair* pair) {
                             const Landing landing = WatchLanding(pair);
                             return landing.word_up && landing.word_down;
                           }),
            kSeeds);
}

// E4. What the server's CPU finds when the WRITE's completion was polled.
bool CompletesBeforeItLands(Pair* pair) {
  bool is_early = false;
  pair->test.Run(pair->client.process(), [&] {
    for (uint64_t i = 1; i <= kRounds; ++i) {
      pair->client.Local(0)->Store(i, std::memory_order_relaxed);
      const WorkRequest write = pair->client.Request(Opcode::kWrite, pair->key, 0, 0);
      ASSERT_EQ(pair->client.Execute(pair->connection.client.get(), write), CompletionStatus::kOk);
      // This thread plays the server's CPU.
      if (pair->Word(0).Load(std::memory_order_acquire) != i) is_early = true;
    }
  });
  return is_early;
}

TEST(SimFaultTest, EarlyAcknowledgementsComeBeforeTheWriteLands) {
  SimFaults faults;
  EXPECT_EQ(WorldsThatShow(faults, CompletesBeforeItLands), 0u);
  faults.early_ack = 0.5;
  EXPECT_EQ(WorldsThatShow(faults, CompletesBeforeItLands), kSeeds);
}

// F8: after the completion whoever reads through the fabric sees it, on any queue pair of that card.
TEST(SimFaultTest, ReadsOfOthersFlushWhatWasAcknowledged) {
  SimFaults faults = SimFaults::All();
  faults.lost_connection = 0;
  faults.early_ack = 1;
  faults.visibility_ns_max = 100 * kUs;
  uint64_t flushes = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Pair pair(seed, faults);
    SimTestConnection other = ConnectNodes(&pair.client, &pair.server);
    const RemoteKey key = GrantAll(other.server.get(), *pair.region);
    pair.test.Run(pair.client.process(), [&] {
      for (uint64_t i = 1; i <= kRounds; ++i) {
        pair.client.Local(0)->Store(i, std::memory_order_relaxed);
        const WorkRequest write = pair.client.Request(Opcode::kWrite, pair.key, 0, 0);
        ASSERT_EQ(pair.client.Execute(pair.connection.client.get(), write), CompletionStatus::kOk);
        const WorkRequest read = pair.client.Request(Opcode::kRead, key, 1, 0);
        ASSERT_EQ(pair.client.Execute(other.client.get(), read), CompletionStatus::kOk);
        ASSERT_EQ(pair.client.Local(1)->Load(std::memory_order_relaxed), i);
      }
    });
    flushes += pair.test.counts().flushes;
  }
  EXPECT_GT(flushes, kSeeds);
}

// E6. A READ and behind it a WRITE of the same word, in one batch.
bool ReadSeesTheLaterWrite(Pair* pair, bool is_fenced) {
  bool is_overtaken = false;
  pair->test.Run(pair->client.process(), [&] {
    for (uint64_t i = 1; i <= kRounds; ++i) {
      pair->client.Local(0)->Store(i, std::memory_order_relaxed);
      WorkRequest batch[] = {pair->client.Request(Opcode::kRead, pair->key, 1, 0),
                             pair->client.Request(Opcode::kWrite, pair->key, 0, 0)};
      batch[1].fence = is_fenced;
      ASSERT_TRUE(pair->connection.client->Post(batch).ok());
      for (int k = 0; k < 2; ++k) ASSERT_EQ(pair->client.Await().status, CompletionStatus::kOk);
      if (pair->client.Local(1)->Load(std::memory_order_relaxed) == i) is_overtaken = true;
    }
  });
  return is_overtaken;
}

TEST(SimFaultTest, LateReadsAreOvertakenUnlessFenced) {
  const auto unfenced = [](Pair* pair) { return ReadSeesTheLaterWrite(pair, false); };
  const auto fenced = [](Pair* pair) { return ReadSeesTheLaterWrite(pair, true); };
  SimFaults faults;
  EXPECT_EQ(WorldsThatShow(faults, unfenced), 0u);
  faults.late_read = 0.5;
  EXPECT_EQ(WorldsThatShow(faults, unfenced), kSeeds);
  EXPECT_EQ(WorldsThatShow(faults, fenced), 0u);
}

// F5. The server stores a number to word 0, then to word 8. A batch READs word 0, then word 8: in that order,
// the second is at most one behind the first.
bool SecondReadIsOlder(Pair* pair) {
  bool is_older = false;
  uint64_t number = 0;
  pair->RunBeside(
      [&] {
        const WorkRequest batch[] = {pair->client.Request(Opcode::kRead, pair->key, 0, 0),
                                     pair->client.Request(Opcode::kRead, pair->key, 1, 8)};
        for (int i = 0; i < kRounds; ++i) {
          ASSERT_TRUE(pair->connection.client->Post(batch).ok());
          for (int k = 0; k < 2; ++k) ASSERT_EQ(pair->client.Await().status, CompletionStatus::kOk);
          const uint64_t first = pair->client.Local(0)->Load(std::memory_order_relaxed);
          const uint64_t second = pair->client.Local(1)->Load(std::memory_order_relaxed);
          if (second + 1 < first) is_older = true;
        }
      },
      [&] {
        pair->Word(0).Store(++number, std::memory_order_release);
        pair->Word(8).Store(number, std::memory_order_release);
      });
  return is_older;
}

TEST(SimFaultTest, LateReadsSampleInEitherOrder) {
  SimFaults faults;
  EXPECT_EQ(WorldsThatShow(faults, SecondReadIsOlder), 0u);
  faults.late_read = 0.5;
  EXPECT_EQ(WorldsThatShow(faults, SecondReadIsOlder), kSeeds);
}

// What a READ brings is stored into the local buffer at once, or word by word while the owner may look.
bool LandsInPieces(Pair* pair) {
  bool in_pieces = false;
  for (size_t w = 0; w < 16; ++w) pair->Word(w).Store(1, std::memory_order_relaxed);
  pair->test.Run(pair->client.process(), [&] {
    const WorkRequest read = pair->client.Request(Opcode::kRead, pair->key, 0, 0, 16);
    for (int i = 0; i < kRounds; ++i) {
      for (size_t w = 0; w < 16; ++w) pair->client.Local(w)->Store(0, std::memory_order_seq_cst);
      ASSERT_TRUE(pair->connection.client->Post({&read, 1}).ok());
      Completion completion;
      while (pair->client.queue()->Poll({&completion, 1}) == 0) {
        // A buffer is not to be looked at now. Who does sees what cards do.
        const uint64_t first = pair->client.Local(0)->Load(std::memory_order_acquire);
        const uint64_t last = pair->client.Local(15)->Load(std::memory_order_acquire);
        if (first > last) in_pieces = true;
      }
      for (size_t w = 0; w < 16; ++w) {
        ASSERT_EQ(pair->client.Local(w)->Load(std::memory_order_relaxed), 1u);
      }
    }
  });
  return in_pieces;
}

TEST(SimFaultTest, SplitLandingsFillTheBufferPieceByPiece) {
  SimFaults faults;
  EXPECT_EQ(WorldsThatShow(faults, LandsInPieces), 0u);
  faults.split_landing = 0.5;
  EXPECT_EQ(WorldsThatShow(faults, LandsInPieces), kSeeds);
}

// E5. The longest that one of many READs took.
uint64_t SlowestReadNs(Pair* pair) {
  uint64_t slowest_ns = 0;
  pair->test.Run(pair->client.process(), [&] {
    for (int i = 0; i < kRounds; ++i) {
      const uint64_t from_ns = pair->test.world()->NowNs();
      const WorkRequest read = pair->client.Request(Opcode::kRead, pair->key, 0, 0);
      ASSERT_EQ(pair->client.Execute(pair->connection.client.get(), read), CompletionStatus::kOk);
      slowest_ns = std::max(slowest_ns, pair->test.world()->NowNs() - from_ns);
    }
  });
  return slowest_ns;
}

TEST(SimFaultTest, OneQueuePairIsHeldUp) {
  const auto is_slow = [](Pair* pair) { return SlowestReadNs(pair) > 20 * kUs; };
  SimFaults faults;
  EXPECT_EQ(WorldsThatShow(faults, is_slow), 0u);
  faults.slow_queue_pair = 0.05;
  EXPECT_EQ(WorldsThatShow(faults, is_slow), kSeeds);
}

// E9.
TEST(SimFaultTest, ReadsBeyondMaxRdAtomicStallInOrder) {
  SimFabric::Options options;
  options.max_rd_atomic = 2;
  Pair pair(1, SimFaults::None(), options);
  pair.test.Run(pair.client.process(), [&] {
    std::vector<WorkRequest> batch;
    for (uint64_t i = 0; i < 20; ++i) {
      batch.push_back(pair.client.Request(Opcode::kFetchAdd, pair.key, i, 0));
      batch.back().swap_or_add = 1;
      batch.back().id = i;
    }
    ASSERT_TRUE(pair.connection.client->Post(batch).ok());
    for (uint64_t i = 0; i < 20; ++i) {
      ASSERT_EQ(pair.client.Await().id, i);
      EXPECT_EQ(pair.client.Local(i)->Load(std::memory_order_relaxed), i);
    }
  });
  EXPECT_GT(pair.test.counts().rd_atomic_stalls, 0u);
}

TEST(SimFaultTest, WakeUpsOfAnArmedQueueMayBeLateAndNeverMissing) {
  SimFaults faults;
  faults.slow_notification = 0.5;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Pair pair(seed, faults);
    WorkRequest knock;
    knock.opcode = Opcode::kWriteWithImm;
    Completion completion;
    for (int i = 0; i < 50; ++i) {
      pair.server.queue()->Arm();
      if (pair.server.queue()->Poll({&completion, 1}) == 1) continue;
      ASSERT_EQ(pair.client.Execute(pair.connection.client.get(), knock), CompletionStatus::kOk);
      pair.test.RunFor(faults.notification_ns_max + kUs);
      std::unique_ptr<Sleeper> sleeper = pair.server.process()->machine()->clock()->NewSleeper();
      bool woke = false;
      pair.test.Run(pair.server.process(), [&] {
        CHECK(sleeper->Watch(pair.server.queue()->fd(), EPOLLIN, &woke).ok());
        epoll_event event;
        woke = sleeper->Wait({&event, 1}, 0) == 1;
      });
      ASSERT_TRUE(woke);
      ASSERT_EQ(pair.server.queue()->Poll({&completion, 1}), 1u);
    }
  }
}

TEST(SimFaultTest, PersonalitiesDiffer) {
  Random random(1);
  int with_split_read = 0;
  int with_early_ack = 0;
  for (int i = 0; i < 100; ++i) {
    const SimFaults faults = SimFaults::Draw(&random);
    with_split_read += faults.split_read > 0 ? 1 : 0;
    with_early_ack += faults.early_ack > 0 ? 1 : 0;
  }
  for (const int with : {with_split_read, with_early_ack}) {
    EXPECT_GT(with, 50);
    EXPECT_LT(with, 95);
  }
}

}  // namespace
}  // namespace acre::transport
