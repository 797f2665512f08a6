// LocalLocker: ALocks for a thread that has them mapped, as a Locker (lock/locker.h). Several locks in one
// operation, and the fewest instructions: LockSet (lock/local_lock.h), on the same queues.
//
// Threads:   confined to the LockThread's.
// Ownership: borrows the LockThread and the mapped regions.

#ifndef ACRE_LOCK_LOCAL_LOCKER_H_
#define ACRE_LOCK_LOCAL_LOCKER_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lock/local_lock.h"
#include "lock/lock_regions.h"
#include "lock/lock_words.h"
#include "lock/locker.h"
#include "runtime/task.h"

namespace acre {

class LocalLocker final : public Locker {
 public:
  LocalLocker(LockThread* thread, LockRegions regions)
      : thread_(thread), regions_(std::move(regions)) {}

  Task<absl::StatusOr<HeldLock>> AcquireUntil(GlobalAddress lock, uint64_t deadline_ns) override;
  Task<absl::StatusOr<HeldLock>> TryAcquire(GlobalAddress lock) override;
  using Locker::Release;
  // CHECKs that there is no data: a local thread has stored it.
  Task<absl::Status> Release(HeldLock lock, absl::Span<const transport::WorkRequest> data) override;

  // The name of a held acquisition of this locker's, never the same twice (as far as sequences reach).
  LocalWord WordOf(const HeldLock& lock) const;

 protected:
  void Drop(void* place) override;

 private:
  absl::StatusOr<MappedLock> Find(GlobalAddress lock) const;

  LockThread* const thread_;
  const LockRegions regions_;
};

}  // namespace acre

#endif  // ACRE_LOCK_LOCAL_LOCKER_H_
