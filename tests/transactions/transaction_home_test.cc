// A home's side of transactions, step by step.

#include "kvs/transaction_home.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/random.h"
#include "tests/transactions/home_scene.h"

namespace acre::kvs {
namespace {

using Answer = TransactionVote::Answer;
using Writes = std::vector<TransactionWrite>;

class TransactionHomeTest : public testing::Test, public HomeScene {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(Open()); }

  TransactionVote Lock(uint64_t sequence, const Writes& writes,
                       const std::vector<ReadMark>& misses = {}) {
    return home().Lock(Id(sequence), {}, writes, misses);
  }
  const std::string large_ = std::string(5000, 'x');
};

TEST_F(TransactionHomeTest, MarksAtLockInstallsAtCommit) {
  const std::vector<std::string> keys = KeysOf(5, 4);
  Put(keys[0], "old");
  Put(keys[1], "doomed");
  Put(keys[3], "bystander");
  const MarkedRead updated = Read(keys[0]);
  const MarkedRead deleted = Read(keys[1]);
  const MarkedRead absent = Read(keys[2]);
  const MarkedRead bystander = Read(keys[3]);

  const TransactionVote vote =
      Lock(1, {After(updated, BlindPut(keys[0], "new")), After(deleted, BlindDelete(keys[1])),
               After(absent, BlindPut(keys[2], large_))});
  ASSERT_TRUE(vote.is_yes()) << vote.status;
  EXPECT_EQ(Seen(keys[0]), "(locked)");
  EXPECT_EQ(Seen(keys[1]), "(locked)");
  EXPECT_EQ(Seen(keys[2]), "(locked)");
  EXPECT_EQ(Seen(keys[3]), "bystander");
  EXPECT_FALSE(IsStill(updated.mark));
  EXPECT_FALSE(IsStill(deleted.mark));
  EXPECT_FALSE(IsStill(absent.mark));
  EXPECT_TRUE(IsStill(bystander.mark));
  EXPECT_EQ(home().Query(Id(1)), TransactionOutcome::kLocked);

  ASSERT_TRUE(home().Commit(Id(1)).ok());
  EXPECT_EQ(Seen(keys[0]), "new");
  EXPECT_EQ(Seen(keys[1]), "(none)");
  EXPECT_EQ(Seen(keys[2]), large_);
  EXPECT_FALSE(IsStill(updated.mark));
  EXPECT_FALSE(IsStill(deleted.mark));
  EXPECT_FALSE(IsStill(absent.mark));
  EXPECT_GT(SlotWord(Read(keys[0]).mark.bits).version(), SlotWord(updated.mark.bits).version());
  model()[keys[0]] = "new";
  model()[keys[2]] = large_;
  model().erase(keys[1]);
  ExpectSound();
}

TEST_F(TransactionHomeTest, AbortLeavesEveryWordAsItWas) {
  const std::vector<std::string> keys = KeysOf(5, 12);
  for (size_t i = 0; i < 9; ++i) Put(keys[i], i == 2 ? large_ : "old");
  const std::vector<uint64_t> before = Snapshot();
  const uint64_t free_bytes = HeapBytesFree();
  const MarkedRead read = Read(keys[0]);
  Writes writes;
  for (size_t i = 0; i < keys.size(); ++i) {
    writes.push_back(i % 3 == 1 ? BlindDelete(keys[i]) : BlindPut(keys[i], large_));
  }
  ASSERT_TRUE(Lock(1, writes).is_yes());
  EXPECT_NE(Snapshot(), before);
  EXPECT_LT(HeapBytesFree(), free_bytes);
  ASSERT_TRUE(home().Abort(Id(1)).ok());
  EXPECT_EQ(Snapshot(), before);
  EXPECT_TRUE(IsStill(read.mark));
  EXPECT_EQ(HeapBytesFree(), free_bytes);
  EXPECT_EQ(home().open_count(), 0u);
  ExpectSound();
}

TEST_F(TransactionHomeTest, ChainsAreFilledAndEmptied) {
  const std::vector<std::string> keys = KeysOf(5, 14);
  const std::vector<std::string> beside = KeysOf(6, 2);
  Writes puts = {BlindPut(beside[0], "beside"), BlindPut(beside[1], "beside")};
  for (const std::string& key : keys) puts.push_back(BlindPut(key, "value"));
  ASSERT_TRUE(Lock(1, puts).is_yes());
  ASSERT_TRUE(home().Commit(Id(1)).ok());
  for (const TransactionWrite& put : puts) model()[std::string(put.key)] = std::string(put.value);
  EXPECT_EQ(table()->Stats().overflow_buckets, 3u);  // Of 14 keys 6 are in main buckets.
  ExpectSound();
  // What is deleted, updated and inserted together lies in main buckets and in chains, in any order.
  Writes mixed;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (i % 4 == 3) {
      mixed.push_back(BlindPut(keys[i], large_));
      model()[keys[i]] = large_;
    } else {
      mixed.push_back(BlindDelete(keys[i]));
      model().erase(keys[i]);
    }
  }
  ASSERT_TRUE(Lock(2, mixed).is_yes());
  ASSERT_TRUE(home().Commit(Id(2)).ok());
  EXPECT_EQ(table()->Stats().overflow_buckets, 0u);
  ExpectSound();
  for (const auto& [key, value] : model()) EXPECT_EQ(Seen(key), value);
}

