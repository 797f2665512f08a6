// The local cohort of an ALock, step by step: a queue of the threads that have the lock mapped, each of which
// waits on its predecessor's descriptor (CLH: Craig 1993; Magnusson, Landin and Hagersten 1994), and their side of
// Peterson's algorithm against the remote cohort (ALock, SPAA'24). The names of the steps are those of
// docs/alock.md, of the Promela models beside this file, and of the relacy test, which runs this very file on a
// model of memory.
//
// Why not the MCS queue of the paper: docs/alock.md, "Why the local queue is another one".
//
// No step waits. Who drives them, and how it waits in between: lock/local_lock.h.
//
// Memory orders: all that one holder did is seen by the next, whoever hands on to whom:
//  - within the cohort by A3/R2 on local_tail and by R1/A5 on the grant (release, acquire);
//  - to and from the remote cohort by the tails and victim, which are the flags and the turn of Peterson's
//    algorithm: seq_cst, since "raise mine, then look at yours" must not fail in the store buffer. The remote
//    side's half of that is F3 of transport/fabric.h.

#ifndef ACRE_LOCK_LOCAL_COHORT_H_
#define ACRE_LOCK_LOCAL_COHORT_H_

#include <atomic>
#include <cstdint>

#include "absl/types/optional.h"
#include "lock/lock_words.h"

namespace acre {

// A place in the queue of one lock. Its own cache line: the successor spins on it.
template <class Word>
struct alignas(kLineBytes) BasicLocalDescriptor {
  // LockGrant to whoever follows in the queue. Its owner resets it before A3 and stores it once (R1); the
  // successor waits for that. One of a later sequence says the same as a grant of 0: the owner has moved on.
  Word grant;
  // LocalWord of the acquisition; then what that waits for. Its owner stores them before A3, for the home,
  // which repairs the queue when the owner dies: whoever finds `word` in a queue finds what belongs to it
  // here, as long as `word` is still the same after the others were loaded.
  Word word;
  Word lock;  // GlobalAddress.
  Word pred;  // LocalWord of the predecessor, 0: none.
  // Id of the process whose descriptor it is, 0: free. Claimed by compare-exchange (lock/local_arena.h).
  Word owner;
};
using LocalDescriptor = BasicLocalDescriptor<SharedWord>;
static_assert(sizeof(LocalDescriptor) == kLineBytes);

template <class Word>
class LocalCohort {
 public:
  using Descriptor = BasicLocalDescriptor<Word>;
  using Lock = BasicLockWords<Word>;

  // A1. `word` first, in the order of the stores also if we die in between: from then on the home, which follows
  // the words of queues to their descriptors, no longer takes what follows for the last acquisition's.
  static void Prepare(Descriptor* mine, LocalWord word, uint64_t lock_address) {
    mine->word.Store(word.bits(), std::memory_order_release);
    mine->lock.Store(lock_address, std::memory_order_release);
    // The last acquisition's successor may still look: it finds that we have moved on. Release: it then knows that
    // we have left, as by R1.
    mine->grant.Store(LockGrant::Wait(word.sequence()).bits(), std::memory_order_release);
  }

  // A2 and A3, until it is in the queue. Returns the predecessor; null: mine leads.
  static LocalWord Enqueue(Lock* lock, Descriptor* mine, LocalWord word) {
    uint64_t expected = 0;
    do {
      mine->pred.Store(expected, std::memory_order_release);
      // Release: publishes A1 and A2 to the successor and to the home. Acquire: the predecessor's A1; what the last
      // holder did, if the lock is free. seq_cst: raises our flag before B1 looks at theirs.
    } while (!lock->local_tail.CompareExchange(&expected, word.bits(), std::memory_order_seq_cst));
    return LocalWord::FromBits(expected);
  }
  // A2 and A3 once, for who does not want to wait: false: somebody is there.
  static bool TryEnqueue(Lock* lock, Descriptor* mine, LocalWord word) {
    uint64_t expected = 0;
    mine->pred.Store(0, std::memory_order_release);
    return lock->local_tail.CompareExchange(&expected, word.bits(), std::memory_order_seq_cst);
  }

  // A5. The budget that the predecessor granted, once it has. Acquire: what it did under the lock.
  static absl::optional<uint32_t> Granted(const Descriptor& pred, LocalWord pred_word) {
    const LockGrant grant = LockGrant::FromBits(pred.grant.Load(std::memory_order_acquire));
    if (grant.IsWait(pred_word.sequence())) return absl::nullopt;
    // It has left, and moved on before we looked: it led its cohort, now we do.
    if (!grant.IsFor(pred_word.sequence())) return 0;
    return grant.budget();
  }

  // B1. Whether the leader may enter without touching victim: the remote flag is down, and whoever raises it
  // from now on sees ours. Acquire: what the last remote holder WROTE before it lowered its flag.
  static bool OtherIsAbsent(const Lock& lock) {
    return lock.remote_tail.Load(std::memory_order_seq_cst) == 0;
  }
  // B2. Remote leaders read it. A full barrier: before B3 looks at the remote flag. And a release: a remote leader
  // that reads it enters behind all that this cohort did before.
  static void BecomeVictim(Lock* lock) {
    lock->victim.Store(static_cast<uint64_t>(Cohort::kLocal), std::memory_order_seq_cst);
  }
  // B3. Whether the leader may enter now. The remote flag goes down at a remote holder's R1; victim changes
  // when a remote leader has come after B2, or had its turn and was followed by one: for what its cohort did
  // before an acquire would do. The flag must not be loaded before B2 is seen: seq_cst.
  static bool MayEnter(const Lock& lock) {
    return OtherIsAbsent(lock) ||
           lock.victim.Load(std::memory_order_seq_cst) != static_cast<uint64_t>(Cohort::kLocal);
  }

  // R1. To whoever follows, now or until R2. Release: what was done under the lock.
  static void Grant(Descriptor* mine, LocalWord word, uint32_t budget) {
    mine->grant.Store(LockGrant::Of(word.sequence(), budget).bits(), std::memory_order_release);
  }
  // R2. Lowers the flag if nobody follows; mine has left either way. Behind R1, so that a successor need not wait
  // for it. Release: a remote leader that reads the tail sees what was done under the lock, and so does the next
  // local one.
  static void LeaveEmpty(Lock* lock, LocalWord word) {
    uint64_t expected = word.bits();
    // Most who are followed see it here, and leave the line to those who come.
    if (lock->local_tail.Load(std::memory_order_relaxed) != expected) return;
    (void)lock->local_tail.CompareExchange(&expected, 0, std::memory_order_release);
  }
};

}  // namespace acre

#endif  // ACRE_LOCK_LOCAL_COHORT_H_
