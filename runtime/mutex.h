#ifndef ACRE_RUNTIME_MUTEX_H_
#define ACRE_RUNTIME_MUTEX_H_

#include <mutex>

#include "absl/base/thread_annotations.h"
#ifdef ACRE_SIM
#include "glog/logging.h"
#include "runtime/shared_word.h"
#include "runtime/this_thread.h"
#endif

namespace acre {

// Mutex is a std::mutex that clang's -Wthread-safety can follow, so that ABSL_GUARDED_BY(mutex_) on
// a member is checked. For what is off the data path, or waits for a device there: protocols have locks of their own.
//
// In config sim waiting for it lets other simulated threads run, and each call is a scheduling point.
//
// Threads:    any. Not recursive.
// See "Locks and tsan" in docs/dependencies.md for why it is not an absl::Mutex.
class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

#ifndef ACRE_SIM
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  // False: somebody has it.
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) { return mutex_.try_lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
#else
  // Simulated threads share one OS thread, which must not block. As in a std::mutex, both calls
  // are locked instructions: they empty the store buffer.
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    const bool simulated = simulated_cpu != nullptr;
    for (;;) {
      uint64_t holder = kFree;
      const uint64_t taken = simulated ? kHeldBySimulated : kHeldByOther;
      if (word_.CompareExchange(&holder, taken, std::memory_order_seq_cst)) return;
      CHECK(simulated || holder != kHeldBySimulated)
          << "waits outside of the simulated threads for one that cannot go on meanwhile";
      YieldThread();
    }
  }
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    uint64_t holder = kFree;
    const uint64_t taken = simulated_cpu != nullptr ? kHeldBySimulated : kHeldByOther;
    return word_.CompareExchange(&holder, taken, std::memory_order_seq_cst);
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() { (void)word_.Exchange(kFree, std::memory_order_seq_cst); }

 private:
  enum Holder : uint64_t { kFree, kHeldBySimulated, kHeldByOther };

  // Only the functions above touch it, by read-modify-writes: each sees the latest.
  SharedWord word_;
#endif
};

// MutexLock holds a Mutex for its own lifetime. The mutex must outlive it. Not across a co_await:
// the coroutine may resume on another thread, or never.
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_->Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

}  // namespace acre

#endif  // ACRE_RUNTIME_MUTEX_H_
