// Local ALocks: how the threads that have a lock's memory mapped take it (docs/alock.md). They use no fabric: a
// free lock costs two CPU atomics. Waiting coroutines suspend, they never block their thread.
//
// Threads:    LockThread and LockSet are confined to one thread. The locks' words and the arena are touched by
//             all local threads, the locks' words by remote ones too (lock/remote_locker.h).
// Ownership:  a LockThread owns its places in queues and claims descriptors of the arena, which outlives it; it
//             outlives its LockSets. A place stays in its queue until its turn has come and gone, even when the
//             coroutine that waited was destroyed: the thread's poller then passes it on.
// Deadlock:   blocking acquisitions of one LockSet go in address order (CHECKed); any other by
//             TryAcquire.

#ifndef ACRE_LOCK_LOCAL_LOCK_H_
#define ACRE_LOCK_LOCAL_LOCK_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "glog/logging.h"
#include "lock/local_arena.h"
#include "lock/local_cohort.h"
#include "lock/lock_words.h"
#include "runtime/scheduler.h"
#include "runtime/spin_judge.h"
#include "runtime/task.h"
#include "transport/address.h"

namespace acre {

// A lock as a local thread names it.
struct MappedLock {
  LockWords* words = nullptr;
  GlobalAddress address;  // The same for everybody. Never null.
};

// A thread's places in the queues of locks, and what drives them.
class LockThread : public Poller {
 public:
  // One acquisition: from Start() or a TryStart() that succeeded, to Release() or Abandon().
  struct Place;

  struct Options {
    uint32_t process_id = 1;  // Whose descriptors they are. Not 0.
    uint32_t budget = LockBudgets{}.local;
  };
  LockThread(Scheduler* scheduler, LocalArena* arena, const Options& options);
  // No Place is left but abandoned ones. Waits those out, but for who has forgotten them (ForgetAbandoned): of several
  // threads that end together one may wait for another.
  ~LockThread() override;
  LockThread(const LockThread&) = delete;
  LockThread& operator=(const LockThread&) = delete;

  // Gets in line, and stays for a moment if it must wait: where that has paid lately (kLooks). Null: the arena has no
  // descriptor left. held(): it was free, or has become so.
  Place* Start(const MappedLock& lock);
  // Null: somebody holds it or waits for it, or no descriptor is left.
  Place* TryStart(const MappedLock& lock);
  // Looks whether its turn has come. True: held, also from now on.
  bool Advance(Place* place);
  // Advance() until it is held, others of the thread's loop in between. False: the scheduler's time is `deadline_ns`, and
  // it is not. A task that is destroyed, too, leaves the place to its caller, who outlives it.
  Task<bool> AwaitUntil(Place* place, uint64_t deadline_ns);
  Task<bool> Await(Place* place) { return AwaitUntil(place, UINT64_MAX); }
  // Hands a held lock on, or gives up while waiting for it. The place is gone for the caller.
  void Release(Place* place);
  void Abandon(Place* place);

  bool Poll() override;  // Drives what was abandoned.
  // At the end of all that these locks guard: nobody of any cohort takes them again, so nobody is handed them.
  void ForgetAbandoned();
  // Nothing of that is left.
  bool idle() const { return abandoned_.empty(); }
  Scheduler* scheduler() const { return scheduler_; }

 private:
  using Steps = LocalCohort<SharedWord>;

  // A thread's places, as soon as it has taken so many locks: with fewer, one that takes locks one after another
  // uses a descriptor again before its last successor has looked, which then asks the other cohort in vain.
  static constexpr size_t kPlacesMin = 4;
  // How often a waiter that spins looks, with a pause after each: some us in all. Most locks are held for less.
  static constexpr int kLooks = 100;
  // Before the first look: one that comes before the holder has granted costs the holder its line, and both of them its way
  // there and back, which is most of what there is to a lock that is held for next to nothing.
  static constexpr int kPausesBeforeLooks = 2;

  // A1. Null: no descriptor is left.
  Place* Take(const MappedLock& lock);
  Place* ClaimPlace();
  void Give(Place* place);
  // Behind A3, of one that does not hold the lock at once.
  Place* Queue(Place* place, LocalWord pred);
  static Place* Enter(Place* place, uint32_t budget);
  // Looks for a moment. Between two looks of a task that waits lies a pass of the loop, and it takes time to make and to resume:
  // both are what many locks are held for.
  void Spin(Place* place);
  // B1 to B3. True: held.
  bool Contend(Place* place);
  // R1, R2, with this grant for who follows.
  void Leave(Place* place, uint32_t grant);
  // The same of a leader that does not enter: whoever comes behind leads.
  void GiveUpLead(Place* place);
  // A step of a place that nobody wants any more. True: it has left.
  bool LeaveAbandoned(Place* place);

