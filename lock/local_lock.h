// The local cohort of an ALock: a queue lock (MCS, Mellor-Crummey and Scott 1991) of the threads
// that have the lock's memory mapped. Waiting coroutines suspend, they never block their thread.
//
// Threads:    LockThread and LockSet are confined to one thread. The lock's words and the nodes in
//             a queue are touched by all threads of this process that use the lock.
// Ownership:  a LockThread owns its nodes, and outlives its LockSets. A node stays in a queue until
//             its turn has come and gone, even when the coroutine that waited was destroyed: the
//             thread then passes it on.
// Deadlock:   blocking acquisitions of one LockSet go in address order (CHECKed); any other by
//             TryAcquire.
// The other cohort is not in use: its words are zero (lock/lock_words.h), so the head of this queue
// enters.

#ifndef ACRE_LOCK_LOCAL_LOCK_H_
#define ACRE_LOCK_LOCAL_LOCK_H_

#include <deque>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "lock/lock_words.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"

namespace acre {

// A place in the queue of one lock. Its own cache line: its waiter spins on it.
struct alignas(kLineBytes) LocalLockNode {
  // The successor, stored by it (release) after it swapped itself into the tail; the holder loads
  // it to hand on.
  SharedWord next;
  // 0: wait. 1: yours; stored by the predecessor (release), so all that it did under the lock is
  // seen.
  SharedWord granted;
  LockWords* lock;  // Private to the node's owner.
};

// A thread's nodes.
class LockThread : public Poller {
 public:
  explicit LockThread(Scheduler* scheduler);
  // No LockSet is left. Waits out what was abandoned: if several threads of one table end together, their
  // LockThreads are polled in turns until all are idle() first, since one waits for another.
  ~LockThread() override;
  LockThread(const LockThread&) = delete;
  LockThread& operator=(const LockThread&) = delete;

  bool Poll() override;  // Passes on what was granted to abandoned nodes.
  // Nothing was abandoned that is still in a queue.
  bool idle() const { return abandoned_.empty(); }

 private:
  friend class LockSet;
  LocalLockNode* Take();
  void Give(LocalLockNode* node) { free_.push_back(node); }
  void Abandon(LocalLockNode* node) { abandoned_.push_back(node); }

  Scheduler* const scheduler_;
  std::deque<LocalLockNode> nodes_;
  std::vector<LocalLockNode*> free_;
  std::vector<LocalLockNode*> abandoned_;
};

// The locks that one operation holds. Released together, by the destructor or by ReleaseAll().
class LockSet {
 public:
  explicit LockSet(LockThread* thread) : thread_(thread) {}
  ~LockSet();
  LockSet(const LockSet&) = delete;
  LockSet& operator=(const LockSet&) = delete;

  // Takes the lock, or gets in line for it: true: held. false: co_await Wait() before anything
  // else. The lock's address is above that of every lock taken this way before.
  [[nodiscard]] bool Start(LockWords* lock);
  Task<void> Wait();

  // Takes the lock if nobody holds it or waits for it. At any address.
  [[nodiscard]] bool TryAcquire(LockWords* lock);

  void ReleaseAll();
  Scheduler* scheduler() const { return thread_->scheduler_; }

 private:
  LockThread* const thread_;
  LockWords* highest_ = nullptr;  // Taken by Start().
  LocalLockNode* waiting_ = nullptr;
  absl::InlinedVector<LocalLockNode*, 4> held_;
};

}  // namespace acre

#endif  // ACRE_LOCK_LOCAL_LOCK_H_
