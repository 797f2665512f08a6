// RemoteLocker: the locks of a home for a thread that does not have them mapped: ALocks, or plain RDMA MCS locks
// to measure them against (docs/alock.md). A free lock costs one round trip, its release another.
//
// Threads:   confined to the port's.
// Ownership: borrows all that Options names. When it goes nobody holds or awaits a lock of it, and its queue pairs
//            have been forgotten (Port::Forget), so that nothing lands any more; what was still to be handed on in
//            the background is given up with them: drain() first, where the home lives on.

#ifndef ACRE_LOCK_REMOTE_LOCKER_H_
#define ACRE_LOCK_REMOTE_LOCKER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lock/locker.h"
#include "lock/remote_cohort.h"
#include "lock/remote_descriptors.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre {

class RemoteLocker final : public Locker, private transport::BufferOwner {
 public:
  struct Options {
    transport::Fabric* fabric = nullptr;  // That of the port.
    uint32_t region_id = 0;               // For the region that requests land in.
    RemoteCohort::Options cohort;
  };
  // The errors of Fabric::CreateRegion.
  static absl::StatusOr<std::unique_ptr<RemoteLocker>> Create(const Options& options);
  ~RemoteLocker() override;

  Task<absl::StatusOr<HeldLock>> AcquireUntil(GlobalAddress lock, uint64_t deadline_ns) override;
  Task<absl::StatusOr<HeldLock>> TryAcquire(GlobalAddress lock) override;
  using Locker::Release;
  Task<absl::Status> Release(HeldLock lock, absl::Span<const transport::WorkRequest> data) override;

  // The name of a held acquisition of this locker's, never the same twice (as far as sequences reach).
  RemoteWord WordOf(const HeldLock& lock) const;

  // Nothing is on its way in the background.
  bool idle() const { return in_background_ == 0 && under_way_ == 0; }
  // Waits for that.
  Task<void> Drain();

 protected:
  void Drop(void* place) override;

 private:
  struct Entry;
  class Owner;
  using Place = RemoteCohort::Place;
  using Phase = RemoteCohort::Phase;
  using Goal = RemoteCohort::Goal;

  RemoteLocker(const Options& options, std::unique_ptr<transport::MemoryRegion> landings);

  absl::StatusOr<Entry*> Take(GlobalAddress lock, Goal goal);
  void Give(Entry* entry);
  // Goes on with the entry in a task of its own, till its goal is reached.
  void RunInBackground(Entry* entry);
  Task<void> Run(Entry* entry);
  // Nobody wants the entry any more, wherever it is on its way.
  void Forsake(Entry* entry);
  Task<absl::StatusOr<HeldLock>> AcquireNow(GlobalAddress lock);

  Entry* EntryOf(const SharedWord* landing);
  void OnAbandoned(SharedWord* local) override;
  void OnAbandonedEnd(SharedWord* local) override;

  const Options options_;
  RemoteCohort cohort_;
  Scheduler* const scheduler_;
  const std::unique_ptr<transport::MemoryRegion> landings_;
  std::deque<Entry> entries_;
  std::vector<Entry*> by_index_;  // Of descriptors. Null: not ours.
  std::vector<Entry*> free_;
  size_t in_background_ = 0;
  size_t under_way_ =
      0;  // Requests of entries that nobody waits for, which go on in the background behind them.
  WaitQueue drained_;  // To be told when it is idle.
};

}  // namespace acre

#endif  // ACRE_LOCK_REMOTE_LOCKER_H_
