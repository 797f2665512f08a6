// LocalRepair: finishes, at the home, what dead processes had begun in the local cohorts of its locks: L1 and L2 of
// docs/alock.md. All it needs lies in the arena and in the locks; the others go on meanwhile and notice nothing.
//
// Threads:   confined to the scheduler's; the arena and the locks are changed by all local threads meanwhile.
// Ownership: borrows all that it is given.

#ifndef ACRE_LOCK_LOCAL_REPAIR_H_
#define ACRE_LOCK_LOCAL_REPAIR_H_

#include <cstdint>
#include <vector>

#include "absl/types/optional.h"
#include "lock/local_arena.h"
#include "lock/local_cohort.h"
#include "lock/lock_regions.h"
#include "lock/lock_repair.h"
#include "lock/lock_words.h"
#include "runtime/scheduler.h"

namespace acre {

class LocalRepair final : public Poller {
 public:
  LocalRepair(Scheduler* scheduler, LocalArena* arena, LockRegions regions, GuardedData* data);
  ~LocalRepair() override;

  // The process is dead, and was seen to be: none of its threads runs any more. Its places in queues are finished
  // as their turns come, in Poll(); its descriptors are free then.
  void Adopt(uint32_t process_id);

  // One step for each place.
  bool Poll() override;
  // Nothing of any dead process is left in a queue.
  bool idle() const { return orphans_.empty(); }
  // Places that were found in queues, since it was made.
  uint64_t adopted_count() const { return adopted_count_; }

 private:
  // A place of a dead process, in the queue of `lock`.
  struct Orphan {
    LocalWord word;
    GlobalAddress address;
    LockWords* lock;
  };
  // What a descriptor said, as long as it served `word`; nullopt: it has moved on.
  struct Entry {
    uint64_t lock;
    LocalWord pred;
    bool has_left;  // R1.
  };

  absl::optional<Entry> Read(LocalWord word) const;
  // Whether the queue's tail leads to it.
  bool IsInQueue(const LockWords& lock, GlobalAddress address, LocalWord word) const;
  // True: it has left.
  bool Step(const Orphan& orphan);

  Scheduler* const scheduler_;
  LocalArena* const arena_;
  const LockRegions regions_;
  GuardedData* const data_;
  std::vector<Orphan> orphans_;
  uint64_t adopted_count_ = 0;
};

}  // namespace acre

#endif  // ACRE_LOCK_LOCAL_REPAIR_H_