TEST_F(TransactionHomeTest, WhatWasReadAndChangedIsRefused) {
  const std::vector<std::string> keys = KeysOf(5, 3);
  Put(keys[0], "old");
  const MarkedRead found = Read(keys[0]);
  const MarkedRead absent = Read(keys[1]);
  Put(keys[0], "newer");
  Put(keys[2], "another key of the home");
  const std::vector<uint64_t> before = Snapshot();
  for (const auto& [sequence, write] : std::vector<std::pair<uint64_t, TransactionWrite>>{
           {1, After(found, BlindPut(keys[0], "lost"))},
           {2, After(absent, BlindPut(keys[1], "late"))},
           {3, After(found, BlindPut(keys[2], "elsewhere"))},
           {4, After(absent, BlindDelete(keys[0]))}}) {
    const TransactionVote vote = Lock(sequence, {BlindPut("aside", "x"), write});
    EXPECT_EQ(vote.answer, Answer::kChanged) << sequence;
    EXPECT_EQ(vote.index, 1u) << sequence;
    EXPECT_EQ(home().Query(Id(sequence)), TransactionOutcome::kAborted);
    EXPECT_FALSE(home().Commit(Id(sequence)).ok());
  }
  EXPECT_EQ(Snapshot(), before);
  ExpectSound();
}

// Goal: a restored version does not let a stale read pass: what came in between was never seen.
TEST_F(TransactionHomeTest, ReadsOutliveAnAbortAndNoCommit) {
  const std::vector<std::string> keys = KeysOf(5, 2);
  Put(keys[0], "old");
  const MarkedRead read = Read(keys[0]);
  const MarkedRead miss = Read(keys[1]);
  for (uint64_t sequence = 1; sequence <= 4; ++sequence) {
    ASSERT_TRUE(Lock(sequence, {BlindPut(keys[0], "new"), BlindPut(keys[1], "new")}).is_yes());
    EXPECT_FALSE(IsStill(read.mark));
    EXPECT_FALSE(IsStill(miss.mark));
    const bool commits = sequence == 4;
    ASSERT_TRUE((commits ? home().Commit(Id(sequence)) : home().Abort(Id(sequence))).ok());
    EXPECT_EQ(IsStill(read.mark), !commits);
    EXPECT_EQ(IsStill(miss.mark), !commits);
  }
}

// Goal: a key that comes back has a version above all that it ever had, wherever it lies.
TEST_F(TransactionHomeTest, VersionsRiseAcrossDeleteAndReturn) {
  const std::vector<std::string> keys = KeysOf(5, 5);
  for (int i = 0; i < 8; ++i) Put(keys[0], "often");
  const uint64_t before = SlotWord(Read(keys[0]).mark.bits).version();
  ASSERT_TRUE(Lock(1, {BlindDelete(keys[0]), BlindPut(keys[1], "takes a place"),
                       BlindPut(keys[2], "takes a place"), BlindPut(keys[3], "takes a place")})
                  .is_yes());
  ASSERT_TRUE(home().Commit(Id(1)).ok());
  Put(keys[4], "takes the old place");
  ASSERT_TRUE(Lock(2, {BlindPut(keys[0], "back")}).is_yes());
  ASSERT_TRUE(home().Commit(Id(2)).ok());
  EXPECT_GT(SlotWord(Read(keys[0]).mark.bits).version(), before);
}

