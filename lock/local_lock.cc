#include "lock/local_lock.h"

#include "glog/logging.h"
#include "runtime/this_thread.h"

namespace acre {
namespace {

LocalLockNode* NodeOf(uint64_t word) { return reinterpret_cast<LocalLockNode*>(word); }
uint64_t WordOf(LocalLockNode* node) { return reinterpret_cast<uint64_t>(node); }

void Release(LocalLockNode* node) {
  // Acquire: what the successor wrote into its node before it linked itself.
  uint64_t next = node->next.Load(std::memory_order_acquire);
  if (next == 0) {
    uint64_t expected = WordOf(node);
    // Release: whoever swaps itself in next sees all that was done under the lock.
    if (node->lock->local_tail.CompareExchange(&expected, 0, std::memory_order_release)) return;
    // Somebody is between its swap and its link: two instructions, unless it was preempted in
    // between.
    for (int spins = 0; (next = node->next.Load(std::memory_order_acquire)) == 0; ++spins) {
      if (spins >= 64) YieldThread();
    }
  }
  NodeOf(next)->granted.Store(1, std::memory_order_release);
}

}  // namespace

LockThread::LockThread(Scheduler* scheduler) : scheduler_(scheduler) {
  scheduler_->AddPoller(this);
}

LockThread::~LockThread() {
  while (!abandoned_.empty()) Poll();
  CHECK_EQ(free_.size(), nodes_.size()) << "a LockSet outlives its thread";
  scheduler_->RemovePoller(this);
}

bool LockThread::Poll() {
  bool worked = false;
  for (size_t i = 0; i < abandoned_.size();) {
    LocalLockNode* const node = abandoned_[i];
    if (node->granted.Load(std::memory_order_acquire) == 0) {
      ++i;
      continue;
    }
    Release(node);
    Give(node);
    abandoned_[i] = abandoned_.back();
    abandoned_.pop_back();
    worked = true;
  }
  // A queue behind an abandoned node must not wait for this thread to wake up.
  return worked || !abandoned_.empty();
}

LocalLockNode* LockThread::Take() {
  if (free_.empty()) {
    nodes_.emplace_back();
    return &nodes_.back();
  }
  LocalLockNode* const node = free_.back();
  free_.pop_back();
  return node;
}

LockSet::~LockSet() {
  if (waiting_ != nullptr) thread_->Abandon(waiting_);
  ReleaseAll();
}

bool LockSet::Start(LockWords* lock) {
  CHECK(waiting_ == nullptr);
  CHECK(highest_ < lock) << "locks are taken in address order";
  highest_ = lock;
  LocalLockNode* const node = thread_->Take();
  node->lock = lock;
  // Nobody sees the node before the swap publishes it.
  node->next.Store(0, std::memory_order_relaxed);
  node->granted.Store(0, std::memory_order_relaxed);
  // Release: publishes the node to the successor. Acquire: what the last holder did, if the lock is
  // free.
  const uint64_t before = lock->local_tail.Exchange(WordOf(node), std::memory_order_acq_rel);
  if (before == 0) {
    held_.push_back(node);
    return true;
  }
  NodeOf(before)->next.Store(WordOf(node), std::memory_order_release);
  waiting_ = node;
  return false;
}

Task<void> LockSet::Wait() {
  CHECK(waiting_ != nullptr);
  // Holders do not suspend while they change things, so the wait is short: it polls, it does not
  // sleep.
  while (waiting_->granted.Load(std::memory_order_acquire) == 0) co_await scheduler()->Yield();
  held_.push_back(waiting_);
  waiting_ = nullptr;
}

bool LockSet::TryAcquire(LockWords* lock) {
  LocalLockNode* const node = thread_->Take();
  node->lock = lock;
  node->next.Store(0, std::memory_order_relaxed);
  node->granted.Store(0, std::memory_order_relaxed);
  uint64_t expected = 0;
  if (!lock->local_tail.CompareExchange(&expected, WordOf(node), std::memory_order_acq_rel)) {
    thread_->Give(node);
    return false;
  }
  held_.push_back(node);
  return true;
}

void LockSet::ReleaseAll() {
  // Newest first: the home's lock, which the others of its keys wait for, comes last.
  while (!held_.empty()) {
    Release(held_.back());
    thread_->Give(held_.back());
    held_.pop_back();
  }
  highest_ = nullptr;
}

}  // namespace acre
