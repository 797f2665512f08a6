// RemoteRepair: repairs, at the home, the remote queues of its locks in which processes have died: M1 to M5 of
// docs/alock.md. The queues are read backwards from their tails, in intents that lie here; the dead ones' neighbours
// are told by message whom they follow; the tail is changed through the fabric, as everybody changes it.
//
// Threads:   confined to the port's.
// Ownership: borrows all that it is given.

#ifndef ACRE_LOCK_REMOTE_REPAIR_H_
#define ACRE_LOCK_REMOTE_REPAIR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "lock/lock_intent.h"
#include "lock/lock_regions.h"
#include "lock/lock_repair.h"
#include "lock/lock_words.h"
#include "runtime/shared_word.h"
#include "runtime/task.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre {

class RemoteRepair {
 public:
  struct Options {
    transport::Port* port = nullptr;
    // To the home itself, through the fabric that made the regions, with a key for each of them.
    transport::QueuePair* loopback = nullptr;
    LockRegionKeys keys;
    // One word that COMPARE_SWAPs return into.
    SharedWord* landing = nullptr;
    const transport::MemoryRegion* landing_region = nullptr;
    LockRegions regions;
    LockSurvivors* survivors = nullptr;
    GuardedData* data = nullptr;
  };
  explicit RemoteRepair(Options options);

  // A process that may take locks here, and its intents: so many, behind the region's header.
  void AddProcess(uint32_t process_id, const SharedWord* intents, uint32_t descriptors_count);
  // Its intents are no longer wanted. Requires: it is dead, and IsForgettable(); no Repair() is under way.
  void RemoveProcess(uint32_t process_id);
  // No queue leads to it any more.
  bool IsForgettable(uint32_t process_id) const;

  // The process is dead, and fenced at the home: nothing that it posts takes effect here any more. One that was
  // never added has no place in any queue.
  void SetDead(uint32_t process_id);

  // The home reaches itself by another queue pair from now on, with these keys. No Repair() is under way.
  void SetLoopback(transport::QueuePair* loopback, LockRegionKeys keys);

  // Repairs all queues that the dead stand in. One call at a time.
  // OK: done. Unavailable: *unresponsive is a process that does not answer: kill or fence it, SetDead(), and repair
  // again. Internal: the home's own queue pair broke.
  Task<absl::Status> Repair(uint32_t* unresponsive);

  // The remote queues in which processes that were added stand, as far as others wait for their heads, there or in the
  // local cohort; not those whose head waits for the local one. Each with its lock, from its tail to its head, and maybe
  // beyond, to some who have left.
  // `is_awaited`: whether somebody waits for a lock otherwise.
  std::vector<std::pair<GlobalAddress, std::vector<RemoteWord>>> AwaitedQueues(
      const std::function<bool(GlobalAddress lock)>& is_awaited) const;

  // Queues that were repaired, since it was made.
  uint64_t repaired_count() const { return repaired_count_; }

 private:
  struct Process {
    const SharedWord* intents;
    uint32_t descriptors_count;
  };
  // The dead in a queue that stand side by side: `dead` from the one nearest to the head; null words: nobody.
  struct Run {
    RemoteWord before;  // X
    std::vector<RemoteWord> dead;
    RemoteWord behind;  // S
  };

  bool IsDead(RemoteWord word) const;
  // What the home was told of that acquisition; nullopt: the descriptor serves another one by now, or words were
  // being WRITTEN, which they are for a new one only.
  absl::optional<LockIntent> Read(RemoteWord word) const;
  // The locks that the intents of a process name.
  void AddLocksOf(const Process& process, uint32_t process_id, std::set<uint64_t>* locks) const;
  // From the tail to the head, and maybe beyond: those who have left are harmless.
  std::vector<RemoteWord> ReadQueue(GlobalAddress lock) const;
  static std::vector<Run> RunsIn(const RemoteRepair& repair, const std::vector<RemoteWord>& queue);

  Task<absl::StatusOr<bool>> RepairLock(GlobalAddress lock);
  // False: somebody has come behind the dead meanwhile.
  Task<absl::StatusOr<bool>> RepairRun(GlobalAddress lock, const Run& run);
  // M2. False: the tail has moved.
  Task<absl::StatusOr<bool>> SwapTail(GlobalAddress lock, RemoteWord from, RemoteWord to);

  Options options_;
  std::map<uint32_t, Process> processes_;
  std::vector<uint32_t> dead_;
  uint32_t unresponsive_ = 0;
  uint64_t repaired_count_ = 0;
};

}  // namespace acre

#endif  // ACRE_LOCK_REMOTE_REPAIR_H_