TEST_F(TransactionHomeTest, NobodyWaitsAndTheWinnerIsNamed) {
  const std::vector<std::string> keys = KeysOf(5, 2);
  Put(keys[0], "old");
  ASSERT_TRUE(Lock(1, {BlindPut(keys[0], "first")}).is_yes());
  const TransactionVote vote =
      other().Lock(Id(1, /*process_id=*/8), {}, {{BlindPut(keys[1], "second")}}, {});
  EXPECT_EQ(vote.answer, Answer::kLocked);
  ASSERT_TRUE(vote.winner.has_value());
  EXPECT_EQ(*vote.winner, Id(1));
  EXPECT_FALSE(other().Commit(Id(1, 8)).ok());
  ASSERT_TRUE(home().Commit(Id(1)).ok());
  EXPECT_TRUE(other().Lock(Id(2, 8), {}, {{BlindPut(keys[1], "second")}}, {}).is_yes());
  ASSERT_TRUE(other().Commit(Id(2, 8)).ok());
  model()[keys[0]] = "first";
  model()[keys[1]] = "second";
  ExpectSound();
}

TEST_F(TransactionHomeTest, ContendedKeysAreReported) {
  const std::vector<std::string> keys = KeysOf(5, 3);
  Put(keys[0], "old");
  const MarkedRead stale = Read(keys[0]);
  Put(keys[0], "newer");
  EXPECT_EQ(Lock(1, {BlindPut("aside", "x"), After(stale, BlindPut(keys[0], "lost"))}).answer,
            Answer::kChanged);
  ASSERT_TRUE(other().Lock(Id(1, 8), {}, {{BlindPut(keys[1], "x")}}, {}).is_yes());
  EXPECT_EQ(Lock(2, {BlindPut(keys[0], "lost")}).answer, Answer::kLocked);
  EXPECT_EQ(Lock(2, {BlindPut(keys[0], "lost")}).answer, Answer::kLocked) << "told again";
  EXPECT_EQ(Lock(3, {BlindPut(keys[2], "lost")}).answer, Answer::kLocked);
  ASSERT_TRUE(other().Abort(Id(1, 8)).ok());
  // No conflicts.
  EXPECT_TRUE(Lock(4, {BlindPut(keys[1], "x")}).is_yes());
  EXPECT_EQ(Lock(5, {BlindPut("", "x")}).answer, Answer::kInvalid);
  ASSERT_TRUE(home().Abort(Id(4)).ok());
  const std::vector<ContendedKeys::Counter> top = contended().Top(10);
  ASSERT_EQ(top.size(), 2u);
  EXPECT_EQ(top[0].key, keys[0]);
  EXPECT_EQ(top[0].count, 2u);
  EXPECT_EQ(top[1].key, keys[2]);
  EXPECT_EQ(contended().conflicts(), 3u);
}

// Goal: a plain writer of the same key, and one of another key of the bucket, go on when the locks are free.
TEST_F(TransactionHomeTest, PlainWritersWaitForTheLocks) {
  const std::vector<std::string> keys = KeysOf(5, 3);
  Put(keys[0], "old");
  for (const bool commits : {true, false}) {
    const uint64_t sequence = commits ? 1 : 2;
    ASSERT_TRUE(Lock(sequence, {BlindPut(keys[0], "transaction")}).is_yes());
    std::vector<absl::Status> done(2, absl::InternalError("waits"));
    const auto put = [this](const std::string* key, absl::Status* status) -> Task<void> {
      *status = co_await writer().Put(*key, "plain");
    };
    for (size_t i = 0; i < 2; ++i) (void)scheduler().Spawn(put(&keys[i], &done[i]));
    for (int i = 0; i < 100; ++i) scheduler().RunOnce();
    EXPECT_TRUE(absl::IsInternal(done[0]));
    EXPECT_TRUE(absl::IsInternal(done[1]));
    ASSERT_TRUE((commits ? home().Commit(Id(sequence)) : home().Abort(Id(sequence))).ok());
    while (!done[0].ok() || !done[1].ok()) scheduler().RunOnce();
    EXPECT_EQ(Seen(keys[0]), "plain");
    EXPECT_EQ(Seen(keys[1]), "plain");
  }
  model()[keys[0]] = "plain";
  model()[keys[1]] = "plain";
  ExpectSound();
}

