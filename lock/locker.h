// Locker: a thread's way to the locks of one home, whatever kind of lock they are: ALocks from either side
// (lock/local_locker.h, lock/remote_locker.h), and the two kinds that they are measured against, RDMA spin locks
// and RDMA MCS locks (lock/remote_locker.h).
//
//   auto held = co_await locker->AcquireUntil(address, deadline_ns);
//   if (!held.ok()) co_return held.status();
//   ... write what the lock guards ...
//   co_return co_await locker->Release(*std::move(held), writes);
//
// Threads:   confined to the scheduler's.
// Ownership: a Locker outlives the HeldLocks that it gave.

#ifndef ACRE_LOCK_LOCKER_H_
#define ACRE_LOCK_LOCKER_H_

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/task.h"
#include "transport/address.h"
#include "transport/fabric.h"

namespace acre {

class Locker;

// A lock that its owner holds. Empty when default-made or moved from. The destructor gives the lock back, in
// the background where that takes round trips: for the ways out of a function that nobody planned.
class HeldLock {
 public:
  HeldLock() = default;
  HeldLock(Locker* locker, void* place) : locker_(locker), place_(place) {}
  HeldLock(HeldLock&& other) noexcept
      : locker_(std::exchange(other.locker_, nullptr)), place_(other.place_) {}
  HeldLock& operator=(HeldLock&& other) noexcept {
    if (this != &other) {
      Drop();
      locker_ = std::exchange(other.locker_, nullptr);
      place_ = other.place_;
    }
    return *this;
  }
  ~HeldLock() { Drop(); }

  explicit operator bool() const { return locker_ != nullptr; }

 private:
  friend class Locker;
  void Drop();

  Locker* locker_ = nullptr;
  void* place_ = nullptr;  // The locker's own.
};

class Locker {
 public:
  virtual ~Locker() = default;

  // Waits for the lock; gets it in the order that its kind of lock has.
  // Errors: DeadlineExceeded - `deadline_ns` (the scheduler's time) passed first. A place in a queue that
  //         cannot be left is passed on in the background.
  //         Unavailable - the home is gone, or has given us up. Whatever we held of it is lost.
  //         ResourceExhausted - too many locks are held or awaited at once.
  // A task that is destroyed while it waits leaves as at a deadline.
  [[nodiscard]] virtual Task<absl::StatusOr<HeldLock>> AcquireUntil(GlobalAddress lock,
                                                                    uint64_t deadline_ns) = 0;
  [[nodiscard]] Task<absl::StatusOr<HeldLock>> Acquire(GlobalAddress lock) {
    return AcquireUntil(lock, UINT64_MAX);
  }
  // Takes the lock if nobody holds it or waits for it: else empty. Errors: as above, no deadline.
  [[nodiscard]] virtual Task<absl::StatusOr<HeldLock>> TryAcquire(GlobalAddress lock) = 0;

  // Posts `data`, WRITEs to the lock's home which outlive the task, then gives the lock back: whoever takes it
  // next sees what they wrote. Local lockers take no data. One batch where nobody waits. When it is done nothing is
  // left to do: who was behind us has the lock, so that a thread may stop running its scheduler then. A task that is
  // destroyed before leaves the lock given back, in the background where that takes round trips, and the data WRITTEN
  // or not: which matters only before they were posted, while the send queue is full.
  // Unavailable: the home is gone or has given us up. The data may be there or not; where locks are repaired
  // (docs/alock.md) the home has decided that already.
  [[nodiscard]] virtual Task<absl::Status> Release(
      HeldLock lock, absl::Span<const transport::WorkRequest> data) = 0;
  [[nodiscard]] Task<absl::Status> Release(HeldLock lock) { return Release(std::move(lock), {}); }

 protected:
  friend class HeldLock;
  // Gives it back, in the background.
  virtual void Drop(void* place) = 0;
  // What `lock` holds of this locker. Unwrap() takes it over.
  void* PlaceOf(const HeldLock& lock) const;
  void* Unwrap(HeldLock* lock);
};

inline void HeldLock::Drop() {
  if (locker_ != nullptr) std::exchange(locker_, nullptr)->Drop(place_);
}

}  // namespace acre

#endif  // ACRE_LOCK_LOCKER_H_
