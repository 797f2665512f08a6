#include "transport/shm/shm_atomics.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

namespace acre::transport {
namespace {

constexpr int kSpinsBetweenYields = 256;
constexpr int kYieldsBetweenLooks = 1024;
// How often a lock may be looked at and be held by the same living process: seconds of yielding.
constexpr int kLooksMax = 4096;

bool IsDead(uint64_t pid) {
  // A word that is no process id was written by somebody hostile: nobody holds it.
  if (pid == 0 || pid > INT32_MAX) return true;
  return kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH;
}

// Holds the word that keeps fabric atomics apart, across processes. Its value is the holder's
// process id.
class HcaGuard {
 public:
  explicit HcaGuard(SharedWord* lock) : lock_(lock) {
    const auto own_pid = static_cast<uint64_t>(getpid());
    for (int looks = 0; looks < kLooksMax; ++looks) {
      uint64_t holder = 0;
      for (int yields = 0; yields < kYieldsBetweenLooks; ++yields) {
        for (int spins = 0; spins < kSpinsBetweenYields; ++spins) {
          holder = 0;
          // seq_cst: a barrier between our earlier stores and the load of the word (F2).
          if (lock_->CompareExchange(&holder, own_pid, std::memory_order_seq_cst)) {
            is_held_ = true;
            return;
          }
        }
        sched_yield();
      }
      if (IsDead(holder) && lock_->CompareExchange(&holder, own_pid, std::memory_order_seq_cst)) {
        is_held_ = true;
        return;
      }
    }
  }
  ~HcaGuard() {
    // Release: the next holder sees our word.
    if (is_held_) lock_->Store(0, std::memory_order_release);
  }
  HcaGuard(const HcaGuard&) = delete;
  HcaGuard& operator=(const HcaGuard&) = delete;

  bool is_held() const { return is_held_; }

 private:
  SharedWord* lock_;
  bool is_held_ = false;
};

}  // namespace

bool HcaCompareSwap(SharedWord* lock, SharedWord* word, uint64_t compare, uint64_t swap,
                    uint64_t* old_value) {
  const HcaGuard guard(lock);
  if (!guard.is_held()) return false;
  *old_value = word->Load(std::memory_order_acquire);
  // Also when it fails: then the old value is written back, over what a CPU stored meanwhile (A2).
  word->Store(*old_value == compare ? swap : *old_value, std::memory_order_release);
  return true;
}

bool HcaFetchAdd(SharedWord* lock, SharedWord* word, uint64_t addend, uint64_t* old_value) {
  const HcaGuard guard(lock);
  if (!guard.is_held()) return false;
  *old_value = word->Load(std::memory_order_acquire);
  word->Store(*old_value + addend, std::memory_order_release);
  return true;
}

}  // namespace acre::transport