TEST_F(TransactionHomeTest, NoMemoryIsANoThatLeavesNothing) {
  const std::string megabyte(kValueBytesMax, 'm');
  std::vector<std::string> keys = KeysOf(5, 9);
  for (const std::string& key : keys) {
    if (const absl::Status status = scheduler().RunUntilDone(writer().Put(key, large_));
        status.ok()) {
      model()[key] = large_;
    }
  }
  const std::vector<uint64_t> before = Snapshot();
  const uint64_t free_bytes = HeapBytesFree();
  Writes writes;
  for (const std::string& key : keys) writes.push_back(BlindPut(key, megabyte));
  const TransactionVote vote = Lock(1, writes);
  EXPECT_EQ(vote.answer, Answer::kNoMemory);
  EXPECT_TRUE(absl::IsResourceExhausted(vote.status)) << vote.status;
  EXPECT_EQ(Snapshot(), before);
  EXPECT_EQ(HeapBytesFree(), free_bytes);
  ExpectSound();
}

TEST_F(TransactionHomeTest, APeersNonsenseIsRefused) {
  const std::vector<std::string> keys = KeysOf(5, 2);
  const std::string long_key(kKeyBytesMax + 1, 'k');
  Writes too_many;
  const std::vector<std::string> many = KeysOf(6, kTransactionWritesMax + 1);
  for (const std::string& key : many) too_many.push_back(BlindPut(key, "x"));
  const std::vector<uint64_t> before = Snapshot();
  uint64_t sequence = 0;
  for (const Writes& writes :
       {Writes{}, too_many, Writes{BlindPut("", "x")}, Writes{BlindPut(long_key, "x")},
        Writes{BlindPut(keys[0], "x"), BlindPut(keys[1], "x"), BlindPut(keys[0], "y")}}) {
    const TransactionVote vote = Lock(++sequence, writes);
    EXPECT_EQ(vote.answer, Answer::kInvalid);
    EXPECT_TRUE(absl::IsInvalidArgument(vote.status)) << vote.status;
  }
  TransactionWrite of_no_kind = BlindPut(keys[0], "x");
  of_no_kind.kind = static_cast<TransactionWrite::Kind>(2);
  TransactionWrite expects_nonsense = BlindPut(keys[0], "x");
  expects_nonsense.expect = static_cast<TransactionWrite::Expect>(0xff);
  EXPECT_EQ(Lock(++sequence, {of_no_kind}).answer, Answer::kInvalid);
  EXPECT_EQ(Lock(++sequence, {expects_nonsense}).answer, Answer::kInvalid);
  const MarkedRead elsewhere = Read(KeysOf(9, 1)[0]);
  EXPECT_EQ(Lock(++sequence, {BlindPut(keys[0], "x")}, {elsewhere.mark}).answer, Answer::kInvalid);
  for (const uint64_t bits : {uint64_t{0}, GlobalAddress(TestServer::kFirstRegionId, 12).bits(),
                              GlobalAddress(TestServer::kFirstRegionId, kSegmentBytes).bits(),
                              GlobalAddress(TestServer::kFirstRegionId, 5001).bits()}) {
    ReadMark read;
    read.word = GlobalAddress::FromBits(bits);
    EXPECT_EQ(home().CommitAtOnce(Id(++sequence), {{BlindPut(keys[0], "x")}}, {}, {{read}}).answer,
              Answer::kInvalid);
  }
  EXPECT_EQ(Snapshot(), before);
}

// Goal: a miss of another key of a home that the transaction inserts into cannot be validated from outside: it finds
// its own mark there. LOCK judges it.
TEST_F(TransactionHomeTest, MissesOfOwnHomesAreJudgedAtLock) {
  const std::vector<std::string> keys = KeysOf(5, 3);
  const MarkedRead miss = Read(keys[0]);
  ASSERT_TRUE(Lock(1, {BlindPut(keys[1], "x")}, {miss.mark}).is_yes());
  EXPECT_FALSE(IsStill(miss.mark));
  ASSERT_TRUE(home().Commit(Id(1)).ok());
  const TransactionVote vote = Lock(2, {BlindPut(keys[2], "x")}, {miss.mark});
  EXPECT_EQ(vote.answer, Answer::kChanged);
  EXPECT_EQ(vote.index, 1u);
}