  Scheduler* const scheduler_;
  LocalArena* const arena_;
  const Options options_;
  std::deque<Place> places_;
  // Free ones, first in first out: the successor of the last acquisition may still look at its descriptor, and
  // finds the grant there the longer it is not used again.
  Place* free_first_ = nullptr;
  Place* free_last_ = nullptr;
  size_t free_count_ = 0;
  std::vector<Place*> abandoned_;
  SpinJudge spin_judge_;
};

struct LockThread::Place {
  enum class Phase : uint8_t { kQueued, kContending, kHeld };

  bool held() const { return phase == Phase::kHeld; }

  LockWords* lock = nullptr;
  LocalDescriptor* descriptor = nullptr;
  LocalWord word;  // Of this acquisition; between two of them, of the last one.
  LocalWord pred;  // Queued: whom it waits for.
  const LocalDescriptor* pred_descriptor = nullptr;
  Phase phase = Phase::kQueued;
  uint32_t budget = 0;  // Held.
  Place* next_free = nullptr;
};

// What a free lock costs is here, for the compiler to put in place: two locked instructions and a few stores.

inline LockThread::Place* LockThread::Take(const MappedLock& lock) {
  Place* place = free_first_;
  if (place == nullptr || places_.size() < kPlacesMin) [[unlikely]] {
    place = ClaimPlace();
    if (place == nullptr) return nullptr;
  } else {
    free_first_ = place->next_free;
    --free_count_;
    place->word = place->word.Next();
  }
  place->lock = lock.words;
  Steps::Prepare(place->descriptor, place->word, lock.address.bits());
  return place;
}

inline void LockThread::Give(Place* place) {
  place->next_free = nullptr;
  (free_first_ == nullptr ? free_first_ : free_last_->next_free) = place;
  free_last_ = place;
  ++free_count_;
}

inline LockThread::Place* LockThread::Enter(Place* place, uint32_t budget) {
  place->phase = Place::Phase::kHeld;
  place->budget = budget;
  return place;
}

inline LockThread::Place* LockThread::Start(const MappedLock& lock) {
  Place* const place = Take(lock);
  if (place == nullptr) [[unlikely]]
    return nullptr;
  const LocalWord pred = Steps::Enqueue(lock.words, place->descriptor, place->word);
  if (!pred.is_null() || !Steps::OtherIsAbsent(*lock.words)) [[unlikely]]
    return Queue(place, pred);
  return Enter(place, options_.budget);
}

inline void LockThread::Leave(Place* place, uint32_t grant) {
  Steps::Grant(place->descriptor, place->word, grant);
  Steps::LeaveEmpty(place->lock, place->word);
  Give(place);
}

inline void LockThread::Release(Place* place) {
  DCHECK(place->held());
  Leave(place, place->budget - 1);
}

// The locks that one operation holds. Released together, by the destructor or by ReleaseAll().
class LockSet {
 public:
  explicit LockSet(LockThread* thread) : thread_(thread) {}
  ~LockSet();
  LockSet(const LockSet&) = delete;
  LockSet& operator=(const LockSet&) = delete;

  // Takes the lock, or gets in line for it: true: held. false: co_await Wait() before anything
  // else. The lock's address is above that of every lock taken this way before.
  [[nodiscard]] bool Start(const MappedLock& lock);
  // ResourceExhausted: the arena had no descriptor left. DeadlineExceeded: the scheduler's time is `deadline_ns`. Either
  // way the lock is not held, nor awaited any more.
  Task<absl::Status> Wait(uint64_t deadline_ns = UINT64_MAX);

  // Takes the lock if nobody holds it or waits for it. At any address.
  [[nodiscard]] bool TryAcquire(const MappedLock& lock);

  void ReleaseAll();
  Scheduler* scheduler() const { return thread_->scheduler(); }

 private:
  LockThread* const thread_;
  uint64_t highest_ = 0;                  // Address of the last that was taken by Start().
  LockThread::Place* waiting_ = nullptr;  // Null behind a Start() that found no descriptor, too.
  absl::InlinedVector<LockThread::Place*, 4> held_;
};

}  // namespace acre

#endif  // ACRE_LOCK_LOCAL_LOCK_H_