TEST_F(TransactionHomeTest, OneCallCommitsWhatStillStands) {
  const std::vector<std::string> keys = KeysOf(5, 2);
  const std::string read_key = KeysOf(9, 1)[0];
  Put(read_key, "one");
  const MarkedRead hit = Read(read_key);
  const Writes writes = {BlindPut(keys[0], "x")};
  EXPECT_TRUE(home().CommitAtOnce(Id(1), writes, {}, {{hit.mark}}).is_yes());
  EXPECT_EQ(Seen(keys[0]), "x");
  Put(read_key, "two");
  const Writes others = {BlindPut(keys[0], "y")};
  const TransactionVote vote = home().CommitAtOnce(Id(2), others, {}, {{hit.mark}});
  EXPECT_EQ(vote.answer, Answer::kChanged);
  EXPECT_EQ(vote.index, 1u);
  EXPECT_EQ(Seen(keys[0]), "x");
  // Again, each: nothing more happens.
  EXPECT_TRUE(home().CommitAtOnce(Id(1), others, {}, {}).is_yes());
  EXPECT_EQ(home().CommitAtOnce(Id(2), others, {}, {}).answer, Answer::kChanged);
  EXPECT_EQ(Seen(keys[0]), "x");
  // Locked by another one: also a read that only looks.
  ASSERT_TRUE(other().Lock(Id(1, 8), {}, {{BlindPut(read_key, "three")}}, {}).is_yes());
  EXPECT_EQ(home().CommitAtOnce(Id(3), others, {}, {{Read(keys[0]).mark, hit.mark}}).answer,
            Answer::kChanged);
  ASSERT_TRUE(other().Abort(Id(1, 8)).ok());
  model()[keys[0]] = "x";
  ExpectSound();
}

TEST_F(TransactionHomeTest, EachRequestIsAppliedOnce) {
  const std::string key = KeysOf(5, 1)[0];
  ASSERT_TRUE(Lock(1, {BlindPut(key, "one")}).is_yes());
  EXPECT_TRUE(Lock(1, {BlindPut(key, "other")}).is_yes());
  ASSERT_TRUE(home().Commit(Id(1)).ok());
  Put(key, "later");
  EXPECT_TRUE(home().Commit(Id(1)).ok());
  EXPECT_TRUE(Lock(1, {BlindPut(key, "one")}).is_yes());
  EXPECT_FALSE(home().Abort(Id(1)).ok());
  EXPECT_EQ(home().open_count(), 0u);
  EXPECT_EQ(Seen(key), "later");

  ASSERT_TRUE(Lock(2, {BlindPut(key, "two")}).is_yes());
  ASSERT_TRUE(home().Abort(Id(2)).ok());
  EXPECT_TRUE(home().Abort(Id(2)).ok());
  EXPECT_EQ(Lock(2, {BlindPut(key, "two")}).answer, Answer::kOver);
  EXPECT_FALSE(home().Commit(Id(2)).ok());
  // An ABORT before its LOCK; a COMMIT of what never came.
  ASSERT_TRUE(home().Abort(Id(3)).ok());
  EXPECT_EQ(Lock(3, {BlindPut(key, "three")}).answer, Answer::kOver);
  EXPECT_FALSE(home().Commit(Id(4)).ok());
  EXPECT_EQ(Seen(key), "later");
  ExpectSound();
}

TEST_F(TransactionHomeTest, WhatIsTruncatedNeverLocksAgain) {
  const std::string key = KeysOf(5, 1)[0];
  const TransactionThread thread = Id(0).coordinator;
  for (const uint64_t sequence : {1, 2, 5}) {
    ASSERT_TRUE(Lock(sequence, {BlindPut(key, "x")}).is_yes());
    EXPECT_FALSE(home().Truncate(thread, {{sequence}}, 0).ok());
    EXPECT_FALSE(home().Truncate(thread, {}, sequence + 1).ok());
    ASSERT_TRUE(home().Commit(Id(sequence)).ok());
  }
  ASSERT_TRUE(home().Truncate(thread, {{2, 5, 6}}, 2).ok());
  ASSERT_TRUE(home().Truncate(thread, {{2, 5, 6}}, 2).ok());
  for (const uint64_t sequence : {0, 1, 2, 5, 6}) {
    EXPECT_EQ(Lock(sequence, {BlindPut(key, "y")}).answer, Answer::kOver) << sequence;
    EXPECT_FALSE(home().Commit(Id(sequence)).ok());
    EXPECT_TRUE(home().Abort(Id(sequence)).ok());
    EXPECT_EQ(home().Query(Id(sequence)), TransactionOutcome::kUnknown);
  }
  EXPECT_EQ(home().kept_count(), 3u);
  ASSERT_TRUE(home().Truncate(thread, {}, 7).ok());
  EXPECT_EQ(home().kept_count(), 0u);
  EXPECT_EQ(Lock(7 + kTransactionWindow, {BlindPut(key, "y")}).answer, Answer::kNoMemory);
  EXPECT_TRUE(Lock(6 + kTransactionWindow, {BlindPut(key, "y")}).is_yes());
  ASSERT_TRUE(home().Abort(Id(6 + kTransactionWindow)).ok());
}

// Goal: any mixture, in any state of the table: an abort changes no word, a commit what it says and no more.
TEST_F(TransactionHomeTest, RandomTransactionsDoAllOrNothing) {
  Random random(1);
  std::vector<std::string> keys = KeysOf(5, 10);
  for (const uint64_t bucket : {6, 7, 20}) {
    for (std::string& key : KeysOf(bucket, 8)) keys.push_back(std::move(key));
  }
  for (uint64_t sequence = 1; sequence <= 1'500; ++sequence) {
    const std::string value(random.Uniform(3) == 0 ? 60 + random.Uniform(200) : random.Uniform(20),
                            static_cast<char>('a' + sequence % 26));
    std::string plain = keys[random.Uniform(keys.size())];
    if (random.Uniform(3) == 0) {
      const absl::Status status = scheduler().RunUntilDone(writer().Delete(plain));
      EXPECT_EQ(status.ok(), model().erase(plain) == 1) << status;
    } else {
      Put(plain, value);
    }
    const std::vector<uint64_t> before = Snapshot();
    checkers::Model after = model();
    Writes writes;
    for (const std::string& key : keys) {
      if (random.Uniform(4) != 0) continue;
      const bool puts = random.Uniform(2) == 0;
      writes.push_back(puts ? BlindPut(key, value) : BlindDelete(key));
      if (random.Uniform(2) == 0) writes.back() = After(Read(key), writes.back());
      after.erase(key);
      if (puts) after[key] = value;
    }
    if (writes.empty()) continue;
    const TransactionVote vote = Lock(sequence, writes);
    ASSERT_TRUE(vote.is_yes()) << vote.status;
    if (random.Uniform(2) == 0) {
      ASSERT_TRUE(home().Abort(Id(sequence)).ok());
      ASSERT_EQ(Snapshot(), before) << sequence;
    } else {
      ASSERT_TRUE(home().Commit(Id(sequence)).ok());
      model() = std::move(after);
    }
    ASSERT_TRUE(home().Truncate(Id(0).coordinator, {}, sequence + 1).ok());
    if (sequence % 50 == 0) ExpectSound();
  }
  ExpectSound();
}

// Goal: a slot that a trusted client left half-written under a lock that nobody holds is no crash, and no yes.
TEST_F(TransactionHomeTest, AHalfWrittenRecordIsInvalid) {
  const std::vector<std::string> keys = KeysOf(5, 2);
  Put(keys[0], "old");
  const MarkedRead read = Read(keys[0]);
  auto* const slot =
      reinterpret_cast<Slot*>(segment().words() + read.mark.word.offset_bytes() / kWordBytes);
  StartSlot(slot);
  const TransactionVote vote = Lock(1, {BlindPut(keys[0], "new")});
  EXPECT_EQ(vote.answer, Answer::kInvalid);
  EXPECT_TRUE(absl::IsDataLoss(vote.status)) << vote.status;
  FinishSlot(slot, SlotWord(read.mark.bits));
  EXPECT_TRUE(Lock(2, {BlindPut(keys[0], "new")}).is_yes());
  ASSERT_TRUE(home().Abort(Id(2)).ok());
  ExpectSound(/*spoilt_expected=*/1);
}

}  // namespace
}  // namespace acre::kvs
